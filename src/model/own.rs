//! What was done comes back as events: our own attempts, their ends, and what people decided.

use serde::{Deserialize, Serialize};

use super::{ActionKind, Target, Text, Timestamp};

/// The source that carries it.
pub const OWN_SOURCE: &str = "tokenwarden-own";

/// A row of the table of our own doings; tailed like any source, with a position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnEvent {
    /// Wall time.
    pub time: Timestamp,
    pub kind: OwnEventKind,
    pub action_id: Text,
    pub action: ActionKind,
    pub target: Target,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnEventKind {
    /// The first attempt is about to be made; committed before the call.
    Attempted,
    /// Answered "done".
    Done,
    /// Given up.
    Parked,
    /// The event stream or an active check showed that it worked.
    Verified,
}
