//! Saving the state: a round begins at a moment when all is committed, and is made between batches.
//!
//! What a round stands for is told when it begins: the positions, the newest detection, and the policy's part. The engine's part
//! is made piece by piece after that, as it was then, so that no event waits for more than one piece. What is made goes to the
//! store at once, on a task of its own: a state is never in memory twice, and no more of it is made than the store takes.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Loop, SNAPSHOT_FORMAT};
use crate::engine::Made;
use crate::model::{SourcePartition, Timestamp, limits};
use crate::store::{Snapshot, Store, StoreError};

/// After a round nothing is saved for so many times as long as it took, until it was written.
const RESTS: u32 = 3;
/// Steps of a round that the store may be behind, each of some [`limits::ROUND_PIECE_BYTES`] at most.
const AHEAD_OF_STORE: usize = 16;

pub(super) struct Saving {
    every: Duration,
    due: Instant,
    /// When the newest round began.
    begun: Instant,
    /// After a failure.
    not_before: Instant,
    /// Of the round that is under way, to the task that writes it.
    made: Option<mpsc::Sender<Made>>,
    task: Option<JoinHandle<Written>>,
}

/// What became of a round.
enum Written {
    Saved(Saved),
    GivenUp,
    Failed,
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
            made: None,
            task: None,
        }
    }

    /// The loop has something to do also when nothing comes.
    pub(super) const fn is_under_way(&self) -> bool {
        self.made.is_some()
    }

    /// The store takes more of the round.
    pub(super) async fn has_room(&self) {
        if let Some(made) = &self.made {
            // Nor is there anything to wait for where the store has failed.
            drop(made.reserve().await);
        }
        tokio::task::yield_now().await;
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

impl Loop {
    /// Saves the state now and then; at once when a partition is new, whose position waits for that. Each call does a little.
    pub(super) async fn save_when_due(&mut self) {
        if let Some(task) = self.saving.task.take_if(|task| task.is_finished()) {
            match task.await {
                Ok(Written::Saved(saved)) => {
                    self.saving.rest();
                    self.saved(&saved);
                }
                Ok(Written::GivenUp) => {}
                Ok(Written::Failed) | Err(_) => {
                    self.give_up_round();
                    self.saving.failed();
                }
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
        let snapshot = Snapshot {
            positions: self.partitions.positions(),
            detections: Some(detections),
            format: SNAPSHOT_FORMAT,
            state: in_front(self.worker.policy.snapshot()),
        };
        self.worker.engine.begin_round();
        let (made, pieces) = mpsc::channel(AHEAD_OF_STORE);
        let saving = &mut self.saving;
        saving.begun = Instant::now();
        saving.due = saving.begun + saving.every;
        saving.made = Some(made);
        saving.task = Some(tokio::spawn(write(
            self.store.clone(),
            snapshot,
            pieces,
            (self.now)(),
        )));
    }

    fn go_on(&mut self) {
        if !self.partitions.is_reading() {
            // It would be taken for the newest, and stands for less than what others save.
            return self.give_up_round();
        }
        let Some(to) = &self.saving.made else {
            return;
        };
        if to.is_closed() {
            return self.give_up_round();
        }
        if to.capacity() == 0 {
            return;
        }
        let made = self.worker.engine.go_on_with_round();
        let is_complete = made.is_complete;
        if is_complete || !made.pieces.is_empty() {
            // There is room; where the store has failed since, the next step tells.
            to.try_send(made).ok();
        }
        if is_complete {
            self.saving.made = None;
        }
    }

    /// What the round stands for is not to be written any more. Another one is due.
    pub(super) fn give_up_round(&mut self) {
        self.worker.engine.give_up_round();
        if self.saving.made.take().is_some() {
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

    /// At a clean stop: what is being written is waited for, and then all that there is is saved.
    pub(super) async fn save_at_the_end(&mut self) {
        self.give_up_round();
        self.is_written().await;
        if self.is_worth_saving() {
            self.begin().await;
        }
        while self.saving.is_under_way() {
            self.go_on();
            self.saving.has_room().await;
        }
        self.is_written().await;
    }

    async fn is_written(&mut self) {
        if let Some(task) = self.saving.task.take()
            && let Err(error) = task.await
        {
            tracing::warn!(%error, "Saving the state was cut off");
        }
    }
}

/// What a saved state begins with: the policy's part behind its length. The engine's follows.
fn in_front(policy: Vec<u8>) -> Vec<Vec<u8>> {
    vec![(policy.len() as u64).to_le_bytes().to_vec(), policy]
}

async fn write(
    store: Store,
    snapshot: Snapshot,
    pieces: mpsc::Receiver<Made>,
    at: Timestamp,
) -> Written {
    match try_write(&store, &snapshot, pieces, at).await {
        Ok(Some(bytes)) => Written::Saved(Saved {
            bytes,
            partitions: snapshot.positions.into_keys().collect(),
        }),
        Ok(None) => Written::GivenUp,
        Err(error) => {
            tracing::warn!(%error, "The state could not be saved; a restart would only take longer");
            Written::Failed
        }
    }
}

/// Returns how many bytes it has; nothing when it was given up.
async fn try_write(
    store: &Store,
    snapshot: &Snapshot,
    mut pieces: mpsc::Receiver<Made>,
    at: Timestamp,
) -> Result<Option<usize>, StoreError> {
    let mut writer = store.begin_snapshot(snapshot, at).await?;
    while let Some(made) = pieces.recv().await {
        writer = writer.append(&made.pieces).await?;
        if made.is_complete {
            return writer.complete(at).await.map(Some);
        }
    }
    writer.give_up().await;
    Ok(None)
}
