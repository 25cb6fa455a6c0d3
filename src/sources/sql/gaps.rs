//! Which ids of a growing column have been read, and which are still missing below the highest.
//!
//! A sequence hands out ids before their transactions commit, so a row can appear below rows that were read long ago:
//! `id > last` lost a fifth of the rows under eight writers. The tracker remembers every missing id as an open gap
//! until its row appears, or until no transaction is left that could still write it. Pure: the horizon and the time
//! come from the caller.
//!
//! A transaction draws its id from the sequence a moment before it is visible as a running transaction. So a gap first
//! waits for a grace and is only then stamped: whoever drew its ids runs below the stamp by then, or has ended. A stamp
//! at the discovery would be too low for that transaction, and its rows would be lost if it runs longer than the grace.
//! Re-reading a fixed overlap of ids was the alternative; it costs more and still loses rows.

use serde::{Deserialize, Serialize};

/// Ids `first..=last` that were missing when a higher id was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "GapForm", into = "GapForm")]
pub(super) struct Gap {
    pub(super) first: i64,
    pub(super) last: i64,
    /// Wall time at which it was found, in ms since 1970.
    since_ms: i64,
    /// Once the grace has passed: what the horizon's floor must reach before the gap may close.
    stamp: Option<i64>,
}

type GapForm = (i64, i64, i64, Option<i64>);

impl From<GapForm> for Gap {
    fn from((first, last, since_ms, stamp): GapForm) -> Self {
        Self {
            first,
            last,
            since_ms,
            stamp,
        }
    }
}

impl From<Gap> for GapForm {
    fn from(gap: Gap) -> Self {
        (gap.first, gap.last, gap.since_ms, gap.stamp)
    }
}

/// What the database says about transactions that are still running, as of the snapshot that was read.
///
/// PostgreSQL: transaction ids (`pg_snapshot_xmax`, `pg_snapshot_xmin`). MySQL: times in us (now, start of the oldest).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Horizon {
    /// Whoever runs now began below this.
    pub(super) ceiling: i64,
    /// Everything that began before this has ended and is visible.
    pub(super) floor: i64,
    /// Wall time in ms since 1970.
    pub(super) now_ms: i64,
}

/// The ids read so far: all up to `high`, but for the open gaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tracker {
    high: i64,
    /// In order of id, never overlapping, all below `high`.
    gaps: Vec<Gap>,
    /// Ids up to here are all visible or gone for good: what is missing among them is no gap. Found anew by each process.
    #[serde(skip)]
    settled: Option<i64>,
}

impl Tracker {
    /// Everything up to and including `high` counts as read.
    pub(super) fn at(high: i64) -> Self {
        Self {
            high,
            gaps: Vec::new(),
            settled: None,
        }
    }

    pub(super) fn high(&self) -> i64 {
        self.high
    }

    pub(super) fn open(&self) -> &[Gap] {
        &self.gaps
    }

    /// Whether the row of this id has been read, or been given up.
    pub(super) fn covers(&self, id: i64) -> bool {
        id <= self.high && self.gap_of(id).is_none()
    }

    /// Takes a row in; `false` when it has been taken before.
    pub(super) fn take(&mut self, id: i64, horizon: Horizon) -> bool {
        if id > self.high {
            self.advance(id, horizon);
            return true;
        }
        let Some(at) = self.gap_of(id) else {
            return false;
        };
        self.split(at, id);
        true
    }

    /// From now on missing ids up to this one are known to be gone.
    pub(super) fn settle(&mut self, id: i64) {
        self.settled = self.settled.max(Some(id));
    }

    /// Closes the gaps whose rows can no longer come. Only after they were looked for in the horizon's own snapshot.
    pub(super) fn close(&mut self, horizon: Horizon, grace_ms: i64) {
        for gap in &mut self.gaps {
            let waited_ms = horizon.now_ms.saturating_sub(gap.since_ms);
            if gap.stamp.is_none() && waited_ms >= grace_ms {
                gap.stamp = Some(horizon.ceiling);
            }
        }
        self.gaps
            .retain(|gap| gap.stamp.is_none_or(|stamp| horizon.floor < stamp));
    }

    /// Keeps at most `max` gaps by giving up those found first. Says how many ids were given up.
    pub(super) fn give_up_beyond(&mut self, max: usize) -> u64 {
        let mut given_up = 0;
        while self.gaps.len() > max {
            let oldest = (0..self.gaps.len()).min_by_key(|&at| self.gaps[at].since_ms);
            let Some(gap) = oldest.map(|at| self.gaps.remove(at)) else {
                break;
            };
            given_up += gap.last.abs_diff(gap.first) + 1;
        }
        given_up
    }

    fn advance(&mut self, id: i64, horizon: Horizon) {
        let unsettled = self.settled.map_or(i64::MIN, |settled| settled.saturating_add(1));
        let first = self.high.saturating_add(1).max(unsettled);
        if first < id {
            self.gaps.push(Gap {
                first,
                last: id - 1,
                since_ms: horizon.now_ms,
                stamp: None,
            });
        }
        self.high = id;
    }

    fn gap_of(&self, id: i64) -> Option<usize> {
        let at = self.gaps.partition_point(|gap| gap.last < id);
        (self.gaps.get(at)?.first <= id).then_some(at)
    }

    fn split(&mut self, at: usize, id: i64) {
        let gap = self.gaps.remove(at);
        let below = Gap {
            last: id - 1,
            ..gap
        };
        let above = Gap {
            first: id + 1,
            ..gap
        };
        let rest = [below, above]
            .into_iter()
            .filter(|gap| gap.first <= gap.last);
        self.gaps.splice(at..at, rest);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const GRACE_MS: i64 = 100;

    fn horizon(floor: i64, ceiling: i64, now_ms: i64) -> Horizon {
        Horizon {
            ceiling,
            floor,
            now_ms,
        }
    }

    #[test]
    fn a_row_below_the_highest_is_taken_once() {
        let mut tracker = Tracker::at(10);
        assert!(tracker.take(14, horizon(5, 9, 0)));
        assert!(!tracker.covers(12) && tracker.covers(14) && tracker.covers(3));
        assert!(tracker.take(12, horizon(5, 9, 0)));
        assert!(!tracker.take(12, horizon(5, 9, 0)));
        let open: Vec<_> = tracker
            .open()
            .iter()
            .map(|gap| (gap.first, gap.last))
            .collect();
        assert_eq!(open, [(11, 11), (13, 13)]);
    }

    #[test]
    fn a_gap_stays_open_while_its_transaction_may_run_and_within_the_grace() {
        let mut tracker = Tracker::at(0);
        tracker.take(2, horizon(5, 9, 0));
        tracker.close(horizon(9, 9, 50), GRACE_MS);
        assert_eq!(tracker.open().len(), 1, "the grace has not passed");
        tracker.close(horizon(10, 20, 5000), GRACE_MS);
        tracker.close(horizon(19, 30, 6000), GRACE_MS);
        assert_eq!(
            tracker.open().len(),
            1,
            "a transaction of before the stamp still runs"
        );
        tracker.close(horizon(20, 30, 7000), GRACE_MS);
        assert!(tracker.open().is_empty());
    }

    #[test]
    fn a_million_rolled_back_ids_are_one_gap() {
        let mut tracker = Tracker::at(0);
        tracker.take(1_000_000, horizon(1, 2, 0));
        assert_eq!(tracker.open().len(), 1);
    }

    #[test]
    fn what_is_missing_from_the_settled_past_is_no_gap() {
        let mut tracker = Tracker::at(0);
        tracker.settle(10);
        tracker.take(5, horizon(1, 2, 0));
        tracker.take(13, horizon(1, 2, 0));
        let open: Vec<_> = tracker.open().iter().map(|gap| (gap.first, gap.last)).collect();
        assert_eq!(open, [(11, 12)]);
    }

    #[test]
    fn beyond_the_bound_the_oldest_gaps_are_given_up_and_counted() {
        let mut tracker = Tracker::at(0);
        tracker.take(11, horizon(1, 2, 0));
        tracker.take(13, horizon(1, 2, 7));
        assert_eq!(tracker.give_up_beyond(1), 10);
        assert!(tracker.covers(4) && !tracker.covers(12));
    }

    #[test]
    fn the_position_is_readable_json() {
        let mut tracker = Tracker::at(3);
        tracker.take(6, horizon(1, 77, 1000));
        let text = serde_json::to_string(&tracker).unwrap();
        assert_eq!(text, r#"{"high":6,"gaps":[[4,5,1000,null]]}"#);
        assert_eq!(serde_json::from_str::<Tracker>(&text).unwrap(), tracker);
    }

    /// One step of a database under test; numbers choose among the transactions that are open.
    #[derive(Debug, Clone)]
    enum Step {
        /// Draws ids from the sequence; the transaction id comes with the next step that touches it.
        Begin(u8),
        Stamp(u8),
        Commit(u8),
        Rollback(u8),
        Poll(u8),
        /// The reader dies and goes on from the position it had stored last.
        Crash,
        Wait(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1_u8..5).prop_map(Step::Begin),
            4 => any::<u8>().prop_map(Step::Stamp),
            4 => any::<u8>().prop_map(Step::Commit),
            1 => any::<u8>().prop_map(Step::Rollback),
            4 => (1_u8..8).prop_map(Step::Poll),
            1 => Just(Step::Crash),
            2 => any::<u8>().prop_map(Step::Wait),
        ]
    }

    struct Open {
        ids: Vec<i64>,
        /// Transaction id, assigned later than the sequence values.
        xid: Option<i64>,
        began_ms: i64,
    }

    /// A database with a sequence and transaction ids, and a reader on it.
    #[derive(Default)]
    struct World {
        open: Vec<Open>,
        visible: Vec<i64>,
        next_id: i64,
        next_xid: i64,
        now_ms: i64,
        delivered: BTreeMap<i64, u32>,
    }

    impl World {
        fn horizon(&self) -> Horizon {
            let running = self.open.iter().filter_map(|open| open.xid);
            let floor = running.min().unwrap_or(self.next_xid);
            horizon(floor, self.next_xid, self.now_ms)
        }

        fn apply(&mut self, step: &Step, tracker: &mut Tracker, stored: &mut Tracker) {
            match *step {
                Step::Begin(count) => {
                    let ids = (0..i64::from(count)).map(|n| self.next_id + n).collect();
                    self.next_id += i64::from(count);
                    let began_ms = self.now_ms;
                    self.open.push(Open {
                        ids,
                        xid: None,
                        began_ms,
                    });
                }
                Step::Stamp(which) => self.stamp(which),
                Step::Commit(which) | Step::Rollback(which) if !self.open.is_empty() => {
                    let open = self.open.remove(usize::from(which) % self.open.len());
                    if matches!(step, Step::Commit(_)) {
                        self.visible.extend(open.ids);
                    }
                }
                Step::Poll(limit) => {
                    self.poll(tracker, usize::from(limit));
                    *stored = tracker.clone();
                }
                Step::Crash => *tracker = stored.clone(),
                // Sequence values wait for their transaction id less long than the grace.
                Step::Wait(ms) => {
                    self.now_ms += i64::from(ms);
                    for which in 0..self.open.len() {
                        if self.now_ms - self.open[which].began_ms >= GRACE_MS {
                            self.give_xid(which);
                        }
                    }
                }
                _ => {}
            }
        }

        fn stamp(&mut self, which: u8) {
            if !self.open.is_empty() {
                self.give_xid(usize::from(which) % self.open.len());
            }
        }

        fn give_xid(&mut self, which: usize) {
            if self.open[which].xid.is_none() {
                self.open[which].xid = Some(self.next_xid);
                self.next_xid += 1;
            }
        }

        fn poll(&mut self, tracker: &mut Tracker, limit: usize) -> usize {
            let horizon = self.horizon();
            self.visible.sort_unstable();
            let above = self.visible.iter().filter(|id| **id > tracker.high());
            let page: Vec<i64> = above.take(limit).copied().collect();
            let missing = |id: &&i64| {
                tracker
                    .open()
                    .iter()
                    .any(|gap| gap.first <= **id && **id <= gap.last)
            };
            let found: Vec<i64> = self.visible.iter().filter(missing).copied().collect();
            let read: Vec<i64> = found.into_iter().chain(page).collect();
            for id in &read {
                if tracker.take(*id, horizon) {
                    *self.delivered.entry(*id).or_default() += 1;
                }
            }
            tracker.close(horizon, GRACE_MS);
            read.len()
        }
    }

    fn assert_read_exactly_once(steps: &[Step]) {
        let mut world = World {
            next_id: 1,
            next_xid: 1,
            ..World::default()
        };
        let mut tracker = Tracker::at(0);
        let mut stored = tracker.clone();
        for step in steps {
            world.apply(step, &mut tracker, &mut stored);
        }
        for open in std::mem::take(&mut world.open) {
            world.visible.extend(open.ids);
        }
        while world.poll(&mut tracker, 5) > 0 {}
        let once: BTreeMap<i64, u32> = world.visible.iter().map(|id| (*id, 1)).collect();
        assert_eq!(world.delivered, once);
    }

    #[test]
    fn a_row_of_one_that_began_before_others_committed_is_not_given_up() {
        use Step::{Begin, Commit, Poll, Wait};
        assert_read_exactly_once(&[
            Begin(1),
            Begin(1),
            Commit(0),
            Begin(1),
            Commit(0),
            Begin(1),
            Commit(0),
            Begin(1),
            Begin(1),
            Commit(65),
            Commit(0),
            Poll(5),
            Wait(100),
            Poll(1),
        ]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]
        #[test]
        fn every_committed_row_is_read_exactly_once(steps in prop::collection::vec(step(), 1..120)) {
            assert_read_exactly_once(&steps);
        }
    }
}
