//! Stage two: what is remembered of a family, and the rules that read its ledger.

use std::sync::Arc;

use super::compiled::Compiled;
use super::explain::{DeviceFound, ReuseFound};
use super::family::Family;
use super::found::Found;
use super::rate::release;
use super::resolve::{Resolved, scoped};
use super::state::{Ended, State, Waiting};
use super::table::key;
use crate::model::{Afterwards, Enriched, Event, EventType, Initiator, limits};
use crate::rules::context::Context;
use crate::rules::kinds::reuse::{Ends, Scope};

/// Files a presentation with its family, and asks what it may have decided. `false` when it was known already.
pub(super) fn presented(
    state: &mut State,
    compiled: &Compiled,
    resolved: Resolved,
    (event, context): (&Enriched, &Arc<Context>),
    late: bool,
    out: &mut Vec<Found>,
) -> Option<u64> {
    let time = event.event.time.as_millisecond();
    let key = join(state, resolved, time);
    let family = state
        .families
        .get_or_insert_with(key, || Box::new(Family::new(&event.event, time)));
    if !family.add(&event.event, time, resolved.used_before, context.clone()) {
        return None;
    }
    ask_now(state, compiled, key, late, out);
    wait_or_ask(state, compiled, key, time, late, out);
    Some(key)
}

/// Makes two families one when an event shows that they are; the earlier survives.
fn join(state: &mut State, resolved: Resolved, time: i64) -> u64 {
    let Some(other) = resolved.same_as else {
        return resolved.family;
    };
    let first_seen =
        |state: &State, key| state.families.get(key).map_or(i64::MAX, |f| f.first_seen);
    let (mine, theirs) = (first_seen(state, resolved.family), first_seen(state, other));
    // A family that the server names keeps its name; else the one with the earliest event, by key where they tie.
    let survives = resolved.named || (mine, resolved.family) < (theirs, other);
    let (survivor, absorbed) = if survives {
        (resolved.family, other)
    } else {
        (other, resolved.family)
    };
    state.resolve.join(absorbed, survivor, time);
    if let Some(absorbed) = state.families.remove(absorbed) {
        match state.families.get_mut(survivor) {
            Some(family) => family.absorb(*absorbed),
            None => {
                state.families.get_or_insert_with(survivor, || absorbed);
            }
        }
    }
    survivor
}

/// Rows of the table that no fact still to come can excuse.
fn ask_now(state: &mut State, compiled: &Compiled, key: u64, late: bool, out: &mut Vec<Found>) {
    let Some(family) = state.families.get(key) else {
        return;
    };
    if family.ledger.disputed() {
        judge_reuse(state, compiled, key, Scope::Certain, late, out);
    }
}

/// Questions about this event and about those after it wait until they have settled.
fn wait_or_ask(
    state: &mut State,
    compiled: &Compiled,
    key: u64,
    time: i64,
    late: bool,
    out: &mut Vec<Found>,
) {
    let Some(family) = state.families.get(key) else {
        return;
    };
    let now = state.now();
    let mut cuts: Vec<i64> = Vec::new();
    if family.ledger.disputed() {
        cuts.extend(
            compiled
                .reuse
                .iter()
                .flat_map(|(_, r)| settled(family, r.settle)),
        );
    }
    if has_agents(family) {
        cuts.extend(
            compiled
                .device
                .iter()
                .flat_map(|(_, r)| settled(family, r.settle)),
        );
    }
    cuts.sort_unstable();
    cuts.dedup();
    for cut in cuts.into_iter().filter(|cut| *cut >= time) {
        if cut > now {
            state.wait(cut, Waiting::Family(key));
        } else {
            ask(state, compiled, key, cut, late, out);
        }
    }
}

fn settled(family: &Family, settle: std::time::Duration) -> impl Iterator<Item = i64> {
    let settle = i64::try_from(settle.as_millis()).unwrap_or(0);
    family
        .ledger
        .entries()
        .iter()
        .map(move |e| e.time.saturating_add(settle))
}

/// More than one kind of client or fingerprint: something to compare.
fn has_agents(family: &Family) -> bool {
    if !family.ledger.varies() {
        return false;
    }
    let mut contexts = family
        .ledger
        .entries()
        .iter()
        .map(|e| family.ledger.context(e));
    let Some(first) = contexts.find(|c| c.agent.is_some()) else {
        return false;
    };
    contexts.any(|c| c.agent.is_some() && (c.agent != first.agent || c.ja4 != first.ja4))
}

/// Asks every lineage rule about the family as it stood at `cut`.
pub(super) fn ask(
    state: &mut State,
    compiled: &Compiled,
    key: u64,
    cut: i64,
    late: bool,
    out: &mut Vec<Found>,
) {
    let key = state.resolve.survivor(key);
    let until = cut - limits::DISORDER_MAX_MS;
    judge_reuse(state, compiled, key, Scope::Settled(until), late, out);
    let Some(family) = state.families.get_mut(key) else {
        return;
    };
    for (rule, device) in &compiled.device {
        let settle = i64::try_from(device.settle.as_millis()).unwrap_or(0);
        let Some(finding) = device.judge(&family.ledger, cut - settle) else {
            continue;
        };
        let found = DeviceFound {
            rule,
            family,
            finding: &finding,
            late,
        }
        .describe();
        push(compiled, &mut family.released, found, out);
    }
}

fn judge_reuse(
    state: &mut State,
    compiled: &Compiled,
    key: u64,
    scope: Scope,
    late: bool,
    out: &mut Vec<Found>,
) {
    let ends = state
        .families
        .get(key)
        .map(|family| ends(state, family, key))
        .unwrap_or_default();
    let Some(family) = state.families.get_mut(key) else {
        return;
    };
    let leeway = compiled.leeway(family.client_id.as_deref());
    for (rule, reuse) in &compiled.reuse {
        for finding in reuse.judge(&family.ledger, &leeway, &ends, scope) {
            let found = ReuseFound {
                rule,
                family,
                finding: &finding,
                late,
                fault_repeats: reuse.fault_repeats,
            }
            .describe();
            push(compiled, &mut family.released, found, out);
        }
    }
}

fn push(compiled: &Compiled, released: &mut Vec<u64>, found: Found, out: &mut Vec<Found>) {
    let client = found.detection.client_id.as_deref();
    if compiled.applies(&found.rule.name, client) && release(released, &found.detection.id) {
        out.push(found);
    }
}

/// When the family, its session or its user was ended since the family began.
fn ends(state: &State, family: &Family, key: u64) -> Ends {
    let session = family
        .session_id
        .as_deref()
        .map(|id| ended_key(family.scope(), "session", id));
    let user = family
        .user_id
        .as_deref()
        .map(|id| ended_key(family.scope(), "user", id));
    let consent = (family.user_id.as_deref().zip(family.client_id.as_deref()))
        .map(|(user, client)| consent_key(family.scope(), user, client));
    let mut ends = Ends {
        assumed: state.nothing_performed,
        ..Ends::default()
    };
    for ended in [Some(key), session, user, consent]
        .into_iter()
        .flatten()
        .filter_map(|key| state.ended.get(key))
    {
        let since =
            |times: &[i64]| times[times.partition_point(|t| *t < family.first_seen)..].to_vec();
        ends.by_people.extend(since(&ended.by_people));
        ends.by_us.extend(since(&ended.by_us));
    }
    ends
}

/// Within the issuer only: an operator's act can stand in a log line that does not name the tenant acted upon.
fn ended_key((issuer, _): (&str, &str), what: &str, id: &str) -> u64 {
    key("ended", &[issuer, what, id])
}

/// What a user let one client do.
fn consent_key((issuer, _): (&str, &str), user: &str, client: &str) -> u64 {
    key("ended", &[issuer, "consent", user, client])
}

impl Family {
    pub(super) fn scope(&self) -> (&str, &str) {
        (&self.issuer, self.tenant.as_deref().unwrap_or(""))
    }
}

/// Files that a session, a user or a family was ended by somebody who may: what is refused afterwards is aftermath.
///
/// A server's own reaction to a reuse is no excuse for the reuse.
pub(super) fn ended(state: &mut State, event: &Event) {
    let by_whom = match event.kind {
        EventType::Logout => !matches!(event.initiator, Some(Initiator::System)),
        EventType::Revoke => matches!(
            event.initiator,
            Some(Initiator::User | Initiator::Admin | Initiator::Tokenwarden)
        ),
        EventType::UserDisable => true,
        // A changed password ends what the server says it ends; the session in which it was changed lives on.
        EventType::CredentialChange
        | EventType::Issue
        | EventType::Refresh
        | EventType::Login
        | EventType::UserEnable => false,
    };
    if !by_whom || !event.succeeded() {
        return;
    }
    let scope = (&*event.issuer, event.tenant.as_deref().unwrap_or(""));
    let whole_user = event.kind == EventType::UserDisable;
    let family = event
        .family_id
        .as_deref()
        .map(|id| state.resolve.survivor(scoped("family", event, &[id])));
    let key = match (family, &event.session_id, &event.user_id) {
        (_, _, Some(user)) if whole_user => ended_key(scope, "user", user),
        (Some(family), ..) => family,
        (None, Some(session), _) => ended_key(scope, "session", session),
        (None, None, Some(user)) => match event.client_id.as_deref() {
            Some(client) if event.kind == EventType::Revoke => consent_key(scope, user, client),
            _ => ended_key(scope, "user", user),
        },
        (None, None, None) => return,
    };
    let ours = event.initiator == Some(Initiator::Tokenwarden);
    mark_ended(state, key, event.time.as_millisecond(), ours);
}

fn mark_ended(state: &mut State, key: u64, time: i64, ours: bool) {
    state
        .ended
        .get_or_insert_with(key, Ended::default)
        .add(time, ours);
}

/// What was presented of a family, and whether it was ended, after a time in milliseconds.
pub(super) fn afterwards(
    state: &State,
    target: &crate::model::Target,
    since: i64,
) -> Option<Afterwards> {
    let scope = (&*target.issuer, target.tenant.as_deref().unwrap_or(""));
    let id = target.family_id.as_deref()?;
    let named = state
        .resolve
        .survivor(key("family", &[scope.0, scope.1, id]));
    let chained = state
        .resolve
        .of_token(key("token", &[scope.0, scope.1, id]));
    let (family_key, family) = [named, chained]
        .into_iter()
        .find_map(|key| Some((key, state.families.get(key)?)))?;
    let ends = ends(state, family, family_key);
    let mut afterwards = Afterwards {
        ended: ends.by_people.iter().any(|end| *end >= since),
        ..Afterwards::default()
    };
    for entry in family.ledger.entries().iter().filter(|e| e.time > since) {
        if entry.answer.accepted() {
            let network = family.ledger.context(entry).network.as_ref();
            let network = network.map(|network| network.prefix.to_string().into());
            afterwards.accepted.push(network);
        } else {
            afterwards.refused += 1;
        }
    }
    Some(afterwards)
}

/// Files what this daemon itself ended, so that it never counts as an attack.
pub(super) fn ended_by_us(
    state: &mut State,
    target: &crate::model::Target,
    whole_user: bool,
    time: i64,
) {
    let scope = (&*target.issuer, target.tenant.as_deref().unwrap_or(""));
    let ended = match (&target.session_id, &target.family_id, &target.user_id) {
        (_, _, Some(user)) if whole_user => ended_key(scope, "user", user),
        (Some(session), ..) => ended_key(scope, "session", session),
        // A derived family is known by one of its tokens.
        (None, Some(family), _) => {
            let named = state
                .resolve
                .survivor(key("family", &[scope.0, scope.1, family]));
            let token = key("token", &[scope.0, scope.1, family]);
            let chained = state.resolve.of_token(token);
            mark_ended(state, chained, time, true);
            named
        }
        _ => return,
    };
    mark_ended(state, ended, time, true);
}

/// Where a context is, as a person would say it.
pub(super) fn place_name(context: &Context) -> String {
    let place = context
        .place
        .as_ref()
        .and_then(|p| match (&p.city, &p.country) {
            (Some(city), Some(country)) => Some(format!("{city}, {country}")),
            (Some(name), None) | (None, Some(name)) => Some(name.to_string()),
            (None, None) => None,
        });
    let declared = context
        .network
        .as_ref()
        .and_then(|n| n.declared.as_ref())
        .map(ToString::to_string);
    let address = || context.ip_address.map(|ip| ip.to_string());
    place
        .or(declared)
        .or_else(address)
        .unwrap_or_else(|| "an unknown place".to_owned())
}
