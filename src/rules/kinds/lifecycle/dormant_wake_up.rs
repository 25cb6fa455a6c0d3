//! `dormant_wake_up`: a family that nobody used for weeks is used again.
//!
//! Most often a holiday, a device from a drawer or an application for one season, so that its own context wakes it
//! without a word. From a context that is new to it the wake-up is a signal for other rules; from one that is foreign, or
//! from a rented or anonymous network that it never used, somebody may have found an old backup. Alone it proves nothing.
//!
//! What was drawn together in the ledger hides uses: a gap is only believed where none can have been. After 90 days the
//! engine has forgotten a family, and its use is that of one never seen. Waited for: a use shortly before.

use std::sync::Arc;
use std::time::Duration;

use super::super::super::case::{At, FamilyCase, FamilyKind, millis};
use super::super::super::context::{Basis, Context, Standing, TravelBounds};
use super::super::super::finding::{Ask, Finding};
use super::super::super::ledger::{Answer, Entry};
use super::super::super::needs::Need;
use super::super::super::parameters::Parameters;
use super::super::super::trace::Trace;
use super::super::super::words::{instant, place_name, span, who};
use super::super::Kind;
use super::seen::{accepted_at, root, stands};
use crate::model::{Clue, Evidence, NetworkClass, Severity};

/// Parameters of a dormant-wake-up rule.
#[derive(Debug, Clone, PartialEq)]
pub struct DormantWakeUp {
    /// Without a use for so long, a family is asleep.
    pub idle: Duration,
    pub settle: Duration,
    pub travel: TravelBounds,
}

impl Default for DormantWakeUp {
    fn default() -> Self {
        Self {
            idle: Duration::from_hours(30 * 24),
            settle: Duration::from_secs(2),
            travel: TravelBounds::default(),
        }
    }
}

/// A wake-up from a new context that is not foreign, as a share of the rule's weight: 0.2 of 0.6.
const NEW_CONTEXT: f64 = 1.0 / 3.0;

impl Kind for DormantWakeUp {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.duration(
            "idle",
            "Without a use for so long, a family is asleep; beyond 90 days it is forgotten.",
            &mut self.idle,
        );
        p.duration(
            "settle",
            "How long a question waits for a use shortly before.",
            &mut self.settle,
        );
        self.travel.parameters(p);
    }

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::all(&[Clue::FamilyId, Clue::TokenId, Clue::SessionId]),
            Need::all(Clue::WHO),
            Need::part(&[Clue::AnonymousIp], "rented and anonymous networks"),
        ]
    }
}

impl FamilyKind for DormantWakeUp {
    fn settle(&self) -> Duration {
        self.settle
    }

    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        let entries = case.ledger.entries();
        let ends = entries.first().zip(entries.last());
        let long_enough = |(first, last): (&Entry, &Entry)| {
            last.time.saturating_sub(first.time) >= millis(self.idle)
        };
        // Nearly every family is younger than that.
        ends.is_some_and(long_enough) && {
            let pairs = entries.windows(2);
            pairs
                .into_iter()
                .any(|pair| long_enough((&pair[0], &pair[1])))
                || entries.iter().any(|e| !e.answer.accepted())
        }
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        let accepted = accepted_at(case, at.time);
        let found = accepted.and_then(|entry| self.used(case, entry, trace));
        found.into_iter().collect()
    }
}

impl DormantWakeUp {
    fn used(&self, case: &FamilyCase<'_>, entry: &Entry, trace: &mut Trace) -> Option<Finding> {
        let last = last_use(case, entry.time)?;
        let idle = entry.time - last;
        if idle < millis(self.idle) {
            trace.note(|| {
                let values = Evidence::new()
                    .with("idle_seconds", idle / 1000)
                    .with("limit_seconds", self.idle.as_secs());
                ("the family was not idle for so long".to_owned(), values)
            });
            return None;
        }
        let (standing, basis) = stands(case, entry, entry.time, &self.travel);
        if standing == Standing::Own {
            trace.note(|| {
                let values = Evidence::new()
                    .with("idle_seconds", idle / 1000)
                    .with("basis", basis.as_str());
                let why = "woken from its own context: a holiday, or a device from a drawer";
                (why.to_owned(), values)
            });
            return None;
        }
        let presenter = case.context(entry);
        let rented = !case.client.own_addresses && is_rented(presenter);
        let suspect = standing == Standing::Foreign || rented;
        Some(describe(case, entry, last, (standing, basis), suspect))
    }
}

/// When the family was last used before `time`, as far as is certain; nothing where uses around that time may be hidden.
fn last_use(case: &FamilyCase<'_>, time: i64) -> Option<i64> {
    let mut before = case.entries_before(time).iter().rev();
    let last = before.find(|e| matches!(e.answer, Answer::Accepted | Answer::Issued))?;
    let folded = case.ledger.folded_until().unwrap_or(i64::MIN);
    (folded < time).then(|| last.time.max(folded))
}

/// A network where people rent servers or hide, as far as is known.
fn is_rented(context: &Context) -> bool {
    context.network.as_ref().is_some_and(|network| {
        let class = network.class;
        matches!(class, Some(NetworkClass::Hosting | NetworkClass::Tor))
            || (class.is_none() && (network.anonymity.hosting || network.anonymity.hides_place()))
    })
}

fn describe(
    case: &FamilyCase<'_>,
    entry: &Entry,
    last: i64,
    (standing, basis): (Standing, Basis),
    suspect: bool,
) -> Finding {
    let presenter = case.context(entry);
    let idle = span(entry.time - last);
    let place = place_name(presenter);
    let foreign = presenter.network.as_ref().map(|network| network.prefix);
    Finding {
        about: vec![
            if suspect { "suspect" } else { "" }.to_owned(),
            last.to_string(),
            root(case),
        ],
        time: entry.time,
        event_id: entry.event_id().cloned(),
        at_most: if suspect {
            Severity::Low
        } else {
            Severity::Info
        },
        ask: if suspect { Ask::Response } else { Ask::Nothing },
        may_revoke: false,
        confidence: if suspect { 1.0 } else { NEW_CONTEXT },
        presenter: Arc::clone(presenter),
        foreign_network: foreign.filter(|_| standing == Standing::Foreign),
        summary: if suspect {
            format!("A login unused for {idle} was used again, by a stranger at {place}")
        } else {
            format!("A login unused for {idle} was used again, at {place}, which is new to it")
        },
        evidence: Evidence::new()
            .with("last_used", instant(last))
            .with("idle_seconds", (entry.time - last) / 1000)
            .with("context", standing.as_str())
            .with("basis", basis.as_str())
            .with_some("presented_token", entry.token_name())
            .with("presenter", who(presenter)),
    }
}
