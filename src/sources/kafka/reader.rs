//! The loop of one topic's thread: poll, hand on, ask where the end is.
//!
//! Back-pressure is the full channel: the thread then waits and does not poll. librdkafka keeps the membership alive from
//! its own threads until `max.poll.interval.ms`, its queue fills to its bound and fetching pauses; after that time the
//! group gives the partitions to another member, whose claim fences whatever this one still holds. Nothing is dropped.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{error, warn};

use super::TopicReader;
use super::offsets;
use super::rebalance::Callbacks;
use super::settings::{client_config, creation_fault};
use crate::model::{RawBatch, Timestamp, limits};
use crate::sources::SourceError;
use crate::sources::pace::Pace;

/// Why reading with this consumer has ended.
pub(super) enum Stop {
    Cancelled,
    /// No waiting mends it.
    Broken(SourceError),
    /// A new consumer may do better.
    Again { reason: String, worked: bool },
}

/// Reads with one consumer until it is cancelled or of no use any more; leaves the group at the end.
pub(super) fn read(topic: &Arc<TopicReader>) -> Stop {
    let broken = |reason: String| {
        Stop::Broken(SourceError(format!("source `{}`: {reason}", topic.source)))
    };
    let config = match client_config(&topic.kafka, &topic.topic) {
        Ok(config) => config,
        Err(fault) => return broken(fault),
    };
    let consumer: BaseConsumer<Callbacks> =
        match config.create_with_context(Callbacks::new(topic.clone())) {
            Ok(consumer) => consumer,
            Err(error) => return broken(creation_fault(&error)),
        };
    if let Err(error) = consumer.subscribe(&[&topic.topic]) {
        return broken(format!("subscribing to {}: {error}", topic.topic));
    }
    let mut reader = Reader {
        topic,
        consumer,
        probe_pace: Pace::default(),
        worked: false,
    };
    let (ended, worked) = (reader.run(), reader.worked);
    let callbacks = Arc::clone(reader.consumer.context());
    // Leaves the group, which calls back once more.
    drop(reader);
    topic.leave_unsaid(callbacks.assigned().left());
    match ended {
        Ok(()) => Stop::Cancelled,
        Err(reason) => Stop::Again { reason, worked },
    }
}

struct Reader<'a> {
    topic: &'a Arc<TopicReader>,
    consumer: BaseConsumer<Callbacks>,
    probe_pace: Pace,
    /// Something has been read or asked successfully: the next failure is a new one.
    worked: bool,
}

impl Reader<'_> {
    fn run(&mut self) -> Result<(), String> {
        while !self.topic.context.cancel.is_cancelled() {
            self.pull()?;
            let now = (self.topic.context.now)();
            let mut assigned = self.consumer.context().assigned();
            let failed = assigned.failed.take();
            let batches = assigned.batches(now);
            // Asked early when a partition has just come to its end: the first tick is what a quiet source waits for.
            if assigned.awaits_tick() {
                self.probe_pace.read_something();
            }
            drop(assigned);
            self.hand_on(batches);
            if let Some(reason) = failed {
                return Err(reason);
            }
            if self.probe_pace.at_end(now) {
                let ticks = self.probe(now);
                self.hand_on(ticks);
            }
        }
        Ok(())
    }

    /// Takes what the client has, up to one batch; waits only for the first record.
    fn pull(&mut self) -> Result<(), String> {
        let mut wait = limits::BATCH_WAIT_MAX;
        let mut bytes = 0;
        for _ in 0..limits::BATCH_RECORDS_MAX {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    // A tombstone has no payload: the decoder rejects it like any other record that is none.
                    let payload = message.payload().unwrap_or_default();
                    bytes += self.consumer.context().assigned().pull(
                        message.partition(),
                        message.offset(),
                        payload,
                    );
                }
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    self.consumer.context().assigned().reached_end(number);
                }
                Some(Err(error)) => self.on_error(&error)?,
            }
            if bytes >= limits::BATCH_BYTES_MAX {
                break;
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    /// Waits while the channel is full. Nothing is lost when a cancel comes first: it was not handed on.
    fn hand_on(&self, batches: Vec<RawBatch>) {
        let context = &self.topic.context;
        for batch in batches {
            let sent = self.topic.runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = context.cancel.cancelled() => false,
                    sent = context.batches.send(batch) => sent.is_ok(),
                }
            });
            if !sent {
                // A closed channel means that its reader is gone: there is nobody to read for.
                context.cancel.cancel();
                return;
            }
        }
    }

    /// Asks the broker for the ends: proves that it answers, tells the lag, and makes the ticks true.
    fn probe(&mut self, now: Timestamp) -> Vec<RawBatch> {
        let callbacks = self.consumer.context();
        let assigned = callbacks.assigned();
        let numbers: Vec<i32> = assigned.partitions.keys().copied().collect();
        let joined = assigned.joined;
        drop(assigned);
        if !joined {
            return Vec::new();
        }
        if numbers.is_empty() {
            self.look_for_topic();
            return Vec::new();
        }
        let topic = &self.topic.topic;
        match offsets::ends(&self.consumer, topic, &numbers, limits::KAFKA_PROBE_TIMEOUT) {
            Ok(ends) => {
                self.worked = true;
                self.ticks(&ends, now)
            }
            Err(reason) => {
                let reason = callbacks.why(&reason);
                self.topic.health.down(topic, reason);
                Vec::new()
            }
        }
    }

    fn ticks(&self, ends: &offsets::Offsets, now: Timestamp) -> Vec<RawBatch> {
        let callbacks = self.consumer.context();
        callbacks.answered();
        let mut ticks = Vec::new();
        let mut assigned = callbacks.assigned();
        for (number, end) in ends {
            if let Some(reading) = assigned.partitions.get_mut(number) {
                let (lag, tick) = reading.probed(*end, now);
                self.topic.context.status.lag(&reading.partition, lag);
                ticks.extend(tick);
            }
        }
        match assigned.lost() {
            None => self.topic.health.up(&self.topic.topic),
            Some(lost) => self.topic.health.partly(&self.topic.topic, lost),
        }
        ticks
    }

    /// Nothing was given to us: either other members read it all, or there is no such topic.
    fn look_for_topic(&self) {
        let name = &self.topic.topic;
        let found = self
            .consumer
            .fetch_metadata(Some(name), limits::KAFKA_PROBE_TIMEOUT);
        let reason = match found {
            Ok(metadata) => {
                let found = metadata.topics().iter().find(|it| it.name() == &**name);
                if found.is_some_and(|it| !it.partitions().is_empty()) {
                    self.consumer.context().answered();
                    self.topic.health.up(name);
                    return;
                }
                format!(
                    "topic `{name}` does not exist at {}, or the account may not read it",
                    self.topic.kafka.brokers
                )
            }
            Err(error) => self.consumer.context().why(&error.to_string()),
        };
        self.topic.health.down(name, reason);
    }

    fn on_error(&mut self, error: &KafkaError) -> Result<(), String> {
        let name = &self.topic.topic;
        match error.rdkafka_error_code() {
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
                Err(format!("reading {name}: {error}"))
            }
            Some(RDKafkaErrorCode::AutoOffsetReset) => self.find_lost(),
            Some(RDKafkaErrorCode::PollExceeded) => {
                warn!(source = %self.topic.source, topic = %name, "The daemon took no events of {name} for longer than max.poll.interval.ms; the group gives its partitions away");
                Ok(())
            }
            // Told to the error callback before, with a reason.
            _ => Ok(()),
        }
    }

    /// The broker refused an offset and the event does not say of which partition: ask for the ends of all.
    fn find_lost(&mut self) -> Result<(), String> {
        let callbacks = self.consumer.context();
        let numbers: Vec<i32> = callbacks.assigned().partitions.keys().copied().collect();
        if numbers.is_empty() {
            return Ok(());
        }
        let name = &self.topic.topic;
        let kept = offsets::kept(&self.consumer, name, &numbers, limits::KAFKA_QUERY_TIMEOUT)?;
        let mut assigned = callbacks.assigned();
        for (number, kept) in kept {
            let Some(reading) = assigned.partitions.get_mut(&number) else {
                continue;
            };
            let known = reading.lost.is_some();
            if reading.check_kept(kept) && !known {
                error!(source = %self.topic.source, partition = %reading.partition.partition, "Partition {} cannot be read on: {}", reading.partition.partition, reading.lost.as_deref().unwrap_or_default());
            }
        }
        match assigned.lost() {
            Some(lost) => {
                self.topic.health.partly(name, lost);
                Ok(())
            }
            None => Err(format!("the broker refused an offset of {name}")),
        }
    }
}
