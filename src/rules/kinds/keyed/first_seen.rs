//! `first_seen`: a value that is new to a key with a history.
//!
//! What is known was seen before, longer ago than an event may come late, and not so long ago that it is forgotten. A
//! thief must not teach: a value is learnt only from presentations that are the family's own or in no dispute, and what was
//! seen in the day before a theft from the user was found does not count.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::super::case::{Judged, KeyedCase, KeyedKind, millis};
use super::super::super::context::Standing;
use super::super::super::expr::Expression;
use super::super::super::fields::{Facts, KeyField};
use super::super::super::needs::Need;
use super::super::super::parameters::{Parameters, Presence};
use super::super::super::short::Short as _;
use super::super::super::trace::Trace;
use super::super::super::words::{instant, span};
use super::super::Kind;
use super::hits::lateness_ms;
use super::{Memory, Pick, finding, hash, key_evidence, key_text, needs, noun, reads_facts};
use crate::model::{Evidence, limits};

/// Parameters of a rule about new values.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstSeen {
    pub pick: Pick,
    pub value: Option<KeyField>,
    pub known_for: Duration,
    pub learn_for: Duration,
    pub learn_events: u32,
}

impl Default for FirstSeen {
    fn default() -> Self {
        Self {
            pick: Pick::default(),
            value: None,
            known_for: Duration::from_hours(90 * 24),
            learn_for: Duration::from_hours(7 * 24),
            learn_events: 10,
        }
    }
}

/// Earliest events remembered, to know when a key had enough of a history.
const LEARN_EVENTS_MAX: u32 = 32;

impl Kind for FirstSeen {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        self.pick.parameters(p);
        p.field(
            "value",
            "The field whose value is new or known.",
            Presence::Required,
            &mut self.value,
        );
        p.duration(
            "known_for",
            "A value not seen for so long is new again.",
            &mut self.known_for,
        );
        let (learn_for, learn_events) = (&mut self.learn_for, &mut self.learn_events);
        p.group(
            "learn",
            "When a key has a history: both must be fulfilled.",
            &mut |p| {
                p.duration("for", "The key was first seen so long ago.", learn_for);
                p.count(
                    "events",
                    "And so many of its events were seen.",
                    1..=LEARN_EVENTS_MAX,
                    learn_events,
                );
            },
        );
    }

    fn needs(&self) -> Vec<Need> {
        needs(
            self.pick.by.iter().copied().chain(self.value),
            [&self.pick.when],
        )
    }
}

/// What a key had so far; bounded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    values: Vec<KnownValue>,
    /// Event times of the first events, oldest first.
    beginnings: Vec<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KnownValue {
    value: u64,
    /// First and last time in each eighth of the time for which it is known, in order.
    spans: Vec<(i64, i64)>,
}

/// What was learnt in this time before a theft was found may be the thief's.
const TAINTED_MS: i64 = 24 * 3_600_000;
const SPANS: i64 = 8;
const DAY_MS: i64 = 24 * 3_600_000;

impl Known {
    fn learn(&mut self, value: u64, time: i64, kind: &FirstSeen) {
        let at = self.beginnings.partition_point(|t| *t <= time);
        self.beginnings.insert(at, time);
        self.beginnings.truncate(kind.learn_events as usize);
        let length = (millis(kind.known_for) / SPANS).max(1);
        if !self.values.iter().any(|known| known.value == value) {
            self.values.make_room();
            self.values.push(KnownValue {
                value,
                spans: Vec::new(),
            });
        }
        if let Some(known) = self.values.iter_mut().find(|known| known.value == value) {
            known.see(time, length);
        }
        if self.values.len() > limits::KEYED_VALUES_MAX {
            let last = |known: &KnownValue| known.spans.last().map_or(i64::MIN, |(_, last)| *last);
            let oldest = (0..self.values.len())
                .min_by_key(|&i| (last(&self.values[i]), self.values[i].value));
            oldest.map(|oldest| self.values.remove(oldest));
        }
    }

    /// Since when the value had been known at a time.
    fn known_since(&self, value: u64, time: i64, kind: &FirstSeen, thefts: &[i64]) -> Option<i64> {
        let (oldest, newest) = (
            time.saturating_sub(millis(kind.known_for)),
            time - lateness_ms(),
        );
        let counts = |seen: &i64| {
            (oldest..=newest).contains(seen)
                && !thefts
                    .iter()
                    .any(|theft| (theft - TAINTED_MS..=*theft).contains(seen))
        };
        let known = self.values.iter().find(|known| known.value == value)?;
        known
            .spans
            .iter()
            .flat_map(|(first, last)| [*first, *last])
            .find(counts)
    }

    fn has_history(&self, time: i64, kind: &FirstSeen) -> bool {
        let enough = self.beginnings.len() >= kind.learn_events as usize;
        let closed = self
            .beginnings
            .last()
            .is_some_and(|last| *last <= time - lateness_ms());
        let long = self
            .beginnings
            .first()
            .is_some_and(|first| *first <= time - millis(kind.learn_for));
        enough && closed && long
    }
}

impl KnownValue {
    fn see(&mut self, time: i64, length: i64) {
        let part = |t: i64| t.div_euclid(length);
        let same = |(first, _): &&mut (i64, i64)| part(*first) == part(time);
        if let Some((first, last)) = self.spans.iter_mut().find(same) {
            (*first, *last) = ((*first).min(time), (*last).max(time));
        } else {
            let at = self.spans.partition_point(|(first, _)| *first < time);
            self.spans.make_room();
            self.spans.insert(at, (time, time));
        }
        let newest = self.spans.last().map_or(time, |(first, _)| *first);
        self.spans
            .retain(|(first, _)| part(newest) - part(*first) <= SPANS + 1);
    }
}

impl KeyedKind for FirstSeen {
    fn by(&self) -> &[KeyField] {
        &self.pick.by
    }

    fn condition(&self, step: usize) -> Option<&Expression> {
        self.pick.when.as_ref().filter(|_| step == 0)
    }

    fn waits(&self, step: usize) -> bool {
        reads_facts(self.condition(step))
    }

    fn kept_for(&self) -> Duration {
        self.known_for
    }

    fn is_about_event(&self) -> bool {
        true
    }

    fn take(&self, memory: &mut Memory, case: &KeyedCase<'_>) -> Vec<Judged> {
        let found = self.judge(memory, case, &mut Trace::off());
        if let Some(value) = self.value_of(case) {
            let value = hash(value.as_bytes());
            let known = memory
                .known
                .known_since(value, case.time(), self, (case.thefts)())
                .is_some();
            // Where the value is known already nothing is taught, and no fact need be asked for.
            if known || may_teach(&(case.facts)()) {
                memory.known.learn(value, case.time(), self);
            }
        }
        found
    }

    fn judge(&self, memory: &Memory, case: &KeyedCase<'_>, trace: &mut Trace) -> Vec<Judged> {
        let Some(value) = self.value_of(case) else {
            trace.note(|| {
                (
                    "the event does not tell the value".to_owned(),
                    Evidence::new(),
                )
            });
            return Vec::new();
        };
        let known = &memory.known;
        if let Some(since) =
            known.known_since(hash(value.as_bytes()), case.time(), self, (case.thefts)())
        {
            trace.note(|| {
                let values = Evidence::new()
                    .with("value", &*value)
                    .with("seen", instant(since));
                ("the value is known of this key".to_owned(), values)
            });
            return Vec::new();
        }
        if !known.has_history(case.time(), self) {
            trace.note(|| {
                let values = Evidence::new()
                    .with("value", &*value)
                    .with("events", known.beginnings.len())
                    .with("events_needed", self.learn_events)
                    .with_some("first_seen", known.beginnings.first().copied().map(instant))
                    .with("learns_for", span(millis(self.learn_for)));
                (
                    "too little is known of this key to call anything new".to_owned(),
                    values,
                )
            });
            return Vec::new();
        }
        vec![(self.describe(case, &value), None)]
    }
}

impl FirstSeen {
    fn value_of<'a>(&self, case: &KeyedCase<'a>) -> Option<Cow<'a, str>> {
        self.value?.of(case.event)
    }

    fn describe(&self, case: &KeyedCase<'_>, value: &str) -> super::super::super::finding::Finding {
        let what = self.value.map_or("value", |field| noun(field).0);
        let key = key_text(&self.pick.by, case.event);
        let known_for = span(millis(self.known_for));
        let summary = format!("{key}, {what} {value} for the first time in {known_for}");
        let evidence = key_evidence(&self.pick.by, case)
            .with("value", value)
            .with("known_for", known_for);
        let about = vec![
            format!("{:016x}", hash(value)),
            case.time().div_euclid(DAY_MS).to_string(),
        ];
        super::super::super::finding::Finding {
            about,
            event_id: Some(case.event.event.event_id.clone()),
            ..finding(case, case.time(), summary, evidence)
        }
    }
}

/// Whether what is seen of this presentation is the family's own.
fn may_teach(facts: &Facts) -> bool {
    match facts.context {
        Some(Standing::Own) => true,
        Some(Standing::Foreign) => false,
        Some(Standing::Unknown) | None => !facts.disputed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = DAY_MS;

    fn learnt(times: impl IntoIterator<Item = (u64, i64)>) -> Known {
        let kind = FirstSeen::default();
        let mut known = Known::default();
        for (value, time) in times {
            known.learn(value, time, &kind);
        }
        known
    }

    #[test]
    fn what_was_just_seen_is_not_known_yet_and_what_is_old_is_forgotten() {
        let kind = FirstSeen::default();
        let known = learnt([(1, 10 * DAY)]);
        let since = |time| known.known_since(1, time, &kind, &[]);
        assert_eq!(since(10 * DAY + 1000), None);
        assert_eq!(since(10 * DAY + lateness_ms()), Some(10 * DAY));
        assert_eq!(since(100 * DAY), Some(10 * DAY));
        assert_eq!(since(101 * DAY), None);
    }

    #[test]
    fn what_was_learnt_in_the_day_before_a_theft_does_not_count() {
        let kind = FirstSeen::default();
        let known = learnt([(1, 10 * DAY), (2, DAY), (2, 10 * DAY)]);
        let since = |value| known.known_since(value, 11 * DAY, &kind, &[10 * DAY + 5]);
        assert_eq!((since(1), since(2)), (None, Some(DAY)));
    }

    #[test]
    fn a_history_takes_days_and_events() {
        let kind = FirstSeen::default();
        let few = learnt((0..9).map(|n| (1, n * DAY)));
        assert!(!few.has_history(20 * DAY, &kind));
        let short = learnt((0..20).map(|n| (1, n * 1000)));
        assert!(!short.has_history(6 * DAY, &kind));
        assert!(short.has_history(7 * DAY, &kind));
    }

    #[test]
    fn the_order_of_arrival_does_not_matter_and_memory_is_bounded() {
        let all: Vec<(u64, i64)> = (0..400)
            .map(|n: i64| (n.unsigned_abs() % 19, n * DAY / 4))
            .collect();
        let forwards = learnt(all.clone());
        let backwards = learnt(all.into_iter().rev());
        let kind = FirstSeen::default();
        for value in 0..19 {
            let since = |known: &Known| known.known_since(value, 100 * DAY, &kind, &[]);
            assert_eq!(since(&forwards), since(&backwards));
        }
        let many = learnt((0..200).map(|n: i64| (n.unsigned_abs(), n * 1000)));
        assert_eq!(many.values.len(), limits::KEYED_VALUES_MAX);
    }
}
