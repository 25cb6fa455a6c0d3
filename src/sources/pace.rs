//! When an idle partition says so: at once after its end has been reached, then every `limits::TICK_EVERY`.
//!
//! Pure: the caller reads the clock. A tick lets engine time move while nothing happens, so it must be true: a source
//! asks for one only when it has just seen that nothing is waiting.

use crate::model::{Timestamp, limits};

#[derive(Debug, Default)]
pub(crate) struct Pace {
    ticked_at: Option<Timestamp>,
}

impl Pace {
    /// Records came: the next end is news.
    pub(crate) fn read_something(&mut self) {
        self.ticked_at = None;
    }

    /// The end has been seen at `now`: is it time to say so?
    pub(crate) fn at_end(&mut self, now: Timestamp) -> bool {
        let due = match self.ticked_at {
            None => true,
            // A clock set back must not silence the ticks until it has caught up.
            Some(last) if now < last => true,
            Some(last) => now.duration_since(last).unsigned_abs() >= limits::TICK_EVERY,
        };
        if due {
            self.ticked_at = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(millisecond).unwrap()
    }

    #[test]
    fn ticks_at_once_and_then_at_its_pace() {
        let mut pace = Pace::default();
        let ticks: Vec<i64> = (0..1200)
            .step_by(100)
            .filter(|now| pace.at_end(at(*now)))
            .collect();
        assert_eq!(ticks, [0, 500, 1000]);
    }

    #[test]
    fn records_make_the_next_end_news() {
        let mut pace = Pace::default();
        assert!(pace.at_end(at(0)));
        pace.read_something();
        assert!(pace.at_end(at(1)));
    }

    #[test]
    fn a_clock_set_back_does_not_silence_it() {
        let mut pace = Pace::default();
        assert!(pace.at_end(at(10_000)));
        assert!(pace.at_end(at(5_000)));
        assert!(!pace.at_end(at(5_100)));
    }
}
