//! Revocations that were answered: which are watched, what showed that they took effect, and what becomes of those that
//! did not.
//!
//! Each change asks for the state that it was decided about, so that two daemons, or one that starts again, change
//! nothing twice.

use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::model::{
    Action, ActionKind, ActionState, AuditNote, NoEffect, OwnEvent, OwnEventKind, ShownBy, Text,
    Timestamp, Use,
};

use super::outbox::contain;
use super::own::{insert_no_effect, insert_own_event};
use super::{Store, StoreError, audit, sql};

/// A revocation that was answered "done".
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    pub action: Action,
    /// Nothing has shown yet that it took effect.
    pub is_open: bool,
    /// When the try that was answered began, and when it was answered.
    pub begun_at: Timestamp,
    pub answered_at: Timestamp,
    /// How often it was used all the same before.
    pub no_effects: u32,
}

/// What becomes of a revocation without effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// It is tried once more.
    Retried,
    /// A person is needed, unless the policy does more.
    GivenUp,
}

impl Consequence {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retried => "retried",
            Self::GivenUp => "given_up",
        }
    }
}

const ANSWERED: &str = "
    SELECT id, body, state, finished_at, no_effects, COALESCE((SELECT MAX(started_at) FROM action_attempt
        WHERE action_attempt.action_id = action.id AND result = 'done'), finished_at) AS started_at
    FROM action WHERE ((state = 'answered' AND finished_at >= $1) OR (state = 'done' AND finished_at >= $2))
    AND kind IN ('revoke_family', 'revoke_user', 'lock_user') ORDER BY finished_at LIMIT $3";

const VERIFY: &str = "
    UPDATE action SET state = 'done', verified_at = $1, verified_by = $2, outcome = $3
    WHERE id = $4 AND state = 'answered' AND no_effects = $5 RETURNING incident_id, kind";

/// Tried once more it is charged and told anew, and its cause is the use that showed it to be needed.
const RETRY: &str = "
    UPDATE action SET state = 'ready', due_at = $1, ready_since = $1, attempts = 0, finished_at = NULL,
        verified_at = NULL, verified_by = NULL, no_effects = no_effects + 1, no_effect_at = $1, outcome = $2, event_time = $3, body = $4
    WHERE id = $5 AND state IN ('answered', 'done') AND no_effects = $6 RETURNING incident_id";

const GIVE_UP: &str = "
    UPDATE action SET state = 'parked', finished_at = $1, verified_at = NULL, verified_by = NULL, no_effects = no_effects + 1,
        no_effect_at = $1, outcome = $2
    WHERE id = $3 AND state IN ('answered', 'done') AND no_effects = $4 RETURNING incident_id";

const SUPERSEDE: &str = "
    UPDATE action SET state = 'suppressed', outcome = $1
    WHERE state = 'parked' AND no_effect_at IS NOT NULL AND kind = 'revoke_family' AND issuer = $2 AND COALESCE(tenant, '') = $5
    AND user_id = $3 AND id <> $4 RETURNING id, body";

impl Store {
    /// Revocations answered since then, the oldest first: those that nothing has shown yet since `open_since`, the others since
    /// `shown_since`.
    pub async fn answered_since(
        &self,
        open_since: Timestamp,
        shown_since: Timestamp,
        limit: u32,
    ) -> Result<Vec<Watched>, StoreError> {
        let rows = sqlx::query(ANSWERED)
            .bind(sql::ms(open_since))
            .bind(sql::ms(shown_since))
            .bind(i64::from(limit))
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(watched).collect()
    }

    /// It was shown that the revocation took effect: now it is done. `false` when it stands otherwise by now.
    pub async fn verified(
        &self,
        watched: &Watched,
        by: ShownBy,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let action = &watched.action;
        let answer = self.action(&action.id).await?.and_then(|it| it.outcome);
        let outcome: Text = match answer {
            Some(answer) => format!("{answer}; {}", by.sentence()).into(),
            None => by.sentence().into(),
        };
        let mut transaction = self.begin().await?;
        let row = sqlx::query(VERIFY)
            .bind(sql::ms(now))
            .bind(by.as_str())
            .bind(sql::clean(&outcome))
            .bind(action.id.as_ref())
            .bind(i64::from(watched.no_effects))
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = row else {
            return Ok(false);
        };
        let event = OwnEvent {
            time: now,
            kind: OwnEventKind::Verified,
            action_id: action.id.clone(),
            action: action.kind,
            target: action.target.clone(),
        };
        insert_own_event(&mut transaction, &event).await?;
        let (incident, kind) = (row.try_get("incident_id")?, row.try_get("kind")?);
        contain(&mut transaction, incident, kind).await?;
        let note = AuditNote::outcome(action, ActionState::Done, &outcome);
        audit::append(&mut transaction, &[note], now).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// The login was used although it was answered that it had ended: it is tried once more, then given up. `None` when it
    /// stands otherwise by now.
    pub async fn had_no_effect(
        &self,
        watched: &Watched,
        used: &Use,
        now: Timestamp,
    ) -> Result<Option<Consequence>, StoreError> {
        let mut transaction = self.begin().await?;
        let consequence = if watched.no_effects == 0 {
            Consequence::Retried
        } else {
            Consequence::GivenUp
        };
        let outcome: Text = said(watched, used, consequence).into();
        let incident = match consequence {
            Consequence::Retried => retry(&mut transaction, watched, used, &outcome, now).await?,
            Consequence::GivenUp => give_up(&mut transaction, watched, used, &outcome, now).await?,
        };
        let Some(incident) = incident else {
            return Ok(None);
        };
        sqlx::query("UPDATE incident SET state = 'open' WHERE id = $1 AND state = 'contained'")
            .bind(incident)
            .execute(&mut *transaction)
            .await?;
        let state = match consequence {
            Consequence::Retried => ActionState::Ready,
            Consequence::GivenUp => ActionState::Parked,
        };
        let note = AuditNote::outcome(&watched.action, state, &outcome);
        audit::append(&mut transaction, &[note], now).await?;
        transaction.commit().await?;
        self.ring();
        Ok(Some(consequence))
    }
}

async fn retry(
    connection: &mut AnyConnection,
    watched: &Watched,
    used: &Use,
    outcome: &Text,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    let action = Action {
        event_time: used.time,
        ..watched.action.clone()
    };
    let row = sqlx::query(RETRY)
        .bind(sql::ms(now))
        .bind(sql::clean(outcome))
        .bind(sql::ms(used.time))
        .bind(sql::to_json(&action)?)
        .bind(action.id.as_ref())
        .bind(i64::from(watched.no_effects))
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.try_get("incident_id")).transpose()?)
}

async fn give_up(
    connection: &mut AnyConnection,
    watched: &Watched,
    used: &Use,
    outcome: &Text,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    let action = &watched.action;
    let row = sqlx::query(GIVE_UP)
        .bind(sql::ms(now))
        .bind(sql::clean(outcome))
        .bind(action.id.as_ref())
        .bind(i64::from(watched.no_effects))
        .fetch_optional(&mut *connection)
        .await?;
    if row.is_some() {
        let told = NoEffect {
            time: now,
            no_effect: Box::new(action.clone()),
            used_at: used.time,
        };
        insert_no_effect(connection, &told).await?;
    }
    Ok(row.map(|row| row.try_get("incident_id")).transpose()?)
}

/// What had no effect by itself is over when all of the user's sessions have been ended.
pub(super) async fn supersede(
    connection: &mut AnyConnection,
    wider: &Action,
    now: Timestamp,
) -> Result<(), StoreError> {
    let is_wider = matches!(wider.kind, ActionKind::RevokeUser | ActionKind::LockUser);
    let Some(user) = wider.target.user_id.as_deref().filter(|_| is_wider) else {
        return Ok(());
    };
    let outcome: Text = format!(
        "it had no effect; all of the user's sessions were ended ({})",
        wider.id
    )
    .into();
    let rows = sqlx::query(SUPERSEDE)
        .bind(sql::clean(&outcome))
        .bind(wider.target.issuer.as_ref())
        .bind(user)
        .bind(wider.id.as_ref())
        .bind(wider.target.tenant.as_deref().unwrap_or_default())
        .fetch_all(&mut *connection)
        .await?;
    let mut notes = Vec::with_capacity(rows.len());
    for row in &rows {
        let action: Action = sql::from_json("action", row.try_get("id")?, row.try_get("body")?)?;
        notes.push(AuditNote::outcome(
            &action,
            ActionState::Suppressed,
            &outcome,
        ));
    }
    audit::append(connection, &notes, now).await
}

fn said(watched: &Watched, used: &Use, consequence: Consequence) -> String {
    let from = match &used.network {
        Some(network) => format!(" from {network}"),
        None => String::new(),
    };
    let ended = match watched.action.kind {
        ActionKind::RevokeFamily => "its login",
        _ => "a login of the user",
    };
    let then = match consequence {
        Consequence::Retried => "tried once more",
        Consequence::GivenUp => "again, so it is not tried any more",
    };
    format!(
        "no effect: {ended} was used{from} at {}, after the server had answered at {}; {then}",
        used.time, watched.answered_at
    )
}

fn watched(row: &AnyRow) -> Result<Watched, StoreError> {
    Ok(Watched {
        action: sql::from_json("action", row.try_get("id")?, row.try_get("body")?)?,
        is_open: row.try_get::<&str, _>("state")? == ActionState::Answered.as_str(),
        begun_at: sql::time(row.try_get("started_at")?),
        answered_at: sql::time(row.try_get("finished_at")?),
        no_effects: u32::try_from(row.try_get::<i64, _>("no_effects")?).unwrap_or(u32::MAX),
    })
}
