//! The real binary killed at random moments, again and again, over each kind of source and store, and then let come to the
//! end: its incidents, actions and calls are those that the traffic demands, and those of a daemon that nobody disturbed.
//!
//! A kill comes while it starts, restores, reads again, judges, commits, saves its state or calls: where, decides the seed.
//! `TOKENWARDEN_KILLS=1000 TOKENWARDEN_SEED=7 tests/run kills::` spreads so many kills over the ways and prints the seed;
//! the timing of processes is no function of it, so that a seed gives the same traffic and the same pauses, not the same run.
//! Beside these, `on_postgresql` and `embedded` kill at steps that have a name.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]
#![expect(clippy::print_stdout, reason = "the seed is to be had again")]

mod compare;
mod embedded;
mod held;
mod locked;
mod memory;
mod on_postgresql;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokenwarden::simulate::Random;

use crate::flagship_run::Run;
use crate::kafka::Topic;
use crate::keycloak_realm::env;
use crate::mail::unique;
use crate::traffic::{Traffic, traffic};

/// Kills of all ways together where nobody asks for more: enough to meet each phase of the daemon's life.
const KILLS: usize = 40;
const WAYS: usize = 7;
const FAMILIES: usize = 200;
/// Most kills come before the daemon has read itself in again; some let it get on.
const SOON: Duration = Duration::from_millis(700);
const LATER: Duration = Duration::from_secs(3);
const SNAPSHOTS: &str = ", snapshot_every: 1s";
const EMBEDDED: &str = "sqlite://tokenwarden.db";

/// Where a way takes its records from.
pub(crate) enum Records {
    Kafka(Topic),
    Table(PgConnection),
    File,
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// One for all ways.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    let fresh = || RandomState::new().hash_one("kills") % 1_000_000;
    *SEED.get_or_init(|| number("TOKENWARDEN_SEED").unwrap_or_else(fresh))
}

fn kills() -> usize {
    let all = number("TOKENWARDEN_KILLS").map_or(KILLS, |all| usize::try_from(all).unwrap());
    all.div_ceil(WAYS)
}

/// A database of its own at the server, and its URL.
pub(crate) async fn database() -> String {
    let (server, name) = (env("TW_POSTGRES_URL"), unique("kills"));
    let mut connection = PgConnection::connect(&server).await.unwrap();
    let create = format!("CREATE DATABASE {name} TEMPLATE template0");
    execute(&mut connection, &create).await;
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    url.to_string()
}

pub(crate) async fn execute(connection: &mut PgConnection, sql: &str) {
    let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    connection.execute(sql).await.unwrap();
}

impl Records {
    pub(crate) async fn write(&mut self, run: &Run, records: &[(i32, String)]) {
        match self {
            Self::Kafka(topic) => {
                for partition in [0, 1] {
                    let of_partition = records.iter().filter(|(to, _)| *to == partition);
                    let texts: Vec<&[u8]> = of_partition.map(|(_, text)| text.as_bytes()).collect();
                    topic.send_at(partition, None, &texts);
                }
            }
            Self::Table(connection) => {
                for (_, text) in records {
                    let insert = sqlx::query("INSERT INTO audit (payload) VALUES ($1::jsonb)");
                    insert.bind(text).execute(&mut *connection).await.unwrap();
                }
            }
            Self::File => {
                let lines: String = records
                    .iter()
                    .map(|(_, text)| format!("{text}\n"))
                    .collect();
                run.home.append("events.jsonl", &lines);
            }
        }
    }
}

fn kafka_source(topic: &Topic, group: &str) -> String {
    format!(
        "    kafka:
      brokers: [\"{brokers}\"]
      topics: [{name}]
      group: {group}-{name}
    lateness: 30h",
        brokers = env("TW_KAFKA"),
        name = topic.name
    )
}

pub(crate) async fn table() -> (Records, String) {
    let url = database().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let create = "CREATE TABLE audit (id bigserial PRIMARY KEY, payload jsonb NOT NULL)";
    execute(&mut connection, create).await;
    let source = format!(
        "    sql:
      url: {url}
      layout: {{ table: {{ name: audit, cursor: {{ id: {{ column: id }} }}, json_column: payload }} }}
      poll_every: 50ms
    lateness: 30h"
    );
    (Records::Table(connection), source)
}

/// Writes the traffic piece by piece and kills a daemon over each. Returns how many had begun to read.
async fn disturb(
    run: &Run,
    records: &mut Records,
    traffic: &Traffic,
    random: &mut Random,
) -> usize {
    let (kills, mut reading) = (kills(), 0);
    let piece = traffic.records.len().div_ceil(kills);
    for piece in traffic.records.chunks(piece) {
        let most = if random.happens(250_000) { LATER } else { SOON };
        let pause = random.between(Duration::ZERO, most);
        let ((), log) = tokio::join!(records.write(run, piece), run.home.killed_within(pause));
        reading += usize::from(log.contains("Source is being read source=auth"));
    }
    reading
}

async fn survives(way: u64, mut records: Records, (killed, calm): (Run, Run)) {
    let seed = seed();
    let mut random = Random::part(seed, way);
    let traffic = traffic(FAMILIES, random.number());
    // What was written for one is read by the other; a file stands in each one's folder.
    if matches!(records, Records::File) {
        records.write(&calm, &traffic.records).await;
    }
    let reading = disturb(&killed, &mut records, &traffic, &mut random).await;
    println!(
        "seed {seed}: {} kills, {reading} of them while it read",
        kills()
    );
    let outcome = killed.finished(&traffic).await;
    outcome.assert_right(&traffic);
    outcome.assert_same(&calm.finished(&traffic).await);
}

async fn over_kafka(way: u64, store_url: &str) {
    let topic = Topic::new(2).await;
    let killed = Run::into(&kafka_source(&topic, "killed"), store_url, SNAPSHOTS).await;
    let calm = Run::new(&kafka_source(&topic, "calm"), "").await;
    survives(way, Records::Kafka(topic), (killed, calm)).await;
}

async fn over_a_table(way: u64, store_url: &str) {
    let (records, source) = table().await;
    let killed = Run::into(&source, store_url, SNAPSHOTS).await;
    survives(way, records, (killed, Run::new(&source, "").await)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_broker_into_an_embedded_store() {
    over_kafka(1, EMBEDDED).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_broker_into_postgresql() {
    over_kafka(2, &database().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_table_into_an_embedded_store() {
    over_a_table(3, EMBEDDED).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_table_into_postgresql() {
    over_a_table(4, &database().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_file_into_an_embedded_store() {
    let source = "    file: { path: events.jsonl }\n    lateness: 30h";
    let killed = Run::new(source, SNAPSHOTS).await;
    survives(5, Records::File, (killed, Run::new(source, "").await)).await;
}
