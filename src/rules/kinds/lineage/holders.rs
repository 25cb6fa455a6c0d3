//! Proof of two holders without a foreign context: networks alternate over the tokens of one dispute.
//!
//! Plain Keycloak carries the address only, so that a thief in another network is merely unknown. One client that moves
//! between two networks cannot look like this: whoever presents the successor got the answer to the disputed token, and
//! whoever presents the disputed token (or a successor on another branch) meanwhile in another network did not. Nor can it be
//! one person when the two are further apart than anybody travels, whatever device both claim to be: either holds a successor
//! that the other was not given, or the disputed token itself came from a line and from a rented server that the family never
//! used. A phone between a line and its carrier's hub repeats a token from far away, but no phone comes out at a rented server.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::case::millis;
use super::super::super::context::Standing;
use super::super::super::ledger::TokenHash;
use super::view::View;
use crate::model::{Network, limits};

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
    let presentations = Presentations::of(view, token, until);
    let proofs = [presentations.alternation(), presentations.parted()];
    proofs
        .into_iter()
        .flatten()
        .min_by_key(|proof| proof.completed)
}

/// A set of presentations by their number: the ledger has room for fewer than there are bits.
type Set = u128;
const _: () = assert!(limits::LEDGER_ENTRIES_MAX <= Set::BITS as usize);

/// The presentations of the disputed token and its successors, in order, and what sets each two of them apart. Made once,
/// so that the search costs little where somebody presents as often as the ledger allows.
struct Presentations {
    entries: Vec<usize>,
    times: Vec<i64>,
    window: i64,
    /// For each: those from another network.
    elsewhere: Vec<Set>,
    /// For each: those whose holder cannot be its own.
    apart: Vec<Set>,
    /// For each: those from where nobody can have come in the time.
    unreachable: Vec<Set>,
    /// Of the disputed token itself: from rented servers that are new to the family, and from anywhere else.
    rented: Set,
    unrented: Set,
}

impl Presentations {
    fn of(view: &View<'_>, token: TokenHash, until: i64) -> Self {
        let successors = view.descendants(token);
        let entries: Vec<usize> = view
            .entries()
            .take_while(|(_, e)| e.time <= until)
            .filter(|(_, e)| {
                e.token
                    .is_some_and(|t| t == token || successors.contains(&t))
            })
            .filter(|(i, _)| view.seen(*i).context.network.is_some())
            .map(|(i, _)| i)
            .collect();
        let elsewhere = |&one: &usize| set(&entries, |other| view.network_differs(one, other));
        let unreachable = |&one: &usize| set(&entries, |other| view.unreachable(one, other));
        let lineage = Lineage::of(view, token, &entries);
        let known = view.known(Some(token), None, entries.first().copied().unwrap_or(0));
        let disputed = |entry: usize| view.entry(entry).token == Some(token);
        let is_new = |entry: usize| view.standing(entry, &known).0 != Standing::Own;
        let holds = |&holder: &usize| {
            let held = view.entry(holder).token.filter(|t| successors.contains(t));
            held.map_or(0, |held| {
                set(&entries, |other| lineage.holds_apart(view, held, other))
            })
        };
        let held: Vec<Set> = entries.iter().map(holds).collect();
        let mirrored = |one: usize| {
            (0..entries.len())
                .filter(|&other| held[other] & bit(one) != 0)
                .fold(held[one], |apart, other| apart | bit(other))
        };
        Self {
            times: entries.iter().map(|&i| view.entry(i).time).collect(),
            window: millis(view.bounds.proof_window),
            elsewhere: entries.iter().map(elsewhere).collect(),
            unreachable: entries.iter().map(unreachable).collect(),
            apart: (0..entries.len()).map(mirrored).collect(),
            rented: set(&entries, |e| disputed(e) && is_rented(view, e) && is_new(e)),
            unrented: set(&entries, |e| disputed(e) && !is_rented(view, e)),
            entries,
        }
    }

    fn parted(&self) -> Option<Proof> {
        (0..self.entries.len()).find_map(|later| {
            let opposite = if self.rented & bit(later) != 0 {
                self.unrented
            } else if self.unrented & bit(later) != 0 {
                self.rented
            } else {
                0
            };
            let two_holders = self.apart[later] | opposite;
            let before = two_holders & self.unreachable[later] & (bit(later) - 1);
            let earlier = (0..later).find(|&earlier| before & bit(earlier) != 0)?;
            Some(Proof {
                one: self.entries[later],
                other: self.entries[earlier],
                completed: self.entries[later],
            })
        })
    }

    fn alternation(&self) -> Option<Proof> {
        (0..self.entries.len()).find_map(|third| {
            let start = self.times[third] - self.window;
            let recent = self.times.partition_point(|time| *time < start);
            let second = (recent..third).find(|&second| self.alternates(recent, second, third))?;
            Some(Proof {
                one: self.entries[third],
                other: self.entries[second],
                completed: self.entries[third],
            })
        })
    }

    /// Whether some first presentation, not before `recent`, makes it X, Y, X with two holders.
    fn alternates(&self, recent: usize, second: usize, third: usize) -> bool {
        if self.elsewhere[third] & bit(second) == 0 {
            return false;
        }
        let before = (bit(second) - 1) & !(bit(recent) - 1);
        let firsts = before & self.elsewhere[second] & !self.elsewhere[third];
        let is_apart = self.apart[third] & bit(second) != 0;
        firsts != 0 && (is_apart || firsts & self.apart[second] != 0)
    }
}

/// Whether it came from a network whose addresses are rented to servers.
fn is_rented(view: &View<'_>, entry: usize) -> bool {
    let network = view.seen(entry).context.network.as_ref();
    network.is_some_and(Network::is_rented)
}

fn bit(number: usize) -> Set {
    1 << number
}

fn set(entries: &[usize], belongs: impl Fn(usize) -> bool) -> Set {
    let numbered = entries.iter().enumerate();
    numbered
        .filter(|(_, entry)| belongs(**entry))
        .fold(0, |set, (number, _)| set | bit(number))
}

/// What grew from what, of the tokens involved.
struct Lineage {
    disputed: TokenHash,
    descendants: BTreeMap<TokenHash, BTreeSet<TokenHash>>,
    /// Each use of the disputed token, with all that goes back to it.
    issuing: Vec<(usize, BTreeSet<TokenHash>)>,
}

impl Lineage {
    fn of(view: &View<'_>, disputed: TokenHash, entries: &[usize]) -> Self {
        let tokens: BTreeSet<TokenHash> = entries
            .iter()
            .filter_map(|&i| view.entry(i).token)
            .collect();
        let uses = view.uses(disputed);
        Self {
            disputed,
            descendants: tokens
                .into_iter()
                .map(|token| (token, view.descendants(token)))
                .collect(),
            issuing: uses.into_iter().map(|u| (u, view.issued_by(u))).collect(),
        }
    }

    fn leads_to(&self, from: TokenHash, to: TokenHash) -> bool {
        self.descendants
            .get(&from)
            .is_some_and(|all| all.contains(&to))
    }

    /// The holder presents the successor `held`; `other` presents a token that does not lead to it through the holder's
    /// own hands, and `held` was not issued to `other`'s network.
    fn holds_apart(&self, view: &View<'_>, held: TokenHash, other: usize) -> bool {
        let Some(others) = view.entry(other).token else {
            return false;
        };
        let mut issuing = self
            .issuing
            .iter()
            .filter(|(_, issued)| issued.contains(&held))
            .map(|(u, _)| *u)
            .peekable();
        let was_issued = issuing.peek().is_some();
        let issued_to_other = issuing.any(|u| !view.network_differs(u, other));
        // A client that moved on presents what the earlier network was given: one chain through both is one holder.
        let one_chain = others != self.disputed
            && (self.leads_to(others, held) || self.leads_to(held, others) || others == held);
        was_issued && !issued_to_other && !one_chain
    }
}
