//! `threshold`: more events of one key than a limit.

use std::time::Duration;

use super::super::super::case::{Judged, KeyedCase, KeyedKind};
use super::super::super::expr::Expression;
use super::super::super::fields::KeyField;
use super::super::super::needs::Need;
use super::super::super::parameters::Parameters;
use super::super::super::trace::Trace;
use super::super::Kind;
use super::hits::{Hit, Keep};
use super::windows::{Limits, Usual, Words, ms};
use super::{Memory, Pick, hash, key_evidence, key_text, needs, reads_facts};
use crate::model::limits;

/// Parameters of a rule that counts events.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    pub pick: Pick,
    pub within: Duration,
    pub over: u32,
    pub times_usual: u32,
    pub usual: Usual,
}

impl Default for Threshold {
    fn default() -> Self {
        Self {
            pick: Pick::default(),
            within: Duration::from_mins(10),
            over: 100,
            times_usual: 0,
            usual: Usual::default(),
        }
    }
}

impl Kind for Threshold {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        self.pick.parameters(p);
        p.duration(
            "within",
            "The time in which events are counted.",
            &mut self.within,
        );
        p.count(
            "over",
            "More events than this.",
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
    }

    fn needs(&self) -> Vec<Need> {
        needs(self.pick.by.iter().copied(), [&self.pick.when])
    }
}

impl KeyedKind for Threshold {
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
        if self.times_usual > 0 {
            limits::KEYED_USUAL_KEPT.max(self.within)
        } else {
            self.within
        }
    }

    fn take(&self, memory: &mut Memory, case: &KeyedCase<'_>) -> Vec<Judged> {
        let values = if self.times_usual > 0 {
            limits::KEYED_COUNT_MAX
        } else {
            self.over
        };
        let hit = Hit {
            first: case.time(),
            last: case.time(),
            values: [hash(case.event.event.event_id.as_bytes()), 0],
            step: 0,
            event_id: case.event.event.event_id.clone(),
            completes: None,
        };
        memory.hits.add(hit, Keep::new(ms(self.within), values));
        self.limits().take(memory, case, || self.words(case))
    }

    fn judge(&self, memory: &Memory, case: &KeyedCase<'_>, trace: &mut Trace) -> Vec<Judged> {
        self.limits()
            .judge(memory, case, || self.words(case), trace)
    }
}

impl Threshold {
    fn limits(&self) -> Limits {
        Limits {
            within: ms(self.within),
            over: self.over,
            over_other: None,
            times_usual: self.times_usual,
            usual: self.usual,
            gap_over: None,
        }
    }

    fn words(&self, case: &KeyedCase<'_>) -> Words {
        Words {
            which: "",
            what: ("event", "events"),
            other: ("", ""),
            key: key_text(&self.pick.by, case.event),
            evidence: key_evidence(&self.pick.by, case),
        }
    }
}
