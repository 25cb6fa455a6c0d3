//! What the lifecycle kinds ask of a case alike: which use is meant, when the family began, who ended it, and whose
//! context the use came from.

use std::time::Duration;

use super::super::super::case::{FamilyCase, Measure, millis};
use super::super::super::context::{Basis, Seen, Standing, TravelBounds, standing};
use super::super::super::ledger::{Answer, Entry};
use super::super::super::trace::Trace;
use super::super::super::words::instant;
use crate::model::{Evidence, Initiator};

/// From the attempt at a revocation to its effect; the longest that a call may take.
const OUR_END_TAKES: Duration = Duration::from_secs(10);

/// The refresh accepted at exactly this time.
pub(super) fn accepted_at<'a>(case: &FamilyCase<'a>, time: i64) -> Option<&'a Entry> {
    let entries = case.entries_at(time).iter();
    entries.into_iter().find(|e| e.answer == Answer::Accepted)
}

/// When the family had begun, as it stood at `time`: a source that names no tokens begins one again at each login.
pub(super) fn began(case: &FamilyCase<'_>, time: i64) -> Option<i64> {
    let mut before = case.entries_before(time).iter().rev();
    let issued = before.find(|e| e.answer == Answer::Issued);
    issued.map(|e| e.time).or(case.began)
}

/// Measures that a use at `time` came after, newest first: taken while the family lived, more than `leeway` before.
pub(super) fn taken_before<'a>(
    case: &FamilyCase<'a>,
    time: i64,
    leeway: Duration,
) -> impl Iterator<Item = &'a Measure> + use<'a> {
    let began = began(case, time);
    let in_force = move |m: &&Measure| {
        let after = m.time.saturating_add(millis(leeway)) < time;
        after && began.is_some_and(|began| began < m.time)
    };
    case.measures.iter().rev().filter(in_force)
}

/// Whether this daemon ended the family, too, before `time` and not long before `since`: then what the server does is its
/// answer to us. An end that somebody else brought about later than ours stands on its own.
pub(super) fn is_our_doing(
    case: &FamilyCase<'_>,
    since: i64,
    time: i64,
    trace: &mut Trace,
) -> bool {
    let ends = case.ends;
    let takes = millis(OUR_END_TAKES);
    let ours = |us: &&i64| **us <= time && (ends.assumed || us.saturating_add(takes) >= since);
    let Some(us) = ends.by_us.iter().find(ours) else {
        return false;
    };
    trace.note(|| {
        let values = Evidence::new().with("ended_by_us", instant(*us));
        let why = "self-induced: this daemon ended the family itself";
        (why.to_owned(), values)
    });
    true
}

/// A name of the family that does not hang on the order of arrival: the token of the first that was accepted of it.
pub(super) fn root(case: &FamilyCase<'_>) -> String {
    let mut entries = case.ledger.entries().iter();
    let first = entries.find(|e| e.answer.accepted());
    let token = first.and_then(|e| e.issued.filter(|_| e.token.is_none()).or(e.token));
    token.map_or_else(|| case.id.to_string(), |hash| hash.to_string())
}

/// How a presentation stands to the family's own before `until`.
pub(super) fn stands(
    case: &FamilyCase<'_>,
    entry: &Entry,
    until: i64,
    travel: &TravelBounds,
) -> (Standing, Basis) {
    let before = case.entries_before(until).iter();
    let known: Vec<Seen<'_>> = before
        .filter(|e| e.answer.accepted())
        .map(|e| case.ledger.seen(e))
        .chain(case.ledger.settled_before(until))
        .collect();
    standing(case.ledger.seen(entry), &known, travel)
}

/// Who did it, as the end of a clause; nothing where nobody is named.
pub(super) const fn by(measure: &Measure) -> &'static str {
    match measure.by {
        Some(Initiator::User) => " by the user",
        Some(Initiator::Admin) => " by an operator",
        Some(Initiator::System) => " by the server",
        Some(Initiator::Tokenwarden) | None => "",
    }
}
