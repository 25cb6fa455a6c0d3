//! `fork`: two successors of one token are both in use, each by somebody else.
//!
//! Servers with a grace hand out siblings: a race of one client's tabs leaves one of them unused, or both in one context.
//! Only when both are presented later, from contexts foreign to each other, do two people hold the family.

use std::time::Duration;

use super::super::super::case::{At, FamilyCase, FamilyKind};
use super::super::super::context::TravelBounds;
use super::super::super::finding::Finding;
use super::super::super::needs::Need;
use super::super::super::parameters::Parameters;
use super::super::super::trace::Trace;
use super::super::Kind;
use super::describe::news;
use super::dispute;
use super::verdict::keep_gravest;
use super::view::{Bounds, Scope, View};
use crate::model::{Clue, Rotation};

/// Parameters of a fork rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Fork {
    pub settle: Duration,
    /// Uses of the two successors further apart than this are no sign of two holders at one time.
    pub fork_window: Duration,
    /// Within this time the networks of two holders must alternate.
    pub proof_window: Duration,
    pub travel: TravelBounds,
}

impl Default for Fork {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(2),
            fork_window: Duration::from_hours(24),
            proof_window: Duration::from_mins(10),
            travel: TravelBounds::default(),
        }
    }
}

impl Kind for Fork {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.settle(&mut self.settle);
        p.duration(
            "fork_window",
            "Uses of the two successors further apart than this are no fork.",
            &mut self.fork_window,
        );
        p.duration(
            "proof_window",
            "Within this time the networks of two holders must alternate.",
            &mut self.proof_window,
        );
        self.travel.parameters(p);
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::all(&[Clue::TokenId]), Need::all(Clue::WHO)]
    }
}

impl FamilyKind for Fork {
    fn settle(&self) -> Duration {
        self.settle
    }

    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        case.ledger.forked() && case.client.rotation != Rotation::Off
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        let bounds = Bounds {
            settle: self.settle,
            proof_window: self.proof_window,
            travel: self.travel,
            ..Bounds::default()
        };
        let view = View::new(bounds, case, Scope::Settled(at.cut)).with_closed(trace.is_on());
        let forks = dispute::forks(&view, self.fork_window, trace);
        news(case, &view, &keep_gravest(forks), usize::MAX)
    }
}
