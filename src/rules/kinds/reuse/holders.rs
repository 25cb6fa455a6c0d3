//! Proof of two holders without a foreign context: networks alternate over the tokens of one dispute.
//!
//! Plain Keycloak carries the address only, so that a thief in another network is merely unknown. One client that moves
//! between two networks cannot look like this: whoever presents the successor got the answer to the disputed token, and
//! whoever presents the disputed token (or a successor on another branch) meanwhile in another network did not.

use std::collections::BTreeSet;

use super::super::super::ledger::TokenHash;
use super::view::{View, millis};

pub(super) struct Proof {
    /// An entry of one holder and one of the other.
    pub(super) one: usize,
    pub(super) other: usize,
    /// The entry that completed the pattern.
    pub(super) completed: usize,
}

/// The first time that networks X, Y, X alternate within the proof window over the disputed token and its successors,
/// one side holding a successor that the other side's presentation did not issue.
pub(super) fn proved(view: &View<'_>, token: TokenHash) -> Option<Proof> {
    let successors = view.descendants(token);
    let involved: Vec<usize> = view
        .entries()
        .filter(|(_, e)| {
            e.token
                .is_some_and(|t| t == token || successors.contains(&t))
        })
        .filter(|(i, _)| view.seen(*i).context.network.is_some())
        .map(|(i, _)| i)
        .collect();
    let window = millis(view.rule.proof_window);
    for (c, &third) in involved.iter().enumerate() {
        for (b, &second) in involved[..c].iter().enumerate() {
            for &first in &involved[..b] {
                let near = view.entry(third).time - view.entry(first).time <= window;
                if near
                    && alternates(view, first, second, third)
                    && apart(view, token, &successors, [first, third], second)
                {
                    return Some(Proof {
                        one: third,
                        other: second,
                        completed: third,
                    });
                }
            }
        }
    }
    None
}

fn alternates(view: &View<'_>, first: usize, second: usize, third: usize) -> bool {
    !view.network_differs(first, third)
        && view.network_differs(first, second)
        && view.network_differs(third, second)
}

/// Whether one side presents a successor that no presentation from the other side's network issued.
fn apart(
    view: &View<'_>,
    token: TokenHash,
    successors: &BTreeSet<TokenHash>,
    outer: [usize; 2],
    inner: usize,
) -> bool {
    outer.into_iter().any(|side| {
        holds_apart(view, token, successors, side, inner)
            || holds_apart(view, token, successors, inner, side)
    })
}

/// `holder` presents a successor; `other` presents a token that does not lead to it through the holder's own hands,
/// and the holder's successor was not issued to `other`'s network.
fn holds_apart(
    view: &View<'_>,
    token: TokenHash,
    successors: &BTreeSet<TokenHash>,
    holder: usize,
    other: usize,
) -> bool {
    let Some(held) = view.entry(holder).token.filter(|t| successors.contains(t)) else {
        return false;
    };
    let Some(others) = view.entry(other).token else {
        return false;
    };
    let issuing: Vec<usize> = view
        .uses(token)
        .into_iter()
        .filter(|&u| view.issued_by(u).contains(&held))
        .collect();
    let issued_to_other = issuing.iter().any(|&u| !view.network_differs(u, other));
    // A client that moved on presents what the earlier network was given: one chain through both is one holder.
    let one_chain = others != token
        && (view.descendants(others).contains(&held)
            || view.descendants(held).contains(&others)
            || others == held);
    !issuing.is_empty() && !issued_to_other && !one_chain
}
