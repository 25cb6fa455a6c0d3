//! What `check --online` finds at a server: facts, faults, and what mends them.

use std::time::Duration;

use serde_json::Value;

use crate::config::{Clients, Rotation, Secret};
use crate::model::{Text, Timestamp, limits};

pub use crate::model::{Finding, Gravity};

/// What the configuration declares about the server's clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Client (absent: all others), rotation, repeats allowed, lifetime of access tokens.
    pub clients: Vec<DeclaredClient>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredClient {
    /// `clients.web`, for sentences.
    pub key: Text,
    pub rotation: Rotation,
    pub max_reuse: u32,
    pub access_token_ttl: Option<Duration>,
}

impl Declared {
    pub fn of(clients: &Clients) -> Self {
        let default = ("default".into(), &clients.default);
        let named = clients
            .by_id
            .iter()
            .map(|(id, client)| (id.clone(), client));
        Self {
            clients: std::iter::once(default)
                .chain(named)
                .map(|(name, client): (Text, _)| DeclaredClient {
                    key: format!("clients.{name}").into(),
                    rotation: client.rotation,
                    max_reuse: client.max_reuse,
                    access_token_ttl: client.access_token_ttl,
                })
                .collect(),
        }
    }

    /// Keys of the clients declared so, for a sentence; none when nobody is.
    pub(super) fn keys(&self, rotation: Rotation) -> Option<String> {
        let keys: Vec<&str> = self
            .clients
            .iter()
            .filter(|client| client.rotation == rotation)
            .map(|client| client.key.as_ref())
            .collect();
        (!keys.is_empty()).then(|| keys.join(", "))
    }
}

/// A server's clock that is too far from ours.
pub(super) fn off(server: &str, there: Timestamp, here: Timestamp) -> Option<Finding> {
    let apart = there.duration_since(here);
    if apart.unsigned_abs() <= limits::CLOCK_OFF_MAX {
        return None;
    }
    let side = if apart.is_negative() {
        "behind"
    } else {
        "ahead of"
    };
    Some(Finding::fault(
        format!(
            "the clock of {server} is {} s {side} this machine's",
            apart.unsigned_abs().as_secs()
        ),
        "let both follow a time server: timedatectl set-ntp true",
    ))
}

/// When a signed token says that it was issued; nothing for a token of another form.
pub(super) fn issued_at(token: &Secret) -> Option<Timestamp> {
    let claims = token.expose().split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&from_base64url(claims)?).ok()?;
    Timestamp::from_second(claims.get("iat")?.as_i64()?).ok()
}

fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut count) = (0_u32, 0_u32);
    for character in text.bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0x3fff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_token_tells_when_it_was_issued() {
        // printf '{"iat":1763634000,"x":"~~??>>"}' | basenc --base64url
        let token = Secret::new("head.eyJpYXQiOjE3NjM2MzQwMDAsIngiOiJ-fj8_Pj4ifQ.signature");
        assert_eq!(issued_at(&token), Some(at(1_763_634_000)));
        assert_eq!(issued_at(&Secret::new("opaque")), None);
        assert_eq!(issued_at(&Secret::new("a.!.b")), None);
    }

    #[test]
    fn only_a_clock_that_is_far_off_is_a_fault() {
        assert_eq!(off("sso", at(1008), at(1000)), None);
        let ahead = off("sso", at(1100), at(1000)).unwrap();
        assert_eq!(
            ahead.what,
            "the clock of sso is 100 s ahead of this machine's"
        );
        let behind = off("sso", at(1000), at(1100)).unwrap();
        assert_eq!(
            behind.what,
            "the clock of sso is 100 s behind this machine's"
        );
    }
}
