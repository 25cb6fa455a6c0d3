//! What a kind is handed: everything the engine remembers of one subject that the rules of its stage may read.
//!
//! A kind judges the *set* of what is known, at a question's time, and reads nothing later than the cut: the answer must
//! not depend on the order in which events arrived (DESIGN E5). Each stage has one trait; a kind implements one of them.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::context::{Context, Seen};
use super::expr::Expression;
use super::fields::{Facts, KeyField};
use super::finding::{Ask, Finding};
use super::kinds::impossible_travel::Sightings;
use super::kinds::keyed::Memory;
use super::kinds::scope_widening::Scopes;
use super::kinds::velocity::Counts;
use super::ledger::{Answer, Entry, Ledger};
use super::trace::Trace;
use crate::model::{Enriched, Evidence, Initiator, Prefix, Rotation, Severity, Text, TokenKind};

/// A kind that judges one family.
pub trait FamilyKind {
    /// How long a question waits in event time for facts that may still come.
    fn settle(&self) -> Duration;

    /// The longest that one waits, where what would decide it may still come: it is asked again then.
    fn settle_max(&self) -> Duration {
        self.settle()
    }

    /// Whether anything about the family could concern the rule; cheap, because it is asked at every event.
    fn concerns(&self, case: &FamilyCase<'_>) -> bool;

    /// Judges what happened at exactly `at.time`, or the whole family as it stood at `at.cut`.
    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding>;

    /// What no fact still to come can excuse at engine time `now` (milliseconds): asked at once, for revocations that
    /// need not wait.
    fn judge_now(&self, _: &FamilyCase<'_>, _now: i64) -> Vec<Finding> {
        Vec::new()
    }
}

/// A kind that judges one user over all families.
pub trait UserKind {
    fn settle(&self) -> Duration;

    /// Whether a sighting made from there could raise a question at all; cheap, because it is asked at every event.
    fn concerns(&self, case: &UserCase<'_>, made: &Arc<Context>) -> bool;

    fn judge(&self, case: &UserCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding>;
}

/// A kind that picks events by conditions and remembers a little of each key: the engine keeps the memory.
pub trait KeyedKind {
    /// What keeps the memories apart.
    fn by(&self) -> &[KeyField];

    /// The conditions by number, from 0 on: an event is taken once for each that it fulfils.
    fn condition(&self, step: usize) -> Option<&Expression>;

    /// Whether such an event begins the memory of its key; else it only joins one.
    fn begins(&self, _step: usize) -> bool {
        true
    }

    /// Whether such an event is put aside first, for facts that may still come.
    fn waits(&self, step: usize) -> bool;

    /// How long after its last event a memory is of use.
    fn kept_for(&self) -> Duration;

    /// Whether a finding is about the event that completed it and not about all events of the key.
    fn is_about_event(&self) -> bool {
        false
    }

    /// Files the event and judges what it may have decided. A party stands where the finding is another event's.
    fn take(&self, memory: &mut Memory, case: &KeyedCase<'_>) -> Vec<Judged>;

    /// Judges the same over what is remembered, and says why.
    fn judge(&self, memory: &Memory, case: &KeyedCase<'_>, trace: &mut Trace) -> Vec<Judged>;
}

/// A finding, and whose the event is that completed it, where that is another than the one at hand.
pub type Judged = (Finding, Option<Party>);

/// Whose an event is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Party {
    pub user_id: Option<Text>,
    pub client_id: Option<Text>,
    pub family_id: Option<Text>,
    pub session_id: Option<Text>,
    pub token_kind: Option<TokenKind>,
}

/// One event of a key.
#[derive(Clone, Copy)]
pub struct KeyedCase<'a> {
    /// Which condition it fulfils.
    pub step: usize,
    pub event: &'a Enriched,
    pub presenter: &'a Arc<Context>,
    /// Whose the event is; asked for only where somebody is to be named.
    pub party: &'a dyn Fn() -> Party,
    /// What the engine knows of the event; asked for only where it decides something.
    pub facts: &'a dyn Fn() -> Facts,
    /// When thefts from the event's user were found, in milliseconds.
    pub thefts: &'a dyn Fn() -> &'a [i64],
}

impl KeyedCase<'_> {
    /// Event time in milliseconds.
    pub fn time(&self) -> i64 {
        self.event.event.time.as_millisecond()
    }
}

/// A question: the event time that it is about, and up to where facts may be read. Milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub time: i64,
    pub cut: i64,
}

/// What was found of a family before: to put that into words once more, at each of its events, was most of what they cost.
#[derive(Clone, Copy)]
pub struct Told<'a>(&'a dyn Fn(&[String]) -> bool);

/// A login that would decide something: on which device, and when. Milliseconds of event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub device_id: Text,
    pub times: RangeInclusive<i64>,
    /// What happened since is not yet known.
    pub known_until: i64,
}

/// Whether the user of a family has logged in so, in another session; `None` where he still may. Asked for only where it decides
/// something.
#[derive(Clone, Copy)]
pub struct Logins<'a>(&'a dyn Fn(&Login) -> Option<bool>);

/// One family.
#[derive(Debug, Clone, Copy)]
pub struct FamilyCase<'a> {
    pub id: &'a Text,
    pub ledger: &'a Ledger,
    pub client: &'a ClientFacts,
    pub tenant: TenantFacts,
    pub ends: &'a Ends,
    /// What was done to it from outside since it began, oldest first.
    pub measures: &'a [Measure],
    /// Event time of the earliest that the server accepted of it.
    pub began: Option<i64>,
    /// The browser session it belongs to, as `Measure::session` names it.
    pub session: Option<u64>,
    /// Whether its tokens hang on that session, where the source says so.
    pub token_kind: Option<TokenKind>,
    /// When the server lately began families for its user, oldest first.
    pub user_let_in: &'a [i64],
    pub scopes: &'a Scopes,
    /// As its newest event told, else as the configuration says.
    pub access_token_ttl: Option<Duration>,
    /// By the rule that is asked.
    pub told: Told<'a>,
    pub logins: Logins<'a>,
}

/// One user.
#[derive(Debug, Clone, Copy)]
pub struct UserCase<'a> {
    pub sightings: &'a Sightings,
}

/// Refreshes of one subject, whatever it is.
#[derive(Debug, Clone, Copy)]
pub struct RateCase<'a> {
    pub counts: &'a Counts,
    /// Whose refreshes they are.
    pub subject: Who<'a>,
    /// Of the event that is counted.
    pub event_id: &'a Text,
    pub presenter: &'a Arc<Context>,
    pub access_token_ttl: Option<Duration>,
    /// Server-side: refreshes on behalf of many.
    pub own_addresses: bool,
}

/// A subject by its id, or the network that it is.
#[derive(Debug, Clone, Copy)]
pub enum Who<'a> {
    Named(&'a str),
    Network(Prefix),
}

impl std::fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(id) => f.write_str(id),
            Self::Network(prefix) => prefix.fmt(f),
        }
    }
}

/// What the configuration says about the client, as far as rules read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientFacts {
    pub rotation: Rotation,
    /// The server's own leeway for the direct predecessor.
    pub grace: Duration,
    /// Repeats that the server allows.
    pub max_reuse: u32,
    /// Where events do not carry it.
    pub access_token_ttl: Option<Duration>,
    /// How long the server honours a family at most, however often it is refreshed.
    pub refresh_token_lifetime: Option<Duration>,
    /// Server-side: its addresses are its own, not the user's.
    pub own_addresses: bool,
    /// An app on one device, which never becomes another operating system.
    pub native: bool,
}

/// What the configuration says about the tenant, likewise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TenantFacts {
    /// A changed password or second factor ends the user's families.
    pub credential_change_revokes: bool,
}

/// When the family, its session or its user was ended, in milliseconds of event time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// By its user or an operator. What lives on afterwards was not ended.
    pub by_people: Vec<i64>,
    /// By this daemon. What is refused afterwards is its doing, unless the family lived on: then it had no effect.
    pub by_us: Vec<i64>,
    /// Nothing is performed (`replay`): what was decided counts as done, whatever the log shows afterwards.
    pub assumed: bool,
}

/// What was done to a family from outside: to itself, its session, what its user allowed its client, or its user.
///
/// By whomever, but for this daemon. Unlike [`Ends`], which excuse what was refused and may be taken widely, these accuse
/// what was accepted: each reaches only what its event names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Event time in milliseconds.
    pub time: i64,
    pub taken: Taken,
    pub reach: Reach,
    pub by: Option<Initiator>,
    /// Meant for tokens of this kind alone.
    pub only: Option<TokenKind>,
    /// The session that did it, or that it was done to.
    pub session: Option<u64>,
    /// From where users changed their own credentials.
    pub context: Option<Arc<Context>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Taken {
    LoggedOut,
    Revoked,
    CredentialsChanged,
    Disabled,
    Enabled,
}

/// How much a measure was meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reach {
    Family,
    Session,
    /// All families of one user at one client.
    Consent,
    User,
}

impl Taken {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoggedOut => "logged out",
            Self::Revoked => "revoked",
            Self::CredentialsChanged => "credentials changed",
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
        }
    }
}

impl Reach {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Family => "family",
            Self::Session => "session",
            Self::Consent => "consent",
            Self::User => "user",
        }
    }
}

impl<'a> Told<'a> {
    pub const NOTHING: Told<'static> = Told(&|_| false);

    /// By what a finding is about.
    pub const fn by(has: &'a dyn Fn(&[String]) -> bool) -> Self {
        Self(has)
    }

    pub fn has(&self, about: &[String]) -> bool {
        (self.0)(about)
    }
}

impl<'a> Logins<'a> {
    pub const NONE: Logins<'static> = Logins(&|_| Some(false));

    pub const fn by(has: &'a dyn Fn(&Login) -> Option<bool>) -> Self {
        Self(has)
    }

    pub fn has(&self, login: &Login) -> Option<bool> {
        (self.0)(login)
    }
}

impl std::fmt::Debug for Logins<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Logins")
    }
}

impl std::fmt::Debug for Told<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Told")
    }
}

impl<'a> FamilyCase<'a> {
    /// Presentations at exactly `time`, in the order of the ledger.
    pub fn entries_at(&self, time: i64) -> &'a [Entry] {
        let entries = self.ledger.entries();
        let from = entries.partition_point(|entry| entry.time < time);
        let to = entries.partition_point(|entry| entry.time <= time);
        &entries[from..to]
    }

    /// Presentations before `time`.
    pub fn entries_before(&self, time: i64) -> &'a [Entry] {
        let entries = self.ledger.entries();
        &entries[..entries.partition_point(|entry| entry.time < time)]
    }

    pub fn context(&self, entry: &Entry) -> &'a Arc<Context> {
        self.ledger.shared_context(entry)
    }

    /// Accepted refreshes at exactly `time`.
    pub fn refreshes_at(&self, time: i64) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let entries = self.entries_at(time).iter();
        entries.filter(|entry| entry.answer == Answer::Accepted)
    }

    /// What was accepted before `time`, oldest first; of what the ledger no longer holds, each context once.
    pub fn accepted_before(&self, time: i64) -> impl Iterator<Item = Seen<'a>> + Clone + use<'a> {
        let ledger = self.ledger;
        let accepted = self.entries_before(time).iter();
        let accepted = accepted.filter(|entry| entry.answer.accepted());
        let settled = ledger.settled_before(time);
        settled.chain(accepted.map(move |entry| ledger.seen(entry)))
    }

    /// A finding about one presentation, as grave as its rule; what is less so, the kind takes back.
    pub fn finding(&self, entry: &Entry, summary: String, evidence: Evidence) -> Finding {
        let token = entry.token.map(|hash| hash.to_string());
        Finding {
            about: vec![token.unwrap_or_else(|| self.id.to_string())],
            time: entry.time,
            event_id: entry.event_id().cloned(),
            at_most: Severity::Critical,
            ask: Ask::Response,
            may_revoke: false,
            confidence: 1.0,
            presenter: Arc::clone(self.context(entry)),
            foreign_network: None,
            summary,
            evidence,
        }
    }
}

/// A parameter's duration in milliseconds of event time.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
