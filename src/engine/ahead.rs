//! Fetches what the next events will ask for, so that the processor waits for many tables at once and not for one after the
//! other: with hundreds of thousands of families nearly everything that an event touches is far from its caches.
//!
//! One level after the other, each for all of the events: what a level reads is where the level before it pointed, and
//! within a level nothing waits for anything. Nothing is changed or decided here; each event finds its own way again.
//! Measured with `cargo bench --bench throughput -- kafka --families 200000`, with and without it in turns: a tenth more events
//! a second in the median of eight pairs (-7 to +30 %), the more the slower the machine's memory was just then.

use std::hint::black_box;

use super::account::User;
use super::compiled::Compiled;
use super::family::Family;
use super::key::Scope;
use super::state::State;
use super::table::Aged;
use super::{keyed, rate};
use crate::model::Enriched;
use crate::rules::case::Who;

/// Events that are looked at together: more than a core has loads under way, and few enough that the first is still in its
/// cache when it comes.
pub(super) const AT_ONCE: usize = 16;

pub(super) fn fetch<'a>(
    state: &State,
    compiled: &Compiled,
    events: impl Iterator<Item = &'a Enriched>,
) {
    let scoped = |event: &'a Enriched| (event, Scope::of(&event.event));
    let events: Vec<(&Enriched, Scope)> = events.map(scoped).collect();
    for (event, scope) in &events {
        ids(state, event, *scope);
    }
    let families: Vec<(&Enriched, &Family)> = (events.iter())
        .filter_map(|(event, scope)| Some((*event, family(state, event, *scope)?)))
        .collect();
    let users: Vec<&User> = (events.iter())
        .filter_map(|(event, scope)| user(state, event, *scope))
        .collect();
    for (event, scope) in &events {
        counts(state, compiled, event, *scope);
    }
    for (_, family) in &families {
        black_box((family.first_seen, family.last_seen, family.id.len()));
        black_box(family.ledger.entries().len());
    }
    for user in &users {
        black_box((user.last_seen, user.sightings.iter().next().is_some()));
    }
    for (event, family) in &families {
        black_box(family.ledger.entries().last().map(|entry| entry.time));
        black_box(family.ledger.context_of(event).is_some());
    }
    for user in &users {
        black_box(user.sightings.iter().last().map(|sighting| sighting.time));
    }
}

/// Whether it came before, and where its tokens belong.
fn ids(state: &State, event: &Enriched, scope: Scope) {
    let event = &event.event;
    black_box(state.repeats.knows(scope.event(&event.event_id)));
    for token in [&event.token_id, &event.new_token_id].into_iter().flatten() {
        black_box(state.resolve.knows(scope.token(token)));
    }
}

fn family<'a>(state: &'a State, event: &Enriched, scope: Scope) -> Option<&'a Family> {
    let named = event.event.family_id.as_ref();
    let key = named.map(|family| scope.family(family));
    let key = key.or_else(|| state.resolve.known_family(&event.event, scope))?;
    state.families.get(key).map(|family| &**family)
}

fn user<'a>(state: &'a State, event: &Enriched, scope: Scope) -> Option<&'a User> {
    let key = scope.user(event.event.user_id.as_ref()?);
    state.users.get(key).map(|user| &**user)
}

/// What is counted of its network, and by the generic rules.
fn counts(state: &State, compiled: &Compiled, event: &Enriched, scope: Scope) {
    if let Some(network) = &event.network {
        let key = rate::key_of(scope, Who::Network(network.prefix));
        black_box(state.networks.get(key).map(|rate| rate.last_seen));
    }
    let (client_id, tenant) = (&event.event.client_id, &event.event.tenant);
    let plan = compiled.plan(client_id.as_deref(), tenant.as_deref());
    for asked in plan.keyed(event.event.kind, event.event.outcome) {
        let key = keyed::memory_key(asked.key, asked.kind.by(), (event, scope));
        let known = key.and_then(|key| state.keyed.get(key));
        black_box(known.map(Aged::last_seen));
    }
}
