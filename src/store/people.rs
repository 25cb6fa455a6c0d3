//! What people do: each change is one transaction that writes the row it is about and the event that tells of it.
//!
//! Every change of a person passes through [`commit`](Change::commit), so that whatever must stand beside it (the
//! event that a restart reads again) is written with it or not at all.

use sqlx::{Any, AnyConnection, Row as _, Transaction};

use crate::model::{
    Action, ActionKind, ActionState, AuditNote, BreakerClient, By, Deed, Detection, Incident,
    IncidentState, PersonEvent, Resolution, Silence, Text, Timestamp,
};

use super::commit::{INCIDENTS, decided_state, incident_row, insert_actions};
use super::own::insert_person_event;
use super::sql::{self, Cell, Insert};
use super::{DetectionFilter, Page, Store, StoreError, audit};

/// How a person's wish was taken.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken<T> {
    Done(T),
    /// There is no such thing.
    Missing,
    /// It is in no state for that; for a person.
    Conflict(Text),
}

/// An incident that was closed.
#[derive(Debug, Clone, PartialEq)]
pub struct Closed {
    pub incident_id: Text,
    /// Of its gravest detection.
    pub rule: Text,
    pub resolution: Resolution,
}

/// What is to become of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    Approve,
    Refuse,
    Retry,
}

/// One change of one person, begun and not yet durable.
pub(super) struct Change {
    transaction: Transaction<'static, Any>,
}

impl Change {
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    /// Makes it durable, with the event and the entry of the audit log that tell of it.
    async fn commit(self, by: &By, did: Deed, now: Timestamp) -> Result<(), StoreError> {
        let note = AuditNote::of_person(by, &did);
        self.commit_telling(by, did, vec![note], now).await
    }

    /// The same with what the audit log is to tell of it.
    pub(super) async fn commit_telling(
        mut self,
        by: &By,
        did: Deed,
        notes: Vec<AuditNote>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let event = PersonEvent {
            time: now,
            by: by.clone(),
            did,
        };
        insert_person_event(&mut self.transaction, &event).await?;
        audit::append(&mut self.transaction, &notes, now).await?;
        Ok(self.transaction.commit().await?)
    }
}

impl Ruling {
    const fn from(self) -> &'static [ActionState] {
        match self {
            Self::Approve | Self::Refuse => &[ActionState::Held, ActionState::Offered],
            Self::Retry => &[ActionState::Parked],
        }
    }

    pub const fn verb(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Refuse => "refused",
            Self::Retry => "tried again",
        }
    }

    fn deed(self, action: &Action) -> Deed {
        let (action_id, incident_id) = (action.id.clone(), action.incident_id.clone());
        match self {
            Self::Approve => Deed::Approved {
                action_id,
                incident_id,
            },
            Self::Refuse => Deed::Refused {
                action_id,
                incident_id,
            },
            Self::Retry => Deed::Retried {
                action_id,
                incident_id,
            },
        }
    }
}

const RELEASE: &str = "UPDATE action SET state = 'ready', due_at = $1, ready_since = $1, attempts = 0, approved = 1, outcome = $2
    WHERE id = $3 AND state IN ('held', 'offered', 'parked')";
const REFUSE: &str = "UPDATE action SET state = 'suppressed', finished_at = $1, outcome = $2
    WHERE id = $3 AND state IN ('held', 'offered')";

impl Store {
    pub(super) async fn change(&self) -> Result<Change, StoreError> {
        Ok(Change {
            transaction: self.begin().await?,
        })
    }

    /// A person decides about an action that waits.
    pub async fn rule_on(
        &self,
        id: &str,
        ruling: Ruling,
        by: &By,
        now: Timestamp,
    ) -> Result<Taken<()>, StoreError> {
        let Some(record) = self.action(id).await? else {
            return Ok(Taken::Missing);
        };
        let conflict = |state: ActionState| {
            let what = format!(
                "it is {state}, and only what is {} can be {}",
                named(ruling),
                ruling.verb()
            );
            Ok(Taken::Conflict(what.into()))
        };
        if !ruling.from().contains(&record.state) {
            return conflict(record.state);
        }
        let mut change = self.change().await?;
        let statement = if ruling == Ruling::Refuse {
            REFUSE
        } else {
            RELEASE
        };
        let outcome = format!("{} by {}: {}", ruling.verb(), by.who, by.why);
        let ruled = sqlx::query(statement)
            .bind(sql::ms(now))
            .bind(sql::clean(&outcome))
            .bind(id)
            .execute(&mut *change.transaction)
            .await?;
        if ruled.rows_affected() == 0 {
            // Somebody was quicker, or its time was over.
            return conflict(self.action(id).await?.map_or(record.state, |it| it.state));
        }
        let did = ruling.deed(&record.action);
        let note = AuditNote::of_person(by, &did).about_target_of(&record.action);
        change.commit_telling(by, did, vec![note], now).await?;
        self.ring();
        Ok(Taken::Done(()))
    }

    /// A person takes an incident on: nobody is reminded of it any more.
    pub async fn acknowledge(
        &self,
        id: &str,
        by: &By,
        now: Timestamp,
    ) -> Result<Taken<()>, StoreError> {
        const ACKNOWLEDGE: &str =
            "UPDATE incident SET state = 'acknowledged' WHERE id = $1 AND state = 'open'";
        let Some(incident) = self.bare_incident(id).await? else {
            return Ok(Taken::Missing);
        };
        let mut change = self.change().await?;
        let done = sqlx::query(ACKNOWLEDGE)
            .bind(id)
            .execute(&mut *change.transaction)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(Taken::Conflict(format!("it is {}", incident.state).into()));
        }
        let did = Deed::Acknowledged {
            incident_id: incident.id.clone(),
            subject: incident.subject.clone(),
        };
        let note = AuditNote::of_person(by, &did).about_incident(&incident);
        change.commit_telling(by, did, vec![note], now).await?;
        Ok(Taken::Done(()))
    }

    /// An incident ends: with a person's verdict, or by itself.
    pub async fn close_incident(
        &self,
        id: &str,
        resolution: Resolution,
        by: &By,
        now: Timestamp,
    ) -> Result<Taken<Closed>, StoreError> {
        const CLOSE: &str = "UPDATE incident SET state = 'closed', resolution = $1, closed_at = $2 WHERE id = $3 AND state <> 'closed'";
        let Some(incident) = self.bare_incident(id).await? else {
            return Ok(Taken::Missing);
        };
        let rule = self.gravest_rule(id).await?;
        let mut change = self.change().await?;
        let done = sqlx::query(CLOSE)
            .bind(resolution.as_str())
            .bind(sql::ms(now))
            .bind(id)
            .execute(&mut *change.transaction)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(Taken::Conflict("it is closed already".into()));
        }
        let did = Deed::Closed {
            incident_id: incident.id.clone(),
            subject: incident.subject.clone(),
            resolution,
        };
        let note = AuditNote::of_person(by, &did).about_incident(&incident);
        change.commit_telling(by, did, vec![note], now).await?;
        Ok(Taken::Done(Closed {
            incident_id: incident.id,
            rule,
            resolution,
        }))
    }

    /// Incidents without a detection since then all of whose actions are over, and how each stands.
    pub async fn idle_incidents(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Text, IncidentState)>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, state FROM incident WHERE state IN ('open', 'acknowledged', 'contained') AND updated_at < $1 AND recorded_at < $1
             AND NOT EXISTS (SELECT 1 FROM action WHERE action.incident_id = incident.id AND action.state IN ('ready', 'leased', 'held', 'offered', 'answered'))
             ORDER BY seq LIMIT $2",
        )
        .bind(sql::ms(since))
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        rows.iter()
            .map(|row| {
                let id: String = row.try_get("id")?;
                let state = IncidentState::parse(row.try_get("state")?);
                Ok((id.into(), state.unwrap_or(IncidentState::Open)))
            })
            .collect()
    }

    /// Nobody is told of some findings for a while.
    pub async fn silence(&self, silence: &Silence, by: &By) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        let row = vec![
            Cell::text(&silence.id),
            Cell::Int(sql::ms(silence.created_at)),
            Cell::Int(sql::ms(silence.ends_at)),
            Cell::Text(sql::to_json(silence)?),
        ];
        SILENCES.run(&mut change.transaction, vec![row]).await?;
        let did = Deed::Silenced {
            silence: silence.clone(),
        };
        change.commit(by, did, silence.created_at).await
    }

    /// A silence ends before its time.
    pub async fn end_silence(
        &self,
        id: &str,
        by: &By,
        now: Timestamp,
    ) -> Result<Taken<()>, StoreError> {
        let Some(mut silence) = self.silence_of(id).await? else {
            return Ok(Taken::Missing);
        };
        silence.ends_at = now;
        let mut change = self.change().await?;
        let ended = sqlx::query(
            "UPDATE silence SET ends_at = $1, body = $2 WHERE id = $3 AND ends_at > $1",
        )
        .bind(sql::ms(now))
        .bind(sql::to_json(&silence)?)
        .bind(id)
        .execute(&mut *change.transaction)
        .await?;
        if ended.rows_affected() == 0 {
            return Ok(Taken::Conflict("it has ended already".into()));
        }
        let did = Deed::SilenceEnded {
            silence_id: silence.id,
        };
        change.commit(by, did, now).await?;
        Ok(Taken::Done(()))
    }

    /// Some actions are let through at a client whose breaker is open.
    pub async fn half_open(
        &self,
        client: &BreakerClient,
        by: &By,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let change = self.change().await?;
        let did = Deed::BreakerHalfOpened {
            client: client.clone(),
        };
        change.commit(by, did, now).await
    }

    /// A person asks for an action by hand: it goes the way of all others, and has an incident of its own.
    pub async fn ask_for(
        &self,
        action: &Action,
        incident: &Incident,
        by: &By,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        let incident = vec![incident_row(incident, now)?];
        INCIDENTS.run(&mut change.transaction, incident).await?;
        let actions = std::slice::from_ref(action);
        let decided = insert_actions(&mut change.transaction, actions, decided_state, now).await?;
        let did = Deed::Asked {
            action: Box::new(action.clone()),
        };
        let mut notes = vec![AuditNote::of_person(by, &did)];
        notes.extend(decided);
        change.commit_telling(by, did, notes, now).await?;
        self.ring();
        Ok(())
    }

    pub async fn silence_of(&self, id: &str) -> Result<Option<Silence>, StoreError> {
        let row = sqlx::query("SELECT id, body FROM silence WHERE id = $1")
            .bind(id)
            .fetch_optional(self.reader())
            .await?;
        row.map(|row| sql::from_json("silence", row.try_get("id")?, row.try_get("body")?))
            .transpose()
    }

    /// Silences that end after `since`, the newest first.
    pub async fn silences(&self, since: Timestamp, limit: u32) -> Result<Vec<Silence>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, body FROM silence WHERE ends_at > $1 ORDER BY created_at DESC, id LIMIT $2",
        )
        .bind(sql::ms(since))
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        rows.iter()
            .map(|row| sql::from_json("silence", row.try_get("id")?, row.try_get("body")?))
            .collect()
    }

    /// Whether the same was done by another action since this one's event: to the family, or to its user as a whole.
    pub async fn done_meanwhile(&self, action: &Action) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT id FROM action WHERE id <> $1 AND issuer = $2 AND COALESCE(tenant, '') = $7
             AND state IN ('done', 'answered') AND event_time >= $3 AND ((kind = $4 AND COALESCE(family_id, '') = $5 AND COALESCE(user_id, '') = $6)
                OR ($4 = 'revoke_family' AND kind IN ('revoke_user', 'lock_user') AND user_id = $6)) LIMIT 1",
        )
        .bind(action.id.as_ref())
        .bind(action.target.issuer.as_ref())
        .bind(sql::ms(action.event_time))
        .bind(action.kind.as_str())
        .bind(action.target.family_id.as_deref().unwrap_or_default())
        .bind(action.target.user_id.as_deref().unwrap_or_default())
        .bind(action.target.tenant.as_deref().unwrap_or_default())
        .fetch_optional(self.reader())
        .await?;
        Ok(row.is_some())
    }

    /// The newest detection about a family or a user.
    pub async fn newest_about(
        &self,
        family: Option<&Text>,
        user: Option<&Text>,
    ) -> Result<Option<Detection>, StoreError> {
        let filter = DetectionFilter {
            family_id: family.cloned(),
            user_id: user.cloned(),
            ..DetectionFilter::default()
        };
        let page = Page {
            before: None,
            limit: 1,
        };
        Ok(self.detections(&filter, page).await?.items.pop())
    }

    /// Held actions about which nobody has decided since then are over, and what was offered is withdrawn: each with its
    /// end. What waits for the summary of what came too late goes after it was told.
    pub async fn expire_held(
        &self,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<(ActionKind, ActionState)>, StoreError> {
        const EXPIRE: &str = "UPDATE action SET state = CASE state WHEN 'held' THEN 'expired' ELSE 'suppressed' END, finished_at = $1,
            outcome = 'nobody decided about it in time' WHERE state IN ('held', 'offered') AND kind <> 'notify'
            AND COALESCE(finished_at, created_at) <= $2 AND (too_old_at IS NULL OR bulletin_id IS NOT NULL)
            RETURNING id, state, outcome, body";
        let mut transaction = self.begin().await?;
        let rows = sqlx::query(EXPIRE)
            .bind(sql::ms(now))
            .bind(sql::ms(since))
            .fetch_all(&mut *transaction)
            .await?;
        let (mut expired, mut notes) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            let action: Action =
                sql::from_json("action", row.try_get("id")?, row.try_get("body")?)?;
            let outcome: String = row.try_get("outcome")?;
            if let Some(state) = ActionState::parse(row.try_get("state")?) {
                expired.push((action.kind, state));
                notes.push(AuditNote::outcome(&action, state, &outcome.into()));
            }
        }
        audit::append(&mut transaction, &notes, now).await?;
        transaction.commit().await?;
        Ok(expired)
    }

    async fn bare_incident(&self, id: &str) -> Result<Option<Incident>, StoreError> {
        Ok(self.incident(id, 0).await?.map(|details| details.incident))
    }

    async fn gravest_rule(&self, incident_id: &str) -> Result<Text, StoreError> {
        let row = sqlx::query(
            "SELECT rule FROM detection WHERE id IN (SELECT detection_id FROM incident_member WHERE incident_id = $1)
             ORDER BY severity DESC, event_time, seq LIMIT 1",
        )
        .bind(incident_id)
        .fetch_optional(self.reader())
        .await?;
        let rule = row
            .map(|row| row.try_get::<String, _>("rule"))
            .transpose()?;
        Ok(rule.map_or_else(|| Action::BY_HAND.into(), Into::into))
    }
}

const SILENCES: Insert = Insert {
    head: "INSERT INTO silence (id, created_at, ends_at, body)",
    tail: "",
};

fn named(ruling: Ruling) -> String {
    let names: Vec<&str> = ruling.from().iter().map(|state| state.as_str()).collect();
    names.join(" or ")
}
