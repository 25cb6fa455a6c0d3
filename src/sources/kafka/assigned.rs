//! What the topic's consumer is reading now: its partitions, how far each is, and the records not yet handed on.
//!
//! Shared between the reader and the rebalance callback, which runs inside the reader's own poll. Knows nothing of the
//! client library, so that the rules about ends and revocations can be tested without a broker.

use std::collections::BTreeMap;

use crate::model::{
    Claim, Position, RawBatch, RawRecord, SourcePartition, StartAt, Text, Timestamp, limits,
};
use crate::sources::pace::Pace;
use crate::sources::warm_up::Plan;

use super::start::{self, Kept, KafkaPosition};

#[derive(Default)]
pub(super) struct Assigned {
    pub(super) partitions: BTreeMap<i32, Reading>,
    /// The group has given us an assignment, even if it was an empty one.
    pub(super) joined: bool,
    /// Taking partitions over failed: the consumer is to be made anew.
    pub(super) failed: Option<String>,
    /// Last words about partitions that were taken away.
    revoked: Vec<(i32, RawBatch)>,
    /// Last words to be said about partitions that were lost, unless we are given them again.
    lost: LastWords,
}

/// By partition number. Outlives the consumer: the next one says them.
pub(super) type LastWords = BTreeMap<i32, RawBatch>;

/// Why a partition is read here no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// The group gives it to another member.
    Handover,
    /// The group has lost sight of us, or we of it.
    Lost,
}

/// One partition.
pub(super) struct Reading {
    pub(super) partition: SourcePartition,
    epoch: u64,
    plan: Plan<i64>,
    /// The record after the last one pulled.
    next: i64,
    /// The record after the last one handed on.
    handed_on: i64,
    records: Vec<RawRecord>,
    bytes: usize,
    /// Its position has not been handed on yet: a fresh start at the end must be remembered before anything comes.
    announce: bool,
    /// Why it cannot be read on. Kept here, so that the status goes on saying so.
    pub(super) lost: Option<String>,
    end: End,
}

/// Whether a partition has been read to its end.
#[derive(Default)]
struct End {
    /// The client has said so since the last record.
    reached: bool,
    /// The end as the broker gave it at the last probe since then.
    probed: Option<i64>,
    pace: Pace,
}

impl Assigned {
    /// Of a consumer that follows another, with what that one left unsaid.
    pub(super) fn following(lost: LastWords) -> Self {
        Self {
            lost,
            ..Self::default()
        }
    }

    /// Ours in the store, and not read yet: should it never be, it must not hold time back.
    pub(super) fn claimed(&mut self, number: i32, claim: &Claim) {
        self.lost.insert(number, unread(claim));
    }

    pub(super) fn add(&mut self, number: i32, reading: Reading) {
        self.lost.remove(&number);
        self.partitions.insert(number, reading);
    }

    /// Drops what was pulled and not handed on: the next owner reads it again. Where another member takes over, the
    /// partition is said to have ended here, so that it no longer holds time back; in an outage nobody reads it on, and
    /// that is said only when the group has come together again without giving it to us.
    pub(super) fn remove(&mut self, number: i32, why: Removal) {
        let Some(reading) = self.partitions.remove(&number) else {
            return;
        };
        let last = reading.last_words();
        match why {
            Removal::Handover => self.revoked.push((number, last)),
            Removal::Lost => {
                self.lost.insert(number, last);
            }
        }
    }

    /// The group has given us all that it wants to: what was lost and is not among it, others read.
    pub(super) fn complete(&mut self) {
        self.joined = true;
        self.revoked.extend(std::mem::take(&mut self.lost));
    }

    /// The consumer is gone: what is still to be said about its partitions.
    pub(super) fn left(&mut self) -> LastWords {
        let numbers: Vec<i32> = self.partitions.keys().copied().collect();
        for number in numbers {
            self.remove(number, Removal::Lost);
        }
        self.lost.extend(std::mem::take(&mut self.revoked));
        std::mem::take(&mut self.lost)
    }

    /// Takes one record; returns the payload bytes it added.
    pub(super) fn pull(&mut self, number: i32, offset: i64, payload: &[u8]) -> usize {
        match self.partitions.get_mut(&number) {
            Some(reading) if reading.lost.is_none() => reading.pull(offset, payload),
            _ => 0,
        }
    }

    pub(super) fn reached_end(&mut self, number: i32) {
        if let Some(reading) = self.partitions.get_mut(&number) {
            reading.end.reached = true;
        }
    }

    /// A partition came to its end since the last tick: worth asking the broker at once.
    pub(super) fn awaits_tick(&self) -> bool {
        self.partitions
            .values()
            .any(|reading| reading.end.reached && reading.end.probed.is_none())
    }

    /// Everything pulled so far, in batches of one partition.
    pub(super) fn batches(&mut self, arrived_at: Timestamp) -> Vec<RawBatch> {
        let revoked = std::mem::take(&mut self.revoked).into_iter();
        let mut batches: Vec<RawBatch> = revoked.map(|(_, last)| last).collect();
        let pulled = self.partitions.values_mut();
        batches.extend(pulled.filter_map(|reading| reading.hand_on(arrived_at)));
        batches
    }

    /// The partitions that cannot be read on, and why.
    pub(super) fn lost(&self) -> Option<(Vec<Text>, String)> {
        let (partitions, reasons): (Vec<Text>, Vec<String>) = self
            .partitions
            .values()
            .filter_map(|reading| {
                let (name, reason) = (&reading.partition.partition, reading.lost.as_ref()?);
                Some((name.clone(), format!("{name}: {reason}")))
            })
            .unzip();
        (!partitions.is_empty()).then(|| (partitions, reasons.join("; ")))
    }
}

impl Reading {
    pub(super) fn new(claim: &Claim, plan: Plan<i64>) -> Self {
        Self {
            partition: claim.partition.clone(),
            epoch: claim.epoch,
            plan,
            next: plan.read_from,
            handed_on: plan.read_from,
            records: Vec::new(),
            bytes: 0,
            announce: true,
            lost: None,
            end: End::default(),
        }
    }

    /// That it has ended here, as far as it was handed on.
    fn last_words(mut self) -> RawBatch {
        self.next = self.handed_on;
        let mut last = self.batch(Vec::new(), None);
        last.ended = true;
        last
    }

    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// Marks the partition as not readable when the broker no longer has what is to be judged next.
    pub(super) fn check_kept(&mut self, kept: Kept) -> bool {
        let needed = self.next.max(self.plan.judge_from);
        self.lost = self.lost.take().or_else(|| start::lost(needed, kept));
        self.lost.is_some()
    }

    fn pull(&mut self, offset: i64, payload: &[u8]) -> usize {
        // One byte over the limit is enough for the decoder to see that it was too long.
        let payload = &payload[..payload.len().min(limits::RECORD_BYTES_MAX + 1)];
        self.records.push(RawRecord {
            place: offset.to_string().into(),
            payload: payload.to_vec(),
            muted: self.plan.mutes(offset),
        });
        self.bytes += payload.len();
        // Not `next + 1`: compacted and transactional topics have gaps.
        self.next = offset + 1;
        self.end = End::default();
        payload.len()
    }

    fn hand_on(&mut self, arrived_at: Timestamp) -> Option<RawBatch> {
        if self.records.is_empty() && !self.announce {
            return None;
        }
        self.announce = false;
        self.bytes = 0;
        self.handed_on = self.next;
        let records = std::mem::take(&mut self.records);
        let mut batch = self.batch(records, None);
        batch.arrived_at = Some(arrived_at);
        Some(batch)
    }

    /// What the broker's end of the partition, asked at `now`, says: records waiting, and a tick when it is time for one.
    pub(super) fn probed(&mut self, end: i64, now: Timestamp) -> (u64, Option<RawBatch>) {
        // Behind the last record there may be transaction markers, which are never handed out: then the end is reached
        // when the client has said so and the end has not moved between two probes.
        let settled = self.end.reached && self.end.probed == Some(end);
        self.end.probed = Some(end);
        if self.lost.is_some() || !self.records.is_empty() || (self.next < end && !settled) {
            let waiting = end.saturating_sub(self.next);
            return (u64::try_from(waiting).unwrap_or(0), None);
        }
        let tick = self
            .end
            .pace
            .at_end(now)
            .then(|| self.batch(Vec::new(), Some(now)));
        (0, tick)
    }

    fn batch(&self, records: Vec<RawRecord>, tick: Option<Timestamp>) -> RawBatch {
        RawBatch {
            partition: self.partition.clone(),
            shard: 0,
            epoch: self.epoch,
            records,
            position: KafkaPosition::after(&self.plan, self.next),
            tick,
            ended: false,
            arrived_at: tick,
        }
    }
}

/// The last word about a partition of which nothing was read. Nobody takes its position for one.
fn unread(claim: &Claim) -> RawBatch {
    RawBatch {
        partition: claim.partition.clone(),
        shard: 0,
        epoch: claim.epoch,
        records: Vec::new(),
        position: match &claim.start {
            StartAt::Resume { from, .. } => from.clone(),
            StartAt::Fresh => Position("".into()),
        },
        tick: None,
        ended: true,
        arrived_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim {
            partition: SourcePartition {
                source: "k".into(),
                partition: "events/0".into(),
            },
            epoch: 3,
            start: StartAt::Fresh,
        }
    }

    fn reading(read_from: i64, judge_from: i64) -> Assigned {
        let mut assigned = Assigned::default();
        assigned.add(0, Reading::new(&claim(), Plan::new(read_from, judge_from)));
        assigned
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn tick(assigned: &mut Assigned, end: i64, now: i64) -> (u64, bool) {
        let reading = assigned.partitions.get_mut(&0).unwrap();
        let (lag, tick) = reading.probed(end, second(now));
        (lag, tick.is_some())
    }

    #[test]
    fn a_start_is_remembered_before_anything_comes() {
        let mut assigned = reading(5, 5);
        let batches = assigned.batches(second(1));
        assert_eq!(batches.len(), 1);
        assert_eq!(&*batches[0].position.0, r#"{"offset":5}"#);
        assert!(batches[0].records.is_empty());
        assert!(assigned.batches(second(1)).is_empty());
    }

    #[test]
    fn records_below_the_border_are_muted_and_gaps_are_no_matter() {
        let mut assigned = reading(5, 8);
        for offset in [5, 7, 8] {
            assigned.pull(0, offset, b"{}");
        }
        let batch = assigned.batches(second(1)).remove(0);
        let muted: Vec<bool> = batch.records.iter().map(|record| record.muted).collect();
        assert_eq!(muted, [true, true, false]);
        assert_eq!(&*batch.position.0, r#"{"offset":9}"#);
        assert_eq!(batch.epoch, 3);
    }

    #[test]
    fn an_oversize_record_is_cut_one_byte_behind_the_limit() {
        let mut assigned = reading(0, 0);
        assigned.pull(0, 0, &vec![b'x'; limits::RECORD_BYTES_MAX * 2]);
        let batch = assigned.batches(second(1)).remove(0);
        assert_eq!(batch.records[0].payload.len(), limits::RECORD_BYTES_MAX + 1);
    }

    #[test]
    fn ticks_only_when_nothing_waits() {
        let mut assigned = reading(0, 0);
        assert_eq!(tick(&mut assigned, 2, 1), (2, false));
        assigned.pull(0, 0, b"{}");
        assigned.pull(0, 1, b"{}");
        assert_eq!(tick(&mut assigned, 2, 2), (0, false), "not handed on yet");
        assigned.batches(second(2));
        assert_eq!(tick(&mut assigned, 2, 3), (0, true));
        assert_eq!(tick(&mut assigned, 3, 4), (1, false));
    }

    #[test]
    fn a_transaction_marker_at_the_end_does_not_stop_time() {
        let mut assigned = reading(0, 0);
        assigned.pull(0, 0, b"{}");
        assigned.batches(second(1));
        assigned.reached_end(0);
        assert_eq!(tick(&mut assigned, 2, 2), (1, false));
        assert_eq!(tick(&mut assigned, 2, 3), (0, true));
    }

    #[test]
    fn a_revoked_partition_says_how_far_it_was_handed_on() {
        let mut assigned = reading(0, 0);
        assigned.pull(0, 0, b"{}");
        assigned.batches(second(1));
        assigned.pull(0, 1, b"{}");
        assigned.remove(0, Removal::Handover);
        let last = assigned.batches(second(2)).remove(0);
        assert!(last.ended && last.records.is_empty());
        assert_eq!(&*last.position.0, r#"{"offset":1}"#);
    }

    #[test]
    fn a_partition_lost_in_an_outage_has_not_ended() {
        let mut assigned = reading(0, 0);
        assigned.pull(0, 0, b"{}");
        assigned.remove(0, Removal::Lost);
        assert!(assigned.batches(second(1)).is_empty());
    }

    #[test]
    fn a_lost_partition_has_ended_when_the_group_gives_it_to_another() {
        let mut assigned = reading(0, 0);
        assigned.batches(second(1));
        assigned.pull(0, 0, b"{}");
        assigned.remove(0, Removal::Lost);
        assigned.complete();
        let batches = assigned.batches(second(2));
        assert_eq!(batches.len(), 1);
        assert!(batches[0].ended && batches[0].records.is_empty());
        assert_eq!(&*batches[0].position.0, r#"{"offset":0}"#);
        assigned.complete();
        assert!(assigned.batches(second(3)).is_empty(), "said once");
    }

    #[test]
    fn a_lost_partition_that_comes_back_has_not_ended() {
        let mut assigned = reading(0, 0);
        assigned.remove(0, Removal::Lost);
        assigned.claimed(0, &claim());
        assigned.add(0, Reading::new(&claim(), Plan::new(0, 0)));
        assigned.complete();
        assert!(assigned.batches(second(1)).iter().all(|batch| !batch.ended));
    }

    #[test]
    fn what_a_consumer_leaves_is_said_by_the_next() {
        let mut first = reading(0, 0);
        first.claimed(1, &Claim { epoch: 7, ..claim() });
        let mut next = Assigned::following(first.left());
        assert!(next.batches(second(1)).is_empty());
        next.complete();
        let ended: Vec<u64> = next.batches(second(1)).iter().map(|it| it.epoch).collect();
        assert_eq!(ended, [3, 7], "also what was claimed and never read");
    }

    #[test]
    fn a_lost_partition_is_not_read_on() {
        let mut assigned = reading(3, 3);
        let reading = assigned.partitions.get_mut(&0).unwrap();
        assert!(reading.check_kept(Kept { first: 5, end: 9 }));
        assigned.pull(0, 5, b"{}");
        assert_eq!(tick(&mut assigned, 9, 1), (6, false));
        let (partitions, reason) = assigned.lost().unwrap();
        assert_eq!(partitions, ["events/0".into()]);
        assert!(reason.starts_with("events/0: "));
    }
}
