//! Sums over the tables: what the gauges show, and what the daily digest tells of actions that `observe` kept back.

use sqlx::{Row as _, any::AnyRow};

use crate::model::{ActionKind, Severity, Text, Timestamp};

use super::{Store, StoreError, sql};

/// What the gauges show.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gauges {
    /// Ready or leased, by kind.
    pub pending: Vec<(ActionKind, u64)>,
    /// When the oldest pending action was decided.
    pub oldest_pending: Option<Timestamp>,
    pub held: u64,
    pub parked: u64,
    /// Answered, and not shown yet.
    pub unverified: u64,
    /// When the newest complete snapshot was begun.
    pub last_snapshot: Option<Timestamp>,
    /// Open or acknowledged, by severity.
    pub open_incidents: Vec<(Severity, u64)>,
}

/// Actions of one client that `observe` kept back.
#[derive(Debug, Clone, PartialEq)]
pub struct WouldHaveBeen {
    pub client_id: Option<Text>,
    pub kind: ActionKind,
    pub rule: Text,
    pub actions: u64,
    pub users: u64,
}

impl Store {
    pub async fn gauges(&self) -> Result<Gauges, StoreError> {
        let mut gauges = Gauges::default();
        for row in sqlx::query("SELECT kind, state, COUNT(*) AS actions, MIN(created_at) AS oldest FROM action WHERE state IN ('ready', 'leased', 'held', 'parked', 'answered') GROUP BY kind, state")
            .fetch_all(self.reader())
            .await?
        {
            gauges.add_actions(&row)?;
        }
        for row in sqlx::query("SELECT severity, COUNT(*) AS incidents FROM incident WHERE state IN ('open', 'acknowledged') GROUP BY severity ORDER BY severity")
            .fetch_all(self.reader())
            .await?
        {
            gauges.open_incidents.push((sql::severity(row.try_get("severity")?), sql::count(row.try_get("incidents")?)));
        }
        let snapshot = sqlx::query("SELECT MAX(created_at) FROM snapshot WHERE complete = 1")
            .fetch_one(self.reader())
            .await?;
        gauges.last_snapshot = snapshot.try_get::<Option<i64>, _>(0)?.map(sql::time);
        Ok(gauges)
    }

    /// What was decided `observe` in a stretch of wall time, by client, most first: the digest's content.
    pub async fn would_have_been(
        &self,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<WouldHaveBeen>, StoreError> {
        let rows = sqlx::query(
            "SELECT client_id, kind, rule, COUNT(*) AS actions, COUNT(DISTINCT user_id) AS users FROM action
             WHERE decision = 'observe' AND kind <> 'notify' AND created_at >= $1 AND created_at < $2
             GROUP BY client_id, kind, rule ORDER BY COUNT(*) DESC, client_id, kind, rule",
        )
        .bind(sql::ms(since))
        .bind(sql::ms(until))
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(would_have_been).collect()
    }
}

impl Gauges {
    fn add_actions(&mut self, row: &AnyRow) -> Result<(), StoreError> {
        let actions = sql::count(row.try_get("actions")?);
        let kind: &str = row.try_get("kind")?;
        match (row.try_get("state")?, ActionKind::parse(kind)) {
            // One that is held for its age waits for a summary, not for a person.
            ("held", Some(ActionKind::Notify)) => {}
            ("held", _) => self.held += actions,
            ("parked", _) => self.parked += actions,
            ("answered", _) => self.unverified += actions,
            (_, None) => {
                return Err(StoreError::unreadable(
                    "action",
                    kind,
                    &"its kind is not known",
                ));
            }
            (_, Some(kind)) => {
                let oldest = sql::time(row.try_get("oldest")?);
                self.oldest_pending = Some(
                    self.oldest_pending
                        .map_or(oldest, |known| known.min(oldest)),
                );
                match self.pending.iter_mut().find(|(known, _)| *known == kind) {
                    Some((_, sum)) => *sum += actions,
                    None => self.pending.push((kind, actions)),
                }
            }
        }
        Ok(())
    }
}

fn would_have_been(row: &AnyRow) -> Result<WouldHaveBeen, StoreError> {
    let kind: &str = row.try_get("kind")?;
    Ok(WouldHaveBeen {
        client_id: row
            .try_get::<Option<String>, _>("client_id")?
            .map(Into::into),
        kind: ActionKind::parse(kind)
            .ok_or_else(|| StoreError::unreadable("action", kind, &"its kind is not known"))?,
        rule: row.try_get::<String, _>("rule")?.into(),
        actions: sql::count(row.try_get("actions")?),
        users: sql::count(row.try_get("users")?),
    })
}
