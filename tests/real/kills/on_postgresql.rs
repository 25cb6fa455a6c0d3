//! The real binary on PostgreSQL, killed at steps that have a name.

use tokio::task::JoinHandle;

use super::compare::{
    FAMILIES, change, observer, pieces, remembers_the_same, was_repeated_under_the_same_key,
    while_it_reads_again, with_mails,
};
use super::held::At::{Commit, Made, Row};
use super::held::End::{Done, Lost};
use super::held::{At, End, Holder, Point};
use super::{EMBEDDED, Records, database, table};
use crate::daemon::{Daemon, http_client};
use crate::flagship_run::Run;
use crate::standby::open;
use crate::traffic::traffic;

const fn point(name: &'static str, at: At, end: End) -> Point {
    Point { name, at, end }
}

const MOVED: &str = "NEW.source = 'auth' AND NEW.position IS DISTINCT FROM OLD.position";
const OF_API: &str = "OLD.ended_at IS NULL AND NEW.performer = 'api' AND NEW.result <> 'lost'";
const OF_SIEM: &str = "OLD.ended_at IS NULL AND NEW.performer = 'siem' AND NEW.result <> 'lost'";
const OF_ONCALL: &str =
    "OLD.ended_at IS NULL AND NEW.performer = 'oncall' AND NEW.result <> 'lost'";

const READING: [Point; 6] = [
    point(
        "a partition is being claimed",
        Row("BEFORE INSERT ON source_partition", "NEW.source = 'auth'"),
        Lost,
    ),
    point(
        "a batch is judged and its commit has begun",
        Row("BEFORE UPDATE ON source_partition", MOVED),
        Lost,
    ),
    point(
        "a finding is written and the commit goes on",
        Row("AFTER INSERT ON detection", "true"),
        Lost,
    ),
    point(
        "an action is written and the commit goes on",
        Row("AFTER INSERT ON action", "true"),
        Lost,
    ),
    point(
        "a commit is asked for and never made",
        Commit("INSERT ON detection", "true"),
        Lost,
    ),
    point(
        "a commit is made and nobody hears of it",
        Commit("INSERT ON detection", "true"),
        Done,
    ),
];

const SAVING: [Point; 6] = [
    point(
        "a state has been begun",
        Row("BEFORE INSERT ON snapshot_chunk", "NEW.number = 0"),
        Lost,
    ),
    point(
        "a state is written between two of its chunks",
        Row("BEFORE INSERT ON snapshot_chunk", "NEW.number = 1"),
        Lost,
    ),
    point(
        "a state is written and not said to be whole",
        Row("BEFORE UPDATE ON snapshot", "NEW.complete = 1"),
        Lost,
    ),
    point(
        "a state is said to be whole and the oldest is still there",
        Row("BEFORE UPDATE ON snapshot", "OLD.complete = 1"),
        Lost,
    ),
    point(
        "the oldest is removed in part",
        Row("BEFORE DELETE ON snapshot", "true"),
        Lost,
    ),
    point(
        "a state is whole and nobody hears of it",
        Commit("UPDATE ON snapshot", "NEW.complete = 1"),
        Done,
    ),
];

const DOING: [Point; 7] = [
    point(
        "an action is taken and no try is recorded",
        Row("BEFORE INSERT ON action_attempt", "true"),
        Lost,
    ),
    point(
        "a try is recorded and its call not made",
        Commit("INSERT ON action_attempt", "NEW.performer = 'api'"),
        Done,
    ),
    point(
        "a call is answered and that not recorded",
        Row("BEFORE UPDATE ON action_attempt", OF_API),
        Lost,
    ),
    point(
        "an answer is recorded and nobody hears of it",
        Commit("UPDATE ON action_attempt", OF_API),
        Done,
    ),
    point(
        "a receiver is told and that not recorded",
        Row("BEFORE UPDATE ON action_attempt", OF_SIEM),
        Lost,
    ),
    point(
        "a mail is handed over and that not recorded",
        Row("BEFORE UPDATE ON action_attempt", OF_ONCALL),
        Lost,
    ),
    point(
        "what we did is about to be told to the engine",
        Row("BEFORE INSERT ON own_event", "true"),
        Lost,
    ),
];

const MIGRATING: [Point; 4] = [
    point("the first table is made", Made("meta"), Lost),
    point("a migration is half made", Made("action"), Lost),
    point("a later migration is half made", Made("audit_entry"), Lost),
    point(
        "a migration is made and nobody hears of it",
        Made("leader"),
        Done,
    ),
];

/// A store that has its tables, so that triggers can stand on them before the first start.
async fn made() -> (String, Holder) {
    let url = database().await;
    open(&url).await.close().await;
    let holder = Holder::of(&url).await;
    (url, holder)
}

async fn kill_at(points: &[Point], holder: &mut Holder, run: &Run) {
    for point in points {
        println!("killed while {}", point.name);
        holder.kill_at(point, async || run.home.spawn()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn what_is_read_is_remembered_to_the_last_bit_over_postgresql() {
    let traffic = traffic(FAMILIES, 11);
    let (mut records, source) = table().await;
    let (url, mut holder) = made().await;
    let killed = observer(&source, &url, ", snapshot_every: 1h").await;
    records.write(&killed, &traffic.records).await;
    kill_at(&READING, &mut holder, &killed).await;

    while_it_reads_again(&killed, &traffic).await;
    kill_at(&SAVING, &mut holder, &killed).await;
    let calm = observer(&source, EMBEDDED, "").await;
    remembers_the_same(&killed, &calm, &traffic).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn what_is_to_be_done_is_done_under_the_same_key_over_postgresql() {
    let traffic = traffic(FAMILIES, 12);
    let (mut records, source) = table().await;
    let (url, mut holder) = made().await;
    let killed = Run::into(&source, &url, ", snapshot_every: 1s").await;
    let mailbox = with_mails(&killed);
    for (point, piece) in DOING.iter().zip(pieces(&traffic, DOING.len())) {
        records.write(&killed, piece).await;
        kill_at(std::slice::from_ref(point), &mut holder, &killed).await;
    }
    let outcome = killed.finished(&traffic).await;
    outcome.assert_right(&traffic);
    let calm = Run::new(&source, "").await;
    outcome.assert_same(&calm.finished(&traffic).await);

    was_repeated_under_the_same_key(&killed, &mailbox, &traffic, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_schema_that_is_half_made_is_made_whole_over_postgresql() {
    let traffic = traffic(100, 13);
    let (mut records, source) = table().await;
    let url = database().await;
    let mut holder = Holder::of(&url).await;
    let killed = Run::into(&source, &url, "").await;
    records.write(&killed, &traffic.records).await;
    kill_at(&MIGRATING, &mut holder, &killed).await;
    let outcome = killed.finished(&traffic).await;
    outcome.assert_right(&traffic);
    outcome.assert_same(&Run::new(&source, "").await.finished(&traffic).await);
}

const SECRET: &str = "a-secret-of-some-length";
const STORING: [Point; 2] = [
    point(
        "what a webhook brought is being stored, and is not",
        Commit("INSERT ON inbox", "true"),
        Lost,
    ),
    point(
        "what a webhook brought is stored and the sender does not hear of it",
        Commit("INSERT ON inbox", "true"),
        Done,
    ),
];

/// Sends records; the answer, where there is one.
async fn send(daemon: &mut Daemon, records: &[(i32, String)]) -> JoinHandle<Option<u16>> {
    let records: Vec<&str> = records.iter().map(|(_, record)| &**record).collect();
    let url = format!("{}/ingest/auth", daemon.listener("ingest").await);
    let request = http_client().post(url).bearer_auth(SECRET);
    let request = request.header("content-type", "application/json");
    let request = request.body(format!("[{}]", records.join(",")));
    tokio::spawn(async { Some(request.send().await.ok()?.status().as_u16()) })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn what_a_sender_was_not_answered_is_sent_again_and_judged_once() {
    let traffic = traffic(100, 18);
    let (url, mut holder) = made().await;
    let source = format!("    webhook: {{ bearer: {SECRET} }}\n    lateness: 30h");
    let killed = Run::into(&source, &url, ", snapshot_every: 1s").await;
    change(&killed, "    start: earliest\n", "");
    change(
        &killed,
        "http: { ops",
        "http: { ingest: { listen: 127.0.0.1:0 }, ops",
    );
    let third = traffic.records.len().div_ceil(STORING.len() + 1);
    let mut thirds = traffic.records.chunks(third);
    for (point, records) in STORING.iter().zip(&mut thirds) {
        println!("killed while {}", point.name);
        let unheard = async || {
            let mut daemon = killed.home.start_ready().await;
            send(&mut daemon, records).await;
            daemon
        };
        holder.kill_at(point, unheard).await;
        let mut daemon = killed.home.start_ready().await;
        let answer = send(&mut daemon, records).await.await.unwrap();
        assert_eq!(answer, Some(202), "{}", daemon.log());
        daemon.stop().await;
    }
    let mut daemon = killed.home.start_ready().await;
    for records in thirds {
        let answer = send(&mut daemon, records).await.await.unwrap();
        assert_eq!(answer, Some(202), "{}", daemon.log());
    }
    let outcome = killed.finish(daemon, &traffic).await;
    outcome.assert_right(&traffic);
    let calm = Run::new("    file: { path: events.jsonl }\n    lateness: 30h", "").await;
    Records::File.write(&calm, &traffic.records).await;
    // Suspicions hang on when the time of day came between the requests.
    outcome.assert_same_deeds(&calm.finished(&traffic).await);
}
