//! All configured revokers: an action goes to the first that it is for.

use std::sync::Arc;

use crate::config;
use crate::model::{Action, Target, Text, Timestamp, limits};

use super::{Attempt, Claim, Revoker, http, keycloak, measures};

/// The revokers in the order of the file.
#[derive(Clone, Default)]
pub struct Revokers {
    list: Vec<Arc<dyn Revoker>>,
}

/// Makes one revoker. `is_alone`: no other of its kind serves the same issuers, so that an unnamed realm must be its own;
/// `now` is wall time, for the stamp of a signature.
pub fn revoker(
    settings: &config::Revoker,
    is_alone: bool,
    now: fn() -> Timestamp,
) -> Result<Arc<dyn Revoker>, String> {
    let made: Result<Arc<dyn Revoker>, String> = match &settings.kind {
        config::RevokerKind::Keycloak(server) => {
            keycloak::Keycloak::new(settings, server, is_alone).map(|made| Arc::new(made) as _)
        }
        config::RevokerKind::Http(api) => {
            http::Http::new(settings, api).map(|made| Arc::new(made) as _)
        }
        config::RevokerKind::Webhook(webhook) => {
            measures::Measures::new(settings, webhook, now).map(|made| Arc::new(made) as _)
        }
    };
    made.map_err(|fault| format!("revoker {}: {fault}", settings.name))
}

impl Revokers {
    /// Makes them all, or tells all faults.
    pub fn new(settings: &[config::Revoker], now: fn() -> Timestamp) -> Result<Self, Vec<String>> {
        let realms = settings
            .iter()
            .filter(|revoker| matches!(revoker.kind, config::RevokerKind::Keycloak(_)))
            .count();
        let mut list = Vec::new();
        let mut faults = Vec::new();
        for settings in settings {
            match revoker(settings, realms == 1, now) {
                Ok(made) => list.push(made),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() {
            Ok(Self { list })
        } else {
            Err(faults)
        }
    }

    pub fn from_list(list: Vec<Arc<dyn Revoker>>) -> Self {
        Self { list }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Revoker>> {
        self.list.iter()
    }

    /// What a person calls the user.
    pub async fn user_name(&self, target: &Target) -> Option<String> {
        for revoker in &self.list {
            if let Some(name) = revoker.user_name(target).await {
                return Some(name);
            }
        }
        None
    }

    /// A command by which a person can do the same.
    pub fn by_hand(&self, action: &Action) -> Option<String> {
        self.list.iter().find_map(|revoker| revoker.by_hand(action))
    }

    /// The first revoker that the action is for, or how the attempt ends without one.
    pub async fn choose(&self, action: &Action) -> Result<&Arc<dyn Revoker>, Attempt> {
        let mut unclear: Option<Text> = None;
        for revoker in &self.list {
            let claim = tokio::time::timeout(limits::CLAIM_WAIT_MAX, revoker.claims(action));
            let claim = claim.await.unwrap_or_else(|_| Claim::Unclear {
                reason: format!(
                    "revoker {} cannot tell whether it is for it: its server does not answer",
                    revoker.name()
                )
                .into(),
            });
            match claim {
                Claim::Mine => return Ok(revoker),
                Claim::NotMine => {}
                Claim::Unclear { reason } => unclear = unclear.or(Some(reason)),
            }
        }
        Err(match unclear {
            Some(reason) => Attempt::Retry {
                reason,
                after: None,
            },
            None => Attempt::Refused {
                reason: no_revoker(action).into(),
            },
        })
    }
}

fn no_revoker(action: &Action) -> String {
    let tenant = match &action.target.tenant {
        Some(tenant) => format!(", tenant {tenant}"),
        None => String::new(),
    };
    format!(
        "no revoker does {} for issuer {}{tenant}; add one under `revokers`",
        action.kind, action.target.issuer
    )
}
