//! `storm`: refused or repeated tokens in many families of one client at once.
//!
//! Hundreds of reuses within minutes are seldom hundreds of thefts: a release of the client with a bug, a server that lost its
//! memory, or a stolen dump of tokens. Which of them it is, the presenters tell: mostly their own contexts, or mostly
//! foreign ones. Families are counted, not findings: one client in a loop is no storm.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::case::millis;
use super::super::context::Context;
use super::super::finding::{Ask, Finding};
use super::super::needs::Need;
use super::super::parameters::Parameters;
use super::super::trace::Trace;
use super::Kind;
use crate::model::{Clue, Evidence, Severity, Text};

/// Parameters of a storm rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Storm {
    /// Rules whose findings count.
    pub inputs: Vec<Text>,
    /// More families than this within the window, whatever is ordinary for the client.
    pub families_min: u32,
    pub window: Duration,
    /// And more than so many times the client's ordinary hour: the median of the hours of the last week.
    pub times_median: u32,
    /// From this share of foreign presenters on it looks like stolen tokens rather than a fault.
    pub foreign_share: f64,
}

impl Default for Storm {
    fn default() -> Self {
        Self {
            inputs: vec!["token-reuse".into()],
            families_min: 20,
            window: Duration::from_mins(10),
            times_median: 5,
            foreign_share: 0.5,
        }
    }
}

impl Kind for Storm {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.texts("inputs", "Rules whose findings count.", &mut self.inputs);
        p.count(
            "families_min",
            "More families than this within the window, whatever is ordinary for the client.",
            1..=REMEMBERED_MAX,
            &mut self.families_min,
        );
        p.duration(
            "window",
            "The time in which families are counted.",
            &mut self.window,
        );
        p.count(
            "times_median",
            "And more than so many times the median hour of the client's last week.",
            0..=1000,
            &mut self.times_median,
        );
        p.number(
            "foreign_share",
            "From this share of foreign presenters on it looks like stolen tokens rather than a fault.",
            0.0..=1.0,
            &mut self.foreign_share,
        );
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::all(&[Clue::ClientId])]
    }
}

/// Families of one client in which a reuse was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reuses {
    /// Ordered by time; bounded.
    recent: Vec<Reuse>,
    /// (hour since 1970, families), in order; of the last week.
    hours: Vec<(i32, u32)>,
}

/// One finding, as far as a storm reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reuse {
    /// Event time, milliseconds.
    pub time: i64,
    pub event_id: Text,
    pub family: Text,
    /// The presenter is foreign to the family.
    pub foreign: bool,
}

/// Reuses remembered of one client; a storm has been told long before.
const REMEMBERED_MAX: u32 = 1024;
const HOUR_MS: i64 = 3_600_000;
const WEEK_HOURS: i32 = 7 * 24;

impl Reuses {
    pub fn add(&mut self, reuse: Reuse) {
        let hour = hour_of(reuse.time);
        let known = |r: &Reuse| r.family == reuse.family && hour_of(r.time) == hour;
        if !self.recent.iter().any(known) {
            match self.hours.binary_search_by_key(&hour, |(h, _)| *h) {
                Ok(at) => self.hours[at].1 = self.hours[at].1.saturating_add(1),
                Err(at) => self.hours.insert(at, (hour, 1)),
            }
            let oldest = hour - WEEK_HOURS;
            self.hours.retain(|(h, _)| *h >= oldest);
        }
        let order = |r: &Reuse| (r.time, r.event_id.clone());
        let at = self.recent.partition_point(|r| order(r) < order(&reuse));
        self.recent.insert(at, reuse);
        if self.recent.len() > REMEMBERED_MAX as usize {
            self.recent.remove(0);
        }
    }

    /// The median of the week of hours that had ended an hour before this one; of a client known for less, of the hours since.
    fn median(&self, hour: i32) -> u32 {
        let known_since = self.hours.first().map_or(hour, |(first, _)| *first);
        let closed = (hour - WEEK_HOURS).max(known_since)..(hour - 1);
        let mut counts: Vec<u32> = self
            .hours
            .iter()
            .filter(|(h, _)| closed.contains(h))
            .map(|(_, n)| *n)
            .collect();
        let middle = closed.len() / 2;
        // Hours without any are not stored.
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts.get(middle).copied().unwrap_or(0)
    }
}

impl Storm {
    /// Judges the windows that end with a reuse at or after `since`.
    pub fn judge(
        &self,
        (reuses, client): (&Reuses, &str),
        since: i64,
        trace: &mut Trace,
    ) -> Vec<Finding> {
        let from = reuses.recent.partition_point(|r| r.time < since);
        let ends = from..reuses.recent.len();
        let mut findings: Vec<Finding> = Vec::new();
        for end in ends {
            let Some(mut finding) = self.judge_window(reuses, end, trace) else {
                continue;
            };
            finding.summary = format!("Client {client}: {}", finding.summary);
            if findings.iter().all(|known| known.about != finding.about) {
                findings.push(finding);
            }
        }
        findings
    }

    fn judge_window(&self, reuses: &Reuses, end: usize, trace: &mut Trace) -> Option<Finding> {
        let last = &reuses.recent[end];
        let since = last.time - millis(self.window);
        let window: Vec<&Reuse> = reuses.recent[..=end]
            .iter()
            .filter(|r| r.time > since)
            .collect();
        let mut families: Vec<&Text> = window.iter().map(|r| &r.family).collect();
        families.sort_unstable();
        families.dedup();
        let median = reuses.median(hour_of(last.time));
        let limit = self
            .families_min
            .max(self.times_median.saturating_mul(median));
        let count = u32::try_from(families.len()).unwrap_or(u32::MAX);
        if count <= limit {
            trace.note(|| {
                let values = Evidence::new()
                    .with("families", count)
                    .with("limit", limit)
                    .with("median_hour", median);
                (
                    "no more families than is ordinary for this client".to_owned(),
                    values,
                )
            });
            return None;
        }
        let mut foreign: Vec<&Text> = window
            .iter()
            .filter(|r| r.foreign)
            .map(|r| &r.family)
            .collect();
        foreign.sort_unstable();
        foreign.dedup();
        Some(self.describe(last, (count, limit, median), foreign.len()))
    }

    fn describe(
        &self,
        last: &Reuse,
        (count, limit, median): (u32, u32, u32),
        foreign: usize,
    ) -> Finding {
        let minutes = self.window.as_secs() / 60;
        let share = f64::from(u32::try_from(foreign).unwrap_or(u32::MAX)) / f64::from(count.max(1));
        let advice = if share >= self.foreign_share {
            "most presenters are foreign: stolen tokens; consider ending all sessions of this client"
        } else {
            "most presenters are the owners: a fault of the client or the server; consider a rollback"
        };
        Finding {
            about: vec![hour_of(last.time).to_string()],
            time: last.time,
            event_id: Some(last.event_id.clone()),
            at_most: Severity::Critical,
            ask: Ask::Response,
            may_revoke: false,
            confidence: 0.0,
            presenter: Arc::new(Context::default()),
            foreign_network: None,
            summary: format!(
                "Replaced tokens presented again in {count} logins within {minutes} min (limit {limit}): {advice}"
            ),
            evidence: Evidence::new()
                .with("families", count)
                .with("limit", limit)
                .with("families_min", self.families_min)
                .with("median_hour", median)
                .with("window_seconds", self.window.as_secs())
                .with("foreign_families", foreign)
                .with("advice", advice),
        }
    }
}

fn hour_of(time: i64) -> i32 {
    i32::try_from(time.div_euclid(HOUR_MS)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reuse(family: i64, time: i64, foreign: bool) -> Reuse {
        Reuse {
            time,
            event_id: format!("e{family}-{time}").into(),
            family: format!("f{family}").into(),
            foreign,
        }
    }

    fn judged(reuses: impl IntoIterator<Item = Reuse>) -> Vec<Finding> {
        let mut all = Reuses::default();
        for reuse in reuses {
            all.add(reuse);
        }
        Storm::default().judge((&all, "web"), i64::MIN, &mut Trace::off())
    }

    #[test]
    fn many_families_at_once_are_one_storm_and_one_family_often_is_none() {
        let storm = judged((0..30).map(|n| reuse(n, n * 1000, false)));
        assert_eq!(storm.len(), 1);
        assert!(
            storm[0].summary.contains("rollback"),
            "{}",
            storm[0].summary
        );
        assert_eq!(judged((0..30).map(|n| reuse(1, n * 1000, false))), []);
    }

    #[test]
    fn mostly_foreign_presenters_are_stolen_tokens() {
        let storm = judged((0..30).map(|n| reuse(n, n * 1000, n % 3 != 0)));
        assert!(storm[0].summary.contains("stolen"), "{}", storm[0].summary);
    }

    #[test]
    fn what_is_ordinary_for_a_client_is_no_storm() {
        let week = (0..i64::from(WEEK_HOURS))
            .flat_map(|hour| (0..6).map(move |n| reuse(hour * 10 + n, hour * HOUR_MS, false)));
        let now = i64::from(WEEK_HOURS + 2) * HOUR_MS;
        let today = move |count| (0..count).map(move |n| reuse(90_000 + n, now + n, false));
        assert_eq!(judged(week.clone().chain(today(29))), []);
        assert_eq!(judged(week.chain(today(31))).len(), 1);
    }

    #[test]
    fn the_order_of_arrival_does_not_matter() {
        let forwards = judged((0..30).map(|n| reuse(n, n * 1000, false)));
        let backwards = judged((0..30).rev().map(|n| reuse(n, n * 1000, false)));
        assert_eq!(forwards, backwards);
    }
}
