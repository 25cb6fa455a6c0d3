//! The Kafka source on a real broker: each test has a topic and a group of its own.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokenwarden::config::{KafkaSource, Secret, Start};
use tokenwarden::model::{Position, RawBatch, SourcePartition, Text, Timestamp, limits};
use tokenwarden::sources::kafka::Kafka;

use crate::source_harness::{MemoryClaims, PATIENCE, Running, texts};

mod access;

const DAY: Duration = Duration::from_hours(24);

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: see tests/servers"))
}

/// A topic of its own, with what it takes to write and read it.
pub(crate) struct Topic {
    pub(crate) name: String,
    producer: BaseProducer,
    claims: Arc<MemoryClaims>,
}

impl Topic {
    pub(crate) async fn new(partitions: i32) -> Self {
        let topic = Self::unmade();
        topic.make(partitions).await;
        topic
    }

    fn unmade() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = Timestamp::now().as_millisecond();
        Self {
            name: format!("events-{}-{now}-{number}", std::process::id()),
            producer: plain().create().unwrap(),
            claims: Arc::default(),
        }
    }

    async fn make(&self, partitions: i32) {
        let new = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let made = admin().create_topics([&new], &options).await.unwrap();
        assert!(made[0].is_ok(), "{made:?}");
    }

    async fn delete(&self) {
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let gone = admin().delete_topics(&[&self.name], &options).await;
        assert!(gone.unwrap()[0].is_ok());
    }

    /// Sends `texts` to one partition, in order, all with one time where it is given.
    pub(crate) fn send_at(&self, partition: i32, time: Option<Timestamp>, texts: &[&[u8]]) {
        for text in texts {
            let mut record = BaseRecord::<(), [u8]>::to(&self.name)
                .partition(partition)
                .payload(text);
            record.timestamp = time.map(Timestamp::as_millisecond);
            self.producer
                .send(record)
                .map_err(|(error, _)| error)
                .unwrap();
            self.producer.poll(Duration::ZERO);
        }
        self.producer.flush(PATIENCE).unwrap();
    }

    fn send(&self, partition: i32, text: &str) {
        self.send_at(partition, None, &[text.as_bytes()]);
    }

    fn send_numbered(&self, partition: i32, numbers: std::ops::Range<usize>) {
        let texts: Vec<String> = numbers.map(|number| number.to_string()).collect();
        let texts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
        self.send_at(partition, None, &texts);
    }

    fn source(&self, start: Start, warm_up: Duration, more: &[(&str, &str)]) -> Kafka {
        let mut properties: BTreeMap<Text, Secret> = BTreeMap::new();
        // The broker's shortest, so that a member that was killed is missed soon.
        properties.insert("session.timeout.ms".into(), Secret::new("6000"));
        for (name, value) in more {
            properties.insert((*name).into(), Secret::new(*value));
        }
        let cluster = KafkaSource {
            brokers: variable("TW_KAFKA").into(),
            topics: vec![self.name.as_str().into()],
            group: format!("group-{}", self.name).into(),
            properties,
        };
        Kafka::new("events".into(), cluster, start, warm_up)
    }

    fn read_all(&self) -> Running {
        Running::start(self.source(Start::Earliest, DAY, &[]), &self.claims)
    }

    /// What somebody left behind who had read the first partition up to here.
    fn at(&self, position: &str) -> RawBatch {
        RawBatch {
            partition: self.partition(0),
            shard: 0,
            epoch: 0,
            records: Vec::new(),
            position: Position(position.into()),
            tick: None,
            ended: false,
            arrived_at: None,
        }
    }

    /// As retention does.
    async fn delete_before(&self, offset: i64) {
        let mut before = TopicPartitionList::new();
        before
            .add_partition_offset(&self.name, 0, Offset::Offset(offset))
            .unwrap();
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        // Awaited where the client lives: an answer that comes after its end is awaited for ever.
        let gone = admin().delete_records(&before, &options).await;
        gone.unwrap();
    }

    fn partition(&self, number: i32) -> SourcePartition {
        SourcePartition {
            source: "events".into(),
            partition: format!("{}/{number}", self.name).into(),
        }
    }
}

fn plain() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", variable("TW_KAFKA"));
    config
}

fn admin() -> AdminClient<DefaultClientContext> {
    plain().create().unwrap()
}

/// What a correct reader has committed: every record of every partition once, in order.
#[derive(Default)]
struct Ledger(BTreeMap<Text, Vec<usize>>);

impl Ledger {
    /// Takes a batch as the store would: not at all when it is fenced.
    fn commit(&mut self, claims: &MemoryClaims, batch: &RawBatch) -> bool {
        let taken = claims.commit(batch);
        if taken {
            let number = |text: String| text.parse::<usize>().unwrap();
            let numbers = texts(&batch.records).into_iter().map(number);
            let partition = batch.partition.partition.clone();
            self.0.entry(partition).or_default().extend(numbers);
        }
        taken
    }

    fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    fn assert_complete(&self, each: usize) {
        for (partition, numbers) in &self.0 {
            assert!(
                numbers.iter().copied().eq(0..each),
                "{partition}: {numbers:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn two_partitions_are_read_to_their_ends_and_go_on_where_they_were_committed() {
    let topic = Topic::new(2).await;
    topic.send_numbered(0, 0..3000);
    topic.send_numbered(1, 0..3000);
    let mut ledger = Ledger::default();
    let mut running = topic.read_all();
    while ledger.count() < 2000 {
        let batch = running.batch().await;
        assert!(ledger.commit(&topic.claims, &batch));
    }
    // What is still on its way is lost with the process.
    running.stop().await.unwrap();
    topic.send_numbered(0, 3000..3010);
    topic.send_numbered(1, 3000..3010);

    let mut running = topic.read_all();
    while ledger.count() < 6020 {
        let batch = running.batch().await;
        assert!(batch.records.iter().all(|record| !record.muted));
        assert!(ledger.commit(&topic.claims, &batch));
    }
    ledger.assert_complete(3010);
    let first = running.tick().await;
    let second = running.tick().await;
    let third = running.tick().await;
    assert_ne!(first.partition, second.partition, "both are at their ends");
    assert_eq!(first.partition, third.partition);
    assert!(third.tick > first.tick);
    assert_eq!(topic.claims.epoch(&topic.partition(0).partition), 2);
    assert_eq!(running.reports.all(), ["up"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_second_consumer_takes_over_without_loss_or_double() {
    let topic = Topic::new(4).await;
    let mut ledger = Ledger::default();
    let (mut sent, each) = (0, 2000);
    let send = |topic: &Topic, range: std::ops::Range<usize>| {
        (0..4).for_each(|partition| topic.send_numbered(partition, range.clone()));
    };
    let mut one = topic.read_all();
    send(&topic, 0..100);
    while ledger.count() < 400 {
        let batch = one.batch().await;
        assert!(ledger.commit(&topic.claims, &batch));
    }
    let mut two = topic.read_all();
    let mut by_two = 0;
    let began = std::time::Instant::now();
    while ledger.count() < 4 * each {
        assert!(
            began.elapsed() < 2 * PATIENCE,
            "only {} came",
            ledger.count()
        );
        // The joining goes on while records keep coming.
        if sent < each {
            send(&topic, sent.max(100)..(sent + 100).max(100));
            sent += 100;
        }
        tokio::select! {
            batch = one.batch() => { ledger.commit(&topic.claims, &batch); }
            batch = two.batch() => if ledger.commit(&topic.claims, &batch) { by_two += batch.records.len(); }
        }
    }
    while by_two == 0 {
        assert!(began.elapsed() < 2 * PATIENCE, "the second got nothing");
        let batch = two.batch().await;
        by_two += usize::from(batch.tick.is_some());
    }
    ledger.assert_complete(each);
    let epochs: Vec<u64> = (0..4)
        .map(|number| topic.claims.epoch(&topic.partition(number).partition))
        .collect();
    assert_eq!(
        epochs.iter().filter(|epoch| **epoch > 1).count(),
        2,
        "{epochs:?}"
    );
    one.stop().await.unwrap();
    two.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_frozen_consumer_is_fenced() {
    let topic = Topic::new(1).await;
    let stalls = [("max.poll.interval.ms", "6000")];
    let source = || topic.source(Start::Earliest, DAY, &stalls);
    let mut frozen = Running::with_room_for(1, source(), &topic.claims);
    let first = frozen.batch().await;
    topic.send_numbered(0, 0..limits::BATCH_RECORDS_MAX * 5);
    // Nobody takes its batches any more; the group gives the partition to the next.
    let mut next = Running::start(source(), &topic.claims);
    let mut ledger = Ledger::default();
    while ledger.count() < limits::BATCH_RECORDS_MAX * 5 {
        let batch = next.batch().await;
        assert!(ledger.commit(&topic.claims, &batch));
    }
    ledger.assert_complete(limits::BATCH_RECORDS_MAX * 5);
    let late = frozen.forget_waiting();
    assert!(!late.is_empty() && first.epoch == 1);
    assert!(
        late.iter()
            .all(|batch| batch.epoch == 1 && !topic.claims.commit(batch))
    );
    frozen.stop().await.unwrap();
    next.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_partition_lost_to_another_member_is_said_to_have_ended() {
    let topic = Topic::new(2).await;
    let stalls = [("max.poll.interval.ms", "6000")];
    let source = || topic.source(Start::Earliest, DAY, &stalls);
    let mut frozen = Running::with_room_for(1, source(), &topic.claims);
    frozen.tick().await;
    (0..2).for_each(|number| topic.send_numbered(number, 0..limits::BATCH_RECORDS_MAX * 5));
    let mut next = Running::start(source(), &topic.claims);
    let began = std::time::Instant::now();
    while (0..2).any(|number| topic.claims.epoch(&topic.partition(number).partition) < 2) {
        assert!(began.elapsed() < 2 * PATIENCE, "it was not given both");
        topic.claims.commit(&next.batch().await);
    }
    // It wakes up and joins again: what it has lost must hold nobody's time back.
    let mut ended = BTreeMap::new();
    while ended.is_empty() {
        assert!(began.elapsed() < 3 * PATIENCE, "nothing has ended");
        tokio::select! {
            batch = next.batch() => { topic.claims.commit(&batch); }
            batch = frozen.batch() => if batch.ended { ended.insert(batch.partition.clone(), batch); }
        }
    }
    assert!(
        ended
            .values()
            .all(|batch| batch.records.is_empty() && batch.epoch == 1)
    );
    frozen.stop().await.unwrap();
    next.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn poison_is_handed_on_and_stops_nothing() {
    let topic = Topic::new(1).await;
    let large = vec![b'x'; limits::RECORD_BYTES_MAX + 100];
    let tombstone = BaseRecord::<str, [u8]>::to(&topic.name)
        .partition(0)
        .key("gone");
    topic
        .producer
        .send(tombstone)
        .map_err(|(error, _)| error)
        .unwrap();
    topic.send_at(0, None, &[b"", &large, b"\xff\xfe", b"{}"]);
    let mut running = topic.read_all();
    let records = running.records(5).await;
    let sizes: Vec<usize> = records.iter().map(|record| record.payload.len()).collect();
    assert_eq!(sizes, [0, 0, limits::RECORD_BYTES_MAX + 1, 2, 2]);
    assert_eq!(&*records[4].place, "4");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn the_time_before_the_start_is_read_muted() {
    let topic = Topic::new(1).await;
    let now = Timestamp::now();
    topic.send_at(0, Some(now - 2 * DAY), &[b"long ago"]);
    topic.send_at(0, Some(now - DAY / 2), &[b"before"]);
    let source = topic.source(Start::Latest, DAY, &[]);
    let mut running = Running::start(source, &topic.claims);
    assert_eq!(texts(&running.records(1).await), ["~before"]);
    topic.send(0, "after");
    assert_eq!(texts(&running.records(1).await), ["after"]);
    running.stop().await.unwrap();

    let from = Start::At(now - DAY);
    let claims = Arc::default();
    let mut running = Running::start(topic.source(from, 3 * DAY, &[]), &claims);
    let records = running.records(3).await;
    assert_eq!(texts(&records), ["~long ago", "before", "after"]);
    running.stop().await.unwrap();
}

/// As after an update that cannot use the saved state.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn where_nothing_is_remembered_the_warm_up_is_read_again_and_muted() {
    let topic = Topic::new(1).await;
    let now = Timestamp::now();
    topic.send_at(0, Some(now - 2 * DAY), &[b"long ago"]);
    topic.send_at(0, Some(now - DAY / 2), &[b"before"]);
    let source = || topic.source(Start::Earliest, DAY, &[]);
    let mut running = Running::start(source(), &topic.claims);
    assert_eq!(texts(&running.records(2).await), ["long ago", "before"]);
    running.stop().await.unwrap();

    topic.send(0, "after");
    topic.claims.restore_nothing();
    let mut running = Running::start(source(), &topic.claims);
    assert_eq!(texts(&running.records(2).await), ["~before", "after"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_start_at_the_end_is_remembered_before_anything_comes() {
    let topic = Topic::new(1).await;
    topic.send(0, "old");
    let latest = || topic.source(Start::Latest, Duration::ZERO, &[]);
    let mut running = Running::start(latest(), &topic.claims);
    running.tick().await;
    running.stop().await.unwrap();
    topic.send(0, "while away");
    let mut running = Running::start(latest(), &topic.claims);
    assert_eq!(texts(&running.records(1).await), ["while away"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_topic_that_is_missing_is_named_and_read_when_it_comes() {
    let topic = Topic::unmade();
    let soon = [("topic.metadata.refresh.interval.ms", "500")];
    let source = topic.source(Start::Earliest, DAY, &soon);
    let mut running = Running::start(source, &topic.claims);
    let report = running.reports.wait_for("down").await;
    assert!(
        report.to_lowercase().contains("unknown topic") || report.contains("does not exist"),
        "{report}"
    );
    topic.make(1).await;
    topic.send(0, "first");
    assert_eq!(texts(&running.records(1).await), ["first"]);
    running.reports.wait_for("up").await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_position_that_the_broker_no_longer_has_is_never_skipped() {
    let topic = Topic::new(2).await;
    topic.send_numbered(0, 0..3);
    let mut running = topic.read_all();
    running.records(3).await;
    running.stop().await.unwrap();
    topic.delete().await;
    topic.make(2).await;
    topic.send(0, "new");
    topic.send(1, "other");

    let mut running = topic.read_all();
    // The other partition is read all the same.
    assert_eq!(texts(&running.records(1).await), ["other"]);
    let report = running.reports.wait_for("down").await;
    assert!(
        report.contains("the stored position 3 lies behind the end 1"),
        "{report}"
    );
    assert!(report.contains(&format!("{}/0", topic.name)), "{report}");
    let idle = running.tick().await;
    assert_eq!(idle.partition, topic.partition(1));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn what_retention_took_unread_is_never_skipped() {
    let topic = Topic::new(1).await;
    topic.send_numbered(0, 0..2);
    let mut running = topic.read_all();
    running.records(2).await;
    running.stop().await.unwrap();
    topic.send_numbered(0, 2..10);
    topic.delete_before(5).await;

    let mut running = topic.read_all();
    let report = running.reports.wait_for("down").await;
    assert!(
        report.contains("has deleted the records 2 to 4 before"),
        "{report}"
    );
    let announced = running.batch().await;
    assert!(announced.records.is_empty());
    assert_eq!(&*announced.position.0, r#"{"offset":2}"#);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn what_retention_took_after_it_was_judged_is_no_loss() {
    let topic = Topic::new(1).await;
    topic.send_numbered(0, 0..10);
    // The former owner has come far; the memory of the next is old.
    topic.claims.commit(&topic.at(r#"{"offset":8}"#));
    topic.claims.restore(&topic.at(r#"{"offset":2}"#));
    topic.delete_before(5).await;
    let mut running = topic.read_all();
    let read = texts(&running.records(5).await);
    assert_eq!(read, ["~5", "~6", "~7", "8", "9"]);
    running.reports.wait_for("up").await;
    assert_eq!(running.reports.all(), ["up"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_stored_position_that_is_none_is_reported() {
    let topic = Topic::new(1).await;
    topic.claims.commit(&topic.at(r#"{"inode":1}"#));
    let running = topic.read_all();
    let report = running.reports.wait_for("down").await;
    assert!(
        report.contains("is not one of a Kafka partition"),
        "{report}"
    );
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_store_that_cannot_grant_partitions_is_asked_again() {
    let topic = Topic::new(1).await;
    topic.send(0, "kept");
    topic.claims.fail_next();
    let mut running = topic.read_all();
    let report = running.reports.wait_for("down").await;
    assert_eq!(
        report,
        "down: claiming partitions in the store: the store is away"
    );
    assert_eq!(texts(&running.records(1).await), ["kept"]);
    running.reports.wait_for_last("up").await;
    running.stop().await.unwrap();
}
