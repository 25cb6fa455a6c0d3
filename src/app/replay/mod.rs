//! `replay`: the same decode, engine and response policy as `run`, over recorded files, in event time.
//!
//! Performs nothing and touches no store. Several files are merged by event time; each is a partition of its own, so
//! that a file that ends early does not hold time back. `diff` judges by two sets of rules in the same pass, `figures`
//! gathers what is asked before anything is enforced. Memory does not grow with the input.

pub mod diff;
pub mod explain;
mod feed;
pub mod figures;

mod input;
mod lane;
mod recent;

use std::path::PathBuf;
use std::sync::Arc;

use super::parts;
use crate::config::Config;
use crate::decode::{Decoder, TokenKey};
use crate::enrich::{Enricher, Tables};
use crate::model::{Enriched, Output, Reject, Text};
use crate::rules::{Exception, RuleSet};
use feed::{Feed, Step};
use lane::Lane;

/// What is to be replayed.
pub struct Replay<'a> {
    pub config: &'a Config,
    pub rules: RuleSet,
    pub files: Vec<PathBuf>,
    pub decoder: Arc<dyn Decoder>,
    /// Name of the source, and so of the issuer where records name none.
    pub source: Text,
}

/// Counts over a whole replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub events: u64,
    pub rejected: u64,
    pub duplicates: u64,
    pub late: u64,
    pub detections: u64,
    /// By decision: execute, observe, hold, suppress.
    pub actions: [u64; 4],
}

/// Where a replay's results go, as they come about.
pub trait Listener {
    fn output(&mut self, output: &Output) -> anyhow::Result<()>;
    fn rejected(&mut self, reject: &Reject) -> anyhow::Result<()>;
    /// Bytes read of all input files.
    fn progress(&mut self, bytes: u64);

    /// Each event, before it is judged.
    fn seen(&mut self, _event: &Enriched) {}

    /// At the end.
    fn ended(&mut self, _ending: &Ending) -> anyhow::Result<()> {
        Ok(())
    }
}

/// What is known of the rules themselves after the last event.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// For so many events a condition of the rule had no answer.
    pub rule_errors: Vec<(Text, u64)>,
    /// Exceptions that covered no finding, with their rules.
    pub unused: Vec<(Text, Arc<Exception>)>,
}

/// The key of hashes in a replay: nothing is kept, so that it need not be secret; the same run prints the same bytes.
pub fn replay_key() -> TokenKey {
    TokenKey::new(b"tokenwarden replay: hashes of this key are never stored")
}

/// Events between two looks at the progress.
const PROGRESS_EVERY: u64 = 4096;

impl Replay<'_> {
    /// The size of the input, for a progress bar.
    pub fn total_bytes(&self) -> u64 {
        input::total_bytes(&self.files)
    }

    pub fn run(&self, listener: &mut dyn Listener) -> anyhow::Result<Summary> {
        let mut enricher = Enricher::new(self.tables());
        let mut lane = Lane::new(self.config, &self.rules);
        let mut feed = self.feed()?;
        while let Some(step) = feed.next()? {
            match step {
                Step::Rejected(reject) => {
                    lane.summary.rejected += 1;
                    listener.rejected(&reject)?;
                }
                Step::Event(taken) => {
                    let event = Box::new(enricher.enrich(taken.event));
                    listener.seen(&event);
                    let output = lane.take(taken.partition, event, taken.last);
                    if !output.detections.is_empty() {
                        listener.output(&output)?;
                    }
                }
            }
            if feed.taken.is_multiple_of(PROGRESS_EVERY) {
                listener.progress(feed.bytes());
            }
        }
        listener.progress(feed.bytes());
        listener.ended(&lane.ending(&self.rules))?;
        Ok(lane.summary())
    }

    fn tables(&self) -> Arc<Tables> {
        let (tables, warnings) = parts::tables(self.config);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        tables
    }

    fn feed(&self) -> anyhow::Result<Feed> {
        Feed::open(&self.files, &self.source, &self.decoder)
    }
}
