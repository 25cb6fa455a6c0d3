//! `device_change`: a family's kind of device or client changes.
//!
//! Compares parsed tuples (client application, OS family, device class), never version strings: an update is not another
//! device. A change alone proves nothing (a webview beside the system browser), so that it is recorded and adds to what
//! other rules know; a missing user agent is unknown, not different.

use std::time::Duration;

use super::super::ledger::{Answer, Entry, Ledger};
use crate::model::Agent;

/// Parameters of a device-change rule.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceChange {
    /// Accepted presentations with a user agent before a change means anything.
    pub history_min: usize,
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

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding<'a> {
    pub entry: &'a Entry,
    pub from: &'a Agent,
    pub to: &'a Agent,
    /// The same claimed client with another TLS fingerprint.
    pub fingerprint_only: bool,
}

impl DeviceChange {
    /// Judges the presentation at exactly `time`, against the accepted ones before it.
    pub fn judge<'a>(&self, ledger: &'a Ledger, time: i64) -> Option<Finding<'a>> {
        let entry = ledger
            .entries()
            .iter()
            .find(|e| e.time == time && e.answer == Answer::Accepted)?;
        let to = ledger.context(entry).agent.as_ref()?;
        let before: Vec<&Entry> = ledger
            .entries()
            .iter()
            .filter(|e| e.time < time && e.answer.accepted() && ledger.context(e).agent.is_some())
            .collect();
        if before.len() < self.history_min {
            return None;
        }
        let agents = || {
            before
                .iter()
                .filter_map(|e| ledger.context(e).agent.as_ref())
        };
        let from = agents().next_back()?;
        if agents().all(|agent| agent.is_another_kind_than(to)) {
            return Some(Finding {
                entry,
                from,
                to,
                fingerprint_only: false,
            });
        }
        let ja4 = ledger.context(entry).ja4.as_ref()?;
        let mut prints = before
            .iter()
            .filter_map(|e| ledger.context(e).ja4.as_ref())
            .peekable();
        let changed = prints.peek().is_some() && prints.all(|known| known != ja4);
        changed.then_some(Finding {
            entry,
            from,
            to,
            fingerprint_only: true,
        })
    }
}
