//! The middle part: decode, enrich, engine, policy. `run`, `replay`, `test` and `demo` differ only in its ends.
//!
//! Synchronous and deterministic: the same input in the same order gives the same output, whatever the batches.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::decode::Decoder;
use crate::engine::{Engine, Found};
use crate::enrich::{Enricher, Tables};
use crate::model::{
    ActionKind, CANARY_SOURCE, Canary, Decision, Enriched, Event, Input, NoEffect, OWN_SOURCE,
    Output, OwnEvent, PersonEvent, RawBatch, RawRecord, Reject, RejectReason, SourcePartition,
    Text, Timestamp, limits,
};
use crate::respond::Policy;

/// Everything between a source's records and what is to become durable.
pub struct Worker {
    forms: HashMap<Text, Arc<dyn Decoder>>,
    enricher: Enricher,
    pub engine: Engine,
    pub policy: Policy,
    partitions: BTreeMap<SourcePartition, u32>,
    lateness: HashMap<Text, Duration>,
    found: Vec<Found>,
    events: Vec<Event>,
    /// Actions that are decided are taken as done at the event time of their detection, because nobody performs them.
    assume_done: bool,
    names_families: bool,
    judged: HashSet<Text>,
    /// Up to which record of our own table the policy knows what people decided.
    heard: i64,
}

/// What became of the input so far that is not yet durable.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    pub output: Output,
    pub rejects: Vec<Reject>,
    pub canary: Option<Canary>,
    /// For metrics: what was decoded.
    pub seen: Vec<Seen>,
}

/// One decoded event, for whoever counts.
#[derive(Debug, Clone)]
pub struct Seen {
    pub event: Box<Enriched>,
    /// The family that the engine found, where it was asked to say so and the event names none.
    pub family_id: Option<Text>,
    /// Read to build state only, or read again after a restart.
    pub muted: bool,
}

impl Worker {
    pub fn new(
        forms: HashMap<Text, Arc<dyn Decoder>>,
        tables: Arc<Tables>,
        engine: Engine,
        policy: Policy,
    ) -> Self {
        Self {
            forms,
            enricher: Enricher::new(tables),
            engine,
            policy,
            partitions: BTreeMap::new(),
            lateness: HashMap::new(),
            found: Vec::new(),
            events: Vec::new(),
            assume_done: false,
            names_families: false,
            judged: HashSet::new(),
            heard: 0,
        }
    }

    /// With the lateness of each source.
    #[must_use]
    pub fn with_lateness(mut self, lateness: HashMap<Text, Duration>) -> Self {
        self.lateness = lateness;
        self
    }

    /// For `replay`: nothing is performed, so what is decided counts as done.
    #[must_use]
    pub fn assuming_done(mut self) -> Self {
        self.assume_done = true;
        self
    }

    /// For the archive: of each event that names no family it is said to which it belongs.
    #[must_use]
    pub fn naming_families(mut self) -> Self {
        self.names_families = true;
        self
    }

    pub fn replace_tables(&mut self, tables: Arc<Tables>) {
        self.enricher.replace(tables);
    }

    pub fn replace_forms(&mut self, forms: HashMap<Text, Arc<dyn Decoder>>) {
        self.forms = forms;
    }

    /// A partition is going to be read: time waits for it.
    pub fn expect(&mut self, partition: &SourcePartition) {
        let partition = self.number(partition);
        self.engine.expect(partition);
    }

    /// After a restart: what was found since the state was saved, by the ids of the detections.
    pub fn judged_before(&mut self, detections: HashSet<Text>) {
        self.judged = detections;
    }

    /// After a restart without the engine's memory: up to which record of our own table the policy has heard already.
    pub fn heard_before(&mut self, id: i64) {
        self.heard = id;
    }

    /// Takes a batch of one partition. `again` says that its muted records have been judged before, by this daemon or
    /// by the one before it: what they cause is durable, so only the memory of it is made anew.
    pub fn take(&mut self, batch: &RawBatch, again: bool, taken: &mut Taken) {
        let partition = self.number(&batch.partition);
        for record in &batch.records {
            self.record(batch, partition, record, again && record.muted, taken);
        }
        if let Some(time) = batch.tick {
            self.apply(&Input::Tick { partition, time }, false, &mut taken.output);
        }
        if batch.ended {
            self.apply(&Input::Ended { partition }, false, &mut taken.output);
        }
    }

    /// Takes one event that has been decoded already.
    pub fn take_event(
        &mut self,
        partition: u32,
        event: Event,
        muted: bool,
        arrived_at: Option<Timestamp>,
        output: &mut Output,
    ) {
        let event = Box::new(self.enricher.enrich(event));
        self.apply(
            &Input::Event {
                partition,
                event,
                muted,
                arrived_at,
            },
            false,
            output,
        );
    }

    /// Takes one event that has been looked up already, because several judge it; nothing of it is muted.
    pub fn take_enriched(&mut self, partition: u32, event: Box<Enriched>, output: &mut Output) {
        let input = Input::Event {
            partition,
            event,
            muted: false,
            arrived_at: None,
        };
        self.apply(&input, false, output);
    }

    /// The input has come to its end: every question is answered.
    pub fn end(&mut self, partition: u32, output: &mut Output) {
        self.apply(&Input::Ended { partition }, false, output);
    }

    /// The partition cannot be read for now: it no longer holds time back.
    pub fn leave_out(&mut self, partition: &SourcePartition, taken: &mut Taken) {
        let partition = self.number(partition);
        self.apply(&Input::Ended { partition }, false, &mut taken.output);
    }

    fn record(
        &mut self,
        batch: &RawBatch,
        partition: u32,
        record: &RawRecord,
        again: bool,
        taken: &mut Taken,
    ) {
        if &*batch.partition.source == OWN_SOURCE {
            let is_heard = record.place.parse().is_ok_and(|id: i64| id <= self.heard);
            if let Ok(event) = serde_json::from_slice::<OwnEvent>(&record.payload) {
                let muted = record.muted && !again;
                self.apply(&Input::Own { event, muted }, again, &mut taken.output);
            } else if is_heard {
                return;
            } else if let Ok(event) = serde_json::from_slice::<PersonEvent>(&record.payload) {
                self.policy.hear(&event);
            } else if let Ok(failed) = serde_json::from_slice::<NoEffect>(&record.payload) {
                let rule = self.engine.mode_of(&failed.no_effect.rule);
                // What was decided before is decided once more for the policy's memory only.
                let mut known = Output::default();
                let muted = record.muted.then_some(&mut known);
                let output = muted.unwrap_or(&mut taken.output);
                self.policy.step_up(&failed, rule, output);
            }
            return;
        }
        if &*batch.partition.source == CANARY_SOURCE {
            // One that cannot be read does not arrive, which is what it tells.
            taken.canary = serde_json::from_slice(&record.payload).ok();
            return;
        }
        let Some(form) = self.forms.get(&batch.partition.source).cloned() else {
            return;
        };
        let mut events = std::mem::take(&mut self.events);
        let mut rejects = Vec::new();
        if let Err(why) = form.decode(&record.payload, &batch.partition.source, &mut events) {
            rejects.push(reject(batch, record, &*form, why.reason, &why.message));
        }
        for event in events.drain(..) {
            if too_far_ahead(&event, batch.arrived_at) {
                let message = format!(
                    "time {} is more than {} s ahead of its arrival",
                    event.time,
                    limits::FUTURE_MAX.as_secs()
                );
                rejects.push(reject(
                    batch,
                    record,
                    &*form,
                    RejectReason::FutureTime,
                    &message,
                ));
                continue;
            }
            let event = Box::new(self.enricher.enrich(event));
            let muted = record.muted;
            let input = Input::Event {
                partition,
                event,
                muted: muted && !again,
                arrived_at: batch.arrived_at,
            };
            self.apply(&input, again, &mut taken.output);
            if let Input::Event { event, .. } = input {
                let asked = self.names_families && event.event.family_id.is_none();
                let found = asked.then(|| self.engine.family_id(&event));
                taken.seen.push(Seen {
                    event,
                    family_id: found.flatten(),
                    muted,
                });
            }
        }
        self.events = events;
        if !again {
            taken.rejects.append(&mut rejects);
        }
    }

    fn apply(&mut self, input: &Input, again: bool, output: &mut Output) {
        self.engine.apply(input, &mut self.found);
        if again {
            return self.remember();
        }
        for found in self.found.drain(..) {
            let before = output.actions.len();
            self.policy.decide(found, output);
            if self.assume_done {
                for action in output.actions[before..]
                    .iter()
                    .filter(|a| a.decision == Decision::Execute && a.kind != ActionKind::Notify)
                {
                    self.engine
                        .assume_done(action.kind, &action.target, action.event_time);
                }
            }
        }
    }

    /// What was decided before is decided once more for the policy's memory: open incidents, spent budgets. Findings that
    /// are not known to the store were muted then (a warm-up) or are those of a new rule: the past is not judged again.
    fn remember(&mut self) {
        let mut known = Output::default();
        for found in self.found.drain(..) {
            if self.judged.contains(&found.detection.id) {
                self.policy.decide(found, &mut known);
            }
        }
    }

    fn number(&mut self, partition: &SourcePartition) -> u32 {
        if let Some(number) = self.partitions.get(partition) {
            return *number;
        }
        let number = partition_number(partition);
        if let Some(lateness) = self.lateness.get(&partition.source) {
            self.engine.set_lateness(number, *lateness);
        }
        self.partitions.insert(partition.clone(), number);
        number
    }
}

/// A partition's number is a function of its name, so that a restored engine finds its watermark again.
fn partition_number(partition: &SourcePartition) -> u32 {
    let hash = xxhash_rust::xxh3::xxh3_64(
        format!("{}\u{1f}{}", partition.source, partition.partition).as_bytes(),
    );
    u32::try_from(hash >> 32).unwrap_or_default()
}

fn too_far_ahead(event: &Event, arrived_at: Option<Timestamp>) -> bool {
    let ahead = i64::try_from(limits::FUTURE_MAX.as_millis()).unwrap_or(i64::MAX);
    arrived_at
        .is_some_and(|at| event.time.as_millisecond() > at.as_millisecond().saturating_add(ahead))
}

fn reject(
    batch: &RawBatch,
    record: &RawRecord,
    form: &dyn Decoder,
    reason: RejectReason,
    message: &str,
) -> Reject {
    Reject {
        source: batch.partition.source.clone(),
        partition: batch.partition.partition.clone(),
        place: record.place.clone(),
        reason,
        message: message.into(),
        payload: form.redact(&record.payload),
    }
}
