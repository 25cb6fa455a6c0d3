//! Events of one key, as far as a rule counts them: a set in order of event time, pruned and bounded.
//!
//! What says the same as another (the same value, about the same time) is kept as one entry with its first and its last
//! time, so that a client in a loop pushes nothing out. A window that ends at an event holds the value exactly if it holds
//! one of the two. Why no sketch: a person is told the number, and acts on it.

use std::collections::VecDeque;

use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::super::case::Party;
use super::super::super::short::Short as _;
use crate::model::{Text, limits};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hits {
    /// Ordered by first time, then step and values, so that equal sets are equal lists.
    hits: VecDeque<Hit>,
    /// Ordered by time, then value.
    taken_back: VecDeque<TakenBack>,
}

/// A value that does not count, whenever it came: a quarter of a hit, since a client that refreshes every few seconds has many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TakenBack {
    /// When it was last, in milliseconds of event time.
    time: i64,
    value: u64,
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
    /// Of the first.
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
/// have some hundred, all of which each event has to look through.
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
        self.forget_old(keep);
    }

    /// A value does not count, at whatever time it comes.
    pub(super) fn take_back(&mut self, value: u64, time: i64, keep: Keep) {
        let mut time = time;
        if let Some(at) = self.taken_back.iter().rposition(|it| it.value == value) {
            time = self
                .taken_back
                .remove(at)
                .map_or(time, |known| time.max(known.time));
        }
        let taken_back = TakenBack { time, value };
        let at = self.taken_back.partition_point(|it| *it < taken_back);
        self.taken_back.make_room();
        self.taken_back.insert(at, taken_back);
        self.forget_old(keep);
        if self.taken_back.len().is_multiple_of(IDLE_EVERY) {
            self.forget_idle();
        }
    }

    /// Event time of the newest, in milliseconds.
    fn newest(&self) -> i64 {
        let counted = self.hits.back().map(|h| h.first);
        let taken_back = self.taken_back.back().map(|it| it.time);
        counted.max(taken_back).unwrap_or(0)
    }

    fn forget_old(&mut self, keep: Keep) {
        let oldest = self.newest().saturating_sub(keep.age);
        let old = |h: &Hit| h.last < oldest;
        while self.hits.front().is_some_and(old) || self.hits.len() > keep.entries {
            self.hits.pop_front();
        }
        while self.taken_back.front().is_some_and(|it| it.time < oldest) {
            self.taken_back.pop_front();
        }
    }

    /// Forgets what takes back a value that is not here, and will hardly come: else every refresh of a day would stay.
    fn forget_idle(&mut self) {
        let oldest = self.newest().saturating_sub(IDLE_MS);
        let mut counted: Vec<u64> = self.hits.iter().map(|h| h.values[0]).collect();
        counted.sort_unstable();
        let is_idle = |it: &TakenBack| counted.binary_search(&it.value).is_err();
        let idle = self.taken_back.iter().filter(|it| is_idle(it)).count();
        let mut too_many = idle.saturating_sub(IDLE_MOST);
        self.taken_back.retain(|it| {
            if !is_idle(it) {
                return true;
            }
            let is_one_too_many = too_many > 0;
            too_many = too_many.saturating_sub(1);
            !is_one_too_many && it.time >= oldest
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

    /// Values that do not count. In a state of a version before they stand among the hits, with the ids of their events.
    pub(super) fn taken_back(&self) -> impl Iterator<Item = u64> {
        let among_hits = self.hits.iter().filter(|h| h.step > 0);
        let among_hits = among_hits.map(|h| h.values[0]);
        among_hits.chain(self.taken_back.iter().map(|it| it.value))
    }

    pub fn len(&self) -> usize {
        self.hits.len()
    }

    pub fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }
}

/// As hits without an event, behind the others: so they were saved when they were hits.
impl Serialize for Hits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let length = self.hits.len() + self.taken_back.len();
        let mut all = serializer.serialize_seq(Some(length))?;
        for hit in &self.hits {
            all.serialize_element(hit)?;
        }
        for taken_back in &self.taken_back {
            all.serialize_element(&Hit::from(*taken_back))?;
        }
        all.end()
    }
}

impl<'de> Deserialize<'de> for Hits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = VecDeque::<Hit>::deserialize(deserializer)?;
        let (mut hits, mut taken_back) = (VecDeque::new(), Vec::new());
        hits.reserve_exact(all.iter().filter(|hit| !hit.takes_back()).count());
        for hit in all {
            if hit.takes_back() {
                taken_back.push(TakenBack {
                    time: hit.last,
                    value: hit.values[0],
                });
            } else {
                hits.push_back(hit);
            }
        }
        taken_back.sort_unstable();
        Ok(Self {
            hits,
            taken_back: taken_back.into(),
        })
    }
}

impl From<TakenBack> for Hit {
    fn from(taken_back: TakenBack) -> Self {
        Self {
            first: taken_back.time,
            last: taken_back.time,
            values: [taken_back.value, 0],
            step: 1,
            event_id: Text::default(),
            completes: None,
        }
    }
}

impl Hit {
    /// Every event has an id.
    fn takes_back(&self) -> bool {
        self.step > 0 && self.event_id.is_empty()
    }

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
        (1..280).for_each(|n: i64| hits.take_back(n.unsigned_abs(), n * 5 * MINUTE, keep));
        let taken_back: Vec<u64> = hits.taken_back().collect();
        assert!(taken_back.len() < 2 * IDLE_EVERY, "{taken_back:?}");
        assert_eq!((hits.len(), taken_back[0]), (1, 1));
        let latest = taken_back.last();
        assert_eq!(latest, Some(&279), "what was issued may come late");
    }

    #[test]
    fn of_what_takes_nothing_back_few_stay_however_often_it_comes() {
        let keep = Keep::new(24 * 3_600_000, 30);
        let mut hits = Hits::default();
        hits.add(hit(0, 1), keep);
        (1..300).for_each(|n: i64| hits.take_back(n.unsigned_abs(), n * 6000, keep));
        let taken_back: Vec<u64> = hits.taken_back().collect();
        assert!(taken_back.len() <= IDLE_MOST + IDLE_EVERY, "{taken_back:?}");
        assert_eq!(taken_back[0], 1);
        assert_eq!(
            taken_back[taken_back.len() - 10..],
            (290..300).collect::<Vec<u64>>()
        );
    }

    #[test]
    fn a_value_that_is_taken_back_again_is_so_once_in_whatever_order_that_comes() {
        let keep = Keep::new(600_000, 10);
        let of = |all: &[(u64, i64)]| {
            let mut hits = Hits::default();
            for (value, time) in all {
                hits.take_back(*value, *time, keep);
            }
            hits
        };
        let forwards = of(&[(1, 0), (2, 500), (1, 1000)]);
        assert_eq!(forwards, of(&[(1, 1000), (2, 500), (1, 0)]));
        assert_eq!(forwards.taken_back().collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn what_was_saved_comes_back() {
        let keep = Keep::new(600_000, 10);
        let mut hits = of((0..5).map(|n| hit(n * 100_000, n.unsigned_abs())), keep);
        (3..6).for_each(|n: i64| hits.take_back(n.unsigned_abs(), n * 100_000 + 1, keep));
        let saved = postcard::to_stdvec(&hits).unwrap();
        assert_eq!(postcard::from_bytes::<Hits>(&saved).unwrap(), hits);

        // A sequence has steps too, and they count.
        let second = Hit {
            step: 1,
            ..hit(7, 7)
        };
        let steps = of([hit(1, 1), second], keep);
        let saved = postcard::to_stdvec(&steps).unwrap();
        let saved: Hits = postcard::from_bytes(&saved).unwrap();
        assert_eq!((saved.len(), saved), (2, steps));
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
