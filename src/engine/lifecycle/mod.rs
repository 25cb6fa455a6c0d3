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
use super::lineage::{consent_key, ended_key, wait_or_ask};
use super::resolve::scoped;
use super::state::{Ended, Members, State};
use super::table::key;
use crate::model::{Enriched, Event, EventType, Initiator};
use crate::rules::case::{Measure, Reach, Taken};
use crate::rules::context::Context;

/// Files what an event did to somebody's families, and asks those again that were used since.
pub(super) fn taken(
    state: &mut State,
    compiled: &Compiled,
    event: &Enriched,
    late: bool,
    out: &mut Vec<Found>,
) {
    let Some(taken) = taken_by(&event.event) else {
        return;
    };
    let Some((meant, reach)) = meant(state, &event.event, taken) else {
        return;
    };
    let time = event.event.time.as_millisecond();
    let measure = measure(event, taken, reach);
    let is_ours = measure.by == Some(Initiator::Tokenwarden);
    let ended = state.ended.get_or_insert_with(meant, Ended::default);
    if !ended.take(measure) || is_ours {
        return;
    }
    for family in families_of(state, &event.event, meant, reach) {
        wait_or_ask(state, compiled, family, time, late, out);
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
fn meant(state: &mut State, event: &Event, taken: Taken) -> Option<(u64, Reach)> {
    let scope = (&*event.issuer, event.tenant.as_deref().unwrap_or(""));
    let user = |id: &str| ended_key(scope, "user", id);
    if !matches!(taken, Taken::LoggedOut | Taken::Revoked) {
        return Some((user(event.user_id.as_deref()?), Reach::User));
    }
    if let Some(id) = &event.family_id {
        let family = scoped("family", event, &[id]);
        return Some((state.resolve.survivor(family), Reach::Family));
    }
    if let Some(token) = event.token_id.as_ref().filter(|_| taken == Taken::Revoked) {
        let time = event.time.as_millisecond();
        return Some((state.resolve.revoked(event, token, time), Reach::Family));
    }
    if let Some(id) = &event.session_id {
        return Some((ended_key(scope, "session", id), Reach::Session));
    }
    let id = event.user_id.as_deref()?;
    match event.client_id.as_deref() {
        Some(client) if taken == Taken::Revoked => {
            Some((consent_key(scope, id, client), Reach::Consent))
        }
        _ => Some((user(id), Reach::User)),
    }
}

fn measure(event: &Enriched, taken: Taken, reach: Reach) -> Measure {
    let by = event.event.initiator;
    // What an operator or the server changes is done from where the operator or the server is.
    let own = taken == Taken::CredentialsChanged
        && !matches!(by, Some(Initiator::Admin | Initiator::System));
    Measure {
        time: event.event.time.as_millisecond(),
        taken,
        reach,
        by,
        only: event.event.token_kind,
        session: session_key(&event.event),
        context: own.then(|| Arc::new(Context::of(event))),
    }
}

fn session_key(event: &Event) -> Option<u64> {
    let scope = (&*event.issuer, event.tenant.as_deref().unwrap_or(""));
    let id = event.session_id.as_deref()?;
    Some(ended_key(scope, "session", id))
}

/// The families that a measure filed under `meant` is meant for. A consent's are among those of its user.
fn families_of(state: &State, event: &Event, meant: u64, reach: Reach) -> Vec<u64> {
    let listed = match reach {
        Reach::Family => return vec![meant],
        Reach::Session | Reach::User => meant,
        Reach::Consent => {
            let scope = (&*event.issuer, event.tenant.as_deref().unwrap_or(""));
            ended_key(scope, "user", event.user_id.as_deref().unwrap_or(""))
        }
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
    let of = |what, id: Option<&str>| id.map(|id| ended_key(family.scope(), what, id));
    (
        of("user", family.user_id.as_deref()),
        of("session", family.session_id.as_deref()),
    )
}

/// When the server lately began families for the family's user.
pub(super) fn let_in(state: &State, family: &Family) -> Vec<i64> {
    let (issuer, tenant) = family.scope();
    let user = family.user_id.as_deref();
    user.and_then(|user| state.users.get(key("user", &[issuer, tenant, user])))
        .map(|user| user.let_in.clone())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
