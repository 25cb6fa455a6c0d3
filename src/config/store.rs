//! `store:`, `archive:` and `retention:`.

use std::path::PathBuf;
use std::time::Duration;

use super::Secret;

/// Where positions, detections, actions and snapshots live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// `sqlite:///path/file.db` or `postgres://user@host/database`; may hold a password, hence a secret.
    pub url: Secret,
    /// Connections kept to PostgreSQL; SQLite has one writer.
    pub connections_max: u32,
    /// How often the state is written out.
    pub snapshot_every: Duration,
}

/// Where every event is written to, in hourly files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveConfig {
    /// A folder of its own.
    pub path: PathBuf,
}

/// How long rows and files are kept.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Detections, closed incidents and final actions.
    pub detections: Duration,
    pub rejects: Duration,
    /// Webhook records that have been read.
    pub inbox: Duration,
    /// Entries of the audit log.
    pub audit: Duration,
    /// Files of the event archive, from when their events came.
    pub archive: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_hours(24);
        Self {
            detections: 365 * DAY,
            rejects: 30 * DAY,
            inbox: 7 * DAY,
            audit: 730 * DAY,
            archive: 30 * DAY,
        }
    }
}
