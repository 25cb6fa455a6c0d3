//! The canary: a record of our own that goes the way of all others, from a source to the outbox, to show that the way is open.

use serde::{Deserialize, Serialize};

use super::{Text, Timestamp};

/// The source that carries it.
pub const CANARY_SOURCE: &str = "tokenwarden-canary";

/// One on its way. It is about nobody: no rule sees it, and nothing is remembered of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// The process that sent it, and that waits for it: what another left behind is not its own.
    pub sender: Text,
    /// Wall time, in milliseconds: by it one is told from the next.
    pub sent_at: Timestamp,
}
