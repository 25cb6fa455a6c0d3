//! What a stretch of wall time brought, counted for the daily digest.
//!
//! By the time of the commit, not of the event: what an outage delayed is then told when it is found, and nothing falls
//! between two days.

use sqlx::{AssertSqlSafe, Row as _, any::AnyRow};

use crate::model::{
    Action, ActionKind, ActionState, Detection, LastRead, ListedIncident, Performed, Rejected,
    RuleDay, Severity, Text, Timestamp, Value, Waiting, limits,
};

use super::{Store, StoreError, bulletin, sql};

/// Findings of one client that prove nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubts {
    pub client_id: Option<Text>,
    pub suspected: u64,
    pub client_faults: u64,
}

const REVOKES: &str = "kind IN ('revoke_family', 'revoke_user', 'lock_user')";

impl Store {
    /// Revocations that `observe` kept back, newest first, each with the detection that asked for it.
    pub async fn would_be_revoked(
        &self,
        since: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Action, Option<Detection>)>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT id, body FROM action WHERE decision = 'observe' AND {REVOKES} AND created_at >= $1 AND created_at < $2
             ORDER BY seq DESC LIMIT $3"
        )))
        .bind(sql::ms(since))
        .bind(sql::ms(until))
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        let mut revoked = Vec::with_capacity(rows.len());
        for row in &rows {
            let action: Action =
                sql::from_json("action", row.try_get("id")?, row.try_get("body")?)?;
            let detection = match action.detection_ids.first() {
                Some(id) => self.detection(id).await?,
                None => None,
            };
            revoked.push((action, detection));
        }
        Ok(revoked)
    }

    /// Detections by rule, most first.
    pub async fn detections_by_rule(
        &self,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<RuleDay>, StoreError> {
        let rows = sqlx::query(
            "SELECT rule, COUNT(*) AS detections, MAX(severity) AS gravest FROM detection
             WHERE recorded_at >= $1 AND recorded_at < $2 GROUP BY rule ORDER BY COUNT(*) DESC, rule",
        )
        .bind(sql::ms(since))
        .bind(sql::ms(until))
        .fetch_all(self.reader())
        .await?;
        let rule = |row: &AnyRow| {
            Ok(RuleDay {
                rule: text(row, "rule")?,
                gravest: sql::severity(row.try_get("gravest")?),
                detections: sql::count(row.try_get("detections")?),
            })
        };
        rows.iter().map(rule).collect()
    }

    /// Findings of reuse that are no proof, by client; of so many newest detections at most.
    pub async fn doubts(
        &self,
        since: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Doubts>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, body FROM detection WHERE recorded_at >= $1 AND recorded_at < $2 AND kind = 'reuse' AND severity <= $3
             ORDER BY seq DESC LIMIT $4",
        )
        .bind(sql::ms(since))
        .bind(sql::ms(until))
        .bind(sql::rank(Severity::Low))
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        let mut all: Vec<Doubts> = Vec::new();
        for row in &rows {
            let detection: Detection =
                sql::from_json("detection", row.try_get("id")?, row.try_get("body")?)?;
            count_doubt(&mut all, &detection);
        }
        Ok(all)
    }

    /// What was decided to be done and has come to an end, by kind and end; telling people and listing for review is no deed.
    pub async fn performed(
        &self,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Performed>, StoreError> {
        let rows = sqlx::query(
            "SELECT kind, state, COUNT(*) AS actions FROM action WHERE decision = 'execute' AND kind NOT IN ('notify', 'review')
             AND state IN ('done', 'answered', 'parked', 'expired') AND finished_at >= $1 AND finished_at < $2
             GROUP BY kind, state ORDER BY kind, state",
        )
        .bind(sql::ms(since))
        .bind(sql::ms(until))
        .fetch_all(self.reader())
        .await?;
        let performed = |row: &AnyRow| {
            let state: &str = row.try_get("state")?;
            Ok(Performed {
                kind: kind(row)?,
                state: ActionState::parse(state).ok_or_else(|| {
                    StoreError::unreadable("action", state, &"its state is not known")
                })?,
                actions: sql::count(row.try_get("actions")?),
            })
        };
        rows.iter().map(performed).collect()
    }

    /// All that waits for a person, most first; `new` counts what came at or after `since`.
    pub async fn waiting(&self, since: Timestamp) -> Result<Vec<Waiting>, StoreError> {
        let rows = sqlx::query(
            "SELECT client_id, kind, rule, COUNT(*) AS actions, COUNT(CASE WHEN created_at >= $1 THEN 1 END) AS fresh,
                MIN(event_time) AS oldest
             FROM action WHERE state = 'held' AND kind <> 'notify' GROUP BY client_id, kind, rule
             ORDER BY COUNT(*) DESC, client_id, kind, rule",
        )
        .bind(sql::ms(since))
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(waiting).collect()
    }

    /// Incidents that were listed for review and are still open: the gravest few, and how many there are.
    pub async fn for_review(
        &self,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<(Vec<ListedIncident>, u64), StoreError> {
        const LISTED: &str = "FROM incident WHERE state = 'open' AND id IN (
            SELECT incident_id FROM action WHERE kind = 'review' AND decision IN ('execute', 'observe') AND created_at >= $1 AND created_at < $2)";
        let total = sqlx::query(AssertSqlSafe(format!(
            "SELECT COUNT(*) AS incidents {LISTED}"
        )))
        .bind(sql::ms(since))
        .bind(sql::ms(until))
        .fetch_one(self.reader())
        .await?;
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT id, body {LISTED} ORDER BY severity DESC, opened_at, id LIMIT $3"
        )))
        .bind(sql::ms(since))
        .bind(sql::ms(until))
        .bind(i64::from(limits::LATE_INCIDENTS_MAX))
        .fetch_all(self.reader())
        .await?;
        let gravest = rows.iter().map(bulletin::listed);
        Ok((
            gravest.collect::<Result<_, _>>()?,
            sql::count(total.try_get("incidents")?),
        ))
    }

    /// Records that could not be read, by source and reason, most first.
    pub async fn rejected(
        &self,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Rejected>, StoreError> {
        let rows = sqlx::query(
            "SELECT source, reason, COUNT(*) AS records FROM reject WHERE recorded_at >= $1 AND recorded_at < $2
             GROUP BY source, reason ORDER BY COUNT(*) DESC, source, reason",
        )
        .bind(sql::ms(since))
        .bind(sql::ms(until))
        .fetch_all(self.reader())
        .await?;
        let rejected = |row: &AnyRow| {
            Ok(Rejected {
                source: text(row, "source")?,
                reason: text(row, "reason")?,
                records: sql::count(row.try_get("records")?),
            })
        };
        rows.iter().map(rejected).collect()
    }

    /// When each source last made progress.
    pub async fn last_read(&self) -> Result<Vec<LastRead>, StoreError> {
        let rows = sqlx::query("SELECT source, MAX(updated_at) AS at FROM source_partition WHERE position IS NOT NULL GROUP BY source ORDER BY source")
            .fetch_all(self.reader())
            .await?;
        let last = |row: &AnyRow| {
            Ok(LastRead {
                source: text(row, "source")?,
                at: sql::time(row.try_get("at")?),
            })
        };
        rows.iter().map(last).collect()
    }
}

fn count_doubt(all: &mut Vec<Doubts>, detection: &Detection) {
    let verdict = match detection.evidence.get("verdict") {
        Some(Value::Text(verdict)) => &**verdict,
        _ => return,
    };
    let known = all
        .iter()
        .position(|doubts| doubts.client_id == detection.client_id);
    let place = known.unwrap_or_else(|| {
        all.push(Doubts {
            client_id: detection.client_id.clone(),
            suspected: 0,
            client_faults: 0,
        });
        all.len() - 1
    });
    match (verdict, all.get_mut(place)) {
        ("suspected", Some(doubts)) => doubts.suspected += 1,
        ("client_fault", Some(doubts)) => doubts.client_faults += 1,
        _ => {}
    }
}

pub(super) fn waiting(row: &AnyRow) -> Result<Waiting, StoreError> {
    Ok(Waiting {
        client_id: row
            .try_get::<Option<String>, _>("client_id")?
            .map(Into::into),
        kind: kind(row)?,
        rule: text(row, "rule")?,
        actions: sql::count(row.try_get("actions")?),
        new: sql::count(row.try_get("fresh")?),
        oldest: sql::time(row.try_get("oldest")?),
    })
}

fn kind(row: &AnyRow) -> Result<ActionKind, StoreError> {
    let kind: &str = row.try_get("kind")?;
    ActionKind::parse(kind)
        .ok_or_else(|| StoreError::unreadable("action", kind, &"its kind is not known"))
}

fn text(row: &AnyRow, column: &str) -> Result<Text, StoreError> {
    Ok(row.try_get::<String, _>(column)?.into())
}
