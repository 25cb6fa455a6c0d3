//! Windows over the events of one key: how many different values each holds, against a limit.
//!
//! A window ends at an event. The limit is absolute, or so many times what is usual where that is more: the busiest window of
//! the last seven closed days, or the median of the busiest windows of their hours. A crowd that comes once a day makes the
//! first, and not the second: where attacks are to be told from a steady load, only the median is no attacker's to raise. Above the limit the counting stops for the hour, or for the length of a longer window, so that what was found once becomes ordinary
//! slowly: each day by the factor at most.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::super::super::case::{Judged, KeyedCase, millis};
use super::super::super::finding::Finding;
use super::super::super::parameters::Parameters;
use super::super::super::trace::Trace;
use super::super::super::words::{counted, span};
use super::hits::{Hit, lateness_ms};
use super::{Memory, finding, period_of};
use crate::model::{Evidence, Text};

/// When a window holds too much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) within: i64,
    /// More than this.
    pub(super) over: u32,
    /// And more than this of the second value.
    pub(super) over_other: Option<u32>,
    /// And more than so many times what is usual; 0 asks for nothing.
    pub(super) times_usual: u32,
    pub(super) usual: Usual,
    /// And half of the gaps between new values are longer than this.
    pub(super) gap_over: Option<i64>,
}

/// How a finding says what was counted.
pub(super) struct Words {
    /// `different ` where values are told apart.
    pub(super) which: &'static str,
    /// What one is called, and several.
    pub(super) what: (&'static str, &'static str),
    pub(super) other: (&'static str, &'static str),
    pub(super) key: String,
    pub(super) evidence: Evidence,
}

/// One window, judged.
struct Window {
    end: i64,
    event_id: Text,
    counts: [u32; 2],
    limit: u32,
    usual: u32,
    gap: Option<i64>,
    /// Some of its events, newest last.
    events: Vec<Text>,
}

/// Events that a finding names.
const EVENTS_NAMED: usize = 5;

/// What is held to be usual at a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Usual {
    /// The busiest window of the last seven days that have ended.
    #[default]
    Busiest,
    /// The median of the hours of those days, each with its busiest window; most hours must be busy for that.
    Median,
}

/// The busiest window of each of the last days, or hours.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busiest(Vec<(i64, u32)>);

const HOUR_MS: i64 = 3_600_000;
const DAYS: i64 = 7;

impl Usual {
    pub(super) const NAMES: &[&str] = &["busiest", "median"];

    /// Asks for it in the parameters of a rule.
    pub(super) fn parameters(&mut self, p: &mut dyn Parameters) {
        let mut at = *self as usize;
        p.choice(
            "usual",
            "What is usual: the `busiest` window of the last 7 days that have ended, or the `median` of the busiest windows of their hours.",
            Self::NAMES,
            &mut at,
        );
        *self = [Self::Busiest, Self::Median][at];
    }

    const fn bucket_ms(self) -> i64 {
        match self {
            Self::Busiest => 24 * HOUR_MS,
            Self::Median => HOUR_MS,
        }
    }

    /// Buckets in seven days.
    const fn buckets(self) -> i64 {
        DAYS * 24 * HOUR_MS / self.bucket_ms()
    }

    /// Of the counts of some of those buckets; in the others there was nothing to count.
    fn of(self, mut counts: Vec<u32>) -> u32 {
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let at = match self {
            Self::Busiest => 0,
            Self::Median => usize::try_from(self.buckets() / 2).unwrap_or(usize::MAX),
        };
        counts.get(at).copied().unwrap_or(0)
    }
}

impl Busiest {
    fn note(&mut self, usual: Usual, time: i64, count: u32) {
        let bucket = time.div_euclid(usual.bucket_ms());
        match self.0.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.0[at].1 = self.0[at].1.max(count),
            Err(at) => self.0.insert(at, (bucket, count)),
        }
        let newest = self.0.last().map_or(bucket, |(bucket, _)| *bucket);
        // One more than is read: a late event still reads those before its own.
        self.0
            .retain(|(bucket, _)| *bucket >= newest - usual.buckets() - 1);
    }

    /// Of the days or hours that nothing can come late for.
    fn usual(&self, usual: Usual, time: i64) -> u32 {
        let now = (time - lateness_ms()).div_euclid(usual.bucket_ms());
        let closed = self
            .0
            .iter()
            .filter(|(bucket, _)| (now - usual.buckets()..now).contains(bucket));
        usual.of(closed.map(|(_, count)| *count).collect())
    }
}

impl Limits {
    /// Judges the windows that the newly filed event may have filled, and learns what is usual.
    pub(super) fn take(
        &self,
        memory: &mut Memory,
        case: &KeyedCase<'_>,
        words: impl Fn() -> Words,
    ) -> Vec<Judged> {
        let least = self.over.checked_div(self.times_usual).unwrap_or(self.over);
        if memory.hits.len() <= least as usize {
            return Vec::new();
        }
        let windows = self.windows(memory, case.time(), &memory.fired);
        let mut findings = Vec::new();
        for window in windows {
            if self.times_usual > 0 {
                memory
                    .busiest
                    .note(self.usual, window.end, window.counts[0]);
            }
            if self.exceeded_by(&window) {
                memory.has_fired(period_of(window.end, self.within));
                findings.push((self.describe(case, window, words()), None));
            }
        }
        findings
    }

    /// The same over what is remembered, and why not.
    pub(super) fn judge(
        &self,
        memory: &Memory,
        case: &KeyedCase<'_>,
        words: impl Fn() -> Words,
        trace: &mut Trace,
    ) -> Vec<Judged> {
        let mut findings = Vec::new();
        // Of the windows that end later another event is asked.
        for window in self
            .windows(memory, case.time(), &[])
            .into_iter()
            .filter(|w| w.end == case.time())
        {
            if self.exceeded_by(&window) {
                findings.push((self.describe(case, window, words()), None));
                continue;
            }
            trace.note(|| (self.reason(&window).to_owned(), self.values(&window)));
        }
        findings
    }

    fn windows(&self, memory: &Memory, since: i64, fired: &[i64]) -> Vec<Window> {
        let mut taken_back: Vec<u64> = memory.hits.taken_back().collect();
        taken_back.sort_unstable();
        let counts = |h: &&Hit| h.step == 0 && taken_back.binary_search(&h.values[0]).is_err();
        let mut ends: Vec<(i64, &Text)> = memory
            .hits
            .iter()
            .rev()
            .take_while(|h| h.first >= since.saturating_sub(self.within))
            .filter(counts)
            .flat_map(|h| [(h.first, &h.event_id), (h.last, &h.event_id)])
            .filter(|(end, _)| *end >= since)
            .collect();
        ends.sort_unstable();
        ends.dedup_by_key(|(end, _)| *end);
        let mut done = fired.to_vec();
        let mut windows = Vec::new();
        for (end, event_id) in ends {
            if done.contains(&period_of(end, self.within)) {
                continue;
            }
            let held = memory.hits.iter().filter(counts);
            let held: Vec<&Hit> = held
                .filter(|h| h.is_within(end - self.within, end))
                .collect();
            let window = self.window(
                end,
                event_id.clone(),
                &held,
                memory.busiest.usual(self.usual, end),
            );
            if self.exceeded_by(&window) {
                done.push(period_of(end, self.within));
            }
            windows.push(window);
        }
        windows
    }

    fn window(&self, end: i64, event_id: Text, held: &[&Hit], usual: u32) -> Window {
        let different = |i: usize| {
            let mut values: Vec<u64> = held.iter().map(|h| h.values[i]).collect();
            values.sort_unstable();
            values.dedup();
            u32::try_from(values.len()).unwrap_or(u32::MAX)
        };
        let other = self.over_other.map_or(0, |_| different(1));
        Window {
            end,
            event_id,
            counts: [different(0), other],
            limit: self.over.max(self.times_usual.saturating_mul(usual)),
            usual,
            gap: self.gap_over.map(|_| median_gap(held)),
            events: held[held.len().saturating_sub(EVENTS_NAMED)..]
                .iter()
                .map(|h| h.event_id.clone())
                .collect(),
        }
    }

    fn exceeded_by(&self, window: &Window) -> bool {
        let slow = self
            .gap_over
            .zip(window.gap)
            .is_none_or(|(over, gap)| gap > over);
        let other = self.over_other.is_none_or(|over| window.counts[1] > over);
        window.counts[0] > window.limit && other && slow
    }

    fn reason(&self, window: &Window) -> &'static str {
        if window.counts[0] <= self.over {
            "the count does not exceed its limit"
        } else if window.counts[0] <= window.limit {
            "no more than is usual here"
        } else if self.over_other.is_some_and(|over| window.counts[1] <= over) {
            "the second count does not exceed its limit"
        } else {
            "they follow each other too fast for this rule"
        }
    }

    fn values(&self, window: &Window) -> Evidence {
        Evidence::new()
            .with("count", window.counts[0])
            .with("limit", window.limit)
            .with("over", self.over)
            .with("within", span(self.within))
            .with_some("usual", (self.times_usual > 0).then_some(window.usual))
            .with_some("second_count", self.over_other.map(|_| window.counts[1]))
            .with_some("second_over", self.over_other)
            .with_some("median_gap", window.gap.map(span))
    }

    fn describe(&self, case: &KeyedCase<'_>, window: Window, words: Words) -> Finding {
        let Words {
            which,
            what,
            other,
            key,
            evidence,
        } = words;
        let (count, limit, within) = (window.counts[0], window.limit, span(self.within));
        let others = self.over_other.map_or_else(String::new, |_| {
            format!(" from {}", counted(window.counts[1], other.0, other.1))
        });
        let usual = if limit > self.over {
            format!(", usual are {}", window.usual)
        } else {
            String::new()
        };
        let what = if count == 1 { what.0 } else { what.1 };
        let summary =
            format!("{count} {which}{what}{others} within {within}: {key} (limit {limit}{usual})");
        let events = window
            .events
            .iter()
            .map(crate::model::Value::from)
            .collect::<Vec<_>>();
        let evidence =
            Evidence([evidence.0, self.values(&window).with("events", events).0].concat());
        Finding {
            about: vec![period_of(window.end, self.within).to_string()],
            event_id: Some(window.event_id),
            ..finding(case, window.end, summary, evidence)
        }
    }
}

/// Half of the times between one new value and the next are longer.
fn median_gap(held: &[&Hit]) -> i64 {
    let mut seen = HashSet::new();
    let firsts: Vec<i64> = held
        .iter()
        .filter(|h| seen.insert(h.values[0]))
        .map(|h| h.first)
        .collect();
    let mut gaps: Vec<i64> = firsts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0)
}

/// A parameter in the unit of event time.
pub(super) fn ms(duration: std::time::Duration) -> i64 {
    millis(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is usual after a week in which the given hours of each day had a window of `count`.
    fn usual(of: Usual, hours: std::ops::Range<i64>, count: u32) -> u32 {
        let mut busiest = Busiest::default();
        for day in 0..7 {
            for hour in hours.clone() {
                busiest.note(of, (day * 24 + hour) * HOUR_MS, count);
            }
        }
        busiest.usual(of, 7 * 24 * HOUR_MS + lateness_ms())
    }

    #[test]
    fn a_crowd_an_hour_a_day_makes_the_busiest_window_and_not_the_median() {
        assert_eq!(usual(Usual::Busiest, 9..10, 900), 900);
        assert_eq!(usual(Usual::Median, 9..10, 900), 0);
        assert_eq!(usual(Usual::Median, 8..22, 900), 900);
    }

    #[test]
    fn the_present_hour_is_no_part_of_what_is_usual() {
        let mut busiest = Busiest::default();
        for hour in 0..200 {
            busiest.note(Usual::Median, hour * HOUR_MS, 3);
        }
        assert!(busiest.0.len() <= 170, "{}", busiest.0.len());
        busiest.note(Usual::Median, 200 * HOUR_MS, 4000);
        assert_eq!(busiest.usual(Usual::Median, 200 * HOUR_MS), 3);
    }
}
