//! What is done to a family from outside: delivers logouts, revocations, disabled users and changed credentials to each
//! family that they are meant for.
//!
//! A measure is filed under the key of what its event names (family, session, consent, user), where every family of it
//! finds it. One that arrives after the uses that it accuses is not missed: its families are asked again from its time
//! on, so that the order of arrival leaves no trace. Why not a second question after every use instead: uses are
//! thousands to each logout.
//!
//! What this daemon ended is filed too, as proof that it took effect; no rule is ever asked about it.

use std::sync::Arc;

use super::compiled::Compiled;
use super::family::Family;
use super::found::Found;
use super::key::Scope;
use super::lineage::wait_or_ask;
use super::passing::Passing;
use super::state::{Ended, Members, State};
use crate::model::{Event, EventType, Initiator};
use crate::rules::case::{Measure, Reach, Taken};

/// Files what an event did to somebody's families, and asks those again that were used since.
pub(super) fn taken(
    state: &mut State,
    compiled: &Compiled,
    passing: &Passing<'_>,
    out: &mut Vec<Found>,
) {
    let (event, scope) = (&passing.event.event, passing.scope);
    let Some(taken) = taken_by(event) else {
        return;
    };
    let Some((meant, reach)) = meant(state, event, scope, taken) else {
        return;
    };
    let measure = measure(passing, taken, reach);
    let is_ours = measure.by == Some(Initiator::Tokenwarden);
    let ended = state.ended.get_or_insert_with(meant, Ended::default);
    if !ended.take(measure) || is_ours {
        return;
    }
    for family in families_of(state, event, scope, (meant, reach)) {
        wait_or_ask(state, compiled, family, passing.time, passing.late, out);
    }
}

/// Nothing where nothing was done.
fn taken_by(event: &Event) -> Option<Taken> {
    let taken = match event.kind {
        EventType::Logout => Taken::LoggedOut,
        EventType::Revoke => Taken::Revoked,
        EventType::CredentialChange => Taken::CredentialsChanged,
        EventType::UserDisable => Taken::Disabled,
        EventType::UserEnable => Taken::Enabled,
        EventType::Issue | EventType::Refresh | EventType::Login => return None,
    };
    event.succeeded().then_some(taken)
}

/// The narrowest that the event names: a token is revoked with its family, while others of its session may live on.
fn meant(state: &mut State, event: &Event, scope: Scope, taken: Taken) -> Option<(u64, Reach)> {
    if !matches!(taken, Taken::LoggedOut | Taken::Revoked) {
        let user = event.user_id.as_deref()?;
        return Some((scope.ended_user(user), Reach::User));
    }
    if let Some(id) = &event.family_id {
        let family = state.resolve.survivor(scope.family(id));
        return Some((family, Reach::Family));
    }
    if let Some(token) = event.token_id.as_ref().filter(|_| taken == Taken::Revoked) {
        let time = event.time.as_millisecond();
        let family = state.resolve.revoked(scope.token(token), time);
        return Some((family, Reach::Family));
    }
    if let Some(id) = &event.session_id {
        return Some((scope.ended_session(id), Reach::Session));
    }
    let id = event.user_id.as_deref()?;
    match event.client_id.as_deref() {
        Some(client) if taken == Taken::Revoked => {
            Some((scope.ended_consent(id, client), Reach::Consent))
        }
        _ => Some((scope.ended_user(id), Reach::User)),
    }
}

fn measure(passing: &Passing<'_>, taken: Taken, reach: Reach) -> Measure {
    let event = &passing.event.event;
    let by = event.initiator;
    // What an operator or the server changes is done from where the operator or the server is.
    let own = taken == Taken::CredentialsChanged
        && !matches!(by, Some(Initiator::Admin | Initiator::System));
    Measure {
        time: passing.time,
        taken,
        reach,
        by,
        only: event.token_kind,
        session: (event.session_id.as_deref()).map(|id| passing.scope.ended_session(id)),
        context: own.then(|| Arc::clone(passing.context)),
    }
}

/// The families that a measure filed under `meant` is meant for. A consent's are among those of its user.
fn families_of(
    state: &State,
    event: &Event,
    scope: Scope,
    (meant, reach): (u64, Reach),
) -> Vec<u64> {
    let listed = match reach {
        Reach::Family => return vec![meant],
        Reach::Session | Reach::User => meant,
        Reach::Consent => scope.ended_user(event.user_id.as_deref().unwrap_or("")),
    };
    let members = state.members.get(listed);
    let keys = members.map_or(&[][..], |members| &members.families);
    let mut families: Vec<u64> = keys
        .iter()
        .map(|key| state.resolve.survivor(*key))
        .collect();
    families.sort_unstable();
    families.dedup();
    families
}

/// Lists a family with its user and session, once for each that it learns of.
pub(super) fn list(state: &mut State, listed: u64) {
    let Some(family) = state.families.get_mut(listed).filter(|f| f.unlisted()) else {
        return;
    };
    family.listed();
    let (user, session) = keys_of(family);
    let time = family.last_seen;
    for of in [user, session].into_iter().flatten() {
        let members = state.members.get_or_insert_with(of, Members::default);
        members.add(listed, time);
    }
}

/// Under what its user and its session are filed.
pub(super) fn keys_of(family: &Family) -> (Option<u64>, Option<u64>) {
    let scope = family.scope();
    let (user, session) = (family.user_id.as_deref(), family.session_id.as_deref());
    (
        user.map(|id| scope.ended_user(id)),
        session.map(|id| scope.ended_session(id)),
    )
}

/// When the server lately began families for the family's user.
pub(super) fn let_in(state: &State, family: &Family) -> Vec<i64> {
    let user = family.user_id.as_deref();
    user.and_then(|user| state.users.get(family.scope().user(user)))
        .map(|user| user.let_in.clone())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
