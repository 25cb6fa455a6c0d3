//! What people ask: lists for the API, and one incident for the mail.
//!
//! Lists are newest first and go on where the last one ended (`Page::before`), not at an offset: rows that arrive
//! between two pages then shift nothing.

use std::fmt::Write as _;

use sqlx::{Any, AssertSqlSafe, Pool, Row as _, any::AnyRow};

use crate::model::{
    Action, ActionKind, ActionRecord, ActionState, Decision, Detection, Incident, IncidentState,
    Resolution, Severity, ShownBy, Text, Timestamp, Verification,
};

use super::left::NEEDS_A_PERSON;
use super::sql::{self, Cell};
use super::{Seen, Store, StoreError};

/// Actions of one incident that are listed; a storm has more.
const INCIDENT_ACTIONS_MAX: i64 = 1000;

/// Whatever the mode: to look at something does nothing to anybody.
const LISTED_FOR_REVIEW: &str = "id IN (SELECT incident_id FROM action WHERE kind = 'review' AND decision IN ('execute', 'observe'))";

/// Where a list goes on, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// `next` of the list before.
    pub before: Option<i64>,
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Listed<T> {
    pub items: Vec<T>,
    /// Where the next page starts; absent at the end.
    pub next: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct IncidentFilter {
    pub state: Option<IncidentState>,
    pub severity_min: Option<Severity>,
    pub tenant: Option<Text>,
    pub user_id: Option<Text>,
    pub client_id: Option<Text>,
    /// Changed at or after this event time.
    pub since: Option<Timestamp>,
    /// Only those that were listed for review.
    pub review: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct DetectionFilter {
    pub rule: Option<Text>,
    pub severity_min: Option<Severity>,
    pub tenant: Option<Text>,
    pub user_id: Option<Text>,
    pub client_id: Option<Text>,
    pub family_id: Option<Text>,
    pub since: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ActionFilter {
    pub state: Option<ActionState>,
    pub kind: Option<ActionKind>,
    pub decision: Option<Decision>,
    pub rule: Option<Text>,
    pub user_id: Option<Text>,
    pub client_id: Option<Text>,
    pub incident_id: Option<Text>,
    pub since: Option<Timestamp>,
}

/// An incident with all that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct IncidentDetails {
    pub incident: Incident,
    /// Oldest first, at most as many as were asked for.
    pub detections: Vec<Detection>,
    pub actions: Vec<ActionRecord>,
    pub seen: Option<Seen>,
    /// Since when the last of these actions that a person has to see to waits or has failed.
    pub needed_since: Option<Timestamp>,
}

impl Store {
    pub async fn incidents(
        &self,
        filter: &IncidentFilter,
        page: Page,
    ) -> Result<Listed<Incident>, StoreError> {
        let list = List::new(
            "SELECT seq, id, body, state, resolution, closed_at FROM incident",
            page,
        )
        .and(
            "state = ",
            filter.state.map(|state| Cell::text(state.as_str())),
        )
        .and(
            "severity >= ",
            filter.severity_min.map(|least| Cell::Int(sql::rank(least))),
        )
        .and_text("tenant = ", filter.tenant.as_ref())
        .and_text("user_id = ", filter.user_id.as_ref())
        .and_text("client_id = ", filter.client_id.as_ref())
        .and(
            "updated_at >= ",
            filter.since.map(|since| Cell::Int(sql::ms(since))),
        )
        .and_that(LISTED_FOR_REVIEW, filter.review);
        list.fetch(self.reader(), incident_of).await
    }

    pub async fn detections(
        &self,
        filter: &DetectionFilter,
        page: Page,
    ) -> Result<Listed<Detection>, StoreError> {
        let list = List::new("SELECT seq, id, body FROM detection", page)
            .and_text("rule = ", filter.rule.as_ref())
            .and(
                "severity >= ",
                filter.severity_min.map(|least| Cell::Int(sql::rank(least))),
            )
            .and_text("tenant = ", filter.tenant.as_ref())
            .and_text("user_id = ", filter.user_id.as_ref())
            .and_text("client_id = ", filter.client_id.as_ref())
            .and_text("family_id = ", filter.family_id.as_ref())
            .and(
                "event_time >= ",
                filter.since.map(|since| Cell::Int(sql::ms(since))),
            );
        list.fetch(self.reader(), |row| body("detection", row))
            .await
    }

    pub async fn actions(
        &self,
        filter: &ActionFilter,
        page: Page,
    ) -> Result<Listed<ActionRecord>, StoreError> {
        let list = List::new(
            "SELECT seq, id, body, state, attempts, finished_at, outcome, verified_at, verified_by FROM action",
            page,
        )
        .and(
            "state = ",
            filter.state.map(|state| Cell::text(state.as_str())),
        )
        .and("kind = ", filter.kind.map(|kind| Cell::text(kind.as_str())))
        .and(
            "decision = ",
            filter
                .decision
                .map(|decision| Cell::text(decision.as_str())),
        )
        .and_text("rule = ", filter.rule.as_ref())
        .and_text("user_id = ", filter.user_id.as_ref())
        .and_text("client_id = ", filter.client_id.as_ref())
        .and_text("incident_id = ", filter.incident_id.as_ref())
        .and(
            "event_time >= ",
            filter.since.map(|since| Cell::Int(sql::ms(since))),
        );
        list.fetch(self.reader(), action_record).await
    }

    /// One incident with its detections (oldest first, so many at most) and its actions.
    pub async fn incident(
        &self,
        id: &str,
        detections_max: u32,
    ) -> Result<Option<IncidentDetails>, StoreError> {
        // The actions first: the rest is then at least as new as what they are said to be.
        let actions = sqlx::query(AssertSqlSafe(format!(
            "SELECT seq, id, body, state, attempts, finished_at, outcome, verified_at, verified_by,
                CASE WHEN {NEEDS_A_PERSON} THEN COALESCE(finished_at, created_at) END AS needed_at
             FROM action WHERE incident_id = $1 ORDER BY seq LIMIT $2"
        )))
        .bind(id)
        .bind(INCIDENT_ACTIONS_MAX)
        .fetch_all(self.reader())
        .await?;
        let mut needed_since = None;
        for row in &actions {
            needed_since = needed_since.max(row.try_get::<Option<i64>, _>("needed_at")?);
        }
        let detections = sqlx::query(
            "SELECT id, body FROM detection WHERE id IN (SELECT detection_id FROM incident_member WHERE incident_id = $1)
             ORDER BY event_time, seq LIMIT $2",
        )
        .bind(id)
        .bind(i64::from(detections_max))
        .fetch_all(self.reader())
        .await?;
        let Some(row) = self
            .one(
                "SELECT id, body, state, resolution, closed_at FROM incident WHERE id = $1",
                id,
            )
            .await?
        else {
            return Ok(None);
        };
        Ok(Some(IncidentDetails {
            incident: incident_of(&row)?,
            detections: detections
                .iter()
                .map(|row| body("detection", row))
                .collect::<Result<_, _>>()?,
            actions: actions
                .iter()
                .map(action_record)
                .collect::<Result<_, _>>()?,
            seen: match actions.last() {
                Some(row) => Some(Seen(row.try_get("seq")?)),
                None => None,
            },
            needed_since: needed_since.map(sql::time),
        }))
    }

    pub async fn detection(&self, id: &str) -> Result<Option<Detection>, StoreError> {
        let row = self
            .one("SELECT id, body FROM detection WHERE id = $1", id)
            .await?;
        row.map(|row| body("detection", &row)).transpose()
    }

    pub async fn action(&self, id: &str) -> Result<Option<ActionRecord>, StoreError> {
        let row = self
            .one(
                "SELECT id, body, state, attempts, finished_at, outcome, verified_at, verified_by FROM action WHERE id = $1",
                id,
            )
            .await?;
        row.map(|row| action_record(&row)).transpose()
    }

    /// Whether actions of the incident other than notifications are still to be performed.
    pub async fn outcome_pending(&self, incident_id: &str) -> Result<bool, StoreError> {
        let row = self
            .one("SELECT id FROM action WHERE incident_id = $1 AND kind <> 'notify' AND state IN ('ready', 'leased') LIMIT 1", incident_id)
            .await?;
        Ok(row.is_some())
    }

    async fn one(&self, statement: &'static str, id: &str) -> Result<Option<AnyRow>, StoreError> {
        Ok(sqlx::query(statement)
            .bind(id)
            .fetch_optional(self.reader())
            .await?)
    }
}

fn body<T: serde::de::DeserializeOwned>(table: &str, row: &AnyRow) -> Result<T, StoreError> {
    sql::from_json(table, row.try_get("id")?, row.try_get("body")?)
}

/// Its state is that of its column: the body says how it began.
fn incident_of(row: &AnyRow) -> Result<Incident, StoreError> {
    let incident: Incident = body("incident", row)?;
    let state: &str = row.try_get("state")?;
    let resolution: Option<&str> = row.try_get("resolution")?;
    Ok(Incident {
        state: IncidentState::parse(state).ok_or_else(|| {
            StoreError::unreadable("incident", &incident.id, &format!("its state is {state}"))
        })?,
        resolution: resolution.and_then(Resolution::parse),
        closed_at: row.try_get::<Option<i64>, _>("closed_at")?.map(sql::time),
        ..incident
    })
}

fn action_record(row: &AnyRow) -> Result<ActionRecord, StoreError> {
    let action: Action = body("action", row)?;
    let state: &str = row.try_get("state")?;
    Ok(ActionRecord {
        state: ActionState::parse(state).ok_or_else(|| {
            StoreError::unreadable("action", &action.id, &format!("its state is {state}"))
        })?,
        attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or(u32::MAX),
        finished_at: row.try_get::<Option<i64>, _>("finished_at")?.map(sql::time),
        outcome: row.try_get::<Option<String>, _>("outcome")?.map(Into::into),
        verified: verification(row)?,
        action,
    })
}

fn verification(row: &AnyRow) -> Result<Option<Verification>, StoreError> {
    let at: Option<i64> = row.try_get("verified_at")?;
    let by: Option<&str> = row.try_get("verified_by")?;
    let shown = at.zip(by.and_then(ShownBy::parse));
    Ok(shown.map(|(at, by)| Verification {
        at: sql::time(at),
        by,
    }))
}

/// A list under construction: only the conditions that were given become part of the statement, so that its indexes serve.
pub(super) struct List {
    sql: String,
    values: Vec<Cell>,
    limit: u32,
}

impl List {
    pub(super) fn new(select: &str, page: Page) -> Self {
        let list = Self {
            sql: format!("{select} WHERE 1 = 1"),
            values: Vec::new(),
            limit: page.limit,
        };
        list.and("seq < ", page.before.map(Cell::Int))
    }

    pub(super) fn and(mut self, condition: &str, value: Option<Cell>) -> Self {
        if let Some(value) = value {
            self.values.push(value);
            // Writing to a String cannot fail.
            write!(self.sql, " AND {condition}${}", self.values.len()).ok();
        }
        self
    }

    pub(super) fn and_text(self, condition: &str, value: Option<&Text>) -> Self {
        self.and(condition, value.map(|value| Cell::text(value)))
    }

    /// A condition without a value, where it is asked for.
    fn and_that(mut self, condition: &'static str, asked: bool) -> Self {
        if asked {
            write!(self.sql, " AND {condition}").ok();
        }
        self
    }

    /// One row more than asked tells whether there is a next page.
    pub(super) async fn fetch<T>(
        self,
        pool: &Pool<Any>,
        read: impl Fn(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<Listed<T>, StoreError> {
        let sql = format!(
            "{} ORDER BY seq DESC LIMIT {}",
            self.sql,
            i64::from(self.limit) + 1
        );
        let query = self
            .values
            .into_iter()
            .fold(sqlx::query(AssertSqlSafe(sql)), |query, cell| {
                cell.bind(query)
            });
        let rows = query.fetch_all(pool).await?;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let items = rows
            .iter()
            .take(limit)
            .map(&read)
            .collect::<Result<_, _>>()?;
        let last = rows
            .get(limit.wrapping_sub(1))
            .filter(|_| rows.len() > limit);
        Ok(Listed {
            items,
            next: last.map(|row| row.try_get("seq")).transpose()?,
        })
    }
}
