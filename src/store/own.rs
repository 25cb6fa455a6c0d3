//! Tables of our own that are tailed like any source: the webhook inbox, and what was done (own events).
//!
//! Their ids come from a counter row, not from the database's own sequence: the counter's row lock is held to the end
//! of the transaction, so ids become visible in order and a reader of `id > last` misses none. A sequence hands an id
//! out before its transaction commits, and a reader passes it by. The price is that writers of one table commit one
//! after the other; a webhook with many records is one write.

use sqlx::{Any, AnyConnection, Pool, Row as _};

use crate::model::{NoEffect, OwnEvent, PersonEvent, Text, Timestamp};

use super::sql::{self, Cell, Insert};
use super::{Store, StoreError};

/// A row of a tailed table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub id: i64,
    pub payload: Vec<u8>,
}

const OWN_EVENTS: Insert = Insert {
    head: "INSERT INTO own_event (id, recorded_at, body)",
    tail: "",
};
const INBOX: Insert = Insert {
    head: "INSERT INTO inbox (id, source, received_at, body)",
    tail: "",
};

impl Store {
    /// Records what was done, outside of any attempt: an operator's verdict, a verified revocation.
    pub async fn record_own_event(&self, event: &OwnEvent) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        insert_own_event(&mut transaction, event).await?;
        Ok(transaction.commit().await?)
    }

    /// Own events with an id above `after`, oldest first; the payload is an [`OwnEvent`], a [`PersonEvent`] or a [`NoEffect`] as JSON.
    pub async fn own_events_after(&self, after: i64, limit: u32) -> Result<Vec<Row>, StoreError> {
        let rows = sqlx::query("SELECT id, body FROM own_event WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(self.reader())
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Row {
                    id: row.try_get("id")?,
                    payload: row.try_get::<String, _>("body")?.into_bytes(),
                })
            })
            .collect()
    }

    pub async fn newest_own_event(&self) -> Result<i64, StoreError> {
        last(self.reader(), "own_event").await
    }

    /// Takes what a webhook was sent; when this returns, the records survive a crash.
    pub async fn insert_inbox(
        &self,
        source: &Text,
        payloads: Vec<Vec<u8>>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Ok(rows @ 1..) = i64::try_from(payloads.len()) else {
            return Ok(());
        };
        let mut transaction = self.begin().await?;
        let first = reserve(&mut transaction, "inbox", rows).await?;
        let rows = (first..).zip(payloads).map(|(id, payload)| {
            vec![
                Cell::Int(id),
                Cell::text(source),
                Cell::Int(sql::ms(now)),
                Cell::Bytes(payload),
            ]
        });
        INBOX.run(&mut transaction, rows.collect()).await?;
        Ok(transaction.commit().await?)
    }

    /// The source's records with an id above `after`, oldest first.
    pub async fn inbox_after(
        &self,
        source: &Text,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Row>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, body FROM inbox WHERE source = $1 AND id > $2 ORDER BY id LIMIT $3",
        )
        .bind(source.as_ref())
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Row {
                    id: row.try_get("id")?,
                    payload: row.try_get("body")?,
                })
            })
            .collect()
    }

    /// The newest id of the whole inbox: none of this source's is above it.
    pub async fn newest_inbox(&self) -> Result<i64, StoreError> {
        last(self.reader(), "inbox").await
    }
}

pub(super) async fn insert_own_event(
    connection: &mut AnyConnection,
    event: &OwnEvent,
) -> Result<(), StoreError> {
    insert(connection, event.time, sql::to_json(event)?).await
}

/// What had no effect is for the response policy to hear.
pub(super) async fn insert_no_effect(
    connection: &mut AnyConnection,
    told: &NoEffect,
) -> Result<(), StoreError> {
    insert(connection, told.time, sql::to_json(told)?).await
}

/// What a person did stands among what was done, in one order.
pub(super) async fn insert_person_event(
    connection: &mut AnyConnection,
    event: &PersonEvent,
) -> Result<(), StoreError> {
    insert(connection, event.time, sql::to_json(event)?).await
}

async fn insert(
    connection: &mut AnyConnection,
    time: Timestamp,
    body: String,
) -> Result<(), StoreError> {
    let id = reserve(connection, "own_event", 1).await?;
    let row = vec![Cell::Int(id), Cell::Int(sql::ms(time)), Cell::Text(body)];
    OWN_EVENTS.run(connection, vec![row]).await?;
    Ok(())
}

/// Takes the next ids of a tailed table and gives the first; others wait here until the transaction ends.
async fn reserve(
    connection: &mut AnyConnection,
    table: &'static str,
    rows: i64,
) -> Result<i64, StoreError> {
    let row = sqlx::query("UPDATE sequence SET last = last + $1 WHERE name = $2 RETURNING last")
        .bind(rows)
        .bind(table)
        .fetch_one(connection)
        .await?;
    Ok(row.try_get::<i64, _>("last")? - rows + 1)
}

/// From the counter, not from the rows: retention may have removed the newest of them.
async fn last(pool: &Pool<Any>, table: &'static str) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT last FROM sequence WHERE name = $1")
        .bind(table)
        .fetch_one(pool)
        .await?;
    Ok(row.try_get("last")?)
}
