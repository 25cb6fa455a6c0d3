//! Incidents: which detections belong together, and whether a person has been told.
//!
//! Detections about a user and about that user's families are one incident. It closes itself after 24 h of event time
//! without a detection; what comes later is a new episode.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::{Found, stable_id};
use crate::model::{Incident, IncidentState, Severity, Subject, Text, limits};

const CLOSES_AFTER_MS: i64 = 24 * 3600 * 1000;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Incidents {
    #[serde(with = "pairs")]
    open: BTreeMap<Subject, Open>,
    /// How many incidents of a subject were closed.
    #[serde(with = "pairs")]
    closed: BTreeMap<Subject, u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) incident: Incident,
    /// A notification was decided; later, graver turns update it and are no second one.
    pub(super) notified: bool,
    /// Ids of the actions decided so far.
    pub(super) actions: Vec<Text>,
}

/// Actions remembered of one incident; a storm has many.
const ACTIONS_MAX: usize = 256;

impl Open {
    /// Remembers that an action was decided; `false` when it already had been.
    pub(super) fn decide(&mut self, action: &Text) -> bool {
        if self.actions.contains(action) {
            return false;
        }
        if self.actions.len() >= ACTIONS_MAX {
            self.actions.remove(0);
        }
        self.actions.push(action.clone());
        true
    }
}

impl Incidents {
    /// The incident that a finding belongs to, opened if there is none, with the finding counted.
    pub(super) fn file(&mut self, found: &Found, storm: Option<Subject>) -> &mut Open {
        let detection = &found.detection;
        let time = detection.time.as_millisecond();
        self.close_old(time);
        let own = subject_of(found);
        // A subject that has an incident of its own stays in it, also when a storm begins around it.
        let subject = if self.open.contains_key(&own) {
            own
        } else {
            storm.unwrap_or(own)
        };
        let episode = self.closed.get(&subject).copied().unwrap_or(0);
        let open = self.open.entry(subject.clone()).or_insert_with(|| Open {
            incident: begin(found, subject, episode),
            notified: false,
            actions: Vec::new(),
        });
        let incident = &mut open.incident;
        incident.detections += 1;
        if detection.severity > incident.severity && !open.notified {
            // The subject of a mail thread stays what it was in the first mail.
            incident.summary = detection.summary.clone();
        }
        incident.severity = incident.severity.max(detection.severity);
        incident.opened_at = incident.opened_at.min(detection.time);
        incident.updated_at = incident.updated_at.max(detection.time);
        incident.user_id = incident
            .user_id
            .take()
            .or_else(|| detection.user_id.clone());
        incident.client_id = incident
            .client_id
            .take()
            .or_else(|| detection.client_id.clone());
        open
    }

    fn close_old(&mut self, time: i64) {
        let closed = &mut self.closed;
        self.open.retain(|subject, open| {
            let stays =
                open.incident.updated_at.as_millisecond() > time.saturating_sub(CLOSES_AFTER_MS);
            if !stays {
                *closed.entry(subject.clone()).or_default() += 1;
            }
            stays
        });
        while self.open.len() > limits::INCIDENTS_OPEN_MAX {
            let oldest = self
                .open
                .iter()
                .min_by_key(|(_, o)| o.incident.updated_at)
                .map(|(s, _)| s.clone());
            if let Some(oldest) = oldest {
                self.open.remove(&oldest);
                *self.closed.entry(oldest).or_default() += 1;
            }
        }
        while self.closed.len() > limits::INCIDENTS_CLOSED_MAX {
            self.closed.pop_first();
        }
    }
}

fn begin(found: &Found, subject: Subject, episode: u32) -> Incident {
    let detection = &found.detection;
    Incident {
        id: incident_id(&subject, episode),
        issuer: detection.issuer.clone(),
        tenant: detection.tenant.clone(),
        subject,
        episode,
        state: IncidentState::Open,
        severity: Severity::Info,
        opened_at: detection.time,
        updated_at: detection.time,
        user_id: detection.user_id.clone(),
        client_id: detection.client_id.clone(),
        detections: 0,
        summary: detection.summary.clone(),
    }
}

fn incident_id(subject: &Subject, episode: u32) -> Text {
    let (kind, id) = match subject {
        Subject::Family(id) => ("family", id),
        Subject::User(id) => ("user", id),
        Subject::Client(id) => ("client", id),
        Subject::Network(id) => ("network", id),
    };
    stable_id(&["incident", kind, id, &episode.to_string()])
}

/// The user where one is known, else what the detection is about; within issuer and tenant.
fn subject_of(found: &Found) -> Subject {
    let detection = &found.detection;
    match (&detection.subject, &detection.user_id) {
        (Subject::Client(_) | Subject::Network(_), _) | (_, None) => {
            scoped(found, detection.subject.clone())
        }
        (_, Some(user)) => scoped(found, Subject::User(user.clone())),
    }
}

/// Two servers may give two people one id.
pub(super) fn scoped(found: &Found, subject: Subject) -> Subject {
    let detection = &found.detection;
    let scope = |id: Text| -> Text {
        format!(
            "{}/{}/{id}",
            detection.issuer,
            detection.tenant.as_deref().unwrap_or("-")
        )
        .into()
    };
    match subject {
        Subject::Family(id) => Subject::Family(scope(id)),
        Subject::User(id) => Subject::User(scope(id)),
        Subject::Client(id) => Subject::Client(scope(id)),
        Subject::Network(id) => Subject::Network(scope(id)),
    }
}

/// A map whose keys are no text, as a list of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::de::{Deserialize, Deserializer};
    use serde::ser::{Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?
            .into_iter()
            .collect())
    }
}
