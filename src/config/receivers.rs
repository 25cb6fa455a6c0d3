//! `receivers:`: who is told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::Text;

use super::{HttpAuth, Secret, TargetLimits};

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
    pub limits: TargetLimits,
}

#[derive(Debug, Clone)]
pub enum ReceiverKind {
    Email(EmailReceiver),
    Slack(SlackReceiver),
    PagerDuty(PagerDutyReceiver),
    Alertmanager(AlertmanagerReceiver),
    Webhook(WebhookReceiver),
}

impl ReceiverKind {
    /// As its key is called.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Email(_) => "email",
            Self::Slack(_) => "slack",
            Self::PagerDuty(_) => "pagerduty",
            Self::Alertmanager(_) => "alertmanager",
            Self::Webhook(_) => "webhook",
        }
    }

    /// Whether people read what it is sent, one message after the other.
    pub const fn is_read_by_people(&self) -> bool {
        matches!(self, Self::Email(_) | Self::Slack(_) | Self::PagerDuty(_))
    }
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

/// An incoming webhook of Slack, or of what understands its messages.
#[derive(Debug, Clone)]
pub struct SlackReceiver {
    /// Whoever has it can write into the channel.
    pub url: Secret,
    pub links: BTreeMap<Text, Text>,
    pub timeout: Duration,
    pub ca_file: Option<PathBuf>,
}

/// Events v2.
#[derive(Debug, Clone)]
pub struct PagerDutyReceiver {
    /// Integration key of the service.
    pub routing_key: Secret,
    pub url: Text,
    pub links: BTreeMap<Text, Text>,
    pub timeout: Duration,
    pub ca_file: Option<PathBuf>,
}

/// API v2.
#[derive(Debug, Clone)]
pub struct AlertmanagerReceiver {
    /// Every one of a cluster: they do not pass alerts on to each other.
    pub urls: Vec<Text>,
    pub auth: HttpAuth,
    /// Template of where an alert's "source" leads.
    pub source_url: Option<Text>,
    /// An alert stands at least so long, or grouping there would swallow it.
    pub lasts_at_least: Duration,
    pub timeout: Duration,
    pub ca_file: Option<PathBuf>,
}
