//! `suppress:` how often a rule may act about one and the same thing.
//!
//! What is suppressed stays visible as a detection; only its actions are left undone, and say so. Which finding of a
//! window acts is decided by the response policy, in event time.

use std::time::Duration;

use super::parameters::written;
use crate::model::limits;
use crate::yaml::{Faults, Node};

/// One action of a kind, then silence for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suppress {
    pub by: SuppressBy,
    pub length: Duration,
}

/// Findings with the same of this are the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuppressBy {
    /// What the rule keeps state for.
    Subject,
    Family,
    User,
    Client,
    /// The network that the detection names: a /24 or a /64.
    Network,
}

crate::model::names!(SuppressBy {
    Subject = "subject", Family = "family", User = "user", Client = "client", Network = "network",
});

/// An hour: a person has looked by then, or will not for the next page either.
const LENGTH_DEFAULT: Duration = Duration::from_hours(1);

impl std::fmt::Display for Suppress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "once by {} in {}", self.by, written(self.length))
    }
}

/// What is written behind `suppress`.
pub(super) enum Asked {
    /// `none` takes back what a rule file asks for.
    None,
    Once(Suppress),
}

impl Asked {
    pub(super) const fn once(self) -> Option<Suppress> {
        match self {
            Self::None => None,
            Self::Once(suppress) => Some(suppress),
        }
    }
}

pub(super) fn read(node: &Node, faults: &mut Faults) -> Option<Asked> {
    if node.as_str() == Some("none") {
        return Some(Asked::None);
    }
    let mut map = node.mapping(faults)?;
    let by = map.or("by", SuppressBy::Subject, faults, |node, faults| {
        node.name(SuppressBy::ALL, SuppressBy::as_str, faults)
    });
    let length = map.or("for", LENGTH_DEFAULT, faults, length);
    map.finish(faults);
    Some(Asked::Once(Suppress { by, length }))
}

/// Shorter than events may be late, the order of arrival would decide what is suppressed.
fn length(node: &Node, faults: &mut Faults) -> Option<Duration> {
    let length = node.duration(faults)?;
    let fits = limits::SUPPRESS_MIN..=limits::SUPPRESS_MAX;
    if !fits.contains(&length) {
        let (least, most) = (written(limits::SUPPRESS_MIN), written(limits::SUPPRESS_MAX));
        let fault = node.unexpected(&format!("a duration from {least} to {most}"));
        faults.push(fault.with_hint("without suppression: leave `suppress` out"));
        return None;
    }
    Some(length)
}
