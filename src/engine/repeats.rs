//! Repeats of an `event_id` are ignored: two generations of hashes, turned by event time and by number.
//!
//! Beyond this memory a repeat is recognised by the use that the lineage remembers. A round of saving shares the shards as they
//! are when it begins; the first id that comes into one of them copies it, which takes microseconds.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::blocks::{Block, Blocks};
use super::digest;
use super::parts::Part;
use super::table::{KeyHasher, SHARDS, shard_of};
use crate::model::limits;

type Shard = HashSet<u64, BuildHasherDefault<KeyHasher>>;
type Generation = Vec<Arc<Shard>>;

#[derive(Debug, Clone)]
pub(super) struct Repeats {
    current: Generation,
    previous: Generation,
    /// In the current generation, and in the one before.
    entries: [usize; 2],
    pub(super) turned_at: i64,
    /// Two generations ago, let go one by one: to free millions of ids at once takes too long.
    leaving: Generation,
    round: Option<Box<Round>>,
}

/// The round of saving that is under way.
#[derive(Debug, Clone)]
struct Round {
    blocks: Blocks,
    /// Shards that are not saved yet, and whether they are of the generation before.
    left: Vec<(bool, Arc<Shard>)>,
}

impl Default for Repeats {
    fn default() -> Self {
        Self {
            current: empty(),
            previous: empty(),
            entries: [0; 2],
            turned_at: 0,
            leaving: Vec::new(),
            round: None,
        }
    }
}

impl Repeats {
    /// Whether the event is new; remembers it. `now` is engine time.
    pub(super) fn is_new(&mut self, key: u64, now: i64) -> bool {
        self.leaving.pop();
        let shard = shard_of(key);
        if self.knows(key) {
            return false;
        }
        Arc::make_mut(&mut self.current[shard]).insert(key);
        self.entries[0] += 1;
        let turn_ms = i64::try_from(limits::REPEATS_TURN.as_millis()).unwrap_or(i64::MAX);
        if now.saturating_sub(self.turned_at) > turn_ms || self.entries[0] >= limits::REPEATS_MAX {
            let current = std::mem::replace(&mut self.current, empty());
            self.leaving = std::mem::replace(&mut self.previous, current);
            self.entries = [0, self.entries[0]];
            self.turned_at = now;
        }
        true
    }

    /// Whether the event came before.
    pub(super) fn knows(&self, key: u64) -> bool {
        let shard = shard_of(key);
        self.previous[shard].contains(&key) || self.current[shard].contains(&key)
    }

    /// Every shard, those of the generation before last.
    fn shards(&self) -> impl Iterator<Item = (bool, &Arc<Shard>)> {
        let current = self.current.iter().map(|shard| (false, shard));
        current.chain(self.previous.iter().map(|shard| (true, shard)))
    }
}

impl Part for Repeats {
    fn len(&self) -> usize {
        self.entries.iter().sum()
    }

    /// In which generation an id stands is a matter of when they turned.
    fn digest(&self, _at: i64) -> u128 {
        digest::of_all(self.shards().flat_map(|(_, shard)| shard.iter()))
    }

    fn save(&self, blocks: &mut Blocks) -> usize {
        let shards = self.shards();
        shards.map(|shard| save(shard.1, shard.0, blocks)).sum()
    }

    fn begin(&mut self, number: u8) {
        let left = self.shards().map(|(before, it)| (before, Arc::clone(it)));
        self.round = Some(Box::new(Round {
            blocks: Blocks::new(number),
            left: left.collect(),
        }));
    }

    fn walk(&mut self, mut budget: usize) -> usize {
        let Some(round) = &mut self.round else {
            return budget;
        };
        while budget > 0
            && let Some((before, shard)) = round.left.pop()
        {
            budget = budget.saturating_sub(1 + save(&shard, before, &mut round.blocks));
        }
        budget
    }

    fn take_closed(&mut self) -> Vec<Vec<u8>> {
        let Some(round) = &mut self.round else {
            return Vec::new();
        };
        if round.left.is_empty() {
            round.blocks.finish();
        }
        round.blocks.take_closed()
    }

    fn end(&mut self) {
        self.round = None;
    }

    fn fill(&mut self, blocks: &[Block<'_>], _: u64) -> bool {
        let entries: usize = blocks.iter().map(|block| block.entries).sum();
        let is_whole = blocks.iter().all(|block| {
            block.read(|(key, before): (u64, bool)| {
                let generation = if before {
                    &mut self.previous
                } else {
                    &mut self.current
                };
                Arc::make_mut(&mut generation[shard_of(key)]).insert(key);
            })
        });
        let count = |shards: &Generation| shards.iter().map(|shard| shard.len()).sum();
        self.entries = [count(&self.current), count(&self.previous)];
        is_whole && self.len() == entries
    }
}

fn empty() -> Generation {
    (0..SHARDS).map(|_| Arc::default()).collect()
}

/// In the order of the ids, so that the same memory has the same saved form.
fn save(shard: &Shard, before: bool, blocks: &mut Blocks) -> usize {
    let mut keys: Vec<u64> = shard.iter().copied().collect();
    keys.sort_unstable();
    keys.iter().map(|key| blocks.push(&(key, before))).sum()
}
