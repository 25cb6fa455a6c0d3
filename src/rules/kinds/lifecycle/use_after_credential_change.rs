//! `use_after_credential_change`: a family begun before its user changed the password or second factor still refreshes.
//!
//! What that means is for the tenant to say. Where a change ends the user's families (`credential_change_revokes`), one
//! that goes on is held by somebody who did not take part in the change. Where it does not, every telephone in a pocket
//! goes on after a change at the desk, and a page for each would bury the one that matters: there only a use from a
//! context foreign to the family is told, and nothing is ended.
//!
//! Never of this kind: the session in which users changed their own credentials, and whoever has the context of that
//! change. Nothing that may still come excuses.

use std::sync::Arc;
use std::time::Duration;

use super::super::super::case::{At, FamilyCase, FamilyKind, Measure, Taken};
use super::super::super::context::{Basis, Seen, Standing, TravelBounds, standing};
use super::super::super::finding::{Ask, Finding};
use super::super::super::ledger::Entry;
use super::super::super::needs::Need;
use super::super::super::parameters::Parameters;
use super::super::super::trace::Trace;
use super::super::super::words::{instant, place_name, span, who};
use super::super::Kind;
use super::seen::{accepted_at, by, is_our_doing, root, stands, taken_before};
use crate::model::{Clue, Evidence, Initiator, Severity};

/// Parameters of a use-after-credential-change rule.
#[derive(Debug, Clone, PartialEq)]
pub struct UseAfterCredentialChange {
    /// A server takes its time to end what a change ends.
    pub skew: Duration,
    pub settle: Duration,
    pub travel: TravelBounds,
}

impl Default for UseAfterCredentialChange {
    fn default() -> Self {
        Self {
            skew: Duration::from_mins(5),
            settle: Duration::from_secs(2),
            travel: TravelBounds::default(),
        }
    }
}

impl Kind for UseAfterCredentialChange {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.duration(
            "skew",
            "How long a server may take to end what a change of credentials ends.",
            &mut self.skew,
        );
        p.settle(&mut self.settle);
        self.travel.parameters(p);
    }

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::all(&[Clue::UserId]),
            Need::part(
                Clue::WHO,
                "strangers, where tenants keep families after a change of credentials",
            ),
        ]
    }
}

impl FamilyKind for UseAfterCredentialChange {
    fn settle(&self) -> Duration {
        self.settle
    }

    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        let mut measures = case.measures.iter();
        measures.any(|m| m.taken == Taken::CredentialsChanged)
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        let accepted = accepted_at(case, at.time);
        let found = accepted.and_then(|entry| self.used(case, entry, trace));
        found.into_iter().collect()
    }
}

impl UseAfterCredentialChange {
    fn used(&self, case: &FamilyCase<'_>, entry: &Entry, trace: &mut Trace) -> Option<Finding> {
        let mut taken = taken_before(case, entry.time, self.skew);
        let Some(change) = taken.find(|m| m.taken == Taken::CredentialsChanged) else {
            trace.note(|| {
                let values = Evidence::new().with("skew_seconds", self.skew.as_secs());
                let why = "no change of credentials since the family began is further before this use than `skew`";
                (why.to_owned(), values)
            });
            return None;
        };
        if self.is_own_change(case, entry, change, trace)
            || is_our_doing(case, change.time, entry.time, trace)
        {
            return None;
        }
        let (standing, basis) = stands(case, entry, change.time, &self.travel);
        let revokes = case.tenant.credential_change_revokes;
        if !revokes && standing != Standing::Foreign {
            trace.note(|| {
                let values = Evidence::new()
                    .with("changed", instant(change.time))
                    .with("credential_change_revokes", false)
                    .with("context", standing.as_str())
                    .with("basis", basis.as_str());
                let why = "the tenant keeps families after a change of credentials, and nothing about this use is foreign";
                (why.to_owned(), values)
            });
            return None;
        }
        Some(describe(case, entry, change, (standing, basis)))
    }

    /// The session in which it was done, or the device.
    fn is_own_change(
        &self,
        case: &FamilyCase<'_>,
        entry: &Entry,
        change: &Measure,
        trace: &mut Trace,
    ) -> bool {
        // What an operator does is done from nowhere, but can name a session all the same.
        let Some(context) = &change.context else {
            return false;
        };
        let same_session = change.session.is_some() && change.session == case.session;
        let of_change = Seen {
            context,
            time: change.time,
        };
        let (stands, basis) = standing(case.ledger.seen(entry), &[of_change], &self.travel);
        let is_own = same_session || stands == Standing::Own;
        if is_own {
            trace.note(|| {
                let why = if same_session {
                    "the session in which the user changed the credentials lives on"
                } else {
                    "used from the context in which the user changed the credentials"
                };
                let values = Evidence::new()
                    .with("changed", instant(change.time))
                    .with("basis", basis.as_str());
                (why.to_owned(), values)
            });
        }
        is_own
    }
}

fn describe(
    case: &FamilyCase<'_>,
    entry: &Entry,
    change: &Measure,
    (standing, basis): (Standing, Basis),
) -> Finding {
    let revokes = case.tenant.credential_change_revokes;
    let presenter = case.context(entry);
    let foreign = presenter.network.as_ref().map(|network| network.prefix);
    // What may revoke is another finding than what may not: a tenant's word can change.
    let weight = if revokes { "" } else { "may not revoke" };
    let (stranger, why) = if revokes {
        ("", ", which should have ended the login")
    } else {
        ("by a stranger ", "")
    };
    Finding {
        about: vec![weight.into(), change.time.to_string(), root(case)],
        time: entry.time,
        event_id: entry.event_id().cloned(),
        at_most: if revokes {
            Severity::Critical
        } else {
            Severity::Medium
        },
        ask: Ask::Response,
        may_revoke: revokes,
        confidence: if revokes { 1.0 } else { 0.5 },
        presenter: Arc::clone(presenter),
        foreign_network: foreign.filter(|_| standing == Standing::Foreign),
        summary: format!(
            "A refresh {stranger}from {} was accepted {} after the user's credentials were changed{}{why}",
            place_name(presenter),
            span(entry.time - change.time),
            by(change)
        ),
        evidence: Evidence::new()
            .with("changed", instant(change.time))
            .with_some("initiator", change.by.map(Initiator::as_str))
            .with("credential_change_revokes", revokes)
            .with("seconds_after", (entry.time - change.time) / 1000)
            .with_some("family_began", case.began.map(instant))
            .with_some("presented_token", entry.token_name())
            .with("context", standing.as_str())
            .with("basis", basis.as_str())
            .with("presenter", who(presenter)),
    }
}
