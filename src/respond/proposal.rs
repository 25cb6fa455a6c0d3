//! Proposals: what a finding asks for, and how each action is named.
//!
//! Whether it is done is decided elsewhere; here is only what would be.

use crate::engine::{Found, stable_id};
use crate::model::{Action, ActionKind, Decision, Severity, Subject, Target, Text};
use crate::rules::{Ask, Class};

use super::incidents::Open;

/// Severity from which a person is told at once.
const NOTIFY_FROM: Severity = Severity::Medium;

/// What a finding asks for besides a notification. A late one is reviewed, never acted on.
pub(super) fn wanted(found: &Found) -> Vec<ActionKind> {
    let response = found.rule.response.iter().copied();
    match found.ask {
        Ask::Response if found.late => vec![ActionKind::Review],
        _ if found.late => Vec::new(),
        Ask::Response => response
            .filter(|kind| found.may_revoke || !revokes(*kind))
            .collect(),
        Ask::Throttle => response
            .filter(|kind| *kind == ActionKind::Throttle)
            .collect(),
        Ask::Review => vec![ActionKind::Review],
        Ask::Nothing => Vec::new(),
    }
}

pub(super) const fn revokes(kind: ActionKind) -> bool {
    matches!(
        kind,
        ActionKind::RevokeFamily | ActionKind::RevokeUser | ActionKind::LockUser
    )
}

pub(super) fn wants_notice(found: &Found) -> bool {
    found.detection.severity >= NOTIFY_FROM && !found.late
}

pub(super) fn reason_of(kind: ActionKind, found: &Found) -> &'static str {
    match kind {
        ActionKind::Notify => "severity is medium or above",
        ActionKind::Review if found.late => {
            "the event came later than the lateness: a person decides"
        }
        ActionKind::Review => "not proved: a person decides",
        _ if found.may_revoke && shows_two_holders(found) => {
            "theft is proved by the family's own tokens"
        }
        _ if found.may_revoke => "what was found is enough to end the family",
        _ => "the rule asks for it",
    }
}

/// Whether the proof is who presented the family's tokens, and not a combination or an end that had no effect.
fn shows_two_holders(found: &Found) -> bool {
    let classes = &found.rule.classes;
    classes.contains(&Class::Lineage) || classes.contains(&Class::Binding)
}

/// Whether an action can name whom it is about: a network or a device is nobody that could be challenged, slowed down or locked.
pub(super) fn has_target(kind: ActionKind, subject: &Subject) -> bool {
    match kind {
        ActionKind::Notify | ActionKind::Review | ActionKind::BlockIp => true,
        ActionKind::Challenge
        | ActionKind::Throttle
        | ActionKind::RevokeFamily
        | ActionKind::RevokeUser
        | ActionKind::LockUser => !matches!(subject, Subject::Network(_) | Subject::Key(_)),
    }
}

pub(super) fn propose(kind: ActionKind, found: &Found, open: &Open, variant: &str) -> Action {
    let detection = &found.detection;
    let target = Target {
        issuer: detection.issuer.clone(),
        tenant: detection.tenant.clone(),
        family_id: detection.family_id.clone(),
        user_id: detection.user_id.clone(),
        client_id: detection.client_id.clone(),
        session_id: detection.session_id.clone(),
        token_kind: detection.token_kind,
        network: network_of(kind, found),
    };
    Action {
        id: action_id(kind, &target, found, open, variant),
        kind,
        target,
        detection_ids: vec![detection.id.clone()],
        incident_id: open.incident.id.clone(),
        rule: detection.rule.clone(),
        decision: Decision::Hold,
        reason: "".into(),
        event_time: detection.time,
        undoes: None,
    }
}

/// The network that would be blocked: the finding's own, or that of the foreign branch.
fn network_of(kind: ActionKind, found: &Found) -> Option<Text> {
    match (kind, &found.detection.subject) {
        (ActionKind::BlockIp, Subject::Network(network)) => Some(network.clone()),
        (ActionKind::BlockIp, _) => Some(found.foreign_network?.to_string().into()),
        _ => None,
    }
}

/// A function of action, target and episode: doing the same work twice decides the same action. `variant` sets apart what
/// may come about in one episode and must not be taken for the same; the plain action has none.
fn action_id(kind: ActionKind, target: &Target, found: &Found, open: &Open, variant: &str) -> Text {
    let of = |id: &Option<Text>| id.as_deref().unwrap_or("").to_owned();
    let whom = match kind {
        ActionKind::Notify | ActionKind::Review => open.incident.id.to_string(),
        ActionKind::RevokeUser | ActionKind::LockUser | ActionKind::Challenge => {
            of(&target.user_id)
        }
        ActionKind::RevokeFamily => of(&target.family_id),
        ActionKind::Throttle | ActionKind::BlockIp => match &found.detection.subject {
            Subject::Family(id) => id.to_string(),
            Subject::User(id) => format!("user {id}"),
            Subject::Client(id) => format!("client {id}"),
            Subject::Network(id) => format!("network {id}"),
            Subject::Key(id) => format!("key {id}"),
        },
    };
    let episode = open.episode(found).to_string();
    let tenant = of(&target.tenant);
    let plain = [
        "action",
        kind.as_str(),
        &target.issuer,
        &tenant,
        &whom,
        &episode,
    ];
    if variant.is_empty() {
        return stable_id(&plain);
    }
    stable_id(&[&plain[..], &[variant]].concat())
}
