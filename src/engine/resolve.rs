//! Stage one: which family an event belongs to.
//!
//! Trivial where events carry a family. Elsewhere a family is a chain of token ids; and where a source names no tokens,
//! it is the client's part of a session. When a late event shows that two chains are one, they join: the family with the
//! earlier event survives, and the other's key stays as an alias.

use serde::{Deserialize, Serialize};

use super::key::Scope;
use super::table::{Aged, Table};
use crate::model::{Event, Text, limits};

#[derive(Debug, Clone)]
pub(super) struct Resolve {
    pub(super) tokens: Table<TokenFamily>,
    pub(super) aliases: Table<Alias>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TokenFamily {
    family: u64,
    last_seen: i64,
    /// Only ever presented and refused: may be anybody's garbage.
    refused_only: bool,
    /// Was presented and accepted.
    used: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Alias {
    survivor: u64,
    last_seen: i64,
}

impl Aged for TokenFamily {
    fn last_seen(&self) -> i64 {
        self.last_seen
    }

    fn provisional(&self) -> bool {
        self.refused_only
    }
}

impl Aged for Alias {
    fn last_seen(&self) -> i64 {
        self.last_seen
    }
}

/// Where an event belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) family: u64,
    /// The server named the family itself.
    pub(super) named: bool,
    /// Another family that this event shows to be the same.
    pub(super) same_as: Option<u64>,
    /// The presented token was presented before, and accepted.
    pub(super) used_before: bool,
}

impl Resolve {
    pub(super) fn new() -> Self {
        Self {
            tokens: Table::new(tokens_max(limits::FAMILIES_MAX)),
            aliases: Table::new(aliases_max(limits::FAMILIES_MAX)),
        }
    }

    pub(super) fn cap(&mut self, families_max: usize) {
        self.tokens.cap(tokens_max(families_max));
        self.aliases.cap(aliases_max(families_max));
    }

    /// The event's family; `None` when nothing in it can be tied to one.
    pub(super) fn family(&mut self, event: &Event, scope: Scope, time: i64) -> Option<Resolved> {
        let presented = event.token_id.as_ref().map(|token| scope.token(token));
        let issued = event.new_token_id.as_ref().map(|token| scope.token(token));
        let refused_only = !event.succeeded();
        let used_before = presented
            .and_then(|token| self.tokens.get(token))
            .is_some_and(|known| known.used);
        let resolved = match &event.family_id {
            Some(family) => {
                let named = scope.family(family);
                self.named(named, presented, issued, refused_only)
            }
            None if presented.is_some() || issued.is_some() => self.chained(presented, issued)?,
            None => Resolved {
                family: of_session(event, scope)?,
                named: false,
                same_as: None,
                used_before: false,
            },
        };
        for token in [presented, issued].into_iter().flatten() {
            self.learn(token, resolved.family, time, refused_only);
        }
        if let Some(known) = presented.and_then(|token| self.tokens.get_mut(token)) {
            known.used |= event.succeeded();
        }
        Some(Resolved {
            used_before,
            ..resolved
        })
    }

    /// The family that an event was filed under, without learning anything from it.
    pub(super) fn known_family(&self, event: &Event, scope: Scope) -> Option<u64> {
        let of_token = |token: &Text| self.lookup(scope.token(token));
        let presented = event.token_id.as_ref().and_then(of_token);
        let issued = event.new_token_id.as_ref().and_then(of_token);
        let named = || {
            let family = event.family_id.as_deref()?;
            Some(self.survivor(scope.family(family)))
        };
        presented
            .or(issued)
            .or_else(named)
            .or_else(|| of_session(event, scope))
    }

    /// The family of a token that was revoked. One that nobody has seen yet is kept: what issued it may come later.
    pub(super) fn revoked(&mut self, token: u64, time: i64) -> u64 {
        if self.tokens.get(token).is_none() {
            self.learn(token, token, time, true);
        }
        self.of_token(token)
    }

    /// Records that two families are one; `absorbed` answers as `survivor` from now on.
    pub(super) fn join(&mut self, absorbed: u64, survivor: u64, time: i64) {
        let alias = self.aliases.get_or_insert_with(absorbed, || Alias {
            survivor,
            last_seen: time,
        });
        alias.survivor = survivor;
        alias.last_seen = alias.last_seen.max(time);
    }

    /// Follows aliases to the family that answers now.
    pub(super) fn survivor(&self, family: u64) -> u64 {
        let mut family = family;
        // Bounded: a chain of joins can only be as long as there are chains that one event each shows to be one.
        for _ in 0..64 {
            match self.aliases.get(family) {
                Some(alias) if alias.survivor != family => family = alias.survivor,
                _ => break,
            }
        }
        family
    }

    /// Whether the token was named before.
    pub(super) fn knows(&self, token: u64) -> bool {
        self.tokens.get(token).is_some()
    }

    /// Whether the server itself has shown that it knows the token: it issued it, or accepted it.
    pub(super) fn issued_or_used(&self, token: u64) -> bool {
        let known = self.tokens.get(token);
        known.is_some_and(|known| !known.refused_only)
    }

    /// The family that a token belongs to; one that nobody has seen yet will begin a family of its own.
    pub(super) fn of_token(&self, token: u64) -> u64 {
        self.lookup(token).unwrap_or(token)
    }

    /// A refusal is the caller's word: a token that is known stays where it is, whatever family was claimed for it, and
    /// what only refusals have said of a token makes no two families one.
    fn named(
        &self,
        family: u64,
        presented: Option<u64>,
        issued: Option<u64>,
        refused: bool,
    ) -> Resolved {
        let family = self.survivor(family);
        let homes = [presented, issued].into_iter().flatten();
        let other = homes
            .filter_map(|token| self.home(token))
            .find(|other| *other != family);
        Resolved {
            family: other.filter(|_| refused).unwrap_or(family),
            named: other.is_none() || !refused,
            same_as: other.filter(|_| !refused),
            used_before: false,
        }
    }

    /// Where a token belongs by the server's word, or by the token itself.
    fn home(&self, token: u64) -> Option<u64> {
        let known = self.tokens.get(token)?;
        let claimed = known.refused_only && known.family != token;
        (!claimed).then(|| self.survivor(known.family))
    }

    fn chained(&self, presented: Option<u64>, issued: Option<u64>) -> Option<Resolved> {
        let by_presented = presented.and_then(|t| self.lookup(t));
        let by_issued = issued.and_then(|t| self.lookup(t));
        let family = by_presented.or(by_issued).or(presented).or(issued)?;
        Some(Resolved {
            family,
            named: false,
            same_as: by_issued.filter(|other| *other != family),
            used_before: false,
        })
    }

    fn lookup(&self, token: u64) -> Option<u64> {
        self.tokens.get(token).map(|t| self.survivor(t.family))
    }

    fn learn(&mut self, token: u64, family: u64, time: i64, refused_only: bool) {
        let known = self.tokens.get_or_insert_with(token, || TokenFamily {
            family,
            last_seen: time,
            refused_only,
            used: false,
        });
        if !refused_only || known.refused_only {
            known.family = family;
        }
        known.last_seen = known.last_seen.max(time);
        known.refused_only &= refused_only;
    }
}

const fn tokens_max(families_max: usize) -> usize {
    families_max * limits::TOKENS_PER_FAMILY
}

/// Few chains are found to be one.
const fn aliases_max(families_max: usize) -> usize {
    families_max / 8
}

/// The client's part of the event's session.
fn of_session(event: &Event, scope: Scope) -> Option<u64> {
    let client = event.client_id.as_deref().unwrap_or("");
    Some(scope.session(event.session_id.as_deref()?, client))
}
