//! The audit table of the simulated authorization server: what a home-made server would write, and all that the daemon sees.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::grants::Fact;
use crate::model::{EventType, Outcome, Timestamp};

/// `AUTOINCREMENT` matters to whoever tails the table: without it the id of a deleted last row is given out again.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS audit_events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        event_id TEXT NOT NULL UNIQUE,
        time INTEGER NOT NULL,
        type TEXT NOT NULL,
        outcome TEXT NOT NULL,
        reason TEXT,
        error TEXT,
        user_id TEXT,
        client_id TEXT,
        session_id TEXT,
        family_id TEXT,
        token_id TEXT,
        new_token_id TEXT,
        ip_address TEXT,
        user_agent TEXT,
        device_id TEXT,
        access_token_ttl INTEGER,
        initiator TEXT
    )";

const INSERT: &str = "
    INSERT INTO audit_events (event_id, time, type, outcome, reason, error, user_id, client_id, session_id, family_id,
        token_id, new_token_id, ip_address, user_agent, device_id, access_token_ttl, initiator)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Who a request came from, as far as a server can know.
#[derive(Debug, Clone, Default)]
pub(super) struct Requester {
    pub address: Option<IpAddr>,
    pub user_agent: Option<String>,
    pub device_id: Option<String>,
}

pub(super) struct AuditTable {
    connection: SqliteConnection,
    written: u64,
}

impl AuditTable {
    /// Opens or makes the file.
    pub(super) async fn open(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            // Readers do not wait for the writer.
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .disable_statement_logging();
        let mut connection = SqliteConnection::connect_with(&options)
            .await
            .with_context(|| format!("open the audit table in {}", path.display()))?;
        sqlx::query(SCHEMA).execute(&mut connection).await?;
        let written: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM audit_events")
            .fetch_one(&mut connection)
            .await?;
        Ok(Self {
            connection,
            written: written.unsigned_abs(),
        })
    }

    pub(super) async fn write(
        &mut self,
        time: Timestamp,
        requester: &Requester,
        facts: &[Fact],
    ) -> Result<()> {
        let mut transaction = self.connection.begin().await?;
        for fact in facts {
            self.written += 1;
            let issued = fact.new_token_id.is_some();
            sqlx::query(INSERT)
                .bind(format!("audit-{}", self.written))
                .bind(time.as_millisecond())
                .bind(fact.kind.as_str())
                .bind(fact.outcome.as_str())
                .bind(fact.reason.map(crate::model::Reason::as_str))
                .bind(fact.error)
                .bind(&fact.user_id)
                .bind(&fact.client_id)
                .bind(&fact.session_id)
                .bind(&fact.family_id)
                .bind(&fact.token_id)
                .bind(&fact.new_token_id)
                .bind(requester.address.map(|address| address.to_string()))
                .bind(&requester.user_agent)
                .bind(&requester.device_id)
                .bind(issued.then_some(super::ACCESS_TOKEN_TTL_SECONDS))
                .bind(fact.initiator.map(crate::model::Initiator::as_str))
                .execute(&mut *transaction)
                .await
                .with_context(|| describe(fact))?;
        }
        Ok(transaction.commit().await?)
    }
}

fn describe(fact: &Fact) -> String {
    let (kind, outcome): (EventType, Outcome) = (fact.kind, fact.outcome);
    format!("write the {outcome} of a {kind} to the audit table")
}
