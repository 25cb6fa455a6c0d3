//! Eight writers whose transactions commit late, out of order or not at all, beside a reader that must lose nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection, SqliteConnection};
use tokenwarden::config::{Database, Secret, SqlCursor, SqlLayout, SqlSource, Start};
use tokenwarden::model::{Position, RawBatch, RawRecord};
use tokenwarden::sources::sql::{SqlTail, inspect};

use crate::source_harness::{MemoryClaims, PATIENCE, Running};

pub(crate) const WRITERS: u64 = 8;
pub(crate) const TRANSACTIONS_PER_WRITER: u64 = 150;

/// A connection that may write, to any of the databases.
pub(crate) enum Writer {
    Postgres(PgConnection),
    Mysql(MySqlConnection),
    Sqlite(SqliteConnection),
}

macro_rules! with {
    ($writer:expr, $connection:ident => $what:expr) => {
        match $writer {
            Writer::Postgres($connection) => $what.unwrap(),
            Writer::Mysql($connection) => $what.unwrap(),
            Writer::Sqlite($connection) => $what.unwrap(),
        }
    };
}

impl Writer {
    pub(crate) async fn open(url: &str) -> Self {
        match database(url) {
            Database::Postgres => Self::Postgres(PgConnection::connect(url).await.unwrap()),
            Database::Mysql => Self::Mysql(MySqlConnection::connect(url).await.unwrap()),
            Database::Sqlite => {
                let mut connection = SqliteConnection::connect(url).await.unwrap();
                let busy = sqlx::raw_sql("PRAGMA busy_timeout = 60000; PRAGMA synchronous = off");
                busy.execute(&mut connection).await.unwrap();
                Self::Sqlite(connection)
            }
        }
    }

    pub(crate) async fn command(&mut self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        with!(self, connection => sql.execute(&mut *connection).await.map(|_| ()));
    }

    /// The statement's single number.
    pub(crate) async fn number(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql);
        with!(self, connection => sqlx::query_scalar(sql).fetch_one(&mut *connection).await)
    }
}

pub(crate) fn database(url: &str) -> Database {
    match url.split(':').next() {
        Some("postgres") => Database::Postgres,
        Some("mysql") => Database::Mysql,
        _ => Database::Sqlite,
    }
}

pub(crate) fn source(url: &str, layout: SqlLayout) -> SqlTail {
    starting(url, layout, Start::Earliest, Duration::ZERO)
}

pub(crate) fn starting(url: &str, layout: SqlLayout, start: Start, warm_up: Duration) -> SqlTail {
    SqlTail::new("audit".into(), start, warm_up, settings(url, layout))
}

fn settings(url: &str, layout: SqlLayout) -> SqlSource {
    SqlSource {
        database: database(url),
        url: Secret::new(url),
        layout,
        poll_every: Duration::from_millis(20),
        statement_timeout: Duration::from_secs(10),
    }
}

pub(crate) fn rows(table: &str, cursor: SqlCursor) -> SqlLayout {
    SqlLayout::Rows {
        table: table.into(),
        query: false,
        cursor,
        json_column: None,
    }
}

pub(crate) fn by_id() -> SqlCursor {
    SqlCursor::Id {
        column: "id".into(),
        time_column: Some("at".into()),
    }
}

pub(crate) fn by_time() -> SqlCursor {
    SqlCursor::Time {
        column: "at".into(),
        id_column: "id".into(),
        overlap: Duration::from_secs(2),
    }
}

/// A source that goes on behind this batch.
pub(crate) fn behind(partition: &RawBatch, position: &Position) -> Arc<MemoryClaims> {
    let claims = Arc::new(MemoryClaims::default());
    let batch = RawBatch {
        epoch: 0,
        position: position.clone(),
        ..partition.clone()
    };
    assert!(claims.commit(&batch));
    claims.restore(&batch);
    claims
}

/// Everything up to the first batch that says that nothing is waiting, and brings nothing.
pub(crate) async fn until_idle(running: &mut Running) -> Vec<RawBatch> {
    let mut batches = Vec::new();
    loop {
        let batch = running.batch().await;
        let idle = batch.records.is_empty() && batch.tick.is_some();
        batches.push(batch);
        if idle {
            return batches;
        }
    }
}

/// Writes rows with `insert`, which answers with the id. Tells the ids of what was committed.
async fn write(url: String, insert: &'static str, writer: u64) -> BTreeSet<i64> {
    let mut connection = Writer::open(&url).await;
    let mut state = writer * 7919 + 1;
    let mut below = |limit: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let mut committed = BTreeSet::new();
    for _ in 0..TRANSACTIONS_PER_WRITER {
        connection
            .command(if database(&url) == Database::Sqlite {
                "BEGIN IMMEDIATE"
            } else {
                "BEGIN"
            })
            .await;
        let mut ids = Vec::new();
        for _ in 0..=below(4) {
            ids.push(connection.number(insert).await);
        }
        let pause = if below(200) == 0 { 400 } else { below(7) };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if below(50) == 0 {
            connection.command("ROLLBACK").await;
        } else {
            connection.command("COMMIT").await;
            committed.extend(ids);
        }
    }
    committed
}

/// What has been read, and the position after each batch.
#[derive(Default)]
struct Log {
    order: Vec<i64>,
    times: BTreeMap<i64, u32>,
    positions: Vec<(Position, BTreeSet<i64>)>,
}

impl Log {
    fn note(&mut self, batch: &RawBatch) {
        for record in &batch.records {
            assert!(!record.muted, "{record:?}");
            let id = record.place.parse().unwrap();
            self.order.push(id);
            *self.times.entry(id).or_default() += 1;
        }
        if !batch.records.is_empty() {
            self.positions.push((batch.position.clone(), self.ids()));
        }
    }

    fn ids(&self) -> BTreeSet<i64> {
        self.times.keys().copied().collect()
    }
}

/// The table `audit (id, at, ...)` is there and empty. Says whether rows came out of the order of their ids.
pub(crate) async fn loses_nothing(url: &str, cursor: SqlCursor, insert: &'static str) -> bool {
    let layout = rows("audit", cursor);
    let mut running = Running::start(source(url, layout.clone()), &Arc::default());
    let partition = running.batch().await;
    let write = |writer| tokio::spawn(write(url.to_owned(), insert, writer));
    let writers: Vec<_> = (0..WRITERS).map(write).collect();
    let mut log = Log::default();
    log.note(&partition);
    while writers.iter().any(|writer| !writer.is_finished()) {
        log.note(&running.batch().await);
    }
    let mut committed = BTreeSet::new();
    for writer in writers {
        committed.extend(writer.await.unwrap());
    }
    for _ in 0..3 {
        until_idle(&mut running)
            .await
            .iter()
            .for_each(|batch| log.note(batch));
    }
    running.stop().await.unwrap();
    assert!(
        log.times.values().all(|times| *times == 1),
        "delivered twice"
    );
    assert_eq!(log.ids(), committed);
    assert!(
        log.positions.len() >= 3,
        "the reader was meant to run beside the writers"
    );

    for (position, before) in log
        .positions
        .iter()
        .step_by(log.positions.len().div_ceil(6))
    {
        let claims = behind(&partition, position);
        let mut running = Running::start(source(url, layout.clone()), &claims);
        let mut after = Log::default();
        until_idle(&mut running)
            .await
            .iter()
            .for_each(|batch| after.note(batch));
        running.stop().await.unwrap();
        let expected: BTreeSet<i64> = committed.difference(before).copied().collect();
        assert_eq!(after.ids(), expected, "after {position:?}");
        assert!(
            after.times.values().all(|times| *times == 1),
            "delivered twice after {position:?}"
        );
    }
    !log.order.is_sorted()
}

/// The table `audit (id, at, ...)` is there and empty; `empty` removes its rows and lets its ids begin again.
pub(crate) async fn reads_on_when_ids_begin_again(url: &str, insert: &'static str, empty: &str) {
    let mut writer = Writer::open(url).await;
    let claims = Arc::default();
    let mut running = Running::start(source(url, rows("audit", by_id())), &claims);
    write_rows(&mut writer, insert, 5).await;
    assert_eq!(read(&mut running, 5).await, ["1", "2", "3", "4", "5"]);
    writer.command(empty).await;
    write_rows(&mut writer, insert, 2).await;
    suspects_a_restart(&mut running).await;
    assert_eq!(read(&mut running, 2).await, ["1", "2"]);
    running.reports.wait_for_last("up").await;
    write_rows(&mut writer, insert, 1).await;
    assert_eq!(read(&mut running, 1).await, ["3"]);
    running.stop().await.unwrap();

    // While nobody reads, and where no time tells which rows are new.
    writer.command(empty).await;
    write_rows(&mut writer, insert, 2).await;
    let without_time = SqlCursor::Id {
        column: "id".into(),
        time_column: None,
    };
    let mut running = Running::start(source(url, rows("audit", without_time)), &claims);
    assert_eq!(read(&mut running, 2).await, ["1", "2"]);
    running.stop().await.unwrap();
}

/// Waits for the report that ids may have begun again, which comes well before anything is read under them.
pub(crate) async fn suspects_a_restart(running: &mut Running) {
    let began = std::time::Instant::now();
    while !running
        .reports
        .all()
        .iter()
        .any(|it| it.starts_with("down: ") && it.contains("begun again"))
    {
        assert!(began.elapsed() < PATIENCE, "{:?}", running.reports.all());
        // Ticks that nobody takes would stop the source.
        let waiting = running.forget_waiting();
        assert!(waiting.iter().all(|batch| batch.records.is_empty()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn write_rows(writer: &mut Writer, insert: &str, rows: u32) {
    for _ in 0..rows {
        writer.number(insert).await;
    }
}

/// Places of the next records, with `~` before the muted ones.
async fn read(running: &mut Running, count: usize) -> Vec<String> {
    let place =
        |record: &RawRecord| format!("{}{}", if record.muted { "~" } else { "" }, record.place);
    running.records(count).await.iter().map(place).collect()
}

/// What `check --online` finds.
pub(crate) async fn inspected(url: &str, layout: SqlLayout) -> Vec<String> {
    let found = inspect(&settings(url, layout), jiff::Timestamp::now()).await;
    found.into_iter().map(|finding| finding.what).collect()
}
