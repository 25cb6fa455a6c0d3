//! What waits for a time: taken in order, and saved like a table.
//!
//! A tree: it grows without ever being built anew, and a walk goes on from the key where it stopped.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::blocks::{Block, Blocks};
use super::cut::Cut;
use super::digest;
use super::parts::Part;

#[derive(Debug, Clone)]
pub(super) struct Queue<K, V> {
    waiting: BTreeMap<K, V>,
    /// Taken before their time, for want of room.
    hurried: u64,
    /// The round of saving that is under way, and the last key that it passed.
    round: Option<Box<Round<K>>>,
}

type Round<K> = (Cut<K, BTreeSet<K>>, Option<K>);

impl<K, V> Default for Queue<K, V> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            hurried: 0,
            round: None,
        }
    }
}

impl<K: Ord + Copy + Serialize, V: Serialize> Queue<K, V> {
    pub(super) fn insert(&mut self, key: K, value: V) {
        let round = self.round.as_deref_mut();
        match self.waiting.entry(key) {
            Entry::Occupied(mut known) => {
                if let Some((cut, _)) = round {
                    cut.keep(key, known.get());
                }
                known.insert(value);
            }
            Entry::Vacant(free) => {
                if let Some((cut, _)) = round {
                    cut.came(key);
                }
                free.insert(value);
            }
        }
    }

    /// Takes the first if its time, which `due` tells from its key, has come by `now`. Of too many the first is taken all the
    /// same: an answer that a late fact might have changed is better than none.
    pub(super) fn take(
        &mut self,
        now: i64,
        most: usize,
        due: impl Fn(&K) -> i64,
    ) -> Option<(K, V)> {
        let time = due(self.waiting.first_key_value()?.0);
        let is_hurried = time > now && self.waiting.len() > most;
        if time > now && !is_hurried {
            return None;
        }
        self.hurried += u64::from(is_hurried);
        let (key, value) = self.waiting.pop_first()?;
        if let Some((cut, _)) = self.round.as_deref_mut() {
            cut.keep(key, &value);
        }
        Some((key, value))
    }

    /// Drops what is not to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        let round = &mut self.round;
        self.waiting.retain(|key, value| {
            let is_kept = keep(value);
            if let Some((cut, _)) = round.as_deref_mut().filter(|_| !is_kept) {
                cut.keep(*key, value);
            }
            is_kept
        });
    }

    #[cfg(test)]
    pub(super) fn hurried(&self) -> u64 {
        self.hurried
    }
}

impl<K, V> Part for Queue<K, V>
where
    K: Ord + Copy + Serialize + DeserializeOwned + Send,
    V: Serialize + DeserializeOwned + Send,
{
    fn len(&self) -> usize {
        self.waiting.len()
    }

    fn evicted(&self) -> u64 {
        self.hurried
    }

    fn digest(&self, _at: i64) -> u128 {
        digest::of_all(self.waiting.iter())
    }

    fn save(&self, blocks: &mut Blocks) -> usize {
        self.waiting.iter().map(|entry| blocks.push(&entry)).sum()
    }

    fn begin(&mut self, number: u8) {
        let cut = Cut::new(number, self.waiting.len());
        self.round = Some(Box::new((cut, None)));
    }

    fn walk(&mut self, mut budget: usize) -> usize {
        let Some((cut, passed)) = self.round.as_deref_mut() else {
            return budget;
        };
        let from = passed.map_or(Bound::Unbounded, Bound::Excluded);
        let mut ahead = self.waiting.range((from, Bound::Unbounded));
        while budget > 0
            && !cut.is_complete()
            && let Some((key, value)) = ahead.next()
        {
            budget = budget.saturating_sub(cut.pass(*key, Some(value)));
            *passed = Some(*key);
        }
        if let Some(passed) = *passed {
            cut.pass_over(passed);
        }
        budget
    }

    fn take_closed(&mut self) -> Vec<Vec<u8>> {
        let round = self.round.as_mut();
        round.map_or_else(Vec::new, |round| round.0.take_closed())
    }

    fn end(&mut self) {
        self.round = None;
    }

    fn fill(&mut self, blocks: &[Block<'_>], evicted: u64) -> bool {
        let is_whole = blocks.iter().all(|block| {
            block.read(|(key, value): (K, V)| {
                self.waiting.insert(key, value);
            })
        });
        self.hurried = evicted;
        let entries: usize = blocks.iter().map(|block| block.entries).sum();
        is_whole && self.waiting.len() == entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_the_first_is_taken_early_and_counted() {
        let mut queue = Queue::default();
        for time in [5, 3, 4] {
            queue.insert(time, ());
        }
        let mut take = |now, most| queue.take(now, most, |time| *time).map(|(time, ())| time);
        assert_eq!(take(0, 3), None);
        assert_eq!(take(0, 2), Some(3));
        assert_eq!(take(0, 2), None);
        assert_eq!(take(4, 2), Some(4));
        assert_eq!((queue.len(), queue.hurried()), (1, 1));
    }
}
