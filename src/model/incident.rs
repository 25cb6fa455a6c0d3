//! An incident: the detections that belong together; what a person handles.

use serde::{Deserialize, Serialize};

use super::{Resolution, Severity, Subject, Text, Timestamp};

/// Detections about a user and about that user's families are one incident, whichever came first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Hash of (subject, episode).
    pub id: Text,
    pub issuer: Text,
    pub tenant: Option<Text>,
    pub subject: Subject,
    /// How many incidents of this subject were closed before; more, never fewer, once so many subjects were seen that the
    /// oldest are forgotten.
    pub episode: u32,
    pub state: IncidentState,
    /// The gravest of its detections.
    pub severity: Severity,
    /// Event time of the first detection.
    pub opened_at: Timestamp,
    /// Event time of the newest detection.
    pub updated_at: Timestamp,
    pub user_id: Option<Text>,
    pub client_id: Option<Text>,
    /// Detections so far; more than are listed when it is a storm.
    pub detections: u32,
    /// The first detection's sentence.
    pub summary: Text,
    /// How it ended, and when by wall time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Resolution>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    Open,
    Acknowledged,
    Contained,
    Closed,
}

super::event::names!(IncidentState {
    Open = "open", Acknowledged = "acknowledged", Contained = "contained", Closed = "closed",
});
