//! Stage three: what is remembered of a user, and the rules that read it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::compiled::Compiled;
use super::found::{Found, Whose, stable_id};
use super::passing::Passing;
use super::rate::release;
use super::state::{State, Waiting};
use super::table::Aged;
use crate::model::{Enriched, Subject, Text};
use crate::rules::case::{At, UserCase, millis};
use crate::rules::kinds::impossible_travel::{Sighting, Sightings};
use crate::rules::kinds::velocity::Counts;
use crate::rules::{Finding, Rule, Trace};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) id: Text,
    pub(super) issuer: Text,
    pub(super) tenant: Option<Text>,
    /// The client last seen: which variants of the rules apply.
    pub(super) client_id: Option<Text>,
    pub(super) sightings: Sightings,
    pub(super) counts: Counts,
    pub(super) released: Vec<u64>,
    pub(super) last_seen: i64,
    /// Event times of the newest families that the server began for the user, oldest first; bounded.
    pub(super) let_in: Vec<i64>,
}

impl Aged for User {
    fn last_seen(&self) -> i64 {
        self.last_seen
    }
}

impl User {
    pub(super) fn new(id: Text, event: &Enriched) -> Self {
        Self {
            id,
            issuer: event.event.issuer.clone(),
            tenant: event.event.tenant.clone(),
            client_id: None,
            sightings: Sightings::default(),
            counts: Counts::default(),
            released: Vec::new(),
            last_seen: i64::MIN,
            let_in: Vec::new(),
        }
    }
}

/// Begun families remembered of one user: a few more than begin while a question about a disabled user waits.
const LET_IN_MAX: usize = 4;

impl User {
    /// The server began a family for the user: it does not hold the user for disabled.
    pub(super) fn was_let_in(&mut self, time: i64) {
        if let Err(at) = self.let_in.binary_search(&time) {
            self.let_in.insert(at, time);
        }
        if self.let_in.len() > LET_IN_MAX {
            self.let_in.remove(0);
        }
    }
}

/// Files where the user was, and asks the rules about users once the question has settled.
///
/// Servers that refresh on behalf of users are where they are: their addresses are not the user's.
pub(super) fn sighted(
    state: &mut State,
    compiled: &Compiled,
    user: u64,
    passing: &Passing<'_>,
    family: Option<u64>,
    out: &mut Vec<Found>,
) {
    let Passing {
        context,
        plan,
        time,
        late,
        ..
    } = *passing;
    let event = &passing.event.event;
    // What an exempt client does is nobody's whereabouts.
    let is_looked_at = plan.users().any(|(planned, _)| planned.applies);
    if plan.client.own_addresses || !is_looked_at || context.located().is_none() {
        return;
    }
    let now = state.now();
    let family = family.and_then(|key| state.families.get(key));
    let Some(record) = state.users.get_mut(user) else {
        return;
    };
    record.sightings.add(Sighting {
        time,
        event_id: event.event_id.clone(),
        context: context.clone(),
        family_id: family.map(|family| family.id.clone()),
        client_id: or_else(event.client_id.as_ref(), || family?.client_id.as_ref()),
        session_id: or_else(event.session_id.as_ref(), || family?.session_id.as_ref()),
    });
    let case = UserCase {
        sightings: &record.sightings,
    };
    // Most users stay where they are: a question of each of their events, asked in vain, was a fourteenth of its cost.
    if !plan.users().any(|(_, kind)| kind.concerns(&case, context)) {
        return;
    }
    let seen_since = || case.sightings.iter().map(|s| s.time).filter(|t| *t >= time);
    let mut cuts: Vec<i64> = compiled
        .settles_of_users()
        .flat_map(|settle| seen_since().map(move |time| time + settle))
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    for cut in cuts {
        if cut > now {
            state.wait(cut, Waiting::User(user));
        } else {
            ask(state, compiled, user, cut, late, out);
        }
    }
}

fn or_else<'a>(told: Option<&'a Text>, known: impl FnOnce() -> Option<&'a Text>) -> Option<Text> {
    told.or_else(known).cloned()
}

/// Asks the rules about users about what was seen at the time that has now settled.
pub(super) fn ask(
    state: &mut State,
    compiled: &Compiled,
    user: u64,
    cut: i64,
    late: bool,
    out: &mut Vec<Found>,
) {
    let Some(record) = state.users.get_mut(user) else {
        return;
    };
    let case = UserCase {
        sightings: &record.sightings,
    };
    let mut found = Vec::new();
    let client_id = record.client_id.as_deref();
    let plan = compiled.plan(client_id, record.tenant.as_deref());
    for (planned, kind) in plan.users().filter(|(planned, _)| planned.applies) {
        let at = At {
            time: cut - millis(kind.settle()),
            cut,
        };
        let findings = kind.judge(&case, at, &mut Trace::off()).into_iter();
        found.extend(findings.map(|finding| of_user(&planned.rule, record, finding, late)));
    }
    found.retain(|found| release(&mut record.released, &found.detection.id));
    out.append(&mut found);
}

fn of_user(rule: &Arc<Rule>, user: &User, finding: Finding, late: bool) -> Found {
    let tenant = user.tenant.as_deref().unwrap_or("");
    let about = finding.about.iter().map(String::as_str);
    let parts: Vec<&str> = [&*rule.name, "user", &user.issuer, tenant, &user.id]
        .into_iter()
        .chain(about)
        .collect();
    // The family through which the user was seen there, not the one that was used last.
    let meant = |s: &&Sighting| Some(&s.event_id) == finding.event_id.as_ref();
    let seen = user.sightings.iter().find(meant);
    let whose = Whose {
        subject: Subject::User(user.id.clone()),
        issuer: &user.issuer,
        tenant: user.tenant.as_ref(),
        user_id: Some(&user.id),
        client_id: seen.and_then(|s| s.client_id.as_ref()),
        family_id: seen.and_then(|s| s.family_id.as_ref()),
        session_id: seen.and_then(|s| s.session_id.as_ref()),
        token_kind: None,
    };
    Found::new(rule, stable_id(&parts), whose, finding, late)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Clients;
    use crate::engine::Engine;
    use crate::model::{
        Anonymity, Enriched, Event, EventType, Granularity, Input, Network, Outcome, Place, Prefix,
        Timestamp, limits,
    };

    const RULE: &str = "
version: 1
rules:
  - name: travel
    description: d
    severity: low
    detect: { impossible_travel: { settle: 2s } }
";

    fn refresh(second: i64, network: u8) -> Enriched {
        let time = Timestamp::from_second(1_795_000_000 + second).unwrap();
        let id = format!("e{second}");
        let mut event = Event::new(id, time, EventType::Refresh, Outcome::Success, "app");
        event.user_id = Some("alice".into());
        event.session_id = Some("s1".into());
        let network = Network {
            prefix: Prefix::V4([192, 0, network]),
            asn: None,
            organisation: None,
            class: None,
            declared: None,
            anonymity: Anonymity::default(),
            internal: false,
        };
        let place = Place {
            latitude: 52.5,
            longitude: 13.4,
            radius_km: 20,
            granularity: Granularity::City,
            country: None,
            city: None,
        };
        Enriched {
            event,
            network: Some(network),
            place: Some(place),
            agent: None,
        }
    }

    /// Questions that wait after refreshes of one user, by second and network.
    fn waiting(refreshes: &[(i64, u8)]) -> usize {
        let rules = crate::rules::parse(&[(Path::new("t.yaml"), RULE)], &[]).expect("rules");
        let mut engine = Engine::new(&rules, Clients::default(), limits::LATENESS_DEFAULT);
        for (second, network) in refreshes {
            let input = Input::Event {
                partition: 0,
                event: Box::new(refresh(*second, *network)),
                muted: false,
                arrived_at: None,
            };
            engine.apply(&input, &mut Vec::new());
        }
        engine.sizes().waiting
    }

    #[test]
    fn only_who_was_in_another_network_raises_a_question() {
        assert_eq!(waiting(&[(0, 2), (60, 2), (61, 2)]), 0);
        assert_eq!(waiting(&[(0, 9), (60, 2)]), 1);
        assert_eq!(
            waiting(&[(60, 2), (59, 9)]),
            2,
            "the later one is asked again"
        );
    }
}
