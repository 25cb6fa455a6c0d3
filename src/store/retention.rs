//! Retention: rows that are too old go, a few hundred at a time, so that commits are never held up for long.
//!
//! An incident goes as a whole: its detections and actions stay as long as it does, and its age is that of its last change.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::Row as _;

use crate::config::Retention;
use crate::model::limits::BULLETINS_KEPT_MIN;
use crate::model::{Text, Timestamp};

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
    pub audit: u64,
}

/// `$1` is the oldest time that stays. Wall time counts too: after a first start over old data, event time alone would remove what came just now.
const INCIDENTS: &str = "DELETE FROM incident WHERE id IN (SELECT id FROM incident WHERE recorded_at < $1 AND updated_at < $1 LIMIT $2)";
const MEMBERS: &str = "DELETE FROM incident_member WHERE detection_id IN (
    SELECT detection_id FROM incident_member AS member WHERE NOT EXISTS (SELECT 1 FROM incident WHERE incident.id = member.incident_id)
        AND EXISTS (SELECT 1 FROM detection WHERE detection.id = member.detection_id AND detection.recorded_at < $1) LIMIT $2)
    AND NOT EXISTS (SELECT 1 FROM incident WHERE incident.id = incident_member.incident_id)";
const DETECTIONS: &str = "DELETE FROM detection WHERE seq IN (SELECT seq FROM detection WHERE recorded_at < $1
    AND NOT EXISTS (SELECT 1 FROM incident_member WHERE incident_member.detection_id = detection.id) LIMIT $2)";
const ACTIONS: &str = "DELETE FROM action WHERE seq IN (SELECT seq FROM action WHERE created_at < $1 AND state NOT IN ('ready', 'leased', 'answered')
    AND NOT EXISTS (SELECT 1 FROM incident WHERE incident.id = action.incident_id) LIMIT $2)";
const BULLETINS: &str =
    "DELETE FROM bulletin WHERE id IN (SELECT id FROM bulletin WHERE until_at < $1
    AND NOT EXISTS (SELECT 1 FROM action WHERE action.incident_id = bulletin.id) LIMIT $2)";
/// Those of a receiver that is configured no more: all others are due again within minutes.
const FOLLOWED: &str = "DELETE FROM followed WHERE incident_id IN (SELECT incident_id FROM followed WHERE due_at < $1 LIMIT $2) AND due_at < $1";
const OWN_EVENTS: &str =
    "DELETE FROM own_event WHERE id IN (SELECT id FROM own_event WHERE recorded_at < $1 LIMIT $2)";
const REJECTS: &str =
    "DELETE FROM reject WHERE seq IN (SELECT seq FROM reject WHERE recorded_at < $1 LIMIT $2)";
const INBOX: &str = "DELETE FROM inbox WHERE id IN
    (SELECT id FROM inbox WHERE received_at < $1 AND source = $3 AND id <= $4 LIMIT $2)";

impl Store {
    /// Removes what is older than `retention` allows. `inbox_read`: up to which id each source that is read has read the
    /// inbox; its records above that stay. Those of a source that nobody reads go by their age alone.
    pub async fn retention(
        &self,
        retention: &Retention,
        inbox_read: &BTreeMap<Text, i64>,
        now: Timestamp,
    ) -> Result<Removed, StoreError> {
        let oldest = before(now, retention.detections);
        let incidents = self.remove(INCIDENTS, oldest).await?;
        self.remove(MEMBERS, oldest).await?;
        let detections = self.remove(DETECTIONS, oldest).await?;
        let actions = self.remove(ACTIONS, oldest).await?;
        let kept = retention.detections.max(BULLETINS_KEPT_MIN);
        self.remove(BULLETINS, before(now, kept)).await?;
        self.remove(FOLLOWED, oldest).await?;
        Ok(Removed {
            incidents,
            detections,
            actions,
            own_events: self.remove(OWN_EVENTS, oldest).await?,
            inbox: self
                .forget_inbox(inbox_read, before(now, retention.inbox))
                .await?,
            rejects: self.remove(REJECTS, before(now, retention.rejects)).await?,
            audit: self.prune_audit(before(now, retention.audit), now).await?,
        })
    }

    /// Source by source: one that is quiet must not keep what the others have read.
    async fn forget_inbox(
        &self,
        read: &BTreeMap<Text, i64>,
        oldest: i64,
    ) -> Result<u64, StoreError> {
        let sources = sqlx::query("SELECT DISTINCT source FROM inbox")
            .fetch_all(self.reader())
            .await?;
        let mut removed = 0;
        for source in &sources {
            let source: String = source.try_get("source")?;
            let up_to = read.get(source.as_str()).copied().unwrap_or(i64::MAX);
            removed += self
                .remove_of(INBOX, oldest, Some((&source, up_to)))
                .await?;
        }
        Ok(removed)
    }

    async fn remove(&self, statement: &'static str, oldest: i64) -> Result<u64, StoreError> {
        self.remove_of(statement, oldest, None).await
    }

    async fn remove_of(
        &self,
        statement: &'static str,
        oldest: i64,
        of: Option<(&str, i64)>,
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let mut query = sqlx::query(statement)
                .bind(oldest)
                .bind(i64::try_from(CHUNK_ROWS).unwrap_or(i64::MAX));
            if let Some((source, up_to)) = of {
                query = query.bind(source).bind(up_to);
            }
            let rows = self.write(query).await?;
            removed += rows;
            if rows < CHUNK_ROWS {
                return Ok(removed);
            }
            // Others that wait for the one writer come in between.
            tokio::task::yield_now().await;
        }
    }
}

fn before(now: Timestamp, kept: Duration) -> i64 {
    now.checked_sub(kept).map_or(i64::MIN, sql::ms)
}
