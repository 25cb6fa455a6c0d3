//! A bulletin tells of many incidents at once: the daily digest, the summary of what came too late to act on, and that of
//! what was too much for one hour.
//!
//! It holds facts as they were when it was made, not its words: a repeated try says the same, and each receiver writes
//! them in its own form. Lists are bounded where they are made.

use serde::{Deserialize, Serialize};

use super::{ActionKind, ActionState, AuditHead, Incident, Mode, Severity, Text, Timestamp, Use};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bulletin {
    /// Also the id of the action that sends it.
    pub id: Text,
    /// Whom it is for; absent: every receiver.
    pub receiver: Option<Text>,
    /// The stretch of wall time that it tells of, without its end.
    pub since: Timestamp,
    pub until: Timestamp,
    pub news: News,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum News {
    Digest(Digest),
    TooLate(TooLate),
    More(More),
}

/// A day: what was only watched, what was done, what waits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    /// Ceiling over every rule.
    pub mode: Mode,
    /// Most would-be revocations first.
    pub clients: Vec<ClientDay>,
    /// Clients that are not listed.
    pub more_clients: u64,
    /// Most detections first.
    pub rules: Vec<RuleDay>,
    /// What was decided to be done.
    pub performed: Vec<Performed>,
    /// All that waits for a person now.
    pub waiting: Vec<Waiting>,
    /// Open incidents that were listed for review in this stretch: gravest first, the first few.
    #[serde(default)]
    pub review: Vec<ListedIncident>,
    #[serde(default)]
    pub review_total: u64,
    pub rejected: Vec<Rejected>,
    /// When each source was last read; shows that the daemon is alive.
    pub sources: Vec<LastRead>,
    /// How far the audit log goes: noted outside the store, it shows later whether the log was cut off or written anew.
    #[serde(default)]
    pub audit: Option<AuditHead>,
}

impl Digest {
    /// Whether anything happened that a person may want to know. What has been waiting was told when it was new.
    pub fn has_news(&self) -> bool {
        let happened = [
            self.clients.is_empty(),
            self.rules.is_empty(),
            self.performed.is_empty(),
            self.rejected.is_empty(),
            self.review_total == 0,
        ];
        happened.contains(&false) || self.waiting.iter().any(|waiting| waiting.new > 0)
    }

    pub fn would_be_revocations(&self) -> u64 {
        self.clients.iter().map(|client| client.revocations).sum()
    }
}

/// What `observe` kept back at one client, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientDay {
    pub client_id: Option<Text>,
    /// Families and users that would have been revoked, and by which rules.
    pub revocations: u64,
    pub rules: Vec<(Text, u64)>,
    /// What would have been done besides: challenges, throttling, blocking.
    pub other_measures: u64,
    pub fates: Fates,
    /// Reuse without proof of two holders.
    pub suspected: u64,
    /// Honest clients that the server refused.
    pub client_faults: u64,
}

/// What became of families that would have been revoked; each counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fates {
    /// Accepted again from where the foreign holder had been.
    pub used_by_foreign: u64,
    /// Accepted again, and only from where the owner had been.
    pub used_by_own: u64,
    /// Accepted again, from elsewhere.
    pub used_by_unknown: u64,
    /// Ended by the server or by people: refused since, or logged out.
    pub closed: u64,
    /// Not seen again.
    pub silent: u64,
    /// Nothing is remembered of it, or nobody could be asked.
    pub unknown: u64,
}

impl Fates {
    pub fn add(&mut self, fate: Fate) {
        let count = match fate {
            Fate::UsedByForeign => &mut self.used_by_foreign,
            Fate::UsedByOwn => &mut self.used_by_own,
            Fate::UsedByUnknown => &mut self.used_by_unknown,
            Fate::Closed => &mut self.closed,
            Fate::Silent => &mut self.silent,
            Fate::Unknown => &mut self.unknown,
        };
        *count += 1;
    }
}

/// What became of one family after its theft was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    UsedByForeign,
    UsedByOwn,
    UsedByUnknown,
    Closed,
    Silent,
    Unknown,
}

/// What the events showed of a family after some time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Afterwards {
    pub accepted: Vec<Use>,
    /// Of those the ones of a login that had begun before.
    pub lived_on: Vec<Use>,
    pub refused: u64,
    /// A token was refused that would have been good.
    pub dead: bool,
    /// A person ended it.
    pub ended: bool,
    /// The server's events tell of an end, by whomever.
    pub end_told: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleDay {
    pub rule: Text,
    pub gravest: Severity,
    pub detections: u64,
}

/// Actions with the same end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Performed {
    pub kind: ActionKind,
    pub state: ActionState,
    pub actions: u64,
}

/// Actions that wait for a person, by what they are alike in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    pub client_id: Option<Text>,
    pub kind: ActionKind,
    pub rule: Text,
    pub actions: u64,
    /// Of these so many came in the bulletin's stretch of time.
    pub new: u64,
    /// Event time of the oldest.
    pub oldest: Timestamp,
}

/// Records that could not be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    pub source: Text,
    pub reason: Text,
    pub records: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastRead {
    pub source: Text,
    pub at: Timestamp,
}

/// What was held because its events were too old: one summary in place of a mail for each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TooLate {
    /// Most first; without the notifications, which this takes the place of.
    pub held: Vec<Waiting>,
    /// Gravest first, the first few.
    pub incidents: Vec<ListedIncident>,
    pub incidents_total: u64,
    /// How old an event may be, in seconds.
    pub act_within_s: u64,
}

/// Incidents that a receiver was not told of one by one, because it had too many messages within an hour.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct More {
    /// Gravest first, the first few.
    pub incidents: Vec<ListedIncident>,
    pub incidents_total: u64,
    /// How many messages within an hour are too many; absent: it has no limit any more.
    pub per_hour_max: Option<u32>,
}

/// An incident in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListedIncident {
    pub id: Text,
    pub severity: Severity,
    pub opened_at: Timestamp,
    pub user_id: Option<Text>,
    pub client_id: Option<Text>,
    pub summary: Text,
}

impl From<Incident> for ListedIncident {
    fn from(incident: Incident) -> Self {
        Self {
            id: incident.id,
            severity: incident.severity,
            opened_at: incident.opened_at,
            user_id: incident.user_id,
            client_id: incident.client_id,
            summary: incident.summary,
        }
    }
}
