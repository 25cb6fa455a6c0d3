//! Which presentations go back to which, of all of a ledger at once.
//!
//! To follow the chain from each token by itself costs the square of its length, at each event of a family in dispute, and a
//! dispute is open for two days. Sets of presentations are words of a machine here: what one leads to is found for all of them
//! together (S. Warshall, "A Theorem on Boolean Matrices", 1962).

use super::super::super::ledger::{Entry, TokenHash};
use super::view::View;
use crate::model::limits;

/// A set of presentations by their number in the view: the ledger has room for fewer than there are bits.
pub(super) type Set = u128;
const _: () = assert!(limits::LEDGER_ENTRIES_MAX < Set::BITS as usize);

pub(super) const fn bit(number: usize) -> Set {
    1 << number
}

/// The members, in order.
pub(super) fn members(mut set: Set) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let first = (set != 0).then_some(set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(first)
    })
}

/// Those entries of a view.
pub(super) fn set(view: &View<'_>, belongs: impl Fn(usize, &Entry) -> bool) -> Set {
    let entries = view.entries().filter(|(i, e)| belongs(*i, e));
    entries.fold(0, |set, (i, _)| set | bit(i))
}

pub(super) struct Descent {
    /// For each presentation: those of the tokens that were issued in exchange for it, or for one of those.
    led_to: Vec<Set>,
    /// For each: those of the descendants of its token, whichever presentation of that they go back to.
    grew_from: Vec<Set>,
    /// For each: those of the same token.
    of_token: Vec<Set>,
}

impl Descent {
    pub(super) fn of(view: &View<'_>) -> Self {
        let presented = |token: Option<TokenHash>| {
            let all = token.map(|token| view.presented(token));
            all.into_iter().flatten().fold(0, |set, i| set | bit(i))
        };
        let entries = || view.entries().map(|(_, entry)| entry);
        let issued = |e: &Entry| presented(e.issued.filter(|_| e.answer.accepted()));
        let of_token: Vec<Set> = entries().map(|e| presented(e.token)).collect();
        let direct: Vec<Set> = entries().map(issued).collect();
        let any_of = |of: Set, what: &[Set]| members(of).fold(0, |all, i| all | what[i]);
        let mut grew_from: Vec<Set> = of_token.iter().map(|all| any_of(*all, &direct)).collect();
        for via in 0..grew_from.len() {
            let beyond = grew_from[via];
            for grown in &mut grew_from {
                if *grown & bit(via) != 0 {
                    *grown |= beyond;
                }
            }
        }
        let led_to = direct.iter().map(|next| next | any_of(*next, &grew_from));
        let led_to = led_to.collect();
        // Of a token used before all that is remembered, everything since has grown.
        let long_ago = set(view, |_, e| e.used_long_ago);
        if long_ago != 0 {
            let since = entries().filter(|e| e.answer.accepted() && !e.used_long_ago);
            let since = since.fold(0, |all, e| all | presented(e.token) | presented(e.issued));
            for (grown, own) in grew_from.iter_mut().zip(&of_token) {
                if own & long_ago != 0 {
                    *grown = since & !own;
                }
            }
        }
        Self {
            led_to,
            grew_from,
            of_token,
        }
    }

    pub(super) fn led_to(&self, entry: usize) -> Set {
        self.led_to[entry]
    }

    pub(super) fn grew_from(&self, entry: usize) -> Set {
        self.grew_from[entry]
    }

    pub(super) fn of_token(&self, entry: usize) -> Set {
        self.of_token[entry]
    }
}
