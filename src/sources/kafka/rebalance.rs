//! What librdkafka calls back: partitions given and taken away, errors, log lines.
//!
//! `rebalance` is overridden as a whole, because the hooks before and after the default one would assign twice, the
//! first time at the wrong offsets. It runs inside the reader's poll, on the reader's thread, where blocking is allowed:
//! claim the partitions in the store, then assign once, with explicit offsets. An owner that was frozen meanwhile is
//! fenced by the epoch that the claim has raised.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, Statistics, TopicPartitionList};
use tracing::{debug, error, info, warn};

use super::TopicReader;
use super::assigned::{Assigned, Reading, Removal};
use super::offsets::{self, Offsets};
use super::start::{self, FreshStart, Kept};
use crate::config::Start;
use crate::model::{Claim, SourcePartition, StartAt, limits};
use crate::sources::warm_up::{Plan, Since, Span};

pub(super) struct Callbacks {
    topic: Arc<TopicReader>,
    assigned: Mutex<Assigned>,
    /// The last thing a broker connection said: what "all brokers are down" does not.
    connection_error: Mutex<Option<String>>,
}

impl Callbacks {
    pub(super) fn new(topic: Arc<TopicReader>) -> Self {
        Self {
            assigned: Mutex::new(Assigned::following(topic.unsaid())),
            topic,
            connection_error: Mutex::default(),
        }
    }

    /// Never held across a poll: the callback inside it takes it too.
    pub(super) fn assigned(&self) -> MutexGuard<'_, Assigned> {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the brokers do not answer, in their own words where they said something.
    pub(super) fn why(&self, otherwise: &str) -> String {
        let said = self
            .connection_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        said.clone().unwrap_or_else(|| otherwise.to_owned())
    }

    /// A broker has answered: what was said before is history.
    pub(super) fn answered(&self) {
        self.remember(None);
    }

    fn remember(&self, reason: Option<String>) {
        let mut said = self
            .connection_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *said = reason;
    }

    fn take_over(
        &self,
        consumer: &BaseConsumer<Self>,
        given: &TopicPartitionList,
    ) -> Result<(), String> {
        let numbers = numbers(given);
        let readings = self.claim(consumer, &numbers).inspect_err(|_| {
            // The group waits for an answer all the same, and closing the consumer will give back what was given.
            // Nothing is read: the reader knows of no partition and drops the consumer.
            assign(consumer, given).err();
        })?;
        let mut list = TopicPartitionList::with_capacity(numbers.len());
        for (number, reading) in &readings {
            list.add_partition_offset(&self.topic.topic, *number, Offset::Offset(reading.next()))
                .map_err(|error| error.to_string())?;
        }
        assign(consumer, &list).map_err(|error| format!("taking partitions over: {error}"))?;
        info!(source = %self.topic.source, topic = %self.topic.topic, partitions = ?numbers, "Reading partitions");
        let mut assigned = self.assigned();
        for (number, reading) in readings {
            assigned.add(number, reading);
        }
        assigned.complete();
        Ok(())
    }

    fn give_back(
        &self,
        consumer: &BaseConsumer<Self>,
        taken: &TopicPartitionList,
    ) -> Result<(), String> {
        let numbers = numbers(taken);
        let why = if consumer.assignment_lost() {
            Removal::Lost
        } else {
            Removal::Handover
        };
        let mut assigned = self.assigned();
        for number in &numbers {
            assigned.remove(*number, why);
        }
        drop(assigned);
        info!(source = %self.topic.source, topic = %self.topic.topic, partitions = ?numbers, "Partitions were taken away");
        unassign(consumer, taken).map_err(|error| format!("giving partitions back: {error}"))
    }

    /// Asks the broker what it has and the store where to go on; the broker first, since a claim disturbs an owner.
    fn claim(
        &self,
        consumer: &BaseConsumer<Self>,
        numbers: &[i32],
    ) -> Result<Vec<(i32, Reading)>, String> {
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let topic = &self.topic;
        let kept = offsets::kept(consumer, &topic.topic, numbers, limits::KAFKA_QUERY_TIMEOUT)?;
        let claims = self.claim_in_store(numbers)?;
        let mut assigned = self.assigned();
        for (number, claim) in numbers.iter().zip(&claims) {
            assigned.claimed(*number, claim);
        }
        drop(assigned);
        let of = |wanted: fn(&StartAt) -> bool| -> Vec<i32> {
            let claims = numbers.iter().zip(&claims);
            let wanted = claims.filter(|(_, claim)| wanted(&claim.start));
            wanted.map(|(number, _)| *number).collect()
        };
        let fresh = of(|start| *start == StartAt::Fresh);
        let anew = of(|start| matches!(start, StartAt::Resume { anew: true, .. }));
        let now = (topic.context.now)();
        let span = Span::fresh(topic.start, topic.warm_up, now);
        let again = Span::fresh(Start::Latest, topic.warm_up, now);
        let mut read = self.since(consumer, span.read, &fresh)?;
        read.extend(self.since(consumer, again.read, &anew)?);
        let judge = self.since(consumer, span.judge, &fresh)?;
        numbers
            .iter()
            .zip(&claims)
            .map(|(number, claim)| {
                let kept = *kept.get(number).ok_or("the broker did not name all partitions")?;
                let since = if anew.contains(number) { again } else { span };
                let fresh = FreshStart {
                    read: place(since.read, &read, *number, kept),
                    judge: place(since.judge, &judge, *number, kept),
                };
                self.reading(claim, kept, fresh)
                    .map(|reading| (*number, reading))
            })
            .collect()
    }

    fn claim_in_store(&self, numbers: &[i32]) -> Result<Vec<Claim>, String> {
        let topic = &self.topic;
        let partitions: Vec<SourcePartition> = numbers
            .iter()
            .map(|number| SourcePartition {
                source: topic.source.clone(),
                partition: format!("{}/{number}", topic.topic).into(),
            })
            .collect();
        let mut claims = topic
            .runtime
            .block_on(async {
                tokio::select! {
                    () = topic.context.cancel.cancelled() => Err("stopped".to_owned()),
                    claims = topic.context.claims.claim(&partitions) => claims.map_err(|error| error.to_string()),
                }
            })
            .map_err(|error| format!("claiming partitions in the store: {error}"))?;
        // The order of the answer is not promised.
        partitions
            .iter()
            .map(|partition| {
                let found = claims.iter().position(|it| it.partition == *partition);
                found.map(|index| claims.swap_remove(index)).ok_or_else(|| {
                    format!("the store did not grant partition {}", partition.partition)
                })
            })
            .collect()
    }

    fn since(
        &self,
        consumer: &BaseConsumer<Self>,
        since: Since,
        numbers: &[i32],
    ) -> Result<Offsets, String> {
        match since {
            Since::Time(time) if !numbers.is_empty() => offsets::at_time(
                consumer,
                &self.topic.topic,
                numbers,
                time,
                limits::KAFKA_QUERY_TIMEOUT,
            ),
            _ => Ok(Offsets::new()),
        }
    }

    /// A partition that cannot be read on is assigned like the others, at the place it cannot be read from: the broker
    /// refuses it again and again, and nothing is skipped.
    fn reading(&self, claim: &Claim, kept: Kept, fresh: FreshStart) -> Result<Reading, String> {
        let plan: Plan<i64> = start::plan(&claim.start, fresh, kept)?;
        if let Some((first, last)) = start::left_out(&claim.start, &plan) {
            warn!(
                source = %self.topic.source, partition = %claim.partition.partition, first, last,
                "The memory is too old for partition {}: records that were judged by then are gone or too many, and it goes on without them",
                claim.partition.partition
            );
        }
        let mut reading = Reading::new(claim, plan);
        if reading.check_kept(kept) {
            error!(
                source = %self.topic.source, partition = %claim.partition.partition,
                "Partition {} cannot be read on: {}",
                claim.partition.partition, reading.lost.as_deref().unwrap_or_default()
            );
        }
        Ok(reading)
    }
}

fn place(since: Since, offsets: &Offsets, number: i32, kept: Kept) -> i64 {
    match since {
        Since::Beginning => kept.first,
        Since::End => kept.end,
        // Nothing at or after the time: the end. What retention took since is not there to be read.
        Since::Time(_) => offsets
            .get(&number)
            .copied()
            .unwrap_or(kept.end)
            .clamp(kept.first, kept.end),
    }
}

fn numbers(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(TopicPartitionListElem::partition).collect()
}

fn assign<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    list: &TopicPartitionList,
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        _ => consumer.assign(list),
    }
}

fn unassign<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    list: &TopicPartitionList,
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        _ => consumer.unassign(),
    }
}

impl ConsumerContext for Callbacks {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let result = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.take_over(consumer, list),
            _ => self.give_back(consumer, list),
        };
        if let Err(reason) = result {
            self.assigned().failed = Some(reason);
        }
    }
}

impl ClientContext for Callbacks {
    /// Refused credentials and broken TLS are told here and nowhere else: reading merely finds nothing.
    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        // The tail changes with every attempt: `(after 12ms in state AUTH_REQ, 3 identical error(s) suppressed)`.
        let reason = reason.split(" (after ").next().unwrap_or(reason);
        let topic = &self.topic;
        let reason = match error.rdkafka_error_code() {
            // Not failures of a connection; the reader gets them too.
            Some(Code::PartitionEOF | Code::AutoOffsetReset | Code::PollExceeded) => return,
            // It says only how many: what they said before is the reason.
            Some(Code::AllBrokersDown) => {
                self.why(&format!("{}: {reason}", topic.kafka.brokers))
            }
            code => {
                self.remember(Some(reason.to_owned()));
                let connection = matches!(
                    code,
                    Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut)
                );
                // One of several brokers may go while all is read from the others: the probe finds out.
                if connection && self.assigned().joined {
                    return;
                }
                reason.to_owned()
            }
        };
        topic.health.down(&topic.topic, reason);
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, line: &str) {
        debug!(source = %self.topic.source, "librdkafka {facility}: {line}");
    }

    /// Lag comes from the probe; who asks for statistics gets them in the log.
    fn stats(&self, statistics: Statistics) {
        debug!(source = %self.topic.source, rx_messages = statistics.rxmsgs, "Kafka client statistics");
    }
}
