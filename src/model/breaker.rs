//! A breaker: a client at which nothing more is ended without a person.

use serde::{Deserialize, Serialize};

use super::{Text, Timestamp};

/// How the breaker of one client stands. A closed one is not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerReport {
    #[serde(flatten)]
    pub client: BreakerClient,
    pub state: BreakerState,
    /// Event time.
    pub since: Timestamp,
    /// Why it opened.
    pub why: Text,
    /// Actions held since.
    pub held: u64,
}

/// Whose breaker it is: a client of one tenant of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerClient {
    pub issuer: Text,
    pub tenant: Option<Text>,
    pub client_id: Text,
}

impl BreakerClient {
    pub fn key(&self) -> Text {
        let tenant = self.tenant.as_deref().unwrap_or("-");
        format!("{}/{tenant}/{}", self.issuer, self.client_id).into()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Actions are held.
    Open,
    /// Half of the client's budget is tried.
    HalfOpen,
}

super::event::names!(BreakerState { Open = "open", HalfOpen = "half_open" });
