//! Incidents at receivers that know them as states: what each was told, and how the incident stands now.
//!
//! A row begins with the answer that it comes from, in one transaction, so that nothing is raised and forgotten. Taking
//! what is due puts it off at once: two daemons do not tell the same, or do so only after a crash.

use sqlx::{Row as _, any::AnyRow};

use crate::model::{Evidence, IncidentState, Phase, Stand, Text, Timestamp};

use super::attempt::{AttemptEnd, write_attempt_end};
use super::{Store, StoreError, sql};

/// That a receiver was told of an incident, and what it answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Follow {
    pub receiver: Text,
    pub incident_id: Text,
    pub memo: Evidence,
    /// When it is looked at for the first time.
    pub due: Timestamp,
}

/// An incident whose turn it is.
#[derive(Debug, Clone, PartialEq)]
pub struct FollowedRow {
    pub receiver: Text,
    pub incident_id: Text,
    /// What the receiver knows, and since when.
    pub phase: Phase,
    pub since: Timestamp,
    /// When it was told of the incident, and when it last heard of it.
    pub told_at: Timestamp,
    pub sent_at: Timestamp,
    pub memo: Evidence,
    pub before: Option<Evidence>,
    /// How the incident stands; absent when it is kept no more.
    pub stand: Option<Stand>,
}

/// What the receiver knows now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub phase: Phase,
    pub since: Timestamp,
    /// It has just heard of it, and of the end of what was told before.
    pub sent: bool,
    /// Absent: it is over.
    pub due: Option<Timestamp>,
}

const TOLD: &str = "
    INSERT INTO followed (receiver, incident_id, phase, since, told_at, sent_at, due_at, memo)
    VALUES ($1, $2, 'open', $3, $3, $3, $4, $5)
    ON CONFLICT (receiver, incident_id) DO UPDATE SET
        before_memo = CASE WHEN followed.memo <> excluded.memo THEN followed.memo ELSE followed.before_memo END,
        memo = excluded.memo, phase = excluded.phase, since = excluded.since, told_at = excluded.told_at,
        sent_at = excluded.sent_at, due_at = excluded.due_at";

const DUE: &str = "
    UPDATE followed SET due_at = $3 WHERE receiver = $1 AND due_at <= $2 AND incident_id IN (
        SELECT incident_id FROM followed WHERE receiver = $1 AND due_at <= $2 ORDER BY due_at LIMIT $4)
    RETURNING incident_id, phase, since, told_at, sent_at, memo, before_memo";

const STAND: &str = "
    SELECT incident.state AS state,
        (SELECT COUNT(*) FROM action WHERE action.incident_id = incident.id AND kind NOT IN ('notify', 'review')
            AND action.state IN ('ready', 'leased', 'held', 'answered')) AS waiting,
        (SELECT COUNT(*) FROM action WHERE action.incident_id = incident.id
            AND kind IN ('revoke_family', 'revoke_user', 'lock_user') AND action.state = 'done') AS ended,
        (SELECT COUNT(*) FROM action WHERE action.incident_id = incident.id
            AND kind IN ('revoke_family', 'revoke_user', 'lock_user') AND action.state IN ('parked', 'expired')) AS failed
    FROM incident WHERE id = $1";

impl Store {
    /// Records a receiver's answer, and that it is to hear how the incident goes on.
    pub async fn end_attempt_and_follow(
        &self,
        end: &AttemptEnd,
        follow: &Follow,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        write_attempt_end(&mut transaction, end, now).await?;
        sqlx::query(TOLD)
            .bind(follow.receiver.as_ref())
            .bind(follow.incident_id.as_ref())
            .bind(sql::ms(now))
            .bind(sql::ms(follow.due))
            .bind(sql::clean(&sql::to_json(&follow.memo)?))
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// What is due at a receiver; it is due again at `until` if nobody says otherwise.
    pub async fn due_followed(
        &self,
        receiver: &Text,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<FollowedRow>, StoreError> {
        let mut transaction = self.begin().await?;
        let rows = sqlx::query(DUE)
            .bind(receiver.as_ref())
            .bind(sql::ms(now))
            .bind(sql::ms(until))
            .bind(i64::from(limit))
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let mut due = Vec::with_capacity(rows.len());
        for row in &rows {
            let incident_id: &str = row.try_get("incident_id")?;
            due.push(followed_row(receiver, row, self.stand(incident_id).await?)?);
        }
        Ok(due)
    }

    async fn stand(&self, incident_id: &str) -> Result<Option<Stand>, StoreError> {
        let row = sqlx::query(STAND)
            .bind(incident_id)
            .fetch_optional(self.reader())
            .await?;
        row.map(|row| {
            let state: &str = row.try_get("state")?;
            Ok(Stand {
                state: IncidentState::parse(state).ok_or_else(|| {
                    StoreError::unreadable(
                        "incident",
                        incident_id,
                        &format!("its state is {state}"),
                    )
                })?,
                waiting: sql::count(row.try_get("waiting")?),
                ended: sql::count(row.try_get("ended")?),
                failed: sql::count(row.try_get("failed")?),
            })
        })
        .transpose()
    }

    /// Records what a receiver knows, unless it was told anew in the meantime.
    pub async fn followed(
        &self,
        row: &FollowedRow,
        known: Known,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let statement = match known.due {
            Some(_) => {
                "UPDATE followed SET phase = $1, since = $2, sent_at = $3, due_at = $4,
                    before_memo = CASE WHEN $5 = 1 THEN NULL ELSE before_memo END
                 WHERE receiver = $6 AND incident_id = $7 AND sent_at = $8"
            }
            None => {
                "DELETE FROM followed WHERE receiver = $1 AND incident_id = $2 AND sent_at = $3"
            }
        };
        let query = sqlx::query(statement);
        let query = match known.due {
            Some(due) => query
                .bind(known.phase.as_str())
                .bind(sql::ms(known.since))
                .bind(sql::ms(if known.sent { now } else { row.sent_at }))
                .bind(sql::ms(due))
                .bind(i64::from(known.sent)),
            None => query,
        };
        let query = query
            .bind(row.receiver.as_ref())
            .bind(row.incident_id.as_ref())
            .bind(sql::ms(row.sent_at));
        self.write(query).await.map(|_| ())
    }
}

fn followed_row(
    receiver: &Text,
    row: &AnyRow,
    stand: Option<Stand>,
) -> Result<FollowedRow, StoreError> {
    let incident_id: &str = row.try_get("incident_id")?;
    let phase: &str = row.try_get("phase")?;
    let memo = |text: &str| sql::from_json("followed", incident_id, text);
    let before: Option<&str> = row.try_get("before_memo")?;
    Ok(FollowedRow {
        receiver: receiver.clone(),
        incident_id: incident_id.into(),
        phase: Phase::parse(phase).ok_or_else(|| {
            StoreError::unreadable("followed", incident_id, &format!("its phase is {phase}"))
        })?,
        since: sql::time(row.try_get("since")?),
        told_at: sql::time(row.try_get("told_at")?),
        sent_at: sql::time(row.try_get("sent_at")?),
        memo: memo(row.try_get("memo")?)?,
        before: before.map(memo).transpose()?,
        stand,
    })
}
