//! Stage three: what is remembered of a user, and the rules that read it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::compiled::Compiled;
use super::found::{Found, stable_id};
use super::lineage::place_name;
use super::rate::release;
use super::state::{State, Waiting};
use super::table::Aged;
use crate::config::ClientType;
use crate::model::{Detection, Enriched, Evidence, Subject, Text, Timestamp};
use crate::rules::Rule;
use crate::rules::context::Context;
use crate::rules::kinds::impossible_travel::{Finding, ImpossibleTravel, Sighting, Sightings};
use crate::rules::kinds::velocity::Counts;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) id: Text,
    pub(super) issuer: Text,
    pub(super) tenant: Option<Text>,
    /// The client and session last seen, for the detection.
    pub(super) client_id: Option<Text>,
    pub(super) session_id: Option<Text>,
    pub(super) family_id: Option<Text>,
    pub(super) sightings: Sightings,
    pub(super) counts: Counts,
    pub(super) released: Vec<u64>,
    pub(super) last_seen: i64,
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
            session_id: None,
            family_id: None,
            sightings: Sightings::default(),
            counts: Counts::default(),
            released: Vec::new(),
            last_seen: i64::MIN,
        }
    }
}

/// Files where the user was, and asks the travel rules once the question has settled.
///
/// Servers that refresh on behalf of users are where they are: their addresses are not the user's.
pub(super) fn sighted(
    state: &mut State,
    compiled: &Compiled,
    user: u64,
    (event, context): (&Enriched, &Arc<Context>),
    client_type: ClientType,
    late: bool,
    out: &mut Vec<Found>,
) {
    if matches!(client_type, ClientType::Backend | ClientType::Confidential)
        || !compiled.travel_applies(event.event.client_id.as_deref())
    {
        return;
    }
    if context.located().is_none() {
        return;
    }
    let time = event.event.time.as_millisecond();
    let now = state.now();
    let Some(record) = state.users.get_mut(user) else {
        return;
    };
    record.sightings.add(Sighting {
        time,
        event_id: event.event.event_id.clone(),
        context: context.clone(),
    });
    let questions: Vec<i64> = record
        .sightings
        .iter()
        .map(|s| s.time)
        .filter(|t| *t >= time)
        .collect();
    for (_, travel) in &compiled.travel {
        let settle = i64::try_from(travel.settle.as_millis()).unwrap_or(0);
        for cut in questions.iter().map(|t| t + settle) {
            if cut > now {
                state.wait(cut, Waiting::User(user));
            } else {
                ask(state, compiled, user, cut, late, out);
            }
        }
    }
}

/// Asks the travel rules about what was seen at the time that has now settled.
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
    let mut found = Vec::new();
    for (rule, travel) in &compiled.travel {
        let settle = i64::try_from(travel.settle.as_millis()).unwrap_or(0);
        if let Some(finding) = travel.judge(&record.sightings, cut - settle, cut) {
            found.push(travelled(rule, travel, record, &finding, late));
        }
    }
    for found in found {
        if compiled.applies(&found.rule.name, found.detection.client_id.as_deref())
            && release(&mut record.released, &found.detection.id)
        {
            out.push(found);
        }
    }
}

/// One detection a user and hour of event time.
const BUCKET_MS: i64 = 3_600_000;

fn travelled(
    rule: &Arc<Rule>,
    travel: &ImpossibleTravel,
    user: &User,
    finding: &Finding<'_>,
    late: bool,
) -> Found {
    let bucket = (finding.to.time / BUCKET_MS).to_string();
    let tenant = user.tenant.as_deref().unwrap_or("");
    let id = stable_id(&[&rule.name, "user", &user.issuer, tenant, &user.id, &bucket]);
    let summary = format!(
        "{} to {} in {}: {:.0} km/h",
        place_name(&finding.from.context),
        place_name(&finding.to.context),
        minutes(finding.to.time - finding.from.time),
        finding.speed_km_per_h,
    );
    let at = |millis| Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH);
    let end = |sighting: &Sighting| {
        Evidence::new()
            .with("place", place_name(&sighting.context))
            .with_some(
                "ip_address",
                sighting.context.ip_address.map(|ip| ip.to_string()),
            )
            .with("time", at(sighting.time).to_string())
    };
    Found {
        detection: Detection {
            id,
            rule: rule.name.clone(),
            kind: rule.detect.kind().into(),
            severity: rule.severity,
            time: at(finding.to.time),
            event_id: finding.to.event_id.clone(),
            subject: Subject::User(user.id.clone()),
            issuer: user.issuer.clone(),
            tenant: user.tenant.clone(),
            user_id: Some(user.id.clone()),
            client_id: user.client_id.clone(),
            family_id: user.family_id.clone(),
            session_id: user.session_id.clone(),
            token_kind: None,
            ip_address: finding.to.context.ip_address,
            summary: summary.into(),
            evidence: Evidence::new()
                .with("from", end(finding.from))
                .with("to", end(finding.to))
                .with("distance_km", finding.distance_km.round())
                .with("effective_distance_km", finding.effective_km.round())
                .with("speed_km_per_h", finding.speed_km_per_h.round())
                .with("threshold_km_per_h", travel.bounds.speed_max_km_per_h),
        },
        rule: rule.clone(),
        grave: true,
        may_revoke: false,
        late,
        foreign_network: finding.to.context.network.as_ref().map(|n| n.prefix),
    }
}

/// A span of time for a sentence.
pub(super) fn minutes(millis: i64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}
