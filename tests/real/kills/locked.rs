//! Holds a daemon between two transactions of its embedded store, from outside: the test takes the lock of whoever writes as soon as
//! the store shows what it waits for, and while it has it, nothing can come after.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use crate::daemon::{Daemon, PATIENCE};

/// Shorter than the daemon waits for a lock: it and we take turns.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The store's file, and what we have of it.
pub(crate) struct Locked {
    file: PathBuf,
    connection: Option<SqliteConnection>,
}

impl Locked {
    pub(crate) fn of(home: &Path) -> Self {
        Self {
            file: home.join("tokenwarden.db"),
            connection: None,
        }
    }

    /// Waits until this is so, and keeps it so.
    pub(crate) async fn hold_when(&mut self, condition: &str, daemon: &Daemon) {
        let begun = Instant::now();
        while !self.holds(condition).await {
            let log = || daemon.log();
            assert!(begun.elapsed() < PATIENCE, "never {condition}:\n{}", log());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether it is so, and then it stays so.
    pub(crate) async fn holds(&mut self, condition: &str) -> bool {
        self.execute("BEGIN IMMEDIATE").await && {
            let holds = self.number(&format!("SELECT {condition}")).await == Some(1);
            holds || {
                self.execute("ROLLBACK").await;
                false
            }
        }
    }

    /// The daemon goes on, or whoever comes after it.
    pub(crate) async fn release(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close().await.unwrap();
        }
    }

    /// `None` as long as there is no such table.
    pub(crate) async fn number(&mut self, sql: &str) -> Option<i64> {
        let sql = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
        sql.fetch_one(self.connection().await?).await.ok()
    }

    async fn execute(&mut self, sql: &'static str) -> bool {
        match self.connection().await {
            Some(connection) => sqlx::raw_sql(sql).execute(connection).await.is_ok(),
            None => false,
        }
    }

    /// As soon as there is a file.
    async fn connection(&mut self) -> Option<&mut SqliteConnection> {
        if self.connection.is_none() && self.file.exists() {
            let url = format!("sqlite://{}", self.file.display());
            self.connection = SqliteConnection::connect(&url).await.ok();
        }
        self.connection.as_mut()
    }
}
