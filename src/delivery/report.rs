//! What the loop tells about its work; whoever runs it makes metrics of it, so that delivery knows no metrics library.

use std::time::Duration;

use crate::model::{ActionKind, ActionState, ShownBy, Text, Timestamp};
use crate::store::{AttemptResult, Consequence};

/// What actions are performed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TargetKind {
    Revoker,
    Receiver,
}

impl TargetKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoker => "revoker",
            Self::Receiver => "receiver",
        }
    }
}

/// Why a target is not asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOff {
    /// It fails.
    Circuit,
    /// It has as many calls as it may.
    Busy,
    /// It was called as often as it may be.
    Rate,
}

impl PutOff {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Circuit => "circuit",
            Self::Busy => "busy",
            Self::Rate => "rate",
        }
    }
}

/// Takes note of tries and ends. Called often: must be quick.
pub trait Report: Send + Sync {
    /// One performer has answered, or has not within its time (then a retry).
    fn attempted(&self, kind: ActionKind, performer: &Text, result: AttemptResult, took: Duration);

    /// A receiver was told how its incidents stand.
    fn followed(&self, _receiver: &Text, _result: AttemptResult) {}

    /// A target is left alone from now on, or answers again.
    fn circuit(&self, _kind: TargetKind, _target: &Text, _is_open: bool) {}

    /// An action has to come again, because its target may not be asked now.
    fn put_off(&self, _kind: TargetKind, _target: &Text, _why: PutOff) {}

    /// A revocation was shown to have taken effect; `is_new` where it only now is done.
    fn verified(&self, _kind: ActionKind, _by: ShownBy, _is_new: bool) {}

    /// A login that was answered to have ended was used again.
    fn without_effect(&self, _consequence: Consequence) {}

    /// An action has come to an end, or waits for a person. `since_event` is the time since the proof was complete.
    fn ended(&self, kind: ActionKind, state: ActionState, since_event: Duration);

    /// A canary has gone the whole way, in that time.
    fn canary(&self, _sent_at: Timestamp, _took: Duration) {}

    /// The store could not say what is due.
    fn store_failed(&self);
}

/// Takes no note.
impl Report for () {
    fn attempted(&self, _: ActionKind, _: &Text, _: AttemptResult, _: Duration) {}
    fn ended(&self, _: ActionKind, _: ActionState, _: Duration) {}
    fn store_failed(&self) {}
}
