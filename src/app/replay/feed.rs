//! Several recordings as one stream in event time, each a partition of its own.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;

use super::input::Recording;
use crate::decode::Decoder;
use crate::model::{Event, Reject, Text};

/// Reads on, one step at a time.
pub(super) struct Feed {
    files: Vec<PathBuf>,
    recordings: Vec<Recording>,
    ready: VecDeque<Step>,
    read: Arc<AtomicU64>,
    /// Events handed out.
    pub(super) taken: u64,
}

pub(super) enum Step {
    Rejected(Reject),
    Event(Box<Taken>),
}

pub(super) struct Taken {
    pub(super) partition: u32,
    pub(super) event: Event,
    /// Nothing follows in this partition.
    pub(super) last: bool,
}

impl Feed {
    pub(super) fn open(
        files: &[PathBuf],
        source: &Text,
        decoder: &Arc<dyn Decoder>,
    ) -> anyhow::Result<Self> {
        let read = Arc::new(AtomicU64::new(0));
        let mut recordings = Vec::new();
        for file in files {
            let (decoder, read) = (Arc::clone(decoder), Arc::clone(&read));
            let recording = Recording::open(file, source, decoder, read);
            recordings.push(recording.with_context(|| unreadable(file))?);
        }
        Ok(Self {
            files: files.to_vec(),
            recordings,
            ready: VecDeque::new(),
            read,
            taken: 0,
        })
    }

    /// Bytes read of all files, packed as they are.
    pub(super) fn bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(super) fn next(&mut self) -> anyhow::Result<Option<Step>> {
        if self.ready.is_empty() {
            match self.earliest()? {
                Some(next) => self.take(next)?,
                None => (0..self.recordings.len()).for_each(|at| self.rejects(at)),
            }
        }
        let step = self.ready.pop_front();
        self.taken += u64::from(matches!(step, Some(Step::Event(_))));
        Ok(step)
    }

    /// Which recording holds the earliest next event; the first of several at one time.
    fn earliest(&mut self) -> anyhow::Result<Option<usize>> {
        let mut best = None;
        for (at, recording) in self.recordings.iter_mut().enumerate() {
            let next = recording
                .peek()
                .with_context(|| unreadable(&self.files[at]))?;
            if let Some(event) = next
                && best.is_none_or(|(time, _)| event.time < time)
            {
                best = Some((event.time, at));
            }
        }
        Ok(best.map(|(_, at)| at))
    }

    fn take(&mut self, at: usize) -> anyhow::Result<()> {
        self.rejects(at);
        let recording = &mut self.recordings[at];
        let Some(event) = recording.take() else {
            return Ok(());
        };
        let next = recording
            .peek()
            .with_context(|| unreadable(&self.files[at]))?;
        self.ready.push_back(Step::Event(Box::new(Taken {
            partition: u32::try_from(at).unwrap_or(u32::MAX),
            event,
            last: next.is_none(),
        })));
        Ok(())
    }

    fn rejects(&mut self, at: usize) {
        let rejected = self.recordings[at].rejected.drain(..);
        self.ready.extend(rejected.map(Step::Rejected));
    }
}

fn unreadable(file: &Path) -> String {
    format!("{} cannot be read", file.display())
}
