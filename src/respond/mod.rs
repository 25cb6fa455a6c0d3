//! L2: the response policy: what is to be done about a finding, whether, and why. Pure; time is event time.
//!
//! Uses `engine`'s findings, `rules`, `model` and the plain values of `config::policy`.
//!
//! In: what the engine found. Out: detections, incidents, and actions, each with a decision and its reason. Rate, place
//! and network, alone or together, never revoke: whether a finding may revoke was decided by its kind and only narrows here.

mod ageing;
mod budget;
mod incidents;
mod storm;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::config::{Clients, Response, Tenants};
use crate::engine::{Found, stable_id};
use crate::model::{
    Action, ActionKind, Decision, Member, Mode, Output, Severity, Subject, Target, Text,
};
use budget::Spent;
use incidents::{Incidents, Open};
use storm::Storms;

/// The policy: what the operator allows, and what has been decided so far.
#[derive(Debug, Clone)]
pub struct Policy {
    allowed: Allowed,
    state: State,
}

/// What the configuration says about acting.
#[derive(Debug, Clone)]
pub struct Allowed {
    /// Ceiling over every rule.
    pub mode: Mode,
    pub clients: Clients,
    pub tenants: Tenants,
    pub response: Response,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct State {
    incidents: Incidents,
    /// Spent on revocations, and on what only gets in somebody's way.
    spent: Spent,
    spent_mildly: Spent,
    storms: Storms,
}

/// Severity from which a person is told at once.
const NOTIFY_FROM: Severity = Severity::Medium;

impl Policy {
    pub fn new(allowed: Allowed) -> Self {
        Self {
            allowed,
            state: State::default(),
        }
    }

    /// Another configuration, same memory.
    pub fn replace(&mut self, allowed: Allowed) {
        self.allowed = allowed;
    }

    pub fn snapshot(&self) -> Vec<u8> {
        // JSON: a subject names its kind, which the compact form of the engine's state cannot read back.
        serde_json::to_vec(&self.state).unwrap_or_default()
    }

    #[must_use]
    pub fn restore(&mut self, snapshot: &[u8]) -> bool {
        match serde_json::from_slice(snapshot) {
            Ok(state) => {
                self.state = state;
                true
            }
            Err(_) => false,
        }
    }

    /// Incidents, closed incidents and storms that were forgotten before their time, because there were too many.
    pub const fn evicted(&self) -> u64 {
        self.state.incidents.evicted() + self.state.storms.evicted()
    }

    /// Decides about one finding and appends what comes of it.
    pub fn decide(&mut self, found: Found, out: &mut Output) {
        let mode = self.mode(&found);
        let storm = self.storm(&found);
        let open = self.state.incidents.file(&found, storm);
        let mut actions = Vec::new();
        for kind in wanted(&found)
            .into_iter()
            .filter(|kind| has_target(*kind, &found.detection.subject))
        {
            let action = propose(kind, &found, open);
            if open.decide(&action.id) {
                actions.push(action);
            }
        }
        if wants_notice(&found) && !open.notified {
            open.notified = true;
            actions.push(propose(ActionKind::Notify, &found, open));
        }
        let incident = open.incident.clone();
        for mut action in actions {
            (action.decision, action.reason) = self.decision(&action, mode, &found);
            out.actions.push(action);
        }
        out.members.push(Member {
            incident_id: incident.id.clone(),
            detection_id: found.detection.id.clone(),
        });
        out.incidents.retain(|known| known.id != incident.id);
        out.incidents.push(incident);
        out.detections.push(found.detection);
    }

    /// The lowest mode of all that apply, with the name of what set it.
    fn mode(&self, found: &Found) -> (Mode, &'static str) {
        let detection = &found.detection;
        let client = self
            .allowed
            .clients
            .get(detection.client_id.as_deref())
            .mode;
        let tenant = self.allowed.tenants.get(detection.tenant.as_deref()).mode;
        [
            (Some(self.allowed.mode), "the daemon"),
            (Some(found.rule.mode), "the rule"),
            (client, "the client"),
            (tenant, "the tenant"),
        ]
        .into_iter()
        .filter_map(|(mode, of)| mode.map(|mode| (mode, of)))
        .min_by_key(|(mode, _)| *mode)
        .unwrap_or((Mode::Observe, "the daemon"))
    }

    /// The storm that a finding belongs to, if many families of its client or from its network were found lately.
    fn storm(&mut self, found: &Found) -> Option<Subject> {
        let detection = &found.detection;
        let family = detection
            .family_id
            .as_ref()
            .filter(|_| wants_notice(found))?;
        let time = detection.time.as_millisecond();
        let client = detection
            .client_id
            .as_ref()
            .map(|id| Subject::Client(id.clone()));
        let network = found
            .foreign_network
            .map(|n| Subject::Network(n.to_string().into()));
        let mut storm = None;
        for subject in [client, network].into_iter().flatten() {
            let subject = incidents::scoped(found, subject);
            if self.state.storms.joins(&place_of(&subject), family, time) {
                storm = storm.or(Some(subject));
            }
        }
        storm
    }

    fn decision(
        &mut self,
        action: &Action,
        (mode, of): (Mode, &str),
        found: &Found,
    ) -> (Decision, Text) {
        let detection = &found.detection;
        let needs = action.kind.needs();
        if mode < needs {
            return (
                Decision::Observe,
                format!("mode of {of} is {mode}, {} needs {needs}", action.kind).into(),
            );
        }
        let never = |user: &Text| self.allowed.response.never_act_on.contains(user);
        if action.kind != ActionKind::Notify && detection.user_id.as_ref().is_some_and(never) {
            return (
                Decision::Suppress,
                "the user is on the list of those never to be acted on".into(),
            );
        }
        if matches!(action.kind, ActionKind::Notify | ActionKind::Review) {
            return (Decision::Execute, reason_of(action.kind, found).into());
        }
        let client = detection.client_id.clone().unwrap_or_else(|| "".into());
        let time = detection.time.as_millisecond();
        // A flood of mild measures must not use up what revocations need.
        let spent = if revokes(action.kind) {
            &mut self.state.spent
        } else {
            &mut self.state.spent_mildly
        };
        match spent.spend(
            self.allowed.response.budget,
            &client,
            &found.rule.name,
            time,
        ) {
            Ok(()) => (Decision::Execute, reason_of(action.kind, found).into()),
            Err(exhausted) => (Decision::Hold, exhausted.reason().into()),
        }
    }
}

fn place_of(subject: &Subject) -> Text {
    match subject {
        Subject::Client(id) => format!("client {id}").into(),
        Subject::Network(id) => format!("network {id}").into(),
        Subject::Family(id) | Subject::User(id) => id.clone(),
    }
}

/// What a finding asks for besides a notification. A late one is reviewed, never acted on.
fn wanted(found: &Found) -> Vec<ActionKind> {
    let suspicion = found.detection.severity >= Severity::Low;
    if found.late {
        return if found.grave {
            vec![ActionKind::Review]
        } else {
            Vec::new()
        };
    }
    if !found.grave {
        return if suspicion && found.rule.detect.kind() == "reuse" {
            vec![ActionKind::Review]
        } else {
            found
                .rule
                .response
                .iter()
                .copied()
                .filter(|kind| *kind == ActionKind::Throttle && suspicion)
                .collect()
        };
    }
    found
        .rule
        .response
        .iter()
        .copied()
        .filter(|kind| found.may_revoke || !revokes(*kind))
        .collect()
}

const fn revokes(kind: ActionKind) -> bool {
    matches!(
        kind,
        ActionKind::RevokeFamily | ActionKind::RevokeUser | ActionKind::LockUser
    )
}

fn wants_notice(found: &Found) -> bool {
    found.detection.severity >= NOTIFY_FROM && !found.late
}

fn reason_of(kind: ActionKind, found: &Found) -> &'static str {
    match kind {
        ActionKind::Notify => "severity is medium or above",
        ActionKind::Review if found.late => {
            "the event came later than the lateness: a person decides"
        }
        ActionKind::Review => "not proved: a person decides",
        _ if found.may_revoke => "theft is proved by the family's own tokens",
        _ => "the rule asks for it",
    }
}

/// Whether an action can name whom it is about: a network is nobody that could be challenged, slowed down or locked.
fn has_target(kind: ActionKind, subject: &Subject) -> bool {
    match kind {
        ActionKind::Notify | ActionKind::Review | ActionKind::BlockIp => true,
        ActionKind::Challenge
        | ActionKind::Throttle
        | ActionKind::RevokeFamily
        | ActionKind::RevokeUser
        | ActionKind::LockUser => !matches!(subject, Subject::Network(_)),
    }
}

fn propose(kind: ActionKind, found: &Found, open: &Open) -> Action {
    let detection = &found.detection;
    let target = Target {
        issuer: detection.issuer.clone(),
        tenant: detection.tenant.clone(),
        family_id: detection.family_id.clone(),
        user_id: detection.user_id.clone(),
        client_id: detection.client_id.clone(),
        session_id: detection.session_id.clone(),
        token_kind: detection.token_kind,
    };
    Action {
        id: action_id(kind, &target, &detection.subject, open),
        kind,
        target,
        detection_ids: vec![detection.id.clone()],
        incident_id: open.incident.id.clone(),
        rule: detection.rule.clone(),
        decision: Decision::Hold,
        reason: "".into(),
        event_time: detection.time,
    }
}

/// A function of action, target and episode: doing the same work twice decides the same action.
fn action_id(kind: ActionKind, target: &Target, subject: &Subject, open: &Open) -> Text {
    let of = |id: &Option<Text>| id.as_deref().unwrap_or("").to_owned();
    let whom = match kind {
        ActionKind::Notify | ActionKind::Review => open.incident.id.to_string(),
        ActionKind::RevokeUser | ActionKind::LockUser | ActionKind::Challenge => {
            of(&target.user_id)
        }
        ActionKind::RevokeFamily => of(&target.family_id),
        ActionKind::Throttle | ActionKind::BlockIp => match subject {
            Subject::Family(id) => id.to_string(),
            Subject::User(id) => format!("user {id}"),
            Subject::Client(id) => format!("client {id}"),
            Subject::Network(id) => format!("network {id}"),
        },
    };
    let episode = open.incident.episode.to_string();
    stable_id(&[
        "action",
        kind.as_str(),
        &target.issuer,
        &of(&target.tenant),
        &whom,
        &episode,
    ])
}
