//! L3: the store keeps what must survive: positions, detections, incidents, actions, the inbox, rejects, snapshots.
//!
//! Uses `model` and its own part of `config`. All SQL on our own tables lives here; the same statements run on SQLite
//! (embedded default) and PostgreSQL, through sqlx's `Any` driver. Two sets of typed queries were the other way: they
//! would have to be kept alike by hand, and differ in nothing but the type of a blob.
//!
//! In: a [`Commit`](crate::model::Commit) per few tens of milliseconds, answers of the delivery loop. Out: claims,
//! leases, records for the API and the mail. There is no clock here: whoever calls says what time it is.

mod attempt;
pub mod audit;
mod bulletin;
mod canary;
mod claim;
mod commit;
mod digest;
mod erase;
mod error;
mod followed;
mod gauges;
mod inspect;
mod lead;
mod left;
mod line;
mod measures;
mod migrate;
mod names;
mod open;
mod outbox;
mod own;
mod packed;
mod people;
mod queries;
mod retention;
mod snapshot;
mod snapshot_writer;
mod spent;
mod sql;
mod token_key;
mod verify;

pub use attempt::{AttemptEnd, AttemptId, AttemptResult, Messages, Seen, Settled};
pub use bulletin::{DigestsMade, HeldUntold};
pub use commit::CommitReport;
pub use digest::Doubts;
pub use erase::{Erased, Erasure};
pub use error::{OpenError, StoreError};
pub use followed::{Follow, FollowedRow, Known};
pub use gauges::{Gauges, WouldHaveBeen};
pub use lead::Leader;
pub use left::{LastTold, Left};
pub use names::{Mention, Names};
pub use open::OpenAs;
pub use outbox::{Finish, FinishState, LeasedAction, Queue};
pub use own::Row;
pub use people::{Closed, Ruling, Taken};
pub use queries::{ActionFilter, DetectionFilter, IncidentDetails, IncidentFilter, Listed, Page};
pub use retention::Removed;
pub use snapshot::{SavedState, Snapshot};
pub use snapshot_writer::SnapshotWriter;
pub use verify::{Consequence, Watched};

use std::fs::File;
use std::sync::{Arc, Mutex};

use sqlx::{Any, Pool, Transaction};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::model::limits;

/// A connection to the store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Backend,
    /// SQLite: one connection, since it has one writer anyway and waiting in our queue is fairer than busy-looping.
    writer: Pool<Any>,
    /// SQLite: read-only connections that see the last commit and disturb nobody. PostgreSQL: the writer's pool.
    reader: Pool<Any>,
    /// PostgreSQL: the connection by which a daemon leads. Its own, for the lead must not wait for work.
    lead: Option<line::Line>,
    seat: Mutex<lead::Seat>,
    /// How people know it: a path, or a URL without its password.
    name: String,
    /// Counted up after a commit that brought actions, and after an action that others may wait for.
    arrivals: watch::Sender<u64>,
    /// Held as long as the process lives; the operating system frees it even after a kill.
    _lock: Option<File>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backend {
    Sqlite,
    Postgres,
}

impl Store {
    /// How people know the store: a path, or a URL without its password.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Changes whenever there may be actions to perform, so that delivery need not wait for its next look.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.inner.arrivals.subscribe()
    }

    fn ring(&self) {
        self.inner.arrivals.send_modify(|rung| *rung += 1);
    }

    /// Answers when the store can be read and written.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let ping = sqlx::query("UPDATE meta SET value = value WHERE name = 'ping'");
        self.write(ping).await.map(|_| ())
    }

    /// Gives the connections back; running statements end first, unless they do not.
    pub async fn close(&self) {
        let close = async {
            self.inner.writer.close().await;
            self.inner.reader.close().await;
            if let Some(lead) = &self.inner.lead {
                lead.close().await;
            }
        };
        if timeout(limits::STORE_CLOSE_MAX, close).await.is_err() {
            tracing::warn!("Connections of the store do not answer, and are left");
        }
    }

    /// Nobody uses a connection at the moment: where time is simulated, it passes only then.
    pub fn is_at_rest(&self) -> bool {
        let pools = [&self.inner.writer, &self.inner.reader];
        let is_idle = |pool: &&Pool<Any>| usize::try_from(pool.size()) == Ok(pool.num_idle());
        pools.iter().all(is_idle)
    }

    /// A transaction of who may write: only that of a daemon that leads goes on to its end.
    async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        let begin = match self.inner.backend {
            // Takes the write lock at once: a transaction that reads first and writes later can be refused in its middle.
            Backend::Sqlite => "BEGIN IMMEDIATE",
            Backend::Postgres => "BEGIN",
        };
        let mut transaction = self.inner.writer.begin_with(begin).await?;
        self.fence(&mut transaction).await?;
        Ok(transaction)
    }

    /// One statement, within the same bounds. Gives how many rows it has changed.
    async fn write(&self, statement: sql::AnyQuery<'_>) -> Result<u64, StoreError> {
        if self.term()?.is_none() {
            let done = statement.execute(&self.inner.writer).await?;
            return Ok(done.rows_affected());
        }
        let mut transaction = self.begin().await?;
        let done = statement.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(done.rows_affected())
    }

    fn reader(&self) -> &Pool<Any> {
        &self.inner.reader
    }
}
