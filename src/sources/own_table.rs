//! Tails a table of our own (the webhooks' inbox, what was done) as a source with one partition.
//!
//! The store hands rows out only in the order of their ids and only when no lower id can still come, so that plain
//! `id > last` is enough here; tables of others need the gap tracking of the `sql` source. Such a table holds only what
//! was meant for us, so a fresh start reads all of it: `start` and `warm_up` are about the past of other systems.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use serde::Deserialize;
use tokio::sync::watch;

use super::pace::Pace;
use super::warm_up::Plan;
use super::{Context, OwnRow, OwnTable, Source, SourceError};
use crate::model::{
    Claim, Position, RawBatch, RawRecord, SourcePartition, StartAt, Text, Timestamp, limits,
};

/// Pause between looks that found nothing: a read of an indexed id costs some ten microseconds.
const POLL_EVERY: Duration = Duration::from_millis(50);
/// One batch.
const ROWS_PER_READ: u32 = 1000;
const _: () = assert!(ROWS_PER_READ as usize == limits::BATCH_RECORDS_MAX);

/// One table of ours.
pub struct TableTail {
    name: Text,
    partition: Text,
    table: Arc<dyn OwnTable>,
    looked: watch::Sender<bool>,
}

#[derive(Deserialize)]
struct TablePosition {
    /// The last row read.
    id: i64,
}

impl TableTail {
    /// The records of the webhook source `name`.
    pub fn inbox(name: Text, table: Arc<dyn OwnTable>) -> Self {
        Self::new(name, "inbox", table)
    }

    /// What was done: our own attempts, their ends, the verdicts of people.
    pub fn own(name: Text, table: Arc<dyn OwnTable>) -> Self {
        Self::new(name, "own", table)
    }

    fn new(name: Text, partition: &str, table: Arc<dyn OwnTable>) -> Self {
        Self {
            name,
            partition: partition.into(),
            table,
            looked: watch::Sender::new(false),
        }
    }

    /// Whether the table was looked at, and what stood there handed over: engine time stands until then, so that whatever
    /// else is read before is remembered for longer than it should be.
    pub fn looked(&self) -> watch::Receiver<bool> {
        self.looked.subscribe()
    }
}

impl Source for TableTail {
    fn name(&self) -> &Text {
        &self.name
    }

    fn run(self: Box<Self>, context: Context) -> BoxFuture<'static, Result<(), SourceError>> {
        async move {
            let mut delay = limits::SOURCE_RETRY_MIN;
            loop {
                let mut worked = false;
                let stopped = tail(&self, &context, &mut worked);
                let failure = tokio::select! {
                    () = context.cancel.cancelled() => return Ok(()),
                    stopped = stopped => stopped,
                };
                let Err(SourceError(reason)) = failure else {
                    return Ok(());
                };
                context.status.down(&self.name, &reason);
                if worked {
                    delay = limits::SOURCE_RETRY_MIN;
                }
                tokio::select! {
                    () = context.cancel.cancelled() => return Ok(()),
                    () = tokio::time::sleep(delay) => {}
                }
                delay = (delay * 2).min(limits::SOURCE_RETRY_MAX);
            }
        }
        .boxed()
    }
}

/// Claims the partition and reads it until the store fails (`Err`) or nobody listens any more (`Ok`).
async fn tail(source: &TableTail, context: &Context, worked: &mut bool) -> Result<(), SourceError> {
    let partition = SourcePartition {
        source: source.name.clone(),
        partition: source.partition.clone(),
    };
    let claims = context
        .claims
        .claim(std::slice::from_ref(&partition))
        .await?;
    let claim = claims
        .into_iter()
        .next()
        .ok_or_else(|| SourceError(format!("the store did not grant {}", partition.partition)))?;
    let mut reading = Reading::new(claim)?;
    let mut pace = Pace::default();
    loop {
        let now = (context.now)();
        let rows = source
            .table
            .read_after(reading.last_id, ROWS_PER_READ)
            .await?;
        if !std::mem::replace(worked, true) {
            context.status.up(&source.name);
        }
        let idle = rows.is_empty();
        let lag = reading.lag(&rows, source.table.as_ref()).await?;
        context.status.lag(&partition, lag);
        if !idle {
            pace.read_something();
        }
        // An empty read is a tick, when it is time for one.
        if !idle || pace.at_end(now) {
            let batch = reading.batch(rows, now);
            if context.batches.send(batch).await.is_err() {
                return Ok(());
            }
            source.looked.send_replace(true);
        }
        if idle {
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

struct Reading {
    partition: SourcePartition,
    epoch: u64,
    last_id: i64,
    plan: Plan<i64>,
}

impl Reading {
    fn new(claim: Claim) -> Result<Self, SourceError> {
        let (last_id, judged) = match &claim.start {
            StartAt::Fresh => (0, 0),
            StartAt::Resume {
                from,
                committed,
                anew,
            } => (if *anew { 0 } else { parse(from)? }, parse(committed)?),
        };
        Ok(Self {
            partition: claim.partition,
            epoch: claim.epoch,
            last_id,
            plan: Plan::new(last_id + 1, judged.saturating_add(1)),
        })
    }

    /// Ids that are left: the rows of a table of ours have few gaps, so this is close to their number.
    async fn lag(&self, rows: &[OwnRow], table: &dyn OwnTable) -> Result<u64, SourceError> {
        match rows.last() {
            Some(last) if rows.len() >= limits::BATCH_RECORDS_MAX => {
                let left = table.newest().await?.saturating_sub(last.id);
                Ok(u64::try_from(left).unwrap_or(0))
            }
            _ => Ok(0),
        }
    }

    fn batch(&mut self, rows: Vec<OwnRow>, now: Timestamp) -> RawBatch {
        let tick = rows.is_empty().then_some(now);
        self.last_id = rows.last().map_or(self.last_id, |row| row.id);
        let records = rows.into_iter().map(|row| RawRecord {
            place: row.id.to_string().into(),
            muted: self.plan.mutes(row.id),
            payload: row.payload,
        });
        RawBatch {
            partition: self.partition.clone(),
            shard: 0,
            epoch: self.epoch,
            records: records.collect(),
            position: Position(format!("{{\"id\":{}}}", self.last_id).into()),
            tick,
            ended: false,
            arrived_at: Some(now),
        }
    }
}

fn parse(position: &Position) -> Result<i64, SourceError> {
    serde_json::from_str::<TablePosition>(&position.0)
        .map(|position| position.id)
        .map_err(|error| {
            SourceError(format!(
                "the stored position `{}` is not one of a table of ours ({error})",
                position.0
            ))
        })
}
