//! Runs a source against a store that only remembers: what it hands out, and how it says it is doing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokenwarden::model::{Claim, Position, RawBatch, SourcePartition, StartAt};
use tokenwarden::sources::{Claims, Context, Source, SourceError, Status};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than any of these sources needs for its next batch, even on a busy machine.
pub(crate) const BATCH_WAIT: Duration = Duration::from_secs(60);

/// A running source.
pub(crate) struct Running {
    pub(crate) batches: mpsc::Receiver<RawBatch>,
    pub(crate) reports: Arc<Reports>,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), SourceError>>,
}

/// What was reported, in order: `up`, or the reason for `down`.
#[derive(Default)]
pub(crate) struct Reports(pub(crate) Mutex<Vec<String>>);

impl Reports {
    pub(crate) fn last(&self) -> String {
        self.0.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

impl Status for Reports {
    fn up(&self, _: &tokenwarden::model::Text) {
        self.0.lock().unwrap().push("up".into());
    }

    fn down(&self, _: &tokenwarden::model::Text, reason: &str) {
        self.0.lock().unwrap().push(reason.into());
    }

    fn lag(&self, _: &SourcePartition, _: u64) {}
}

/// Gives every partition the same start.
struct Given(StartAt);

impl Claims for Given {
    fn claim<'a>(
        &'a self,
        partitions: &'a [SourcePartition],
    ) -> BoxFuture<'a, Result<Vec<Claim>, SourceError>> {
        let claim = |partition: &SourcePartition| Claim {
            partition: partition.clone(),
            epoch: 1,
            start: self.0.clone(),
        };
        let claims = partitions.iter().map(claim).collect();
        async { Ok(claims) }.boxed()
    }
}

/// Goes on from a position that is also what was committed.
pub(crate) fn from(position: &Position) -> StartAt {
    StartAt::Resume {
        from: position.clone(),
        committed: position.clone(),
    }
}

impl Running {
    pub(crate) fn start(source: impl Source, at: StartAt) -> Self {
        let (sender, batches) = mpsc::channel(4);
        let reports = Arc::new(Reports::default());
        let cancel = CancellationToken::new();
        let context = Context {
            batches: sender,
            claims: Arc::new(Given(at)),
            status: reports.clone(),
            cancel: cancel.clone(),
            now: jiff::Timestamp::now,
        };
        let task = tokio::spawn(Box::new(source).run(context));
        Self {
            batches,
            reports,
            cancel,
            task,
        }
    }

    pub(crate) async fn next(&mut self) -> RawBatch {
        let next = tokio::time::timeout(BATCH_WAIT, self.batches.recv()).await;
        let reports = || self.reports.0.lock().unwrap().clone();
        next.unwrap_or_else(|_| panic!("no batch; reported: {:?}", reports()))
            .unwrap_or_else(|| panic!("the source has ended; reported: {:?}", reports()))
    }

    /// Everything up to the first batch that says that the partition has been read to its end.
    pub(crate) async fn until_idle(&mut self) -> Vec<RawBatch> {
        let mut batches = Vec::new();
        loop {
            let batch = self.next().await;
            let idle = batch.records.is_empty() && batch.tick.is_some();
            batches.push(batch);
            if idle {
                return batches;
            }
        }
    }

    pub(crate) async fn stop(self) -> Result<(), SourceError> {
        self.cancel.cancel();
        drop(self.batches);
        self.task.await.unwrap()
    }

    /// Waits for a source that ends by itself.
    pub(crate) async fn end(self) -> Result<(), SourceError> {
        tokio::time::timeout(BATCH_WAIT, self.task)
            .await
            .unwrap()
            .unwrap()
    }
}
