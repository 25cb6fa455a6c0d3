//! Velocity, the same for every subject: counts by minute, judged against a limit.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::found::{Found, Whose, stable_id};
use super::key::{Key, Scope};
use super::passing::Passing;
use super::plan::Planned;
use super::state::State;
use super::table::{Aged, Table};
use crate::model::{Enriched, Event, EventType, Network, NetworkClass, Prefix, Subject, Text};
use crate::rules::case::{ClientFacts, RateCase, Who};
use crate::rules::context::Context;
use crate::rules::kinds::velocity::{By, Counts, Velocity};
use crate::rules::{Finding, Rule, Trace};

/// State of a subject that only rates look at.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Rate {
    pub(super) counts: Counts,
    pub(super) released: Vec<u64>,
    pub(super) last_seen: i64,
}

impl Aged for Rate {
    fn last_seen(&self) -> i64 {
        self.last_seen
    }
}

/// Whose refreshes are judged, and what the detection is to say.
struct RateSubject<'a> {
    by: By,
    id: Who<'a>,
    user_id: Option<&'a Text>,
    family_id: Option<&'a Text>,
    session_id: Option<&'a Text>,
    passing: &'a Passing<'a>,
}

/// Released detections remembered of one subject: all that its bounded history can still give.
const RELEASED_MAX: usize = 256;

/// Counts an accepted refresh for every subject that it is of, and asks the rules about each.
pub(super) fn counted(
    state: &mut State,
    passing: &Passing<'_>,
    (family, user): (Option<u64>, Option<u64>),
    out: &mut Vec<Found>,
) {
    let (Enriched { event, network, .. }, time) = (passing.event, passing.time);
    if event.kind != EventType::Refresh || passing.plan.rates().next().is_none() {
        return;
    }
    let mut subject = RateSubject {
        by: By::Family,
        id: Who::Named(""),
        user_id: event.user_id.as_ref(),
        family_id: None,
        session_id: event.session_id.as_ref(),
        passing,
    };
    let family = family.and_then(|key| state.families.get_mut(key));
    if let Some(family) = family.map(|family| &mut **family) {
        family.refreshed_at = family.refreshed_at.max(Some(time));
        family.counts.add(time);
        (subject.id, subject.family_id) = (Who::Named(&family.id), Some(&family.id));
        subject.user_id = subject.user_id.or(family.user_id.as_ref());
        judge(&family.counts, &mut family.released, &subject, out);
    }
    // Of all the families of what comes now none is meant.
    (subject.family_id, subject.session_id) = (None, None);
    if let Some(user_id) = subject.user_id
        && let Some(user) = user.and_then(|key| state.users.get_mut(key))
    {
        (subject.by, subject.id) = (By::User, Who::Named(user_id));
        user.counts.add(time);
        judge(&user.counts, &mut user.released, &subject, out);
    }
    subject.user_id = None;
    if let Some(network) = network.as_ref().filter(|network| tells_of_few(network)) {
        (subject.by, subject.id) = (By::Network, Who::Network(network.prefix));
        count(&mut state.networks, &subject, out);
    }
    if let Some(client_id) = &event.client_id {
        (subject.by, subject.id) = (By::Client, Who::Named(client_id));
        count(&mut state.clients, &subject, out);
    }
}

/// Many people stand behind one address of some networks on purpose: their number says nothing.
const fn tells_of_few(network: &Network) -> bool {
    let shared = matches!(
        network.class,
        Some(
            NetworkClass::Egress
                | NetworkClass::Backend
                | NetworkClass::Relay
                | NetworkClass::Mobile
                | NetworkClass::Campus
        )
    );
    !shared && !network.internal
}

/// The same of a subject of which nothing else is remembered.
fn count(table: &mut Table<Rate>, subject: &RateSubject<'_>, out: &mut Vec<Found>) {
    let time = subject.passing.time;
    let key = key_of(subject.passing.scope, subject.id);
    let record = table.get_or_insert_with(key, Rate::default);
    record.last_seen = record.last_seen.max(time);
    record.counts.add(time);
    judge(&record.counts, &mut record.released, subject, out);
}

/// Where the counts of a client or network are kept.
pub(super) fn key_of(scope: Scope, subject: Who<'_>) -> u64 {
    match subject {
        Who::Named(client_id) => scope.client(client_id),
        Who::Network(Prefix::V4(prefix)) => scope.network(&prefix),
        Who::Network(Prefix::V6(groups)) => {
            scope.network(groups.map(u16::to_be_bytes).as_flattened())
        }
    }
}

fn judge(
    counts: &Counts,
    released: &mut Vec<u64>,
    subject: &RateSubject<'_>,
    out: &mut Vec<Found>,
) {
    let Passing {
        context,
        plan,
        time,
        late,
        ..
    } = *subject.passing;
    let event = &subject.passing.event.event;
    let is_asked = |(planned, velocity): &(&Planned, &Velocity)| {
        planned.applies && velocity.by == subject.by && velocity.concerns(counts)
    };
    for (planned, velocity) in plan.rates().filter(is_asked) {
        let case = case((counts, subject.id), plan.client, event, context);
        for finding in velocity.judge(&case, time, &mut Trace::off()) {
            let found = subject.found(&planned.rule, finding, late);
            if release(released, &found.detection.id) {
                out.push(found);
            }
        }
    }
}

/// What a velocity rule is handed of one subject.
pub(super) fn case<'a>(
    (counts, subject): (&'a Counts, Who<'a>),
    client: ClientFacts,
    event: &'a Event,
    presenter: &'a Arc<Context>,
) -> RateCase<'a> {
    let told = event.access_token_ttl.map(u64::from);
    RateCase {
        counts,
        subject,
        event_id: &event.event_id,
        presenter,
        access_token_ttl: told
            .map(std::time::Duration::from_secs)
            .or(client.access_token_ttl),
        own_addresses: client.own_addresses,
    }
}

/// Remembers that a detection was released; `false` when it already had been.
pub(super) fn release(released: &mut Vec<u64>, id: &str) -> bool {
    if is_released(released, id) {
        return false;
    }
    released.push(hash(id));
    if released.len() > RELEASED_MAX {
        released.remove(0);
    }
    true
}

pub(super) fn is_released(released: &[u64], id: &str) -> bool {
    released.contains(&hash(id))
}

fn hash(id: &str) -> u64 {
    Key::new(id).hash()
}

impl RateSubject<'_> {
    fn found(&self, rule: &Arc<Rule>, finding: Finding, late: bool) -> Found {
        let event = &self.passing.event.event;
        let tenant = event.tenant.as_deref().unwrap_or("");
        let scope = format!("{}\u{1f}{tenant}", event.issuer);
        let about = finding.about.iter().map(String::as_str);
        let of: Text = self.id.to_string().into();
        let parts: Vec<&str> = [&*rule.name, self.by.as_str(), &scope, &of]
            .into_iter()
            .chain(about)
            .collect();
        let id = stable_id(&parts);
        let whose = Whose {
            subject: match self.by {
                By::Family => Subject::Family(of),
                By::User => Subject::User(of),
                By::Client => Subject::Client(of),
                By::Network => Subject::Network(of),
            },
            issuer: &event.issuer,
            tenant: event.tenant.as_ref(),
            user_id: self.user_id,
            client_id: event.client_id.as_ref(),
            family_id: self.family_id,
            session_id: self.session_id,
            token_kind: event.token_kind,
        };
        Found::new(rule, id, whose, finding, late)
    }
}
