//! Leaf: the one place that reads what time it is.
//!
//! Loops at the edge (sources through their context, delivery, admin) take the time from here and hand it on as data;
//! everything below decides by the times it is given, so that replaying a log gives what the log's day gave.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::model::{Timestamp, limits};

/// Wall time.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Wall time that follows a jump of the clock only when it has lasted: for what moves the engine's time, which never goes
/// back. A time server's mistake or a machine that wakes up must not make everything that comes after it late.
pub fn steady() -> Timestamp {
    static STEADY: Mutex<Option<(Instant, Steady)>> = Mutex::new(None);
    let wall = now();
    let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
    let (origin, steady) = steady.get_or_insert_with(|| (Instant::now(), Steady::new(wall)));
    steady.time(wall, origin.elapsed())
}

/// What the wall clock showed at the origin of the monotonic one, as far as it is believed.
struct Steady {
    believed: Timestamp,
    /// Another such reading, and since when it is shown.
    doubted: Option<(Timestamp, Duration)>,
}

impl Steady {
    fn new(origin: Timestamp) -> Self {
        Self {
            believed: origin,
            doubted: None,
        }
    }

    fn time(&mut self, wall: Timestamp, elapsed: Duration) -> Timestamp {
        let Ok(origin) = wall.checked_sub(elapsed) else {
            return wall;
        };
        let near = |one: Timestamp, other: Timestamp| {
            one.duration_since(other).unsigned_abs() <= limits::CLOCK_STEP_MAX
        };
        if near(origin, self.believed) {
            (self.believed, self.doubted) = (origin, None);
            return wall;
        }
        match self.doubted {
            Some((shown, since)) if near(shown, origin) => {
                if elapsed.saturating_sub(since) >= limits::CLOCK_JUMP_LASTS {
                    (self.believed, self.doubted) = (origin, None);
                    return wall;
                }
            }
            _ => self.doubted = Some((origin, elapsed)),
        }
        self.believed.checked_add(elapsed).unwrap_or(wall)
    }
}

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    steady: Instant,
    wall: SystemTime,
}

impl Moment {
    pub fn now() -> Self {
        Self {
            steady: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// By whichever clock more has passed: one stands still while a machine sleeps, the other can be set back.
    fn elapsed(self) -> Duration {
        let by_wall = self.wall.elapsed().unwrap_or_default();
        self.steady.elapsed().max(by_wall)
    }
}

/// A right that ends by itself unless it is renewed: shared between who renews it and who asks before acting.
///
/// For good where nobody renews it, as for the only daemon that there can be.
#[derive(Debug, Clone, Default)]
pub struct Mandate(Arc<Mutex<Until>>);

#[derive(Debug, Clone, Copy, Default)]
enum Until {
    #[default]
    Forever,
    After(Moment, Duration),
    Over,
}

impl Mandate {
    /// It holds for so long from the moment on at which it was asked for.
    pub fn renew(&self, asked: Moment, lasts: Duration) {
        *self.until() = Until::After(asked, lasts);
    }

    pub fn end(&self) {
        *self.until() = Until::Over;
    }

    pub fn holds(&self) -> bool {
        let until = *self.until();
        match until {
            Until::Forever => true,
            Until::After(asked, lasts) => asked.elapsed() < lasts,
            Until::Over => false,
        }
    }

    fn until(&self) -> MutexGuard<'_, Until> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Unix time in seconds, as metrics carry it.
#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of this century fit 53 bits"
)]
pub fn seconds(time: Timestamp) -> f64 {
    time.as_microsecond() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Mandate, Moment, Steady, Timestamp, seconds};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).expect("a time")
    }

    fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_short_jump_of_the_clock_is_not_followed() {
        let mut steady = Steady::new(at(0));
        assert_eq!(steady.time(at(10), after(10)), at(10));
        assert_eq!(steady.time(at(6 * 3600), after(11)), at(11));
        assert_eq!(steady.time(at(6 * 3600 + 30), after(41)), at(41));
        assert_eq!(steady.time(at(50), after(50)), at(50));
    }

    #[test]
    fn a_lasting_one_is() {
        for jump in [6 * 3600, -3600] {
            let mut steady = Steady::new(at(0));
            for second in 10..70 {
                let expected = at(i64::try_from(second).expect("small"));
                let shown = at(i64::try_from(second).expect("small") + jump);
                assert_eq!(steady.time(shown, after(second)), expected);
            }
            assert_eq!(steady.time(at(70 + jump), after(70)), at(70 + jump));
        }
    }

    #[test]
    fn a_clock_that_is_slewed_is_followed_at_once() {
        let mut steady = Steady::new(at(0));
        for second in 1..100 {
            let shown = at(3 * i64::try_from(second).expect("small"));
            assert_eq!(steady.time(shown, after(second)), shown);
        }
    }

    #[test]
    fn a_right_ends_by_whichever_clock_says_so() {
        let mandate = Mandate::default();
        assert!(mandate.holds(), "nobody renews it");
        let now = Moment::now();
        mandate.renew(now, after(3600));
        assert!(mandate.holds());
        // A machine that slept: only the wall clock went on. One whose clock was set back: only the other did.
        let slept = Moment {
            wall: now.wall - after(3600),
            ..now
        };
        let set_back = Moment {
            steady: now.steady.checked_sub(after(5)).expect("a time"),
            wall: now.wall + after(3600),
        };
        for (asked, lasts) in [(slept, 3600), (set_back, 5)] {
            mandate.renew(asked, after(lasts));
            assert!(!mandate.holds(), "{asked:?}");
        }
        mandate.renew(set_back, after(3600));
        assert!(mandate.holds());
        mandate.end();
        assert!(!mandate.holds());
    }

    #[test]
    fn keeps_fractions_of_a_second() {
        let time = "2026-11-20T10:20:00.25Z".parse().expect("a time");
        assert!((seconds(time) - 1_795_170_000.25).abs() < 1e-6);
    }
}
