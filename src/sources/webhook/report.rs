//! What requests were answered, told to whoever counts: a source knows no metrics.

use axum::http::StatusCode;

use crate::model::{Text, names};

/// Hears of every request for a source that there is. Called often: must be quick.
pub trait Report: Send + Sync {
    fn answered(&self, source: &Text, outcome: Outcome);
}

/// Takes no note.
impl Report for () {
    fn answered(&self, _: &Text, _: Outcome) {}
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its records are durable.
    Accepted,
    Unauthorized,
    TooLarge,
    /// The body did not arrive in time.
    TimedOut,
    Malformed,
    /// To be sent again: too many at once, or the store is away.
    Unavailable,
}

names!(Outcome {
    Accepted = "accepted", Unauthorized = "unauthorized", TooLarge = "too_large", TimedOut = "timed_out",
    Malformed = "malformed", Unavailable = "unavailable",
});

impl Outcome {
    pub(super) fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::ACCEPTED => Self::Accepted,
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            StatusCode::REQUEST_TIMEOUT => Self::TimedOut,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            _ => Self::Malformed,
        }
    }
}
