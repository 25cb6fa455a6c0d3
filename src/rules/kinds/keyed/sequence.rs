//! `sequence`: one thing after the other at one key, within a time.
//!
//! Each step asks for so many events, or so many different values; the last is the event that completes it, and the
//! finding is about the family of that event. It may end the family only where the rule says so and the event that
//! completes it was accepted from a device that is foreign to the family: an address or a refusal never ends one (S3, S4).

use std::collections::HashSet;
use std::time::Duration;

use super::super::super::case::{Judged, KeyedCase, KeyedKind};
use super::super::super::context::Standing;
use super::super::super::expr::Expression;
use super::super::super::fields::KeyField;
use super::super::super::finding::Finding;
use super::super::super::needs::Need;
use super::super::super::parameters::{Parameters, Presence};
use super::super::super::trace::Trace;
use super::super::super::words::span;
use super::super::Kind;
use super::hits::{Completion, Hit, Keep};
use super::windows::ms;
use super::{Memory, finding, hash, key_evidence, key_text, needs, noun, period_of, reads_facts};
use crate::model::{Evidence, Severity, limits};

/// Parameters of a rule about a sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    pub by: Vec<KeyField>,
    pub within: Duration,
    pub steps: Vec<Step>,
    pub revokes_foreign_device: bool,
}

/// One step; of the last one event is enough.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub when: Option<Expression>,
    pub at_least: u32,
    pub distinct: Option<KeyField>,
}

impl Default for Step {
    fn default() -> Self {
        Self {
            when: None,
            at_least: 1,
            distinct: None,
        }
    }
}

impl Default for Sequence {
    fn default() -> Self {
        Self {
            by: Vec::new(),
            within: Duration::from_mins(30),
            steps: Vec::new(),
            revokes_foreign_device: false,
        }
    }
}

/// Events that one step may ask for.
const AT_LEAST_MAX: u32 = 100;

impl Kind for Sequence {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.key(
            "by",
            "What keeps the sequences apart: one field, or several together.",
            &mut self.by,
        );
        p.duration(
            "within",
            "The time from the first event to the last.",
            &mut self.within,
        );
        let steps = &mut self.steps;
        let count = p.groups(
            "steps",
            "What must happen, in this order; one event completes the last step.",
            2..=limits::KEYED_STEPS_MAX,
            steps.len(),
            &mut |number, p| {
                if steps.len() <= number {
                    steps.push(Step::default());
                }
                let Some(step) = steps.get_mut(number) else {
                    return;
                };
                p.condition("when", "Which events count for the step.", &mut step.when);
                p.count(
                    "at_least",
                    "How many of them it takes.",
                    1..=AT_LEAST_MAX,
                    &mut step.at_least,
                );
                p.field(
                    "distinct",
                    "Only different values of this field count.",
                    Presence::Optional,
                    &mut step.distinct,
                );
            },
        );
        self.steps.truncate(count.max(1));
        p.flag(
            "revokes_foreign_device",
            "May end the family of the last event, if it was accepted from another key, device or kind of client.",
            &mut self.revokes_foreign_device,
        );
    }

    fn needs(&self) -> Vec<Need> {
        let values = self.steps.iter().filter_map(|step| step.distinct);
        needs(
            self.by.iter().copied().chain(values),
            self.steps.iter().map(|step| &step.when),
        )
    }
}

impl KeyedKind for Sequence {
    fn by(&self) -> &[KeyField] {
        &self.by
    }

    fn condition(&self, step: usize) -> Option<&Expression> {
        self.steps.get(step)?.when.as_ref()
    }

    fn waits(&self, step: usize) -> bool {
        reads_facts(self.condition(step)) || (self.revokes_foreign_device && self.completes(step))
    }

    fn kept_for(&self) -> Duration {
        self.within
    }

    fn is_about_event(&self) -> bool {
        true
    }

    fn take(&self, memory: &mut Memory, case: &KeyedCase<'_>) -> Vec<Judged> {
        let Some(hit) = self.hit(case) else {
            return Vec::new();
        };
        let most = self
            .steps
            .iter()
            .map(|step| step.at_least)
            .max()
            .unwrap_or(1);
        memory
            .hits
            .add(hit, Keep::new(ms(self.within), most.saturating_mul(4)));
        let completions = completions(memory, self.steps.len(), case.time());
        completions
            .filter_map(|hit| self.complete(memory, hit, case, &mut Trace::off()))
            .collect()
    }

    fn judge(&self, memory: &Memory, case: &KeyedCase<'_>, trace: &mut Trace) -> Vec<Judged> {
        let at_event = completions(memory, self.steps.len(), case.time())
            .filter(|hit| hit.first == case.time());
        let found: Vec<Judged> = at_event
            .filter_map(|hit| self.complete(memory, hit, case, trace))
            .collect();
        if found.is_empty() && !self.completes(case.step) {
            trace.note(|| {
                (
                    "the event is one of the first steps; the last has not followed at it"
                        .to_owned(),
                    Evidence::new(),
                )
            });
        }
        found
    }
}

/// Events of the last step from a time on.
fn completions(memory: &Memory, steps: usize, since: i64) -> impl Iterator<Item = &Hit> {
    let last = steps.saturating_sub(1);
    let is_last = move |hit: &&Hit| usize::from(hit.step) == last && hit.first >= since;
    memory.hits.iter().filter(is_last)
}

impl Sequence {
    fn completes(&self, step: usize) -> bool {
        step + 1 == self.steps.len()
    }

    fn hit(&self, case: &KeyedCase<'_>) -> Option<Hit> {
        let step = self.steps.get(case.step)?;
        let event_id = &case.event.event.event_id;
        let value = match step.distinct {
            Some(field) if !self.completes(case.step) => hash(field.bytes_of(case.event)?),
            _ => hash(event_id.as_bytes()),
        };
        let completion = self.completes(case.step).then(|| {
            let facts = self.revokes_foreign_device.then(case.facts);
            let foreign = facts.is_some_and(|facts| facts.device == Some(Standing::Foreign));
            Box::new(Completion {
                party: (case.party)(),
                foreign: foreign && case.event.event.succeeded(),
                presenter: case.presenter.clone(),
            })
        });
        Some(Hit {
            first: case.time(),
            last: case.time(),
            values: [value, 0],
            step: u8::try_from(case.step).ok()?,
            event_id: event_id.clone(),
            completes: completion,
        })
    }

    /// Whether the steps before it were taken, each after the one before, as early as each could be.
    fn complete(
        &self,
        memory: &Memory,
        last: &Hit,
        case: &KeyedCase<'_>,
        trace: &mut Trace,
    ) -> Option<Judged> {
        let mut after = last.first.saturating_sub(ms(self.within));
        for (number, step) in self.steps.iter().enumerate().take(self.steps.len() - 1) {
            let mut values = HashSet::new();
            let mut reached = None;
            for hit in memory
                .hits
                .iter()
                .filter(|hit| usize::from(hit.step) == number)
            {
                // Of a value seen twice about the same time the later is as good where the first is too early.
                let time = if hit.first > after {
                    hit.first
                } else {
                    hit.last
                };
                if time <= after || time >= last.first {
                    continue;
                }
                values.insert(hit.values[0]);
                if values.len() >= step.at_least as usize {
                    reached = Some(time);
                    break;
                }
            }
            let Some(reached) = reached else {
                trace.note(|| {
                    let seen = Evidence::new()
                        .with("step", number + 1)
                        .with("count", values.len())
                        .with("at_least", step.at_least)
                        .with("within", span(ms(self.within)));
                    ("a step before it was not taken".to_owned(), seen)
                });
                return None;
            };
            after = reached;
        }
        let completion = last.completes.as_deref()?;
        Some((
            self.describe(last, completion, case),
            Some(completion.party.clone()),
        ))
    }

    fn describe(&self, last: &Hit, completion: &Completion, case: &KeyedCase<'_>) -> Finding {
        let first = self.steps.first();
        let what = first.and_then(|step| step.distinct).map_or_else(
            || "events".to_owned(),
            |field| format!("different {}", noun(field).1),
        );
        let count = first.map_or(0, |step| step.at_least);
        let key = key_text(&self.by, case.event);
        let within = span(ms(self.within));
        let device = if completion.foreign {
            ", on a device new to its login"
        } else {
            ""
        };
        let summary = format!(
            "{count} or more {what} and, within {within}, the last step of the sequence{device}: {key}"
        );
        let evidence = key_evidence(&self.by, case)
            .with("first_step_at_least", count)
            .with("within", within)
            .with("foreign_device", completion.foreign);
        let family = completion
            .party
            .family_id
            .as_deref()
            .unwrap_or("-")
            .to_owned();
        let base = finding(case, last.first, summary, evidence);
        let prefix = completion
            .presenter
            .network
            .as_ref()
            .map(|network| network.prefix);
        Finding {
            about: vec![family, period_of(last.first, ms(self.within)).to_string()],
            event_id: Some(last.event_id.clone()),
            at_most: if completion.foreign || !self.revokes_foreign_device {
                Severity::Critical
            } else {
                Severity::Medium
            },
            may_revoke: completion.foreign,
            presenter: completion.presenter.clone(),
            foreign_network: prefix.filter(|_| completion.foreign),
            ..base
        }
    }
}
