//! Follows a file of JSON lines or log lines: through rotation by renaming and through truncation.
//!
//! A file is known by its inode, not by its name: when the name points to another one, the old one is read to its end
//! first, also after a restart, when it is found again in the same folder. Lines and bytes are handled in `lines`; this
//! file is the loop around it. Polled rather than watched: notifications do not exist on network file systems and are
//! lost when they overflow, so one would poll all the same.

mod follow;
mod inspect;
mod lines;

pub use inspect::inspect;

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use super::pace::Pace;
use super::{Context, Source, SourceError};
use crate::config::{FileSource, Start};
use crate::model::{RawBatch, SourcePartition, Text, Timestamp, limits};

use follow::{Follower, Progress};

/// One followed file.
pub struct FileTail {
    name: Text,
    file: FileSource,
    start: Start,
    warm_up: Duration,
}

impl FileTail {
    pub fn new(name: Text, file: FileSource, start: Start, warm_up: Duration) -> Self {
        Self {
            name,
            file,
            start,
            warm_up,
        }
    }
}

impl Source for FileTail {
    fn name(&self) -> &Text {
        &self.name
    }

    fn run(self: Box<Self>, context: Context) -> BoxFuture<'static, Result<(), SourceError>> {
        async move {
            let cancel = context.cancel.clone();
            tokio::select! {
                () = cancel.cancelled() => Ok(()),
                result = tail(&self, &context) => result,
            }
        }
        .boxed()
    }
}

async fn tail(source: &FileTail, context: &Context) -> Result<(), SourceError> {
    if let Start::At(_) = source.start {
        return Err(SourceError(format!(
            "source `{}`: a file has no index of times, so `start` cannot be a time; write `earliest`, or `latest` with a `warm_up`",
            source.name
        )));
    }
    let mut tail = Tail {
        source,
        context,
        epoch: 0,
        pace: Pace::default(),
        reported: None,
    };
    let mut follower = tail.claim().await?;
    loop {
        // Reading a file blocks; at most a batch at a time, off the threads that serve everybody.
        let (back, progress) = tokio::task::spawn_blocking(move || {
            let progress = follower.read();
            (follower, progress)
        })
        .await
        .map_err(|error| SourceError(format!("reading {}: {error}", source.file.path.display())))?;
        follower = back;
        if !tail.handle(&follower, progress).await {
            return Ok(());
        }
    }
}

struct Tail<'a> {
    source: &'a FileTail,
    context: &'a Context,
    epoch: u64,
    pace: Pace,
    /// Only changes are told.
    reported: Option<Result<(), String>>,
}

impl Tail<'_> {
    fn partition(&self) -> SourcePartition {
        SourcePartition {
            source: self.source.name.clone(),
            partition: "file".into(),
        }
    }

    /// The store may be away: nothing is read before it has said from where.
    async fn claim(&mut self) -> Result<Follower, SourceError> {
        let mut delay = limits::SOURCE_RETRY_MIN;
        loop {
            match self.context.claims.claim(&[self.partition()]).await {
                Ok(claims) => {
                    let claim = claims.into_iter().next().ok_or_else(|| {
                        SourceError("the store did not grant the file".into())
                    })?;
                    self.epoch = claim.epoch;
                    let file = &self.source.file;
                    let warm_up = !self.source.warm_up.is_zero();
                    return Follower::new(&file.path, &claim.start, self.source.start, warm_up);
                }
                Err(error) => self.report(Err(error.to_string())),
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(limits::SOURCE_RETRY_MAX);
        }
    }

    /// Hands on what was read; false when nobody listens any more.
    async fn handle(&mut self, follower: &Follower, progress: Progress) -> bool {
        let now = (self.context.now)();
        let (sent, idle) = match progress {
            Progress::Records(records) => {
                self.pace.read_something();
                self.report(Ok(()));
                let mut batch = self.batch(follower, now);
                batch.records = records;
                (self.send(batch).await, false)
            }
            Progress::AtEnd => {
                self.report(Ok(()));
                let mut batch = self.batch(follower, now);
                batch.tick = Some(now);
                let due = self.pace.at_end(now);
                (!due || self.send(batch).await, true)
            }
            Progress::Later => (true, true),
            Progress::Unreadable(reason) => {
                self.report(Err(reason));
                (true, true)
            }
        };
        if idle {
            tokio::time::sleep(self.source.file.poll_every).await;
        }
        sent
    }

    async fn send(&self, batch: RawBatch) -> bool {
        self.context.batches.send(batch).await.is_ok()
    }

    fn batch(&self, follower: &Follower, now: Timestamp) -> RawBatch {
        RawBatch {
            partition: self.partition(),
            shard: 0,
            epoch: self.epoch,
            records: Vec::new(),
            position: follower.position(),
            tick: None,
            ended: false,
            arrived_at: Some(now),
        }
    }

    fn report(&mut self, now: Result<(), String>) {
        if self.reported.as_ref() != Some(&now) {
            match &now {
                Ok(()) => self.context.status.up(&self.source.name),
                Err(reason) => self.context.status.down(&self.source.name, reason),
            }
            self.reported = Some(now);
        }
    }
}
