//! Whether a revocation took effect: what showed it, or who went on all the same.
//!
//! A server that answers "done" has said so, and no more: the answer may come from a node that told no other, or from a
//! proxy. So what was answered is watched until something shows it, and for a day more.

use serde::{Deserialize, Serialize};

use super::{Action, Text, Timestamp};

/// When it was shown that a revocation took effect, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Wall time.
    pub at: Timestamp,
    pub by: ShownBy,
}

/// What shows that a revocation took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShownBy {
    /// The server was asked for what it had ended, and no longer has it.
    Check,
    /// The server's own events tell of the end.
    Event,
    /// A token that would have been good was refused.
    Refusal,
    /// Nobody was seen using it for a day.
    Silence,
}

super::event::names!(ShownBy { Check = "check", Event = "event", Refusal = "refusal", Silence = "silence" });

impl ShownBy {
    /// The end of a sentence that begins with what the server answered.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Check => "verified: the server was asked, and no longer has it",
            Self::Event => "verified: the server's own events tell of the end",
            Self::Refusal => "verified: a token that would have been good was refused",
            Self::Silence => "nobody was seen using it for a day",
        }
    }
}

/// A revocation that was answered "done" twice, and whose login was used again after each.
///
/// A row of the table of our own doings: the response policy hears of it there, and decides what is to be done instead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoEffect {
    /// Wall time.
    pub time: Timestamp,
    pub no_effect: Box<Action>,
    /// Event time of the newest use.
    pub used_at: Timestamp,
}

impl NoEffect {
    /// How the reason of what follows from it begins.
    pub const LIVES_ON: &'static str = "its revocation had no effect, twice";
}

/// An accepted use of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Event time.
    pub time: Timestamp,
    /// As evidence names it.
    pub network: Option<Text>,
}
