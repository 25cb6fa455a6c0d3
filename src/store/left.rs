//! What is left for a person to do of incidents that people were told of, and the notice that says so once more.

use sqlx::{AssertSqlSafe, Row as _};

use crate::model::{Action, IncidentState, Text, Timestamp, limits};

use super::commit::{decided_state, insert_actions};
use super::{Store, StoreError, audit, sql};

/// An incident of which something is left for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Left {
    pub incident_id: Text,
    pub state: IncidentState,
    /// Since when a person is needed.
    pub first: Timestamp,
    /// One of the actions that wait or have failed.
    pub action: Action,
}

/// What people were told of an incident.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LastTold {
    /// As of when the newest notification of it was written, for the receiver that took it first.
    pub at: Option<Timestamp>,
    /// Another one is about to be written, or is tried and has not reached anybody yet.
    pub pending: bool,
}

/// An action that a person has to see to.
pub(super) const NEEDS_A_PERSON: &str = "(action.state = 'held' AND action.kind NOT IN ('notify', 'review')
    OR action.state IN ('parked', 'expired') AND action.kind IN ('revoke_family', 'revoke_user', 'lock_user'))";

const LEFT: &str = "
    SELECT incident.id AS id, incident.state AS state, COUNT(*) AS actions,
        MIN(COALESCE(action.finished_at, action.created_at)) AS first_at,
        MAX(action.id) AS action_id
    FROM action JOIN incident ON incident.id = action.incident_id
    WHERE action.created_at >= $1 AND action.too_old_at IS NULL AND incident.state <> 'closed'
    AND (action.no_effect_at IS NULL OR action.no_effect_at <= $3) AND {NEEDS}
    GROUP BY incident.id, incident.state ORDER BY MAX(COALESCE(action.finished_at, action.created_at)) LIMIT $2";

/// By a message of its own, or in the summary of what was too much for one hour. The newest is the one that reached somebody last,
/// which one that waited for its receiver may be after others that came later.
const LAST_TOLD: &str = "
    WITH told AS (
        SELECT action.seq AS seq, taken.seq AS attempt, taken.started_at AS told_at
        FROM action JOIN action_attempt AS taken ON taken.action_id = action.id AND taken.result = 'done'
        WHERE action.incident_id = $1 AND action.kind = 'notify'
        UNION ALL
        SELECT action.seq, taken.seq, bulletin.until_at
        FROM action JOIN action_attempt AS capped ON capped.action_id = action.id AND capped.result = 'capped'
        JOIN bulletin ON bulletin.id = capped.bulletin_id
        JOIN action_attempt AS taken ON taken.action_id = bulletin.id AND taken.result = 'done'
        WHERE action.incident_id = $1 AND action.kind = 'notify'),
    reached AS (SELECT MIN(attempt) AS attempt, MIN(told_at) AS told_at FROM told GROUP BY seq)
    SELECT
        (SELECT told_at FROM reached ORDER BY attempt DESC LIMIT 1) AS told_at,
        (SELECT COUNT(*) FROM action WHERE incident_id = $1 AND kind = 'notify' AND state IN ('ready', 'leased')
            AND NOT EXISTS (SELECT 1 FROM action_attempt AS taken WHERE taken.action_id = action.id AND taken.result = 'done')) AS pending";

const TOLD_SINCE: &str = "
    SELECT action.id AS id FROM action_attempt JOIN action ON action.id = action_attempt.action_id
    WHERE action.incident_id = $1 AND action.kind = 'notify' AND action.id <> $2
    AND action_attempt.performer = $3 AND action_attempt.result = 'done' AND action_attempt.started_at > $4
    AND ($5 = 0 OR action_attempt.seen_seq >= (SELECT seq FROM action WHERE id = $2)) LIMIT 1";

impl Store {
    /// Whether something of it that was under way at a time has failed since.
    pub async fn failed_since(
        &self,
        incident_id: &str,
        time: Timestamp,
    ) -> Result<bool, StoreError> {
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT COUNT(*) AS failed FROM action WHERE incident_id = $1 AND created_at <= $2 AND finished_at > $2
             AND too_old_at IS NULL AND {NEEDS_A_PERSON}"
        )))
        .bind(incident_id)
        .bind(sql::ms(time))
        .fetch_one(self.reader())
        .await?;
        Ok(row.try_get::<i64, _>("failed")? > 0)
    }

    /// Another notice of the same incident that a receiver took since then: it says as much. One that is about what was
    /// decided with it has to have been read too: what is committed may be seen later than its time.
    pub async fn told_since(
        &self,
        notice: &Action,
        receiver: &Text,
        since: Timestamp,
        has_to_be_seen: bool,
    ) -> Result<Option<Text>, StoreError> {
        let row = sqlx::query(TOLD_SINCE)
            .bind(notice.incident_id.as_ref())
            .bind(notice.id.as_ref())
            .bind(receiver.as_ref())
            .bind(sql::ms(since))
            .bind(i64::from(has_to_be_seen))
            .fetch_optional(self.reader())
            .await?;
        let id = row.map(|row| row.try_get::<String, _>("id")).transpose()?;
        Ok(id.map(Into::into))
    }

    /// Incidents of which something decided since then waits for a person or has failed.
    ///
    /// A revocation that had no effect is left out for a moment: the policy may be doing more about it.
    pub async fn left_to_do(
        &self,
        since: Timestamp,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Left>, StoreError> {
        let settled = now.checked_sub(limits::STEP_UP_SETTLES);
        let rows = sqlx::query(AssertSqlSafe(LEFT.replace("{NEEDS}", NEEDS_A_PERSON)))
            .bind(sql::ms(since))
            .bind(i64::from(limit))
            .bind(sql::ms(settled.unwrap_or(Timestamp::MIN)))
            .fetch_all(self.reader())
            .await?;
        let mut left = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: &str = row.try_get("id")?;
            let Some(record) = self.action(row.try_get("action_id")?).await? else {
                continue;
            };
            let state: &str = row.try_get("state")?;
            left.push(Left {
                incident_id: id.into(),
                state: IncidentState::parse(state).ok_or_else(|| {
                    StoreError::unreadable("incident", id, &format!("its state is {state}"))
                })?,
                first: sql::time(row.try_get("first_at")?),
                action: record.action,
            });
        }
        Ok(left)
    }

    pub async fn last_told(&self, incident_id: &str) -> Result<LastTold, StoreError> {
        let row = sqlx::query(LAST_TOLD)
            .bind(incident_id)
            .fetch_one(self.reader())
            .await?;
        Ok(LastTold {
            at: row.try_get::<Option<i64>, _>("told_at")?.map(sql::time),
            pending: row.try_get::<i64, _>("pending")? > 0,
        })
    }

    /// Puts a notification into the outbox; `false` when it is there already.
    pub async fn put_notice(&self, notice: &Action, now: Timestamp) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let notices = std::slice::from_ref(notice);
        let decided = insert_actions(&mut transaction, notices, decided_state, now).await?;
        audit::append(&mut transaction, &decided, now).await?;
        transaction.commit().await?;
        if !decided.is_empty() {
            self.ring();
        }
        Ok(!decided.is_empty())
    }
}
