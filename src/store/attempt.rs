//! Tries at an action: each performer's, begun before the call and ended with its answer.
//!
//! They are rows of their own, not a counter in the action: of several receivers each has its own answer, and what a
//! crash cut off stays visible as lost instead of never having been.

use sqlx::{AnyConnection, Row as _};

use crate::model::limits::MESSAGES_WINDOW;
use crate::model::{Action, AuditNote, Evidence, OwnEvent, Text, Timestamp};

use super::own::insert_own_event;
use super::{LeasedAction, Store, StoreError, audit, sql};

/// One try by one performer, begun before the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptId(pub i64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    Done,
    Retry,
    Refused,
    /// Not told by itself: the receiver has had its messages of the hour.
    Capped,
}

impl AttemptResult {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry => "retry",
            Self::Refused => "refused",
            Self::Capped => "capped",
        }
    }
}

/// What one performer answered.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptEnd {
    pub attempt: AttemptId,
    pub result: AttemptResult,
    /// For a person, without secrets.
    pub detail: Text,
    pub evidence: Evidence,
}

/// The newest action of an incident when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen(pub(super) i64);

/// A performer that need not be tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    pub performer: Text,
    pub result: AttemptResult,
    /// What it said, for a person.
    pub detail: Text,
}

impl Store {
    /// Records, before any call is made, that receivers are about to be told: of the incident's actions up to `seen`.
    pub async fn begin_attempt(
        &self,
        action_id: &Text,
        owner: &str,
        receivers: &[Text],
        seen: Option<Seen>,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Vec<AttemptId>, StoreError> {
        let mut transaction = self.begin().await?;
        let action = (action_id, owner);
        let attempts = begin(&mut transaction, action, receivers, None, now, lease_until).await?;
        for attempt in &attempts {
            sqlx::query("UPDATE action_attempt SET seen_seq = $1 WHERE seq = $2")
                .bind(seen.map(|it| it.0))
                .bind(attempt.0)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(attempts)
    }

    /// Records one performer's answer at once, while others are still at it.
    pub async fn end_attempt(&self, end: &AttemptEnd, now: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        write_attempt_end(&mut transaction, end, now).await?;
        Ok(transaction.commit().await?)
    }

    /// Which performers need not be tried again since the action became ready: they have done their part, or refused for good.
    pub async fn settled(&self, action: &LeasedAction) -> Result<Vec<Settled>, StoreError> {
        let rows = sqlx::query(
            "SELECT performer, result, detail FROM action_attempt WHERE action_id = $1
             AND (result IN ('done', 'capped') OR (result = 'refused' AND started_at >= $2)) ORDER BY seq",
        )
        .bind(action.action.id.as_ref())
        .bind(sql::ms(action.ready_since))
        .fetch_all(self.reader())
        .await?;
        rows.iter()
            .map(|row| {
                let result = match row.try_get("result")? {
                    "done" => AttemptResult::Done,
                    "capped" => AttemptResult::Capped,
                    _ => AttemptResult::Refused,
                };
                Ok(Settled {
                    performer: row.try_get::<String, _>("performer")?.into(),
                    result,
                    detail: row.try_get::<String, _>("detail")?.into(),
                })
            })
            .collect()
    }
}

/// How many messages a receiver has had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Messages {
    /// Taken, on their way, or perhaps taken.
    pub sent: u64,
    /// Incidents that it was not told by themselves, nor yet in a summary.
    pub held_back: u64,
}

impl Store {
    /// Of one receiver; those sent count from `since` on, up to `now`.
    pub async fn messages(
        &self,
        receiver: &Text,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Messages, StoreError> {
        let row = sqlx::query(
            "SELECT
                (SELECT COUNT(*) FROM action_attempt WHERE performer = $1 AND started_at > $2 AND started_at <= $3 AND (result IS NULL OR result IN ('done', 'lost'))) AS sent,
                (SELECT COUNT(DISTINCT incident_id) FROM action WHERE id IN (
                    SELECT action_id FROM action_attempt WHERE performer = $1 AND result = 'capped' AND bulletin_id IS NULL)) AS held_back",
        )
        .bind(receiver.as_ref())
        .bind(sql::ms(since))
        .bind(sql::ms(sql::latest(now, MESSAGES_WINDOW)))
        .fetch_one(self.reader())
        .await?;
        Ok(Messages {
            sent: sql::count(row.try_get("sent")?),
            held_back: sql::count(row.try_get("held_back")?),
        })
    }
}

/// Begins a try of each performer at a leased action; the event is told with the first.
pub(super) async fn begin(
    connection: &mut AnyConnection,
    (action_id, owner): (&Text, &str),
    performers: &[Text],
    first: Option<&OwnEvent>,
    now: Timestamp,
    lease_until: Timestamp,
) -> Result<Vec<AttemptId>, StoreError> {
    let row = sqlx::query(
        "UPDATE action SET attempts = attempts + 1, lease_until = $1,
            begun_at = CASE WHEN attempts = 0 THEN $4 ELSE begun_at END
         WHERE id = $2 AND state = 'leased' AND lease_owner = $3 RETURNING attempts, body",
    )
    .bind(sql::ms(lease_until))
    .bind(action_id.as_ref())
    .bind(owner)
    .bind(sql::ms(now))
    .fetch_optional(&mut *connection)
    .await?;
    let row = row.ok_or_else(|| StoreError::LeaseLost {
        action_id: action_id.clone(),
    })?;
    give_up_lost_attempts(connection, action_id, now).await?;
    let mut attempts = Vec::with_capacity(performers.len());
    for performer in performers {
        attempts.push(insert_attempt(connection, action_id, performer, now).await?);
    }
    let nth = row.try_get::<i64, _>("attempts")?;
    if let (1, Some(event)) = (nth, first) {
        insert_own_event(connection, event).await?;
    }
    let action: Action = sql::from_json("action", action_id, row.try_get("body")?)?;
    let note = AuditNote::attempt(&action, performers, nth);
    audit::append(connection, &[note], now).await?;
    Ok(attempts)
}

/// Their process died between the call and its answer: whether they worked is not known.
async fn give_up_lost_attempts(
    connection: &mut AnyConnection,
    action_id: &Text,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE action_attempt SET ended_at = $1, result = 'lost' WHERE action_id = $2 AND ended_at IS NULL")
        .bind(sql::ms(now))
        .bind(action_id.as_ref())
        .execute(connection)
        .await?;
    Ok(())
}

async fn insert_attempt(
    connection: &mut AnyConnection,
    action_id: &Text,
    performer: &Text,
    now: Timestamp,
) -> Result<AttemptId, StoreError> {
    let row = sqlx::query("INSERT INTO action_attempt (action_id, performer, started_at) VALUES ($1, $2, $3) RETURNING seq")
        .bind(action_id.as_ref())
        .bind(performer.as_ref())
        .bind(sql::ms(now))
        .fetch_one(connection)
        .await?;
    Ok(AttemptId(row.try_get("seq")?))
}

pub(super) async fn write_attempt_end(
    connection: &mut AnyConnection,
    end: &AttemptEnd,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE action_attempt SET ended_at = $1, result = $2, detail = $3, evidence = $4 WHERE seq = $5")
        .bind(sql::ms(now))
        .bind(end.result.as_str())
        .bind(sql::clean(&end.detail))
        .bind(sql::to_json(&end.evidence)?)
        .bind(end.attempt.0)
        .execute(connection)
        .await?;
    Ok(())
}
