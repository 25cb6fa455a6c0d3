//! Velocity, the same for every subject: counts by minute, judged against a limit.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::found::{Found, Whose, stable_id};
use super::table::{Aged, key};
use crate::model::{Event, Subject, Text};
use crate::rules::case::{ClientFacts, RateCase};
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
pub(super) struct RateSubject<'a> {
    pub(super) by: By,
    pub(super) id: Text,
    pub(super) user_id: Option<Text>,
    pub(super) family_id: Option<Text>,
    pub(super) session_id: Option<Text>,
    pub(super) client_id: Option<Text>,
    pub(super) client: ClientFacts,
    pub(super) event: &'a Event,
    pub(super) presenter: &'a Arc<Context>,
}

/// Released detections remembered of one subject: all that its bounded history can still give.
const RELEASED_MAX: usize = 256;

pub(super) fn judge(
    rules: &[(&Arc<Rule>, &Velocity)],
    counts: &Counts,
    released: &mut Vec<u64>,
    subject: &RateSubject<'_>,
    late: bool,
    out: &mut Vec<Found>,
) {
    let case = case(
        (counts, &subject.id),
        subject.client,
        subject.event,
        subject.presenter,
    );
    let time = subject.event.time.as_millisecond();
    for (rule, velocity) in rules.iter().filter(|(_, v)| v.by == subject.by) {
        for finding in velocity.judge(&case, time, &mut Trace::off()) {
            let found = subject.found(rule, finding, late);
            if release(released, &found.detection.id) {
                out.push(found);
            }
        }
    }
}

/// What a velocity rule is handed of one subject.
pub(super) fn case<'a>(
    (counts, subject): (&'a Counts, &'a str),
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
    let id = key("released", &[id]);
    if released.contains(&id) {
        return false;
    }
    released.push(id);
    if released.len() > RELEASED_MAX {
        released.remove(0);
    }
    true
}

impl RateSubject<'_> {
    fn found(&self, rule: &Arc<Rule>, finding: Finding, late: bool) -> Found {
        let event = self.event;
        let tenant = event.tenant.as_deref().unwrap_or("");
        let scope = format!("{}\u{1f}{tenant}", event.issuer);
        let about = finding.about.iter().map(String::as_str);
        let parts: Vec<&str> = [&*rule.name, self.by.as_str(), &scope, &self.id]
            .into_iter()
            .chain(about)
            .collect();
        let id = stable_id(&parts);
        let of = self.id.clone();
        let whose = Whose {
            subject: match self.by {
                By::Family => Subject::Family(of),
                By::User => Subject::User(of),
                By::Client => Subject::Client(of),
                By::Network => Subject::Network(of),
            },
            issuer: &event.issuer,
            tenant: event.tenant.as_ref(),
            user_id: self.user_id.as_ref(),
            client_id: self.client_id.as_ref(),
            family_id: self.family_id.as_ref(),
            session_id: self.session_id.as_ref(),
            token_kind: event.token_kind,
        };
        Found::new(rule, id, whose, finding, late)
    }
}
