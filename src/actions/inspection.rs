//! What `check --online` finds at a server: facts, faults, and what mends them.

use std::time::Duration;

use crate::config::{Clients, Rotation};
use crate::model::Text;

/// One thing found at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub gravity: Gravity,
    /// A sentence for a person.
    pub what: String,
    /// What mends it: a command where there is one.
    pub mend: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// As it should be.
    Fine,
    /// Works, could be better.
    Advice,
    /// Something will not work.
    Fault,
    /// The server and the configuration say different things: revocations at this server wait until it is mended.
    Contradiction,
}

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

impl Finding {
    pub fn fine(what: impl Into<String>) -> Self {
        Self::new(Gravity::Fine, what, None)
    }

    pub fn advice(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Gravity::Advice, what, Some(mend.into()))
    }

    pub fn fault(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Gravity::Fault, what, Some(mend.into()))
    }

    pub fn contradiction(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Gravity::Contradiction, what, Some(mend.into()))
    }

    fn new(gravity: Gravity, what: impl Into<String>, mend: Option<String>) -> Self {
        Self {
            gravity,
            what: what.into(),
            mend,
        }
    }
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
