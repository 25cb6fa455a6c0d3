//! `distinct`: more different values at one key than a limit.
//!
//! The same value again says nothing: a client in a loop is no attack. With `and` a second field is counted in the same
//! window; with `unless` an event takes its value out of the count again; with `median_gap_over` only what comes slowly
//! is meant.

use std::time::Duration;

use super::super::super::case::{Judged, KeyedCase, KeyedKind};
use super::super::super::expr::Expression;
use super::super::super::fields::KeyField;
use super::super::super::needs::Need;
use super::super::super::parameters::{Parameters, Presence};
use super::super::super::trace::Trace;
use super::super::Kind;
use super::hits::{Hit, Keep};
use super::windows::{Limits, Usual, Words, ms};
use super::{Memory, Pick, hash, key_evidence, key_text, needs, noun, reads_facts};
use crate::model::limits;

/// Parameters of a rule that counts values.
#[derive(Debug, Clone, PartialEq)]
pub struct Distinct {
    pub pick: Pick,
    pub count: Option<KeyField>,
    pub within: Duration,
    pub over: u32,
    pub times_usual: u32,
    pub usual: Usual,
    pub and: Option<And>,
    pub unless: Option<Unless>,
    /// Zero: whatever the gaps are.
    pub median_gap_over: Duration,
}

/// A second count.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct And {
    pub count: Option<KeyField>,
    pub over: u32,
}

/// What takes a value back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unless {
    pub when: Option<Expression>,
    pub value: Option<KeyField>,
}

impl Default for Distinct {
    fn default() -> Self {
        Self {
            pick: Pick::default(),
            count: None,
            within: Duration::from_mins(10),
            over: 20,
            times_usual: 0,
            usual: Usual::default(),
            and: None,
            unless: None,
            median_gap_over: Duration::ZERO,
        }
    }
}

impl Kind for Distinct {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        self.pick.parameters(p);
        p.field(
            "count",
            "The field whose different values are counted.",
            Presence::Required,
            &mut self.count,
        );
        p.duration(
            "within",
            "The time in which values are counted.",
            &mut self.within,
        );
        p.count(
            "over",
            "More values than this.",
            0..=limits::KEYED_COUNT_MAX,
            &mut self.over,
        );
        p.count(
            "times_usual",
            "And more than so many times what is usual here; 0: whatever is usual.",
            0..=100,
            &mut self.times_usual,
        );
        self.usual.parameters(p);
        let mut and = self.and.clone().unwrap_or_default();
        if p.group(
            "and",
            "A second field that is counted in the same window.",
            &mut |p| {
                p.field(
                    "count",
                    "The field whose different values are counted.",
                    Presence::Required,
                    &mut and.count,
                );
                p.count(
                    "over",
                    "More values than this.",
                    0..=limits::KEYED_COUNT_MAX,
                    &mut and.over,
                );
            },
        ) {
            self.and = Some(and);
        }
        let mut unless = self.unless.clone().unwrap_or_default();
        if p.group(
            "unless",
            "Events that take a value out of the count again.",
            &mut |p| {
                p.condition("when", "Which events.", &mut unless.when);
                p.field(
                    "value",
                    "The field that names the value.",
                    Presence::Required,
                    &mut unless.value,
                );
            },
        ) {
            self.unless = Some(unless);
        }
        p.duration(
            "median_gap_over",
            "Only where half of the times between one new value and the next are longer than this.",
            &mut self.median_gap_over,
        );
    }

    fn needs(&self) -> Vec<Need> {
        let second = self.and.as_ref().and_then(|and| and.count);
        let keys = self.pick.by.iter().copied().chain(self.count).chain(second);
        needs(keys, [&self.pick.when])
    }
}

impl KeyedKind for Distinct {
    fn by(&self) -> &[KeyField] {
        &self.pick.by
    }

    fn condition(&self, step: usize) -> Option<&Expression> {
        match step {
            0 => self.pick.when.as_ref(),
            1 => self.unless.as_ref()?.when.as_ref(),
            _ => None,
        }
    }

    /// What takes back a value that nobody has counted is not worth a memory.
    fn begins(&self, step: usize) -> bool {
        step == 0
    }

    /// What is counted waits for what may take it back.
    fn waits(&self, step: usize) -> bool {
        reads_facts(self.condition(step)) || (step == 0 && self.unless.is_some())
    }

    fn kept_for(&self) -> Duration {
        if self.times_usual > 0 {
            limits::KEYED_USUAL_KEPT.max(self.within)
        } else {
            self.within
        }
    }

    fn take(&self, memory: &mut Memory, case: &KeyedCase<'_>) -> Vec<Judged> {
        let Some(values) = self.values(case) else {
            return Vec::new();
        };
        let values_max = if self.times_usual > 0 {
            limits::KEYED_COUNT_MAX
        } else {
            self.over
        };
        let keep = Keep::new(ms(self.within), values_max);
        if case.step > 0 {
            memory.hits.take_back(values[0], case.time(), keep);
            return Vec::new();
        }
        let hit = Hit {
            first: case.time(),
            last: case.time(),
            values,
            step: 0,
            event_id: case.event.event.event_id.clone(),
            completes: None,
        };
        memory.hits.add(hit, keep);
        self.limits().take(memory, case, || self.words(case))
    }

    fn judge(&self, memory: &Memory, case: &KeyedCase<'_>, trace: &mut Trace) -> Vec<Judged> {
        self.limits()
            .judge(memory, case, || self.words(case), trace)
    }
}

impl Distinct {
    fn values(&self, case: &KeyedCase<'_>) -> Option<[u64; 2]> {
        let of = |field: Option<KeyField>| Some(hash(field?.bytes_of(case.event)?));
        if case.step > 0 {
            return Some([of(self.unless.as_ref()?.value)?, 0]);
        }
        let other = match &self.and {
            Some(and) => of(and.count)?,
            None => 0,
        };
        Some([of(self.count)?, other])
    }

    fn limits(&self) -> Limits {
        Limits {
            within: ms(self.within),
            over: self.over,
            over_other: self.and.as_ref().map(|and| and.over),
            times_usual: self.times_usual,
            usual: self.usual,
            gap_over: (self.median_gap_over > Duration::ZERO).then(|| ms(self.median_gap_over)),
        }
    }

    fn words(&self, case: &KeyedCase<'_>) -> Words {
        let nouns = |field: Option<KeyField>| field.map_or(("", ""), noun);
        Words {
            which: "different ",
            what: nouns(self.count),
            other: nouns(self.and.as_ref().and_then(|and| and.count)),
            key: key_text(&self.pick.by, case.event),
            evidence: key_evidence(&self.pick.by, case),
        }
    }
}
