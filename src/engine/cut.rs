//! One part of the state as it is at one moment, saved entry by entry while events go on.
//!
//! A walk passes over the keys in their order, a few at a time. Whatever is about to change before the walk has come there is
//! saved first, as it still is; whatever comes is no part of the moment. So nobody waits for more than the entry at hand,
//! and at rest an entry costs nothing: a mark in each would cost every entry some bytes for good.

use std::collections::BTreeSet;

use serde::Serialize;

use super::blocks::Blocks;

/// What an entry costs beside its bytes, in bytes: it has to be fetched from memory.
const ENTRY_COST: usize = 64;

/// Keys that the walk is still to come to.
pub(super) trait Keys<K>: Default {
    /// `false` where it was there.
    fn insert(&mut self, key: K) -> bool;
    fn remove(&mut self, key: &K) -> bool;
    /// None up to this key is asked for again.
    fn forget_to(&mut self, key: K);
}

#[derive(Debug, Clone)]
pub(super) struct Cut<K, S> {
    blocks: Blocks,
    /// Entries of the moment that are not saved yet.
    left: usize,
    /// The greatest key that the walk has passed.
    passed: Option<K>,
    /// Of the keys beyond: what is saved already, or came since.
    settled: S,
}

impl<K: Ord + Copy + Serialize, S: Keys<K>> Cut<K, S> {
    /// Of a part that has so many entries.
    pub(super) fn new(part: u8, entries: usize) -> Self {
        Self {
            blocks: Blocks::new(part),
            left: entries,
            passed: None,
            settled: S::default(),
        }
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// Before the entry is changed or taken away.
    pub(super) fn keep(&mut self, key: K, value: &impl Serialize) {
        if self.left > 0 && self.passed < Some(key) && self.settled.insert(key) {
            self.save(key, value);
        }
    }

    /// An entry that was not there has come.
    pub(super) fn came(&mut self, key: K) {
        if self.left > 0 && self.passed < Some(key) {
            self.settled.insert(key);
        }
    }

    /// The walk comes to the next key: its entry, where there is one. Returns the cost.
    pub(super) fn pass(&mut self, key: K, value: Option<&impl Serialize>) -> usize {
        self.passed = Some(key);
        match value {
            Some(value) if !self.settled.remove(&key) => self.save(key, value),
            _ => ENTRY_COST,
        }
    }

    /// There is nothing more up to this key, and what has come there since is no part of the moment.
    pub(super) fn pass_over(&mut self, key: K) {
        self.passed = Some(key);
        self.settled.forget_to(key);
    }

    /// What was saved since this was asked for: whole blocks, and the last one when all is saved.
    pub(super) fn take_closed(&mut self) -> Vec<Vec<u8>> {
        if self.is_complete() {
            self.blocks.finish();
        }
        self.blocks.take_closed()
    }

    fn save(&mut self, key: K, value: &impl Serialize) -> usize {
        let bytes = self.blocks.push(&(key, value));
        self.left -= 1;
        if self.left == 0 {
            self.settled = S::default();
        }
        bytes + ENTRY_COST
    }
}

/// Of a part that is in order itself.
impl<K: Ord> Keys<K> for BTreeSet<K> {
    fn insert(&mut self, key: K) -> bool {
        Self::insert(self, key)
    }

    fn remove(&mut self, key: &K) -> bool {
        Self::remove(self, key)
    }

    fn forget_to(&mut self, key: K) {
        // One by one: to split the set would count all that is left of it.
        while self.first().is_some_and(|first| *first <= key) && self.pop_first().is_some() {}
    }
}
