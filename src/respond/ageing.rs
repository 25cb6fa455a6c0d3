//! A map that knows which entry has been longest without news.
//!
//! A broken client makes findings by the hundred thousand. Each may look at what has its turn to go, never at all there is.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ageing<K, V> {
    /// With the event time of the newest news.
    entries: BTreeMap<K, (i64, V)>,
    /// The same keys by that time.
    by_time: BTreeSet<(i64, K)>,
}

impl<K: Ord + Clone, V> Ageing<K, V> {
    /// The entry of a key, made if there is none. News that come late make no entry older.
    pub(super) fn touch(&mut self, key: &K, time: i64, make: impl FnOnce() -> V) -> &mut V {
        match self.entries.entry(key.clone()) {
            Entry::Vacant(vacant) => {
                self.by_time.insert((time, key.clone()));
                &mut vacant.insert((time, make())).1
            }
            Entry::Occupied(occupied) => {
                let (newest, value) = occupied.into_mut();
                if time > *newest {
                    self.by_time.remove(&(*newest, key.clone()));
                    self.by_time.insert((time, key.clone()));
                    *newest = time;
                }
                value
            }
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Changed without being news.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<(i64, V)> {
        let (newest, value) = self.entries.remove(key)?;
        self.by_time.remove(&(newest, key.clone()));
        Some((newest, value))
    }

    /// Changes all of them; none of it is news.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut().map(|(_, value)| value)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| keep(key));
        self.by_time.retain(|(_, key)| keep(key));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes out the entry longest without news.
    pub(super) fn pop_oldest(&mut self) -> Option<(K, i64, V)> {
        self.pop_until(i64::MAX)
    }

    /// The same, if it has been without news since `time`.
    pub(super) fn pop_until(&mut self, time: i64) -> Option<(K, i64, V)> {
        if self.by_time.first()?.0 > time {
            return None;
        }
        let (newest, key) = self.by_time.pop_first()?;
        let (_, value) = self.entries.remove(&key)?;
        Some((key, newest, value))
    }
}

impl<K, V> Default for Ageing<K, V> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            by_time: BTreeSet::new(),
        }
    }
}

/// A list, because keys may be no text; the order of time follows from it.
impl<K: Serialize, V: Serialize> Serialize for Ageing<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.entries
                .iter()
                .map(|(key, (time, value))| (key, time, value)),
        )
    }
}

impl<'de, K: Deserialize<'de> + Ord + Clone, V: Deserialize<'de>> Deserialize<'de>
    for Ageing<K, V>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut ageing = Self::default();
        for (key, time, value) in Vec::<(K, i64, V)>::deserialize(deserializer)? {
            ageing.touch(&key, time, || value);
        }
        Ok(ageing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ageing: &mut Ageing<&'static str, u8>, until: i64) -> Vec<&'static str> {
        std::iter::from_fn(|| ageing.pop_until(until).map(|(key, _, _)| key)).collect()
    }

    #[test]
    fn what_has_been_longest_without_news_goes_first_whatever_its_name() {
        let mut ageing = Ageing::default();
        for (key, time) in [("z", 1), ("a", 3), ("m", 2), ("z", 5), ("z", 4)] {
            *ageing.touch(&key, time, || 0) += 1;
        }
        assert_eq!((ageing.len(), ageing.get(&"z")), (3, Some(&3)));
        assert_eq!(keys(&mut ageing, 2), ["m"]);
        assert_eq!(ageing.pop_oldest(), Some(("a", 3, 1)));
        assert_eq!(keys(&mut ageing, 4), [""; 0], "z was seen at 5");
        assert_eq!(keys(&mut ageing, 5), ["z"]);
        assert_eq!((ageing.len(), ageing.by_time.len()), (0, 0));
    }

    #[test]
    fn it_is_written_and_read_back_with_its_order() {
        let mut ageing: Ageing<String, u8> = Ageing::default();
        for (key, time) in [("z", 1), ("a", 3), ("m", 2)] {
            ageing.touch(&key.to_owned(), time, || 7);
        }
        let written = serde_json::to_vec(&ageing).unwrap();
        assert_eq!(
            serde_json::from_slice::<Ageing<String, u8>>(&written).unwrap(),
            ageing
        );
    }
}
