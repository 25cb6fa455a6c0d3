//! What a query string may ask: read strictly, so that a mistyped filter is an error and not a longer list.

use std::time::Duration;

use serde::Deserialize;

use crate::metrics::top::{By, WINDOW_MAX};
use crate::model::{ActionKind, ActionState, Decision, IncidentState, Severity, Text, Timestamp};
use crate::store::{ActionFilter, DetectionFilter, IncidentFilter, Page};

use super::answer::Refusal;

const LIMIT_DEFAULT: u32 = 100;
/// Entries of one page: some hundred KiB of JSON.
const LIMIT_MAX: u32 = 1000;

/// Where a list goes on, and how long it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct IncidentQuery {
    state: Option<String>,
    severity: Option<String>,
    tenant: Option<Text>,
    user_id: Option<Text>,
    client_id: Option<Text>,
    since: Option<Timestamp>,
    review: bool,
    before: Option<i64>,
    limit: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DetectionQuery {
    rule: Option<Text>,
    severity: Option<String>,
    tenant: Option<Text>,
    user_id: Option<Text>,
    client_id: Option<Text>,
    family_id: Option<Text>,
    since: Option<Timestamp>,
    before: Option<i64>,
    limit: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ActionQuery {
    state: Option<String>,
    action: Option<String>,
    decision: Option<String>,
    rule: Option<Text>,
    user_id: Option<Text>,
    client_id: Option<Text>,
    incident_id: Option<Text>,
    since: Option<Timestamp>,
    before: Option<i64>,
    limit: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopQuery {
    by: String,
    window: Option<String>,
    limit: Option<u32>,
}

impl IncidentQuery {
    pub(super) fn parse(self) -> Result<(IncidentFilter, Page), Refusal> {
        let filter = IncidentFilter {
            state: one_of(
                "state",
                self.state,
                IncidentState::ALL,
                IncidentState::as_str,
            )?,
            severity_min: severity(self.severity)?,
            tenant: self.tenant,
            user_id: self.user_id,
            client_id: self.client_id,
            since: self.since,
            review: self.review,
        };
        Ok((filter, page(self.before, self.limit)?))
    }
}

impl DetectionQuery {
    pub(super) fn parse(self) -> Result<(DetectionFilter, Page), Refusal> {
        let filter = DetectionFilter {
            rule: self.rule,
            severity_min: severity(self.severity)?,
            tenant: self.tenant,
            user_id: self.user_id,
            client_id: self.client_id,
            family_id: self.family_id,
            since: self.since,
        };
        Ok((filter, page(self.before, self.limit)?))
    }
}

impl ActionQuery {
    pub(super) fn parse(self) -> Result<(ActionFilter, Page), Refusal> {
        let filter = ActionFilter {
            state: one_of("state", self.state, ActionState::ALL, ActionState::as_str)?,
            kind: one_of("action", self.action, ActionKind::ALL, ActionKind::as_str)?,
            decision: one_of("decision", self.decision, Decision::ALL, Decision::as_str)?,
            rule: self.rule,
            user_id: self.user_id,
            client_id: self.client_id,
            incident_id: self.incident_id,
            since: self.since,
        };
        Ok((filter, page(self.before, self.limit)?))
    }
}

impl TopQuery {
    pub(super) fn parse(self) -> Result<(By, Duration, usize), Refusal> {
        let by = one_of("by", Some(self.by), By::ALL, By::as_str)?.unwrap_or(By::User);
        let window = self
            .window
            .map_or(Ok(WINDOW_MAX), |window| minutes(&window))?;
        let limit = page(None, self.limit)?.limit;
        Ok((by, window, usize::try_from(limit).unwrap_or(usize::MAX)))
    }
}

/// One of the names of a list, or a refusal that says which there are.
fn one_of<T: Copy>(
    parameter: &str,
    given: Option<String>,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<Option<T>, Refusal> {
    let Some(given) = given else { return Ok(None) };
    if let Some(value) = all.iter().find(|value| name(**value) == given) {
        return Ok(Some(*value));
    }
    let names: Vec<&str> = all.iter().map(|value| name(*value)).collect();
    Err(Refusal::bad_request(format!(
        "{parameter}={given}: expected one of {}",
        names.join(", ")
    )))
}

fn severity(least: Option<String>) -> Result<Option<Severity>, Refusal> {
    one_of("severity", least, Severity::ALL, Severity::as_str)
}

fn page(before: Option<i64>, limit: Option<u32>) -> Result<Page, Refusal> {
    match limit.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(Page { before, limit }),
        limit => Err(Refusal::bad_request(format!(
            "limit={limit}: expected 1 to {LIMIT_MAX}"
        ))),
    }
}

/// `5m` to `1h`: what the lists remember.
fn minutes(window: &str) -> Result<Duration, Refusal> {
    let number = |text: &str| text.parse::<u64>().ok();
    let minutes = match window.strip_suffix('m') {
        Some(text) => number(text),
        None => window
            .strip_suffix('h')
            .and_then(number)
            .map(|hours| hours.saturating_mul(60)),
    };
    match minutes {
        Some(minutes @ 1..=60) => Ok(Duration::from_mins(minutes)),
        _ => Err(Refusal::bad_request(format!(
            "window={window}: expected 1m to 60m, or 1h"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_it_does_not_know_and_says_what_there_is() {
        let query = IncidentQuery {
            state: Some("opened".into()),
            ..IncidentQuery::default()
        };
        let refusal = query.parse().unwrap_err();
        assert_eq!(
            refusal.message,
            "state=opened: expected one of open, acknowledged, contained, closed"
        );
        for limit in [0, LIMIT_MAX + 1] {
            assert!(
                DetectionQuery {
                    limit: Some(limit),
                    ..DetectionQuery::default()
                }
                .parse()
                .is_err()
            );
        }
    }

    #[test]
    fn reads_windows_within_what_is_remembered() {
        let window = |text: &str| minutes(text).ok().map(|window| window.as_secs());
        assert_eq!(
            (window("5m"), window("60m"), window("1h")),
            (Some(300), Some(3600), Some(3600))
        );
        for wrong in ["0m", "61m", "2h", "h", "5", "-5m", "5 m", ""] {
            assert_eq!(window(wrong), None, "{wrong}");
        }
    }
}
