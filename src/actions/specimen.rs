//! A made-up incident, for `notify test`: a real notification with every part that a real one may have.
//!
//! Addresses and names are those reserved for documentation, so that nobody looks for them.

use crate::model::{
    Action, ActionKind, ActionRecord, ActionState, Decision, Detection, Evidence, Incident,
    IncidentState, Severity, Subject, Target, Timestamp, TokenKind, Value,
};

use super::{Notification, RuleNote};

/// `id` makes it a mail of its own: mail programs fold what has the same one.
pub fn specimen(id: &str, now: Timestamp) -> Notification {
    let notify = action(id, ActionKind::Notify, now);
    let revoked = ActionRecord {
        action: action(&format!("{id}-revoke"), ActionKind::RevokeFamily, now),
        state: ActionState::Done,
        verified: None,
        attempts: 1,
        finished_at: Some(now),
        outcome: Some("online session 5f0c9a0e deleted".into()),
    };
    Notification {
        incident: incident(&notify, now),
        detections: vec![detection(&notify.target, now)],
        actions: vec![revoked],
        rules: vec![RuleNote {
            rule: "token-reuse".into(),
            description: "Two parties use the same family of refresh tokens.".into(),
            runbook: None,
        }],
        remarks: Vec::new(),
        specimen: true,
        action: notify,
    }
}

fn action(id: &str, kind: ActionKind, now: Timestamp) -> Action {
    Action {
        id: id.into(),
        kind,
        target: Target {
            issuer: "example".into(),
            tenant: Some("example".into()),
            family_id: Some("specimen-family".into()),
            user_id: Some("alice@example.com".into()),
            client_id: Some("web".into()),
            session_id: Some("specimen-session".into()),
            token_kind: Some(TokenKind::Online),
            network: None,
        },
        detection_ids: vec!["specimen-detection".into()],
        incident_id: format!("specimen-{id}").into(),
        rule: "token-reuse".into(),
        decision: Decision::Execute,
        reason: "a specimen".into(),
        event_time: now,
        undoes: None,
    }
}

fn incident(notify: &Action, now: Timestamp) -> Incident {
    let target = &notify.target;
    Incident {
        id: notify.incident_id.clone(),
        issuer: target.issuer.clone(),
        tenant: target.tenant.clone(),
        subject: Subject::User("alice@example.com".into()),
        episode: 0,
        state: IncidentState::Contained,
        severity: Severity::Critical,
        opened_at: now,
        updated_at: now,
        user_id: target.user_id.clone(),
        client_id: target.client_id.clone(),
        detections: 1,
        summary: SUMMARY.into(),
        resolution: None,
        closed_at: None,
    }
}

const SUMMARY: &str = "A refresh token of client web was used by two parties";

fn detection(target: &Target, now: Timestamp) -> Detection {
    Detection {
        id: "specimen-detection".into(),
        rule: "token-reuse".into(),
        kind: "reuse".into(),
        severity: Severity::Critical,
        time: now,
        event_id: "specimen-event".into(),
        subject: Subject::Family("specimen-family".into()),
        issuer: target.issuer.clone(),
        tenant: target.tenant.clone(),
        user_id: target.user_id.clone(),
        client_id: target.client_id.clone(),
        family_id: target.family_id.clone(),
        session_id: target.session_id.clone(),
        token_kind: target.token_kind,
        ip_address: "198.51.100.20".parse().ok(),
        summary: SUMMARY.into(),
        evidence: evidence(now),
    }
}

fn evidence(now: Timestamp) -> Evidence {
    let owner = branch("192.0.2.10", "Berlin, DE", "Firefox on Linux", now);
    let thief = branch("198.51.100.20", "Lagos, NG", "curl", now);
    let use_of = |token: &str, answer: &str, ip_address: &str| {
        Value::Map(
            Evidence::new()
                .with("time", now.to_string())
                .with("token", token)
                .with("answer", answer)
                .with("ip_address", ip_address),
        )
    };
    let timeline = vec![
        use_of("generation 1", "accepted", "192.0.2.10"),
        use_of("generation 1", "refused", "198.51.100.20"),
    ];
    Evidence::new()
        .with("verdict", "theft")
        .with("generation_gap", 1)
        .with("answer", "refused")
        .with("owner", owner)
        .with("thief", thief)
        .with("timeline", timeline)
}

fn branch(ip_address: &str, place: &str, agent: &str, now: Timestamp) -> Evidence {
    Evidence::new()
        .with("ip_address", ip_address)
        .with("place", place)
        .with("agent", agent)
        .with("last_seen", now.to_string())
}
