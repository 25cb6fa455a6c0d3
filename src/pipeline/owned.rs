//! The partitions that are ours: how far the state stands for each, and which are still being read again.
//!
//! After a restart a partition is read again from where the saved state stands to where it was committed. As long as one
//! is, the others do not go beyond their own committed positions: what a new event asks must be answered by the facts
//! that were there when it came, and never be taken for something that was judged before. Their batches wait here, up
//! to a bound; beyond it they go on, because memory is finite and a question too many is better than a standstill.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::prepare::Prepared;
use crate::model::{
    CANARY_SOURCE, Claim, OWN_SOURCE, Position, SourcePartition, StartAt, Text, limits,
};

/// How far the state stands for every partition that it knows, ours or not: restored, read, or handed over since.
///
/// Whoever claims a partition reads on from here. A state saved without the position of a partition that it knows could
/// not be told from one that has never seen it.
#[derive(Default)]
pub struct Standing(Mutex<Stand>);

#[derive(Default)]
struct Stand {
    positions: BTreeMap<SourcePartition, Position>,
    /// Where the memory of what was before these could not be used: of which partitions it is being made anew.
    anew: Option<BTreeSet<SourcePartition>>,
}

impl Standing {
    /// `knows`: whether the memory of what was before these positions came with them.
    pub fn new(restored: BTreeMap<SourcePartition, Position>, knows: bool) -> Self {
        Self(Mutex::new(Stand {
            positions: restored,
            anew: (!knows).then(BTreeSet::new),
        }))
    }

    pub fn positions(&self) -> BTreeMap<SourcePartition, Position> {
        self.lock().positions.clone()
    }

    /// What was read before is read again where nothing is remembered of it, until some of it has been.
    pub fn make_anew(&self, claims: &mut [Claim]) {
        let stand = self.lock();
        for claim in claims {
            if let StartAt::Resume { anew, .. } = &mut claim.start {
                let begun = |begun: &BTreeSet<_>| begun.contains(&claim.partition);
                *anew = stand.anew.as_ref().is_some_and(|it| !begun(it));
            }
        }
    }

    fn of(&self, partition: &SourcePartition) -> Option<Position> {
        self.lock().positions.get(partition).cloned()
    }

    fn set(&self, partition: &SourcePartition, position: &Position) {
        let mut stand = self.lock();
        match stand.positions.get_mut(partition) {
            Some(standing) => standing.clone_from(position),
            None => {
                stand.positions.insert(partition.clone(), position.clone());
            }
        }
    }

    /// Some of it was read.
    fn begun(&self, partition: &SourcePartition) {
        if let Some(begun) = &mut self.lock().anew
            && !begun.contains(partition)
        {
            begun.insert(partition.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stand> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of a source cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    pub source: Text,
    /// A partition, or a topic with all of its; `None` for all of the source.
    pub part: Option<Text>,
}

impl Unread {
    fn holds(&self, partition: &SourcePartition) -> bool {
        let is_of = |part: &Text| {
            let rest = partition.partition.strip_prefix(&**part);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        partition.source == self.source && self.part.as_ref().is_none_or(is_of)
    }
}

#[derive(Default)]
pub(super) struct Partitions {
    owned: BTreeMap<SourcePartition, Owned>,
    standing: Arc<Standing>,
    held_back: VecDeque<Prepared>,
    weight_held_back: Weight,
    /// The newest ownership under which somebody else's was found in the store: what was read under it is not ours to judge.
    fenced: BTreeMap<SourcePartition, u64>,
    /// Those whose state is saved somewhere, so that their positions may be committed.
    saved: BTreeSet<SourcePartition>,
}

struct Owned {
    epoch: u64,
    /// Its records have changed the state.
    touched: bool,
    /// Being read again up to this position.
    again: Option<Position>,
    /// While it is read again, the others wait for it: not when it was taken away meanwhile, or cannot be read.
    awaited: bool,
    /// The source has given it up.
    ended: bool,
}

/// A batch whose turn it is.
pub(super) struct Next {
    pub(super) batch: Prepared,
    /// Its muted records were judged before.
    pub(super) again: bool,
}

impl Partitions {
    /// With what the restored state stands for.
    pub(super) fn new(standing: Arc<Standing>) -> Self {
        Self {
            saved: standing.positions().into_keys().collect(),
            standing,
            ..Self::default()
        }
    }

    pub(super) fn claimed(&mut self, claim: Claim) {
        let again = match claim.start {
            StartAt::Fresh => None,
            StartAt::Resume {
                from,
                committed,
                anew,
            } => {
                self.standing.set(&claim.partition, &from);
                (anew || from != committed).then_some(committed)
            }
        };
        let owned = Owned {
            epoch: claim.epoch,
            touched: false,
            again,
            awaited: true,
            ended: false,
        };
        self.owned.insert(claim.partition, owned);
    }

    /// The batch, unless it has to wait or somebody else owns its partition by now.
    pub(super) fn admit(&mut self, batch: Prepared) -> Option<Next> {
        if is_canary(&batch.partition) {
            return self.in_turn(batch);
        }
        if !self.is_ours(&batch.partition, batch.epoch) && !is_everybodys(&batch.partition) {
            return None;
        }
        let owned = self.owned.entry(batch.partition.clone()).or_insert(Owned {
            epoch: batch.epoch,
            touched: false,
            again: None,
            awaited: true,
            ended: false,
        });
        if batch.epoch < owned.epoch {
            return None;
        }
        owned.epoch = batch.epoch;
        let again = owned.again.is_some();
        if again && is_farewell(&batch) {
            // Whoever owns it now reads it again, from where it was committed at the latest.
            owned.awaited = false;
            self.drop_held_back(&batch.partition);
            return Some(Next { batch, again });
        }
        if !again {
            return self.in_turn(batch);
        }
        if batch.muted == batch.records && batch.tick.is_none() {
            if owned.again.as_ref() == Some(&batch.position) {
                owned.again = None;
            }
            return Some(Next { batch, again });
        }
        if batch.muted == 0 || batch.tick.is_some() {
            // It has come to what is new, or to the end of what there is.
            owned.again = None;
        }
        if batch.muted == 0 {
            return self.in_turn(batch);
        }
        let (known, new) = self.split(batch);
        self.hold_back(new);
        Some(Next {
            batch: known,
            again,
        })
    }

    /// A batch whose records are new: after those that wait.
    fn in_turn(&mut self, batch: Prepared) -> Option<Next> {
        if !self.is_reading_again() && self.held_back.is_empty() {
            return Some(Next {
                batch,
                again: false,
            });
        }
        self.hold_back(batch);
        None
    }

    fn hold_back(&mut self, batch: Prepared) {
        self.weight_held_back.add(&batch);
        self.held_back.push_back(batch);
    }

    /// What is new in it is for its next owner: taken after the last word, it would hold time back for good.
    fn drop_held_back(&mut self, partition: &SourcePartition) {
        self.held_back.retain(|batch| batch.partition != *partition);
        self.weight_held_back = Weight::default();
        for batch in &self.held_back {
            self.weight_held_back.add(batch);
        }
    }

    /// The records that were judged before, which have no turn to wait for, and the rest with the batch's word about how
    /// far it was read: what is new in other partitions must not come between what was known before.
    fn split(&self, batch: Prepared) -> (Prepared, Prepared) {
        let stands = self.standing.of(&batch.partition);
        let (mut known, new) = batch.split();
        known.position = stands.unwrap_or(known.position);
        known.tick = None;
        known.ended = false;
        (known, new)
    }

    /// A batch that has waited and need not any more.
    pub(super) fn released(&mut self) -> Option<Next> {
        if self.is_reading_again() && !self.weight_held_back.is_too_much() {
            return None;
        }
        loop {
            let batch = self.held_back.pop_front()?;
            self.weight_held_back.remove(&batch);
            let owned = self.owned.get(&batch.partition);
            let is_ours = owned.is_some_and(|owned| owned.epoch == batch.epoch);
            if is_ours || is_canary(&batch.partition) {
                return Some(Next {
                    batch,
                    again: false,
                });
            }
        }
    }

    /// The state stands for this batch now. Returns the position to commit, when it is time to: what is read again was
    /// committed before.
    pub(super) fn applied(&mut self, Next { batch, again }: &Next) -> Option<Position> {
        let owned = self.owned.get_mut(&batch.partition)?;
        owned.ended = batch.ended;
        if is_farewell(batch) {
            return None;
        }
        let waits = |waiting: &Prepared| waiting.partition == batch.partition;
        if !again || !self.held_back.iter().any(waits) {
            self.standing.set(&batch.partition, &batch.position);
        }
        self.standing.begun(&batch.partition);
        owned.touched |= batch.records > 0;
        let is_known = !owned.touched || self.saved.contains(&batch.partition);
        let is_due = !again && owned.again.is_none() && is_known;
        let is_due = is_due && self.is_ours(&batch.partition, batch.epoch);
        is_due.then(|| batch.position.clone())
    }

    /// Whose state is worth saving: one that only stands by would be taken for the newest, and stands for less.
    pub(super) fn is_reading(&self) -> bool {
        self.owned.iter().any(|(partition, owned)| {
            !owned.ended && !is_everybodys(partition) && self.is_ours(partition, owned.epoch)
        })
    }

    /// Some partition's records are part of the state, and no saved state knows them: a restart could not read them again.
    pub(super) fn needs_saving(&self) -> bool {
        self.owned
            .iter()
            .filter(|(partition, owned)| self.is_ours(partition, owned.epoch))
            .any(|(partition, owned)| owned.touched && !self.saved.contains(partition))
    }

    /// A state that stands for these is saved. Returns the positions that waited for it.
    pub(super) fn saved(
        &mut self,
        partitions: &[SourcePartition],
    ) -> Vec<(SourcePartition, u64, Position)> {
        let new: Vec<&SourcePartition> = partitions
            .iter()
            .filter(|partition| self.saved.insert((*partition).clone()))
            .collect();
        let waited = |partition: &&SourcePartition| {
            let owned = self.owned.get(partition)?;
            let position = self.standing.of(partition)?;
            if owned.again.is_some() || !self.is_ours(partition, owned.epoch) {
                return None;
            }
            Some(((*partition).clone(), owned.epoch, position))
        };
        new.iter().filter_map(waited).collect()
    }

    pub(super) fn is_reading_again(&self) -> bool {
        self.owned
            .values()
            .any(|owned| owned.again.is_some() && owned.awaited)
    }

    /// What the state stands for.
    pub(super) fn positions(&self) -> BTreeMap<SourcePartition, Position> {
        self.standing.positions()
    }

    /// What cannot be read holds nobody back.
    pub(super) fn left_out(&mut self, unread: &[Unread]) -> Vec<SourcePartition> {
        let ours = |(p, owned): (&SourcePartition, &mut Owned)| {
            unread.iter().any(|it| it.holds(p)).then(|| {
                owned.awaited = false;
                p.clone()
            })
        };
        self.owned.iter_mut().filter_map(ours).collect()
    }

    /// Somebody else owns it since we did under this epoch. `false` when nothing is left.
    pub(super) fn lost(&mut self, partition: &SourcePartition, epoch: u64) -> bool {
        self.fenced.insert(partition.clone(), epoch);
        if !is_everybodys(partition) {
            self.owned.remove(partition);
        }
        self.owned
            .iter()
            .any(|(partition, owned)| self.is_ours(partition, owned.epoch))
    }

    /// No other owner is known of since.
    fn is_ours(&self, partition: &SourcePartition, epoch: u64) -> bool {
        let fenced = self.fenced.get(partition);
        fenced.is_none_or(|fenced| *fenced < epoch)
    }
}

/// What was done is for every daemon to know, whoever says how far it was read.
fn is_everybodys(partition: &SourcePartition) -> bool {
    &*partition.source == OWN_SOURCE
}

/// The canary has no position, so that nobody owns it and no state stands for it; it waits with what is new.
fn is_canary(partition: &SourcePartition) -> bool {
    &*partition.source == CANARY_SOURCE
}

/// The last word of a partition that was taken away. It says nothing new about how far it was read.
const fn is_farewell(batch: &Prepared) -> bool {
    batch.ended && batch.records == 0
}

/// What waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Weight {
    records: usize,
    bytes: usize,
}

impl Weight {
    fn of(batch: &Prepared) -> Self {
        Self {
            // A tick takes memory too.
            records: batch.records.max(1),
            bytes: batch.bytes(),
        }
    }

    fn add(&mut self, batch: &Prepared) {
        let Self { records, bytes } = Self::of(batch);
        self.records += records;
        self.bytes += bytes;
    }

    fn remove(&mut self, batch: &Prepared) {
        let Self { records, bytes } = Self::of(batch);
        self.records -= records;
        self.bytes -= bytes;
    }

    const fn is_too_much(self) -> bool {
        self.records > limits::RECORDS_HELD_BACK_MAX || self.bytes > limits::BYTES_HELD_BACK_MAX
    }
}

#[cfg(test)]
mod tests;
