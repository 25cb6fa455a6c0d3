//! What `check --online` finds at a server: facts, faults, and what mends them.

use std::time::Duration;

use crate::config::{Clients, Rotation};
use crate::model::Text;

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
