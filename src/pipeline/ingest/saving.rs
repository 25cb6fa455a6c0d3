//! Saving the state: a round begins at a moment when all is committed, and is made between batches.
//!
//! What a round stands for is told when it begins: the positions, the newest detection, and the policy's part. The engine's part
//! is made piece by piece after that, as it was then, so that no event waits for more than one piece. What is complete goes
//! to the store on a task of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Loop, SNAPSHOT_FORMAT};
use crate::model::{Position, SourcePartition, Timestamp, limits};
use crate::store::{Snapshot, Store};

/// After a round nothing is saved for so many times as long as it took, until it was written.
const RESTS: u32 = 3;

pub(super) struct Saving {
    every: Duration,
    due: Instant,
    /// When the newest round began.
    begun: Instant,
    /// After a failure.
    not_before: Instant,
    round: Option<Round>,
    task: Option<JoinHandle<Option<Saved>>>,
}

/// What the round that is under way stands for.
struct Round {
    positions: BTreeMap<SourcePartition, Position>,
    detections: i64,
    policy: Vec<u8>,
    begun_at: Timestamp,
}

/// A state that was saved.
struct Saved {
    bytes: usize,
    partitions: Vec<SourcePartition>,
}

impl Saving {
    pub(super) fn new(every: Duration) -> Self {
        Self {
            every,
            due: Instant::now() + every,
            begun: Instant::now(),
            not_before: Instant::now(),
            round: None,
            task: None,
        }
    }

    /// The loop has something to do also when nothing comes.
    pub(super) const fn is_under_way(&self) -> bool {
        self.round.is_some()
    }

    /// A large state takes its time, of the engine's thread and of the disk: most of it is for events all the same.
    fn rest(&mut self) {
        let now = Instant::now();
        self.due = self.due.max(now + (now - self.begun) * RESTS);
    }

    fn failed(&mut self) {
        self.not_before = Instant::now() + limits::STORE_RETRY_MAX;
    }
}

impl Round {
    fn snapshot(self, engine: Vec<Vec<u8>>) -> Snapshot {
        let length: usize = engine.iter().map(Vec::len).sum();
        let mut state = vec![(length as u64).to_le_bytes().to_vec()];
        state.extend(engine);
        state.push(self.policy);
        Snapshot {
            positions: self.positions,
            detections: Some(self.detections),
            format: SNAPSHOT_FORMAT,
            state,
        }
    }
}

impl Loop {
    /// Saves the state now and then; at once when a partition is new, whose position waits for that. Each call does a little.
    pub(super) async fn save_when_due(&mut self) {
        if let Some(task) = self.saving.task.take_if(|task| task.is_finished()) {
            match task.await {
                Ok(Some(saved)) => {
                    self.saving.rest();
                    self.saved(&saved);
                }
                _ => self.saving.failed(),
            }
        }
        // A state that stands for less than is committed would forget what was judged since.
        self.withheld.retain(|_, withheld| !withheld.is_past());
        if self.saving.is_under_way() {
            self.go_on();
        } else if self.is_time_to_save() {
            self.begin().await;
        }
    }

    fn is_time_to_save(&self) -> bool {
        let (saving, now) = (&self.saving, Instant::now());
        let is_due = now >= saving.due || self.partitions.needs_saving();
        is_due
            && self.is_worth_saving()
            && self.pending.since.is_none()
            && saving.task.is_none()
            && now >= saving.not_before
    }

    fn is_worth_saving(&self) -> bool {
        self.partitions.is_reading()
            && !self.partitions.is_reading_again()
            && self.withheld.is_empty()
    }

    async fn begin(&mut self) {
        // Asked first: what is found from here on belongs to no earlier state.
        let Ok(detections) = self.store.newest_detection().await else {
            return self.saving.failed();
        };
        self.saving.begun = Instant::now();
        self.saving.due = self.saving.begun + self.saving.every;
        self.saving.round = Some(self.round(detections));
        self.worker.engine.begin_round();
    }

    fn round(&self, detections: i64) -> Round {
        Round {
            positions: self.partitions.positions(),
            detections,
            policy: self.worker.policy.snapshot(),
            begun_at: (self.now)(),
        }
    }

    fn go_on(&mut self) {
        if !self.partitions.is_reading() {
            // It would be taken for the newest, and stands for less than what others save.
            return self.give_up_round();
        }
        if let Some(engine) = self.worker.engine.go_on_with_round()
            && let Some(round) = self.saving.round.take()
        {
            let (at, store) = (round.begun_at, self.store.clone());
            self.saving.task = Some(tokio::spawn(save(store, round.snapshot(engine), at)));
        }
    }

    /// What the round stands for is not to be written any more. Another one is due.
    pub(super) fn give_up_round(&mut self) {
        self.worker.engine.give_up_round();
        if self.saving.round.take().is_some() {
            self.saving.due = Instant::now();
        }
    }

    fn saved(&mut self, saved: &Saved) {
        self.observer.saved(saved.bytes);
        for (partition, epoch, position) in self.partitions.saved(&saved.partitions) {
            self.pending.progress.insert(partition, (epoch, position));
            self.pending.since.get_or_insert_with(Instant::now);
        }
    }

    /// At a clean stop: what is being written is waited for, and then all that there is is saved at once.
    pub(super) async fn save_at_the_end(&mut self) {
        self.give_up_round();
        if let Some(task) = self.saving.task.take()
            && let Err(error) = task.await
        {
            tracing::warn!(%error, "Saving the state was cut off");
        }
        if !self.is_worth_saving() {
            return;
        }
        let saved = match self.store.newest_detection().await {
            Ok(detections) => {
                let round = self.round(detections);
                let snapshot = round.snapshot(self.worker.engine.snapshot_in_pieces());
                self.store.save_snapshot(&snapshot, (self.now)()).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = saved {
            tracing::warn!(%error, "The state could not be saved at the end; the next start reads a little more");
        }
    }
}

async fn save(store: Store, snapshot: Snapshot, at: Timestamp) -> Option<Saved> {
    match store.save_snapshot(&snapshot, at).await {
        Ok(()) => Some(Saved {
            bytes: snapshot.state.iter().map(Vec::len).sum(),
            partitions: snapshot.positions.into_keys().collect(),
        }),
        Err(error) => {
            tracing::warn!(%error, "The state could not be saved; a restart would only take longer");
            None
        }
    }
}
