//! Bounds of what is remembered: the oldest goes by event time, is counted, and nothing else happens.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokenwarden::config::StateLimits;
use tokenwarden::engine::Engine;
use tokenwarden::model::{
    Position, RawBatch, RawRecord, SourcePartition, Target, Timestamp, limits,
};
use tokenwarden::pipeline::{Taken, Worker};

use crate::daemon::{Daemon, Home};
use crate::taken_over::{preparer, worker};

/// The least that can be set.
const LEAST: usize = limits::ENTRIES_MIN;
const SMALL: StateLimits = StateLimits {
    families_max: LEAST,
    users_max: LEAST,
    networks_max: LEAST,
    memory_max: None,
};

fn time(second: usize) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + i64::try_from(second).unwrap()).unwrap()
}

/// Somebody new, with a family and an address.
fn issue(number: usize, time: Timestamp) -> String {
    format!(
        r#"{{"event_id":"e{number}","time":"{time}","type":"issue","outcome":"success","user_id":"u{number}","client_id":"web","family_id":"f{number}","new_token_id":"t{number}","ip_address":"20.{}.{}.7"}}"#,
        number / 256,
        number % 256
    )
}

/// At another address each.
fn refresh(number: usize, time: Timestamp) -> String {
    format!(
        r#"{{"event_id":"r{number}","time":"{time}","type":"refresh","outcome":"success","user_id":"u{number}","client_id":"web","family_id":"f{number}","token_id":"t{number}","new_token_id":"n{number}","ip_address":"20.{}.{}.7"}}"#,
        number / 256,
        number % 256
    )
}

fn feed(worker: &mut Worker, numbers: impl Iterator<Item = usize>) {
    take(worker, numbers.map(|number| issue(number, time(number))));
}

fn take(worker: &mut Worker, records: impl Iterator<Item = String>) {
    let record = |record: String| RawRecord {
        place: "1".into(),
        payload: record.into_bytes(),
        muted: false,
    };
    let batch = RawBatch {
        partition: SourcePartition {
            source: "events".into(),
            partition: "0".into(),
        },
        shard: 0,
        epoch: 1,
        records: records.map(record).collect(),
        position: Position("1".into()),
        tick: None,
        ended: false,
        arrived_at: None,
    };
    let mut taken = Taken::default();
    let mut batch = preparer().prepare(&batch);
    worker.take(&mut batch, false, &mut taken);
    assert_eq!(taken.rejects, []);
}

fn remembered(engine: &Engine, numbers: Range<usize>) -> usize {
    let target = |number: usize| Target {
        issuer: "events".into(),
        tenant: None,
        family_id: Some(format!("f{number}").into()),
        user_id: None,
        client_id: None,
        session_id: None,
        token_kind: None,
        network: None,
    };
    let known = |number: &usize| engine.afterwards(&target(*number), time(0)).is_some();
    numbers.filter(known).count()
}

#[test]
fn at_its_bound_the_engine_forgets_the_oldest_by_event_time_and_counts_it() {
    let mut worker = worker();
    worker.engine.set_limits(SMALL);
    // The first thousand come last, and are the oldest all the same.
    feed(&mut worker, (1000..6000).chain(0..1000));
    let sizes = worker.engine.sizes();
    assert!(sizes.families <= LEAST && sizes.users <= LEAST, "{sizes:?}");
    assert!(sizes.tokens <= LEAST * limits::TOKENS_PER_FAMILY);
    let forgotten = 2 * 6000 - sizes.families - sizes.users;
    assert!(sizes.evicted >= forgotten as u64, "{sizes:?}");
    // Each part of a table forgets its own oldest, and has seen fewer or more than others.
    assert!(remembered(&worker.engine, 1000..3000) < 100);
    assert!(remembered(&worker.engine, 5500..6000) > 400);

    // More room, more memory, also after a restart with the state of before.
    let saved = worker.engine.snapshot();
    let mut roomy = crate::taken_over::worker();
    assert!(roomy.engine.restore(&saved));
    feed(&mut roomy, 6000..12_000);
    let after = roomy.engine.sizes();
    assert_eq!(after.families, sizes.families + 6000);
    assert_eq!(after.evicted, sizes.evicted);
    let mut small = crate::taken_over::worker();
    small.engine.set_limits(SMALL);
    assert!(small.engine.restore(&saved));
    feed(&mut small, 6000..12_000);
    assert!(small.engine.sizes().families <= LEAST);
}

#[test]
fn networks_have_a_bound_of_their_own() {
    let mut roomy = worker();
    take(
        &mut roomy,
        (0..6000).map(|number| refresh(number, time(number))),
    );
    assert_eq!(roomy.engine.sizes().networks, 6000);
    let mut small = worker();
    small.engine.set_limits(SMALL);
    take(
        &mut small,
        (0..6000).map(|number| refresh(number, time(number))),
    );
    let sizes = small.engine.sizes();
    assert!(sizes.networks <= LEAST, "{sizes:?}");
    assert!(sizes.evicted >= (6000 - sizes.networks) as u64, "{sizes:?}");
}

#[test]
fn while_memory_is_short_no_table_grows() {
    let mut worker = worker();
    feed(&mut worker, 0..8000);
    let before = worker.engine.sizes();
    assert_eq!((before.families, before.evicted), (8000, 0));
    worker.engine.hold(true);
    feed(&mut worker, 8000..24_000);
    let held = worker.engine.sizes();
    // But for what the fullest shard had more than the others.
    assert!(
        held.families < 2 * 8000 && held.users < 2 * 8000,
        "{held:?}"
    );
    assert!(held.evicted > 16_000);
    assert_eq!(remembered(&worker.engine, 0..4000), 0);
    assert_eq!(remembered(&worker.engine, 23_000..24_000), 1000);
    worker.engine.hold(false);
    feed(&mut worker, 24_000..30_000);
    let free = worker.engine.sizes();
    assert_eq!(free.evicted, held.evicted);
    assert_eq!(free.families, held.families + 6000);
}

fn config(state: &str) -> String {
    format!(
        "mode: observe
sources: [{{ name: log, file: {{ path: events.jsonl, poll_every: 50ms }}, format: tokenwarden, start: earliest }}]
store: {{ url: 'sqlite://tokenwarden.db' }}
state: {{ {state} }}
"
    )
}

fn write_events(home: &Home, numbers: Range<usize>) {
    let now = Timestamp::now();
    let mut lines = String::new();
    for number in numbers {
        writeln!(lines, "{}", issue(number, now)).unwrap();
    }
    home.append("events.jsonl", &lines);
}

async fn takes_all(daemon: &mut Daemon, events: f64) {
    daemon
        .wait("all events", async |daemon| {
            let taken = daemon.metric("tokenwarden_events_total", "log").await;
            let lag = daemon.metric("tokenwarden_source_lag_records", "log").await;
            (taken >= events && lag <= 0.0).then_some(())
        })
        .await;
}

async fn families(daemon: &Daemon) -> f64 {
    let table = "table=\"families\"";
    daemon.metric("tokenwarden_engine_entries", table).await
}

async fn forgotten(daemon: &Daemon) -> f64 {
    daemon
        .metric("tokenwarden_engine_evictions_total", "")
        .await
}

#[tokio::test]
async fn a_daemon_keeps_its_bounds_and_a_reload_changes_them() {
    let home = Home::new(&config("families_max: 2048, memory_max: 1TiB"));
    home.write("events.jsonl", "");
    let mut daemon = home.start_ready().await;
    let cap = daemon.metric("tokenwarden_memory_max_bytes", "").await;
    assert!(cap > 1e12);
    write_events(&home, 0..6000);
    takes_all(&mut daemon, 6000.0).await;
    assert!(families(&daemon).await <= 2048.0);
    let before = forgotten(&daemon).await;
    assert!(before >= 3952.0, "{before}");

    home.configure(&config(""));
    assert!(daemon.reload().await);
    write_events(&home, 6000..10_000);
    takes_all(&mut daemon, 10_000.0).await;
    assert!(families(&daemon).await > 4000.0);
    assert_eq!(forgotten(&daemon).await.to_bits(), before.to_bits());
    assert!(daemon.readiness().await.0);
    assert!(!daemon.log().contains("memory_max"), "it was never short");
    daemon.stop().await;
}

#[tokio::test]
async fn a_daemon_with_more_memory_than_it_may_have_forgets_the_oldest_and_goes_on() {
    let home = Home::new(&config("memory_max: 16MiB"));
    home.write("events.jsonl", "");
    let mut daemon = home.start_ready().await;
    daemon
        .wait("it says so", async |daemon| {
            let log = daemon.log();
            log.contains("more memory than `state.memory_max`")
                .then_some(())
        })
        .await;
    write_events(&home, 0..6000);
    takes_all(&mut daemon, 6000.0).await;
    assert!(families(&daemon).await <= 2048.0);
    assert!(forgotten(&daemon).await >= 3952.0);
    assert!(daemon.readiness().await.0);

    home.configure(&config("memory_max: 1TiB"));
    assert!(daemon.reload().await);
    let next = AtomicUsize::new(6000);
    daemon
        .wait("it grows again", async |daemon| {
            let first = next.fetch_add(100, Ordering::Relaxed);
            write_events(&home, first..first + 100);
            (families(daemon).await > 2100.0).then_some(())
        })
        .await;
    let told = daemon.log().matches("`state.memory_max`").count();
    assert_eq!(told, 1);
    daemon.stop().await;
}
