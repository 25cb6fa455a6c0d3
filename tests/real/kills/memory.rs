//! The real binary killed at random moments over records that are all there from the start: what it remembers at the end is, to the
//! last bit, what one remembers that nobody disturbed.
//!
//! Not over a file: it is read as soon as the daemon runs, at a first start before or after our own table, and until both have said
//! something engine time stands. Whoever joins a group comes later.

use std::time::Duration;

use tokenwarden::simulate::Random;

use super::compare::{FAMILIES, observer, remembers_the_same};
use super::{EMBEDDED, LATER, Records, SNAPSHOTS, SOON, database, kafka_source, kills, seed};
use crate::flagship_run::Run;
use crate::kafka::Topic;
use crate::traffic::{Traffic, traffic};

async fn remembers(way: u64, records: &mut Records, (killed, calm): (Run, Run)) {
    let seed = seed();
    println!("seed {seed}: {} kills", kills());
    let mut random = Random::part(seed, way);
    let traffic = in_one_partition(traffic(FAMILIES, random.number()));
    records.write(&killed, &traffic.records).await;
    for _ in 0..kills() {
        let most = if random.happens(250_000) { LATER } else { SOON };
        let pause = random.between(Duration::ZERO, most);
        killed.home.killed_within(pause).await;
    }
    remembers_the_same(&killed, &calm, &traffic).await;
}

/// Two are read in another order each time.
fn in_one_partition(mut traffic: Traffic) -> Traffic {
    for (partition, _) in &mut traffic.records {
        *partition = 0;
    }
    traffic
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn of_a_broker_in_postgresql() {
    let topic = Topic::new(1).await;
    let killed = kafka_source(&topic, "killed");
    let killed = observer(&killed, &database().await, SNAPSHOTS).await;
    let calm = observer(&kafka_source(&topic, "calm"), EMBEDDED, "").await;
    remembers(6, &mut Records::Kafka(topic), (killed, calm)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn of_a_broker_in_an_embedded_store() {
    let topic = Topic::new(1).await;
    let killed = observer(&kafka_source(&topic, "killed"), EMBEDDED, SNAPSHOTS).await;
    let calm = observer(&kafka_source(&topic, "calm"), EMBEDDED, "").await;
    remembers(7, &mut Records::Kafka(topic), (killed, calm)).await;
}
