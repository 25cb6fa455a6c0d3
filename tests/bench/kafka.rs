//! The Kafka path beside a bare consumer: librdkafka with the same properties, a loop that polls and counts bytes.
//!
//! The daemon reads with everything it has: decoder, engine, response policy and commits to SQLite, in the same process.
//! Both are timed from the first progress seen to the end, so that joining a group counts for neither.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::ToBytes;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use serde_json::Value;
use tokenwarden::app::{Daemon, StartError};
use tokenwarden::model::Timestamp;
use tokenwarden::store::Store;

use crate::input::{Traffic, write_record};
use crate::machine::{Stopwatch, Turn};
use crate::table::{self, Path as Measured};
use crate::world::{ALL_RULES, FOUR_RULES, World};

pub(crate) const PARTITIONS: u32 = 2;
/// Nothing here takes this long on a machine that works.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub(crate) fn run(broker: &str, events: u32, families: u32, runs: u32) -> anyhow::Result<Ratios> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let topic = format!("tokenwarden-bench-{}", std::process::id());
    runtime.block_on(make_topic(broker, &topic))?;
    let measured = produce(broker, &topic, events, 0..families).and_then(|bytes| {
        turns(&runtime, broker, &topic, events, runs).map(|paths| (bytes, paths))
    });
    runtime.block_on(delete_topic(broker, &topic));
    let (bytes, paths) = measured?;
    let title = format!(
        "kafka: {events} events of {} bytes in {PARTITIONS} partitions, {families} families, {runs} turns each",
        bytes / u64::from(events)
    );
    table::print(&title, &paths)?;
    let [bare, of_four, of_all] = &paths;
    Ok(Ratios {
        of_four: of_four.rate() / bare.rate(),
        of_all: of_all.rate() / bare.rate(),
    })
}

/// Rates of the daemon, of the bare consumer's.
pub(crate) struct Ratios {
    pub(crate) of_four: f64,
    pub(crate) of_all: f64,
}

fn turns(
    runtime: &tokio::runtime::Runtime,
    broker: &str,
    topic: &str,
    events: u32,
    runs: u32,
) -> anyhow::Result<[Measured; 3]> {
    let mut bare = Measured::new("bare consumer, count bytes");
    let mut of_four = Measured::new("daemon, four rules, SQLite store");
    let mut of_all = Measured::new("daemon, all shipped rules, SQLite store");
    for _ in 0..runs {
        bare.add(consume(broker, topic, events)?);
        for (rules, path) in [(&FOUR_RULES[..], &mut of_four), (&ALL_RULES, &mut of_all)] {
            path.add(runtime.block_on(watch_daemon(broker, topic, events, rules))?);
        }
    }
    Ok([bare, of_four, of_all])
}

/// The properties that decide about speed as the daemon sets them.
pub(crate) fn client(broker: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", broker)
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.wait.max.ms", "100")
        .set("queued.min.messages", "100000")
        .set("queued.max.messages.kbytes", "32768")
        .set("enable.auto.commit", "false")
        .set("group.id", "tokenwarden-bench");
    config
}

pub(crate) async fn make_topic(broker: &str, topic: &str) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = client(broker).create()?;
    let new = NewTopic::new(
        topic,
        i32::try_from(PARTITIONS)?,
        TopicReplication::Fixed(1),
    );
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let made = admin.create_topics([&new], &options).await?;
    ensure!(
        made.iter().all(Result::is_ok),
        "the topic cannot be made: {made:?}"
    );
    Ok(())
}

pub(crate) async fn delete_topic(broker: &str, topic: &str) {
    let admin: Result<AdminClient<DefaultClientContext>, _> = client(broker).create();
    if let Ok(admin) = admin {
        // What stays behind has a name of its own and is in nobody's way.
        drop(admin.delete_topics(&[topic], &AdminOptions::new()).await);
    }
}

/// Families are spread over the partitions, and the events of one stand in one, as a producer with a key would do.
pub(crate) fn produce(
    broker: &str,
    topic: &str,
    events: u32,
    families: Range<u32>,
) -> anyhow::Result<u64> {
    let producer: BaseProducer = client(broker)
        .set("linger.ms", "50")
        .set("queue.buffering.max.kbytes", "262144")
        .create()?;
    // The newest event is in the past: what lies ahead of its arrival is rejected.
    let start = Timestamp::now() - Duration::from_hours(24);
    let mut line = String::new();
    let mut bytes = 0;
    for presentation in Traffic::new(families, start).take(usize::try_from(events)?) {
        line.clear();
        write_record(&presentation, &mut line)?;
        bytes += line.len() as u64;
        let partition = i32::try_from(presentation.family % PARTITIONS)?;
        let record = BaseRecord::<(), str>::to(topic).partition(partition);
        hand_over(&producer, record.payload(&line))?;
    }
    producer.flush(PATIENCE)?;
    Ok(bytes)
}

/// Waits while as much is on its way as may be.
pub(crate) fn hand_over<K: ToBytes + ?Sized>(
    producer: &BaseProducer,
    mut record: BaseRecord<'_, K, str>,
) -> anyhow::Result<()> {
    while let Err((error, again)) = producer.send(record) {
        let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        ensure!(error == full, "the broker does not take records: {error}");
        producer.poll(Duration::from_millis(50));
        record = again;
    }
    Ok(())
}

fn consume(broker: &str, topic: &str, events: u32) -> anyhow::Result<Turn> {
    let consumer: BaseConsumer = client(broker).create()?;
    consumer.assign(&all_partitions(topic)?)?;
    let mut watch = None;
    let (mut read, mut bytes) = (0, 0);
    let begun = Instant::now();
    while read < events {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            ensure!(
                begun.elapsed() < PATIENCE,
                "only {read} of {events} records came"
            );
            continue;
        };
        bytes += message?.payload().map_or(0, <[u8]>::len);
        read += 1;
        watch.get_or_insert_with(Stopwatch::start);
    }
    std::hint::black_box(bytes);
    Ok(watch.context("there was nothing to read")?.stop(events))
}

/// From their beginnings.
pub(crate) fn all_partitions(topic: &str) -> anyhow::Result<TopicPartitionList> {
    let mut assignment = TopicPartitionList::new();
    for partition in 0..i32::try_from(PARTITIONS)? {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    Ok(assignment)
}

async fn watch_daemon(
    broker: &str,
    topic: &str,
    events: u32,
    rules: &[&str],
) -> anyhow::Result<Turn> {
    // Each has a store of its own, and waits for what another one left in a group they shared.
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let group = format!("{topic}-{}", STARTED.fetch_add(1, Ordering::Relaxed));
    let world = World::new()?;
    let more = format!(
        "sources:\n  - name: bench\n    kafka: {{ brokers: [\"{broker}\"], topics: [{topic}], group: {group} }}\n    \
         format: tokenwarden\n    start: earliest\n    warm_up: 0s\n\
         http: {{ ops: {{ listen: \"127.0.0.1:0\" }}, api: {{ listen: \"127.0.0.1:0\", token: bench-token-bench-token }} }}\n"
    );
    let config = world.config_of(rules, &more)?;
    let daemon = Daemon::start(config).await.map_err(|error| match error {
        StartError::Faults(faults) => anyhow!("{faults:?}"),
        StartError::Failed(error) => error,
    })?;
    let turn = until_read(&daemon.store, events).await;
    daemon.stop().await?;
    turn
}

/// From the first committed position on, over the events that were left then.
async fn until_read(store: &Store, events: u32) -> anyhow::Result<Turn> {
    let begun = Instant::now();
    let mut first: Option<(Stopwatch, u32)> = None;
    while begun.elapsed() < PATIENCE {
        let read = committed(store).await?;
        if read >= events {
            let (watch, before) =
                first.context("too few events: all were read at the first look")?;
            return Ok(watch.stop(events - before));
        }
        if read > 0 {
            first.get_or_insert_with(|| (Stopwatch::start(), read));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!(
        "the daemon has read {} of {events} records",
        committed(store).await?
    )
}

/// Records up to the committed positions, over the partitions.
pub(crate) async fn committed(store: &Store) -> anyhow::Result<u32> {
    let mut next = BTreeMap::new();
    for (partition, position) in store.positions().await? {
        let position: Value = serde_json::from_str(&position.0)?;
        if let Some(offset) = position["offset"]
            .as_u64()
            .filter(|_| &*partition.source == "bench")
        {
            next.insert(partition.partition, u32::try_from(offset)?);
        }
    }
    Ok(next.values().sum())
}
