//! One read-only connection, and one snapshot per poll.
//!
//! One connection is enough: polls follow each other. Read-only is asked for three times (the account's privileges, the
//! session, each transaction), because a reader that can write is one typing error away from changing evidence.
//! The drivers are used as they are: `sqlx::Any` knows too few types, and each database has its own horizon anyway.

use std::str::FromStr;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlRow};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Row as _};
use sqlx::{MySqlConnection, PgConnection, SqliteConnection, Statement, TypeInfo, ValueRef};

use crate::config::{Database, SqlSource};
use crate::model::limits::SQL_CONNECT_TIMEOUT;

use super::column::{Cell, Column, Kind};
use super::fault::Fault;
use super::query::{Bound, Query};

/// A row, cell by cell in the order of the selected columns.
pub(super) type Row = Vec<Cell>;

/// An open connection with its settings made.
pub(super) struct Session {
    driver: Driver,
    database: Database,
    statement_timeout: Duration,
    /// MySQL: running transactions may be looked at. Elsewhere always true.
    pub(super) sees_transactions: bool,
    pub(super) is_mariadb: bool,
}

enum Driver {
    Postgres(Box<PgConnection>),
    Mysql(Box<MySqlConnection>),
    Sqlite(Box<SqliteConnection>),
}

/// What a snapshot tells about itself, for the gap tracker and for the overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// A transaction that begins from now on is at or above this.
    pub(super) ceiling: i64,
    /// Every transaction below this has ended, and what it committed is visible here.
    pub(super) floor: i64,
    /// The database's own clock, in us since 1970.
    pub(super) now_us: i64,
}

impl Session {
    pub(super) async fn open(source: &SqlSource) -> Result<Self, Fault> {
        let connecting = Self::connect(source);
        tokio::time::timeout(SQL_CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| Fault::Waiting(format!("no connection within {SQL_CONNECT_TIMEOUT:?}")))?
    }

    async fn connect(source: &SqlSource) -> Result<Self, Fault> {
        let url = source.url.expose();
        let driver = match source.database {
            Database::Postgres => {
                let options = PgConnectOptions::from_str(url)?.application_name("tokenwarden");
                Driver::Postgres(Box::new(
                    options.disable_statement_logging().connect().await?,
                ))
            }
            Database::Mysql => {
                let options = MySqlConnectOptions::from_str(url)?;
                Driver::Mysql(Box::new(
                    options.disable_statement_logging().connect().await?,
                ))
            }
            Database::Sqlite => {
                let options = SqliteConnectOptions::from_str(url)?
                    .read_only(true)
                    .create_if_missing(false)
                    .busy_timeout(source.statement_timeout)
                    .pragma("query_only", "on");
                Driver::Sqlite(Box::new(
                    options.disable_statement_logging().connect().await?,
                ))
            }
        };
        let mut session = Self {
            driver,
            database: source.database,
            statement_timeout: source.statement_timeout,
            sees_transactions: true,
            is_mariadb: false,
        };
        session.settle().await?;
        Ok(session)
    }

    pub(super) fn database(&self) -> Database {
        self.database
    }

    /// Begins the read-only transaction in which everything of one poll is read.
    pub(super) async fn begin(&mut self) -> Result<Snapshot, Fault> {
        match self.database {
            Database::Postgres => self.begin_postgres().await,
            Database::Mysql => self.begin_mysql().await,
            Database::Sqlite => self.begin_sqlite().await,
        }
    }

    pub(super) async fn end(&mut self) -> Result<(), Fault> {
        self.command("COMMIT").await
    }

    /// All rows of a query. Bounded by the query's own LIMIT.
    pub(super) async fn rows(&mut self, query: Query) -> Result<Vec<Row>, Fault> {
        let wait = self.statement_timeout * 2 + Duration::from_secs(1);
        tokio::time::timeout(wait, self.driver.rows(query))
            .await
            .map_err(|_| {
                Fault::Waiting(format!(
                    "no answer within {wait:?}; the connection is given up"
                ))
            })?
    }

    /// The first cell of the first row, if there is one and it is not null.
    pub(super) async fn one(&mut self, query: Query) -> Result<Option<Cell>, Fault> {
        let rows = self.rows(query).await?;
        let cell = rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next());
        Ok(cell.filter(|cell| *cell != Cell::Null))
    }

    /// The columns that a statement would give.
    pub(super) async fn columns(&mut self, sql: &str) -> Result<Vec<Column>, Fault> {
        let (database, sql) = (self.database, safe(sql));
        Ok(match &mut self.driver {
            Driver::Postgres(connection) => columns(database, connection.prepare(sql).await?.columns()),
            Driver::Mysql(connection) => columns(database, connection.prepare(sql).await?.columns()),
            Driver::Sqlite(connection) => columns(database, connection.prepare(sql).await?.columns()),
        })
    }

    async fn settle(&mut self) -> Result<(), Fault> {
        let timeout_ms = self.statement_timeout.as_millis();
        match self.database {
            Database::Postgres => {
                self.command(&format!(
                    "SET default_transaction_read_only = on; SET statement_timeout = {timeout_ms}"
                ))
                .await
            }
            Database::Mysql => self.settle_mysql().await,
            Database::Sqlite => Ok(()),
        }
    }

    async fn settle_mysql(&mut self) -> Result<(), Fault> {
        let version = self
            .one(Query::new(Database::Mysql).push("SELECT CAST(VERSION() AS CHAR)"))
            .await?;
        let version = version.and_then(|cell| cell.text()).unwrap_or_default();
        self.is_mariadb = version.contains("MariaDB");
        let limit = if self.is_mariadb {
            format!(
                "SET SESSION max_statement_time = {}",
                self.statement_timeout.as_secs_f64()
            )
        } else {
            format!(
                "SET SESSION max_execution_time = {}",
                self.statement_timeout.as_millis()
            )
        };
        self.command(&limit).await?;
        self.command("SET SESSION TRANSACTION READ ONLY").await?;
        self.command("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .await?;
        self.sees_transactions = self
            .rows(Query::new(Database::Mysql).push(OLDEST_TRANSACTION))
            .await
            .is_ok();
        Ok(())
    }

    async fn begin_postgres(&mut self) -> Result<Snapshot, Fault> {
        let timeout_ms = self.statement_timeout.as_millis();
        // Settings again, for the transaction: a pooler in between may have given us another server connection.
        self.command(&format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {timeout_ms}"
        ))
        .await?;
        let row = self
            .rows(Query::new(Database::Postgres).push(SNAPSHOT))
            .await?;
        Ok(Snapshot {
            ceiling: number(&row, 0)?,
            floor: number(&row, 1)?,
            now_us: number(&row, 2)?,
        })
    }

    /// The oldest running transaction is asked for before the snapshot is taken: what has ended by then is visible in it.
    async fn begin_mysql(&mut self) -> Result<Snapshot, Fault> {
        // `trx_started` is in the server's own zone, whatever the session's is.
        self.command("SET time_zone = 'SYSTEM'").await?;
        let oldest = if self.sees_transactions {
            OLDEST_TRANSACTION
        } else {
            NOW_MYSQL
        };
        let row = self.rows(Query::new(Database::Mysql).push(oldest)).await?;
        self.command("SET time_zone = '+00:00'").await?;
        self.command("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            .await?;
        let now_us = number(&row, 0)?;
        Ok(Snapshot {
            ceiling: now_us,
            floor: number(&row, 1)?,
            now_us,
        })
    }

    /// One writer at a time: what is committed later has a higher id, and nothing else is running.
    async fn begin_sqlite(&mut self) -> Result<Snapshot, Fault> {
        self.command("BEGIN").await?;
        let row = self
            .rows(Query::new(Database::Sqlite).push(NOW_SQLITE))
            .await?;
        let now_us = number(&row, 0)?.saturating_mul(1000);
        Ok(Snapshot {
            ceiling: now_us,
            floor: now_us,
            now_us,
        })
    }

    async fn command(&mut self, sql: &str) -> Result<(), Fault> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match &mut self.driver {
            Driver::Postgres(connection) => connection.execute(sql).await.map(|_| ())?,
            Driver::Mysql(connection) => connection.execute(sql).await.map(|_| ())?,
            Driver::Sqlite(connection) => connection.execute(sql).await.map(|_| ())?,
        }
        Ok(())
    }
}

const SNAPSHOT: &str = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text, pg_snapshot_xmin(pg_current_snapshot())::text, \
     (extract(epoch FROM clock_timestamp()) * 1000000)::bigint::text";
const OLDEST_TRANSACTION: &str = "SELECT CAST(FLOOR(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000) AS CHAR), \
     CAST(FLOOR(COALESCE(UNIX_TIMESTAMP(MIN(trx_started)), UNIX_TIMESTAMP(SYSDATE(6))) * 1000000) AS CHAR) \
     FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> CONNECTION_ID()";
const NOW_MYSQL: &str = "SELECT CAST(FLOOR(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000) AS CHAR), \
     CAST(FLOOR(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000) AS CHAR)";
const NOW_SQLITE: &str = "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";

fn number(rows: &[Row], at: usize) -> Result<i64, Fault> {
    let cell = rows.first().and_then(|row| row.get(at));
    cell.and_then(Cell::integer)
        .ok_or_else(|| Fault::Waiting("the database did not tell its snapshot".into()))
}

fn safe(sql: &str) -> sqlx::SqlStr {
    sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(sql))
}

fn columns<C>(database: Database, columns: &[C]) -> Vec<Column>
where
    C: sqlx::Column,
    <C::Database as sqlx::Database>::TypeInfo: TypeInfo,
{
    let one = |column: &C| Column {
        name: column.name().to_owned(),
        kind: Kind::of(database, column.type_info()),
    };
    columns.iter().map(one).collect()
}

/// The same steps for each driver: their types have nothing in common that could be named.
macro_rules! fetch {
    ($connection:expr, $query:expr, $cell:expr) => {{
        let Query { sql, values, is_repeated, .. } = $query;
        let mut statement = sqlx::query(AssertSqlSafe(sql)).persistent(is_repeated);
        for value in values {
            statement = match value {
                Bound::Integer(number) => statement.bind(number),
                Bound::Text(text) => statement.bind(text),
            };
        }
        let rows = statement.fetch_all($connection.as_mut()).await?;
        rows.iter()
            .map(|row| (0..row.len()).map(|at| $cell(row, at)).collect())
            .collect()
    }};
}

impl Driver {
    async fn rows(&mut self, query: Query) -> Result<Vec<Row>, Fault> {
        match self {
            Self::Postgres(connection) => {
                fetch!(connection, query, |row: &PgRow, at| text(row.try_get_unchecked(at)))
            }
            Self::Mysql(connection) => {
                fetch!(connection, query, |row: &MySqlRow, at| text(row.try_get_unchecked(at)))
            }
            Self::Sqlite(connection) => fetch!(connection, query, dynamic),
        }
    }
}

fn text(value: Result<Option<String>, sqlx::Error>) -> Result<Cell, Fault> {
    Ok(value?.map_or(Cell::Null, Cell::Text))
}

/// SQLite's values carry their types themselves.
fn dynamic(row: &SqliteRow, at: usize) -> Result<Cell, Fault> {
    let value = row.try_get_raw(at)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let kind = value.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "INTEGER" => Cell::Integer(row.try_get_unchecked(at)?),
        "REAL" => Cell::Float(row.try_get_unchecked(at)?),
        "BLOB" => Cell::Bytes(row.try_get_unchecked(at)?),
        _ => Cell::Text(row.try_get_unchecked(at)?),
    })
}
