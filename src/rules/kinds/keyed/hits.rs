//! Events of one key, as far as a rule counts them: a set in order of event time, pruned and bounded.
//!
//! What says the same as another (the same value, about the same time) is kept as one entry with its first and its last
//! time, so that a client in a loop pushes nothing out. A window that ends at an event holds the value exactly if it holds
//! one of the two. Why no sketch: a person is told the number, and acts on it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::super::super::case::Party;
use super::super::super::short::Short as _;
use crate::model::{Text, limits};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hits {
    /// Ordered by first time, then step and values, so that equal sets are equal lists.
    hits: VecDeque<Hit>,
}

/// One value about one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Hit {
    /// Event time in milliseconds.
    pub(super) first: i64,
    pub(super) last: i64,
    /// Hashes of what is counted.
    pub(super) values: [u64; 2],
    pub(super) step: u8,
    /// Of the first; empty of what takes a value back, which no finding names.
    pub(super) event_id: Text,
    pub(super) completes: Option<Box<Completion>>,
}

/// Who completed a sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    pub(super) party: Party,
    /// Another key, device or kind of client than those known of the family, and let in.
    pub(super) foreign: bool,
    pub(super) presenter: std::sync::Arc<super::super::super::context::Context>,
}

/// How a rule wants its events kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    /// Equal values within so many milliseconds are one entry.
    pub(super) grain: i64,
    /// Older than this beside the newest are of no use.
    pub(super) age: i64,
    pub(super) entries: usize,
}

impl Keep {
    /// For windows of this length that hold up to so many values.
    pub(super) fn new(within: i64, values: u32) -> Self {
        const PARTS: u16 = 8;
        // Each value can stand in every part of the window, and in what comes late.
        let entries = (values as usize + 1).saturating_mul(usize::from(PARTS) + 4);
        Self {
            grain: (within / i64::from(PARTS)).max(1),
            age: within.saturating_add(lateness_ms().saturating_mul(2)),
            entries: entries.clamp(64, limits::KEYED_HITS_MAX),
        }
    }
}

/// How many entries may gather before those that are of no use are looked for.
const IDLE_EVERY: usize = 8;
/// What takes a value back waits so long for the value: another partition, which has it, may lag behind by more than an
/// event may be late.
const IDLE_MS: i64 = 30 * 60 * 1000;
/// And no more of them than these, far more than a client refreshes in that time: one that does so every few seconds would
/// have some hundred, 20 KB of each user, all of which each event has to look through.
const IDLE_MOST: usize = 16;

/// How late an event may come and still count.
pub(super) fn lateness_ms() -> i64 {
    i64::try_from(limits::LATENESS_DEFAULT.as_millis()).unwrap_or(i64::MAX)
}

impl Hits {
    pub(super) fn add(&mut self, mut hit: Hit, keep: Keep) {
        let same = self.same_about(&hit, keep.grain);
        match same.and_then(|at| Some((at, self.hits.get_mut(at)?))) {
            // In its place already: the ordinary case.
            Some((_, known)) if known.first <= hit.first => known.last = known.last.max(hit.last),
            Some((at, known)) => {
                hit.last = hit.last.max(known.last);
                self.hits.remove(at);
                self.file(hit);
            }
            None => self.file(hit),
        }
        let newest = self.hits.back().map_or(0, |h| h.first);
        let old = |h: &Hit| h.last < newest.saturating_sub(keep.age);
        while self.hits.front().is_some_and(old) || self.hits.len() > keep.entries {
            self.hits.pop_front();
        }
    }

    /// Adds what takes a value back.
    pub(super) fn take_back(&mut self, hit: Hit, keep: Keep) {
        self.add(hit, keep);
        if self.hits.len().is_multiple_of(IDLE_EVERY) {
            self.forget_idle();
        }
    }

    /// Forgets what takes back a value that is not here, and will hardly come: else every refresh of a day would stay,
    /// 20 KB of each user, and push out what is counted.
    fn forget_idle(&mut self) {
        let newest = self.hits.back().map_or(0, |h| h.first);
        let counted = self.hits.iter().filter(|h| h.step == 0);
        let mut counted: Vec<u64> = counted.map(|h| h.values[0]).collect();
        counted.sort_unstable();
        let is_idle = |h: &Hit| h.step != 0 && counted.binary_search(&h.values[0]).is_err();
        let idle = self.hits.iter().filter(|h| is_idle(h)).count();
        let mut too_many = idle.saturating_sub(IDLE_MOST);
        self.hits.retain(|h| {
            if !is_idle(h) {
                return true;
            }
            let is_one_too_many = too_many > 0;
            too_many = too_many.saturating_sub(1);
            !is_one_too_many && h.last >= newest.saturating_sub(IDLE_MS)
        });
    }

    fn file(&mut self, hit: Hit) {
        let order = |h: &Hit| (h.first, h.step, h.values);
        let at = self.place_after(|h| order(h) < order(&hit));
        self.hits.make_room();
        self.hits.insert(at, hit);
    }

    /// Behind all of which this is true, as it is of the first ones. Most events come behind all others.
    fn place_after(&self, is_before: impl Fn(&Hit) -> bool) -> usize {
        if self.hits.back().is_none_or(&is_before) {
            return self.hits.len();
        }
        self.hits.partition_point(is_before)
    }

    fn same_about(&self, hit: &Hit, grain: i64) -> Option<usize> {
        let from = hit.first.div_euclid(grain) * grain;
        let start = self.place_after(|h| h.first < from);
        let same = |h: &Hit| {
            h.values == hit.values
                && h.step == hit.step
                && h.completes.is_none()
                && hit.completes.is_none()
        };
        let about = self
            .hits
            .range(start..)
            .take_while(|h| h.first < from.saturating_add(grain));
        about
            .enumerate()
            .find(|(_, h)| same(h))
            .map(|(i, _)| start + i)
    }

    /// Forgets what was completed by somebody: only there it is said who.
    pub fn forget(&mut self, is_theirs: impl Fn(&Party) -> bool) {
        self.hits.retain(|hit| {
            let completion = hit.completes.as_ref();
            completion.is_none_or(|it| !is_theirs(&it.party))
        });
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Hit> {
        self.hits.iter()
    }

    pub fn len(&self) -> usize {
        self.hits.len()
    }

    pub fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }
}

impl Hit {
    /// Whether the value was there in the window after `from`, up to `to`.
    pub(super) const fn is_within(&self, from: i64, to: i64) -> bool {
        (self.first > from && self.first <= to) || (self.last > from && self.last <= to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(time: i64, value: u64) -> Hit {
        Hit {
            first: time,
            last: time,
            values: [value, 0],
            step: 0,
            event_id: format!("e{time}").into(),
            completes: None,
        }
    }

    fn of(hits: impl IntoIterator<Item = Hit>, keep: Keep) -> Hits {
        let mut all = Hits::default();
        for hit in hits {
            all.add(hit, keep);
        }
        all
    }

    #[test]
    fn a_loop_over_one_value_stays_small_and_the_order_of_arrival_does_not_matter() {
        let keep = Keep::new(80_000, 5);
        let all: Vec<Hit> = (0..5000)
            .map(|n| hit(n * 10, 1 + u64::from(n % 100 == 0)))
            .collect();
        let forwards = of(all.clone(), keep);
        let backwards = of(all.into_iter().rev(), keep);
        assert_eq!(forwards, backwards);
        assert!(forwards.len() <= 12, "{}", forwards.len());
    }

    #[test]
    fn what_takes_nothing_back_goes_and_what_takes_something_back_stays() {
        const MINUTE: i64 = 60_000;
        let keep = Keep::new(24 * 60 * MINUTE, 30);
        let mut hits = Hits::default();
        hits.add(hit(0, 1), keep);
        let used = |n: i64| Hit {
            step: 1,
            ..hit(n * 5 * MINUTE, n.unsigned_abs())
        };
        (1..280).for_each(|n| hits.take_back(used(n), keep));
        assert!(hits.len() < 2 * IDLE_EVERY, "{}", hits.len());
        let of_counted = hits.iter().filter(|h| h.values == [1, 0]);
        assert_eq!(of_counted.count(), 2);
        let latest = hits.iter().next_back().map(|h| h.values[0]);
        assert_eq!(latest, Some(279), "what was issued may come late");
    }

    #[test]
    fn of_what_takes_nothing_back_few_stay_however_often_it_comes() {
        let keep = Keep::new(24 * 3_600_000, 30);
        let mut hits = Hits::default();
        hits.add(hit(0, 1), keep);
        for n in 1..300 {
            let used = Hit {
                step: 1,
                ..hit(n * 6000, n.unsigned_abs())
            };
            hits.take_back(used, keep);
        }
        let most = IDLE_MOST + IDLE_EVERY + 2;
        assert!(hits.len() <= most, "{}", hits.len());
        assert_eq!(hits.iter().filter(|h| h.values == [1, 0]).count(), 2);
        let newest: Vec<u64> = hits.iter().rev().map(|h| h.values[0]).take(10).collect();
        assert_eq!(newest, (290..300).rev().collect::<Vec<u64>>());
    }

    #[test]
    fn memory_is_bounded_and_what_is_old_goes() {
        let keep = Keep::new(60_000, 5);
        let many = of((0..10_000).map(|n| hit(n, n.unsigned_abs())), keep);
        assert_eq!(many.len(), keep.entries);
        let old = of([hit(0, 1), hit(10 * keep.age, 2)], keep);
        assert_eq!(old.len(), 1);
    }
}
