//! What judges: engine and policy. `run`, `replay`, `test` and `demo` differ only in what stands before and behind it.
//!
//! Synchronous and deterministic: the same input in the same order gives the same output, whatever the batches. Records
//! come decoded and looked up (`prepare`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::prepare::{Item, Prepared, What};
use crate::engine::{Engine, Found};
use crate::model::{
    ActionKind, Canary, Decision, Enriched, Input, Output, Reject, SourcePartition, Text, Timestamp,
};
use crate::respond::Policy;

/// Everything between what a source's records say and what is to become durable.
pub struct Worker {
    pub engine: Engine,
    pub policy: Policy,
    partitions: BTreeMap<SourcePartition, u32>,
    lateness: HashMap<Text, Duration>,
    found: Vec<Found>,
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
    pub fn new(engine: Engine, policy: Policy) -> Self {
        Self {
            engine,
            policy,
            partitions: BTreeMap::new(),
            lateness: HashMap::new(),
            found: Vec::new(),
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

    /// Takes a batch of one partition, and what it says out of it. `again` says that its muted records have been judged
    /// before, by this daemon or by the one before it: what they cause is durable, so only the memory of it is made anew.
    pub fn take(&mut self, batch: &mut Prepared, again: bool, taken: &mut Taken) {
        let partition = self.number(&batch.partition);
        let mut items = batch.items.drain(..);
        while let Some(next) = items.as_slice().chunks(Engine::LOOKS_AHEAD).next() {
            let count = next.len();
            self.engine.look_ahead(next.iter().filter_map(Item::event));
            for item in items.by_ref().take(count) {
                self.item(item, (partition, batch.arrived_at), again, taken);
            }
        }
        if let Some(time) = batch.tick {
            self.apply(&Input::Tick { partition, time }, false, &mut taken.output);
        }
        if batch.ended {
            self.apply(&Input::Ended { partition }, false, &mut taken.output);
        }
    }

    /// Takes one event; nothing of it is muted.
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

    fn item(
        &mut self,
        item: Item,
        (partition, arrived_at): (u32, Option<Timestamp>),
        again: bool,
        taken: &mut Taken,
    ) {
        let again = again && item.muted;
        let muted = item.muted && !again;
        match item.what {
            What::Event(event) => {
                let input = Input::Event {
                    partition,
                    event,
                    muted,
                    arrived_at,
                };
                self.apply(&input, again, &mut taken.output);
                if let Input::Event { event, .. } = input {
                    taken.seen.push(self.seen(event, item.muted));
                }
            }
            What::Reject(reject) if !again => taken.rejects.push(*reject),
            What::Own(event) => {
                let event = *event;
                self.apply(&Input::Own { event, muted }, again, &mut taken.output);
            }
            What::Person(id, event) if !self.has_heard(id) => self.policy.hear(&event),
            What::NoEffect(id, failed) if !self.has_heard(id) => {
                let rule = self.engine.mode_of(&failed.no_effect.rule);
                // What was decided before is decided once more for the policy's memory only.
                let mut known = Output::default();
                let known = item.muted.then_some(&mut known);
                let output = known.unwrap_or(&mut taken.output);
                self.policy.step_up(&failed, rule, output);
            }
            What::Canary(canary) => taken.canary = canary,
            What::Reject(_) | What::Person(..) | What::NoEffect(..) => {}
        }
    }

    fn has_heard(&self, id: Option<i64>) -> bool {
        id.is_some_and(|id| id <= self.heard)
    }

    fn seen(&self, event: Box<Enriched>, muted: bool) -> Seen {
        let asked = self.names_families && event.event.family_id.is_none();
        let found = asked.then(|| self.engine.family_id(&event));
        Seen {
            event,
            family_id: found.flatten(),
            muted,
        }
    }

    fn apply(&mut self, input: &Input, again: bool, output: &mut Output) {
        self.engine.apply(input, &mut self.found);
        let mut found = std::mem::take(&mut self.found);
        for found in found.drain(..) {
            if self.judged.contains(&found.detection.id) {
                self.remember(found);
            } else if !again {
                self.decide(found, output);
            }
            // Else it was muted when it was read first (a warm-up), or is a new rule's: the past is not judged again.
        }
        self.found = found;
    }

    fn decide(&mut self, found: Found, output: &mut Output) {
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

    /// What was decided before is decided once more for the policy's memory: open incidents, spent budgets. Whichever record
    /// completes it now: where partitions are read in another order than before, it may be one that nobody has read yet, and
    /// a family that no server has named may go by another name.
    fn remember(&mut self, found: Found) {
        self.policy.decide(found, &mut Output::default());
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
