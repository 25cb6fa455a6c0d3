//! `revokers:` and `receivers:`: who performs actions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{ActionKind, Text};

use super::Secret;

/// One configured revoker.
#[derive(Debug, Clone)]
pub struct Revoker {
    pub name: Text,
    /// Sources (issuers) it is for; empty means all.
    pub issuers: Vec<Text>,
    pub kind: RevokerKind,
}

#[derive(Debug, Clone)]
pub enum RevokerKind {
    Keycloak(KeycloakRevoker),
    Http(HttpRevoker),
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

/// One configured receiver of notifications.
#[derive(Debug, Clone)]
pub struct Receiver {
    pub name: Text,
    pub kind: ReceiverKind,
    /// Time of day, UTC, of the daily digest; absent: none.
    pub digest_at: Option<Duration>,
    /// Told in its place when it refuses, or has taken nothing for a while.
    pub fallback: Option<Text>,
    /// Messages about incidents within an hour; absent: no limit.
    pub per_hour_max: Option<u32>,
}

#[derive(Debug, Clone)]
pub enum ReceiverKind {
    Email(EmailReceiver),
    Webhook(WebhookReceiver),
}

#[derive(Debug, Clone)]
pub struct EmailReceiver {
    /// Each gets an envelope of its own, so that one dead mailbox silences nobody.
    pub to: Vec<Text>,
    pub from: Text,
    pub reply_to: Option<Text>,
    pub transport: MailTransport,
    /// Keycloak's base URL and the like: where links in the mail lead. Name -> URL template.
    pub links: BTreeMap<Text, Text>,
}

#[derive(Debug, Clone)]
pub enum MailTransport {
    Smtp {
        host: Text,
        port: u16,
        tls: MailTls,
        username: Option<Text>,
        password: Option<Secret>,
        ca_file: Option<PathBuf>,
        timeout: Duration,
    },
    /// Writes `.eml` files into a folder: for the demo and for trying out.
    Folder(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// From the first byte, port 465.
    Implicit,
    /// Required, port 587.
    Starttls,
    /// Loopback only.
    None,
}

/// Signed JSON to a URL of the user's.
#[derive(Debug, Clone)]
pub struct WebhookReceiver {
    pub url: Secret,
    /// HMAC-SHA256 key of the `X-Tokenwarden-Signature` header.
    pub secret: Option<Secret>,
    pub timeout: Duration,
    pub ca_file: Option<PathBuf>,
}
