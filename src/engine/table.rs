//! A bounded table of one stage: keys to state, in many small shards, evicting by event time.
//!
//! One map of millions stops the world for a second when it grows; a shard grows in milliseconds. Iteration order never
//! reaches the output: whatever picks among entries orders them by time and key.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Serialize};

const SHARDS: usize = 256;
/// Of a full shard the oldest eighth goes at once, so that the search for it is paid once in many inserts.
const EVICT_PART: usize = 8;

/// State that knows when it was last touched, in event time.
pub(super) trait Aged {
    /// Milliseconds since 1970.
    fn last_seen(&self) -> i64;

    /// What goes first when a shard is full, whatever its age: state that nothing honest stands behind.
    fn provisional(&self) -> bool {
        false
    }
}

/// Large state stands in a box: what a map keeps free for growth are then pointers.
impl<V: Aged> Aged for Box<V> {
    fn last_seen(&self) -> i64 {
        (**self).last_seen()
    }

    fn provisional(&self) -> bool {
        (**self).provisional()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(bound = "V: Serialize + serde::de::DeserializeOwned")]
pub(super) struct Table<V> {
    shards: Vec<HashMap<u64, V, BuildHasherDefault<KeyHasher>>>,
    shard_max: usize,
    /// While it may not grow: what the largest shard had when that began.
    #[serde(skip)]
    held_at: Option<usize>,
    evicted: u64,
}

impl<V: Aged> Table<V> {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashMap::default()).collect(),
            shard_max: shard_max(entries_max),
            held_at: None,
            evicted: 0,
        }
    }

    /// Another bound; what is beyond it goes as others come.
    pub(super) fn cap(&mut self, entries_max: usize) {
        self.shard_max = shard_max(entries_max);
    }

    /// From now on no larger than it is, but for a few entries in each shard; or as large as its bound again.
    pub(super) fn hold(&mut self, held: bool) {
        let largest = || self.shards.iter().map(HashMap::len).max();
        self.held_at = held
            .then(|| largest().unwrap_or(0).max(EVICT_PART))
            .map(|now| self.held_at.map_or(now, |before| before.min(now)));
    }

    pub(super) fn get(&self, key: u64) -> Option<&V> {
        self.shards[shard_of(key)].get(&key)
    }

    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        self.shards[shard_of(key)].get_mut(&key)
    }

    pub(super) fn get_or_insert_with(&mut self, key: u64, make: impl FnOnce() -> V) -> &mut V {
        let shard = &mut self.shards[shard_of(key)];
        let most = self.held_at.unwrap_or(usize::MAX).min(self.shard_max);
        if shard.len() >= most && !shard.contains_key(&key) {
            self.evicted += evict_oldest(shard, most);
        }
        shard.entry(key).or_insert_with(make)
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<V> {
        self.shards[shard_of(key)].remove(&key)
    }

    /// Everything, in no order that may reach the output.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        let entries = self.shards.iter().flatten();
        entries.map(|(key, value)| (*key, value))
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(HashMap::len).sum()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn for_each(&mut self, mut change: impl FnMut(&mut V)) {
        for shard in &mut self.shards {
            shard.values_mut().for_each(&mut change);
        }
    }

    /// Drops what is not to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        for shard in &mut self.shards {
            shard.retain(|_, value| keep(value));
        }
    }

    /// Drops what has not been touched since `time`.
    pub(super) fn forget_before(&mut self, time: i64) {
        for shard in &mut self.shards {
            shard.retain(|_, value| value.last_seen() >= time);
        }
    }
}

fn shard_max(entries_max: usize) -> usize {
    (entries_max / SHARDS).max(EVICT_PART)
}

/// Of a shard with `most` entries or more.
fn evict_oldest<V: Aged>(
    shard: &mut HashMap<u64, V, BuildHasherDefault<KeyHasher>>,
    most: usize,
) -> u64 {
    let mut by_age: Vec<(bool, i64, u64)> = shard
        .iter()
        .map(|(key, value)| (!value.provisional(), value.last_seen(), *key))
        .collect();
    let count = (by_age.len() - most) + (most / EVICT_PART).max(1);
    by_age.select_nth_unstable(count - 1);
    by_age.truncate(count);
    for (_, _, key) in &by_age {
        shard.remove(key);
    }
    count as u64
}

/// Shards by the high bits, so that the low bits stay for the map's own buckets.
fn shard_of(key: u64) -> usize {
    usize::from(key.to_be_bytes()[0])
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
        let free = postcard::to_stdvec(&table).unwrap();
        table.hold(true);
        assert_eq!(postcard::to_stdvec(&table).unwrap(), free);
        let back: Table<i64> = postcard::from_bytes(&free).unwrap();
        assert_eq!(back.held_at, None);
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
