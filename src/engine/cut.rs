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

#[derive(Debug, Clone)]
pub(super) struct Cut<K> {
    blocks: Blocks,
    /// Entries of the moment that are not saved yet.
    left: usize,
    /// The greatest key that the walk has passed.
    passed: Option<K>,
    /// Of the keys beyond: what is saved already, or came since.
    settled: BTreeSet<K>,
}

impl<K: Ord + Copy + Serialize> Cut<K> {
    /// Of a part that has so many entries.
    pub(super) const fn new(part: u8, entries: usize) -> Self {
        Self {
            blocks: Blocks::new(part),
            left: entries,
            passed: None,
            settled: BTreeSet::new(),
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

    /// Everything up to the last key passed needs no memory any more.
    pub(super) fn forget_passed(&mut self) {
        // One by one: to split the set would count all that is left of it.
        while self.settled.first().copied() <= self.passed && self.settled.pop_first().is_some() {}
    }

    /// What was saved; `None` where that is not all.
    pub(super) fn into_pieces(self) -> Option<Vec<Vec<u8>>> {
        self.is_complete().then(|| self.blocks.into_pieces())
    }

    fn save(&mut self, key: K, value: &impl Serialize) -> usize {
        let bytes = self.blocks.push(&(key, value));
        self.left -= 1;
        if self.left == 0 {
            self.settled = BTreeSet::new();
        }
        bytes + ENTRY_COST
    }
}
