//! What `check --online` asks a Kafka cluster: do the brokers answer, are we let in, are the topics there.
//!
//! A client of its own, that joins no group: the daemon that reads beside it must not notice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use tracing::debug;

use super::offsets;
use super::settings::{client_config, creation_fault};
use crate::config::KafkaSource;
use crate::model::{Finding, limits};

/// Asks the cluster. Blocks for up to about `patience`; what does not work is a finding.
pub fn inspect(kafka: &KafkaSource, patience: Duration) -> Vec<Finding> {
    let deadline = Instant::now() + patience;
    let consumer: BaseConsumer<Listener> = match client_config(kafka, "inspection")
        .and_then(|config| {
            config
                .create_with_context(Listener::default())
                .map_err(|error| creation_fault(&error))
        }) {
        Ok(consumer) => consumer,
        Err(why) => return vec![Finding::fault(why, "correct it under `properties`")],
    };
    if let Err(finding) = reach(&consumer, kafka, deadline) {
        return vec![finding];
    }
    let mut findings = vec![Finding::fine(format!("{} answers and lets us in", kafka.brokers))];
    findings.extend(kafka.topics.iter().map(|topic| look_at(&consumer, kafka, topic, deadline)));
    findings
}

/// Until the brokers have answered, or have refused us, or the time is over.
fn reach(consumer: &BaseConsumer<Listener>, kafka: &KafkaSource, deadline: Instant) -> Result<(), Finding> {
    loop {
        let answer = consumer.fetch_metadata(None, STEP.min(left(deadline)));
        let Err(error) = answer else { return Ok(()) };
        // Why a connection fails is told through the queue of events, never by the call itself.
        while consumer.poll(Duration::from_millis(50)).is_some() {}
        let said = consumer.context().said();
        if let Some((true, reason)) = &said {
            return Err(Finding::fault(
                format!("{} refuses us: {reason}", kafka.brokers),
                "check security.protocol, sasl.* and ssl.* under `properties`",
            ));
        }
        if consumer.context().all_down() || Instant::now() >= deadline {
            let reason = said.map_or_else(|| error.to_string(), |(_, reason)| reason);
            return Err(Finding::fault(
                format!("{} cannot be reached: {reason}", kafka.brokers),
                "check `brokers`, the network, and whether the listener speaks the security.protocol under `properties`",
            ));
        }
    }
}

fn look_at(consumer: &BaseConsumer<Listener>, kafka: &KafkaSource, topic: &str, deadline: Instant) -> Finding {
    let timeout = left(deadline).max(STEP);
    let metadata = match consumer.fetch_metadata(Some(topic), timeout) {
        Ok(metadata) => metadata,
        Err(error) => return unreadable(topic, &error.to_string(), "ask the cluster's owner"),
    };
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return unreadable(topic, "the cluster does not tell of it", "ask the cluster's owner");
    };
    if let Some(error) = found.error() {
        return refused(kafka, topic, error);
    }
    let partitions: Vec<i32> = found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
    // Offsets are told only to whoever may read.
    match offsets::kept(consumer, topic, &partitions, timeout.min(limits::KAFKA_QUERY_TIMEOUT)) {
        Ok(kept) => {
            let records: i64 = kept.values().map(|kept| kept.end - kept.first).sum();
            Finding::fine(format!("topic {topic} can be read: {} partitions, about {records} records kept", partitions.len()))
        }
        Err(why) => unreadable(topic, &why, &allow_reading(kafka, topic)),
    }
}

fn refused(kafka: &KafkaSource, topic: &str, error: RDKafkaRespErr) -> Finding {
    let code = RDKafkaErrorCode::from(error);
    match code {
        RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => Finding::fault(
            format!("there is no topic {topic}"),
            format!(
                "correct `topics`, or create it: kafka-topics.sh --bootstrap-server {} --create --topic {topic}",
                first_broker(kafka)
            ),
        ),
        RDKafkaErrorCode::TopicAuthorizationFailed => {
            unreadable(topic, "the account may not read it", &allow_reading(kafka, topic))
        }
        code => unreadable(topic, &code.to_string(), "ask the cluster's owner"),
    }
}

fn unreadable(topic: &str, why: &str, mend: &str) -> Finding {
    Finding::fault(format!("topic {topic} cannot be read: {why}"), mend)
}

fn allow_reading(kafka: &KafkaSource, topic: &str) -> String {
    let user = kafka.properties.get("sasl.username").map_or("USER", |user| user.expose());
    format!(
        "kafka-acls.sh --bootstrap-server {} --add --allow-principal User:{user} --consumer --topic {topic} --group {}",
        first_broker(kafka),
        kafka.group
    )
}

fn first_broker(kafka: &KafkaSource) -> &str {
    kafka.brokers.split(',').next().unwrap_or_default().trim()
}

/// One question; short, so that a refusal is noticed soon.
const STEP: Duration = Duration::from_secs(2);

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100))
}

/// Remembers what the connections say.
#[derive(Default)]
struct Listener {
    /// The last thing said, and whether no waiting mends it.
    said: Mutex<Option<(bool, String)>>,
    all_down: AtomicBool,
}

impl Listener {
    fn said(&self) -> Option<(bool, String)> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }

    /// No broker of the list answers: trying on would find the same.
    fn all_down(&self) -> bool {
        self.all_down.load(Ordering::Relaxed)
    }
}

impl ConsumerContext for Listener {}

impl ClientContext for Listener {
    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        // This one only counts the others.
        if code == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.all_down.store(true, Ordering::Relaxed);
            return;
        }
        let is_refusal = matches!(
            code,
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::SSL)
        );
        let reason = reason.split(" (after ").next().unwrap_or(reason).to_owned();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if !said.as_ref().is_some_and(|(was_refusal, _)| *was_refusal) {
            *said = Some((is_refusal, reason));
        }
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, line: &str) {
        debug!("librdkafka {facility}: {line}");
    }
}
