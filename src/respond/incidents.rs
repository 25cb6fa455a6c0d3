//! Incidents: which detections belong together, and whether a person has been told.
//!
//! Detections about a user and about that user's families are one incident. It closes itself after 24 h of event time
//! without a detection; what comes later is a new episode.

use serde::{Deserialize, Serialize};

use crate::engine::{Found, stable_id};
use crate::model::{Incident, IncidentState, Severity, Subject, Text, limits, without_name};

use super::ageing::Ageing;
use super::notices::Notices;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Incidents {
    open: Ageing<Subject, Open>,
    /// The next episode of a subject whose incidents were closed, or with whom something was held in a storm.
    closed: Ageing<Subject, u32>,
    /// The next episode of any is not below this: above all that were forgotten, because an id that comes twice would be
    /// taken for known, and its page not sent.
    next_episode: u32,
    evicted: u64,
    #[serde(skip)]
    bounds: Bounds,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Bounds {
    open: usize,
    closed: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            open: limits::INCIDENTS_OPEN_MAX,
            closed: limits::INCIDENTS_CLOSED_MAX,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) incident: Incident,
    /// A later, graver turn updates what people were told of and is no second page.
    pub(super) notices: Notices,
    /// Ids of the actions decided so far.
    pub(super) actions: Vec<Text>,
    /// In a storm: whose findings are filed here, with the episode that an incident of their own would have had.
    #[serde(default)]
    people: Ageing<Subject, u32>,
}

/// People of one storm that are remembered. Who is forgotten and found again is in another episode.
const PEOPLE_MAX: usize = 4096;

/// Actions remembered of one incident; a storm has many.
const ACTIONS_MAX: usize = 256;

impl Open {
    /// The episode of whom a finding is about, whatever it is filed in: a storm that ended an account is no later incident of
    /// that account, and what was held in one is not held for ever.
    pub(super) fn episode(&self, found: &Found) -> u32 {
        let own = self.people.get(&subject_of(found));
        own.copied().unwrap_or(self.incident.episode)
    }

    fn is_of(&self, user_id: &str) -> bool {
        self.incident.user_id.as_deref() == Some(user_id)
    }

    /// Takes a finding of another subject in.
    fn file(&mut self, own: &Subject, episode: u32, time: i64) {
        self.people.touch(own, time, || episode);
        if self.people.len() > PEOPLE_MAX {
            self.people.pop_oldest();
        }
    }

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
    /// The incident that a finding belongs to, opened if there is none, with the finding counted as one of this severity.
    pub(super) fn file(
        &mut self,
        found: &Found,
        storm: Option<Subject>,
        severity: Severity,
    ) -> &mut Open {
        let detection = &found.detection;
        let time = detection.time.as_millisecond();
        self.close_old(time);
        let own = subject_of(found);
        // A subject that has an incident of its own stays in it, also when a storm begins around it.
        let storm = storm.filter(|_| self.open.get(&own).is_none());
        let subject = storm.unwrap_or_else(|| own.clone());
        let (episode, of_own) = (self.next_of(&subject), self.next_of(&own));
        let open = self.open.touch(&subject, time, || Open {
            incident: begin(found, subject.clone(), episode),
            notices: Notices::default(),
            actions: Vec::new(),
            people: Ageing::default(),
        });
        if own != subject {
            open.file(&own, of_own, time);
        }
        let incident = &mut open.incident;
        incident.detections += 1;
        if severity > incident.severity && !open.notices.begun() {
            // The subject of a mail thread stays what it was in the first mail.
            incident.summary = detection.summary.clone();
        }
        incident.severity = incident.severity.max(severity);
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

    /// A person has taken it on.
    pub(super) fn acknowledge(&mut self, subject: &Subject, id: &Text) {
        if let Some(open) = self.open.get_mut(subject)
            && open.incident.id == *id
        {
            open.notices.acknowledged();
        }
    }

    /// It has ended: what is found of the subject from now on is another episode.
    pub(super) fn close(&mut self, subject: &Subject, id: &Text) {
        if self
            .open
            .get(subject)
            .is_none_or(|open| open.incident.id != *id)
        {
            return;
        }
        if let Some((updated_at, open)) = self.open.remove(subject) {
            self.count_closed(subject, updated_at, &open);
        }
    }

    /// Forgets a user, with the incidents by the end of the user's name; those of others, as of a storm, lose the name.
    pub(super) fn forget(&mut self, user_id: &str, end: &str) {
        let keep = |subject: &Subject| !matches!(subject, Subject::User(id) if id.ends_with(end));
        self.open.retain(keep);
        self.closed.retain(keep);
        // Of a family that was known before its user.
        let of_family = |(subject, open): (&Subject, &Open)| {
            (matches!(subject, Subject::Family(_)) && open.is_of(user_id)).then(|| subject.clone())
        };
        let of_families: Vec<Subject> = self.open.iter().filter_map(of_family).collect();
        for family in &of_families {
            self.open.remove(family);
        }
        for open in self.open.values_mut() {
            open.people.retain(keep);
            if open.is_of(user_id) {
                open.incident.user_id = None;
            }
            if let Some(summary) = without_name(&open.incident.summary, user_id) {
                open.incident.summary = summary.into();
            }
        }
    }

    fn close_old(&mut self, time: i64) {
        let idle = i64::try_from(limits::INCIDENT_IDLE.as_millis()).unwrap_or(i64::MAX);
        let until = time.saturating_sub(idle);
        while let Some((subject, updated_at, open)) = self.open.pop_until(until) {
            self.count_closed(&subject, updated_at, &open);
        }
        while self.open.len() > self.bounds.open
            && let Some((subject, updated_at, open)) = self.open.pop_oldest()
        {
            self.evicted += 1;
            self.count_closed(&subject, updated_at, &open);
        }
        while self.closed.len() > self.bounds.closed
            && let Some((_, _, next)) = self.closed.pop_oldest()
        {
            self.evicted += 1;
            self.next_episode = self.next_episode.max(next);
        }
    }

    fn next_of(&self, subject: &Subject) -> u32 {
        let known = self.closed.get(subject).copied();
        known.unwrap_or(0).max(self.next_episode)
    }

    /// Something was held in a storm, and may never be done: found again outside it, the subject is in another episode.
    pub(super) fn held(&mut self, found: &Found, storm: &Subject) {
        let own = subject_of(found);
        let episode = self.open.get(storm).and_then(|open| open.people.get(&own));
        if let Some(episode) = episode.copied() {
            self.count(&own, found.detection.time.as_millisecond(), episode);
        }
    }

    fn count_closed(&mut self, subject: &Subject, updated_at: i64, open: &Open) {
        self.count(subject, updated_at, open.incident.episode);
        for (person, episode) in open.people.iter() {
            self.count(person, updated_at, *episode);
        }
    }

    /// This episode of a subject is over.
    fn count(&mut self, subject: &Subject, time: i64, episode: u32) {
        let next = self.closed.touch(subject, time, || 0);
        *next = (*next).max(episode.saturating_add(1));
    }

    /// Also those of subjects whose incidents are known to be closed: of them too there may have been more.
    pub(super) fn begin_episodes_at(&mut self, episode: u32) {
        self.next_episode = self.next_episode.max(episode);
        self.closed = Ageing::default();
    }

    /// Incidents closed, and closed ones forgotten, before their time.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
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
        resolution: None,
        closed_at: None,
    }
}

fn incident_id(subject: &Subject, episode: u32) -> Text {
    let (kind, id) = subject.parts();
    stable_id(&["incident", kind, id, &episode.to_string()])
}

/// The user where one is known, else what the detection is about; within issuer and tenant.
pub(super) fn subject_of(found: &Found) -> Subject {
    let detection = &found.detection;
    match (&detection.subject, &detection.user_id) {
        (Subject::Client(_) | Subject::Network(_) | Subject::Key(_), _) | (_, None) => {
            scoped(found, detection.subject.clone())
        }
        (_, Some(user)) => scoped(found, Subject::User(user.clone())),
    }
}

pub(super) fn scoped(found: &Found, subject: Subject) -> Subject {
    let detection = &found.detection;
    within(&detection.issuer, detection.tenant.as_deref(), subject)
}

/// Two servers may give two people one id.
pub(super) fn within(issuer: &str, tenant: Option<&str>, subject: Subject) -> Subject {
    let scope = |id: Text| -> Text { format!("{issuer}/{}/{id}", tenant.unwrap_or("-")).into() };
    match subject {
        Subject::Family(id) => Subject::Family(scope(id)),
        Subject::User(id) => Subject::User(scope(id)),
        Subject::Client(id) => Subject::Client(scope(id)),
        Subject::Network(id) => Subject::Network(scope(id)),
        Subject::Key(id) => Subject::Key(scope(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::respond::tests::{Finder, HOUR};

    fn bounded(open: usize, closed: usize) -> Incidents {
        Incidents {
            bounds: Bounds { open, closed },
            ..Incidents::default()
        }
    }

    fn file(incidents: &mut Incidents, user: &str, time: i64) -> Incident {
        let found = Finder::new().theft(user, user, "web", time);
        let severity = found.detection.severity;
        incidents.file(&found, None, severity).incident.clone()
    }

    #[test]
    fn what_closed_longest_ago_is_forgotten_first_and_no_id_comes_twice() {
        let mut incidents = bounded(9, 2);
        let days = ["zoe", "alice", "yan", "xia"];
        let first: Vec<Incident> = (0..)
            .zip(days)
            .map(|(n, user)| file(&mut incidents, user, n * 25 * HOUR))
            .collect();
        assert_eq!(incidents.closed.len(), 2);
        assert_eq!(incidents.evicted(), 1);

        let alice = file(&mut incidents, "alice", 80 * HOUR);
        assert_eq!(alice.episode, 1, "known, though first by name");
        let zoe = file(&mut incidents, "zoe", 81 * HOUR);
        assert_ne!(zoe.id, first[0].id, "forgotten");
    }

    #[test]
    fn too_many_at_once_close_by_age_and_are_counted() {
        let mut incidents = bounded(2, 9);
        let first = file(&mut incidents, "zoe", 0);
        for (user, time) in [("alice", 1), ("yan", 2), ("zoe", 3)] {
            file(&mut incidents, user, time);
        }
        let zoe = file(&mut incidents, "zoe", 4);
        assert_eq!((zoe.episode, incidents.evicted()), (1, 2));
        assert_ne!(zoe.id, first.id);
        assert_eq!(zoe.detections, 2);
        let yan = file(&mut incidents, "yan", 5);
        assert_eq!((yan.episode, yan.detections), (0, 2));
    }
}
