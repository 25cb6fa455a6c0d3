//! `revokers:`: who performs actions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{ActionKind, Text, limits};

use super::Secret;

/// One configured revoker.
#[derive(Debug, Clone)]
pub struct Revoker {
    pub name: Text,
    /// Sources (issuers) it is for; empty means all.
    pub issuers: Vec<Text>,
    pub kind: RevokerKind,
    pub limits: TargetLimits,
}

/// What the Admin API of Keycloak can be asked for.
pub const KEYCLOAK_ACTIONS: [ActionKind; 4] = [
    ActionKind::RevokeFamily,
    ActionKind::RevokeUser,
    ActionKind::LockUser,
    ActionKind::Challenge,
];

impl Revoker {
    /// The kinds of actions that it is there for.
    pub fn performs(&self) -> &[ActionKind] {
        match &self.kind {
            RevokerKind::Keycloak(_) => &KEYCLOAK_ACTIONS,
            RevokerKind::Http(http) => &http.actions,
            RevokerKind::Webhook(webhook) => &webhook.actions,
        }
    }
}

/// How much a revoker or receiver is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetLimits {
    /// Calls at once.
    pub concurrency: u32,
    pub per_second: u32,
}

impl Default for TargetLimits {
    fn default() -> Self {
        Self {
            concurrency: limits::TARGET_CONCURRENCY,
            per_second: limits::TARGET_PER_SECOND,
        }
    }
}

#[derive(Debug, Clone)]
pub enum RevokerKind {
    Keycloak(KeycloakRevoker),
    Http(HttpRevoker),
    Webhook(WebhookRevoker),
}

/// One service account of one realm.
#[derive(Debug, Clone)]
pub struct KeycloakRevoker {
    /// Base URL without `/realms`.
    pub url: Text,
    /// Realm name, as it stands in paths.
    pub realm: Text,
    /// Realm id, as events carry it; asked of the server when absent (needs the role `view-realm`).
    pub realm_id: Option<Text>,
    pub client_id: Text,
    pub client_secret: Secret,
    /// What `challenge` asks of the user at the next login: `UPDATE_PASSWORD`, `CONFIGURE_TOTP`, ...
    pub required_action: Text,
    pub timeout: Duration,
    /// PEM file of the authority that signed the server's certificate, beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// Any API by template. `{{ target.user_id }}` and the like are filled in and URL-escaped in the URL.
#[derive(Debug, Clone)]
pub struct HttpRevoker {
    /// Which actions it performs.
    pub actions: Vec<ActionKind>,
    pub method: Text,
    pub url: Text,
    pub headers: BTreeMap<Text, Text>,
    pub body: Option<Text>,
    pub success: Vec<u16>,
    pub retry: Vec<u16>,
    pub auth: HttpAuth,
    pub timeout: Duration,
    pub ca_file: Option<PathBuf>,
}

/// A system of one's own that takes measures for a while, asked by signed requests.
#[derive(Debug, Clone)]
pub struct WebhookRevoker {
    /// Which measures it takes.
    pub actions: Vec<ActionKind>,
    pub url: Secret,
    /// HMAC-SHA256 key of the `X-Tokenwarden-Signature` header.
    pub secret: Secret,
    /// How long a measure holds until it is taken back.
    pub ttl: Duration,
    pub timeout: Duration,
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub enum HttpAuth {
    None,
    Bearer(Secret),
    /// `Authorization: SCHEME TOKEN`, as Okta's `SSWS`.
    Scheme {
        scheme: Text,
        token: Secret,
    },
    Basic {
        username: Text,
        password: Secret,
    },
    ClientCredentials {
        token_url: Text,
        client_id: Text,
        client_secret: Secret,
        audience: Option<Text>,
        scope: Option<Text>,
    },
}
