//! Bulletins: made in one transaction with the action that sends them, so that a crash leaves both or neither.
//!
//! They go through the outbox like any notification: leases, tries, pauses and the end are the same. The id of a digest
//! is made of receiver and day, so no day comes twice, whoever makes it and however often.

use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::model::{
    Action, ActionKind, ActionState, AuditKind, AuditNote, Bulletin, Decision, Incident,
    ListedIncident, More, News, Target, Text, Timestamp, TooLate, limits,
};

use super::commit::{decided_state, insert_actions};
use super::{Store, StoreError, audit, digest, sql};

/// When a receiver's digests were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigestsMade {
    /// Where the newest one ends, sent or not.
    pub until: Timestamp,
    /// Where the newest one that was sent ends; the first mark where none was.
    pub sent: Timestamp,
}

/// What is held for its age and was told by no summary yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldUntold {
    pub first: Timestamp,
    pub last: Timestamp,
    /// When the newest summary was made.
    pub told: Option<Timestamp>,
}

impl Store {
    /// The bulletin that an action sends; absent when the action is about an incident.
    pub async fn bulletin(&self, id: &str) -> Result<Option<Bulletin>, StoreError> {
        let row = sqlx::query("SELECT id, body FROM bulletin WHERE id = $1")
            .bind(id)
            .fetch_optional(self.reader())
            .await?;
        row.map(|row| sql::from_json("bulletin", row.try_get("id")?, row.try_get("body")?))
            .transpose()
    }

    pub async fn digests_made(&self, receiver: &str) -> Result<Option<DigestsMade>, StoreError> {
        let row = sqlx::query(
            "SELECT MAX(until_at) AS newest, MAX(CASE WHEN sent = 1 THEN until_at END) AS sent, MIN(until_at) AS oldest
             FROM bulletin WHERE kind = 'digest' AND receiver = $1",
        )
        .bind(receiver)
        .fetch_one(self.reader())
        .await?;
        let Some(newest) = row.try_get::<Option<i64>, _>("newest")? else {
            return Ok(None);
        };
        let oldest = row.try_get::<Option<i64>, _>("oldest")?.unwrap_or(newest);
        let sent = row.try_get::<Option<i64>, _>("sent")?;
        Ok(Some(DigestsMade {
            until: sql::time(newest),
            sent: sql::time(sent.unwrap_or(oldest)),
        }))
    }

    /// Keeps a digest, and sends it if so wanted; `false` when there is one of that receiver and day already.
    pub async fn put_digest(
        &self,
        bulletin: &Bulletin,
        send: bool,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let is_new = insert(&mut transaction, bulletin, send, now).await?;
        transaction.commit().await?;
        if is_new && send {
            self.ring();
        }
        Ok(is_new)
    }

    pub async fn held_untold(&self) -> Result<Option<HeldUntold>, StoreError> {
        let row = sqlx::query(
            "SELECT MIN(too_old_at) AS oldest, MAX(too_old_at) AS newest FROM action
             WHERE too_old_at IS NOT NULL AND bulletin_id IS NULL AND state = 'held'",
        )
        .fetch_one(self.reader())
        .await?;
        let (Some(first), Some(last)) = (
            row.try_get::<Option<i64>, _>("oldest")?,
            row.try_get::<Option<i64>, _>("newest")?,
        ) else {
            return Ok(None);
        };
        let told =
            sqlx::query("SELECT MAX(until_at) AS told FROM bulletin WHERE kind = 'too_late'")
                .fetch_one(self.reader())
                .await?
                .try_get::<Option<i64>, _>("told")?;
        Ok(Some(HeldUntold {
            first: sql::time(first),
            last: sql::time(last),
            told: told.map(sql::time),
        }))
    }

    /// Makes one summary of all that is held for its age and sends it; the notifications of it end with that.
    ///
    /// `None` when nothing is left: another daemon was quicker, or a person let it go.
    pub async fn sum_up_held(
        &self,
        id: &Text,
        act_within_s: u64,
        now: Timestamp,
    ) -> Result<Option<Bulletin>, StoreError> {
        let mut transaction = self.begin().await?;
        let marked = sqlx::query(
            "UPDATE action SET bulletin_id = $1 WHERE too_old_at IS NOT NULL AND bulletin_id IS NULL AND state = 'held'",
        )
        .bind(id.as_ref())
        .execute(&mut *transaction)
        .await?;
        if marked.rows_affected() == 0 {
            return Ok(None);
        }
        let bulletin = too_late(&mut transaction, id, act_within_s, now).await?;
        let expired = sqlx::query(
            "UPDATE action SET state = 'expired', outcome = $1, finished_at = $2 WHERE bulletin_id = $3 AND kind = 'notify'",
        )
        .bind(format!("its event is old: told with others in the summary {id}"))
        .bind(sql::ms(now))
        .bind(id.as_ref())
        .execute(&mut *transaction)
        .await?;
        let told = AuditNote::of_daemon(AuditKind::Outcome)
            .with("action", ActionKind::Notify.as_str())
            .with("state", ActionState::Expired.as_str())
            .with("actions", expired.rows_affected())
            .because(&format!("told together in the summary {id}"));
        audit::append(&mut transaction, &[told], now).await?;
        insert(&mut transaction, &bulletin, true, now).await?;
        transaction.commit().await?;
        self.ring();
        Ok(Some(bulletin))
    }
}

impl Store {
    /// Makes one summary of all that a receiver was not told by itself, and sends it; `None` when there is nothing.
    pub async fn sum_up_capped(
        &self,
        receiver: &Text,
        per_hour_max: Option<u32>,
        now: Timestamp,
    ) -> Result<Option<Bulletin>, StoreError> {
        let mut transaction = self.begin().await?;
        let id: Text = format!("more-{receiver}-{}", now.as_millisecond()).into();
        let marked = sqlx::query(
            "UPDATE action_attempt SET bulletin_id = $1 WHERE performer = $2 AND result = 'capped' AND bulletin_id IS NULL",
        )
        .bind(id.as_ref())
        .bind(receiver.as_ref())
        .execute(&mut *transaction)
        .await?;
        if marked.rows_affected() == 0 {
            return Ok(None);
        }
        let bulletin = more(&mut transaction, &id, receiver, per_hour_max, now).await?;
        insert(&mut transaction, &bulletin, true, now).await?;
        transaction.commit().await?;
        self.ring();
        Ok(Some(bulletin))
    }
}

async fn insert(
    connection: &mut AnyConnection,
    bulletin: &Bulletin,
    send: bool,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO bulletin (id, kind, receiver, until_at, sent, body) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING",
    )
    .bind(bulletin.id.as_ref())
    .bind(kind_of(&bulletin.news))
    .bind(bulletin.receiver.as_deref().map(str::to_owned))
    .bind(sql::ms(bulletin.until))
    .bind(i64::from(send))
    .bind(sql::to_json(bulletin)?)
    .execute(&mut *connection)
    .await?;
    let is_new = inserted.rows_affected() > 0;
    if is_new && send {
        let decided =
            insert_actions(connection, &[action_for(bulletin)], decided_state, now).await?;
        audit::append(connection, &decided, now).await?;
    }
    Ok(is_new)
}

const fn kind_of(news: &News) -> &'static str {
    match news {
        News::Digest(_) => "digest",
        News::TooLate(_) => "too_late",
        News::More(_) => "more",
    }
}

/// The notification that sends it.
fn action_for(bulletin: &Bulletin) -> Action {
    Action {
        id: bulletin.id.clone(),
        kind: ActionKind::Notify,
        target: Target {
            issuer: "tokenwarden".into(),
            tenant: None,
            family_id: None,
            user_id: None,
            client_id: None,
            session_id: None,
            token_kind: None,
            network: None,
        },
        detection_ids: Vec::new(),
        incident_id: bulletin.id.clone(),
        rule: kind_of(&bulletin.news).into(),
        decision: Decision::Execute,
        reason: match bulletin.news {
            News::Digest(_) => "the daily digest",
            News::TooLate(_) => "one summary of what is held for its age",
            News::More(_) => "one summary of what was too much for one hour",
        }
        .into(),
        event_time: bulletin.until,
        undoes: None,
    }
}

async fn too_late(
    connection: &mut AnyConnection,
    id: &Text,
    act_within_s: u64,
    now: Timestamp,
) -> Result<Bulletin, StoreError> {
    let held = sqlx::query(
        "SELECT client_id, kind, rule, COUNT(*) AS actions, COUNT(*) AS fresh, MIN(event_time) AS oldest
         FROM action WHERE bulletin_id = $1 AND kind <> 'notify' GROUP BY client_id, kind, rule
         ORDER BY COUNT(*) DESC, client_id, kind, rule",
    )
    .bind(id.as_ref())
    .fetch_all(&mut *connection)
    .await?;
    let span = sqlx::query("SELECT MIN(event_time) AS oldest, COUNT(DISTINCT incident_id) AS incidents FROM action WHERE bulletin_id = $1")
        .bind(id.as_ref())
        .fetch_one(&mut *connection)
        .await?;
    let named = gravest(
        connection,
        id,
        "SELECT id, body FROM incident WHERE id IN (SELECT incident_id FROM action WHERE bulletin_id = $1)
         ORDER BY severity DESC, opened_at, id LIMIT $2",
    )
    .await?;
    Ok(Bulletin {
        id: id.clone(),
        receiver: None,
        since: sql::time(span.try_get("oldest")?),
        until: now,
        news: News::TooLate(TooLate {
            held: held.iter().map(digest::waiting).collect::<Result<_, _>>()?,
            incidents: named,
            incidents_total: sql::count(span.try_get("incidents")?),
            act_within_s,
        }),
    })
}

async fn more(
    connection: &mut AnyConnection,
    id: &Text,
    receiver: &Text,
    per_hour_max: Option<u32>,
    now: Timestamp,
) -> Result<Bulletin, StoreError> {
    let span = sqlx::query(
        "SELECT MIN(attempt.started_at) AS since, COUNT(DISTINCT action.incident_id) AS incidents
         FROM action_attempt AS attempt JOIN action ON action.id = attempt.action_id WHERE attempt.bulletin_id = $1",
    )
    .bind(id.as_ref())
    .fetch_one(&mut *connection)
    .await?;
    let incidents = gravest(
        connection,
        id,
        "SELECT id, body FROM incident WHERE id IN (
            SELECT incident_id FROM action WHERE id IN (SELECT action_id FROM action_attempt WHERE bulletin_id = $1))
         ORDER BY severity DESC, opened_at, id LIMIT $2",
    )
    .await?;
    Ok(Bulletin {
        id: id.clone(),
        receiver: Some(receiver.clone()),
        since: sql::time(span.try_get("since")?),
        until: now,
        news: News::More(More {
            incidents,
            incidents_total: sql::count(span.try_get("incidents")?),
            per_hour_max,
        }),
    })
}

/// The first few incidents of a bulletin, by a statement that takes its id and how many.
async fn gravest(
    connection: &mut AnyConnection,
    id: &Text,
    statement: &'static str,
) -> Result<Vec<ListedIncident>, StoreError> {
    let rows = sqlx::query(statement)
        .bind(id.as_ref())
        .bind(i64::from(limits::LATE_INCIDENTS_MAX))
        .fetch_all(&mut *connection)
        .await?;
    rows.iter().map(listed).collect()
}

pub(super) fn listed(row: &AnyRow) -> Result<ListedIncident, StoreError> {
    let incident: Incident = sql::from_json("incident", row.try_get("id")?, row.try_get("body")?)?;
    Ok(incident.into())
}
