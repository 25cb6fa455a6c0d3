//! `lifetime`: a family is honoured longer than its server is set to.
//!
//! A fault of configuration, not a theft: a limit that was lifted, a client that is left out of it. How long a family may
//! live is declared with the client; where it is not, the rule is silent. A limit learned from the client's own families
//! would be one that whoever keeps a stolen family alive moves along.
//!
//! A family whose beginning was not seen is at least as old as it looks: nothing that may still come excuses.

use std::sync::Arc;
use std::time::Duration;

use super::super::super::case::{At, FamilyCase, FamilyKind, millis};
use super::super::super::finding::{Ask, Finding};
use super::super::super::ledger::Entry;
use super::super::super::needs::Need;
use super::super::super::parameters::Parameters;
use super::super::super::trace::Trace;
use super::super::super::words::{instant, span, who};
use super::super::Kind;
use super::seen::{accepted_at, began, root};
use crate::model::{Clue, Evidence, Severity};

/// Parameters of a lifetime rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Lifetime {
    /// Servers count from the login, in whole seconds, and not all of them on one clock.
    pub leeway: Duration,
    pub settle: Duration,
}

impl Default for Lifetime {
    fn default() -> Self {
        Self {
            leeway: Duration::from_mins(5),
            settle: Duration::from_secs(2),
        }
    }
}

impl Kind for Lifetime {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.duration(
            "leeway",
            "How much longer than `refresh_token_lifetime` of the client a family may live.",
            &mut self.leeway,
        );
        p.settle(&mut self.settle);
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::all(&[Clue::FamilyId, Clue::TokenId, Clue::SessionId])]
    }
}

impl FamilyKind for Lifetime {
    fn settle(&self) -> Duration {
        self.settle
    }

    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        let newest = case.ledger.entries().last();
        let age = newest.zip(case.began).map(|(e, began)| e.time - began);
        let longest = case.client.refresh_token_lifetime.map(millis);
        age.zip(longest).is_some_and(|(age, longest)| age > longest)
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        let accepted = accepted_at(case, at.time);
        let found = accepted.and_then(|entry| self.used(case, entry, trace));
        found.into_iter().collect()
    }
}

impl Lifetime {
    fn used(&self, case: &FamilyCase<'_>, entry: &Entry, trace: &mut Trace) -> Option<Finding> {
        let Some(longest) = case.client.refresh_token_lifetime else {
            trace.note(|| {
                let why = "the configuration says no `refresh_token_lifetime` for this client";
                (why.to_owned(), Evidence::new())
            });
            return None;
        };
        let began = began(case, entry.time)?;
        let age = entry.time - began;
        let limit = millis(longest).saturating_add(millis(self.leeway));
        if age <= limit {
            trace.note(|| {
                let values = Evidence::new()
                    .with("age_seconds", age / 1000)
                    .with("lifetime_seconds", longest.as_secs())
                    .with("leeway_seconds", self.leeway.as_secs());
                ("the family is within its lifetime".to_owned(), values)
            });
            return None;
        }
        let presenter = case.context(entry);
        Some(Finding {
            about: vec![began.to_string(), root(case)],
            time: entry.time,
            event_id: entry.event_id().cloned(),
            at_most: Severity::Medium,
            ask: Ask::Response,
            may_revoke: false,
            confidence: 1.0,
            presenter: Arc::clone(presenter),
            foreign_network: None,
            summary: format!(
                "A login was refreshed {} after it began, {} past its limit of {}",
                span(age),
                span(age - millis(longest)),
                span(millis(longest))
            ),
            evidence: Evidence::new()
                .with("family_began", instant(began))
                .with("age_seconds", age / 1000)
                .with("lifetime_seconds", longest.as_secs())
                .with_some("presented_token", entry.token_name())
                .with("presenter", who(presenter)),
        })
    }
}
