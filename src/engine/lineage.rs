//! Stage two: what is remembered of a family, and the rules that read its ledger.

use std::cell::Cell;
use std::sync::Arc;

use super::active;
use super::compiled::Compiled;
use super::family::Family;
use super::found::{Found, Whose, stable_id};
use super::key::Scope;
use super::lifecycle;
use super::passing::Passing;
use super::rate::{is_released, release};
use super::resolve::Resolved;
use super::state::{Ended, State, Waiting};
use crate::model::{Detection, EventType, Initiator, Subject, Text, limits};
use crate::rules::case::{
    At, ClientFacts, Ends, FamilyCase, Login, Logins, Measure, TenantFacts, Told, millis,
};
use crate::rules::ledger::Answer;
use crate::rules::{Finding, Rule, Trace};

/// Files a presentation with its family, and asks what it may have decided. `false` when it was known already.
pub(super) fn presented(
    state: &mut State,
    compiled: &Compiled,
    resolved: Resolved,
    passing: &Passing<'_>,
    out: &mut Vec<Found>,
) -> Option<u64> {
    let (event, time, late) = (&passing.event.event, passing.time, passing.late);
    let key = join(state, resolved, time);
    let family = state
        .families
        .get_or_insert_with(key, || Box::new(Family::new(event, time)));
    if !family.add(event, time, resolved.used_before, passing.context.clone()) {
        return None;
    }
    let day = active::day_of(time);
    if family.is_active_anew(event, day)
        && let Some(client_id) = &family.client_id
    {
        active::seen(&mut state.active, passing.scope.client(client_id), day);
    }
    lifecycle::list(state, key);
    let Look { now, cuts } = look(state, compiled, key, time, late)?;
    release_new(state, key, now, out);
    wait_or_ask_at(state, compiled, (key, cuts), late, out);
    Some(key)
}

/// Families in use at the detection's client when it came about.
pub(super) fn families_active(state: &State, detection: &Detection) -> u32 {
    let Some(client_id) = &detection.client_id else {
        return 0;
    };
    let scope = Scope::new(&detection.issuer, detection.tenant.as_deref());
    active::at(
        &state.active,
        scope.client(client_id),
        detection.time.as_millisecond(),
    )
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
    if let Some(ended) = state.ended.remove(absorbed) {
        let known = state.ended.get_or_insert_with(survivor, Ended::default);
        known.absorb(ended);
    }
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

/// What follows from an event at once, and when the rules are to be asked about it.
struct Look {
    /// What no fact still to come can excuse.
    now: Vec<Found>,
    cuts: Vec<i64>,
}

/// Asks every rule that the family concerns at once, because most families concern none.
fn look(state: &State, compiled: &Compiled, key: u64, since: i64, late: bool) -> Option<Look> {
    let family = state.families.get(key)?;
    let facts = Facts::of(state, compiled, family, key);
    let case = facts.case(family);
    let entries = family.ledger.entries();
    let entries = &entries[entries.partition_point(|entry| entry.time < since)..];
    let (mut now, mut cuts) = (Vec::new(), Vec::new());
    let plan = compiled.plan(family.client_id.as_deref(), family.tenant.as_deref());
    for (planned, kind) in plan.families().filter(|(_, kind)| kind.concerns(&case)) {
        if planned.applies {
            let has = |about: &[String]| has_told(&planned.rule, family, about);
            let told = Told::by(&has);
            let findings = kind.judge_now(&FamilyCase { told, ..case }, state.now());
            let findings = findings.into_iter();
            now.extend(findings.map(|finding| of_family(&planned.rule, family, finding, late)));
        }
        for settle in planned.settles.iter() {
            cuts.extend(entries.iter().map(|e| e.time.saturating_add(*settle)));
        }
    }
    cuts.sort_unstable();
    cuts.dedup();
    Some(Look { now, cuts })
}

/// Questions about what happened to a family since `time` wait until they have settled.
pub(super) fn wait_or_ask(
    state: &mut State,
    compiled: &Compiled,
    key: u64,
    time: i64,
    late: bool,
    out: &mut Vec<Found>,
) {
    if let Some(Look { cuts, .. }) = look(state, compiled, key, time, late) {
        wait_or_ask_at(state, compiled, (key, cuts), late, out);
    }
}

fn wait_or_ask_at(
    state: &mut State,
    compiled: &Compiled,
    (key, cuts): (u64, Vec<i64>),
    late: bool,
    out: &mut Vec<Found>,
) {
    let now = state.now();
    for cut in cuts {
        if cut > now {
            state.wait(cut, Waiting::Family(key));
        } else {
            ask(state, compiled, key, cut, late, out);
        }
    }
}

/// Asks every lineage rule about the family as it stood at `cut`, and once more where one awaits what may still come.
pub(super) fn ask(
    state: &mut State,
    compiled: &Compiled,
    key: u64,
    cut: i64,
    late: bool,
    out: &mut Vec<Found>,
) {
    let key = state.resolve.survivor(key);
    let Some(family) = state.families.get(key) else {
        return;
    };
    let facts = Facts::of(state, compiled, family, key);
    let case = facts.case(family);
    let awaited = Cell::new(None);
    let has_logged_in = |login: &Login| {
        let known = has_logged_in(state, family, login);
        let until = known.is_none().then_some(*login.times.end());
        awaited.set([awaited.get(), until].into_iter().flatten().min());
        known
    };
    let (mut found, mut again) = (Vec::new(), Vec::new());
    let plan = compiled.plan(family.client_id.as_deref(), family.tenant.as_deref());
    for (planned, kind) in plan.families() {
        if !planned.applies || !kind.concerns(&case) {
            continue;
        }
        let at = At {
            time: cut - millis(kind.settle()),
            cut: cut - limits::DISORDER_MAX_MS,
        };
        let has = |about: &[String]| has_told(&planned.rule, family, about);
        let told = Told::by(&has);
        let case = FamilyCase {
            told,
            logins: Logins::by(&has_logged_in),
            ..case
        };
        let findings = kind.judge(&case, at, &mut Trace::off());
        let findings = findings.into_iter();
        found.extend(findings.map(|finding| of_family(&planned.rule, family, finding, late)));
        let settle = millis(kind.settle()).max(limits::DISORDER_MAX_MS);
        again.extend(awaited.take().map(|until| until.saturating_add(settle)));
    }
    release_new(state, key, found, out);
    wait_or_ask_at(state, compiled, (key, again), late, out);
}

/// Releases what was found for the first time.
fn release_new(state: &mut State, key: u64, mut found: Vec<Found>, out: &mut Vec<Found>) {
    if found.is_empty() {
        return;
    }
    if let Some(family) = state.families.get_mut(key) {
        found.retain(|found| release(&mut family.released, &found.detection.id));
        out.append(&mut found);
    }
}

/// What a case borrows besides the family itself.
pub(super) struct Facts {
    client: ClientFacts,
    tenant: TenantFacts,
    pub(super) ends: Ends,
    measures: Vec<Measure>,
    session: Option<u64>,
    user_let_in: Vec<i64>,
}

impl Facts {
    pub(super) fn of(state: &State, compiled: &Compiled, family: &Family, key: u64) -> Self {
        let (ends, measures) = ends(state, family, key);
        Self {
            client: compiled
                .plan(family.client_id.as_deref(), family.tenant.as_deref())
                .client,
            tenant: compiled.tenant(family.tenant.as_deref()),
            ends,
            // Read only where something was done: most families have never seen any of it.
            session: measures.first().and(lifecycle::keys_of(family).1),
            user_let_in: if measures.is_empty() {
                Vec::new()
            } else {
                lifecycle::let_in(state, family)
            },
            measures,
        }
    }

    pub(super) fn case<'a>(&'a self, family: &'a Family) -> FamilyCase<'a> {
        FamilyCase {
            id: &family.id,
            ledger: &family.ledger,
            client: &self.client,
            tenant: self.tenant,
            ends: &self.ends,
            measures: &self.measures,
            began: family.began(),
            session: self.session,
            token_kind: family.kind(),
            user_let_in: &self.user_let_in,
            scopes: &family.scopes,
            access_token_ttl: family.access_token_ttl().or(self.client.access_token_ttl),
            told: Told::NOTHING,
            logins: Logins::NONE,
        }
    }
}

/// Whether the family's user has logged in so. What the server issues within a session is no login: a token exchanged for another
/// takes no more than the token.
pub(super) fn has_logged_in(state: &State, family: &Family, login: &Login) -> Option<bool> {
    let (user, _) = lifecycle::keys_of(family);
    let members = user.and_then(|user| state.members.get(user));
    let keys = members.map_or(&[][..], |members| &members.families);
    let families = keys.iter().filter_map(|key| {
        let key = state.resolve.survivor(*key);
        state.families.get(key)
    });
    let is_elsewhere =
        |other: &&Family| family.session_id.is_none() || other.session_id != family.session_id;
    let families = families.map(|family| &**family).filter(is_elsewhere);
    let mut entries = families.flat_map(|family| {
        let entries = family.ledger.entries().iter();
        entries.map(|entry| (entry, family.ledger.context(entry)))
    });
    let has = entries.any(|(entry, context)| {
        entry.answer == Answer::Issued
            && entry.time <= login.known_until
            && login.times.contains(&entry.time)
            && context.device_id.as_ref() == Some(&login.device_id)
    });
    (has || *login.times.end() <= login.known_until).then_some(has)
}

/// Whether this was found of the family before.
fn has_told(rule: &Rule, family: &Family, about: &[String]) -> bool {
    is_released(&family.released, &id_of(rule, family, about))
}

/// The id of a finding about a family. Of a lineage finding the token is named, never a derived family id.
fn id_of(rule: &Rule, family: &Family, about: &[String]) -> Text {
    let tenant = family.tenant.as_deref().unwrap_or("");
    let about = about.iter().map(String::as_str);
    let parts: Vec<&str> = [&*rule.name, &family.issuer, tenant]
        .into_iter()
        .chain(about)
        .collect();
    stable_id(&parts)
}

fn of_family(rule: &Arc<Rule>, family: &Family, finding: Finding, late: bool) -> Found {
    let id = id_of(rule, family, &finding.about);
    let whose = Whose {
        subject: Subject::Family(family.id.clone()),
        issuer: &family.issuer,
        tenant: family.tenant.as_ref(),
        user_id: family.user_id.as_ref(),
        client_id: family.client_id.as_ref(),
        family_id: Some(&family.id),
        session_id: family.session_id.as_ref(),
        token_kind: family.token_kind,
    };
    Found::new(rule, id, whose, finding, late)
}

/// What was filed of ends and measures about the family, its session, its user or the user's consent.
pub(super) fn all_ended<'a>(
    state: &'a State,
    family: &Family,
    key: u64,
) -> impl Iterator<Item = &'a Ended> + use<'a> {
    let (user, session) = lifecycle::keys_of(family);
    let consent = (family.user_id.as_deref().zip(family.client_id.as_deref()))
        .map(|(user, client)| family.scope().ended_consent(user, client));
    let keys = [Some(key), session, user, consent].into_iter().flatten();
    keys.filter_map(|key| state.ended.get(key))
}

/// When the family, its session or its user was ended since the family began, and what else was done to them.
fn ends(state: &State, family: &Family, key: u64) -> (Ends, Vec<Measure>) {
    let mut ends = Ends {
        assumed: state.nothing_performed,
        ..Ends::default()
    };
    let mut measures = Vec::new();
    for ended in all_ended(state, family, key) {
        let since =
            |times: &[i64]| times[times.partition_point(|t| *t < family.first_seen)..].to_vec();
        ends.by_people.extend(since(&ended.by_people));
        ends.by_us.extend(since(&ended.by_us));
        // What this daemon ended never counts as an attack.
        let measures_since = ended
            .measures
            .iter()
            .filter(|m| m.time >= family.first_seen && m.by != Some(Initiator::Tokenwarden));
        measures.extend(measures_since.cloned());
    }
    measures.sort_by_key(|m| (m.time, m.taken, m.reach));
    (ends, measures)
}

/// Files that a session, a user or a family was ended by somebody who may: what is refused afterwards is aftermath.
///
/// A server's own reaction to a reuse is no excuse for the reuse.
pub(super) fn ended(state: &mut State, passing: &Passing<'_>) {
    let (event, scope) = (&passing.event.event, passing.scope);
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
    let whole_user = event.kind == EventType::UserDisable;
    let family = event
        .family_id
        .as_deref()
        .map(|id| state.resolve.survivor(scope.family(id)));
    let key = match (family, &event.session_id, &event.user_id) {
        (_, _, Some(user)) if whole_user => scope.ended_user(user),
        (Some(family), ..) => family,
        (None, Some(session), _) => scope.ended_session(session),
        (None, None, Some(user)) => match event.client_id.as_deref() {
            Some(client) if event.kind == EventType::Revoke => scope.ended_consent(user, client),
            _ => scope.ended_user(user),
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

/// Files what this daemon itself ended, so that it never counts as an attack.
pub(super) fn ended_by_us(
    state: &mut State,
    target: &crate::model::Target,
    whole_user: bool,
    time: i64,
) {
    let scope = Scope::new(&target.issuer, target.tenant.as_deref());
    let ended = match (&target.session_id, &target.family_id, &target.user_id) {
        (_, _, Some(user)) if whole_user => scope.ended_user(user),
        (Some(session), ..) => scope.ended_session(session),
        // A derived family is known by one of its tokens.
        (None, Some(family), _) => {
            let named = state.resolve.survivor(scope.family(family));
            let chained = state.resolve.of_token(scope.token(family));
            mark_ended(state, chained, time, true);
            named
        }
        _ => return,
    };
    mark_ended(state, ended, time, true);
}

#[cfg(test)]
mod tests;
