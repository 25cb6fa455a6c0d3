//! The way of one event through the stages, in their order.

use std::sync::Arc;

use super::account::User;
use super::compiled::Compiled;
use super::found::Found;
use super::key::Scope;
use super::passing::Passing;
use super::resolve::Resolved;
use super::state::State;
use super::{account, keyed, lifecycle, lineage, rate};
use crate::model::{Enriched, EventType};
use crate::rules::context::Context;

/// Passes the event on; `false` when the lineage knew it already.
pub(super) fn pass(
    state: &mut State,
    compiled: &Compiled,
    errors: &mut keyed::Errors,
    (event, late): (&Enriched, bool),
    out: &mut Vec<Found>,
) -> bool {
    let scope = Scope::of(&event.event);
    let resolved = resolved(state, event, scope);
    let context = context_of(state, resolved, event);
    let passing = &Passing::new(compiled, (event, scope), &context, late);
    lineage::ended(state, passing);
    lifecycle::taken(state, compiled, passing, out);
    if is_presentation(event) {
        let mut family = None;
        if let Some(resolved) = resolved {
            family = lineage::presented(state, compiled, resolved, passing, out);
            if family.is_none() {
                return false;
            }
        }
        if event.event.succeeded() {
            let user = of_user(state, compiled, passing, family, out);
            rate::counted(state, passing, (family, user), out);
        }
    }
    keyed::seen(state, errors, passing, out);
    true
}

/// Whether it is filed with a family.
const fn is_presentation(event: &Enriched) -> bool {
    matches!(event.event.kind, EventType::Issue | EventType::Refresh)
}

fn resolved(state: &mut State, event: &Enriched, scope: Scope) -> Option<Resolved> {
    let time = event.event.time.as_millisecond();
    is_presentation(event).then(|| state.resolve.family(&event.event, scope, time))?
}

/// The event's context: that which the family remembers, where it is the same, so that it is copied once a family.
fn context_of(state: &State, resolved: Option<Resolved>, event: &Enriched) -> Arc<Context> {
    let family = resolved.and_then(|resolved| state.families.get(resolved.family));
    let known = family.and_then(|family| family.ledger.context_of(event));
    known.map_or_else(|| Arc::new(Context::of(event)), Arc::clone)
}

/// Files the event with its user; the user's key, where one is known.
fn of_user(
    state: &mut State,
    compiled: &Compiled,
    passing: &Passing<'_>,
    family: Option<u64>,
    out: &mut Vec<Found>,
) -> Option<u64> {
    let event = &passing.event.event;
    let known = family.and_then(|key| state.families.get(key));
    let of_event = event.user_id.as_ref();
    let user_id = of_event.or_else(|| known.and_then(|f| f.user_id.as_ref()))?;
    let key = passing.scope.user(user_id);
    let user = state
        .users
        .get_or_insert_with(key, || Box::new(User::new(user_id.clone(), passing.event)));
    if event.kind == EventType::Issue {
        user.was_let_in(passing.time);
    }
    if passing.time >= user.last_seen {
        user.last_seen = passing.time;
        let of_event = event.client_id.as_ref();
        let client_id = of_event.or_else(|| known.and_then(|f| f.client_id.as_ref()));
        user.client_id = client_id.cloned();
    }
    account::sighted(state, compiled, key, passing, family, out);
    Some(key)
}
