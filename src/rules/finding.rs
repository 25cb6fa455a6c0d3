//! What a kind found about one subject, before the engine adds whose it is.

use std::sync::Arc;

use crate::model::{Evidence, Prefix, Severity, Text};

use super::context::Context;

/// One finding of one rule. The engine makes a detection of it, and an id from rule, subject and `about`.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Sets it apart from the rule's other findings: a token, a level, a bucket of event time. Never what depends on the
    /// order of arrival, and of a lineage finding the token, never a derived family id.
    pub about: Vec<String>,
    /// Event time in milliseconds of the event that completed the proof.
    pub time: i64,
    /// The event that completed the proof, while its id is kept.
    pub event_id: Option<Text>,
    /// The severity of the rule, but never above this.
    pub at_most: Severity,
    pub ask: Ask,
    /// Whether it may end a family at all (DESIGN S3, S4); the policy only ever narrows.
    pub may_revoke: bool,
    /// How sure it is, from 0 to 1, as a share of the rule's weight in the composite risk.
    pub confidence: f64,
    /// The context that a person will look at: where the foreign branch is, else the presenter's.
    pub presenter: Arc<Context>,
    /// The network of the foreign branch, where there is one: many people found from one are a storm.
    pub foreign_network: Option<Prefix>,
    /// One sentence for a person.
    pub summary: String,
    pub evidence: Evidence,
}

/// How much of the rule's response a finding asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// All of it: this is what the rule looks for.
    Response,
    /// What only slows somebody down.
    Throttle,
    /// That a person looks, not at once.
    Review,
    /// A record.
    Nothing,
}

/// What kind of fact a rule reads. Facts of one class are one fact to the composite risk, however often they are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Lineage,
    Binding,
    Lifecycle,
    /// Geography and network: an address is one fact.
    Place,
    Device,
    Rate,
}

crate::model::names!(Class {
    Lineage = "lineage", Binding = "binding", Lifecycle = "lifecycle",
    Place = "place", Device = "device", Rate = "rate",
});

impl Class {
    /// Whether facts of this class may be part of what ends a family: rate and place, alone or together, never are (S3).
    pub const fn may_revoke(self) -> bool {
        !matches!(self, Self::Place | Self::Rate)
    }
}
