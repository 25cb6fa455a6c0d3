//! Measures that hold for a while: when they end, and how they are taken back before.
//!
//! The action that takes one back has an id made of the other's, and the time is cleared with it in one transaction: it is
//! taken back once, by whoever comes first.

use sqlx::{AnyConnection, Row as _};

use crate::model::{Action, ActionState, AuditNote, By, Deed, Text, Timestamp};

use super::commit::{decided_state, insert_actions};
use super::people::Taken;
use super::{Store, StoreError, audit, sql};

impl Store {
    /// Has everything taken back whose time is over, at most `limit`; tells how many.
    pub async fn take_back_due(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let due = sqlx::query(
            "SELECT id, body FROM action WHERE undo_at <= $1 ORDER BY undo_at, seq LIMIT $2",
        )
        .bind(sql::ms(now))
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        if due.is_empty() {
            return Ok(0);
        }
        let mut transaction = self.begin().await?;
        let mut taken = 0;
        for row in due {
            let action: Action =
                sql::from_json("action", row.try_get("id")?, row.try_get("body")?)?;
            if let Some(note) =
                take_back(&mut transaction, &action, "its time is over", now).await?
            {
                audit::append(&mut transaction, &[note], now).await?;
                taken += 1;
            }
        }
        transaction.commit().await?;
        self.ring();
        Ok(taken)
    }

    /// A person takes a measure back before its time.
    pub async fn take_back(
        &self,
        id: &str,
        by: &By,
        now: Timestamp,
    ) -> Result<Taken<()>, StoreError> {
        let Some(record) = self.action(id).await? else {
            return Ok(Taken::Missing);
        };
        let mut change = self.change().await?;
        let reason = format!("taken back by {}: {}", by.who, by.why);
        let action = &record.action;
        let Some(decided) = take_back(change.connection(), action, &reason, now).await? else {
            let why = match record.state {
                ActionState::Done => "it holds no more, or was done for good",
                _ => "only what is done can be undone, and as long as it holds",
            };
            return Ok(Taken::Conflict(
                format!("it is {}: {why}", record.state).into(),
            ));
        };
        let did = Deed::Undone {
            action_id: action.id.clone(),
            incident_id: action.incident_id.clone(),
        };
        let note = AuditNote::of_person(by, &did).about_target_of(action);
        change
            .commit_telling(by, did, vec![note, decided], now)
            .await?;
        self.ring();
        Ok(Taken::Done(()))
    }
}

/// Puts the action that takes another back into the outbox; nothing when that has been done, or there is nothing to take back.
async fn take_back(
    connection: &mut AnyConnection,
    action: &Action,
    reason: &str,
    now: Timestamp,
) -> Result<Option<AuditNote>, StoreError> {
    let cleared =
        sqlx::query("UPDATE action SET undo_at = NULL WHERE id = $1 AND undo_at IS NOT NULL")
            .bind(action.id.as_ref())
            .execute(&mut *connection)
            .await?;
    if cleared.rows_affected() == 0 {
        return Ok(None);
    }
    let undo = Action {
        id: undo_id(&action.id),
        reason: reason.into(),
        event_time: now,
        undoes: Some(action.id.clone()),
        ..action.clone()
    };
    let actions = std::slice::from_ref(&undo);
    let mut notes = insert_actions(connection, actions, decided_state, now).await?;
    Ok(notes.pop())
}

fn undo_id(id: &Text) -> Text {
    format!("{id}-undo").into()
}
