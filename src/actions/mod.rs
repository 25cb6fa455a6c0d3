//! L3: adapters that perform: revokers end sessions at the authorization server, notifiers tell people.
//!
//! Uses `model` and its own part of `config`; never the store, the rules or the engine.
//!
//! In: one action with all that is to be said about it. Out: an [`Attempt`]: done, try again, or refused for good.
//! Each is at-least-once: the action's id travels as idempotency key and `Message-ID`.

mod alertmanager;
mod auth;
mod clean;
mod client;
mod email;
mod follow;
mod hidden;
mod http;
mod inspection;
mod keycloak;
mod links;
mod measures;
mod notifiers;
mod pagerduty;
mod remark;
mod report;
mod revokers;
mod signed;
mod slack;
mod specimen;
mod tasks;
mod template;
mod token;
mod webhook;
mod words;

pub use client::http_client;
pub use follow::{Followed, Following, take_memo};
pub use inspection::{Declared, DeclaredClient, Finding, Gravity};
pub use notifiers::{Asked, Surroundings, notifier};
pub use remark::Remark;
pub use revokers::{Revokers, revoker};
pub use specimen::specimen;
pub use template::template_fault;

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::model::{
    Action, ActionRecord, Bulletin, Detection, Evidence, Incident, Target, Text, Timestamp,
};

/// Ends tokens at an authorization server, or asks something else to throttle, block or challenge.
pub trait Revoker: Send + Sync {
    fn name(&self) -> &Text;

    /// Whether the action is for this one: its kind, issuer and tenant.
    fn claims<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Claim>;

    /// Performs the action. "Already gone" is success, and only if it really is gone.
    fn perform<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Attempt>;

    /// How long what it did holds; absent: for good.
    fn lasts(&self) -> Option<Duration> {
        None
    }

    /// What a person calls the user, where the server tells it; asked when a mail is written, never stored.
    fn user_name<'a>(&'a self, _target: &'a Target) -> BoxFuture<'a, Option<String>> {
        Box::pin(std::future::ready(None))
    }

    /// A command by which a person can do the same, safe to be pasted into a shell.
    fn by_hand(&self, _action: &Action) -> Option<String> {
        None
    }

    /// Asks the server whether it can do what is asked of it, for `check --online`. Changes nothing.
    fn inspect<'a>(
        &'a self,
        _declared: &'a Declared,
        _now: fn() -> Timestamp,
    ) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// A revoker's answer to "is this for you?".
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    Mine,
    NotMine,
    /// It depends on what the server does not tell at the moment.
    Unclear {
        reason: Text,
    },
}

/// Tells people or machines about an incident, or about many at once.
pub trait Notifier: Send + Sync {
    fn name(&self) -> &Text;

    fn notify<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt>;

    /// Tells of many incidents at once.
    fn announce<'a>(&'a self, bulletin: &'a Bulletin) -> BoxFuture<'a, Attempt>;

    /// How it is kept up to date about what it was told; absent: messages are all that it knows.
    fn following(&self) -> Option<Following> {
        None
    }

    /// Tells how incidents stand that it was told of.
    fn follow<'a>(&'a self, _followed: &'a [Followed]) -> BoxFuture<'a, Attempt> {
        Box::pin(std::future::ready(Attempt::Done {
            detail: "it knows messages only".into(),
            evidence: Evidence::new(),
        }))
    }

    /// Asks the server whether it would take notifications, for `check --online`. Sends nothing.
    fn inspect(&self) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// How one attempt at an action ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Attempt {
    /// It is done, and where that can be asked, it was looked whether it took effect; `detail` says what the server answered
    /// and what else ended with it.
    Done { detail: Text, evidence: Evidence },
    /// The server says that something has ended; nobody has looked whether it has.
    Answered { detail: Text, evidence: Evidence },
    /// It may work later: network, time-out, 408, 425, 429, 5xx. `after` is what the server asked for.
    Retry {
        reason: Text,
        after: Option<Duration>,
    },
    /// It will not work by waiting: lacking rights (named), wrong address, refused recipient.
    Refused { reason: Text },
}

impl Attempt {
    /// What was answered, for a person.
    pub fn reason(&self) -> &str {
        match self {
            Self::Done { detail, .. } | Self::Answered { detail, .. } => detail,
            Self::Retry { reason, .. } | Self::Refused { reason } => reason,
        }
    }
}

/// All that a notifier may say about an incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// The notify action being performed.
    pub action: Action,
    pub incident: Incident,
    /// Oldest first, at most `limits::NOTIFICATION_DETECTIONS_MAX`.
    pub detections: Vec<Detection>,
    /// Every other action of the incident, with what became of it so far.
    pub actions: Vec<ActionRecord>,
    /// What the rules' authors say: description and runbook link, by rule.
    pub rules: Vec<RuleNote>,
    /// What this receiver alone must know besides.
    pub remarks: Vec<Remark>,
    /// A specimen sent by `notify test`.
    pub specimen: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RuleNote {
    pub rule: Text,
    pub description: Text,
    pub runbook: Option<Text>,
}

/// An empty list is for all.
fn is_issuer_of(issuers: &[Text], issuer: &Text) -> bool {
    issuers.is_empty() || issuers.contains(issuer)
}

/// Text that means itself in a shell and in YAML, or nothing: commands for a person hold no other.
fn word(text: &str) -> Option<&str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_word = !text.is_empty()
        && text.len() <= 128
        && !text.starts_with('-')
        && text.chars().all(is_plain);
    is_word.then_some(text)
}
