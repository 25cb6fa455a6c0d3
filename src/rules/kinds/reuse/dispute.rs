//! The rows of the table, one function each.

use std::collections::BTreeSet;

use super::super::super::context::{Basis, Standing};
use super::super::super::ledger::{Answer, Entry, TokenHash};
use super::view::{HORIZON_MS, View, millis};
use super::{Finding, Row, Verdict, holders};

/// Live or not: a token presented by another client, or with another proof key than the family's.
pub(super) fn mismatches(view: &View<'_>) -> Vec<Finding> {
    if !view.settled() {
        return Vec::new();
    }
    let Some(first) = first_accepted(view) else {
        return Vec::new();
    };
    let keys_differ = view.keys_differ();
    view.entries()
        .filter(|(i, e)| *i != first && e.answer != Answer::Issued && !view.is_aftermath(e))
        .filter(|(_, e)| e.answer.accepted() || (!e.answer.dead() && is_own_token(view, e)))
        .filter_map(|(i, entry)| {
            let other_client = entry.other_client(view.entry(first));
            if !other_client && !keys_differ {
                return None;
            }
            let known = view.known(entry.token, entry.generation, i);
            let (standing, basis) = view.standing(i, &known);
            let other_key = basis == Basis::Key && standing == Standing::Foreign;
            let row = if other_client {
                Row::OtherClient
            } else if other_key {
                Row::OtherKey
            } else {
                return None;
            };
            Some(finding(view, Verdict::Theft, row, i).blaming(Some(i), Some(first), basis))
        })
        .collect()
}

/// Whether the family is known to have held the presented token: anybody can present garbage.
fn is_own_token(view: &View<'_>, entry: &Entry) -> bool {
    let token = entry.token;
    let holds = |e: &Entry| e.issued == token || e.token == token;
    token.is_some() && view.entries().any(|(_, e)| e.answer.accepted() && holds(e))
}

/// Every token that was presented after it had been consumed.
pub(super) fn disputes(view: &View<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for token in presented_again(view) {
        findings.extend(accepted_again(view, token));
        findings.extend(refused(view, token));
        findings.extend(fork(view, token));
    }
    findings.extend(refused_without_token(view));
    findings
}

/// All but those that were presented once and accepted, which is nearly every token of a long chain.
fn presented_again(view: &View<'_>) -> BTreeSet<TokenHash> {
    let mut presented = BTreeSet::new();
    let again = |(_, e): (usize, &Entry)| {
        let token = e.token?;
        let is_repeat = !presented.insert(token);
        (is_repeat || !e.answer.accepted() || e.used_long_ago).then_some(token)
    };
    view.entries().filter_map(again).collect()
}

fn accepted_again(view: &View<'_>, token: TokenHash) -> Vec<Finding> {
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
        .filter_map(|(nth, &again)| accepted_row(view, token, first, nth, again))
        .collect()
}

/// Used before all that is remembered, and so are its successors: the server honoured a dead token.
fn honoured_long_dead(view: &View<'_>, again: usize) -> Finding {
    let entry = view.entry(again);
    let known = view.known(entry.token, entry.generation, again);
    let (thief, owner, basis) = blame(view, &[again], &known);
    finding(view, Verdict::Theft, Row::AcceptedDead, again).blaming(thief, owner, basis)
}

fn accepted_row(
    view: &View<'_>,
    token: TokenHash,
    first: usize,
    nth: usize,
    again: usize,
) -> Option<Finding> {
    let age = view.entry(again).time - view.entry(first).time;
    let gap = view.gap(again);
    let in_grace = age <= millis(view.leeway.grace) || nth <= view.leeway.max_reuse as usize;
    let successor_used = successors_used_before(view, token, again);
    if gap >= 2 || (!in_grace && successor_used) {
        let known = view.known(Some(token), view.entry(again).generation, again);
        let (thief, owner, basis) = blame(view, &[first, again], &known);
        return Some(
            finding(view, Verdict::Theft, Row::AcceptedDead, again).blaming(thief, owner, basis),
        );
    }
    if !view.settled() {
        return None;
    }
    let early = in_grace || age <= millis(view.rule.lost_response);
    let known = view.known(Some(token), view.entry(again).generation, again);
    let (standing, basis) = view.standing(again, &known);
    let own = standing == Standing::Own
        || (standing == Standing::Unknown && view.same_context(first, again));
    let row = if early {
        Row::AcceptedInGrace
    } else {
        Row::AcceptedLate
    };
    match (standing, own, early) {
        (Standing::Foreign, ..) => {
            Some(finding(view, Verdict::Theft, row, again).blaming(Some(again), Some(first), basis))
        }
        (_, true, true) => None,
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

fn refused(view: &View<'_>, token: TokenHash) -> Vec<Finding> {
    if !view.settled() {
        return Vec::new();
    }
    view.entries()
        .filter(|(_, e)| e.token == Some(token) && e.answer.may_be_reuse() && !view.is_aftermath(e))
        .filter(|(i, e)| was_consumed(view, token, *i, e))
        .map(|(i, _)| refused_row(view, token, i))
        .collect()
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

fn refused_row(view: &View<'_>, token: TokenHash, presented: usize) -> Finding {
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
    let known = view.known(Some(token), generation, presented);
    let standings: Vec<(Standing, Basis)> =
        holders.iter().map(|&i| view.standing(i, &known)).collect();
    let one_context = holders.iter().all(|&i| view.same_context(presented, i));
    if one_context || standings.iter().all(|(s, _)| *s == Standing::Own) {
        return finding(view, Verdict::ClientFault, Row::Refused, presented);
    }
    if standings.iter().any(|(s, _)| *s == Standing::Foreign) {
        let (thief, owner, basis) = blame(view, &holders, &known);
        let completed = thief
            .map_or(presented, |t| t.max(presented))
            .max(first_use(view, token).unwrap_or(0));
        return Finding {
            completed,
            ..finding(view, Verdict::Theft, Row::Refused, presented).blaming(thief, owner, basis)
        };
    }
    let unknown = standings
        .iter()
        .find(|(s, _)| *s == Standing::Unknown)
        .map_or(Basis::NoHistory, |(_, b)| *b);
    suspected(view, token, Row::Refused, presented, unknown)
}

fn first_use(view: &View<'_>, token: TokenHash) -> Option<usize> {
    view.uses(token).first().copied()
}

/// A source that names neither tokens nor generations: the provider's word is all there is, and only a foreign context counts.
fn refused_without_token(view: &View<'_>) -> Vec<Finding> {
    if !view.settled() {
        return Vec::new();
    }
    view.entries()
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
            finding(view, verdict, Row::Refused, i).blaming(thief, first_accepted(view), basis)
        })
        .collect()
}

/// Two successors of one token, each presented later and accepted: each is compared with those used before it.
fn fork(view: &View<'_>, token: TokenHash) -> Vec<Finding> {
    if !view.settled() {
        return Vec::new();
    }
    let successors: BTreeSet<TokenHash> = view
        .uses(token)
        .into_iter()
        .filter_map(|u| view.entry(u).issued)
        .collect();
    let used: BTreeSet<usize> = successors
        .into_iter()
        .filter_map(|s| first_use(view, s))
        .collect();
    used.iter()
        .flat_map(|&later| used.range(..later).map(move |&earlier| (earlier, later)))
        .filter_map(|(earlier, later)| fork_row(view, token, earlier, later))
        .collect()
}

fn fork_row(view: &View<'_>, token: TokenHash, earlier: usize, later: usize) -> Option<Finding> {
    let (standing, basis) = view.standing(later, &[view.seen(earlier)]);
    match standing {
        Standing::Own => None,
        Standing::Unknown if view.same_context(earlier, later) => None,
        Standing::Unknown => Some(suspected(view, token, Row::Fork, later, basis)),
        Standing::Foreign => {
            let known = view.known(Some(token), None, earlier);
            let (thief, owner, _) = blame(view, &[earlier, later], &known);
            Some(finding(view, Verdict::Theft, Row::Fork, later).blaming(thief, owner, basis))
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
) -> Finding {
    let Some(proof) = holders::proved(view, token) else {
        return finding(view, Verdict::Suspected, row, presented).blaming(None, None, basis);
    };
    let known = view.known(Some(token), view.entry(presented).generation, presented);
    let (thief, owner, basis) = blame(view, &[proof.one, proof.other], &known);
    let row = if row == Row::Refused {
        Row::TwoHolders
    } else {
        row
    };
    Finding {
        completed: proof.completed.max(presented),
        ..finding(view, Verdict::Theft, row, presented).blaming(thief, owner, basis)
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

fn first_accepted(view: &View<'_>) -> Option<usize> {
    view.entries()
        .find(|(_, e)| e.answer.accepted())
        .map(|(i, _)| i)
}

fn finding(view: &View<'_>, verdict: Verdict, row: Row, presented: usize) -> Finding {
    Finding {
        verdict,
        token: view.entry(presented).token_name(),
        token_hash: view.entry(presented).token,
        row,
        completed: presented,
        presented,
        thief: None,
        owner: None,
        basis: Basis::AllKnown,
        gap: view.gap(presented),
        may_revoke: true,
        repeats: 0,
    }
}

impl Finding {
    fn blaming(self, thief: Option<usize>, owner: Option<usize>, basis: Basis) -> Self {
        Self {
            thief,
            owner: owner.filter(|o| Some(*o) != thief),
            basis,
            ..self
        }
    }
}
