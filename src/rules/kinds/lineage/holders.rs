//! Proof of two holders without a foreign context: networks alternate over the tokens of one dispute.
//!
//! Plain Keycloak carries the address only, so that a thief in another network is merely unknown. One client that moves
//! between two networks cannot look like this: whoever presents the successor got the answer to the disputed token, and
//! whoever presents the disputed token (or a successor on another branch) meanwhile in another network did not. Nor can it be
//! one person when the two are further apart than anybody travels, whatever device both claim to be: either holds a successor
//! that the other was not given, or the disputed token itself came from a line and from a rented server that the family never
//! used. A phone between a line and its carrier's hub repeats a token from far away, but no phone comes out at a rented server.

use super::super::super::case::millis;
use super::super::super::context::{Context, Standing};
use super::super::super::ledger::TokenHash;
use super::descent::{Descent, Set, bit, members, set};
use super::view::View;
use crate::model::Network;

pub(super) struct Proof {
    /// An entry of one holder and one of the other.
    pub(super) one: usize,
    pub(super) other: usize,
    /// The entry that completed the pattern.
    pub(super) completed: usize,
}

/// The first time that networks X, Y, X alternate within the proof window over the disputed token and its successors, or that
/// two places are presented from which no one person can be at both, one side holding a successor that the other side's
/// presentation did not issue, or being a rented server.
/// Only what was presented up to `until` (milliseconds of event time) counts.
pub(super) fn proved(view: &View<'_>, token: TokenHash, until: i64) -> Option<Proof> {
    // Most families are never anywhere else, and either pattern needs two networks.
    let elsewhere = elsewhere(view)?;
    let presentations = Presentations::of(view, elsewhere, token, until)?;
    let proofs = [presentations.alternation(), presentations.parted()];
    proofs
        .into_iter()
        .flatten()
        .min_by_key(|proof| proof.completed)
}

/// For each entry: those from another network. Nothing where there is but one.
fn elsewhere(view: &View<'_>) -> Option<Vec<Set>> {
    // A ledger keeps each context once.
    let mut contexts: Vec<(&Context, Set)> = Vec::new();
    for (entry, _) in view.entries() {
        let context = view.seen(entry).context;
        let known = contexts.iter_mut().find(|it| std::ptr::eq(it.0, context));
        match known {
            Some((_, entries)) => *entries |= bit(entry),
            None => contexts.push((context, bit(entry))),
        }
    }
    let mut elsewhere = vec![0; view.entries().len()];
    for (one, entries) in &contexts {
        let others = contexts.iter().filter(|it| one.network_differs(it.0));
        let others = others.fold(0, |all, (_, entries)| all | entries);
        members(*entries).for_each(|entry| elsewhere[entry] = others);
    }
    elsewhere.iter().any(|it| *it != 0).then_some(elsewhere)
}

/// The presentations of the disputed token and its successors, and what sets each two of them apart. Made once, so that the
/// search costs little where somebody presents as often as the ledger allows.
struct Presentations<'a> {
    view: &'a View<'a>,
    entries: Set,
    /// For each entry: those from another network.
    elsewhere: Vec<Set>,
    /// For each: those whose holder cannot be its own.
    apart: Vec<Set>,
    /// Of the disputed token itself: from rented servers that are new to the family, and from anywhere else.
    rented: Set,
    unrented: Set,
}

impl<'a> Presentations<'a> {
    fn of(view: &'a View<'a>, elsewhere: Vec<Set>, token: TokenHash, until: i64) -> Option<Self> {
        let descent = Descent::of(view);
        let first = view.presented(token).next()?;
        let (disputed, successors) = (descent.of_token(first), descent.grew_from(first));
        let has_network = |i| view.seen(i).context.network.is_some();
        let entries = (disputed | successors) & set(view, |i, e| e.time <= until && has_network(i));
        let (rented, unrented) = rented(view, token, disputed & entries, entries);
        let lineage = Lineage {
            descent: &descent,
            elsewhere: &elsewhere,
            disputed,
            uses: &view.uses(token),
        };
        let mut apart = vec![0; elsewhere.len()];
        for holder in members(entries & successors) {
            let others = entries & lineage.held_apart(holder, entries);
            apart[holder] |= others;
            members(others).for_each(|other| apart[other] |= bit(holder));
        }
        Some(Self {
            view,
            entries,
            elsewhere,
            apart,
            rented,
            unrented,
        })
    }

    fn parted(&self) -> Option<Proof> {
        members(self.entries).find_map(|later| {
            let opposite = if self.rented & bit(later) != 0 {
                self.unrented
            } else if self.unrented & bit(later) != 0 {
                self.rented
            } else {
                0
            };
            let two_holders = (self.apart[later] | opposite) & self.elsewhere[later];
            let mut before = members(two_holders & (bit(later) - 1));
            let earlier = before.find(|earlier| self.view.unreachable(later, *earlier))?;
            Some(Proof {
                one: later,
                other: earlier,
                completed: later,
            })
        })
    }

    fn alternation(&self) -> Option<Proof> {
        let window = millis(self.view.bounds.proof_window);
        members(self.entries).find_map(|third| {
            let start = self.view.first_since(self.view.entry(third).time - window);
            let recent = self.entries & (bit(third) - 1) & !(bit(start) - 1);
            let mut seconds = members(recent & self.elsewhere[third]);
            let second = seconds.find(|second| self.alternates(recent, *second, third))?;
            Some(Proof {
                one: third,
                other: second,
                completed: third,
            })
        })
    }

    /// Whether some first presentation among the `recent` makes it X, Y, X with two holders.
    fn alternates(&self, recent: Set, second: usize, third: usize) -> bool {
        let before = recent & (bit(second) - 1);
        let firsts = before & self.elsewhere[second] & !self.elsewhere[third];
        let is_apart = self.apart[third] & bit(second) != 0;
        firsts != 0 && (is_apart || firsts & self.apart[second] != 0)
    }
}

/// Of presentations of the disputed token: those from rented servers that are new to the family, and those from anywhere else.
fn rented(view: &View<'_>, token: TokenHash, disputed: Set, entries: Set) -> (Set, Set) {
    let is_rented = |entry: &usize| {
        let network = view.seen(*entry).context.network.as_ref();
        network.is_some_and(Network::is_rented)
    };
    let rented = members(disputed).filter(is_rented);
    let rented = rented.fold(0, |all, entry| all | bit(entry));
    let unrented = disputed & !rented;
    if rented == 0 || unrented == 0 {
        // One says nothing without the other.
        return (0, 0);
    }
    let first = members(entries).next().unwrap_or(0);
    let known = view.known(Some(token), None, first);
    let is_new = |entry: &usize| view.standing(*entry, &known).0 != Standing::Own;
    let new = members(rented).filter(is_new);
    (new.fold(0, |all, entry| all | bit(entry)), unrented)
}

/// What grew from what, of the tokens involved.
struct Lineage<'a> {
    descent: &'a Descent,
    elsewhere: &'a [Set],
    /// Presentations of the disputed token, and those of them that were accepted.
    disputed: Set,
    uses: &'a [usize],
}

impl Lineage<'_> {
    /// The holder presents a successor; these others present a token that does not lead to it through the holder's own hands,
    /// and it was not issued to their network.
    fn held_apart(&self, holder: usize, among: Set) -> Set {
        let issuing = self.uses.iter();
        let issuing = issuing.filter(|u| self.descent.led_to(**u) & bit(holder) != 0);
        let not_issued_to = issuing.map(|u| self.elsewhere[*u]);
        let Some(not_issued_to) = not_issued_to.reduce(|all, it| all & it) else {
            return 0;
        };
        // A client that moved on presents what the earlier network was given: one chain through both is one holder.
        let leads_here = members(among & !self.disputed)
            .filter(|other| self.descent.grew_from(*other) & bit(holder) != 0)
            .fold(0, |all, other| all | bit(other));
        let chain = leads_here | self.descent.grew_from(holder) | self.descent.of_token(holder);
        not_issued_to & !(chain & !self.disputed)
    }
}

#[cfg(test)]
mod tests;
