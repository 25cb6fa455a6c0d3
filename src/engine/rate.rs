//! Velocity, the same for every subject: counts by minute, judged against a limit.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::found::{Found, stable_id};
use super::table::{Aged, key};
use crate::config::ClientType;
use crate::model::{Detection, Enriched, Evidence, Severity, Subject, Text, Timestamp};
use crate::rules::Rule;
use crate::rules::kinds::velocity::{By, Counts, Finding, Level, Velocity};

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
    pub(super) client_type: ClientType,
    pub(super) access_token_ttl: Option<Duration>,
    pub(super) event: &'a Enriched,
}

/// Released detections remembered of one subject: all that its bounded history can still give.
const RELEASED_MAX: usize = 256;

pub(super) fn judge(
    rules: &[(Arc<Rule>, Velocity)],
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
    let backend = matches!(
        subject.client_type,
        ClientType::Backend | ClientType::Confidential
    );
    let grave = match finding.level {
        Level::Gross => true,
        Level::Lasting => !backend,
        Level::AboveLimit => false,
    };
    let severity = if grave {
        rule.severity
    } else {
        rule.severity.min(if backend {
            Severity::Info
        } else {
            Severity::Low
        })
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
    Found {
        detection: Detection {
            id,
            rule: rule.name.clone(),
            kind: rule.detect.kind().into(),
            severity,
            time: event.time,
            event_id: event.event_id.clone(),
            subject: match subject.by {
                By::Family => Subject::Family(subject.id.clone()),
                By::User => Subject::User(subject.id.clone()),
                By::Client => Subject::Client(subject.id.clone()),
                By::Network => Subject::Network(subject.id.clone()),
            },
            issuer: event.issuer.clone(),
            tenant: event.tenant.clone(),
            user_id: subject.user_id.clone(),
            client_id: subject.client_id.clone(),
            family_id: subject.family_id.clone(),
            session_id: subject.session_id.clone(),
            token_kind: event.token_kind,
            ip_address: event.ip_address,
            summary: summary.into(),
            evidence: Evidence::new()
                .with("level", finding.level.as_str())
                .with("count", finding.count)
                .with("limit", finding.limit)
                .with("window_seconds", finding.window.as_secs())
                .with("by", subject.by.as_str())
                .with("last_seen", &*Timestamp::to_string(&event.time)),
        },
        rule: rule.clone(),
        grave,
        may_revoke: false,
        late,
        foreign_network: None,
    }
}
