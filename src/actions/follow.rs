//! Receivers that know incidents as states: they hear when one was taken on and when it has ended, and some want to hear
//! again and again that it has not.

use std::time::Duration;

use crate::model::{Evidence, Phase, Text, Timestamp};

/// How a receiver is kept up to date about what it was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Following {
    /// It forgets what it does not hear again.
    pub again_every: Option<Duration>,
    /// What was told is not over before.
    pub lasts_at_least: Duration,
    /// The end is told again for so long.
    pub ended_for: Duration,
}

/// One incident that the receiver was told of, as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Followed {
    pub incident_id: Text,
    pub phase: Phase,
    /// Since when it stands so.
    pub since: Timestamp,
    /// What the receiver answered with when it was told; it knows what that means.
    pub memo: Evidence,
    /// The same of the telling before, when this one has replaced it since.
    pub before: Option<Evidence>,
}

/// Member of an answer's evidence: the incident is followed, and this comes back each time.
pub(super) const MEMO: &str = "memo";

/// Takes what is to be remembered out of an answer, if the incident is to be followed: it may name people, and is kept only
/// as long as the incident is.
pub fn take_memo(evidence: &mut Evidence) -> Option<Evidence> {
    let at = evidence.0.iter().position(|(name, _)| **name == *MEMO)?;
    match evidence.0.remove(at).1 {
        crate::model::Value::Map(memo) => Some(memo),
        _ => None,
    }
}
