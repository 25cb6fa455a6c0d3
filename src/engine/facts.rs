//! What the stages know of one event, for conditions that ask: whether token and family were seen before, from where.
//!
//! Computed only for events that a condition leaves open, in two sizes: what a look at the tables tells, and the comparison
//! of contexts. It reads only what happened before the event, so that the event does not vouch for itself.

use super::family::Family;
use super::passing::Passing;
use super::resolve::Resolve;
use super::table::Table;
use crate::model::Enriched;
use crate::rules::context::{Context, Seen, Standing, TravelBounds, standing};
use crate::rules::fields::Facts;
use crate::rules::ledger::{Entry, Ledger, TokenHash};

/// Where facts come from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) resolve: &'a Resolve,
    pub(super) families: &'a Table<Box<Family>>,
}

impl<'a> Sources<'a> {
    pub(super) fn family(&self, passing: &Passing<'_>) -> Option<&'a Family> {
        let key = (self.resolve).known_family(&passing.event.event, passing.scope)?;
        self.families.get(key).map(|family| &**family)
    }

    /// What a look at the tables tells.
    pub(super) fn at_a_glance(&self, passing: &Passing<'_>) -> Facts {
        let (event, time) = (passing.event, passing.time);
        let family = self.family(passing);
        let ledger = family.map(|family| &family.ledger);
        Facts {
            token_known: self.knows_token(passing, ledger),
            family_known: family.is_some_and(|family| family.was_accepted_before(time)),
            network_known: ledger.is_some_and(|ledger| knows_network(ledger, event, time)),
            disputed: ledger.is_some_and(Ledger::disputed),
            ..passing.plan.of_client.clone()
        }
    }

    /// Everything.
    pub(super) fn all(&self, passing: &Passing<'_>) -> Facts {
        let Passing {
            event,
            context,
            time,
            ..
        } = *passing;
        let mut facts = self.at_a_glance(passing);
        facts.generation_gap = told_gap(event);
        let Some(family) = self.family(passing) else {
            return facts;
        };
        let ledger = &family.ledger;
        let presented = event.event.token_id.as_deref().map(TokenHash::of);
        let known: Vec<Seen<'_>> = ledger
            .entries()
            .iter()
            .filter(|e| e.time < time && e.answer.accepted())
            .filter(|e| presented.is_none() || e.token != presented)
            .map(|e| ledger.seen(e))
            .chain(ledger.settled_before(time))
            .collect();
        let presenter = Seen { context, time };
        let bounds = TravelBounds::default();
        facts.context = Some(standing(presenter, &known, &bounds).0);
        facts.device = Some(by_device(presenter, &known, &bounds));
        facts.generation_gap = facts
            .generation_gap
            .or_else(|| presented.and_then(|token| gap(ledger.entries(), token, time)));
        facts
    }

    /// A refusal teaches nothing; an accepted presentation must not vouch for its own token.
    fn knows_token(&self, passing: &Passing<'_>, ledger: Option<&Ledger>) -> bool {
        let (event, time) = (&passing.event.event, passing.time);
        let Some(token) = &event.token_id else {
            return false;
        };
        if !event.succeeded() {
            return self.resolve.issued_or_used(passing.scope.token(token));
        }
        let hash = Some(TokenHash::of(token));
        let vouches = |e: &Entry| {
            e.issued == hash || (e.token == hash && e.answer.accepted() && e.time < time)
        };
        // Most often one of the newest vouches.
        ledger.is_some_and(|ledger| ledger.entries().iter().rev().any(vouches))
    }
}

fn knows_network(ledger: &Ledger, event: &Enriched, time: i64) -> bool {
    let Some(network) = &event.network else {
        return false;
    };
    let here = |context: &Context| {
        let theirs = context.network.as_ref();
        theirs.is_some_and(|theirs| {
            theirs.prefix == network.prefix
                || (theirs.declared.is_some() && theirs.declared == network.declared)
                || (theirs.asn.is_some() && theirs.asn == network.asn)
        })
    };
    let entries = ledger.entries().iter().rev();
    let mut before = entries.filter(|e| e.time < time && e.answer.accepted());
    before.any(|e| here(ledger.context(e)))
        || ledger.settled_before(time).any(|seen| here(seen.context))
}

/// The same comparison without the address and what follows from it.
fn by_device(presenter: Seen<'_>, known: &[Seen<'_>], bounds: &TravelBounds) -> Standing {
    let bare = |context: &Context| Context {
        ip_address: None,
        network: None,
        place: None,
        ..context.clone()
    };
    let contexts: Vec<Context> = known.iter().map(|seen| bare(seen.context)).collect();
    let times = known.iter().map(|seen| seen.time);
    let known: Vec<Seen<'_>> = contexts
        .iter()
        .zip(times)
        .map(|(context, time)| Seen { context, time })
        .collect();
    let bare = bare(presenter.context);
    let presenter = Seen {
        context: &bare,
        time: presenter.time,
    };
    standing(presenter, &known, bounds).0
}

fn told_gap(event: &Enriched) -> Option<u64> {
    let (mine, newest) = (event.event.generation?, event.event.latest_generation?);
    Some(newest.saturating_sub(mine))
}

/// How many tokens were issued one from the other since this one, by what the ledger held at the time.
fn gap(entries: &[Entry], token: TokenHash, time: i64) -> Option<u64> {
    let before = &entries[..entries.partition_point(|e| e.time < time)];
    let named = |e: &Entry| e.issued == Some(token) || e.token == Some(token);
    before.iter().any(named).then_some(())?;
    let mut at = token;
    let mut gap = 0;
    // Bounded by the entries there are: each gives one step at most.
    for _ in before {
        let next = before
            .iter()
            .find(|e| e.token == Some(at))
            .and_then(|e| e.issued);
        let Some(next) = next else { break };
        at = next;
        gap += 1;
    }
    Some(gap)
}
