//! Tables for real: concurrent writers whose transactions commit out of order, and Keycloak's tables.

#[path = "../support/tail.rs"]
mod tail;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tail::Running;
use tokenwarden::config::{Database, Secret, SqlCursor, SqlLayout, SqlSource, Start};
use tokenwarden::model::{Position, RawBatch, StartAt};
use tokenwarden::sources::sql::SqlTail;

const WRITERS: u64 = 8;
const TRANSACTIONS_PER_WRITER: u64 = 150;

/// A database of its own, gone with the test.
struct Scratch {
    server: String,
    name: String,
    url: String,
}

impl Scratch {
    async fn postgres() -> Self {
        let server = std::env::var("TW_POSTGRES_URL").expect("TW_POSTGRES_URL: run tests/run");
        let name = format!(
            "tw_sql_{}_{}",
            std::process::id(),
            jiff::Timestamp::now().as_nanosecond()
        );
        let mut admin = PgConnection::connect(&server).await.unwrap();
        command(&mut admin, &format!("CREATE DATABASE {name}")).await;
        let (base, _) = server.rsplit_once('/').unwrap();
        let url = format!("{base}/{name}");
        Self { server, name, url }
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    async fn drop(self) {
        let mut admin = PgConnection::connect(&self.server).await.unwrap();
        command(
            &mut admin,
            &format!("DROP DATABASE {} WITH (FORCE)", self.name),
        )
        .await;
    }
}

async fn command(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(connection)
        .await
        .unwrap();
}

fn source(url: &str, layout: SqlLayout, start: Start) -> SqlTail {
    let sql = SqlSource {
        database: Database::Postgres,
        url: Secret::new(url),
        layout,
        poll_every: Duration::from_millis(20),
        statement_timeout: Duration::from_secs(10),
    };
    SqlTail::new("audit".into(), start, Duration::ZERO, sql)
}

fn by_id() -> SqlLayout {
    SqlLayout::Rows {
        table: "audit".into(),
        query: false,
        cursor: SqlCursor::Id {
            column: "id".into(),
            time_column: Some("at".into()),
        },
        json_column: None,
    }
}

fn by_time() -> SqlLayout {
    SqlLayout::Rows {
        table: "audit".into(),
        query: false,
        cursor: SqlCursor::Time {
            column: "at".into(),
            id_column: "id".into(),
            overlap: Duration::from_secs(2),
        },
        json_column: None,
    }
}

/// Commits late, out of order, or not at all. The ids of what was committed.
async fn write(url: String, writer: u64) -> BTreeSet<i64> {
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut state = writer * 7919 + 1;
    let mut below = |limit: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let mut committed = BTreeSet::new();
    for _ in 0..TRANSACTIONS_PER_WRITER {
        let mut transaction = connection.begin().await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..=below(4) {
            let insert =
                "INSERT INTO audit (body, at) VALUES ('x', clock_timestamp()) RETURNING id";
            let id: i64 = sqlx::query_scalar(insert)
                .fetch_one(&mut *transaction)
                .await
                .unwrap();
            ids.push(id);
        }
        let pause = if below(200) == 0 { 400 } else { below(7) };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if below(50) == 0 {
            transaction.rollback().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
            committed.extend(ids);
        }
    }
    committed
}

/// What has been read, and the position after each batch.
#[derive(Default)]
struct Log {
    seen: BTreeMap<i64, u32>,
    positions: Vec<(Position, BTreeSet<i64>)>,
}

impl Log {
    fn note(&mut self, batch: &RawBatch) {
        for record in &batch.records {
            assert!(!record.muted);
            *self.seen.entry(record.place.parse().unwrap()).or_default() += 1;
        }
        if !batch.records.is_empty() {
            self.positions
                .push((batch.position.clone(), self.seen.keys().copied().collect()));
        }
    }

    fn ids(&self) -> BTreeSet<i64> {
        self.seen.keys().copied().collect()
    }
}

async fn loses_nothing(layout: SqlLayout) {
    let scratch = Scratch::postgres().await;
    let mut connection = scratch.connect().await;
    command(&mut connection, "CREATE TABLE audit (id bigserial PRIMARY KEY, at timestamptz NOT NULL, body text); CREATE INDEX ON audit (at)").await;

    let start = || source(&scratch.url, layout.clone(), Start::Earliest);
    let mut running = Running::start(start(), StartAt::Fresh);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(scratch.url.clone(), writer)))
        .collect();
    let mut log = Log::default();
    while writers.iter().any(|writer| !writer.is_finished()) {
        log.note(&running.next().await);
    }
    let mut committed = BTreeSet::new();
    for writer in writers {
        committed.extend(writer.await.unwrap());
    }
    // What was committed last is there after two looks at the most.
    for _ in 0..3 {
        running
            .until_idle()
            .await
            .iter()
            .for_each(|batch| log.note(batch));
    }
    running.stop().await.unwrap();
    assert!(
        log.seen.values().all(|times| *times == 1),
        "delivered twice"
    );
    assert_eq!(log.ids(), committed);
    assert!(
        log.positions.len() > 20,
        "the reader was meant to run beside the writers"
    );

    for (position, before) in log.positions.iter().step_by(log.positions.len() / 12) {
        let mut running = Running::start(start(), tail::from(position));
        let mut after = Log::default();
        running
            .until_idle()
            .await
            .iter()
            .for_each(|batch| after.note(batch));
        running.stop().await.unwrap();
        let expected: BTreeSet<i64> = committed.difference(before).copied().collect();
        assert_eq!(after.ids(), expected, "after {position:?}");
    }
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_cursor_by_id_loses_nothing_under_eight_writers() {
    loses_nothing(by_id()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_cursor_by_time_loses_nothing_under_eight_writers() {
    loses_nothing(by_time()).await;
}
