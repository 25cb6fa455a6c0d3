//! The loop that owns the engine: takes batches, commits every few tens of milliseconds, saves the state now and then.
//!
//! It runs on a thread of its own, because the engine is memory work. A commit that fails because the store is away is
//! tried again until it succeeds; meanwhile nothing more is taken, the channel fills, and the sources wait: nothing is
//! dropped anywhere. A partition that somebody else has claimed since is given up; when all are, the daemon stops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::observer::Observer;
use super::worker::{Taken, Worker};
use crate::config::Clients;
use crate::decode::Decoder;
use crate::enrich::Tables;
use crate::model::{
    Claim, Commit, Position, Progress, RawBatch, SourcePartition, StartAt, Text, Timestamp, limits,
};
use crate::respond::Allowed;
use crate::rules::RuleSet;
use crate::store::{CommitReport, Snapshot, Store, StoreError};

/// What the loop is told besides batches.
pub enum Control {
    /// Partitions that a source has just taken over, sent before the source reads them.
    Claimed(Vec<Claim>),
    /// Lookup tables that changed on disk.
    Tables(Arc<Tables>),
    /// A new configuration; the memory stays.
    Reload(Box<Reload>),
    /// Sources that cannot be read for longer than their lateness: they no longer hold time back.
    LeftOut(Vec<Text>),
}

/// What a reload replaces.
pub struct Reload {
    pub rules: RuleSet,
    pub clients: Clients,
    pub allowed: Allowed,
    pub forms: std::collections::HashMap<Text, Arc<dyn Decoder>>,
    pub tables: Arc<Tables>,
}

/// The ingest loop and what it works with.
pub struct Ingest {
    pub store: Store,
    pub worker: Worker,
    pub batches: mpsc::Receiver<RawBatch>,
    pub control: mpsc::Receiver<Control>,
    pub observer: Box<dyn Observer>,
    pub snapshot_every: Duration,
    pub now: fn() -> Timestamp,
    pub cancel: CancellationToken,
}

/// Version of what a snapshot holds: engine and policy, one after the other.
const SNAPSHOT_FORMAT: u32 = 1;

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("every partition has another owner since: another daemon has taken over")]
    TakenOver,
    #[error(transparent)]
    Store(StoreError),
}

/// Restores engine and policy; `false` when there is nothing that can be used.
pub fn restore(worker: &mut Worker, snapshot: &Snapshot) -> bool {
    if snapshot.format != SNAPSHOT_FORMAT {
        return false;
    }
    let Some((length, rest)) = snapshot.state.split_first_chunk::<8>() else {
        return false;
    };
    let Ok(length) = usize::try_from(u64::from_le_bytes(*length)) else {
        return false;
    };
    let Some((engine, policy)) = rest.split_at_checked(length) else {
        return false;
    };
    worker.engine.restore(engine) && worker.policy.restore(policy)
}

impl Ingest {
    /// Runs until it is cancelled, then commits what it has and saves the state.
    pub async fn run(self) -> Result<(), IngestError> {
        let Self {
            store,
            worker,
            mut batches,
            mut control,
            observer,
            snapshot_every,
            now,
            cancel,
        } = self;
        let mut state = Loop {
            store,
            worker,
            observer,
            now,
            cancel: cancel.clone(),
            pending: Pending::default(),
            owned: BTreeMap::new(),
            saving: None,
            snapshot_due: Instant::now() + snapshot_every,
            snapshot_every,
        };
        loop {
            let deadline = state.pending.since.map_or_else(
                || Instant::now() + limits::COMMIT_EVERY,
                |since| since + limits::COMMIT_EVERY,
            );
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(message) = control.recv() => state.control(message),
                batch = batches.recv() => match batch {
                    Some(batch) => state.take(&batch),
                    None => break,
                },
                () = tokio::time::sleep_until(deadline) => {}
            }
            if state.pending.is_due() {
                state.commit().await?;
                state.save_when_due().await;
            }
        }
        state.drain(&mut batches).await
    }
}

struct Loop {
    store: Store,
    worker: Worker,
    observer: Box<dyn Observer>,
    now: fn() -> Timestamp,
    cancel: CancellationToken,
    pending: Pending,
    owned: BTreeMap<SourcePartition, Owned>,
    saving: Option<tokio::task::JoinHandle<Option<usize>>>,
    snapshot_due: Instant,
    snapshot_every: Duration,
}

/// A partition that is ours.
struct Owned {
    epoch: u64,
    /// What the engine's state stands for.
    applied: Option<Position>,
    /// Still reading again what was judged before: its committed position is further on and stays.
    again: bool,
}

/// What has been taken and is not yet durable.
#[derive(Default)]
struct Pending {
    taken: Taken,
    progress: BTreeMap<SourcePartition, (u64, Position)>,
    since: Option<Instant>,
    records: usize,
}

impl Pending {
    fn is_due(&self) -> bool {
        let found = !self.taken.output.detections.is_empty();
        let full = self.records >= limits::COMMIT_RECORDS_MAX;
        self.since
            .is_some_and(|since| found || full || since.elapsed() >= limits::COMMIT_EVERY)
    }
}

impl Loop {
    fn take(&mut self, batch: &RawBatch) {
        let owned = self.owned.entry(batch.partition.clone()).or_insert(Owned {
            epoch: batch.epoch,
            applied: None,
            again: false,
        });
        if batch.epoch < owned.epoch {
            // Read under an ownership that has ended since: the new owner reads it again.
            return;
        }
        owned.epoch = batch.epoch;
        owned.again &= batch.records.iter().all(|record| record.muted);
        let again = owned.again;
        if !batch.records.is_empty() {
            owned.applied = Some(batch.position.clone());
        }
        let started = Instant::now();
        self.worker.take(batch, &mut self.pending.taken);
        self.observer
            .batch(batch, &self.pending.taken, started.elapsed());
        self.pending.taken.seen.clear();
        let found = !self.pending.taken.output.detections.is_empty();
        // An empty batch that is no tick pins where a fresh partition begins.
        let pins = batch.records.is_empty() && batch.tick.is_none() && !batch.ended;
        if batch.records.is_empty() && !found && !pins {
            return;
        }
        self.pending.records += batch.records.len();
        if !again {
            let progress = (batch.epoch, batch.position.clone());
            self.pending
                .progress
                .insert(batch.partition.clone(), progress);
        }
        self.pending.since.get_or_insert_with(Instant::now);
    }

    fn claimed(&mut self, claim: Claim) {
        let (applied, again) = match claim.start {
            StartAt::Fresh => (None, false),
            StartAt::Resume { from, committed } => {
                let again = from != committed;
                (Some(from), again)
            }
        };
        let owned = Owned {
            epoch: claim.epoch,
            applied,
            again,
        };
        self.owned.insert(claim.partition, owned);
    }

    fn control(&mut self, message: Control) {
        match message {
            Control::Claimed(claims) => claims.into_iter().for_each(|claim| self.claimed(claim)),
            Control::Tables(tables) => self.worker.replace_tables(tables),
            Control::Reload(reload) => {
                self.worker
                    .engine
                    .replace_rules(&reload.rules, reload.clients);
                self.worker.policy.replace(reload.allowed);
                self.worker.replace_forms(reload.forms);
                self.worker.replace_tables(reload.tables);
            }
            Control::LeftOut(sources) => {
                let partitions: Vec<SourcePartition> = self
                    .owned
                    .keys()
                    .filter(|p| sources.contains(&p.source))
                    .cloned()
                    .collect();
                for partition in partitions {
                    self.worker.leave_out(&partition, &mut self.pending.taken);
                }
                if !self.pending.taken.output.detections.is_empty() {
                    self.pending.since.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    /// Makes everything pending durable, waiting for the store as long as it takes.
    async fn commit(&mut self) -> Result<(), IngestError> {
        let pending = std::mem::take(&mut self.pending);
        let progress =
            |(partition, (epoch, position)): (SourcePartition, (u64, Position))| Progress {
                partition,
                epoch,
                position,
            };
        let mut commit = Commit {
            positions: pending.progress.into_iter().map(progress).collect(),
            output: pending.taken.output,
            rejects: pending.taken.rejects,
        };
        let mut pause = limits::STORE_RETRY_MIN;
        loop {
            let started = Instant::now();
            match self.store.commit(&commit, (self.now)()).await {
                Ok(report) => {
                    self.committed(&commit, report, started.elapsed());
                    return Ok(());
                }
                Err(StoreError::Fenced { partition }) => self.fenced(&mut commit, &partition)?,
                Err(StoreError::Unavailable(why)) => {
                    self.observer.store_down(&why);
                    tokio::select! {
                        () = self.cancel.cancelled() => return Err(IngestError::Store(StoreError::Unavailable(why))),
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(limits::STORE_RETRY_MAX);
                }
                Err(error) => return Err(IngestError::Store(error)),
            }
        }
    }

    fn committed(&mut self, commit: &Commit, report: CommitReport, took: Duration) {
        self.observer.committed(commit, report, (self.now)(), took);
        let engine = &self.worker.engine;
        self.observer
            .engine(engine.sizes(), engine.counters(), engine.now());
    }

    /// A partition has another owner: what it told stays out; a process that lost all of them writes nothing.
    fn fenced(
        &mut self,
        commit: &mut Commit,
        partition: &SourcePartition,
    ) -> Result<(), IngestError> {
        tracing::warn!(source = %partition.source, partition = %partition.partition, "Partition has another owner since; its position was not written");
        commit
            .positions
            .retain(|progress| progress.partition != *partition);
        self.owned.remove(partition);
        if commit.positions.is_empty() {
            return Err(IngestError::TakenOver);
        }
        Ok(())
    }

    async fn save_when_due(&mut self) {
        if let Some(task) = self.saving.take_if(|task| task.is_finished())
            && let Ok(Some(bytes)) = task.await
        {
            self.observer.saved(bytes, (self.now)());
        }
        if self.saving.is_some() || Instant::now() < self.snapshot_due {
            return;
        }
        self.snapshot_due = Instant::now() + self.snapshot_every;
        let (store, snapshot, at) = (self.store.clone(), self.snapshot(), (self.now)());
        self.saving = Some(tokio::spawn(async move {
            let bytes = snapshot.state.len();
            match store.save_snapshot(&snapshot, at).await {
                Ok(()) => Some(bytes),
                Err(error) => {
                    tracing::warn!(%error, "The state could not be saved; a restart would only take longer");
                    None
                }
            }
        }));
    }

    fn snapshot(&self) -> Snapshot {
        let (engine, policy) = (self.worker.engine.snapshot(), self.worker.policy.snapshot());
        let mut state = Vec::with_capacity(8 + engine.len() + policy.len());
        state.extend((engine.len() as u64).to_le_bytes());
        state.extend(engine);
        state.extend(policy);
        let positions = self
            .owned
            .iter()
            .filter_map(|(p, owned)| Some((p.clone(), owned.applied.clone()?)))
            .collect();
        Snapshot {
            positions,
            format: SNAPSHOT_FORMAT,
            state,
        }
    }

    /// A clean stop: what the sources had already handed over is taken, everything is committed, the state is saved.
    async fn drain(mut self, batches: &mut mpsc::Receiver<RawBatch>) -> Result<(), IngestError> {
        batches.close();
        while let Ok(batch) = batches.try_recv() {
            self.take(&batch);
        }
        // The store gets its time here: the token that stopped the loop must not stop its last commit.
        self.cancel = CancellationToken::new();
        if self.pending.since.is_some() {
            tokio::time::timeout(limits::STORE_RETRY_MAX, self.commit())
                .await
                .unwrap_or(Err(IngestError::Store(StoreError::Unavailable(
                    "the last commit timed out".into(),
                ))))?;
        }
        if let Some(task) = self.saving.take()
            && let Err(error) = task.await
        {
            tracing::warn!(%error, "Saving the state was cut off");
        }
        let snapshot = self.snapshot();
        if let Err(error) = self.store.save_snapshot(&snapshot, (self.now)()).await {
            tracing::warn!(%error, "The state could not be saved at the end; the next start reads a little more");
        }
        Ok(())
    }
}
