//! Velocity, the same for every subject: counts by minute, judged against a limit.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::found::{Found, Whose, stable_id};
use super::table::{Aged, key};
use crate::model::{Enriched, Evidence, Severity, Subject, Text};
use crate::rules::context::Context;
use crate::rules::kinds::velocity::{By, Counts, Finding, Level, Velocity};
use crate::rules::{self, Ask, Rule};

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
    /// Server-side: refreshes on behalf of many.
    pub(super) own_addresses: bool,
    pub(super) access_token_ttl: Option<Duration>,
    pub(super) event: &'a Enriched,
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
    let time = subject.event.event.time.as_millisecond();
    for (rule, velocity) in rules.iter().filter(|(_, v)| v.by == subject.by) {
        let limit = velocity.limit(subject.access_token_ttl);
        for finding in velocity.judge(counts, time, limit) {
            let (scope, hour) = (scope(subject), finding.hour.to_string());
            let parts = [
                &*rule.name,
                subject.by.as_str(),
                &scope,
                &subject.id,
                finding.level.as_str(),
                &hour,
            ];
            let id = stable_id(&parts);
            if release(released, &id) {
                out.push(found(rule, subject, &finding, id, late));
            }
        }
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

fn scope(subject: &RateSubject<'_>) -> String {
    let event = &subject.event.event;
    format!(
        "{}\u{1f}{}",
        event.issuer,
        event.tenant.as_deref().unwrap_or("")
    )
}

fn found(
    rule: &Arc<Rule>,
    subject: &RateSubject<'_>,
    finding: &Finding,
    id: Text,
    late: bool,
) -> Found {
    let event = &subject.event.event;
    let backend = subject.own_addresses;
    let grave = match finding.level {
        Level::Gross => true,
        Level::Lasting => !backend,
        Level::AboveLimit => false,
    };
    let (at_most, ask) = match (grave, backend) {
        (true, _) => (Severity::Critical, Ask::Response),
        (false, true) => (Severity::Info, Ask::Nothing),
        (false, false) => (Severity::Low, Ask::Throttle),
    };
    let minutes = finding.window.as_secs() / 60;
    let summary = format!(
        "{} refreshes within {minutes} min for one {} (limit {}){}",
        finding.count,
        subject.by.as_str(),
        finding.limit,
        if finding.level == Level::Lasting {
            ", and it lasts"
        } else {
            ""
        },
    );
    let finding = rules::Finding {
        about: Vec::new(),
        time: event.time.as_millisecond(),
        event_id: Some(event.event_id.clone()),
        at_most,
        ask,
        may_revoke: false,
        confidence: 1.0,
        presenter: Arc::new(Context::of(subject.event)),
        foreign_network: None,
        summary,
        evidence: Evidence::new()
            .with("level", finding.level.as_str())
            .with("count", finding.count)
            .with("limit", finding.limit)
            .with("window_seconds", finding.window.as_secs())
            .with("by", subject.by.as_str())
            .with("last_seen", event.time.to_string()),
    };
    let of = subject.id.clone();
    let whose = Whose {
        subject: match subject.by {
            By::Family => Subject::Family(of),
            By::User => Subject::User(of),
            By::Client => Subject::Client(of),
            By::Network => Subject::Network(of),
        },
        issuer: &event.issuer,
        tenant: event.tenant.as_ref(),
        user_id: subject.user_id.as_ref(),
        client_id: subject.client_id.as_ref(),
        family_id: subject.family_id.as_ref(),
        session_id: subject.session_id.as_ref(),
        token_kind: event.token_kind,
    };
    Found::new(rule, id, whose, finding, late)
}
