//! A bounded table of one stage: keys to state, in many small shards, evicting by event time.
//!
//! One map of millions stops the world for a second when it grows; a shard grows in milliseconds. Iteration order never
//! reaches the output: whatever picks among entries orders them by time and key.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::blocks::{Block, Blocks};
use super::cut::{Cut, Keys};
use super::digest;
use super::parts::Part;
use super::sweep::HORIZON_MS;

/// Keys begin with the number of their shard.
pub(super) const SHARDS: usize = 256;
/// Of a full shard the oldest eighth goes at once, so that the search for it is paid once in many inserts.
const EVICT_PART: usize = 8;
/// But no more of a large one: while the state is being saved, each that goes is saved first.
const EVICT_AT_ONCE: usize = 1000;

type Shard<V> = HashMap<u64, V, BuildHasherDefault<KeyHasher>>;

/// State that knows when it was last touched, in event time.
pub(super) trait Aged {
    /// How long after that it is of use, in milliseconds.
    const OF_USE_MS: i64 = HORIZON_MS;

    /// Milliseconds since 1970.
    fn last_seen(&self) -> i64;

    /// Whether it was touched so late that it is still of use at this time.
    fn is_of_use(&self, at: i64) -> bool {
        self.last_seen() >= at.saturating_sub(Self::OF_USE_MS)
    }

    /// What goes first when a shard is full, whatever its age: state that nothing honest stands behind.
    fn provisional(&self) -> bool {
        false
    }
}

/// Large state stands in a box: what a map keeps free for growth are then pointers.
impl<V: Aged> Aged for Box<V> {
    const OF_USE_MS: i64 = V::OF_USE_MS;

    fn last_seen(&self) -> i64 {
        (**self).last_seen()
    }

    fn provisional(&self) -> bool {
        (**self).provisional()
    }
}

#[derive(Debug, Clone)]
pub(super) struct Table<V> {
    shards: Vec<Shard<V>>,
    entries: usize,
    shard_max: usize,
    /// While it may not grow: what the largest shard had when that began.
    held_at: Option<usize>,
    evicted: u64,
    round: Option<Box<Round>>,
}

/// The round of saving that is under way.
#[derive(Debug, Clone)]
struct Round {
    cut: Cut<u64, Settled>,
    /// Keys of one shard that are still to be passed, the greatest first.
    ahead: Vec<u64>,
    /// The shard after that.
    next: usize,
}

/// Keys by their shards: a set that grows is built anew, and of a shard it is done in a moment.
#[derive(Debug, Clone)]
struct Settled(Vec<HashSet<u64, BuildHasherDefault<KeyHasher>>>);

impl Default for Settled {
    fn default() -> Self {
        Self(vec![HashSet::default(); SHARDS])
    }
}

impl Keys<u64> for Settled {
    fn insert(&mut self, key: u64) -> bool {
        self.0[shard_of(key)].insert(key)
    }

    fn remove(&mut self, key: &u64) -> bool {
        self.0[shard_of(*key)].remove(key)
    }

    fn forget_to(&mut self, key: u64) {
        // The last of its shard, and those before it are empty already.
        self.0[shard_of(key)] = HashSet::default();
    }
}

impl<V: Aged + Serialize> Table<V> {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashMap::default()).collect(),
            entries: 0,
            shard_max: shard_max(entries_max),
            held_at: None,
            evicted: 0,
            round: None,
        }
    }

    /// Another bound; what is beyond it goes as others come.
    pub(super) fn cap(&mut self, entries_max: usize) {
        self.shard_max = shard_max(entries_max);
    }

    pub(super) fn get(&self, key: u64) -> Option<&V> {
        self.shards[shard_of(key)].get(&key)
    }

    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        let value = self.shards[shard_of(key)].get_mut(&key)?;
        if let Some(round) = &mut self.round {
            round.cut.keep(key, value);
        }
        Some(value)
    }

    pub(super) fn get_or_insert_with(&mut self, key: u64, make: impl FnOnce() -> V) -> &mut V {
        let shard = &mut self.shards[shard_of(key)];
        let most = self.held_at.unwrap_or(usize::MAX).min(self.shard_max);
        if shard.len() >= most && !shard.contains_key(&key) {
            let before = shard.len();
            evict_oldest(shard, most, self.round.as_deref_mut());
            self.entries -= before - shard.len();
            self.evicted += (before - shard.len()) as u64;
        }
        let round = self.round.as_deref_mut();
        match shard.entry(key) {
            Entry::Occupied(known) => {
                let value = known.into_mut();
                if let Some(round) = round {
                    round.cut.keep(key, value);
                }
                value
            }
            Entry::Vacant(free) => {
                if let Some(round) = round {
                    round.cut.came(key);
                }
                self.entries += 1;
                free.insert(make())
            }
        }
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<V> {
        let value = self.shards[shard_of(key)].remove(&key)?;
        if let Some(round) = &mut self.round {
            round.cut.keep(key, &value);
        }
        self.entries -= 1;
        Some(value)
    }

    /// Everything, in no order that may reach the output.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        let entries = self.shards.iter().flatten();
        entries.map(|(key, value)| (*key, value))
    }

    pub(super) fn for_each(&mut self, mut change: impl FnMut(&mut V)) {
        for (key, value) in self.shards.iter_mut().flatten() {
            if let Some(round) = &mut self.round {
                round.cut.keep(*key, value);
            }
            change(value);
        }
    }

    /// Drops what is not to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        for shard in 0..SHARDS {
            self.retain_of(shard, &keep);
        }
    }

    fn retain_of(&mut self, shard: usize, keep: impl Fn(&V) -> bool) {
        let (shard, round) = (&mut self.shards[shard], &mut self.round);
        let before = shard.len();
        shard.retain(|key, value| {
            let is_kept = keep(value);
            if let Some(round) = round.as_mut().filter(|_| !is_kept) {
                round.cut.keep(*key, value);
            }
            is_kept
        });
        self.entries -= before - shard.len();
    }
}

impl<V: Aged + Serialize + DeserializeOwned + Send> Part for Table<V> {
    fn len(&self) -> usize {
        self.entries
    }

    fn evicted(&self) -> u64 {
        self.evicted
    }

    fn hold(&mut self, held: bool) {
        let largest = || self.shards.iter().map(HashMap::len).max();
        self.held_at = held
            .then(|| largest().unwrap_or(0).max(EVICT_PART))
            .map(|now| self.held_at.map_or(now, |before| before.min(now)));
    }

    fn sweep(&mut self, now: i64, shard: usize) {
        self.retain_of(shard, |value| value.is_of_use(now));
    }

    fn digest(&self, at: i64) -> u128 {
        digest::of_all(self.iter().filter(|(_, value)| value.is_of_use(at)))
    }

    fn save(&self, blocks: &mut Blocks) -> usize {
        let shards = self.shards.iter();
        let entries = shards.flat_map(|shard| {
            let keys = keys(shard).into_iter().rev();
            keys.filter_map(|key| shard.get_key_value(&key))
        });
        entries.map(|entry| blocks.push(&entry)).sum()
    }

    fn begin(&mut self, number: u8) {
        self.round = Some(Box::new(Round {
            cut: Cut::new(number, self.entries),
            ahead: Vec::new(),
            next: 0,
        }));
    }

    fn walk(&mut self, mut budget: usize) -> usize {
        let Some(round) = &mut self.round else {
            return budget;
        };
        while budget > 0 && !round.cut.is_complete() {
            if let Some(key) = round.ahead.pop() {
                let value = self.shards[shard_of(key)].get(&key);
                budget = budget.saturating_sub(round.cut.pass(key, value));
            } else if let Some(shard) = self.shards.get(round.next) {
                if let Some(before) = round.next.checked_sub(1) {
                    round.cut.pass_over(last_key_of(before));
                }
                round.ahead = keys(shard);
                round.next += 1;
                budget = budget.saturating_sub(KEY_COST * (1 + round.ahead.len()));
            } else {
                break;
            }
        }
        budget
    }

    fn take_closed(&mut self) -> Vec<Vec<u8>> {
        let round = self.round.as_mut();
        round.map_or_else(Vec::new, |round| round.cut.take_closed())
    }

    fn end(&mut self) {
        self.round = None;
    }

    fn fill(&mut self, blocks: &[Block<'_>], evicted: u64) -> bool {
        let entries: usize = blocks.iter().map(|block| block.entries).sum();
        // Keys are spread evenly; where they are not, a shard grows as ever.
        let shard_entries = entries / SHARDS + entries / SHARDS / 8;
        for shard in &mut self.shards {
            shard.reserve(shard_entries);
        }
        let is_whole = blocks.iter().all(|block| {
            block.read(|(key, value): (u64, V)| {
                self.shards[shard_of(key)].insert(key, value);
            })
        });
        self.entries = self.shards.iter().map(HashMap::len).sum();
        self.evicted = evicted;
        is_whole && self.entries == entries
    }
}

/// To find a key and put it into its place, in the bytes of the walk's budget.
const KEY_COST: usize = 8;

/// The keys of a shard, the greatest first.
fn keys<V>(shard: &Shard<V>) -> Vec<u64> {
    let mut keys: Vec<u64> = shard.keys().copied().collect();
    keys.sort_unstable_by(|one, other| other.cmp(one));
    keys
}

fn shard_max(entries_max: usize) -> usize {
    (entries_max / SHARDS).max(EVICT_PART)
}

/// Of a shard with `most` entries or more.
fn evict_oldest<V: Aged + Serialize>(
    shard: &mut Shard<V>,
    most: usize,
    mut round: Option<&mut Round>,
) {
    let mut by_age: Vec<(bool, i64, u64)> = shard
        .iter()
        .map(|(key, value)| (!value.provisional(), value.last_seen(), *key))
        .collect();
    let count = by_age.len() - most + most / EVICT_PART;
    let count = count.clamp(1, EVICT_AT_ONCE);
    by_age.select_nth_unstable(count - 1);
    by_age.truncate(count);
    for (_, _, key) in by_age {
        let value = shard.remove(&key);
        if let (Some(round), Some(value)) = (&mut round, value) {
            round.cut.keep(key, &value);
        }
    }
}

/// Shards by the high bits, so that the low bits stay for the map's own buckets.
pub(super) fn shard_of(key: u64) -> usize {
    usize::from(key.to_be_bytes()[0])
}

fn last_key_of(shard: usize) -> u64 {
    let number = u8::try_from(shard).unwrap_or(u8::MAX);
    u64::from_be_bytes([number, 255, 255, 255, 255, 255, 255, 255])
}

/// Keys are hashes already.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, key: u64) {
        // hashbrown takes the place from the low bits and its tag from the top seven. The top byte, which is the same in the
        // whole shard, goes where neither looks: to bits 24 to 31, beyond the places of 16 million entries a shard.
        self.0 = key.rotate_left(32);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;
    use crate::engine::key::Key;

    fn key(name: &str) -> u64 {
        Key::new("t").with(name).hash()
    }

    impl Aged for i64 {
        fn last_seen(&self) -> i64 {
            *self
        }
    }

    #[test]
    fn a_full_table_stays_within_its_bound_and_keeps_the_newest() {
        let mut table = Table::new(SHARDS * 16);
        for time in 0..100_000_i64 {
            table.get_or_insert_with(key(&time.to_string()), || time);
        }
        assert!(table.len() <= SHARDS * 16);
        assert_eq!(table.evicted() + table.len() as u64, 100_000);
        assert!(table.get(key("99999")).is_some());
        assert!(table.get(key("0")).is_none());
    }

    fn fill(table: &mut Table<i64>, times: std::ops::Range<i64>) {
        for time in times {
            table.get_or_insert_with(key(&time.to_string()), || time);
        }
    }

    #[test]
    fn under_a_lower_bound_the_oldest_go_as_others_come() {
        let mut table = Table::new(SHARDS * 64);
        fill(&mut table, 0..10_000);
        assert_eq!(table.evicted(), 0);
        table.cap(SHARDS * 16);
        assert_eq!(table.len(), 10_000, "nothing came");
        fill(&mut table, 10_000..15_000);
        assert!(table.len() <= SHARDS * 16);
        assert_eq!(table.evicted() + table.len() as u64, 15_000);
        assert!(table.get(key("14999")).is_some());
        assert!((0..5000).all(|time: i64| table.get(key(&time.to_string())).is_none()));
    }

    #[test]
    fn what_is_held_does_not_grow_until_it_may_again() {
        let mut table = Table::new(SHARDS * 64);
        fill(&mut table, 0..4000);
        let largest = table.shards.iter().map(HashMap::len).max().unwrap();
        table.hold(true);
        fill(&mut table, 4000..9000);
        assert!(table.len() <= SHARDS * largest && table.evicted() > 0);
        assert_eq!(table.evicted() + table.len() as u64, 9000);
        assert!(table.get(key("8999")).is_some() && table.get(key("0")).is_none());

        // Also where it is said again, by then of less.
        table.hold(true);
        fill(&mut table, 9000..12_000);
        assert!(table.len() <= SHARDS * largest);
        table.hold(false);
        let before = table.evicted();
        fill(&mut table, 12_000..14_000);
        assert_eq!(table.evicted(), before);
    }

    #[test]
    fn whether_it_is_held_is_no_part_of_what_is_saved() {
        let mut table = Table::new(SHARDS * 64);
        fill(&mut table, 0..1000);
        let saved = |table: &Table<i64>| {
            let mut blocks = Blocks::new(0);
            table.save(&mut blocks);
            blocks.into_pieces()
        };
        let free = saved(&table);
        table.hold(true);
        assert_eq!(saved(&table), free);
    }

    #[test]
    fn the_keys_of_a_shard_are_spread_over_its_places_and_tags() {
        const KEYS: usize = 1 << 16;
        let hashed = (0_u64..)
            .map(|n| key(&n.to_string()))
            .filter(|key| shard_of(*key) == 7)
            .map(|key| BuildHasherDefault::<KeyHasher>::default().hash_one(key));
        let hashes: Vec<u64> = hashed.take(KEYS / 64).collect();
        let different = |part: fn(u64) -> u64| {
            let parts: std::collections::HashSet<u64> = hashes.iter().map(|it| part(*it)).collect();
            parts.len()
        };
        // Thrown at random into 64 times as many places, nearly all have one of their own.
        assert!(different(|hash| hash % KEYS as u64) > hashes.len() * 9 / 10);
        assert_eq!(different(|hash| hash >> 57), 128);
    }
}
