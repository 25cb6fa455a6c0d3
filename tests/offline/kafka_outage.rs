//! The Kafka source when things around it fail, on the client library's own mock cluster, which can be switched off.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use tokenwarden::config::{KafkaSource, Start};
use tokenwarden::model::limits;
use tokenwarden::sources::kafka::Kafka;

use crate::source_harness::{PATIENCE, Running, texts};

struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Cluster {
    fn new(topics: &[&str]) -> Self {
        let mock = MockCluster::new(1).unwrap();
        for topic in topics {
            mock.create_topic(topic, 1, 1).unwrap();
        }
        let producer = ClientConfig::new()
            .set("bootstrap.servers", mock.bootstrap_servers())
            .create()
            .unwrap();
        Self { mock, producer }
    }

    fn send(&self, topic: &str, text: &str) {
        let record = BaseRecord::<(), str>::to(topic).payload(text);
        self.producer
            .send(record)
            .map_err(|(error, _)| error)
            .unwrap();
        self.producer.flush(PATIENCE).unwrap();
    }

    fn source(&self, topics: &[&str]) -> Kafka {
        let cluster = KafkaSource {
            brokers: self.mock.bootstrap_servers().into(),
            topics: topics.iter().map(|topic| (*topic).into()).collect(),
            group: "warden".into(),
            properties: BTreeMap::new(),
        };
        Kafka::new("events".into(), cluster, Start::Earliest, Duration::ZERO)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn time_stands_still_while_the_broker_is_away() {
    let cluster = Cluster::new(&["a"]);
    cluster.send("a", "before");
    let mut running = Running::start(cluster.source(&["a"]), &Arc::default());
    assert_eq!(texts(&running.records(1).await), ["before"]);
    running.tick().await;
    cluster.mock.broker_down(1).unwrap();
    // On a busy machine it may have been told once, of a first question that took too long.
    let report = running
        .reports
        .wait_for(&cluster.mock.bootstrap_servers())
        .await;
    assert!(report.starts_with("down"), "{report}");
    running.forget_waiting();
    tokio::time::sleep(3 * limits::TICK_EVERY).await;
    assert!(
        running.forget_waiting().is_empty(),
        "a tick that nothing proves"
    );

    cluster.mock.broker_up(1).unwrap();
    cluster.send("a", "after");
    assert_eq!(texts(&running.records(1).await), ["after"]);
    running.reports.wait_for_last("up").await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn several_topics_are_partitions_of_one_source() {
    let cluster = Cluster::new(&["a", "b"]);
    cluster.send("a", "1");
    cluster.send("b", "2");
    let mut running = Running::start(cluster.source(&["a", "b"]), &Arc::default());
    let mut records = texts(&running.records(2).await);
    records.sort();
    assert_eq!(records, ["1", "2"]);
    assert_eq!(
        (running.claims.epoch("a/0"), running.claims.epoch("b/0")),
        (1, 1)
    );
    running.reports.wait_for("up").await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_never_there_is_named_and_a_stop_does_not_wait_for_it() {
    let cluster = Cluster::new(&["a"]);
    cluster.mock.broker_down(1).unwrap();
    let running = Running::start(cluster.source(&["a"]), &Arc::default());
    let report = running.reports.wait_for("down").await;
    assert!(
        report.contains(&cluster.mock.bootstrap_servers()),
        "{report}"
    );
    running.stop().await.unwrap();
}
