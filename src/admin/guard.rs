//! Who may ask: a bearer token, and without one only this machine.
//!
//! A listener without a token is on loopback, but a browser on the same machine is too: a page from elsewhere could let
//! its own name point to 127.0.0.1 and read the answers. So without a token the request must be addressed to loopback
//! by name or number, and must not come from another page.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::Secret;

use super::answer::Refusal;

/// The digest of the token that is asked for, or none on loopback.
///
/// Digests are compared, so that neither content nor length of the token can be told from how long it took.
#[derive(Clone)]
pub struct Guard(Option<[u8; 32]>);

impl Guard {
    /// Refuses to leave an address beyond loopback unguarded, and a token that is empty.
    pub fn new(listen: SocketAddr, token: Option<&Secret>) -> Result<Self, String> {
        match token {
            Some(token) if token.expose().is_empty() => {
                Err(format!("the token for {listen} is empty"))
            }
            Some(token) => Ok(Self(Some(digest(token.expose())))),
            None if listen.ip().is_loopback() => Ok(Self(None)),
            None => Err(format!(
                "{listen} can be reached from other machines, and no token is configured: give it a token, or listen on 127.0.0.1"
            )),
        }
    }

    pub(super) fn admits(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match &self.0 {
            Some(expected) => admits_token(headers, expected),
            None => admits_local(headers),
        }
    }
}

/// Middleware: every route behind it is for those who are admitted.
pub(super) async fn guarded(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.admits(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) if refusal.status == StatusCode::UNAUTHORIZED => {
            ([(header::WWW_AUTHENTICATE, "Bearer")], refusal).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn admits_token(headers: &HeaderMap, expected: &[u8; 32]) -> Result<(), Refusal> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| digest(token.trim()));
    match given {
        Some(given) if bool::from(given.ct_eq(expected)) => Ok(()),
        Some(_) => Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "this is not the token",
        )),
        None => Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "a token is needed: `Authorization: Bearer TOKEN`",
        )),
    }
}

fn admits_local(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let origin = headers
        .get(header::ORIGIN)
        .map(|value| value.to_str().unwrap_or_default());
    let from_elsewhere = origin.is_some_and(|origin| {
        origin
            .split_once("://")
            .is_none_or(|(_, rest)| rest != host)
    });
    if !is_loopback(host) || from_elsewhere {
        let message = "without a token only this machine may ask, under the name localhost or the loopback address";
        return Err(Refusal::new(StatusCode::FORBIDDEN, message));
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    fn status(guard: &Guard, pairs: &[(header::HeaderName, &str)]) -> Option<StatusCode> {
        guard
            .admits(&headers(pairs))
            .err()
            .map(|refusal| refusal.status)
    }

    #[test]
    fn asks_for_the_token() {
        let guard = Guard::new("0.0.0.0:1".parse().unwrap(), Some(&Secret::new("s3cret"))).unwrap();
        assert_eq!(
            status(&guard, &[(header::AUTHORIZATION, "Bearer s3cret")]),
            None
        );
        assert_eq!(
            status(&guard, &[(header::AUTHORIZATION, "bearer s3cret")]),
            None
        );
        for wrong in [
            "Bearer s3cre",
            "Bearer s3crets",
            "Bearer ",
            "s3cret",
            "Basic s3cret",
        ] {
            assert_eq!(
                status(&guard, &[(header::AUTHORIZATION, wrong)]),
                Some(StatusCode::UNAUTHORIZED),
                "{wrong}"
            );
        }
        assert_eq!(
            status(&guard, &[(header::HOST, "localhost")]),
            Some(StatusCode::UNAUTHORIZED)
        );
    }

    #[test]
    fn leaves_nothing_open_beyond_loopback() {
        for open in ["0.0.0.0:1", "192.0.2.1:1", "[::]:1", "[2001:db8::1]:1"] {
            assert!(Guard::new(open.parse().unwrap(), None).is_err(), "{open}");
        }
        assert!(Guard::new("127.0.0.1:1".parse().unwrap(), None).is_ok());
        assert!(Guard::new("127.0.0.1:1".parse().unwrap(), Some(&Secret::new(""))).is_err());
    }

    #[test]
    fn a_page_from_elsewhere_cannot_use_the_open_loopback() {
        let guard = Guard::new("127.0.0.1:9511".parse().unwrap(), None).unwrap();
        for host in [
            "localhost:9511",
            "127.0.0.1:9511",
            "[::1]:9511",
            "LOCALHOST",
        ] {
            assert_eq!(status(&guard, &[(header::HOST, host)]), None, "{host}");
        }
        for host in [
            "evil.example:9511",
            "127.0.0.1.evil.example",
            "localhost.evil.example:80",
            "",
        ] {
            assert_eq!(
                status(&guard, &[(header::HOST, host)]),
                Some(StatusCode::FORBIDDEN),
                "{host}"
            );
        }
        let with_origin = |origin| {
            status(
                &guard,
                &[(header::HOST, "localhost:9511"), (header::ORIGIN, origin)],
            )
        };
        assert_eq!(with_origin("http://localhost:9511"), None);
        assert_eq!(
            with_origin("https://evil.example"),
            Some(StatusCode::FORBIDDEN)
        );
        assert_eq!(with_origin("null"), Some(StatusCode::FORBIDDEN));
    }
}
