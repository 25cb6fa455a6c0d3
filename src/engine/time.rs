//! Engine time: the lowest watermark of the partitions.
//!
//! A partition's watermark is the newest event time it has delivered, or the wall time at which it was read to its end.
//! What cannot be read, or has ended, does not hold time back. Time never runs backwards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::limits;

/// No event is taken that is further ahead of its arrival than half of this (`limits::FUTURE_MAX`): a watermark that is was
/// set by a clock that has been corrected since.
const CLOCK_CORRECTED_MS: i64 = 600_000;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct EngineTime {
    partitions: BTreeMap<u32, Watermark>,
    now: Option<i64>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Watermark {
    newest: Option<i64>,
    /// A jump that a second event must confirm, where there is no arrival time to check it against.
    jump: Option<i64>,
    ended: bool,
}

impl EngineTime {
    /// Milliseconds since 1970; `None` before anything was seen.
    pub(super) fn now(&self) -> Option<i64> {
        self.now
    }

    /// An event was delivered. `arrived` is false where events have no arrival time (`replay`).
    pub(super) fn event(&mut self, partition: u32, time: i64, arrived: bool) {
        let watermark = self.partitions.entry(partition).or_default();
        let is_ahead = !watermark.ended && watermark.newest > self.now;
        watermark.ended = false;
        if arrived {
            watermark.newest = Some(watermark.newest.map_or(time, |newest| newest.max(time)));
        } else {
            watermark.confirmed(time);
        }
        // One that was ahead of the others has not held time back: of many partitions nearly all are not asked.
        if !is_ahead {
            self.settle();
        }
    }

    pub(super) fn tick(&mut self, partition: u32, time: i64) {
        let watermark = self.partitions.entry(partition).or_default();
        watermark.ended = false;
        let clock_was_ahead = |newest: i64| newest > time.saturating_add(CLOCK_CORRECTED_MS);
        watermark.newest = Some(match watermark.newest {
            Some(newest) if !clock_was_ahead(newest) => newest.max(time),
            _ => time,
        });
        self.settle();
    }

    /// The newest that the partition itself has told.
    pub(super) fn watermark(&self, partition: u32) -> Option<i64> {
        self.partitions.get(&partition)?.newest
    }

    /// The partition is going to be read: it holds time back from now on, also before its first event.
    pub(super) fn expected(&mut self, partition: u32) {
        self.partitions.entry(partition).or_default().ended = false;
        self.settle();
    }

    /// No partition is read any more, and time stands until one is: after a restart nobody knows which will be.
    pub(super) fn none_expected(&mut self) {
        self.partitions.values_mut().for_each(|w| w.ended = true);
    }

    /// The partition no longer holds time back. When all have ended, time is at its end.
    pub(super) fn ended(&mut self, partition: u32) {
        self.partitions.entry(partition).or_default().ended = true;
        self.settle();
    }

    fn settle(&mut self) {
        let mut open = self.partitions.values().filter(|w| !w.ended).peekable();
        let lowest = if open.peek().is_none() {
            Some(i64::MAX)
        } else {
            open.map(|w| w.newest).min().flatten()
        };
        self.now = match (self.now, lowest) {
            // All ended, and then one came back: time goes on from what is known.
            (Some(i64::MAX), Some(lowest)) => Some(lowest),
            (Some(now), Some(lowest)) => Some(now.max(lowest)),
            (now, lowest) => lowest.or(now),
        };
    }
}

impl Watermark {
    fn confirmed(&mut self, time: i64) {
        let jump_max = i64::try_from(limits::REPLAY_JUMP_MAX.as_millis()).unwrap_or(i64::MAX);
        match (self.newest, self.jump) {
            (Some(newest), None) if time <= newest + jump_max => {
                self.newest = Some(newest.max(time));
            }
            (_, None) => self.jump = Some(time),
            (newest, Some(jump)) => {
                if newest.is_some_and(|newest| time <= newest + jump_max) {
                    // The jump stands alone so far: it is not believed, and time goes on.
                    self.newest = newest.map(|newest| newest.max(time));
                } else {
                    let (low, high) = (jump.min(time), jump.max(time));
                    self.newest = Some(if high - low <= jump_max { high } else { low });
                    self.jump = (high - low > jump_max).then_some(high);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn the_slowest_partition_holds_time_until_it_ends() {
        let mut time = EngineTime::default();
        time.event(0, 1000, true);
        assert_eq!(time.now(), Some(1000));
        time.event(1, 500, true);
        time.event(0, 3000, true);
        assert_eq!(time.now(), Some(1000));
        time.event(1, 2000, true);
        assert_eq!(time.now(), Some(2000));
        time.ended(1);
        assert_eq!(time.now(), Some(3000));
        time.ended(0);
        assert_eq!(time.now(), Some(i64::MAX));
    }

    #[test]
    fn what_has_not_been_read_yet_holds_time_back() {
        let mut time = EngineTime::default();
        time.expected(1);
        time.tick(0, 9000);
        assert_eq!(time.now(), None);
        time.event(1, 500, true);
        assert_eq!(time.now(), Some(500));
    }

    #[test]
    fn after_a_restart_only_what_is_read_again_holds_time_back() {
        let mut time = EngineTime::default();
        for (partition, at) in [(0, 1000), (1, 3000), (2, 500)] {
            time.event(partition, at, true);
        }
        time.none_expected();
        time.expected(0);
        time.expected(1);
        assert_eq!(time.now(), Some(1000), "partition 2 is read no more");
        time.event(0, 2000, true);
        assert_eq!(time.now(), Some(2000));
    }

    #[test]
    fn a_corrected_clock_sets_the_partition_right_and_time_still_never_runs_backwards() {
        let mut time = EngineTime::default();
        time.tick(0, 6 * HOUR);
        time.tick(0, 6 * HOUR - 60_000);
        assert_eq!(time.watermark(0), Some(6 * HOUR));
        time.tick(0, HOUR);
        assert_eq!(time.watermark(0), Some(HOUR));
        assert_eq!(time.now(), Some(6 * HOUR));
    }

    #[test]
    fn one_event_from_the_future_does_not_move_a_replay() {
        let mut time = EngineTime::default();
        for t in [0, 10, 900 * HOUR, 20] {
            time.event(0, t, false);
        }
        assert_eq!(time.now(), Some(20));
    }

    #[test]
    fn a_pause_in_a_replay_is_believed_with_the_second_event() {
        let mut time = EngineTime::default();
        for t in [0, 10, 5 * HOUR] {
            time.event(0, t, false);
        }
        assert_eq!(time.now(), Some(10));
        time.event(0, 5 * HOUR + 7, false);
        assert_eq!(time.now(), Some(5 * HOUR + 7));
    }
}
