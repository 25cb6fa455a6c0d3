//! Measures that a system of one's own takes for a while: a gateway that slows somebody down, a firewall that blocks a
//! network, an application that asks a user for more.
//!
//! One signed request asks for the measure and says when it ends, a second one under another id takes it back: at the end
//! of its time, or when a person says so. The receiver may keep the time itself and take the second as a confirmation; one
//! that cannot keep time just waits for it. Nothing here ends a login: for that the authorization server is asked.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::config;
use crate::model::{Action, ActionKind, Evidence, Text, Timestamp};

use super::signed::Signed;
use super::{Attempt, Claim, Declared, Finding, Revoker};

pub(super) struct Measures {
    name: Text,
    issuers: Vec<Text>,
    actions: Vec<ActionKind>,
    ttl: Duration,
    signed: Signed,
}

impl Measures {
    pub(super) fn new(
        revoker: &config::Revoker,
        settings: &config::WebhookRevoker,
        now: fn() -> Timestamp,
    ) -> Result<Self, String> {
        let transport = (settings.timeout, settings.ca_file.as_deref());
        Ok(Self {
            name: revoker.name.clone(),
            issuers: revoker.issuers.clone(),
            actions: settings.actions.clone(),
            ttl: settings.ttl,
            signed: Signed::new(&settings.url, Some(&settings.secret), transport, now)?,
        })
    }

    async fn ask(&self, action: &Action) -> Attempt {
        if action.kind == ActionKind::BlockIp && action.target.network.is_none() {
            return Attempt::Refused {
                reason: format!(
                    "{}: the finding names no network that could be blocked",
                    self.name
                )
                .into(),
            };
        }
        let ends = self.signed.now() + self.ttl;
        let body = body(action, self.ttl, ends).to_string();
        let what = format!("{} by {}", action.kind, self.name);
        match self.signed.post(&what, &action.id, body).await {
            Ok(answer) => Attempt::Done {
                detail: match action.undoes {
                    None => format!(
                        "{} answered {}, in force until {}",
                        answer.host,
                        answer.status,
                        ends.strftime("%Y-%m-%d %H:%M:%S UTC")
                    ),
                    Some(_) => format!("{} answered {}, taken back", answer.host, answer.status),
                }
                .into(),
                evidence: Evidence::new().with("status", i64::from(answer.status)),
            },
            Err(attempt) => attempt,
        }
    }
}

impl Revoker for Measures {
    fn name(&self) -> &Text {
        &self.name
    }

    fn claims<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Claim> {
        let is_ours = self.actions.contains(&action.kind)
            && super::is_issuer_of(&self.issuers, &action.target.issuer);
        Box::pin(std::future::ready(if is_ours {
            Claim::Mine
        } else {
            Claim::NotMine
        }))
    }

    fn perform<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Attempt> {
        Box::pin(self.ask(action))
    }

    fn lasts(&self) -> Option<Duration> {
        Some(self.ttl)
    }

    fn inspect<'a>(&'a self, _: &'a Declared, _: fn() -> Timestamp) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(self.signed.inspect())
    }
}

/// Stable: members are added, never changed.
fn body(action: &Action, ttl: Duration, ends: Timestamp) -> Value {
    let mut body = json!({
        "version": 1,
        "type": "measure",
        "do": if action.undoes.is_some() { "undo" } else { "apply" },
        "id": action.id,
        "action": action.kind,
        "target": action.target,
        "rule": action.rule,
        "reason": action.reason,
        "incident_id": action.incident_id,
        "event_time": action.event_time,
    });
    if let Some(undone) = &action.undoes {
        body["undoes"] = json!(undone);
    } else {
        body["ttl_seconds"] = json!(ttl.as_secs());
        body["expires_at"] = json!(ends);
    }
    body
}
