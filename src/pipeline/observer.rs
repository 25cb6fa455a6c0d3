//! What the ingest loop tells to whoever watches: metrics and readiness, flushed per batch and per commit.

use std::time::Duration;

use super::ingest::Reload;
use super::prepare::Prepared;
use super::worker::Taken;
use crate::engine::{Counters, Sizes};
use crate::model::{BreakerReport, Commit, Text, Timestamp};
use crate::store::CommitReport;

/// Filled by `app`; nothing here may block.
pub trait Observer: Send {
    /// A batch was taken; `taken.seen` holds its events.
    fn batch(&mut self, batch: &Prepared, taken: &Taken, took: Duration);
    /// What was found and how far was read is durable now.
    fn committed(&mut self, commit: &Commit, report: CommitReport, now: Timestamp, took: Duration);
    /// The store cannot be written; the loop waits and tries again.
    fn store_down(&mut self, why: &str);
    /// How much the engine remembers, what became of the input, and engine time.
    fn engine(&mut self, sizes: Sizes, counters: Counters, watermark: Option<Timestamp>);
    /// The breakers that are not closed.
    fn breakers(&mut self, breakers: Vec<BreakerReport>);
    /// How often conditions of a rule had no answer since the start of this process.
    fn rule_errors(&mut self, rule: &Text, errors: u64);
    /// The state was saved.
    fn saved(&mut self, bytes: usize);
    /// Another configuration is in force.
    fn reloaded(&mut self, reload: &Reload);
}
