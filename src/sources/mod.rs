//! L3: sources read what the authorization server already writes and hand it on as raw records with a position.
//!
//! Uses `model` and its own part of `config`. Never the store: what a source needs of it (claims, the inbox, our own
//! events) it takes through the traits declared here, which `app` fills.
//!
//! In: a broker, a database, an HTTP request, a file. Out: [`RawBatch`]es on a bounded channel. A source never
//! acknowledges by itself: its position is part of what is committed, and it resumes from the stored position.

mod pace;
mod warm_up;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::model::{Claim, RawBatch, SourcePartition, Text, Timestamp};

/// One file (or folder) a source kind: its name in the configuration, and what it reads.
macro_rules! sources {
    ($($module:ident = $about:literal),+ $(,)?) => {
        $(pub mod $module;)+

        /// Every kind of source, for documentation, metrics labels and tests.
        pub const KINDS: &[Kind] = &[$(Kind { name: stringify!($module), about: $about }),+];
    };
}

sources! {
    kafka = "topics of a Kafka cluster, as a member of a consumer group",
    file = "JSON lines or a server's log, followed through rotation and truncation",
    webhook = "HTTP POST of one object, an array or JSON lines, kept in the inbox before it is answered",
    sql = "tables and queries of PostgreSQL, MySQL or MariaDB, and SQLite, as a reader of a table that it does not own",
    canary = "a record of our own now and then, which shows that the way to the outbox is open",
    own_table = "a table of our own: the webhooks' inbox, and what was done",
}

/// A line of the table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    pub about: &'static str,
}

/// Reads one configured source until it is cancelled.
///
/// An unreachable server is not an error: it is reported through [`Status`] and tried again with backoff.
/// `Err` is for what no waiting mends (a missing column, a topic that the account may not read).
pub trait Source: Send + 'static {
    fn name(&self) -> &Text;

    fn run(self: Box<Self>, context: Context) -> BoxFuture<'static, Result<(), SourceError>>;
}

/// What a source is given to work with.
#[derive(Clone)]
pub struct Context {
    /// Bounded: a full channel is back-pressure, and the source waits.
    pub batches: mpsc::Sender<RawBatch>,
    pub claims: Arc<dyn Claims>,
    pub status: Arc<dyn Status>,
    pub cancel: CancellationToken,
    /// Wall time, read at the edge.
    pub now: fn() -> Timestamp,
}

/// Ownership of partitions, kept in the store.
pub trait Claims: Send + Sync {
    /// Takes the partitions over: raises their epochs and tells where to read from.
    fn claim<'a>(
        &'a self,
        partitions: &'a [SourcePartition],
    ) -> BoxFuture<'a, Result<Vec<Claim>, SourceError>>;

    /// Waits until partitions may be taken at all: not while another daemon may have begun to read them.
    fn allowed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Where a source reports how it is doing; shown in `/-/ready` and as metrics.
pub trait Status: Send + Sync {
    /// Reading works.
    fn up(&self, source: &Text);
    /// Reading does not work now; the reason is for a person and holds no secret.
    fn down(&self, source: &Text, reason: &str);
    /// These parts of it cannot be read now, each a partition or a topic with all of its; the others are read on.
    fn partly(&self, source: &Text, parts: &[Text], reason: &str);
    /// Records known to be waiting in a partition, where the source can tell.
    fn lag(&self, partition: &SourcePartition, records: u64);
}

/// A table of our own that is tailed like any source: the webhook inbox, and what was done (own events).
pub trait OwnTable: Send + Sync {
    /// Rows with an id above `after`, in order of id, at most `limit`.
    ///
    /// Never a row while one with a lower id may still come (concurrent writers commit out of order): the reader
    /// remembers only the last id.
    fn read_after(&self, after: i64, limit: u32)
    -> BoxFuture<'_, Result<Vec<OwnRow>, SourceError>>;
    /// The largest id there is, 0 in an empty table.
    fn newest(&self) -> BoxFuture<'_, Result<i64, SourceError>>;
}

/// Takes webhook records into the store; when it answers, they are durable.
pub trait Inbox: Send + Sync {
    /// Stores all of the records, in order, or none.
    fn put<'a>(
        &'a self,
        source: &'a Text,
        records: Vec<Vec<u8>>,
    ) -> BoxFuture<'a, Result<(), SourceError>>;
}

/// A row of one of our own tables.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnRow {
    pub id: i64,
    pub payload: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);
