//! The audit log's nouns: a note that is to be told, and where the log ends.

use serde::{Deserialize, Serialize};

use super::{Action, ActionState, By, Deed, Evidence, Incident, Matchers, Subject, Text, limits};

/// Something that was decided or done, by the daemon or by a person, before it has its place in the log.
///
/// What is about a person (ids, addresses, free text that may name one) is told apart from the rest: it can be forgotten
/// later without breaking the log.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditNote {
    pub what: AuditKind,
    /// Who did it: the daemon, or a person as far as known.
    pub who: Text,
    /// Stays as long as the log does.
    pub open: Evidence,
    /// Goes when the person is to be forgotten.
    pub personal: Option<Evidence>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditKind {
    /// What is to be done to whom, and whether.
    Decision,
    /// A call is about to be made.
    Attempt,
    /// What became of it.
    Outcome,
    Started,
    Stopped,
    Reloaded,
    ReloadRefused,
    /// Somebody had no token for the API, or a wrong one.
    LoginRefused,
    Approved,
    Refused,
    Retried,
    /// A measure was taken back before its time.
    Undone,
    /// An action was asked for by hand.
    Asked,
    Silenced,
    SilenceEnded,
    Acknowledged,
    Closed,
    BreakerHalfOpened,
    /// A person was forgotten.
    Erased,
    /// The oldest entries went, as they were older than the configuration allows.
    Pruned,
}

super::event::names!(AuditKind {
    Decision = "decision", Attempt = "attempt", Outcome = "outcome", Started = "started", Stopped = "stopped",
    Reloaded = "reloaded", ReloadRefused = "reload_refused", LoginRefused = "login_refused",
    Approved = "approved", Refused = "refused", Retried = "retried", Undone = "undone", Asked = "asked", Silenced = "silenced",
    SilenceEnded = "silence_ended", Acknowledged = "acknowledged", Closed = "closed",
    BreakerHalfOpened = "breaker_half_opened", Erased = "erased", Pruned = "pruned",
});

/// The daemon itself, in `who`.
pub const DAEMON: &str = "tokenwarden";

impl AuditNote {
    /// A note of the daemon, about nobody.
    pub fn of_daemon(what: AuditKind) -> Self {
        Self::of(what, DAEMON)
    }

    pub fn of(what: AuditKind, who: &str) -> Self {
        Self {
            what,
            who: cut(who).into(),
            open: Evidence::new(),
            personal: None,
        }
    }

    /// Adds a fact that may stay.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<super::Value>) -> Self {
        self.open = self.open.with(name, value);
        self
    }

    /// Says why, in words that name nobody.
    #[must_use]
    pub fn because(self, why: &str) -> Self {
        self.with("why", cut(why))
    }

    /// Adds a fact that is about a person.
    #[must_use]
    pub fn about(mut self, name: &str, value: Option<&Text>) -> Self {
        let known = self.personal.unwrap_or_default();
        self.personal = Some(known.with_some(name, value.map(|value| cut(value))));
        self
    }

    /// Adds whom an action is about. Its ids are personal as well: they are functions of the person's.
    #[must_use]
    pub fn about_target_of(self, action: &Action) -> Self {
        let target = &action.target;
        self.about("user_id", target.user_id.as_ref())
            .about("family_id", target.family_id.as_ref())
            .about("session_id", target.session_id.as_ref())
            .about("action_id", Some(&action.id))
            .about("incident_id", Some(&action.incident_id))
            .about("detection_id", action.detection_ids.first())
    }

    /// What a person did.
    pub fn of_person(by: &By, did: &Deed) -> Self {
        let note = |what| Self::of(what, &by.who);
        let of_action = |what, (action, incident): (&Text, &Text)| {
            note(what)
                .about("action_id", Some(action))
                .about("incident_id", Some(incident))
        };
        let of_incident = |what, id: &Text| note(what).about("incident_id", Some(id));
        let told = match did {
            Deed::Approved {
                action_id,
                incident_id,
            } => of_action(AuditKind::Approved, (action_id, incident_id)),
            Deed::Refused {
                action_id,
                incident_id,
            } => of_action(AuditKind::Refused, (action_id, incident_id)),
            Deed::Retried {
                action_id,
                incident_id,
            } => of_action(AuditKind::Retried, (action_id, incident_id)),
            Deed::Undone {
                action_id,
                incident_id,
            } => of_action(AuditKind::Undone, (action_id, incident_id)),
            Deed::Asked { action } => note(AuditKind::Asked)
                .with("action", action.kind.as_str())
                .about_target_of(action),
            Deed::Silenced { silence } => note(AuditKind::Silenced)
                .with("silence", &silence.id)
                .with("ends_at", silence.ends_at.to_string())
                .about_matchers(&silence.matchers),
            Deed::SilenceEnded { silence_id } => {
                note(AuditKind::SilenceEnded).with("silence", silence_id)
            }
            Deed::Acknowledged { incident_id, .. } => {
                of_incident(AuditKind::Acknowledged, incident_id)
            }
            Deed::Closed {
                incident_id,
                resolution,
                ..
            } => {
                of_incident(AuditKind::Closed, incident_id).with("resolution", resolution.as_str())
            }
            Deed::BreakerHalfOpened { client } => {
                note(AuditKind::BreakerHalfOpened).with("client_id", client.key())
            }
        };
        told.about("why", Some(&by.why))
    }

    /// Adds whom an incident is about.
    #[must_use]
    pub fn about_incident(self, incident: &Incident) -> Self {
        let scope = format!(
            "{}/{}/",
            incident.issuer,
            incident.tenant.as_deref().unwrap_or("-")
        );
        let (_, id) = incident.subject.parts();
        let plain: Option<Text> = id.strip_prefix(&*scope).map(Into::into);
        let id = plain.unwrap_or_else(|| id.clone());
        let note = self.about("user_id", incident.user_id.as_ref());
        match incident.subject {
            Subject::User(_) => note,
            Subject::Family(_) => note.about("family_id", Some(&id)),
            Subject::Client(_) => note.with("client_id", id),
            Subject::Network(_) => note.about("network", Some(&id)),
            Subject::Key(_) => note.about("key", Some(&id)),
        }
    }

    fn about_matchers(mut self, matchers: &Matchers) -> Self {
        self.open = self
            .open
            .with_some("rule", matchers.rule.as_ref())
            .with_some("client_id", matchers.client_id.as_ref());
        self.about("user_id", matchers.user_id.as_ref())
            .about("family_id", matchers.family_id.as_ref())
    }

    fn of_action(what: AuditKind, action: &Action) -> Self {
        let target = &action.target;
        let mut note = Self::of_daemon(what)
            .with("action", action.kind.as_str())
            .with("rule", &action.rule)
            .with("issuer", &target.issuer);
        note.open = note
            .open
            .with_some("tenant", target.tenant.as_ref())
            .with_some("client_id", target.client_id.as_ref());
        note.about_target_of(action)
    }

    /// That an action was decided, and how.
    pub fn decision(action: &Action) -> Self {
        Self::of_action(AuditKind::Decision, action)
            .with("decision", action.decision.as_str())
            .about("why", Some(&action.reason))
    }

    /// That these performers are about to try, for the so-manieth time.
    pub fn attempt(action: &Action, performers: &[Text], attempts: i64) -> Self {
        Self::of_action(AuditKind::Attempt, action)
            .with("attempt", attempts)
            .with("performers", performers.join(", "))
    }

    /// What a try ended with: `ready` says that it will be made again.
    pub fn outcome(action: &Action, state: ActionState, why: &Text) -> Self {
        Self::of_action(AuditKind::Outcome, action)
            .with("state", state.as_str())
            .about("why", Some(why))
    }
}

fn cut(text: &str) -> String {
    text.chars().take(limits::AUDIT_TEXT_CHARS_MAX).collect()
}

/// How far a log goes: number and hash of its last entry, hex. Who keeps one can tell later whether anything before it
/// was changed or cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    pub seq: u64,
    pub hash: Text,
}

impl std::fmt::Display for AuditHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}
