//! Repeats of an `event_id` are ignored: two generations of hashes, turned by event time and by number.
//!
//! Beyond this memory a repeat is recognised by the use that the lineage remembers.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use serde::{Deserialize, Serialize};

use super::digest;
use super::table::KeyHasher;
use crate::model::limits;

type Set = HashSet<u64, BuildHasherDefault<KeyHasher>>;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Repeats {
    current: Set,
    previous: Set,
    turned_at: i64,
}

impl Repeats {
    pub(super) fn len(&self) -> usize {
        self.current.len() + self.previous.len()
    }

    /// In which generation an id stands is a matter of when they turned.
    pub(super) fn digest(&self) -> u128 {
        digest::of_all(self.current.union(&self.previous))
    }

    /// Whether the event is new; remembers it. `now` is engine time.
    pub(super) fn is_new(&mut self, key: u64, now: i64) -> bool {
        if self.previous.contains(&key) || !self.current.insert(key) {
            return false;
        }
        let turn_ms = i64::try_from(limits::REPEATS_TURN.as_millis()).unwrap_or(i64::MAX);
        if now.saturating_sub(self.turned_at) > turn_ms || self.current.len() >= limits::REPEATS_MAX
        {
            self.previous = std::mem::take(&mut self.current);
            self.turned_at = now;
        }
        true
    }
}
