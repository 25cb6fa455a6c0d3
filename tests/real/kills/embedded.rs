//! The real binary on an embedded store, killed between two transactions that have a name.

use std::time::{Duration, Instant};

use super::compare::{
    FAMILIES, observer, pieces, remembers_the_same, was_repeated_under_the_same_key,
    while_it_reads_again, with_mails,
};
use super::locked::Locked;
use super::{EMBEDDED, table};
use crate::daemon::{Daemon, PATIENCE};
use crate::flagship_run::{RECEIVED, Run};
use crate::mail::mails;
use crate::traffic::traffic;

/// Steps between two transactions of an embedded store, by what it shows then that it did not show before: `{seq}` is the newest
/// row that there was.
struct Between {
    name: &'static str,
    table: &'static str,
    shows: &'static str,
}

const SAVING_EMBEDDED: [Between; 2] = [
    Between {
        name: "a state has been begun",
        table: "snapshot",
        shows: "SELECT 1 FROM snapshot WHERE id > {seq} AND complete = 0
            AND id NOT IN (SELECT snapshot_id FROM snapshot_chunk)",
    },
    Between {
        name: "a chunk of a state is written",
        table: "snapshot",
        shows: "SELECT 1 FROM snapshot WHERE id > {seq} AND complete = 0
            AND id IN (SELECT snapshot_id FROM snapshot_chunk)",
    },
];

const READING_EMBEDDED: [Between; 3] = [
    Between {
        name: "a partition is claimed and nothing of it committed",
        table: "detection",
        shows: "SELECT 1 FROM source_partition WHERE source = 'auth' AND {seq} = 0",
    },
    Between {
        name: "something found is committed",
        table: "detection",
        shows: "SELECT 1 FROM detection WHERE seq > {seq}",
    },
    Between {
        name: "more that was found is committed",
        table: "detection",
        shows: "SELECT 1 FROM detection WHERE seq > {seq}",
    },
];

async fn held_between(
    point: &Between,
    run: &Run,
    daemon: impl AsyncFn() -> Daemon,
) -> (Daemon, Locked) {
    println!("killed while {}", point.name);
    let mut store = Locked::of(run.home.path());
    let key = if point.table == "snapshot" {
        "id"
    } else {
        "seq"
    };
    let newest = format!("SELECT COALESCE(MAX({key}), 0) FROM {}", point.table);
    let newest = store.number(&newest).await.unwrap_or(0);
    let shows = point.shows.replace("{seq}", &newest.to_string());
    let daemon = daemon().await;
    store.hold_when(&format!("EXISTS ({shows})"), &daemon).await;
    (daemon, store)
}

async fn kill_between(points: &[Between], run: &Run) {
    for point in points {
        let (daemon, mut store) = held_between(point, run, async || run.home.spawn()).await;
        daemon.kill();
        store.release().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn what_is_read_is_remembered_to_the_last_bit_over_an_embedded_store() {
    let traffic = traffic(FAMILIES, 14);
    let (mut records, source) = table().await;
    let killed = observer(&source, EMBEDDED, ", snapshot_every: 1h").await;
    records.write(&killed, &traffic.records).await;
    kill_between(&READING_EMBEDDED, &killed).await;
    while_it_reads_again(&killed, &traffic).await;
    kill_between(&SAVING_EMBEDDED, &killed).await;
    let calm = observer(&source, EMBEDDED, "").await;
    remembers_the_same(&killed, &calm, &traffic).await;
}

const CANARY_THROUGH: &str = "tokenwarden_canary_last_success_timestamp_seconds";

/// Whom a call reaches while nothing can be recorded.
const DOING_EMBEDDED: [Between; 3] = [
    Between {
        name: "an action is there and nobody has begun with it",
        table: "action",
        shows: "SELECT 1 FROM action WHERE seq > {seq} AND state IN ('ready', 'leased') AND attempts = 0",
    },
    Between {
        name: "a revocation is called and its end not recorded",
        table: "action_attempt",
        shows: "SELECT 1 FROM action_attempt WHERE seq > {seq} AND performer = 'api' AND ended_at IS NULL",
    },
    Between {
        name: "a mail is handed over and that not recorded",
        table: "action_attempt",
        shows: "SELECT 1 FROM action_attempt WHERE seq > {seq} AND performer = 'oncall' AND ended_at IS NULL",
    },
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn what_is_to_be_done_is_done_under_the_same_key_over_an_embedded_store() {
    let traffic = traffic(FAMILIES, 15);
    let (mut records, source) = table().await;
    let killed = Run::new(&source, ", snapshot_every: 1s").await;
    let mailbox = with_mails(&killed);
    let mut pieces = pieces(&traffic, DOING_EMBEDDED.len() + 1).into_iter();

    println!("killed while a batch is judged and cannot be committed");
    let mut store = Locked::of(killed.home.path());
    let mut daemon = killed.home.start_ready().await;
    // Else it is the canary's commit that waits, and no record is taken behind it.
    daemon
        .wait("the first canary is through", async |daemon| {
            let through = daemon.metric(CANARY_THROUGH, "").await > 0.0;
            through.then_some(())
        })
        .await;
    store.hold_when("1", &daemon).await;
    records.write(&killed, pieces.next().unwrap()).await;
    daemon
        .wait("a batch is taken", async |daemon| {
            (daemon.metric(RECEIVED, "source=\"auth\"").await > 0.0).then_some(())
        })
        .await;
    daemon.kill();
    store.release().await;

    for (point, piece) in DOING_EMBEDDED.iter().zip(pieces) {
        records.write(&killed, piece).await;
        let (calls, told) = (killed.api.calls(), mails(&mailbox, |_| true).await.len());
        let (daemon, mut store) = held_between(point, &killed, async || killed.home.spawn()).await;
        match point.shows {
            shows if shows.contains("'api'") => reached(|| killed.api.calls() > calls).await,
            shows if shows.contains("'oncall'") => {
                let came = mails(&mailbox, |mails| mails.len() > told).await;
                assert!(came.len() > told, "no mail");
            }
            _ => {}
        }
        daemon.kill();
        store.release().await;
    }
    let outcome = killed.finished(&traffic).await;
    outcome.assert_right(&traffic);
    outcome.assert_same(&Run::new(&source, "").await.finished(&traffic).await);
    was_repeated_under_the_same_key(&killed, &mailbox, &traffic, 1).await;
}

async fn reached(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "the call never comes");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_schema_that_is_half_made_is_made_whole_over_an_embedded_store() {
    let traffic = traffic(100, 16);
    let (mut records, source) = table().await;
    let killed = Run::new(&source, "").await;
    records.write(&killed, &traffic.records).await;
    let mut tries = 0..TRIES;
    while !is_killed_half_made(&killed).await {
        assert!(tries.next().is_some(), "the schema is always made at once");
    }
    let outcome = killed.finished(&traffic).await;
    outcome.assert_right(&traffic);
    outcome.assert_same(&Run::new(&source, "").await.finished(&traffic).await);
}

/// The schema is made in a moment, which may be over before it is seen.
const TRIES: usize = 100;

/// Whether it was; else there is no store again.
async fn is_killed_half_made(run: &Run) -> bool {
    let begun = "EXISTS (SELECT 1 FROM _sqlx_migrations WHERE version > 1)";
    let mut store = Locked::of(run.home.path());
    let daemon = run.home.spawn();
    store.hold_when(begun, &daemon).await;
    let made = store
        .number("SELECT MAX(version) FROM _sqlx_migrations")
        .await;
    daemon.kill();
    store.release().await;
    let is_half = made.is_some_and(|made| made < 8);
    if !is_half {
        for file in ["tokenwarden.db", "tokenwarden.db-wal", "tokenwarden.db-shm"] {
            // What is not there need not go.
            std::fs::remove_file(run.home.path().join(file)).ok();
        }
    }
    is_half
}
