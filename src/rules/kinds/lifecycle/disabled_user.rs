//! `disabled_user`: a user who has been disabled or deleted still refreshes.
//!
//! Certain: the server says in one place that there is no such user, and in another hands out tokens. Which of the two is
//! wrong is for a person; the family seen is ended meanwhile. Waited for: that the user was enabled again, also as shown
//! by a family begun since, because some servers do not record who was enabled.

use std::sync::Arc;
use std::time::Duration;

use super::super::super::case::{At, FamilyCase, FamilyKind, Measure, Taken};
use super::super::super::finding::{Ask, Finding};
use super::super::super::ledger::Entry;
use super::super::super::needs::Need;
use super::super::super::parameters::Parameters;
use super::super::super::trace::Trace;
use super::super::super::words::{instant, place_name, span, who};
use super::super::Kind;
use super::seen::{accepted_at, by, is_our_doing, root, taken_before};
use crate::model::{Clue, Evidence, Initiator, Severity};

/// Parameters of a disabled-user rule.
#[derive(Debug, Clone, PartialEq)]
pub struct DisabledUser {
    /// From the moment the user is disabled to its effect on every node of the server.
    pub propagation: Duration,
    pub settle: Duration,
}

impl Default for DisabledUser {
    fn default() -> Self {
        Self {
            propagation: Duration::from_secs(10),
            settle: Duration::from_secs(2),
        }
    }
}

impl Kind for DisabledUser {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.duration(
            "propagation",
            "A use this soon after the user was disabled was under way, or met a node that had not heard of it.",
            &mut self.propagation,
        );
        p.duration(
            "settle",
            "How long a question waits to hear that the user was enabled again.",
            &mut self.settle,
        );
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::all(&[Clue::UserId])]
    }
}

impl FamilyKind for DisabledUser {
    fn settle(&self) -> Duration {
        self.settle
    }

    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        case.measures.iter().any(|m| m.taken == Taken::Disabled)
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        let accepted = accepted_at(case, at.time);
        let found = accepted.and_then(|entry| self.used(case, entry, at.cut, trace));
        found.into_iter().collect()
    }
}

impl DisabledUser {
    fn used(
        &self,
        case: &FamilyCase<'_>,
        entry: &Entry,
        cut: i64,
        trace: &mut Trace,
    ) -> Option<Finding> {
        let mut taken = taken_before(case, entry.time, self.propagation);
        let Some(disabled) = taken.find(|m| m.taken == Taken::Disabled) else {
            trace.note(|| {
                let values =
                    Evidence::new().with("propagation_seconds", self.propagation.as_secs());
                let why = "the user was not disabled longer before this use than `propagation`";
                (why.to_owned(), values)
            });
            return None;
        };
        if is_enabled_again(case, disabled, cut, trace)
            || is_our_doing(case, disabled.time, entry.time, trace)
        {
            return None;
        }
        Some(describe(case, entry, disabled))
    }
}

/// As far as is known when the question is asked.
fn is_enabled_again(
    case: &FamilyCase<'_>,
    disabled: &Measure,
    cut: i64,
    trace: &mut Trace,
) -> bool {
    let since = |time: &i64| (disabled.time..=cut).contains(time);
    let enabled = case.measures.iter().filter(|m| m.taken == Taken::Enabled);
    let enabled = enabled.map(|m| m.time).find(since);
    let let_in = case.user_let_in.iter().copied().find(since);
    let Some(since) = enabled.or(let_in) else {
        return false;
    };
    trace.note(|| {
        let values = Evidence::new()
            .with("disabled", instant(disabled.time))
            .with("enabled", instant(since));
        let why = if enabled.is_some() {
            "the user was enabled again before this use"
        } else {
            "the server has begun another family for the user since: enabled again"
        };
        (why.to_owned(), values)
    });
    true
}

fn describe(case: &FamilyCase<'_>, entry: &Entry, disabled: &Measure) -> Finding {
    let presenter = case.context(entry);
    Finding {
        about: vec![disabled.time.to_string(), root(case)],
        time: entry.time,
        event_id: entry.event_id().cloned(),
        at_most: Severity::Critical,
        ask: Ask::Response,
        may_revoke: true,
        confidence: 1.0,
        presenter: Arc::clone(presenter),
        foreign_network: None,
        summary: format!(
            "A refresh from {} was accepted {} after its user was disabled or deleted{}",
            place_name(presenter),
            span(entry.time - disabled.time),
            by(disabled)
        ),
        evidence: Evidence::new()
            .with("disabled", instant(disabled.time))
            .with_some("initiator", disabled.by.map(Initiator::as_str))
            .with("seconds_after", (entry.time - disabled.time) / 1000)
            .with_some("presented_token", entry.token_name())
            .with("presenter", who(presenter)),
    }
}
