//! A small memory of recent answers that can neither grow nor change a result.
//!
//! Direct-mapped: each key has one slot, a newcomer takes the slot over. Hot keys repeat so often that nothing cleverer
//! pays (a lookup in the GeoIP tables costs a few hundred nanoseconds), and nothing ever stops to be rebuilt.

use std::hash::{DefaultHasher, Hash, Hasher};

pub(super) struct Slots<K, V> {
    slots: Vec<Option<(K, V)>>,
}

impl<K: Hash + Eq + Clone, V> Slots<K, V> {
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
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let slots = self.slots.len() as u64;
        usize::try_from(hasher.finish() % slots).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slot_still_answers_for_every_key() {
        let mut slots = Slots::new(1);
        for key in [1_u32, 2, 1, 1, 3] {
            assert_eq!(*slots.get_or_insert(&key, || key * 10), key * 10);
        }
    }

    #[test]
    fn an_answer_is_asked_for_once_until_cleared() {
        let mut slots = Slots::new(8);
        assert_eq!(*slots.get_or_insert(&"key", || 1), 1);
        assert_eq!(*slots.get_or_insert(&"key", || 2), 1);
        slots.clear();
        assert_eq!(*slots.get_or_insert(&"key", || 3), 3);
    }
}
