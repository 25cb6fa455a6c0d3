//! The canary on its way from a source to the outbox: in a daemon, and through the same parts where one of them is stopped.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};
use tokenwarden::clock;
use tokenwarden::delivery::{Delivery, Options, Performers, Report};
use tokenwarden::model::{ActionKind, ActionState, RawBatch, Text, Timestamp};
use tokenwarden::pipeline::Control;
use tokenwarden::sources::canary::Canaries;
use tokenwarden::sources::{Context, Source as _};
use tokenwarden::store::{AttemptResult, Store};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::daemon::{Home, PATIENCE};
use crate::source_harness::{MemoryClaims, Reports};
use crate::taken_over::ingest;

/// In which none of the test's canaries arrives that can: they come every few milliseconds.
const SILENCE: Duration = Duration::from_millis(1500);

const LAST: &str = "tokenwarden_canary_last_success_timestamp_seconds";

async fn open(file: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}", file.display()))
        .await
        .unwrap()
}

async fn execute(connection: &mut SqliteConnection, sql: &str) {
    let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    sql.execute(connection).await.unwrap();
}

async fn count(connection: &mut SqliteConnection, of: &str) -> i64 {
    let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM {of}"));
    let row = sqlx::query(sql).fetch_one(connection).await.unwrap();
    row.get(0)
}

const CONFIG: &str = "mode: observe
sources: [{ name: log, file: { path: events.jsonl, poll_every: 50ms }, format: tokenwarden, start: earliest }]
store: { url: 'sqlite://tokenwarden.db' }
";

#[tokio::test]
async fn a_daemon_hears_of_its_canary_and_nobody_else_does() {
    let home = Home::new(CONFIG);
    home.write("events.jsonl", "");
    let mut daemon = home.start().await;
    let arrived = async |daemon: &crate::daemon::Daemon| {
        let last = daemon.metric(LAST, "").await;
        (last > 0.0).then_some(())
    };
    daemon.wait("a canary", arrived).await;
    let page = daemon.metrics().await;
    assert!(page.contains("tokenwarden_canary_duration_seconds_count 1\n"));
    assert!(!page.contains("tokenwarden-canary"), "{page}");
    assert!(!daemon.readiness().await.1.contains("canary"));
    for list in ["incidents", "detections", "actions"] {
        assert!(daemon.list(list).await.is_empty());
    }
    daemon.stop().await;

    let mut store = open(&home.path().join("tokenwarden.db")).await;
    for nothing in [
        "canary",
        "source_partition WHERE source LIKE '%canary%'",
        "reject",
        "snapshot WHERE positions LIKE '%canary%'",
    ] {
        assert_eq!(count(&mut store, nothing).await, 0, "{nothing}");
    }

    // An outbox that takes nothing on, and what a killed daemon left in it.
    execute(
        &mut store,
        "INSERT INTO canary VALUES (1, 'notifications', 'another', 1);
         CREATE TRIGGER stays BEFORE UPDATE OF queue ON canary WHEN new.queue = 'notifications' BEGIN SELECT RAISE(IGNORE); END",
    )
    .await;
    let mut daemon = home.start_ready().await;
    daemon
        .wait("one that is stored", async |_| {
            let waiting = "canary WHERE queue = 'revocations' AND sender <> 'another'";
            let mut store = open(&home.path().join("tokenwarden.db")).await;
            (count(&mut store, waiting).await == 1).then_some(())
        })
        .await;
    tokio::time::sleep(SILENCE).await;
    assert!(arrived(&daemon).await.is_none(), "it cannot have arrived");
    execute(&mut store, "DROP TRIGGER stays").await;
    daemon.wait("a canary after all", arrived).await;
    daemon.stop().await;
}

/// Counts the canaries that arrive, and tells their sender.
struct Counted(watch::Sender<Option<Timestamp>>, watch::Sender<u32>);

impl Report for Counted {
    fn attempted(&self, _: ActionKind, _: &Text, _: AttemptResult, _: Duration) {}
    fn ended(&self, _: ActionKind, _: ActionState, _: Duration) {}
    fn store_failed(&self) {}
    fn canary(&self, sent_at: Timestamp, took: Duration) {
        assert!(took < PATIENCE);
        self.0.send_replace(Some(sent_at));
        self.1.send_modify(|arrived| *arrived += 1);
    }
}

/// Sources, engine and outbox with a canary every few milliseconds.
struct Road {
    arrived: watch::Receiver<u32>,
    delivery: CancellationToken,
    all: CancellationToken,
}

impl Road {
    fn open(store: &Store) -> Self {
        let (batches, receiver) = mpsc::channel::<RawBatch>(16);
        let (control, controls) = mpsc::channel::<Control>(16);
        let (arrived, arrivals) = watch::channel(None);
        let (counted, count) = watch::channel(0);
        let all = CancellationToken::new();
        let delivery = all.child_token();
        let ingest = ingest(store.clone(), (receiver, controls), clock::now, all.clone());
        let context = Context {
            batches,
            claims: Arc::new(MemoryClaims::default()),
            status: Arc::new(Reports::default()),
            cancel: all.clone(),
            now: clock::now,
        };
        let mut canaries = Canaries::new("us".into(), arrivals);
        canaries.every = Duration::from_millis(5);
        tokio::spawn(async move {
            Box::new(canaries).run(context).await.unwrap();
        });
        tokio::spawn(async move {
            let _kept = control;
            ingest.run().await.unwrap();
        });
        let outbox = Delivery::new(
            store.clone(),
            watch::channel(Arc::new(Performers::default())).1,
            Arc::new(Counted(arrived, counted)),
            Options::new("us", Duration::ZERO, clock::now),
        );
        tokio::spawn(outbox.run(delivery.clone()));
        Self {
            arrived: count,
            delivery,
            all,
        }
    }

    async fn some_arrive(&mut self) {
        let until = *self.arrived.borrow() + 3;
        let arrive = self.arrived.wait_for(|count| *count >= until);
        tokio::time::timeout(PATIENCE, arrive)
            .await
            .expect("canaries")
            .unwrap();
    }

    /// One may have been past the point.
    async fn none_arrives(&mut self) {
        let before = *self.arrived.borrow();
        tokio::time::sleep(SILENCE).await;
        assert!(*self.arrived.borrow() <= before + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_held_and_an_outbox_that_stands_still_let_none_through() {
    let (store, _folder) = crate::store::open().await;
    let mut other = open(Path::new(store.name())).await;
    let mut road = Road::open(&store);
    road.some_arrive().await;

    execute(&mut other, "BEGIN IMMEDIATE").await;
    road.none_arrives().await;
    execute(&mut other, "ROLLBACK").await;
    road.some_arrive().await;

    road.delivery.cancel();
    road.none_arrives().await;
    assert_eq!(count(&mut other, "canary").await, 1, "it waits");
    road.all.cancel();
}
