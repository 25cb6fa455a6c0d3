//! The rows of the table, one function each.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::super::case::millis;
use super::super::super::context::{Basis, Standing};
use super::super::super::ledger::{Answer, Entry, TokenHash};
use super::super::super::trace::Trace;
use super::holders;
use super::verdict::{Judgement, Row, Verdict};
use super::view::{HORIZON_MS, View};
use crate::model::{Evidence, Rotation};

/// Every token that was presented after it had been consumed.
pub(super) fn disputes(view: &View<'_>, trace: &mut Trace) -> Vec<Judgement> {
    let mut judged: Vec<Judgement> = Vec::new();
    if !view.has_open_disputes() {
        return judged;
    }
    for token in view.presented_again() {
        if !view.is_open_token(token) {
            continue;
        }
        judged.extend(accepted_again(view, token, trace));
        judged.extend(refused(view, token, trace));
    }
    judged.extend(refused_without_token(view));
    restrict(view, judged)
}

/// Tokens of which two successors are in use.
pub(super) fn forks(view: &View<'_>, window: Duration, trace: &mut Trace) -> Vec<Judgement> {
    let tokens = view.presented_again().into_iter();
    let judged = tokens
        .filter_map(|token| {
            let successors = successors(view, token);
            let in_use = successors.iter().any(|it| view.is_open_token(*it));
            in_use.then_some((token, successors))
        })
        .flat_map(|(token, successors)| fork(view, token, successors, window, trace))
        .collect();
    restrict(view, judged)
}

/// Where the server may rotate or not, what it accepted is no offence.
fn restrict(view: &View<'_>, mut judged: Vec<Judgement>) -> Vec<Judgement> {
    for judgement in &mut judged {
        judgement.may_revoke =
            view.client.rotation == Rotation::Enforced || !judgement.row.rests_on_acceptance();
    }
    judged
}

fn accepted_again(view: &View<'_>, token: TokenHash, trace: &mut Trace) -> Vec<Judgement> {
    let uses = view.consumptions(token);
    let Some(&first) = uses.first() else {
        return Vec::new();
    };
    if view.entry(first).used_long_ago {
        return vec![honoured_long_dead(view, first)];
    }
    uses.iter()
        .enumerate()
        .skip(1)
        .filter_map(|(nth, &again)| accepted_row(view, token, (first, nth, again), trace))
        .collect()
}

/// Used before all that is remembered, and so are its successors: the server honoured a dead token.
fn honoured_long_dead(view: &View<'_>, again: usize) -> Judgement {
    let entry = view.entry(again);
    let known = view.known(entry.token, entry.generation, again);
    let (thief, owner, basis) = blame(view, &[again], &known);
    judgement(view, Verdict::Theft, Row::AcceptedDead, again).blaming(thief, owner, basis)
}

fn accepted_row(
    view: &View<'_>,
    token: TokenHash,
    (first, nth, again): (usize, usize, usize),
    trace: &mut Trace,
) -> Option<Judgement> {
    let age = view.entry(again).time - view.entry(first).time;
    let gap = view.gap(again);
    let in_grace = age <= millis(view.client.grace) || nth <= view.client.max_reuse as usize;
    let successor_used = successors_used_before(view, token, again);
    if gap >= 2 || (!in_grace && successor_used) {
        let known = view.known(Some(token), view.entry(again).generation, again);
        let (thief, owner, basis) = blame(view, &[first, again], &known);
        return Some(
            judgement(view, Verdict::Theft, Row::AcceptedDead, again).blaming(thief, owner, basis),
        );
    }
    // Who is foreign to a family follows from what was before the token's first use.
    if !view.is_complete_until(first) {
        return None;
    }
    let early = in_grace || age <= millis(view.bounds.lost_response);
    let known = view.known(Some(token), view.entry(again).generation, again);
    let (standing, basis) = view.standing(again, &known);
    // What one context repeats has one holder. That it is far from where the family was before is a place alone (S3).
    let only_far = standing == Standing::Unknown || basis == Basis::Travel;
    let own = standing == Standing::Own || (only_far && view.same_context(first, again));
    let row = if early {
        Row::AcceptedInGrace
    } else {
        Row::AcceptedLate
    };
    match (standing, own, early) {
        (Standing::Foreign, false, _) => Some(judgement(view, Verdict::Theft, row, again).blaming(
            Some(again),
            Some(first),
            basis,
        )),
        _ if !view.settled() => None,
        (_, true, true) => {
            trace.note(|| {
                let values = Evidence::new()
                    .with("token", view.name_of(token))
                    .with("generation_gap", gap)
                    .with("age_seconds", age / 1000)
                    .with("grace_seconds", view.client.grace.as_secs())
                    .with("lost_response_seconds", view.bounds.lost_response.as_secs())
                    .with("context", basis.as_str());
                ("a retry or a race: the family's own context repeats its token in time, its successor unused".to_owned(), values)
            });
            None
        }
        _ => Some(suspected(view, token, row, again, basis)),
    }
}

fn successors_used_before(view: &View<'_>, token: TokenHash, index: usize) -> bool {
    let successors = view.descendants(token);
    let before = view.entry(index).time;
    view.entries()
        .take_while(|(_, e)| e.time < before)
        .any(|(_, e)| e.answer.accepted() && e.token.is_some_and(|t| successors.contains(&t)))
}

fn refused(view: &View<'_>, token: TokenHash, trace: &mut Trace) -> Vec<Judgement> {
    if !view.settled() {
        return Vec::new();
    }
    let of_token = |e: &Entry| e.token == Some(token) && e.answer.may_be_reuse();
    let refusals = || view.entries().filter(move |(_, e)| of_token(e));
    if trace.is_on() {
        for (i, _) in refusals() {
            excuse(view, token, i, trace);
        }
    }
    refusals()
        .filter(|(i, e)| !view.is_aftermath(e) && was_consumed(view, token, *i, e))
        .filter_map(|(i, _)| refused_row(view, token, i))
        .collect()
}

/// Says what makes a refusal no reuse.
fn excuse(view: &View<'_>, token: TokenHash, index: usize, trace: &mut Trace) {
    let entry = view.entry(index);
    let why = if view.is_aftermath(entry) {
        "refused after the family, its session or its user had been ended: aftermath"
    } else if was_consumed(view, token, index, entry) {
        return;
    } else {
        "refused, but nobody is known to have used this token before: a dead token proves nothing"
    };
    trace.note(|| {
        (
            why.to_owned(),
            Evidence::new().with("token", view.name_of(token)),
        )
    });
}

/// By our own ledger, or by the server's counters; never by the provider's reason alone.
fn was_consumed(view: &View<'_>, token: TokenHash, index: usize, entry: &Entry) -> bool {
    let counted = matches!((entry.generation, entry.latest_generation), (Some(g), Some(latest)) if latest > g);
    let until = entry.time + view.settle_ms();
    counted
        || entry.used_long_ago
        || view
            .consumptions(token)
            .into_iter()
            .any(|u| u != index && view.entry(u).time <= until)
}

/// `None` where the verdict hangs on what may still come.
fn refused_row(view: &View<'_>, token: TokenHash, presented: usize) -> Option<Judgement> {
    let mut holders = vec![presented];
    holders.extend(view.uses(token));
    let successors = view.descendants(token);
    let generation = view.entry(presented).generation;
    let near = |e: &Entry| (e.time - view.entry(presented).time).abs() <= HORIZON_MS;
    holders.extend(
        view.entries()
            .filter(|(_, e)| e.answer.accepted() && near(e))
            .filter_map(|(i, e)| {
                let later = e.token.is_some_and(|t| successors.contains(&t))
                    || matches!((e.generation, generation), (Some(g), Some(mine)) if g > mine);
                later.then_some(i)
            }),
    );
    let client_fault = || {
        Some(judgement(
            view,
            Verdict::ClientFault,
            Row::Refused,
            presented,
        ))
    };
    // Most refusals are a client's own, and this costs least to find out.
    if holders.iter().all(|&i| view.same_context(presented, i)) {
        return client_fault();
    }
    let known = view.known(Some(token), generation, presented);
    let standings: Vec<(Standing, Basis)> =
        holders.iter().map(|&i| view.standing(i, &known)).collect();
    if standings.iter().all(|(s, _)| *s == Standing::Own) {
        return client_fault();
    }
    if standings.iter().any(|(s, _)| *s == Standing::Foreign) {
        let mut others = standings.iter().skip(1);
        let moved = moved(view, presented);
        let is_moved = others.all(|(s, _)| *s != Standing::Foreign)
            && view.is_another_device(presented, &known)
            && (view.has_told(&moved) || view.logged_in_there(presented)?);
        if is_moved {
            return Some(moved);
        }
        let (thief, owner, basis) = blame(view, &holders, &known);
        let completed = thief
            .map_or(presented, |t| t.max(presented))
            .max(first_use(view, token).unwrap_or(0));
        return Some(Judgement {
            completed,
            ..judgement(view, Verdict::Theft, Row::Refused, presented).blaming(thief, owner, basis)
        });
    }
    let unknown = standings
        .iter()
        .find(|(s, _)| *s == Standing::Unknown)
        .map_or(Basis::NoHistory, |(_, b)| *b);
    Some(suspected(view, token, Row::Refused, presented, unknown))
}

/// A new phone that was set up from the old one and repeats a token whose answer the old one lost: all that sets it apart from the old
/// one is its device id. A thief looks the same until the user logs in there, which no token of this session lets him do. Nothing is
/// lost by waiting for that: who was refused holds nothing. What was told of that device stands, also when the login is forgotten.
fn moved(view: &View<'_>, presented: usize) -> Judgement {
    Judgement {
        device: view.seen(presented).context.device_id.clone(),
        ..judgement(view, Verdict::Suspected, Row::NewDevice, presented).blaming(
            None,
            None,
            Basis::Device,
        )
    }
}

fn first_use(view: &View<'_>, token: TokenHash) -> Option<usize> {
    view.uses(token).first().copied()
}

/// A source that names neither tokens nor generations: the provider's word is all there is, and only a foreign context counts.
fn refused_without_token(view: &View<'_>) -> Vec<Judgement> {
    if !view.settled() {
        return Vec::new();
    }
    view.entries()
        .filter(|(_, e)| view.is_open(e))
        .filter(|(_, e)| {
            e.token.is_none() && e.answer == Answer::RefusedReuse && !view.is_aftermath(e)
        })
        .map(|(i, _)| {
            let known = view.known(None, None, i);
            let (standing, basis) = view.standing(i, &known);
            let verdict = match standing {
                Standing::Own => Verdict::ClientFault,
                Standing::Unknown => Verdict::Suspected,
                Standing::Foreign => Verdict::Theft,
            };
            let thief = (standing == Standing::Foreign).then_some(i);
            judgement(view, verdict, Row::Refused, i).blaming(thief, first_accepted(view), basis)
        })
        .collect()
}

/// Two successors of one token, each presented later and accepted: each is compared with those used before it.
fn fork(
    view: &View<'_>,
    token: TokenHash,
    successors: BTreeSet<TokenHash>,
    window: Duration,
    trace: &mut Trace,
) -> Vec<Judgement> {
    let used: BTreeSet<usize> = successors
        .into_iter()
        .filter_map(|s| first_use(view, s))
        .collect();
    used.iter()
        .flat_map(|&later| used.range(..later).map(move |&earlier| (earlier, later)))
        .filter(|&(a, b)| view.entry(b).time - view.entry(a).time <= millis(window))
        .filter_map(|(earlier, later)| fork_row(view, token, (earlier, later), trace))
        .collect()
}

/// What the uses of a token issued.
fn successors(view: &View<'_>, token: TokenHash) -> BTreeSet<TokenHash> {
    let uses = view.uses(token).into_iter();
    uses.filter_map(|u| view.entry(u).issued).collect()
}

fn fork_row(
    view: &View<'_>,
    token: TokenHash,
    (earlier, later): (usize, usize),
    trace: &mut Trace,
) -> Option<Judgement> {
    let (standing, basis) = view.standing(later, &[view.seen(earlier)]);
    let own = standing == Standing::Own
        || (standing == Standing::Unknown && view.same_context(earlier, later));
    match standing {
        _ if own => {
            trace.note(|| {
                let values = Evidence::new()
                    .with("token", view.name_of(token))
                    .with("context", basis.as_str());
                (
                    "two successors are in use, both in one context: a race of the client's own"
                        .to_owned(),
                    values,
                )
            });
            None
        }
        Standing::Own | Standing::Unknown => Some(suspected(view, token, Row::Fork, later, basis)),
        Standing::Foreign => {
            let known = view.known(Some(token), None, earlier);
            let (thief, owner, _) = blame(view, &[earlier, later], &known);
            Some(judgement(view, Verdict::Theft, Row::Fork, later).blaming(thief, owner, basis))
        }
    }
}

/// Theft when two holders are proved, else a record for review.
fn suspected(
    view: &View<'_>,
    token: TokenHash,
    row: Row,
    presented: usize,
    basis: Basis,
) -> Judgement {
    let until = view.entry(presented).time + HORIZON_MS;
    let Some(proof) = holders::proved(view, token, until) else {
        return judgement(view, Verdict::Suspected, row, presented).blaming(None, None, basis);
    };
    let known = view.known(Some(token), view.entry(presented).generation, presented);
    let (thief, owner, basis) = blame(view, &[proof.one, proof.other], &known);
    let row = if row == Row::Refused {
        Row::TwoHolders
    } else {
        row
    };
    Judgement {
        completed: proof.completed.max(presented),
        ..judgement(view, Verdict::Theft, row, presented).blaming(thief, owner, basis)
    }
}

/// Which of the holders is foreign to the family's history, and which belongs to it: never who came second.
fn blame(
    view: &View<'_>,
    holders: &[usize],
    known: &[super::super::super::context::Seen<'_>],
) -> (Option<usize>, Option<usize>, Basis) {
    let stands: Vec<(usize, Standing, Basis)> = holders
        .iter()
        .map(|&i| {
            let (standing, basis) = view.standing(i, known);
            (i, standing, basis)
        })
        .collect();
    let own = stands
        .iter()
        .find(|(_, s, _)| *s == Standing::Own)
        .map(|(i, ..)| *i);
    let foreign = stands.iter().find(|(_, s, _)| *s == Standing::Foreign);
    // With an own branch on the other side, the one that is merely unknown is the stranger.
    let stranger = foreign
        .or_else(|| own.and_then(|_| stands.iter().find(|(_, s, _)| *s == Standing::Unknown)));
    let basis = stranger.map_or(Basis::NoHistory, |(_, _, basis)| *basis);
    (stranger.map(|(i, ..)| *i), own, basis)
}

pub(super) fn first_accepted(view: &View<'_>) -> Option<usize> {
    view.entries()
        .find(|(_, e)| e.answer.accepted())
        .map(|(i, _)| i)
}

pub(super) fn judgement(
    view: &View<'_>,
    verdict: Verdict,
    row: Row,
    presented: usize,
) -> Judgement {
    Judgement {
        verdict,
        token: view.entry(presented).token_name(),
        token_hash: view.entry(presented).token,
        row,
        completed: presented,
        presented,
        thief: None,
        owner: None,
        basis: Basis::AllKnown,
        may_revoke: true,
        device: None,
        repeats: 0,
    }
}

impl Judgement {
    pub(super) fn blaming(self, thief: Option<usize>, owner: Option<usize>, basis: Basis) -> Self {
        Self {
            thief,
            owner: owner.filter(|o| Some(*o) != thief),
            basis,
            ..self
        }
    }
}
