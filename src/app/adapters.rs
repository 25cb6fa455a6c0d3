//! Gives sources what they need of the store, and the delivery what it asks of the engine, through the traits they
//! declare: neither knows the other.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::lookback::Wanted;
use super::stories::Stories;
use crate::clock::{self, Mandate};
use crate::delivery::Memory;
use crate::model::{
    Afterwards, Claim, Detection, Evidence, SourcePartition, Target, Text, Timestamp, limits,
};
use crate::pipeline::{Control, Standing};
use crate::sources::{Claims, Inbox, OwnRow, OwnTable, SourceError};
use crate::store::{Row, Store, StoreError};

/// Ownership of partitions. The ingest loop hears of a claim before the source reads the first record under it.
pub(super) struct StoreClaims {
    pub(super) store: Store,
    pub(super) owner: Text,
    pub(super) standing: Arc<Standing>,
    pub(super) control: mpsc::Sender<Control>,
    pub(super) mandate: Mandate,
}

impl Claims for StoreClaims {
    fn claim<'a>(
        &'a self,
        partitions: &'a [SourcePartition],
    ) -> BoxFuture<'a, Result<Vec<Claim>, SourceError>> {
        Box::pin(async move {
            let positions = self.standing.positions();
            let mut claims = self
                .store
                .claim(partitions, &self.owner, &positions, clock::now())
                .await
                .map_err(unreadable)?;
            self.standing.make_anew(&mut claims);
            let told = self.control.send(Control::Claimed(claims.clone())).await;
            told.map_err(|_| SourceError("the daemon is stopping".to_owned()))?;
            Ok(claims)
        })
    }

    fn allowed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            while !self.mandate.holds() {
                tokio::time::sleep(limits::LEAD_LOOK_EVERY).await;
            }
        })
    }
}

/// What was done by us.
pub(super) struct OwnEvents(pub(super) Store);

impl OwnTable for OwnEvents {
    fn read_after(
        &self,
        after: i64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<OwnRow>, SourceError>> {
        Box::pin(async move { rows(self.0.own_events_after(after, limit).await) })
    }

    fn newest(&self) -> BoxFuture<'_, Result<i64, SourceError>> {
        Box::pin(async move { self.0.newest_own_event().await.map_err(unreadable) })
    }
}

/// What a webhook source was sent.
pub(super) struct InboxOf {
    pub(super) store: Store,
    pub(super) source: Text,
}

impl OwnTable for InboxOf {
    fn read_after(
        &self,
        after: i64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<OwnRow>, SourceError>> {
        Box::pin(async move { rows(self.store.inbox_after(&self.source, after, limit).await) })
    }

    fn newest(&self) -> BoxFuture<'_, Result<i64, SourceError>> {
        Box::pin(async move { self.store.newest_inbox().await.map_err(unreadable) })
    }
}

/// Where webhooks put what they are sent.
pub(super) struct StoreInbox(pub(super) Store);

impl Inbox for StoreInbox {
    fn put<'a>(
        &'a self,
        source: &'a Text,
        records: Vec<Vec<u8>>,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            self.0
                .insert_inbox(source, records, clock::now())
                .await
                .map_err(unreadable)
        })
    }
}

/// What became of families, asked of the thread that owns the engine; what they went through, of the archive.
pub(super) struct Remembered {
    pub(super) engine: mpsc::Sender<Control>,
    pub(super) stories: Option<Arc<Stories>>,
}

impl Memory for Remembered {
    fn afterwards(
        &self,
        families: Vec<(Target, Timestamp)>,
    ) -> BoxFuture<'_, Vec<Option<Afterwards>>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let asked = self
                .engine
                .send(Control::Afterwards(families, answer))
                .await;
            match asked {
                Ok(()) => answered.await.unwrap_or_default(),
                // The daemon is stopping.
                Err(_) => Vec::new(),
            }
        })
    }

    fn story<'a>(&'a self, detection: &'a Detection) -> BoxFuture<'a, Vec<Evidence>> {
        Box::pin(async move {
            match &self.stories {
                Some(stories) => stories.until(Wanted::event_of(detection)).await,
                None => Vec::new(),
            }
        })
    }
}

fn rows(read: Result<Vec<Row>, StoreError>) -> Result<Vec<OwnRow>, SourceError> {
    let row = |row: Row| OwnRow {
        id: row.id,
        payload: row.payload,
    };
    Ok(read.map_err(unreadable)?.into_iter().map(row).collect())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err takes"
)]
fn unreadable(error: StoreError) -> SourceError {
    SourceError(error.to_string())
}
