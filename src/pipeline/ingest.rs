//! The loop that owns the engine: takes batches, commits every few tens of milliseconds, saves the state now and then.
//!
//! It runs on a thread of its own, because the engine is memory work; batches come prepared from another (`preparing`). A commit that fails because the store is away is
//! tried again until it succeeds; meanwhile nothing more is taken, the channel fills, and the sources wait: nothing is
//! dropped anywhere. A partition that somebody else has claimed since is given up; when all are, the daemon stops.

mod saving;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::archiving::Archiving;
use super::observer::Observer;
use super::owned::{Next, Partitions, Standing, Unread};
use super::pending::{Pending, Withheld};
use super::prepare::{Prepared, Preparer};
use super::preparing::Preparing;
use super::worker::Worker;
use crate::config::{Clients, StateLimits};
use crate::decode::Decoder;
use crate::enrich::Tables;
use crate::metrics::Names;
use crate::model::{
    Afterwards, Claim, Commit, OWN_SOURCE, Person, Progress, RawBatch, SourcePartition, Target,
    Text, Timestamp, limits,
};
use crate::respond::Allowed;
use crate::rules::RuleSet;
use crate::store::{CommitReport, Snapshot, Store, StoreError};
use saving::Saving;

/// What the loop is told besides batches.
pub enum Control {
    /// Partitions that a source has just taken over, sent before the source reads them.
    Claimed(Vec<Claim>),
    /// Lookup tables that changed on disk.
    Tables(Arc<Tables>),
    /// A new configuration; the memory stays.
    Reload(Box<Reload>),
    /// Sources that are being read, also where no partition is theirs.
    Arrived(Vec<Text>),
    /// Whether memory is so short that the engine must not remember more than it does.
    MemoryShort(bool),
    /// What cannot be read for longer than its source's lateness: it no longer holds time back.
    LeftOut(Vec<Unread>),
    /// Users who are to be forgotten; answered when they are, unless a partition is read again, which would bring them back.
    Forget(Vec<Person>, oneshot::Sender<()>),
    /// What was seen of these families since: answered in the same order, for the daily digest.
    Afterwards(
        Vec<(Target, Timestamp)>,
        oneshot::Sender<Vec<Option<Afterwards>>>,
    ),
}

/// What a reload replaces.
pub struct Reload {
    pub rules: RuleSet,
    pub clients: Clients,
    pub limits: StateLimits,
    pub allowed: Allowed,
    pub forms: std::collections::HashMap<Text, Arc<dyn Decoder>>,
    pub tables: Arc<Tables>,
}

impl Reload {
    /// Clients and tenants that metrics may name.
    pub fn names(&self) -> Names {
        let clients = self.clients.by_id.keys().cloned();
        Names::new(clients, self.allowed.tenants.by_name.keys().cloned())
    }
}

/// The ingest loop and what it works with.
pub struct Ingest {
    pub store: Store,
    pub preparer: Preparer,
    pub worker: Worker,
    pub batches: mpsc::Receiver<RawBatch>,
    pub control: mpsc::Receiver<Control>,
    /// Under which name the sources' partitions are claimed.
    pub owner: Text,
    pub observer: Box<dyn Observer>,
    pub archive: Archiving,
    /// The sources that are going to be read.
    pub sources: BTreeSet<Text>,
    /// What the restored state stands for; goes on with it.
    pub standing: Arc<Standing>,
    pub snapshot_every: Duration,
    pub now: fn() -> Timestamp,
    pub cancel: CancellationToken,
}

/// Version of what a snapshot holds: the length of the policy's part, which is known when a round begins, that part, and the
/// engine's.
const SNAPSHOT_FORMAT: u32 = 3;
/// The version before: the length of the engine's part, that part, and the policy's.
const ENGINE_FIRST: u32 = 2;

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("every partition has another owner since: another daemon has taken over")]
    TakenOver,
    #[error(transparent)]
    Store(StoreError),
    #[error("no thread to decode on: {0}")]
    Thread(#[from] std::io::Error),
}

/// What of a saved state this version can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restorable {
    All,
    /// What people were told, decided and silenced; what the engine knew of tokens has another version's form.
    Policy,
    Nothing,
}

/// Restores engine and policy; what cannot be used is left as it was.
pub fn restore(worker: &mut Worker, snapshot: &Snapshot) -> Restorable {
    let state = match &snapshot.state[..] {
        [whole] => Cow::Borrowed(whole),
        pieces => Cow::Owned(pieces.concat()),
    };
    let Some((engine, policy)) = parts(snapshot.format, &state) else {
        return Restorable::Nothing;
    };
    if !worker.policy.restore(policy) {
        return Restorable::Nothing;
    }
    if !worker.engine.restore(engine) {
        return Restorable::Policy;
    }
    worker.engine.expect_none();
    Restorable::All
}

/// The engine's part and the policy's.
fn parts(format: u32, state: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = state.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (first, second) = rest.split_at_checked(length)?;
    match format {
        SNAPSHOT_FORMAT => Some((second, first)),
        ENGINE_FIRST => Some((first, second)),
        _ => None,
    }
}

impl Ingest {
    /// Runs until it is cancelled, then commits what it has and saves the state.
    pub async fn run(self) -> Result<(), IngestError> {
        let Self {
            store,
            preparer,
            worker,
            batches,
            mut control,
            owner,
            observer,
            archive,
            sources,
            standing,
            snapshot_every,
            now,
            cancel,
        } = self;
        let mut state = Loop {
            store,
            preparing: Preparing::start(preparer, batches, cancel.clone())?,
            worker,
            owner,
            observer,
            archive,
            now,
            cancel: cancel.clone(),
            pending: Pending::default(),
            awaited: Awaited::sources(sources, &standing),
            withheld: BTreeMap::new(),
            partitions: Partitions::new(standing),
            saving: Saving::new(snapshot_every),
        };
        for source in state.awaited.keys() {
            state.worker.expect(&placeholder(source));
        }
        loop {
            let deadline = state.pending.since.map_or_else(
                || Instant::now() + limits::COMMIT_EVERY,
                |since| since + limits::COMMIT_EVERY,
            );
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(message) = control.recv() => state.control(message),
                batch = state.preparing.next() => match batch {
                    Some(batch) => state.take(batch),
                    None => break,
                },
                // Between two pieces of the state that is being saved.
                () = state.saving.has_room(), if state.saving.is_under_way() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
            if state.pending.is_due() {
                state.commit().await?;
            }
            state.save_when_due().await;
        }
        state.drain(&mut control).await
    }
}

struct Loop {
    store: Store,
    preparing: Preparing,
    worker: Worker,
    owner: Text,
    observer: Box<dyn Observer>,
    archive: Archiving,
    now: fn() -> Timestamp,
    cancel: CancellationToken,
    pending: Pending,
    /// What partitions of others had caused here.
    withheld: BTreeMap<SourcePartition, Withheld>,
    partitions: Partitions,
    /// Sources that are not read in full yet.
    awaited: BTreeMap<Text, Awaited>,
    saving: Saving,
}

/// What is still to be claimed of a source, after a start. Time must not run ahead to where one partition stands while
/// another, with facts from before that, is about to be claimed.
#[derive(Default)]
struct Awaited {
    /// Those that the restored state knows.
    partitions: BTreeSet<SourcePartition>,
    /// Since when the source is being read.
    up_since: Option<Instant>,
}

impl Awaited {
    fn sources(sources: BTreeSet<Text>, standing: &Standing) -> BTreeMap<Text, Self> {
        let mut awaited: BTreeMap<Text, Self> = sources
            .into_iter()
            .map(|source| (source, Self::default()))
            .collect();
        for partition in standing.positions().into_keys() {
            if let Some(source) = awaited.get_mut(&partition.source) {
                source.partitions.insert(partition);
            }
        }
        awaited
    }

    /// Another daemon may own what does not come.
    fn has_waited_enough(&mut self) -> bool {
        let since = *self.up_since.get_or_insert_with(Instant::now);
        self.partitions.is_empty() || since.elapsed() >= limits::PARTITIONS_AWAITED_MAX
    }
}

/// Holds time back in place of a source that is not read in full yet.
fn placeholder(source: &Text) -> SourcePartition {
    SourcePartition {
        source: source.clone(),
        partition: "".into(),
    }
}

/// Under which ownership the commit names the partition; it does so no more.
fn epoch_of(commit: &mut Commit, partition: &SourcePartition) -> u64 {
    let named = |progress: &&Progress| progress.partition == *partition;
    let moved = commit.positions.iter().find(named).map(|it| it.epoch);
    let held = |(fenced, epoch): &(SourcePartition, u64)| (fenced == partition).then_some(*epoch);
    let epoch = moved.or_else(|| commit.fences.iter().find_map(held));
    commit.positions.retain(|it| it.partition != *partition);
    commit.fences.retain(|(fenced, _)| fenced != partition);
    epoch.unwrap_or(0)
}

impl Loop {
    /// Takes what a source handed over, and what had to wait until now.
    fn take(&mut self, batch: Prepared) {
        if let Some(next) = self.partitions.admit(batch) {
            self.apply(next);
        }
        self.take_released();
    }

    fn take_released(&mut self) {
        while let Some(next) = self.partitions.released() {
            self.apply(next);
        }
    }

    fn apply(&mut self, mut next: Next) {
        let started = Instant::now();
        self.worker
            .take(&mut next.batch, next.again, &mut self.pending.taken);
        let batch = &next.batch;
        self.observer
            .batch(batch, &self.pending.taken, started.elapsed());
        self.archive.take(&mut self.pending.taken.seen);
        self.pending.note(&batch.partition, batch.epoch);
        let position = self.partitions.applied(&next);
        let found = !self.pending.taken.output.detections.is_empty();
        // An empty batch that is no tick pins where a fresh partition begins.
        let pins = batch.records == 0 && batch.tick.is_none() && !batch.ended;
        if batch.records == 0 && !found && !pins {
            // Time goes on without a commit too.
            self.observe_engine();
            return;
        }
        self.pending.records += batch.records;
        if let Some(position) = position {
            self.pending
                .progress
                .insert(batch.partition.clone(), (batch.epoch, position));
        }
        self.pending.since.get_or_insert_with(Instant::now);
    }

    fn claimed(&mut self, claims: Vec<Claim>) {
        let sources: Vec<Text> = claims
            .iter()
            .map(|claim| claim.partition.source.clone())
            .collect();
        for claim in claims {
            self.worker.expect(&claim.partition);
            if let Some(awaited) = self.awaited.get_mut(&claim.partition.source) {
                awaited.partitions.remove(&claim.partition);
            }
            if let Some(withheld) = self.withheld.remove(&claim.partition) {
                self.pending.take_back(&claim, withheld);
            }
            self.partitions.claimed(claim);
        }
        let is_complete = |source: &Text| {
            let awaited = self.awaited.get(source);
            awaited.is_some_and(|awaited| awaited.partitions.is_empty())
        };
        let complete: Vec<Text> = sources.into_iter().filter(is_complete).collect();
        self.arrived(&complete);
    }

    /// These sources are being read, perhaps without all of their partitions.
    fn are_up(&mut self, mut sources: Vec<Text>) {
        sources.retain(|source| {
            let awaited = self.awaited.get_mut(source);
            awaited.is_some_and(Awaited::has_waited_enough)
        });
        self.arrived(&sources);
    }

    /// From now on these sources' own partitions hold time back.
    fn arrived(&mut self, sources: &[Text]) {
        for source in sources {
            if self.awaited.remove(source).is_some() {
                self.leave_out(&placeholder(source));
            }
        }
    }

    fn leave_out(&mut self, partition: &SourcePartition) {
        self.worker.leave_out(partition, &mut self.pending.taken);
        self.pending.noted();
        if !self.pending.taken.output.detections.is_empty() {
            self.pending.since.get_or_insert_with(Instant::now);
        }
    }

    fn control(&mut self, message: Control) {
        match message {
            Control::Claimed(claims) => self.claimed(claims),
            Control::Arrived(sources) => self.are_up(sources),
            Control::Tables(tables) => self.preparing.replace_tables(tables),
            Control::MemoryShort(short) => self.worker.engine.hold(short),
            Control::Forget(people, done) => {
                self.give_up_round();
                for Person { user_id } in &people {
                    self.worker.engine.forget(user_id);
                    self.worker.policy.forget(user_id);
                }
                if !self.partitions.is_reading_again() {
                    // Who asked may have given up waiting.
                    done.send(()).ok();
                }
            }
            Control::Afterwards(families, answer) => {
                let engine = &self.worker.engine;
                let seen = families
                    .iter()
                    .map(|(target, since)| engine.afterwards(target, *since));
                // Who asked may have given up waiting.
                drop(answer.send(seen.collect()));
            }
            Control::Reload(reload) => {
                self.observer.reloaded(&reload);
                let tenants = reload.allowed.tenants.clone();
                self.worker
                    .engine
                    .replace_rules(&reload.rules, reload.clients, tenants);
                self.worker.engine.set_limits(reload.limits);
                self.worker.policy.replace(reload.allowed);
                self.preparing.replace_forms(reload.forms);
                self.preparing.replace_tables(reload.tables);
            }
            Control::LeftOut(unread) => {
                let whole = unread.iter().filter(|it| it.part.is_none());
                let whole: Vec<Text> = whole.map(|it| it.source.clone()).collect();
                self.arrived(&whole);
                for partition in self.partitions.left_out(&unread) {
                    self.leave_out(&partition);
                }
                self.take_released();
            }
        }
    }

    /// Makes everything pending durable, waiting for the store as long as it takes.
    async fn commit(&mut self) -> Result<(), IngestError> {
        self.archive.settled().await;
        let (mut commit, mut caused) = std::mem::take(&mut self.pending).into_commit();
        let mut pause = limits::STORE_RETRY_MIN;
        loop {
            let (started, now) = (Instant::now(), (self.now)());
            match self.store.commit(&commit, now).await {
                Ok(report) => {
                    self.committed(&commit, report, started.elapsed());
                    return Ok(());
                }
                Err(StoreError::Fenced { partition, owner }) => {
                    let epoch = epoch_of(&mut commit, &partition);
                    if owner == self.owner {
                        // A claim of our own came in between. It reads on behind what was judged here, so that stays.
                        continue;
                    }
                    let withheld = caused.withhold(&mut commit, &partition);
                    self.fenced(partition, epoch, withheld)?;
                }
                Err(StoreError::Unavailable(why)) => {
                    self.observer.store_down(&why);
                    commit.tried_at.get_or_insert(now);
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
        self.observe_engine();
    }

    fn observe_engine(&mut self) {
        let Worker { engine, policy, .. } = &self.worker;
        let mut sizes = engine.sizes();
        sizes.evicted += policy.evicted();
        self.observer.engine(sizes, engine.counters(), engine.now());
        if let Some(now) = engine.now() {
            self.observer.breakers(policy.breakers(now));
        }
        for (rule, errors) in engine.rule_errors() {
            self.observer.rule_errors(rule, errors);
        }
    }

    /// A partition has another owner, who judges what was not committed: what it caused here stays out, and nothing more
    /// of it is taken. A process that lost all of them writes nothing.
    fn fenced(
        &mut self,
        partition: SourcePartition,
        epoch: u64,
        withheld: Withheld,
    ) -> Result<(), IngestError> {
        // What is being saved may stand for less than what the other saves.
        self.give_up_round();
        tracing::warn!(source = %partition.source, partition = %partition.partition, "Partition has another owner since; neither its position nor what was found in it was written");
        if !self.partitions.lost(&partition, epoch) {
            return Err(IngestError::TakenOver);
        }
        if &*partition.source != OWN_SOURCE {
            self.leave_out(&partition);
        }
        if !withheld.is_empty() {
            self.withheld.insert(partition, withheld);
        }
        Ok(())
    }

    /// A clean stop: what the sources had already handed over is taken, everything is committed, the state is saved.
    async fn drain(mut self, control: &mut mpsc::Receiver<Control>) -> Result<(), IngestError> {
        loop {
            let batch = self.preparing.next().await;
            // A claim comes before what was read under it.
            while let Ok(message) = control.try_recv() {
                self.control(message);
            }
            match batch {
                Some(batch) => self.take(batch),
                None => break,
            }
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
        self.save_at_the_end().await;
        let worker = self.worker;
        // To free what millions of families hold takes seconds; nobody is to wait for that.
        let freeing = std::thread::Builder::new().name("free".to_owned());
        drop(freeing.spawn(move || drop(worker)));
        Ok(())
    }
}
