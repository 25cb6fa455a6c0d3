//! Windows over the events of one key: how many different values each holds, against a limit.
//!
//! A window ends at an event. The limit is absolute, or so many times the busiest window of the last seven closed days
//! where that is more. Above the limit the counting stops for the hour, or for the length of a longer window, so that what was found once becomes ordinary
//! slowly: each day by the factor at most.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::super::super::case::{Judged, KeyedCase, millis};
use super::super::super::finding::Finding;
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

/// The busiest window of each of the last days.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busiest(Vec<(i64, u32)>);

const DAY_MS: i64 = 24 * 3_600_000;
const DAYS: i64 = 7;

impl Busiest {
    fn note(&mut self, time: i64, count: u32) {
        let day = time.div_euclid(DAY_MS);
        match self.0.binary_search_by_key(&day, |(day, _)| *day) {
            Ok(at) => self.0[at].1 = self.0[at].1.max(count),
            Err(at) => self.0.insert(at, (day, count)),
        }
        let newest = self.0.last().map_or(day, |(day, _)| *day);
        // One more than is read: a late event still reads the days before its own.
        self.0.retain(|(day, _)| *day >= newest - DAYS - 1);
    }

    /// Of the days that nothing can come late for.
    fn usual(&self, time: i64) -> u32 {
        let today = (time - lateness_ms()).div_euclid(DAY_MS);
        let closed = self
            .0
            .iter()
            .filter(|(day, _)| (today - DAYS..today).contains(day));
        closed.map(|(_, count)| *count).max().unwrap_or(0)
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
                memory.busiest.note(window.end, window.counts[0]);
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
        let taken_back: HashSet<u64> = memory
            .hits
            .iter()
            .filter(|h| h.step > 0)
            .map(|h| h.values[0])
            .collect();
        let counts = |h: &&Hit| h.step == 0 && !taken_back.contains(&h.values[0]);
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
            let window = self.window(end, event_id.clone(), &held, memory.busiest.usual(end));
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
