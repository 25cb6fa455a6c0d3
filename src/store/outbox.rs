//! The outbox: actions wait here with their decision, are leased, attempted, and end as exactly one thing (O3).
//!
//! A lease is a time, not a connection: a worker that dies leaves nothing to clean up, and the action is due again when
//! the time has passed (O5). Of one lane only the oldest due action is leased and only while none of the lane is, so
//! whatever is leased together may run together. An action that waits for its next try does not hold its lane up.

use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use crate::model::{
    Action, ActionKind, ActionState, AuditNote, OwnEvent, ShownBy, Text, Timestamp,
};

use super::attempt::{AttemptEnd, write_attempt_end};
use super::own::insert_own_event;
use super::verify::supersede;
use super::{Backend, Store, StoreError, audit, sql};

/// An action that is ours to perform until the lease ends.
#[derive(Debug, Clone, PartialEq)]
pub struct LeasedAction {
    pub action: Action,
    /// The owner under which it was leased; whoever ends it must name it.
    pub lease: Text,
    /// Attempts made before.
    pub attempts: u32,
    /// Wall time of the commit that brought it, or of its release by a person.
    pub ready_since: Timestamp,
    /// A person has released it: its age no longer counts.
    pub approved: bool,
}

/// The two halves of the outbox; they are worked off apart, so that a mail server that hangs delays no revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// All that a revoker performs.
    Revocations,
    Notifications,
}

impl Queue {
    /// Completes a statement that compares the kind with `notify`.
    fn complete(self, statement: &str) -> String {
        let comparison = match self {
            Self::Revocations => "<>",
            Self::Notifications => "=",
        };
        statement.replace("/*queue*/", comparison)
    }
}

/// What becomes of a leased action.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    pub action_id: Text,
    pub state: FinishState,
    /// For a person, without secrets.
    pub outcome: Text,
    pub ends: Vec<AttemptEnd>,
    /// Told to the engine in the same transaction.
    pub own_event: Option<OwnEvent>,
    /// When what was done is to be taken back.
    pub undo_at: Option<Timestamp>,
}

impl Finish {
    /// An end with nothing but its reason; the rest is filled in where there is more to say.
    pub fn new(action: &Action, state: FinishState, outcome: impl Into<Text>) -> Self {
        Self {
            action_id: action.id.clone(),
            state,
            outcome: outcome.into(),
            ends: Vec::new(),
            own_event: None,
            undo_at: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishState {
    Done,
    /// The server says that it is; nothing has shown it yet.
    Answered,
    RetryAt(Timestamp),
    Parked,
    Held,
    /// It need not, or must not, be done any more.
    Suppressed,
    /// Held for its age: one summary will tell of all such.
    TooOld,
    Expired,
}

impl FinishState {
    const fn state(self) -> ActionState {
        match self {
            Self::Done => ActionState::Done,
            Self::Answered => ActionState::Answered,
            Self::RetryAt(_) => ActionState::Ready,
            Self::Parked => ActionState::Parked,
            Self::Held | Self::TooOld => ActionState::Held,
            Self::Suppressed => ActionState::Suppressed,
            Self::Expired => ActionState::Expired,
        }
    }
}

/// `$1` owner, `$2` end of the lease, `$3` now, `$4` how many.
const LEASE: &str = "
    UPDATE action SET state = 'leased', lease_owner = $1, lease_until = $2
    WHERE seq IN (
        SELECT seq FROM action AS head
        WHERE ((head.state = 'ready' AND head.due_at <= $3) OR (head.state = 'leased' AND head.lease_until <= $3))
        AND head.kind /*queue*/ 'notify'
        AND NOT EXISTS (
            SELECT 1 FROM action AS other
            WHERE other.lane = head.lane AND other.seq <> head.seq AND (
                (other.state = 'leased' AND other.lease_until > $3)
                OR (other.seq < head.seq AND other.state = 'ready' AND other.due_at <= $3)
                OR (other.seq < head.seq AND other.state = 'leased')))
        ORDER BY head.due_at, head.seq LIMIT $4 /*skip locked*/)
    RETURNING seq, id, body, attempts, ready_since, approved";

impl Store {
    /// Takes actions that are due, at most one of a lane, for as long as the lease lasts.
    pub async fn lease_due(
        &self,
        queue: Queue,
        now: Timestamp,
        owner: &str,
        lease_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<LeasedAction>, StoreError> {
        let skip_locked = match self.inner.backend {
            Backend::Sqlite => "",
            // Another daemon's worker is leasing those right now.
            Backend::Postgres => "FOR UPDATE SKIP LOCKED",
        };
        let mut transaction = self.begin().await?;
        let rows = sqlx::query(AssertSqlSafe(
            queue
                .complete(LEASE)
                .replace("/*skip locked*/", skip_locked),
        ))
        .bind(owner)
        .bind(sql::ms(lease_until))
        .bind(sql::ms(now))
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let lease: Text = owner.into();
        let mut leased = rows
            .iter()
            .map(|row| Ok((row.try_get("seq")?, leased_action(row, &lease)?)))
            .collect::<Result<Vec<(i64, _)>, StoreError>>()?;
        leased.sort_by_key(|(seq, _)| *seq);
        Ok(leased.into_iter().map(|(_, action)| action).collect())
    }

    /// When the next action of the queue is due or its lease ends; absent when nothing waits.
    pub async fn next_due(&self, queue: Queue) -> Result<Option<Timestamp>, StoreError> {
        const NEXT: &str =
            "SELECT MIN(CASE state WHEN 'ready' THEN due_at ELSE lease_until END) FROM action
            WHERE state IN ('ready', 'leased') AND kind /*queue*/ 'notify'";
        let row = sqlx::query(AssertSqlSafe(queue.complete(NEXT)))
            .fetch_one(self.reader())
            .await?;
        Ok(row.try_get::<Option<i64>, _>(0)?.map(sql::time))
    }

    /// Keeps a lease while its attempt runs.
    pub async fn renew_lease(
        &self,
        action_id: &Text,
        owner: &str,
        lease_until: Timestamp,
    ) -> Result<(), StoreError> {
        let renewed = sqlx::query("UPDATE action SET lease_until = $1 WHERE id = $2 AND state = 'leased' AND lease_owner = $3")
            .bind(sql::ms(lease_until))
            .bind(action_id.as_ref())
            .bind(owner);
        ours(self.write(renewed).await?, action_id)
    }

    /// Ends the lease: the action's new state, what was answered and the own event become durable together.
    pub async fn finish(
        &self,
        finish: &Finish,
        owner: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let finished = sqlx::query(
            "UPDATE action SET state = $1, due_at = $2, outcome = $3, finished_at = $4, too_old_at = $5, undo_at = $6, lease_owner = NULL, lease_until = NULL,
                verified_by = CASE WHEN $1 = 'done' AND kind IN ('revoke_family', 'revoke_user', 'lock_user') THEN $9 END,
                verified_at = CASE WHEN $1 = 'done' AND kind IN ('revoke_family', 'revoke_user', 'lock_user') THEN $4 END
             WHERE id = $7 AND state = 'leased' AND lease_owner = $8 RETURNING incident_id, kind, body",
        )
        .bind(finish.state.state().as_str())
        .bind(sql::ms(if let FinishState::RetryAt(due) = finish.state { due } else { now }))
        .bind(sql::clean(&finish.outcome))
        .bind(sql::ms(now))
        .bind((finish.state == FinishState::TooOld).then(|| sql::ms(now)))
        .bind(finish.undo_at.map(sql::ms))
        .bind(finish.action_id.as_ref())
        .bind(owner)
        .bind(ShownBy::Check.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
        let row = finished.ok_or_else(|| StoreError::LeaseLost {
            action_id: finish.action_id.clone(),
        })?;
        for end in &finish.ends {
            write_attempt_end(&mut transaction, end, now).await?;
        }
        if let Some(event) = &finish.own_event {
            insert_own_event(&mut transaction, event).await?;
        }
        let action: Action = sql::from_json("action", &finish.action_id, row.try_get("body")?)?;
        if matches!(finish.state, FinishState::Done | FinishState::Answered) {
            supersede(&mut transaction, &action, now).await?;
        }
        if finish.state == FinishState::Done {
            contain(
                &mut transaction,
                row.try_get("incident_id")?,
                row.try_get("kind")?,
            )
            .await?;
        }
        if !matches!(finish.state, FinishState::RetryAt(_))
            && row.try_get::<&str, _>("kind")? != ActionKind::Notify.as_str()
        {
            wake_notifications(&mut transaction, row.try_get("incident_id")?, now).await?;
        }
        let note = AuditNote::outcome(&action, finish.state.state(), &finish.outcome);
        audit::append(&mut transaction, &[note], now).await?;
        transaction.commit().await?;
        self.ring();
        Ok(())
    }

    /// Gives a leased action back until its target may be asked. Nothing was tried, so nothing is told of it but why it waits.
    pub async fn put_off(
        &self,
        leased: &LeasedAction,
        until: Timestamp,
        why: &Text,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = &leased.action.id;
        let given_back = sqlx::query(
            "UPDATE action SET state = 'ready', due_at = $1, outcome = $2, lease_owner = NULL, lease_until = NULL
             WHERE id = $3 AND state = 'leased' AND lease_owner = $4",
        )
        .bind(sql::ms(until.max(now)))
        .bind(sql::clean(why))
        .bind(id.as_ref())
        .bind(leased.lease.as_ref());
        ours(self.write(given_back).await?, id)?;
        // Others of its lane may be due.
        self.ring();
        Ok(())
    }

    /// Gives a leased notification back until the other actions of its incident have ended, or until `until`.
    pub async fn await_outcome(
        &self,
        leased: &LeasedAction,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = &leased.action.id;
        let mut transaction = self.begin().await?;
        let given_back = sqlx::query(
            "UPDATE action SET state = 'ready', due_at = $1, lease_owner = NULL, lease_until = NULL
             WHERE id = $2 AND state = 'leased' AND lease_owner = $3",
        )
        .bind(sql::ms(until))
        .bind(id.as_ref())
        .bind(leased.lease.as_ref())
        .execute(&mut *transaction)
        .await?;
        ours(given_back.rows_affected(), id)?;
        // Looked at only now that the row is locked: an action that ends meanwhile is seen here, or waits for the row and wakes it.
        sqlx::query(
            "UPDATE action SET due_at = $1 WHERE id = $2 AND NOT EXISTS (
                SELECT 1 FROM action AS other WHERE other.incident_id = $3 AND other.kind <> 'notify' AND other.state IN ('ready', 'leased'))",
        )
        .bind(sql::ms(now))
        .bind(id.as_ref())
        .bind(leased.action.incident_id.as_ref())
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }
}

/// When all that was to be ended of an incident is, it is contained.
pub(super) async fn contain(
    connection: &mut AnyConnection,
    incident_id: &str,
    kind: &str,
) -> Result<(), StoreError> {
    const CONTAIN: &str = "UPDATE incident SET state = 'contained' WHERE id = $1 AND state IN ('open', 'acknowledged')
        AND NOT EXISTS (SELECT 1 FROM action WHERE action.incident_id = incident.id
            AND action.kind IN ('revoke_family', 'revoke_user', 'lock_user') AND action.state IN ('ready', 'leased', 'held', 'answered', 'parked'))";
    if ActionKind::parse(kind).is_some_and(ActionKind::ends_something) {
        sqlx::query(CONTAIN)
            .bind(incident_id)
            .execute(connection)
            .await?;
    }
    Ok(())
}

fn ours(rows: u64, action_id: &Text) -> Result<(), StoreError> {
    if rows == 0 {
        return Err(StoreError::LeaseLost {
            action_id: action_id.clone(),
        });
    }
    Ok(())
}

fn leased_action(row: &AnyRow, lease: &Text) -> Result<LeasedAction, StoreError> {
    Ok(LeasedAction {
        lease: lease.clone(),
        action: sql::from_json("action", row.try_get("id")?, row.try_get("body")?)?,
        attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or(u32::MAX),
        ready_since: sql::time(row.try_get("ready_since")?),
        approved: row.try_get::<i64, _>("approved")? != 0,
    })
}

/// A notification that waits for the outcome need not wait longer than that.
async fn wake_notifications(
    connection: &mut AnyConnection,
    incident_id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE action SET due_at = $1 WHERE incident_id = $2 AND kind = 'notify' AND state IN ('ready', 'leased') AND attempts = 0 AND due_at > $1")
        .bind(sql::ms(now))
        .bind(incident_id)
        .execute(connection)
        .await?;
    Ok(())
}
