//! `device_change`: a family's kind of device or client changes.
//!
//! Compares parsed tuples (client application, OS family, device class), never version strings: an update is not another
//! device. A change alone proves nothing (a webview beside the system browser), so that it is recorded and adds to what
//! other rules know; a missing user agent is unknown, not different.

use std::sync::Arc;
use std::time::Duration;

use super::super::case::{At, FamilyCase, FamilyKind};
use super::super::finding::{Ask, Finding};
use super::super::ledger::{Answer, Entry};
use super::super::needs::Need;
use super::super::parameters::Parameters;
use super::super::trace::Trace;
use super::super::words::who;
use super::Kind;
use crate::model::{Agent, Clue, Evidence, Severity};

/// Parameters of a device-change rule.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceChange {
    /// Accepted presentations with a user agent before a change means anything.
    pub history_min: u32,
    pub settle: Duration,
}

impl Default for DeviceChange {
    fn default() -> Self {
        Self {
            history_min: 2,
            settle: Duration::from_secs(2),
        }
    }
}

impl Kind for DeviceChange {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.count(
            "history_min",
            "Accepted presentations with a user agent before a change means anything.",
            1..=60,
            &mut self.history_min,
        );
        p.duration(
            "settle",
            "How long a question waits for facts that may still come.",
            &mut self.settle,
        );
    }

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::all(&[Clue::UserAgent]),
            Need::part(
                &[Clue::Ja4],
                "another TLS fingerprint behind the same user agent",
            ),
        ]
    }
}

impl FamilyKind for DeviceChange {
    fn settle(&self) -> Duration {
        self.settle
    }

    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        case.ledger.varies() && has_agents(case)
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        let accepted = case
            .entries_at(at.time)
            .iter()
            .find(|e| e.answer == Answer::Accepted);
        let change = accepted.and_then(|entry| self.change(case, entry, trace));
        change
            .map(|change| describe(case, &change))
            .into_iter()
            .collect()
    }
}

/// More than one kind of client or fingerprint: something to compare.
fn has_agents(case: &FamilyCase<'_>) -> bool {
    let mut contexts = case.ledger.contexts();
    let Some(first) = contexts.find(|c| c.agent.is_some()) else {
        return false;
    };
    contexts.any(|c| c.agent.is_some() && (c.agent != first.agent || c.ja4 != first.ja4))
}

struct Change<'a> {
    entry: &'a Entry,
    from: &'a Agent,
    to: &'a Agent,
    /// The same claimed client with another TLS fingerprint.
    fingerprint_only: bool,
}

impl DeviceChange {
    /// Compares a presentation with the accepted ones before it.
    fn change<'a>(
        &self,
        case: &FamilyCase<'a>,
        entry: &'a Entry,
        trace: &mut Trace,
    ) -> Option<Change<'a>> {
        let to = case.ledger.context(entry).agent.as_ref()?;
        let before: Vec<&Entry> = case
            .entries_before(entry.time)
            .iter()
            .filter(|e| e.answer.accepted() && case.ledger.context(e).agent.is_some())
            .collect();
        if before.len() < self.history_min as usize {
            trace.note(|| {
                let values = Evidence::new()
                    .with("history", before.len())
                    .with("history_min", self.history_min);
                (
                    "too little history to call anything a change".to_owned(),
                    values,
                )
            });
            return None;
        }
        let agents = || {
            before
                .iter()
                .filter_map(|e| case.ledger.context(e).agent.as_ref())
        };
        let from = agents().next_back()?;
        let change = |fingerprint_only| {
            Some(Change {
                entry,
                from,
                to,
                fingerprint_only,
            })
        };
        if agents().all(|agent| agent.is_another_kind_than(to)) {
            return change(false);
        }
        let ja4 = case.ledger.context(entry).ja4.as_ref();
        let mut prints = before
            .iter()
            .filter_map(|e| case.ledger.context(e).ja4.as_ref())
            .peekable();
        let is_new = |ja4| prints.peek().is_some() && prints.all(|known| known != ja4);
        if ja4.is_some_and(is_new) {
            return change(true);
        }
        trace.note(|| {
            let values = Evidence::new()
                .with("agent", to.to_string())
                .with_some("ja4", ja4);
            (
                "this kind of client is known of the family; a version is no kind".to_owned(),
                values,
            )
        });
        None
    }
}

fn describe(case: &FamilyCase<'_>, change: &Change<'_>) -> Finding {
    let Change {
        entry,
        from,
        to,
        fingerprint_only,
    } = *change;
    let name = entry.token_name().unwrap_or_else(|| case.id.clone());
    let hash = entry
        .token
        .map_or_else(|| case.id.to_string(), |hash| hash.to_string());
    let what = if fingerprint_only {
        "TLS fingerprint"
    } else {
        "kind of client"
    };
    let presenter = case.context(entry);
    Finding {
        about: vec![hash],
        time: entry.time,
        event_id: entry.event_id().cloned(),
        at_most: Severity::Critical,
        ask: Ask::Response,
        may_revoke: false,
        confidence: if fingerprint_only { 0.6 } else { 1.0 },
        presenter: Arc::clone(presenter),
        foreign_network: None,
        summary: format!("Another {what} in one family: {to} after {from}"),
        evidence: Evidence::new()
            .with("from", from.to_string())
            .with("to", to.to_string())
            .with("fingerprint_only", fingerprint_only)
            .with("presented_token", name)
            .with("presenter", who(presenter)),
    }
}
