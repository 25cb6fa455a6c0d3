//! The way of one event through the stages, in their order.

use super::account::User;
use super::compiled::Compiled;
use super::found::Found;
use super::passing::Passing;
use super::state::State;
use super::{account, keyed, lifecycle, lineage, rate};
use crate::model::EventType;

/// Passes the event on; `false` when the lineage knew it already.
pub(super) fn pass(
    state: &mut State,
    compiled: &Compiled,
    errors: &mut keyed::Errors,
    passing: &Passing<'_>,
    out: &mut Vec<Found>,
) -> bool {
    let event = &passing.event.event;
    lineage::ended(state, event, passing.scope);
    lifecycle::taken(state, compiled, passing, out);
    if matches!(event.kind, EventType::Issue | EventType::Refresh) {
        let mut family = None;
        if let Some(resolved) = state.resolve.family(event, passing.scope, passing.time) {
            family = lineage::presented(state, compiled, resolved, passing, out);
            if family.is_none() {
                return false;
            }
        }
        if event.succeeded() {
            let user = of_user(state, compiled, passing, family, out);
            rate::counted(state, passing, (family, user), out);
        }
    }
    keyed::seen(state, errors, passing, out);
    true
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
