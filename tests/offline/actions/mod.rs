//! Actions against small servers on loopback that answer what a test scripts, and mails as they are written.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod alertmanager;
mod bulletin;
mod client_rules;
mod http_examples;
mod keycloak;
mod mail;
pub(crate) mod measures;
mod pagerduty;
pub(crate) mod server;
mod slack;
mod stories;
mod webhook;

pub(crate) use mail::Mail;

use std::time::Duration;

use tokenwarden::actions::{Attempt, Revoker, revoker};
use tokenwarden::config::{self, HttpAuth, HttpRevoker, RevokerKind};
use tokenwarden::model::{Action, ActionKind, Decision, Target, TokenKind};

/// An action as the response policy would make it.
pub(crate) fn action(kind: ActionKind) -> Action {
    Action {
        id: "act-1".into(),
        kind,
        target: Target {
            issuer: "sso".into(),
            tenant: Some("corp".into()),
            family_id: Some("fam-1".into()),
            user_id: Some("auth0|alice/1".into()),
            client_id: Some("web".into()),
            session_id: Some("session-1".into()),
            token_kind: Some(TokenKind::Online),
            network: None,
        },
        detection_ids: vec!["det-1".into()],
        incident_id: "inc-1".into(),
        rule: "token-reuse".into(),
        decision: Decision::Execute,
        reason: "enforce".into(),
        event_time: "2026-11-20T10:20:00Z".parse().unwrap(),
        undoes: None,
    }
}

pub(crate) fn http_settings(url: &str) -> HttpRevoker {
    HttpRevoker {
        actions: vec![ActionKind::RevokeFamily],
        method: "POST".into(),
        url: url.into(),
        headers: std::collections::BTreeMap::new(),
        body: None,
        success: vec![200, 202, 204],
        retry: vec![],
        auth: HttpAuth::None,
        timeout: Duration::from_secs(5),
        ca_file: None,
    }
}

pub(crate) fn http(settings: HttpRevoker) -> std::sync::Arc<dyn Revoker> {
    let settings = config::Revoker {
        name: "api".into(),
        issuers: vec![],
        limits: tokenwarden::config::TargetLimits::default(),
        kind: RevokerKind::Http(settings),
    };
    revoker(&settings, true, jiff::Timestamp::now).unwrap()
}

pub(crate) fn reason(attempt: &Attempt) -> &str {
    match attempt {
        Attempt::Retry { reason, .. } | Attempt::Refused { reason } => reason,
        Attempt::Done { detail, .. } | Attempt::Answered { detail, .. } => panic!("done: {detail}"),
    }
}

pub(crate) fn detail(attempt: &Attempt) -> &str {
    match attempt {
        Attempt::Done { detail, .. } | Attempt::Answered { detail, .. } => detail,
        other => panic!("not done: {other:?}"),
    }
}
