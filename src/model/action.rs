//! An action is what is to be done to whom; a decision is whether.

use serde::{Deserialize, Serialize};

use super::{Text, Timestamp, TokenKind, Verification};

/// Something to be done, decided once, with the reason for the decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Hash of (action, target, episode): replaying cannot enqueue it twice.
    pub id: Text,
    pub kind: ActionKind,
    pub target: Target,
    pub detection_ids: Vec<Text>,
    pub incident_id: Text,
    /// The rule that asked for it.
    pub rule: Text,
    pub decision: Decision,
    /// Why, in a few words.
    pub reason: Text,
    /// Event time of the event that completed the proof; compared with `act_within` at delivery.
    pub event_time: Timestamp,
    /// The action that this one takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<Text>,
}

impl Action {
    /// In place of the rule, where a person asked for it.
    pub const BY_HAND: &'static str = "by-hand";
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    Notify,
    Challenge,
    Throttle,
    BlockIp,
    Review,
    RevokeFamily,
    RevokeUser,
    LockUser,
}

super::event::names!(ActionKind {
    Notify = "notify", Challenge = "challenge", Throttle = "throttle", BlockIp = "block_ip", Review = "review",
    RevokeFamily = "revoke_family", RevokeUser = "revoke_user", LockUser = "lock_user",
});

impl ActionKind {
    /// Whether it ends a login or more.
    pub const fn ends_something(self) -> bool {
        matches!(self, Self::RevokeFamily | Self::RevokeUser | Self::LockUser)
    }

    /// Whether it holds for a while and can be taken back.
    pub const fn is_measure(self) -> bool {
        matches!(self, Self::Challenge | Self::Throttle | Self::BlockIp)
    }

    /// Whether something is done by it: telling people and listing for review is none.
    pub const fn is_deed(self) -> bool {
        self.ends_something() || self.is_measure()
    }

    /// The mode an action needs at least.
    pub const fn needs(self) -> Mode {
        match self {
            Self::Notify => Mode::Alert,
            _ => Mode::Enforce,
        }
    }
}

/// Whom an action is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    pub issuer: Text,
    pub tenant: Option<Text>,
    pub family_id: Option<Text>,
    pub user_id: Option<Text>,
    pub client_id: Option<Text>,
    pub session_id: Option<Text>,
    pub token_kind: Option<TokenKind>,
    /// What is to be blocked: the /24 or /64 that a finding is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Text>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Would be sent.
    Execute,
    /// The rule's, client's, tenant's or daemon's mode is below what the action needs.
    Observe,
    /// Waits for a person: budget used up, breaker open, too old, or approval required.
    Hold,
    /// The same thing was done already, or it is silenced or excepted.
    Suppress,
}

super::event::names!(Decision { Execute = "execute", Observe = "observe", Hold = "hold", Suppress = "suppress" });

/// How far the daemon may go; the lowest of all that apply wins.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Off,
    /// Detections are recorded, nothing is sent or revoked.
    #[default]
    Observe,
    /// People are notified.
    Alert,
    /// Everything is performed.
    Enforce,
}

super::event::names!(Mode { Off = "off", Observe = "observe", Alert = "alert", Enforce = "enforce" });

/// An action as the store keeps it, with what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionRecord {
    pub action: Action,
    pub state: ActionState,
    pub attempts: u32,
    /// Wall time of the last attempt's end.
    pub finished_at: Option<Timestamp>,
    /// What the last attempt answered: for a person, without secrets.
    pub outcome: Option<Text>,
    /// When it was shown that it took effect, and by what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verification>,
}

/// The life of an action: each ends as exactly one of done, parked, suppressed, expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionState {
    /// Waits for its turn, or for its next attempt.
    Ready,
    /// An attempt is running under a lease.
    Leased,
    /// Waits for a person.
    Held,
    /// A person may have it done; nothing waits for it.
    Offered,
    /// The server says that it has; nothing has shown it yet.
    Answered,
    /// It took effect.
    Done,
    /// Gave up after the last try, or was refused for good; visible until retried by hand.
    Parked,
    /// Was decided `observe` or `suppress`: nothing to perform.
    Suppressed,
    Expired,
}

super::event::names!(ActionState {
    Ready = "ready", Leased = "leased", Held = "held", Offered = "offered", Answered = "answered", Done = "done",
    Parked = "parked", Suppressed = "suppressed", Expired = "expired",
});

impl ActionState {
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Done | Self::Parked | Self::Suppressed | Self::Expired
        )
    }
}
