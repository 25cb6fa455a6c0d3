//! Who really did what: the log that only the simulation has.
//!
//! Every simulated request says in a private header who sends it. The header ends here; the audit table, and with it the
//! daemon, never sees it. What the demo claims at its end is counted from this log and from nothing the daemon says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::grants::Fact;
use crate::model::{EventType, Initiator, Outcome, Timestamp};

/// The private header.
pub(super) const ACTOR_HEADER: &str = "x-simulated-actor";
/// Entries kept. A demo makes some hundreds a minute.
const ENTRIES_MAX: usize = 1_000_000;

/// One request as it really was.
#[derive(Debug, Clone)]
pub struct Entry {
    pub time: Timestamp,
    /// Absent for calls that no simulated person made.
    pub actor: Option<Arc<str>>,
    pub kind: EventType,
    pub accepted: bool,
    pub family_id: Option<String>,
    pub initiator: Option<Initiator>,
}

#[derive(Debug, Clone, Default)]
pub struct TruthLog {
    shared: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    entries: Vec<Entry>,
    family_of_token: HashMap<String, String>,
}

impl TruthLog {
    pub(super) fn record(&self, time: Timestamp, actor: Option<&str>, facts: &[Fact]) {
        let mut log = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        for fact in facts {
            if log.entries.len() >= ENTRIES_MAX {
                return;
            }
            if let (Some(token), Some(family)) = (&fact.new_token_id, &fact.family_id) {
                log.family_of_token.insert(token.clone(), family.clone());
            }
            log.entries.push(Entry {
                time,
                actor: actor.map(Into::into),
                kind: fact.kind,
                accepted: fact.outcome == Outcome::Success,
                family_id: fact.family_id.clone(),
                initiator: fact.initiator,
            });
        }
    }

    /// The family of a token, by the token's id.
    pub fn family_of(&self, token_id: &str) -> Option<String> {
        let log = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        log.family_of_token.get(token_id).cloned()
    }

    /// When a family was ended, and by whom.
    pub fn end_of(&self, family_id: &str) -> Option<(Timestamp, Initiator)> {
        let entry =
            self.first(|entry| entry.kind == EventType::Revoke && is_of(entry, family_id))?;
        Some((entry.time, entry.initiator.unwrap_or(Initiator::System)))
    }

    /// The first entry that answers the question.
    pub fn first(&self, wanted: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let log = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        log.entries.iter().find(|entry| wanted(entry)).cloned()
    }

    pub fn count(&self, wanted: impl Fn(&Entry) -> bool) -> usize {
        let log = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        log.entries.iter().filter(|entry| wanted(entry)).count()
    }

    /// Every family that the daemon ended, in order.
    pub fn ended_by(&self, initiator: Initiator) -> Vec<String> {
        let log = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = log
            .entries
            .iter()
            .filter(|entry| entry.kind == EventType::Revoke && entry.initiator == Some(initiator));
        ends.filter_map(|entry| entry.family_id.clone()).collect()
    }
}

pub(super) fn is_of(entry: &Entry, family_id: &str) -> bool {
    entry.family_id.as_deref() == Some(family_id)
}
