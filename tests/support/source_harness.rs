//! Runs a source against a store and a status that live in memory, and collects what it hands on.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use tokenwarden::model::{
    Claim, Position, RawBatch, RawRecord, SourcePartition, StartAt, Text, Timestamp,
};
use tokenwarden::sources::{Claims, Context, Source, SourceError, Status};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Epochs and positions, as the store would keep them. Shared by all sources of a test.
#[derive(Default)]
pub(crate) struct MemoryClaims {
    partitions: Mutex<BTreeMap<SourcePartition, Kept>>,
    failing: AtomicBool,
    /// No state was restored.
    anew: AtomicBool,
}

#[derive(Default)]
struct Kept {
    epoch: u64,
    committed: Option<Position>,
    /// What the restored state stands for, where that is less than what was committed.
    restored: Option<Position>,
}

impl MemoryClaims {
    /// What a fenced transaction does: false when another owner came since.
    pub(crate) fn commit(&self, batch: &RawBatch) -> bool {
        let mut partitions = self.partitions.lock().unwrap();
        let kept = partitions.entry(batch.partition.clone()).or_default();
        if kept.epoch == batch.epoch {
            kept.committed = Some(batch.position.clone());
        }
        kept.epoch == batch.epoch
    }

    /// The next owner is given state as of this batch.
    pub(crate) fn restore(&self, batch: &RawBatch) {
        let mut partitions = self.partitions.lock().unwrap();
        let kept = partitions.entry(batch.partition.clone()).or_default();
        kept.restored = Some(batch.position.clone());
    }

    /// The next owner is given no state.
    pub(crate) fn restore_nothing(&self) {
        self.anew.store(true, Ordering::Relaxed);
    }

    /// The next claim fails, as when the database is away.
    pub(crate) fn fail_next(&self) {
        self.failing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn epoch(&self, partition: &str) -> u64 {
        let partitions = self.partitions.lock().unwrap();
        let found = partitions
            .iter()
            .find(|(it, _)| &*it.partition == partition);
        found.map_or(0, |(_, kept)| kept.epoch)
    }
}

impl Claims for MemoryClaims {
    fn claim<'a>(
        &'a self,
        wanted: &'a [SourcePartition],
    ) -> BoxFuture<'a, Result<Vec<Claim>, SourceError>> {
        if self.failing.swap(false, Ordering::Relaxed) {
            return async { Err(SourceError("the store is away".into())) }.boxed();
        }
        let mut partitions = self.partitions.lock().unwrap();
        let claims = wanted
            .iter()
            .map(|partition| {
                let kept = partitions.entry(partition.clone()).or_default();
                kept.epoch += 1;
                Claim {
                    partition: partition.clone(),
                    epoch: kept.epoch,
                    start: match &kept.committed {
                        None => StartAt::Fresh,
                        Some(committed) => StartAt::Resume {
                            from: kept.restored.as_ref().unwrap_or(committed).clone(),
                            committed: committed.clone(),
                            anew: self.anew.load(Ordering::Relaxed),
                        },
                    },
                }
            })
            .collect();
        async { Ok(claims) }.boxed()
    }
}

/// Remembers every report.
#[derive(Default)]
pub(crate) struct Reports(Mutex<Vec<String>>);

impl Reports {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) async fn wait_for(&self, what: &str) -> String {
        self.wait(what, |all| {
            all.into_iter().rev().find(|it| it.contains(what))
        })
        .await
    }

    pub(crate) async fn wait_for_last(&self, what: &str) -> String {
        self.wait(what, |all| {
            all.into_iter().next_back().filter(|it| it.contains(what))
        })
        .await
    }

    async fn wait(&self, what: &str, pick: impl Fn(Vec<String>) -> Option<String>) -> String {
        let found = async {
            loop {
                if let Some(report) = pick(self.all()) {
                    return report;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let Ok(report) = tokio::time::timeout(PATIENCE, found).await else {
            panic!("no report with `{what}` came, only {:?}", self.all());
        };
        report
    }
}

impl Status for Reports {
    fn up(&self, _: &Text) {
        self.0.lock().unwrap().push("up".into());
    }
    fn down(&self, _: &Text, reason: &str) {
        self.0.lock().unwrap().push(format!("down: {reason}"));
    }
    fn partly(&self, _: &Text, parts: &[Text], reason: &str) {
        let parts = parts.join(", ");
        self.0
            .lock()
            .unwrap()
            .push(format!("down in {parts}: {reason}"));
    }
    fn lag(&self, _: &SourcePartition, _: u64) {}
}

/// A running source.
pub(crate) struct Running {
    batches: mpsc::Receiver<RawBatch>,
    pub(crate) claims: Arc<MemoryClaims>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) cancel: CancellationToken,
    task: JoinHandle<Result<(), SourceError>>,
}

impl Running {
    pub(crate) fn start(source: impl Source, claims: &Arc<MemoryClaims>) -> Self {
        Self::with_room_for(16, source, claims)
    }

    pub(crate) fn with_room_for(
        room: usize,
        source: impl Source,
        claims: &Arc<MemoryClaims>,
    ) -> Self {
        let (sender, batches) = mpsc::channel(room);
        let (reports, cancel) = (Arc::new(Reports::default()), CancellationToken::new());
        let context = Context {
            batches: sender,
            claims: claims.clone(),
            status: reports.clone(),
            cancel: cancel.clone(),
            now: Timestamp::now,
        };
        Self {
            batches,
            claims: claims.clone(),
            reports,
            cancel,
            task: tokio::spawn(Box::new(source).run(context)),
        }
    }

    pub(crate) async fn batch(&mut self) -> RawBatch {
        let waited = tokio::time::timeout(PATIENCE, self.batches.recv());
        let Ok(Some(batch)) = waited.await else {
            panic!(
                "no batch came; the source reported {:?}",
                self.reports.all()
            );
        };
        batch
    }

    /// Batches are committed as they come, until `count` records have come.
    pub(crate) async fn records(&mut self, count: usize) -> Vec<RawRecord> {
        let mut records = Vec::new();
        let began = std::time::Instant::now();
        while records.len() < count {
            let batch = self.batch().await;
            // Ticks go on coming, so that the wait for one batch is no bound.
            let reports = self.reports.all();
            assert!(
                began.elapsed() < PATIENCE,
                "only {:?} came; {reports:?}",
                texts(&records)
            );
            assert!(self.claims.commit(&batch), "fenced");
            records.extend(batch.records);
        }
        assert_eq!(records.len(), count, "{:?}", texts(&records));
        records
    }

    /// The next batch that says that nothing is waiting; no record may come before it.
    pub(crate) async fn tick(&mut self) -> RawBatch {
        loop {
            let batch = self.batch().await;
            assert!(batch.records.is_empty(), "{:?}", texts(&batch.records));
            self.claims.commit(&batch);
            if batch.tick.is_some() {
                return batch;
            }
        }
    }

    /// Takes the batches that have come without waiting for more.
    pub(crate) fn forget_waiting(&mut self) -> Vec<RawBatch> {
        std::iter::from_fn(|| self.batches.try_recv().ok()).collect()
    }

    pub(crate) async fn stop(self) -> Result<(), SourceError> {
        self.cancel.cancel();
        drop(self.batches);
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.expect("the source did not stop").unwrap()
    }

    /// For a source that must end by itself.
    pub(crate) async fn ended(self) -> Result<(), SourceError> {
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.expect("the source did not end").unwrap()
    }
}

/// Payloads, with `~` before the muted ones.
pub(crate) fn texts(records: &[RawRecord]) -> Vec<String> {
    let text = |record: &RawRecord| {
        let payload = String::from_utf8_lossy(&record.payload);
        format!("{}{payload}", if record.muted { "~" } else { "" })
    };
    records.iter().map(text).collect()
}
