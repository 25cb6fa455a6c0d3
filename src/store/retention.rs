//! Retention: rows that are too old go, a few hundred at a time, so that commits are never held up for long.
//!
//! An incident goes as a whole: its detections and actions stay as long as it does, and its age is that of its last change.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use crate::config::Retention;
use crate::model::Timestamp;
use crate::model::limits::BULLETINS_KEPT_MIN;

use super::{Store, StoreError, sql};

/// Rows that one statement removes.
const CHUNK_ROWS: u64 = 500;

/// How many rows went, by table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    pub incidents: u64,
    pub detections: u64,
    pub actions: u64,
    pub own_events: u64,
    pub inbox: u64,
    pub rejects: u64,
}

/// `$1` is the oldest time that stays. Wall time counts too: after a first start over old data, event time alone would remove what came just now.
const INCIDENTS: &str = "DELETE FROM incident WHERE id IN (SELECT id FROM incident WHERE recorded_at < $1 AND updated_at < $1 LIMIT $2)";
const MEMBERS: &str = "DELETE FROM incident_member WHERE detection_id IN (
    SELECT detection_id FROM incident_member AS member WHERE NOT EXISTS (SELECT 1 FROM incident WHERE incident.id = member.incident_id)
        AND EXISTS (SELECT 1 FROM detection WHERE detection.id = member.detection_id AND detection.recorded_at < $1) LIMIT $2)
    AND NOT EXISTS (SELECT 1 FROM incident WHERE incident.id = incident_member.incident_id)";
const DETECTIONS: &str = "DELETE FROM detection WHERE seq IN (SELECT seq FROM detection WHERE recorded_at < $1
    AND NOT EXISTS (SELECT 1 FROM incident_member WHERE incident_member.detection_id = detection.id) LIMIT $2)";
const ACTIONS: &str = "DELETE FROM action WHERE seq IN (SELECT seq FROM action WHERE created_at < $1 AND state NOT IN ('ready', 'leased')
    AND NOT EXISTS (SELECT 1 FROM incident WHERE incident.id = action.incident_id) LIMIT $2)";
const BULLETINS: &str =
    "DELETE FROM bulletin WHERE id IN (SELECT id FROM bulletin WHERE until_at < $1
    AND NOT EXISTS (SELECT 1 FROM action WHERE action.incident_id = bulletin.id) LIMIT $2)";
const OWN_EVENTS: &str =
    "DELETE FROM own_event WHERE id IN (SELECT id FROM own_event WHERE recorded_at < $1 LIMIT $2)";
const REJECTS: &str =
    "DELETE FROM reject WHERE seq IN (SELECT seq FROM reject WHERE recorded_at < $1 LIMIT $2)";

impl Store {
    /// Removes what is older than `retention` allows. Inbox records above `inbox_read` are still to be read and stay.
    pub async fn retention(
        &self,
        retention: &Retention,
        inbox_read: i64,
        now: Timestamp,
    ) -> Result<Removed, StoreError> {
        let oldest = before(now, retention.detections);
        let incidents = self.remove(INCIDENTS, oldest).await?;
        self.remove(MEMBERS, oldest).await?;
        let detections = self.remove(DETECTIONS, oldest).await?;
        let actions = self.remove(ACTIONS, oldest).await?;
        let kept = retention.detections.max(BULLETINS_KEPT_MIN);
        self.remove(BULLETINS, before(now, kept)).await?;
        Ok(Removed {
            incidents,
            detections,
            actions,
            own_events: self.remove(OWN_EVENTS, oldest).await?,
            inbox: self
                .remove(&inbox_statement(inbox_read), before(now, retention.inbox))
                .await?,
            rejects: self.remove(REJECTS, before(now, retention.rejects)).await?,
        })
    }

    async fn remove(&self, statement: &str, oldest: i64) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let rows = sqlx::query(AssertSqlSafe(statement.to_owned()))
                .bind(oldest)
                .bind(i64::try_from(CHUNK_ROWS).unwrap_or(i64::MAX))
                .execute(&self.inner.writer)
                .await?
                .rows_affected();
            removed += rows;
            if rows < CHUNK_ROWS {
                return Ok(removed);
            }
            // Others that wait for the one writer come in between.
            tokio::task::yield_now().await;
        }
    }
}

fn inbox_statement(read: i64) -> String {
    format!(
        "DELETE FROM inbox WHERE id IN (SELECT id FROM inbox WHERE received_at < $1 AND id <= {read} LIMIT $2)"
    )
}

fn before(now: Timestamp, kept: Duration) -> i64 {
    now.checked_sub(kept).map_or(i64::MIN, sql::ms)
}
