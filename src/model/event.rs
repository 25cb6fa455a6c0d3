//! The event: what an authorization server recorded, in the canonical form that every decoder produces.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Text, Timestamp};

/// One thing that an authorization server recorded.
///
/// Anything that could be presented as a token has been replaced by a keyed hash before it gets here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Unique within the issuer; the key for ignoring repeats.
    pub event_id: Text,
    /// When it happened.
    pub time: Timestamp,
    pub kind: EventType,
    pub outcome: Outcome,
    /// Class of a failure; `Other` when a failure did not name one.
    pub reason: Option<Reason>,
    /// The provider's own error code or text.
    pub error: Option<Text>,
    /// Which authorization server; the source's name unless the record says otherwise.
    pub issuer: Text,
    /// Realm, organisation or user pool.
    pub tenant: Option<Text>,
    pub user_id: Option<Text>,
    pub client_id: Option<Text>,
    pub session_id: Option<Text>,
    /// Only where the server names families itself; otherwise the engine derives it.
    pub family_id: Option<Text>,
    /// The presented refresh token: its id, or a keyed hash of it.
    pub token_id: Option<Text>,
    /// The refresh token issued by this event: its id, or a keyed hash of it.
    pub new_token_id: Option<Text>,
    /// Position of the presented token in its family.
    pub generation: Option<u64>,
    /// Position of the newest token issued in the family.
    pub latest_generation: Option<u64>,
    /// Normalised: an IPv4-mapped IPv6 address is IPv4 here. Absent when the server passed on something else.
    pub ip_address: Option<IpAddr>,
    pub user_agent: Option<Text>,
    pub device_id: Option<Text>,
    /// TLS client fingerprint.
    pub ja4: Option<Text>,
    /// DPoP `jkt` or mTLS `x5t#S256`.
    pub key_thumbprint: Option<Text>,
    /// Space separated.
    pub scope: Option<Text>,
    /// Lifetime in seconds of the access token issued.
    pub access_token_ttl: Option<u32>,
    /// Who caused a `revoke` or `logout`.
    pub initiator: Option<Initiator>,
    /// Whether the refresh token is bound to an online session or lives offline, where the server says so.
    pub token_kind: Option<TokenKind>,
    /// Members that no field above takes, as a JSON object, bounded by `limits::EXTRA_BYTES_MAX`; kept for evidence.
    pub extra: Option<Text>,
    /// During a rotation of the token key: those of the ids above that are keyed hashes.
    pub rehashed: Vec<Rehashed>,
}

/// A keyed hash, and what it was under the key before: who knows the one knows the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehashed {
    pub now: Text,
    pub before: Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// First refresh token of a family.
    Issue,
    Refresh,
    Revoke,
    Login,
    Logout,
    CredentialChange,
    /// Disabled or deleted.
    UserDisable,
    UserEnable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Success,
    Failure,
}

/// Class of a failure. A hint: verdicts stand when every `Reuse` is replaced by `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Reuse,
    Expired,
    Revoked,
    UnknownToken,
    ClientMismatch,
    /// The session (or the client's part of it) is gone: aftermath of a logout, a revocation or a reaction of the server.
    SessionEnded,
    UserDisabled,
    Policy,
    Binding,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initiator {
    User,
    Admin,
    System,
    /// This daemon.
    Tokenwarden,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    Online,
    Offline,
}

/// Gives each variant its name in the canonical format, in both directions, in one visible table.
macro_rules! names {
    ($type:ty { $($variant:ident = $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every value, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// Their names, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use names;

names!(EventType {
    Issue = "issue", Refresh = "refresh", Revoke = "revoke", Login = "login", Logout = "logout",
    CredentialChange = "credential_change", UserDisable = "user_disable", UserEnable = "user_enable",
});
names!(Outcome { Success = "success", Failure = "failure" });
names!(Reason {
    Reuse = "reuse", Expired = "expired", Revoked = "revoked", UnknownToken = "unknown_token",
    ClientMismatch = "client_mismatch", SessionEnded = "session_ended", UserDisabled = "user_disabled",
    Policy = "policy", Binding = "binding", Other = "other",
});
names!(Initiator { User = "user", Admin = "admin", System = "system", Tokenwarden = "tokenwarden" });
names!(TokenKind { Online = "online", Offline = "offline" });

impl Event {
    /// Members of the canonical form whose values are texts; the time aside.
    pub const TEXT_MEMBERS: &[&str] = &[
        "event_id",
        "type",
        "outcome",
        "reason",
        "error",
        "issuer",
        "tenant",
        "user_id",
        "client_id",
        "session_id",
        "family_id",
        "token_id",
        "new_token_id",
        "ip_address",
        "user_agent",
        "device_id",
        "ja4",
        "key_thumbprint",
        "scope",
        "initiator",
    ];
    /// ... and those whose values are whole numbers.
    pub const INTEGER_MEMBERS: &[&str] = &["generation", "latest_generation", "access_token_ttl"];

    /// An event with the required members and nothing else.
    pub fn new(
        event_id: impl Into<Text>,
        time: Timestamp,
        kind: EventType,
        outcome: Outcome,
        issuer: impl Into<Text>,
    ) -> Self {
        Self {
            event_id: event_id.into(),
            time,
            kind,
            outcome,
            reason: None,
            error: None,
            issuer: issuer.into(),
            tenant: None,
            user_id: None,
            client_id: None,
            session_id: None,
            family_id: None,
            token_id: None,
            new_token_id: None,
            generation: None,
            latest_generation: None,
            ip_address: None,
            user_agent: None,
            device_id: None,
            ja4: None,
            key_thumbprint: None,
            scope: None,
            access_token_ttl: None,
            initiator: None,
            token_kind: None,
            extra: None,
            rehashed: Vec::new(),
        }
    }

    pub fn succeeded(&self) -> bool {
        self.outcome == Outcome::Success
    }
}
