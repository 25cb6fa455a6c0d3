//! The stage of the generic rules: they pick events by a condition and remember a little of each key.
//!
//! An event is taken at once, unless the condition leaves the answer to facts that may still come (the token turns out to
//! be known): then it is put aside for the settling time and asked again over what is known by then. Which events are put
//! aside decides the condition itself, with all facts open but those that cannot change: most events are ruled out by
//! their type and outcome, and cost no more than that.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::compiled::Compiled;
use super::facts::Sources;
use super::found::{Found, Whose, stable_id};
use super::key::{Key, Scope};
use super::millis;
use super::passing::Passing;
use super::plan::Asked;
use super::queue::Queue;
use super::rate::release;
use super::state::State;
use super::table::{Aged, Table};
use crate::model::{Enriched, Subject, Text, limits};
use crate::rules::case::{KeyedCase, KeyedKind, Party};
use crate::rules::context::Context;
use crate::rules::expr::{Expression, RunError};
use crate::rules::fields::KeyField;
use crate::rules::kinds::keyed::{Memory, key_text};
use crate::rules::words::title;
use crate::rules::{Finding, Rule};

/// What is remembered of one key of one rule.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Keyed {
    pub(super) memory: Memory,
    released: Vec<u64>,
    /// Event time until which it is of use: what is of use longest stays longest.
    kept_until: i64,
}

impl Aged for Keyed {
    /// It says itself until when.
    const OF_USE_MS: i64 = 0;

    fn last_seen(&self) -> i64 {
        self.kept_until
    }
}

/// When thefts from a user were found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Thefts {
    /// Event times in milliseconds, oldest first; bounded.
    pub(super) times: Vec<i64>,
}

/// Thefts remembered of one user.
const THEFTS_OF_USER_MAX: usize = 8;

impl Aged for Thefts {
    fn last_seen(&self) -> i64 {
        self.times.last().copied().unwrap_or(i64::MIN)
    }
}

/// Events put aside, by the time at which they are asked again, and whether they were late.
pub(super) type Aside = Queue<(i64, u64), (Box<Enriched>, bool)>;

/// How often a rule had no answer, by its name.
pub(super) type Errors = BTreeMap<Text, u64>;

/// Shows a new event to the rules; what must wait is put aside.
pub(super) fn seen(
    state: &mut State,
    errors: &mut Errors,
    passing: &Passing<'_>,
    out: &mut Vec<Found>,
) {
    if begin_waiting(state, passing) {
        put_aside(state, passing);
    }
    let Passing { event, plan, .. } = *passing;
    let asked = plan.keyed(event.event.kind, event.event.outcome);
    for asked in asked.filter(|asked| !asked.waits) {
        let answer = asked.condition.matches(event, &plan.of_client);
        if fulfils(answer, asked.rule, errors) {
            take(state, &asked, passing, out);
        }
    }
}

/// Whether a condition leaves the event open; the memories that it may begin are there for those that come meanwhile.
fn begin_waiting(state: &mut State, passing: &Passing<'_>) -> bool {
    let Passing { event, plan, .. } = *passing;
    let (mut waits, mut glance) = (false, None);
    let asked = plan.keyed(event.event.kind, event.event.outcome);
    for asked in asked.filter(|asked| asked.waits) {
        if !asked.condition.may_match(event, &plan.of_client) {
            continue;
        }
        let so_far = glance.get_or_insert_with(|| sources(state).at_a_glance(passing));
        if asked.condition.may_match(event, so_far) {
            waits = true;
            if asked.kind.begins(asked.step) {
                begin(state, &asked, passing);
            }
        }
    }
    waits
}

fn put_aside(state: &mut State, passing: &Passing<'_>) {
    let due = passing.time.saturating_add(millis(limits::KEYED_SETTLE));
    let id = passing.scope.event(&passing.event.event.event_id);
    let held = (Box::new(passing.event.clone()), passing.late);
    state.aside.insert((due, id), held);
}

/// Asks the rules about the events that have waited long enough.
pub(super) fn settled(
    state: &mut State,
    compiled: &Compiled,
    errors: &mut Errors,
    out: &mut Vec<Found>,
) {
    while let Some((_, (event, late))) = {
        let now = state.now();
        let due = |(due, _): &(i64, u64)| *due;
        state.aside.take(now, limits::KEYED_WAITING_MAX, due)
    } {
        let context = Arc::new(Context::of(&event));
        let scope = Scope::of(&event.event);
        let passing = Passing::new(compiled, (&event, scope), &context, late);
        let facts = sources(state).all(&passing);
        let asked = (passing.plan).keyed(event.event.kind, event.event.outcome);
        for asked in asked.filter(|asked| asked.waits) {
            if fulfils(asked.condition.matches(&event, &facts), asked.rule, errors) {
                take(state, &asked, &passing, out);
            }
        }
    }
}

/// Remembers from whom something was stolen: what was learnt of that user just before may be the thief's.
pub(super) fn note_thefts(state: &mut State, found: &[Found]) {
    for found in found.iter().filter(|found| found.may_revoke) {
        let detection = &found.detection;
        let Some(user) = &detection.user_id else {
            continue;
        };
        let scope = Scope::new(&detection.issuer, detection.tenant.as_deref());
        let thefts = state
            .thefts
            .get_or_insert_with(scope.thefts(user), Thefts::default);
        let time = detection.time.as_millisecond();
        if let Err(at) = thefts.times.binary_search(&time) {
            thefts.times.insert(at, time);
        }
        if thefts.times.len() > THEFTS_OF_USER_MAX {
            thefts.times.remove(0);
        }
    }
}

/// When thefts from the event's user were found.
pub(super) fn thefts_of<'a>(state: &'a Table<Thefts>, passing: &Passing<'_>) -> &'a [i64] {
    let user = passing.event.event.user_id.as_deref();
    let known = user.and_then(|user| state.get(passing.scope.thefts(user)));
    known.map_or(&[], |thefts| &thefts.times)
}

/// The conditions of a kind with their numbers.
pub(super) fn steps(kind: &dyn KeyedKind) -> impl Iterator<Item = (usize, &Expression)> {
    (0..).map_while(|step| Some((step, kind.condition(step)?)))
}

pub(super) fn sources(state: &State) -> Sources<'_> {
    Sources {
        resolve: &state.resolve,
        families: &state.families,
    }
}

/// A condition without an answer counts as an error of its rule, and the rule goes on with the next event.
fn fulfils(answer: Result<bool, RunError>, rule: &Rule, errors: &mut Errors) -> bool {
    answer.unwrap_or_else(|_| {
        match errors.get_mut(&rule.name) {
            Some(count) => *count += 1,
            None => {
                errors.insert(rule.name.clone(), 1);
            }
        }
        false
    })
}

/// The values of the key, for people; `None` where the event lacks one of them.
fn key_values<'a>(by: &[KeyField], event: &'a Enriched) -> Option<Vec<Cow<'a, str>>> {
    by.iter().map(|field| field.of(event)).collect()
}

/// Where a rule keeps what it remembers of the event's key; `None` where the event lacks a part of it.
pub(super) fn memory_key(
    rule: Key,
    by: &[KeyField],
    (event, scope): (&Enriched, Scope),
) -> Option<u64> {
    let mut key = scope.rule(rule);
    for field in by {
        key.add(field.bytes_of(event)?.as_ref());
    }
    Some(key.hash())
}

/// Whose the event is, as far as it says or its family is known.
pub(super) fn party_of(sources: &Sources<'_>, passing: &Passing<'_>) -> Party {
    let (family, event) = (sources.family(passing), passing.event);
    let or = |told: &Option<Text>, known: Option<&Text>| told.clone().or_else(|| known.cloned());
    Party {
        user_id: or(
            &event.event.user_id,
            family.and_then(|f| f.user_id.as_ref()),
        ),
        client_id: or(
            &event.event.client_id,
            family.and_then(|f| f.client_id.as_ref()),
        ),
        family_id: family.map(|family| family.id.clone()),
        session_id: or(
            &event.event.session_id,
            family.and_then(|f| f.session_id.as_ref()),
        ),
        token_kind: event.event.token_kind,
    }
}

/// An event that is put aside may begin a memory, which those that come meanwhile then join.
fn begin(state: &mut State, asked: &Asked<'_>, passing: &Passing<'_>) {
    if let Some(key) = memory_key(asked.key, asked.kind.by(), (passing.event, passing.scope)) {
        let record = state.keyed.get_or_insert_with(key, Box::default);
        record.touch(asked.kind, passing.time);
    }
}

impl Keyed {
    fn touch(&mut self, kind: &dyn KeyedKind, time: i64) {
        let kept = millis(kind.kept_for()).saturating_add(millis(limits::LATENESS_DEFAULT));
        let until = time.saturating_add(kept);
        self.kept_until = self.kept_until.max(until);
    }
}

fn take(state: &mut State, asked: &Asked<'_>, passing: &Passing<'_>, out: &mut Vec<Found>) {
    let Asked {
        rule,
        key,
        kind,
        step,
        ..
    } = *asked;
    let Some(key) = memory_key(key, kind.by(), (passing.event, passing.scope)) else {
        return;
    };
    let event = passing.event;
    let State {
        keyed,
        resolve,
        families,
        thefts,
        ..
    } = state;
    let sources = Sources { resolve, families };
    let record = if kind.begins(step) {
        keyed.get_or_insert_with(key, Box::default)
    } else {
        let Some(record) = keyed.get_mut(key) else {
            return;
        };
        record
    };
    record.touch(kind, passing.time);
    let of_event = || party_of(&sources, passing);
    let facts = || sources.all(passing);
    let thefts = || thefts_of(thefts, passing);
    let case = KeyedCase {
        step,
        event,
        presenter: passing.context,
        party: &of_event,
        facts: &facts,
        thefts: &thefts,
    };
    for (finding, party) in kind.take(&mut record.memory, &case) {
        let party = party.unwrap_or_else(of_event);
        let values = key_values(kind.by(), event).unwrap_or_default();
        let found = found(rule, kind, (event, &values), &party, finding, passing.late);
        if release(&mut record.released, &found.detection.id) {
            out.push(found);
        }
    }
}

fn found(
    rule: &Arc<Rule>,
    kind: &dyn KeyedKind,
    (event, values): (&Enriched, &[Cow<'_, str>]),
    party: &Party,
    mut finding: Finding,
    late: bool,
) -> Found {
    // A count alone does not say of what.
    finding.summary = format!("{}: {}", title(&rule.name), finding.summary);
    let issuer = &event.event.issuer;
    let tenant = event.event.tenant.as_deref().unwrap_or("");
    let count = values.len().to_string();
    let about = finding.about.iter().map(String::as_str);
    let parts: Vec<&str> = [&*rule.name, "keyed", issuer, tenant, &count]
        .into_iter()
        .chain(values.iter().map(|value| &**value))
        .chain(about)
        .collect();
    let is_about_event = kind.is_about_event();
    let keyed_by = |name: &str| kind.by().iter().any(|field| field.name() == name);
    let named = |id: &Option<Text>, by: bool| id.clone().filter(|_| is_about_event || by);
    // Of all events of a key those of one user, family or session are meant only if the key says which.
    let user_id = named(&party.user_id, keyed_by("event.user_id"));
    let family_id = named(&party.family_id, keyed_by("event.family_id"));
    let session_id = named(
        &party.session_id,
        keyed_by("event.session_id") || family_id.is_some(),
    );
    let subject = match &family_id {
        Some(family) if finding.may_revoke => Subject::Family(family.clone()),
        _ => subject(kind.by(), values, event),
    };
    let whose = Whose {
        subject,
        issuer,
        tenant: event.event.tenant.as_ref(),
        user_id: user_id.as_ref(),
        client_id: party.client_id.as_ref(),
        family_id: family_id.as_ref(),
        session_id: session_id.as_ref(),
        token_kind: party.token_kind.filter(|_| family_id.is_some()),
    };
    Found::new(rule, stable_id(&parts), whose, finding, late)
}

/// Whom the key names; else the key itself, because whose event completed a count hangs on the order of arrival.
fn subject(by: &[KeyField], values: &[Cow<'_, str>], event: &Enriched) -> Subject {
    let named = by.iter().zip(values).find_map(|(field, value)| {
        let value = Text::from(&**value);
        Some(match field.name() {
            "event.user_id" => Subject::User(value),
            "event.family_id" => Subject::Family(value),
            "event.client_id" => Subject::Client(value),
            "event.ip_address" => Subject::Network(value),
            name if name.starts_with("network.") => Subject::Network(value),
            _ => return None,
        })
    });
    named.unwrap_or_else(|| Subject::Key(key_text(by, event).into()))
}

#[cfg(test)]
mod tests;
