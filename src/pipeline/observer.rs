//! What the ingest loop tells to whoever watches: metrics and readiness, flushed per batch and per commit.

use super::worker::Taken;
use crate::engine::{Counters, Sizes};
use crate::model::{Commit, RawBatch, Timestamp};

/// Filled by `app`; nothing here may block.
pub trait Observer: Send + Sync {
    /// A batch was taken; `taken.seen` holds the events decoded from it.
    fn batch(&self, batch: &RawBatch, taken: &Taken);
    /// What was found and how far was read is durable now.
    fn committed(&self, commit: &Commit, now: Timestamp);
    /// The store cannot be written; the loop waits and tries again.
    fn store_down(&self, why: &str);
    /// How much the engine remembers, and what became of the input.
    fn sizes(&self, sizes: Sizes, counters: Counters);
    /// The state was saved.
    fn saved(&self, bytes: usize);
}
