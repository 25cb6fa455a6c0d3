//! The canary in the outbox: one row, which the commit writes and both halves of delivery take on, one after the other.

use sqlx::{AnyConnection, Row as _};

use crate::model::{Canary, Text, Timestamp};

use super::{Queue, Store, StoreError, sql};

/// Each takes the place of the one before, whoever sent that.
const PUT: &str = "INSERT INTO canary (id, queue, sender, sent_at) VALUES (1, $1, $2, $3)
    ON CONFLICT (id) DO UPDATE SET queue = excluded.queue, sender = excluded.sender, sent_at = excluded.sent_at";
const WAITING: &str = "SELECT sent_at FROM canary WHERE queue = $1 AND sender = $2";
const PASS_ON: &str = "UPDATE canary SET queue = $1 WHERE sender = $2 AND sent_at = $3";
const TAKE_OUT: &str = "DELETE FROM canary WHERE queue = $1 AND sender = $2 AND sent_at = $3";

pub(super) async fn put_canary(
    connection: &mut AnyConnection,
    canary: &Canary,
) -> Result<(), StoreError> {
    sqlx::query(PUT)
        .bind(name(Queue::Revocations))
        .bind(canary.sender.as_ref())
        .bind(sql::ms(canary.sent_at))
        .execute(connection)
        .await?;
    Ok(())
}

impl Store {
    /// Takes this sender's canary on its way: from the revocations to the notifications, and from there out. When it was
    /// sent, once it is out.
    pub async fn pass_canary(
        &self,
        queue: Queue,
        sender: &Text,
    ) -> Result<Option<Timestamp>, StoreError> {
        let row = sqlx::query(WAITING)
            .bind(name(queue))
            .bind(sender.as_ref())
            .fetch_optional(self.reader())
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let sent_at: i64 = row.try_get("sent_at")?;
        let (pass, to) = match queue {
            Queue::Revocations => (PASS_ON, Queue::Notifications),
            Queue::Notifications => (TAKE_OUT, queue),
        };
        let passed = sqlx::query(pass)
            .bind(name(to))
            .bind(sender.as_ref())
            .bind(sent_at);
        if self.write(passed).await? == 0 {
            return Ok(None);
        }
        match queue {
            Queue::Revocations => {
                self.ring();
                Ok(None)
            }
            Queue::Notifications => Ok(Some(sql::time(sent_at))),
        }
    }
}

const fn name(queue: Queue) -> &'static str {
    match queue {
        Queue::Revocations => "revocations",
        Queue::Notifications => "notifications",
    }
}
