//! A small memory of recent answers that can neither grow nor change a result.
//!
//! Direct-mapped: each key has one slot, a newcomer takes the slot over. Hot keys repeat so often that nothing cleverer
//! pays (a lookup in the GeoIP tables costs a few hundred nanoseconds), and nothing ever stops to be rebuilt.

use std::net::IpAddr;

use xxhash_rust::xxh3::xxh3_64;

use crate::model::Text;

/// What answers are remembered under. Whoever finds keys that share a slot makes lookups of them slower, and nothing more.
pub(super) trait Key: Eq + Clone {
    fn hash(&self) -> u64;
}

impl Key for Text {
    fn hash(&self) -> u64 {
        xxh3_64(self.as_bytes())
    }
}

/// Where a record stands in its file.
impl Key for usize {
    fn hash(&self) -> u64 {
        xxh3_64(&self.to_le_bytes())
    }
}

impl Key for IpAddr {
    fn hash(&self) -> u64 {
        match self {
            Self::V4(v4) => xxh3_64(&v4.octets()),
            Self::V6(v6) => xxh3_64(&v6.octets()),
        }
    }
}

pub(super) struct Slots<K, V> {
    slots: Vec<Option<(K, V)>>,
}

impl<K: Key, V> Slots<K, V> {
    pub(super) fn new(count: usize) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(count.max(1), || None);
        Self { slots }
    }

    pub(super) fn clear(&mut self) {
        self.slots.fill_with(|| None);
    }

    /// The remembered answer for `key`, or the one that `answer` gives, which is then remembered.
    pub(super) fn get_or_insert(&mut self, key: &K, answer: impl FnOnce() -> V) -> &V {
        let index = self.index_of(key);
        let slot = &mut self.slots[index];
        if slot.as_ref().is_some_and(|(known, _)| known != key) {
            *slot = None;
        }
        let (_, value) = slot.get_or_insert_with(|| (key.clone(), answer()));
        value
    }

    fn index_of(&self, key: &K) -> usize {
        let slots = self.slots.len() as u64;
        usize::try_from(key.hash() % slots).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slot_still_answers_for_every_key() {
        let mut slots = Slots::new(1);
        for key in ["a", "b", "a", "a", "c"].map(Text::from) {
            assert_eq!(*slots.get_or_insert(&key, || key.clone()), key);
        }
    }

    #[test]
    fn an_answer_is_asked_for_once_until_cleared() {
        let mut slots = Slots::new(8);
        let key: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(*slots.get_or_insert(&key, || 1), 1);
        assert_eq!(*slots.get_or_insert(&key, || 2), 1);
        slots.clear();
        assert_eq!(*slots.get_or_insert(&key, || 3), 3);
    }
}
