//! Decoding and looking up: what becomes of a batch before anything is judged.
//!
//! It hangs on the records alone and on nothing that was judged before, so that a thread of its own does it
//! (`preparing`). Whether a record was known before, what it causes, and whether its partition is still ours is for
//! whoever judges.

use std::collections::HashMap;
use std::sync::Arc;

use crate::decode::Decoder;
use crate::enrich::{Enricher, Tables};
use crate::model::{
    CANARY_SOURCE, Canary, Enriched, Event, NoEffect, OWN_SOURCE, OwnEvent, PersonEvent, Position,
    RawBatch, RawRecord, Reject, RejectReason, SourcePartition, Text, Timestamp, limits,
};

/// Turns raw batches into prepared ones.
pub struct Preparer {
    forms: HashMap<Text, Arc<dyn Decoder>>,
    enricher: Enricher,
    /// Those of one record; kept for its room.
    events: Vec<Event>,
}

/// A batch whose records are decoded and looked up.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub partition: SourcePartition,
    pub epoch: u64,
    pub position: Position,
    pub tick: Option<Timestamp>,
    pub ended: bool,
    pub arrived_at: Option<Timestamp>,
    /// How many records it had, and how many of them were muted.
    pub records: usize,
    pub muted: usize,
    /// What they say, in their order.
    pub(super) items: Vec<Item>,
}

/// What one record says; several, where it tells of several events, and none, where it is of no interest.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) muted: bool,
    /// About what it takes in memory.
    pub(super) bytes: usize,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Event(Box<Enriched>),
    Reject(Box<Reject>),
    /// What was done.
    Own(Box<OwnEvent>),
    /// What a person decided, with the number of its record.
    Person(Option<i64>, Box<PersonEvent>),
    NoEffect(Option<i64>, Box<NoEffect>),
    /// One that cannot be read does not arrive, which is what it tells.
    Canary(Option<Canary>),
}

impl Item {
    /// Of the authorization server.
    pub(super) fn event(&self) -> Option<&Enriched> {
        match &self.what {
            What::Event(event) => Some(event),
            _ => None,
        }
    }
}

impl Preparer {
    /// With the form of each source.
    pub fn new(forms: HashMap<Text, Arc<dyn Decoder>>, tables: Arc<Tables>) -> Self {
        Self {
            forms,
            enricher: Enricher::new(tables),
            events: Vec::new(),
        }
    }

    pub fn replace_tables(&mut self, tables: Arc<Tables>) {
        self.enricher.replace(tables);
    }

    pub fn replace_forms(&mut self, forms: HashMap<Text, Arc<dyn Decoder>>) {
        self.forms = forms;
    }

    pub fn prepare(&mut self, batch: &RawBatch) -> Prepared {
        Prepared {
            partition: batch.partition.clone(),
            epoch: batch.epoch,
            position: batch.position.clone(),
            tick: batch.tick,
            ended: batch.ended,
            arrived_at: batch.arrived_at,
            records: batch.records.len(),
            muted: batch.records.iter().filter(|record| record.muted).count(),
            items: self.items(batch),
        }
    }

    fn items(&mut self, batch: &RawBatch) -> Vec<Item> {
        let mut items = Vec::with_capacity(batch.records.len());
        match &*batch.partition.source {
            OWN_SOURCE => items.extend(batch.records.iter().filter_map(own)),
            CANARY_SOURCE => items.extend(batch.records.iter().map(canary)),
            source => {
                if let Some(form) = self.forms.get(source).cloned() {
                    for record in &batch.records {
                        self.decode(batch, record, &*form, &mut items);
                    }
                }
            }
        }
        items
    }

    fn decode(
        &mut self,
        batch: &RawBatch,
        record: &RawRecord,
        form: &dyn Decoder,
        items: &mut Vec<Item>,
    ) {
        let reject = |reason, message: &str| {
            let what = What::Reject(Box::new(Reject {
                source: batch.partition.source.clone(),
                partition: batch.partition.partition.clone(),
                place: record.place.clone(),
                reason,
                message: message.into(),
                payload: form.redact(&record.payload),
            }));
            item(record, what)
        };
        let source = &batch.partition.source;
        if let Err(why) = form.decode(&record.payload, source, &mut self.events) {
            items.push(reject(why.reason, &why.message));
        }
        for event in self.events.drain(..) {
            items.push(if too_far_ahead(&event, batch.arrived_at) {
                let message = format!(
                    "time {} is more than {} s ahead of its arrival",
                    event.time,
                    limits::FUTURE_MAX.as_secs()
                );
                reject(RejectReason::FutureTime, &message)
            } else {
                let event = Box::new(self.enricher.enrich(event));
                item(record, What::Event(event))
            });
        }
    }
}

impl Prepared {
    /// The items of muted records and those of the others, each as a batch; both with the same word about how far it was
    /// read.
    pub(super) fn split(mut self) -> (Self, Self) {
        let items = std::mem::take(&mut self.items);
        let (muted, others) = items.into_iter().partition(|item| item.muted);
        let known = Self {
            records: self.muted,
            items: muted,
            ..self.clone()
        };
        let new = Self {
            records: self.records - self.muted,
            muted: 0,
            items: others,
            ..self
        };
        (known, new)
    }

    /// About what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.bytes).sum()
    }
}

/// An event's texts are together no longer than its record, but for what the tables say, which many share.
fn item(record: &RawRecord, what: What) -> Item {
    Item {
        muted: record.muted,
        bytes: size_of::<Item>() + size_of::<Enriched>() + record.payload.len(),
        what,
    }
}

fn own(record: &RawRecord) -> Option<Item> {
    let id = || record.place.parse().ok();
    let payload = &record.payload;
    let what = if let Ok(event) = serde_json::from_slice::<OwnEvent>(payload) {
        What::Own(Box::new(event))
    } else if let Ok(event) = serde_json::from_slice::<PersonEvent>(payload) {
        What::Person(id(), Box::new(event))
    } else {
        What::NoEffect(id(), Box::new(serde_json::from_slice(payload).ok()?))
    };
    Some(item(record, what))
}

fn canary(record: &RawRecord) -> Item {
    let canary = serde_json::from_slice(&record.payload).ok();
    item(record, What::Canary(canary))
}

fn too_far_ahead(event: &Event, arrived_at: Option<Timestamp>) -> bool {
    let ahead = i64::try_from(limits::FUTURE_MAX.as_millis()).unwrap_or(i64::MAX);
    arrived_at
        .is_some_and(|at| event.time.as_millisecond() > at.as_millisecond().saturating_add(ahead))
}
