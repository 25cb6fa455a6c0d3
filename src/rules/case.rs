//! What a kind is handed: everything the engine remembers of one subject that the rules of its stage may read.
//!
//! A kind judges the *set* of what is known, at a question's time, and reads nothing later than the cut: the answer must
//! not depend on the order in which events arrived (DESIGN E5). Each stage has one trait; a kind implements one of them.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::finding::Finding;
use super::kinds::impossible_travel::Sightings;
use super::kinds::velocity::Counts;
use super::ledger::{Entry, Ledger};
use super::trace::Trace;
use crate::model::{Rotation, Text};

/// A kind that judges one family.
pub trait FamilyKind {
    /// How long a question waits in event time for facts that may still come.
    fn settle(&self) -> Duration;

    /// Whether anything about the family could concern the rule; cheap, because it is asked at every event.
    fn concerns(&self, case: &FamilyCase<'_>) -> bool;

    /// Judges what happened at exactly `at.time`, or the whole family as it stood at `at.cut`.
    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding>;

    /// What no fact still to come can excuse: asked at once, for revocations that need not wait.
    fn judge_now(&self, _: &FamilyCase<'_>) -> Vec<Finding> {
        Vec::new()
    }
}

/// A kind that judges one user over all families.
pub trait UserKind {
    fn settle(&self) -> Duration;
    fn judge(&self, case: &UserCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding>;
}

/// A question: the event time that it is about, and up to where facts may be read. Milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub time: i64,
    pub cut: i64,
}

/// One family.
#[derive(Debug, Clone, Copy)]
pub struct FamilyCase<'a> {
    pub id: &'a Text,
    pub ledger: &'a Ledger,
    pub client: &'a ClientFacts,
    pub ends: &'a Ends,
}

/// One user.
#[derive(Debug, Clone, Copy)]
pub struct UserCase<'a> {
    pub sightings: &'a Sightings,
}

/// Refreshes of one subject, whatever it is.
#[derive(Debug, Clone, Copy)]
pub struct RateCase<'a> {
    pub counts: &'a Counts,
    /// Of the event that is counted.
    pub event_id: &'a Text,
    pub presenter: &'a Arc<Context>,
    pub access_token_ttl: Option<Duration>,
    /// Server-side: refreshes on behalf of many.
    pub own_addresses: bool,
}

/// What the configuration says about the client, as far as rules read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientFacts {
    pub rotation: Rotation,
    /// The server's own leeway for the direct predecessor.
    pub grace: Duration,
    /// Repeats that the server allows.
    pub max_reuse: u32,
    /// Where events do not carry it.
    pub access_token_ttl: Option<Duration>,
    /// Server-side: its addresses are its own, not the user's.
    pub own_addresses: bool,
}

/// When the family, its session or its user was ended, in milliseconds of event time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// By its user or an operator. What lives on afterwards was not ended.
    pub by_people: Vec<i64>,
    /// By this daemon. What is refused afterwards is its doing, unless the family lived on: then it had no effect.
    pub by_us: Vec<i64>,
    /// Nothing is performed (`replay`): what was decided counts as done, whatever the log shows afterwards.
    pub assumed: bool,
}

impl<'a> FamilyCase<'a> {
    /// Presentations at exactly `time`, in the order of the ledger.
    pub fn entries_at(&self, time: i64) -> &'a [Entry] {
        let entries = self.ledger.entries();
        let from = entries.partition_point(|entry| entry.time < time);
        let to = entries.partition_point(|entry| entry.time <= time);
        &entries[from..to]
    }

    /// Presentations before `time`.
    pub fn entries_before(&self, time: i64) -> &'a [Entry] {
        let entries = self.ledger.entries();
        &entries[..entries.partition_point(|entry| entry.time < time)]
    }

    pub fn context(&self, entry: &Entry) -> &'a Arc<Context> {
        self.ledger.shared_context(entry)
    }
}

/// A parameter's duration in milliseconds of event time.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
