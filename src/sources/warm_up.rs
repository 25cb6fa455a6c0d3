//! Where reading begins and where judging begins: the one rule for what is muted, for every source.
//!
//! Pure. Records between the two are read only to build state. The border is a place in the partition (an offset, a
//! byte, an id), never a time: a clock that jumps must not judge a record twice or not at all. It travels in the
//! position until reading has passed it, so that a restart in the middle of a warm-up does not judge the rest of it.

use std::time::Duration;

use crate::config::Start;
use crate::model::Timestamp;

/// From where on, in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    Beginning,
    Time(Timestamp),
    End,
}

/// The two borders as the configuration gives them, before a source has turned them into places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) read: Since,
    pub(crate) judge: Since,
}

impl Span {
    /// What `start` and `warm_up` mean for a partition that has never been read.
    pub(crate) fn fresh(start: Start, warm_up: Duration, now: Timestamp) -> Self {
        let (judge, start) = match start {
            Start::Earliest => {
                return Self {
                    read: Since::Beginning,
                    judge: Since::Beginning,
                };
            }
            Start::Latest => (Since::End, now),
            Start::At(time) => (Since::Time(time), time),
        };
        let read = match start.checked_sub(warm_up) {
            _ if warm_up.is_zero() => judge,
            Ok(time) => Since::Time(time),
            Err(_) => Since::Beginning,
        };
        Self { read, judge }
    }
}

/// The two borders as places of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan<P> {
    pub(crate) read_from: P,
    pub(crate) judge_from: P,
}

impl<P: Ord + Copy> Plan<P> {
    pub(crate) fn new(read_from: P, judge_from: P) -> Self {
        Self {
            read_from: read_from.min(judge_from),
            judge_from,
        }
    }

    pub(crate) fn mutes(&self, place: P) -> bool {
        place < self.judge_from
    }

    /// The border to store with a position, while reading has not passed it.
    pub(crate) fn border_after(&self, next: P) -> Option<P> {
        (next < self.judge_from).then_some(self.judge_from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn latest_reads_the_warm_up_and_judges_from_the_end() {
        let span = Span::fresh(Start::Latest, Duration::from_mins(1), time(1000));
        assert_eq!(span.read, Since::Time(time(940)));
        assert_eq!(span.judge, Since::End);
    }

    #[test]
    fn a_time_is_warmed_up_from_before_it() {
        let span = Span::fresh(Start::At(time(500)), Duration::from_mins(1), time(1000));
        assert_eq!(span.read, Since::Time(time(440)));
        assert_eq!(span.judge, Since::Time(time(500)));
    }

    #[test]
    fn earliest_judges_everything() {
        let span = Span::fresh(Start::Earliest, Duration::from_mins(1), time(1000));
        assert_eq!(
            (span.read, span.judge),
            (Since::Beginning, Since::Beginning)
        );
    }

    #[test]
    fn without_warm_up_nothing_is_read_that_is_not_judged() {
        let span = Span::fresh(Start::Latest, Duration::ZERO, time(1000));
        assert_eq!(span.read, span.judge);
    }

    #[test]
    fn the_border_is_stored_until_it_is_passed() {
        let plan = Plan::new(10, 20);
        assert!(plan.mutes(19));
        assert!(!plan.mutes(20));
        assert_eq!(plan.border_after(19), Some(20));
        assert_eq!(plan.border_after(20), None);
    }
}
