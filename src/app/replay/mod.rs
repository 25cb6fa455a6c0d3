//! `replay`: the same decode, engine and response policy as `run`, over recorded files, in event time.
//!
//! Performs nothing and touches no store. Several files are merged by event time; each is a partition of its own, so
//! that a file that ends early does not hold time back.

mod input;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;

use super::parts;
use crate::config::Config;
use crate::decode::{Decoder, TokenKey};
use crate::model::{ActionKind, Decision, Output, Reject, Text};
use crate::pipeline::Worker;
use crate::rules::RuleSet;
use input::Recording;

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
        let (tables, warnings) = parts::tables(self.config);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let engine = parts::engine(self.config, &self.rules);
        let policy = parts::policy(self.config);
        let forms = std::iter::once((self.source.clone(), Arc::clone(&self.decoder))).collect();
        let mut worker = Worker::new(forms, tables, engine, policy).assuming_done();
        let read = Arc::new(AtomicU64::new(0));
        let mut recordings = self.open(&read)?;
        let mut run = Run {
            summary: Summary::default(),
            told: HashSet::new(),
            listener,
        };
        while let Some(next) = earliest(&mut recordings)? {
            let mut output = Output::default();
            let recording = &mut recordings[next];
            run.rejects(recording)?;
            if let Some(event) = recording.take() {
                worker.take_event(partition(next), event, false, None, &mut output);
            }
            if recording
                .peek()
                .with_context(|| unreadable(&self.files[next]))?
                .is_none()
            {
                worker.end(partition(next), &mut output);
            }
            run.output(output)?;
            if worker
                .engine
                .counters()
                .events
                .is_multiple_of(PROGRESS_EVERY)
            {
                run.listener.progress(read.load(Ordering::Relaxed));
            }
        }
        for recording in &mut recordings {
            run.rejects(recording)?;
        }
        let counters = worker.engine.counters();
        run.listener.progress(read.load(Ordering::Relaxed));
        Ok(Summary {
            events: counters.events,
            duplicates: counters.duplicates,
            late: counters.late,
            ..run.summary
        })
    }

    fn open(&self, read: &Arc<AtomicU64>) -> anyhow::Result<Vec<Recording>> {
        self.files
            .iter()
            .map(|file| {
                Recording::open(
                    file,
                    &self.source,
                    Arc::clone(&self.decoder),
                    Arc::clone(read),
                )
                .with_context(|| unreadable(file))
            })
            .collect()
    }
}

/// Which recording holds the earliest next event; the first of several at one time.
fn earliest(recordings: &mut [Recording]) -> anyhow::Result<Option<usize>> {
    let mut best = None;
    for (i, recording) in recordings.iter_mut().enumerate() {
        if let Some(event) = recording.peek().context("a recording cannot be read on")?
            && best.is_none_or(|(time, _)| event.time < time)
        {
            best = Some((event.time, i));
        }
    }
    Ok(best.map(|(_, i)| i))
}

fn partition(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn unreadable(file: &std::path::Path) -> String {
    format!("{} cannot be read", file.display())
}

struct Run<'a> {
    summary: Summary,
    /// Incidents that somebody has been told of: later notices of one update its mail thread and are no second line.
    told: HashSet<Text>,
    listener: &'a mut dyn Listener,
}

impl Run<'_> {
    fn output(&mut self, mut output: Output) -> anyhow::Result<()> {
        output.actions.retain(|action| {
            let tells = action.kind == ActionKind::Notify && action.decision == Decision::Execute;
            !tells || self.told.insert(action.incident_id.clone())
        });
        self.summary.detections += output.detections.len() as u64;
        for action in &output.actions {
            let slot = match action.decision {
                Decision::Execute => 0,
                Decision::Observe => 1,
                Decision::Hold => 2,
                Decision::Suppress => 3,
            };
            self.summary.actions[slot] += 1;
        }
        if output.detections.is_empty() {
            Ok(())
        } else {
            self.listener.output(&output)
        }
    }

    fn rejects(&mut self, recording: &mut Recording) -> anyhow::Result<()> {
        for reject in recording.rejected.drain(..) {
            self.summary.rejected += 1;
            self.listener.rejected(&reject)?;
        }
        Ok(())
    }
}
