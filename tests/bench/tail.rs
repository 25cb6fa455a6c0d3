//! A table's tail: how quickly a long table is read to its end, and how long after its commit a row is there, beside eight
//! writers whose transactions last, end out of order, or are taken back.
//!
//! The source runs as in the daemon and hands its batches to a loop that only counts, so that neither engine nor store hides
//! or shares the cost. Rows hold a canonical event in a column of JSON. PostgreSQL, because there a row may become visible
//! behind others that were read already; baseline is the same connection's bare `SELECT` over pages of the same size.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use futures_util::future::{BoxFuture, FutureExt as _};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tokenwarden::config::{Database, Secret, SqlCursor, SqlLayout, SqlSource, Start};
use tokenwarden::model::{Claim, RawBatch, SourcePartition, StartAt, Text, Timestamp, limits};
use tokenwarden::sources::sql::SqlTail;
use tokenwarden::sources::{Claims, Context, Source as _, SourceError, Status};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::input::{Traffic, write_record};
use crate::machine::Stopwatch;
use crate::table::{self, Path as Measured, line, percentile, sorted};

const WRITERS: u64 = 8;
/// How long they write.
const WRITING: Duration = Duration::from_secs(20);
/// One transaction in so many is taken back, and one in so many stays open for `LONG`.
const BACK_ONE_IN: u64 = 10;
const LONG_ONE_IN: u64 = 25;
const LONG: Duration = Duration::from_secs(1);
pub(crate) const POLL_EVERY: Duration = Duration::from_millis(100);
/// After the writers' time is over.
const LOST_AFTER: Duration = Duration::from_secs(30);
/// Nothing here takes this long on a machine that works.
const PATIENCE: Duration = Duration::from_mins(5);
/// Rows of one statement that fills the table.
const AT_ONCE: usize = 5000;

/// What the tail did.
pub(crate) struct Tailed {
    /// Rows a second over a table that was there, and of those the bare reader read in the same run.
    pub(crate) drained: f64,
    pub(crate) of_bare: f64,
    /// From the end of the writer's commit to the row's arrival, in ms, in order.
    pub(crate) delays: Vec<f64>,
    pub(crate) lost: usize,
    pub(crate) twice: usize,
}

pub(crate) fn run(server: &str, rows: u32, runs: u32) -> anyhow::Result<Tailed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let scratch = Scratch::new(server).await?;
        let measured = measure(&scratch.url, rows, runs).await;
        scratch.drop().await?;
        measured
    })
}

async fn measure(url: &str, rows: u32, runs: u32) -> anyhow::Result<Tailed> {
    fill(url, rows).await?;
    let mut bare = Measured::new("bare SELECT, count bytes");
    let mut tail = Measured::new("table source, from the first row");
    for _ in 0..runs {
        let watch = Stopwatch::start();
        select(url, rows).await?;
        bare.add(watch.stop(rows));
        let watch = Stopwatch::start();
        drain(url, rows).await?;
        tail.add(watch.stop(rows));
    }
    let of_bare = tail.rate() / bare.rate();
    let drained = tail.rate();
    let title = format!("tail: {rows} rows of a PostgreSQL table, {runs} turns each");
    table::print(&title, &[bare, tail])?;

    let (written, arrived) = follow(url, rows).await?;
    let delays = sorted(written.iter().filter_map(|(id, committed)| {
        let arrived = arrived.get(id)?.first()?;
        Some(arrived.saturating_duration_since(*committed).as_secs_f64() * 1000.0)
    }));
    let twice = arrived.values().filter(|times| times.len() > 1).count();
    let tailed = Tailed {
        drained,
        of_bare,
        lost: written.len() - delays.len(),
        twice,
        delays,
    };
    line("")?;
    line(&format!(
        "tail beside {WRITERS} writers for {WRITING:?}, polled every {POLL_EVERY:?}: {} rows committed, {} lost, {} twice; \
         from commit to arrival median {:.0} ms, p99 {:.0} ms, most {:.0} ms",
        written.len(),
        tailed.lost,
        tailed.twice,
        table::median(&tailed.delays),
        percentile(&tailed.delays, 99),
        table::last(&tailed.delays),
    ))?;
    Ok(tailed)
}

/// A database of its own, gone with the measurement.
struct Scratch {
    server: String,
    name: String,
    url: String,
}

impl Scratch {
    async fn new(server: &str) -> anyhow::Result<Self> {
        let name = format!("tokenwarden_tail_{}", std::process::id());
        let mut admin = PgConnection::connect(server).await?;
        command(&mut admin, &format!("CREATE DATABASE {name}")).await?;
        let (base, _) = server.rsplit_once('/').context("postgres://HOST/NAME")?;
        Ok(Self {
            url: format!("{base}/{name}"),
            server: server.to_owned(),
            name,
        })
    }

    async fn drop(self) -> anyhow::Result<()> {
        let mut admin = PgConnection::connect(&self.server).await?;
        command(
            &mut admin,
            &format!("DROP DATABASE {} WITH (FORCE)", self.name),
        )
        .await
    }
}

async fn command(connection: &mut PgConnection, sql: &str) -> anyhow::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await?;
    Ok(())
}

async fn fill(url: &str, rows: u32) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let table = "CREATE TABLE audit (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), event jsonb NOT NULL)";
    command(&mut connection, table).await?;
    let mut bodies = bodies(rows)?;
    while !bodies.is_empty() {
        let some: Vec<String> = bodies.drain(..AT_ONCE.min(bodies.len())).collect();
        insert(&mut connection, &some).await?;
    }
    command(&mut connection, "VACUUM ANALYZE audit").await
}

fn bodies(count: u32) -> anyhow::Result<Vec<String>> {
    let start = Timestamp::now() - Duration::from_hours(24);
    let traffic = Traffic::new(0..(count / 5).max(1), start);
    let body = |presentation| {
        let mut body = String::new();
        write_record(&presentation, &mut body)?;
        Ok(body)
    };
    traffic.take(usize::try_from(count)?).map(body).collect()
}

async fn insert(connection: &mut PgConnection, bodies: &[String]) -> anyhow::Result<Vec<i64>> {
    let insert =
        "INSERT INTO audit (event) SELECT body::jsonb FROM unnest($1::text[]) AS body RETURNING id";
    Ok(sqlx::query_scalar(insert)
        .bind(bodies)
        .fetch_all(connection)
        .await?)
}

/// What a reader without a memory does: page by page, by id.
async fn select(url: &str, rows: u32) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let page = format!(
        "SELECT id, event::text FROM audit WHERE id > $1 ORDER BY id LIMIT {}",
        limits::BATCH_RECORDS_MAX / 2
    );
    let (mut last, mut read, mut bytes) = (0_i64, 0, 0);
    while read < rows {
        let page = sqlx::query(AssertSqlSafe(&*page))
            .bind(last)
            .fetch_all(&mut connection)
            .await?;
        ensure!(!page.is_empty(), "only {read} of {rows} rows are there");
        for row in page {
            last = row.try_get(0)?;
            bytes += row.try_get::<&str, _>(1)?.len();
            read += 1;
        }
    }
    std::hint::black_box(bytes);
    Ok(())
}

async fn drain(url: &str, rows: u32) -> anyhow::Result<()> {
    let mut running = Running::start(url, Start::Earliest);
    let mut read = 0;
    while read < rows {
        read += u32::try_from(running.batch().await?.records.len())?;
    }
    running.stop().await
}

/// When the commit of each row had ended, and when each row came.
type Written = HashMap<i64, Instant>;
type Arrived = HashMap<i64, Vec<Instant>>;

async fn follow(url: &str, rows: u32) -> anyhow::Result<(Written, Arrived)> {
    let mut running = Running::start(url, Start::Latest);
    // From here on it is at the end.
    while running.batch().await?.tick.is_none() {}
    let bodies = Arc::new(bodies(rows.min(10_000))?);
    let (ends, mut writers) = (Instant::now() + WRITING, JoinSet::new());
    for writer in 0..WRITERS {
        writers.spawn(write(url.to_owned(), Arc::clone(&bodies), writer, ends));
    }
    let (mut written, mut arrived) = (Written::new(), Arrived::new());
    let mut all_since: Option<Instant> = None;
    // What comes twice comes soon after; what has not come by then is lost.
    while all_since.is_none_or(|since| since.elapsed() < LONG * 2) && ends.elapsed() < LOST_AFTER {
        tokio::select! {
            Some(ended) = writers.join_next() => written.extend(ended??),
            batch = running.batch() => {
                let now = Instant::now();
                for record in &batch?.records {
                    arrived.entry(record.place.parse()?).or_default().push(now);
                }
            }
        }
        if writers.is_empty() && written.keys().all(|id| arrived.contains_key(id)) {
            all_since.get_or_insert_with(Instant::now);
        }
    }
    running.stop().await?;
    Ok((written, arrived))
}

/// Transactions of a few rows, one after the other.
async fn write(
    url: String,
    bodies: Arc<Vec<String>>,
    writer: u64,
    ends: Instant,
) -> anyhow::Result<Written> {
    let mut connection = PgConnection::connect(&url).await?;
    let mut written = Written::new();
    let mut state = writer + 1;
    let mut below = move |limit: u64| {
        // Knuth's MMIX generator; the low bits of it are poor.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    while Instant::now() < ends {
        let mut transaction = connection.begin().await?;
        let from = usize::try_from(below(bodies.len() as u64 - 20))?;
        let count = usize::try_from(1 + below(20))?;
        let ids = insert(&mut transaction, &bodies[from..from + count]).await?;
        let stays = if below(LONG_ONE_IN) == 0 {
            LONG
        } else {
            Duration::from_millis(below(20))
        };
        tokio::time::sleep(stays).await;
        if below(BACK_ONE_IN) == 0 {
            transaction.rollback().await?;
            continue;
        }
        transaction.commit().await?;
        let now = Instant::now();
        written.extend(ids.into_iter().map(|id| (id, now)));
    }
    Ok(written)
}

/// The source, with a memory that keeps nothing.
struct Running {
    batches: mpsc::Receiver<RawBatch>,
    watcher: Arc<Watcher>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), SourceError>>,
}

impl Running {
    fn start(url: &str, start: Start) -> Self {
        let source = SqlSource {
            database: Database::Postgres,
            url: Secret::new(url),
            layout: SqlLayout::Rows {
                table: "audit".into(),
                query: false,
                cursor: SqlCursor::Id {
                    column: "id".into(),
                    time_column: Some("at".into()),
                },
                json_column: Some("event".into()),
            },
            poll_every: POLL_EVERY,
            statement_timeout: Duration::from_secs(10),
        };
        let source = SqlTail::new("audit".into(), start, Duration::ZERO, source);
        let (sender, batches) = mpsc::channel(limits::BATCHES_WAITING_MAX);
        let (watcher, cancel) = (Arc::new(Watcher::default()), CancellationToken::new());
        let context = Context {
            batches: sender,
            claims: Arc::clone(&watcher) as Arc<dyn Claims>,
            status: Arc::clone(&watcher) as Arc<dyn Status>,
            cancel: cancel.clone(),
            now: Timestamp::now,
        };
        Self {
            batches,
            watcher,
            cancel,
            task: tokio::spawn(Box::new(source).run(context)),
        }
    }

    async fn batch(&mut self) -> anyhow::Result<RawBatch> {
        match tokio::time::timeout(PATIENCE, self.batches.recv()).await {
            Ok(Some(batch)) => Ok(batch),
            _ => bail!("no batch came; {:?}", self.watcher.reason.lock()),
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.cancel.cancel();
        drop(self.batches);
        self.task.await?.map_err(|error| anyhow!("{error}"))
    }
}

/// Hands out every partition as new, and remembers the last complaint.
#[derive(Default)]
struct Watcher {
    reason: Mutex<Option<String>>,
}

impl Claims for Watcher {
    fn claim<'a>(
        &'a self,
        wanted: &'a [SourcePartition],
    ) -> BoxFuture<'a, Result<Vec<Claim>, SourceError>> {
        let claim = |partition: &SourcePartition| Claim {
            partition: partition.clone(),
            epoch: 1,
            start: StartAt::Fresh,
        };
        let claims = wanted.iter().map(claim).collect();
        async { Ok(claims) }.boxed()
    }
}

impl Status for Watcher {
    fn up(&self, _: &Text) {}

    fn down(&self, _: &Text, reason: &str) {
        *self.reason.lock().expect("the last complaint") = Some(reason.to_owned());
    }

    fn partly(&self, source: &Text, _: &[Text], reason: &str) {
        self.down(source, reason);
    }

    fn lag(&self, _: &SourcePartition, _: u64) {}
}
