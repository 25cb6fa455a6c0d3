//! A detection: one rule's finding about one subject, with evidence.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Evidence, Text, Timestamp, TokenKind};

/// One rule's finding about one subject. Its id is a function of what happened, never of arrival.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Hash of (rule, subject, token or event-time bucket).
    pub id: Text,
    pub rule: Text,
    /// The rule's kind: `reuse`, `impossible_travel`, ...
    pub kind: Text,
    pub severity: Severity,
    /// Event time of the event that completed the proof.
    pub time: Timestamp,
    /// The event that completed the proof; one of those named in the evidence.
    pub event_id: Text,
    pub subject: Subject,
    pub issuer: Text,
    pub tenant: Option<Text>,
    pub user_id: Option<Text>,
    pub client_id: Option<Text>,
    pub family_id: Option<Text>,
    pub session_id: Option<Text>,
    pub token_kind: Option<TokenKind>,
    pub ip_address: Option<IpAddr>,
    /// One sentence for a person.
    pub summary: Text,
    pub evidence: Evidence,
}

/// What a rule keeps state for, and what a detection is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type", content = "id")]
pub enum Subject {
    Family(Text),
    User(Text),
    Client(Text),
    Network(Text),
    /// What else a generic rule counts by, in words: `device d1`, `server https://id.example.com`.
    Key(Text),
}

impl Subject {
    /// What kind of subject it is, and its id.
    pub const fn parts(&self) -> (&'static str, &Text) {
        match self {
            Self::Family(id) => ("family", id),
            Self::User(id) => ("user", id),
            Self::Client(id) => ("client", id),
            Self::Network(id) => ("network", id),
            Self::Key(id) => ("key", id),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

super::event::names!(Severity { Info = "info", Low = "low", Medium = "medium", High = "high", Critical = "critical" });
