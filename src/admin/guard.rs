//! Who may ask, and what: a bearer token with a name and a role, and without one only this machine, which may look.
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

use crate::config::{ApiToken, Secret};
use crate::model::{Role, Text};

use super::answer::Refusal;

/// The digests of the tokens that are asked for, or none on loopback.
///
/// Digests are compared, so that neither content nor length of a token can be told from how long it took; and all are,
/// so that nobody can tell which was nearly right.
#[derive(Clone)]
pub struct Guard(Vec<Caller>);

#[derive(Clone)]
struct Caller {
    who: Admitted,
    digest: [u8; 32],
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Admitted {
    /// Absent where no token is configured: whoever is on this machine.
    name: Option<Text>,
    role: Role,
}

/// The name of what is done with the listener's own token.
const LISTENER: &str = "api";

impl Admitted {
    /// The name that stands beside a change; only somebody with a name and the role may make one.
    pub(super) fn may(&self, role: Role) -> Result<Text, Refusal> {
        let Some(name) = &self.name else {
            let message = "a change needs somebody's token: add `tokens` under `http.api`";
            return Err(Refusal::new(StatusCode::FORBIDDEN, message));
        };
        if self.role < role {
            let message = format!("{name} is {}, and this needs {role}", self.role);
            return Err(Refusal::new(StatusCode::FORBIDDEN, message));
        }
        Ok(name.clone())
    }

    /// The configuration may be loaded again by whoever could send the daemon a signal, too.
    pub(super) fn may_reload(&self) -> Result<(), Refusal> {
        match self.name {
            Some(_) => self.may(Role::Admin).map(|_| ()),
            None => Ok(()),
        }
    }
}

impl Guard {
    /// Refuses to leave an address beyond loopback unguarded, and a token that is empty.
    pub fn new(listen: SocketAddr, token: Option<&Secret>) -> Result<Self, String> {
        Self::of_people(listen, token, &[])
    }

    /// The same, with tokens of people and scripts beside the listener's own.
    pub fn of_people(
        listen: SocketAddr,
        token: Option<&Secret>,
        people: &[ApiToken],
    ) -> Result<Self, String> {
        let own = token.map(|token| (LISTENER.into(), Role::Admin, token));
        let people = people
            .iter()
            .map(|it| (it.name.clone(), it.role, &it.token));
        let mut callers = Vec::new();
        for (name, role, token) in own.into_iter().chain(people) {
            if token.expose().is_empty() {
                return Err(format!("the token of {name} for {listen} is empty"));
            }
            callers.push(Caller {
                who: Admitted {
                    name: Some(name),
                    role,
                },
                digest: digest(token.expose()),
            });
        }
        if callers.is_empty() && !listen.ip().is_loopback() {
            return Err(format!(
                "{listen} can be reached from other machines, and no token is configured: give it a token, or listen on 127.0.0.1"
            ));
        }
        Ok(Self(callers))
    }

    pub(super) fn admits(&self, headers: &HeaderMap) -> Result<Admitted, Refusal> {
        if self.0.is_empty() {
            admits_local(headers)?;
            return Ok(Admitted {
                name: None,
                role: Role::Viewer,
            });
        }
        self.admits_token(headers)
    }

    fn admits_token(&self, headers: &HeaderMap) -> Result<Admitted, Refusal> {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| digest(token.trim()));
        let refused = |message: &str| Refusal::new(StatusCode::UNAUTHORIZED, message);
        let given =
            given.ok_or_else(|| refused("a token is needed: `Authorization: Bearer TOKEN`"))?;
        let mut admitted = None;
        for caller in &self.0 {
            if bool::from(given.ct_eq(&caller.digest)) {
                admitted = Some(caller.who.clone());
            }
        }
        admitted.ok_or_else(|| refused("this is not the token"))
    }
}

/// Middleware: every route behind it is for those who are admitted, and knows who asks.
pub(super) async fn guarded(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    match guard.admits(request.headers()) {
        Ok(admitted) => {
            request.extensions_mut().insert(admitted);
            next.run(request).await
        }
        Err(refusal) if refusal.status == StatusCode::UNAUTHORIZED => {
            ([(header::WWW_AUTHENTICATE, "Bearer")], refusal).into_response()
        }
        Err(refusal) => refusal.into_response(),
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

pub(super) fn digest(token: &str) -> [u8; 32] {
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
    fn a_token_s_name_and_role_say_what_may_be_done_with_it() {
        let people =
            [("eve", Role::Viewer), ("bob", Role::Responder)].map(|(name, role)| ApiToken {
                name: name.into(),
                role,
                token: Secret::new(format!("token of {name}")),
            });
        let listen = "0.0.0.0:1".parse().unwrap();
        let guard = Guard::of_people(listen, Some(&Secret::new("own")), &people).unwrap();
        let who = |token: &str| {
            let bearer = format!("Bearer {token}");
            guard.admits(&headers(&[(header::AUTHORIZATION, &bearer)]))
        };
        let may = |token: &str, role| who(token).unwrap().may(role).ok();
        assert_eq!(may("token of eve", Role::Viewer).as_deref(), Some("eve"));
        assert_eq!(may("token of eve", Role::Responder), None);
        assert_eq!(may("token of bob", Role::Responder).as_deref(), Some("bob"));
        assert_eq!(may("token of bob", Role::Admin), None);
        assert!(who("token of bob").unwrap().may_reload().is_err());
        assert_eq!(may("own", Role::Admin).as_deref(), Some("api"));
        assert!(who("token of mallory").is_err());
    }

    #[test]
    fn whoever_is_on_this_machine_looks_and_reloads_and_changes_nothing() {
        let guard = Guard::new("127.0.0.1:9511".parse().unwrap(), None).unwrap();
        let local = guard
            .admits(&headers(&[(header::HOST, "localhost")]))
            .unwrap();
        assert!(local.may_reload().is_ok());
        assert!(
            local.may(Role::Viewer).is_err(),
            "nobody's name would stand beside it"
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
