//! L0: plain data that every layer speaks, ids, positions and limits.
//!
//! Uses std, the time crate (`jiff`) and serde's derive (a snapshot and a wire form are views of the same data);
//! nothing of ours. No I/O, no clock, no database, no network.
//!
//! In: nothing. Out: the nouns of the glossary in the crate's front page.

mod action;
mod audit;
mod batch;
mod breaker;
mod bulletin;
mod canary;
mod client;
mod clue;
mod detection;
mod erasure;
mod event;
mod finding;
mod incident;
pub mod limits;
mod network;
mod output;
mod own;
mod person;
mod phase;
mod position;
mod role;
mod span;
mod value;
mod verification;

pub use action::{Action, ActionKind, ActionRecord, ActionState, Decision, Mode, Target};
pub use audit::{AuditHead, AuditKind, AuditNote, DAEMON};
pub use batch::{Input, RawBatch, RawRecord, Reject, RejectReason};
pub use breaker::{BreakerClient, BreakerReport, BreakerState};
pub use bulletin::{
    Afterwards, Bulletin, ClientDay, Digest, Fate, Fates, LastRead, ListedIncident, More, News,
    Performed, Rejected, RuleDay, TooLate, Waiting,
};
pub use canary::{CANARY_SOURCE, Canary};
pub use client::{ClientType, Rotation};
pub use clue::Clue;
pub use detection::{Detection, Severity, Subject};
pub use erasure::{ERASED, Erasing, NAME_IN_TEXT_BYTES_MIN, Person, without_name};
pub(crate) use event::names;
pub use event::{Event, EventType, Initiator, Outcome, Reason, Rehashed, TokenKind};
pub use finding::{Finding, Gravity};
pub use incident::{Incident, IncidentState};
pub use network::{
    Agent, Anonymity, DeviceClass, Enriched, Granularity, Network, NetworkClass, Place, Prefix,
};
pub use output::{Commit, Member, Output, Progress};
pub use own::{OWN_SOURCE, OwnEvent, OwnEventKind};
pub use person::{By, Deed, Matchers, PersonEvent, Resolution, Silence};
pub use phase::{Phase, Stand};
pub use position::{Claim, Position, SourcePartition, StartAt};
pub use role::Role;
pub use span::span;
pub use value::{Evidence, Value};
pub use verification::{NoEffect, ShownBy, Use, Verification};

/// An instant of event time, or of wall time where a name says so. UTC.
pub type Timestamp = jiff::Timestamp;

/// In place of a path among `rules:`, the rules that come with the program.
pub const SHIPPED_RULES: &str = "shipped";

/// Shared immutable text: ids, names and provider strings, cloned by reference count.
pub type Text = std::sync::Arc<str>;
