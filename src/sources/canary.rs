//! Sends the daemon a record of its own every few minutes, on the way of all others. That it arrives is a metric; that none
//! does is an alert, whatever it is that hangs in between.
//!
//! It claims no partition and has no position: a canary that a crash took with it is nobody's loss, and what is stored of
//! one must not make runs differ. The next is sent only when the one before has arrived.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Context, Source, SourceError};
use crate::model::{
    CANARY_SOURCE, Canary, Position, RawBatch, RawRecord, SourcePartition, Text, Timestamp, limits,
};

/// A source that nobody configures.
pub struct Canaries {
    name: Text,
    sender: Text,
    /// When the newest that has arrived was sent.
    arrived: watch::Receiver<Option<Timestamp>>,
    /// From one to the next.
    pub every: Duration,
}

impl Canaries {
    pub fn new(sender: Text, arrived: watch::Receiver<Option<Timestamp>>) -> Self {
        Self {
            name: CANARY_SOURCE.into(),
            sender,
            arrived,
            every: limits::CANARY_EVERY,
        }
    }

    /// Until nobody listens any more.
    async fn send_all(mut self, context: &Context) -> Result<(), SourceError> {
        loop {
            let next = Instant::now() + self.every;
            let canary = Canary {
                sender: self.sender.clone(),
                sent_at: whole_milliseconds((context.now)()),
            };
            let batch = batch(&self.name, &canary)?;
            if context.batches.send(batch).await.is_err() {
                return Ok(());
            }
            let sent_at = Some(canary.sent_at);
            if self.arrived.wait_for(|at| *at == sent_at).await.is_err() {
                return Ok(());
            }
            tokio::time::sleep_until(next).await;
        }
    }
}

impl Source for Canaries {
    fn name(&self) -> &Text {
        &self.name
    }

    fn run(self: Box<Self>, context: Context) -> BoxFuture<'static, Result<(), SourceError>> {
        async move {
            tokio::select! {
                () = context.cancel.cancelled() => Ok(()),
                ended = self.send_all(&context) => ended,
            }
        }
        .boxed()
    }
}

fn batch(source: &Text, canary: &Canary) -> Result<RawBatch, SourceError> {
    let payload = serde_json::to_vec(canary).map_err(|error| SourceError(error.to_string()))?;
    Ok(RawBatch {
        partition: SourcePartition {
            source: source.clone(),
            partition: "".into(),
        },
        shard: 0,
        epoch: 0,
        records: vec![RawRecord {
            place: canary.sent_at.to_string().into(),
            payload,
            muted: false,
        }],
        position: Position("".into()),
        tick: None,
        ended: false,
        arrived_at: Some(canary.sent_at),
    })
}

/// As it comes back from the store.
fn whole_milliseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::model::Claim;
    use crate::sources::{Claims, Status};

    struct Nobody;

    impl Claims for Nobody {
        fn claim<'a>(
            &'a self,
            _: &'a [SourcePartition],
        ) -> BoxFuture<'a, Result<Vec<Claim>, SourceError>> {
            unreachable!("it claims nothing")
        }
    }

    impl Status for Nobody {
        fn partly(&self, _: &Text, _: &[Text], _: &str) {}
        fn up(&self, _: &Text) {
            unreachable!("it is no source that anybody knows")
        }
        fn down(&self, _: &Text, _: &str) {}
        fn lag(&self, _: &SourcePartition, _: u64) {}
    }

    #[tokio::test]
    async fn the_next_is_sent_when_the_one_before_has_arrived() {
        let (sender, mut batches) = mpsc::channel(4);
        let (arrived, arrivals) = watch::channel(None);
        let cancel = CancellationToken::new();
        let context = Context {
            batches: sender,
            claims: Arc::new(Nobody),
            status: Arc::new(Nobody),
            cancel: cancel.clone(),
            now: crate::clock::now,
        };
        let mut canaries = Canaries::new("us".into(), arrivals);
        canaries.every = Duration::from_millis(5);
        let running = tokio::spawn(Box::new(canaries).run(context));

        let mut sent = Vec::new();
        for _ in 0..3 {
            let batch = batches.recv().await.unwrap();
            let [record] = batch.records.as_slice() else {
                panic!("one record: {batch:?}");
            };
            let canary: Canary = serde_json::from_slice(&record.payload).unwrap();
            assert_eq!(&*canary.sender, "us");
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(batches.try_recv().is_err(), "one is under way");
            arrived.send_replace(Some(canary.sent_at));
            sent.push(canary.sent_at);
        }
        sent.dedup();
        assert_eq!(sent.len(), 3);
        cancel.cancel();
        running.await.unwrap().unwrap();
    }
}
