//! Reads topics of a Kafka cluster as a member of a consumer group.
//!
//! The group only divides the partitions; how far each has been read is kept in our store, and nothing is committed to
//! the broker. One consumer a topic, each on a thread of its own: librdkafka's end-of-partition event names the partition
//! but not the topic, and a blocked poll of one topic must not stop another. `BaseConsumer` rather than `StreamConsumer`,
//! whose wake-ups have been lost in more than one release.
//!
//! Files: `settings` (properties), `rebalance` (callbacks of the client: taking partitions over, errors), `assigned`
//! (what is being read), `start` (pure: where), `offsets` (questions to the broker), `reader` (the loop), `health` (one status for all topics),
//! `inspect` (for `check --online`).

mod assigned;
mod health;
mod inspect;
mod offsets;
mod reader;
mod rebalance;
mod settings;
mod start;

pub use inspect::inspect;
pub use settings::{be_one_member, faults, property_fault};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::warn;

use super::{Context, Source, SourceError};
use crate::config::{KafkaSource, Start};
use crate::model::{Text, limits};

use assigned::LastWords;
use health::Health;
use reader::Stop;

/// The topics of one `kafka` source.
pub struct Kafka {
    name: Text,
    cluster: KafkaSource,
    start: Start,
    warm_up: Duration,
}

impl Kafka {
    pub fn new(name: Text, cluster: KafkaSource, start: Start, warm_up: Duration) -> Self {
        Self {
            name,
            cluster,
            start,
            warm_up,
        }
    }
}

impl Source for Kafka {
    fn name(&self) -> &Text {
        &self.name
    }

    fn run(self: Box<Self>, context: Context) -> BoxFuture<'static, Result<(), SourceError>> {
        run(*self, context).boxed()
    }
}

/// What the thread of one topic works with.
struct TopicReader {
    source: Text,
    topic: Text,
    kafka: KafkaSource,
    start: Start,
    warm_up: Duration,
    context: Context,
    runtime: Handle,
    health: Arc<Health>,
    /// What the last consumer had still to say of partitions that it lost.
    unsaid: Mutex<LastWords>,
}

impl TopicReader {
    fn unsaid(&self) -> LastWords {
        std::mem::take(&mut *self.unsaid.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn leave_unsaid(&self, words: LastWords) {
        *self.unsaid.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }
}

async fn run(kafka: Kafka, mut context: Context) -> Result<(), SourceError> {
    // A child: a topic that cannot go on stops its neighbours, not the daemon.
    context.cancel = context.cancel.child_token();
    let health = Arc::new(Health::new(
        kafka.name.clone(),
        context.status.clone(),
        &kafka.cluster.topics,
    ));
    let mut ends = Vec::new();
    for topic in &kafka.cluster.topics {
        let reader = Arc::new(TopicReader {
            source: kafka.name.clone(),
            topic: topic.clone(),
            kafka: kafka.cluster.clone(),
            start: kafka.start,
            warm_up: kafka.warm_up,
            context: context.clone(),
            runtime: Handle::current(),
            health: health.clone(),
            unsaid: Mutex::default(),
        });
        ends.push(wait(spawn(reader)?, &context));
    }
    join_all(ends).await.into_iter().collect()
}

fn spawn(
    reader: Arc<TopicReader>,
) -> Result<oneshot::Receiver<Result<(), SourceError>>, SourceError> {
    let (done, end) = oneshot::channel();
    let topic = reader.topic.clone();
    std::thread::Builder::new()
        .name(format!("kafka {topic}"))
        .spawn(move || {
            // Nobody waits any more after a stop that took too long.
            done.send(read_until_cancelled(&reader)).ok();
        })
        .map_err(|error| {
            SourceError(format!("cannot start a thread for topic {topic}: {error}"))
        })?;
    Ok(end)
}

/// Waits for the thread; after a cancel only as long as leaving the group may take.
async fn wait(
    end: oneshot::Receiver<Result<(), SourceError>>,
    context: &Context,
) -> Result<(), SourceError> {
    let patience = async {
        context.cancel.cancelled().await;
        tokio::time::sleep(limits::KAFKA_CLOSE_TIMEOUT).await;
    };
    let result = tokio::select! {
        result = end => result.unwrap_or_else(|_| Err(SourceError("the thread that reads Kafka ended without a word (a panic, see the log)".into()))),
        () = patience => {
            warn!("Leaving the Kafka consumer group took too long; the broker will notice by its session timeout");
            Ok(())
        }
    };
    if result.is_err() {
        context.cancel.cancel();
    }
    result
}

/// A new consumer after each failure, with growing pauses while nothing succeeds.
fn read_until_cancelled(topic: &Arc<TopicReader>) -> Result<(), SourceError> {
    let mut delay = limits::SOURCE_RETRY_MIN;
    while !topic.context.cancel.is_cancelled() {
        // As a member of the group under our name we would shut out whoever leads by now.
        let allowed = topic.context.cancel.run_until_cancelled(topic.context.claims.allowed());
        if topic.runtime.block_on(allowed).is_none() {
            break;
        }
        match reader::read(topic) {
            Stop::Cancelled => break,
            Stop::Broken(error) => return Err(error),
            Stop::Again { reason, worked } => {
                if worked {
                    delay = limits::SOURCE_RETRY_MIN;
                }
                topic.health.down(&topic.topic, reason);
                topic.runtime.block_on(async {
                    tokio::select! {
                        () = topic.context.cancel.cancelled() => {}
                        () = tokio::time::sleep(delay) => {}
                    }
                });
                delay = (delay * 2).min(limits::SOURCE_RETRY_MAX);
            }
        }
    }
    Ok(())
}
