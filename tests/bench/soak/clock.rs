//! What time the writers say it is: two hours are lived in minutes, then it is the time of the world.

use std::time::{Duration, Instant};

use tokenwarden::model::Timestamp;

/// So long reaches back what is remembered by time at most and can be full for one who is always there: a user's 24 sightings, five
/// minutes apart, and the 64 minutes in which refreshes are counted.
pub(super) const LIVED: Duration = Duration::from_hours(2);
/// ... which takes so long.
pub(super) const LIVED_IN: Duration = Duration::from_mins(12);

#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    begun: Instant,
    first: Timestamp,
}

impl Clock {
    /// From now on; meets the time of the world when the hours have been lived.
    pub(super) fn start() -> Self {
        Self {
            begun: Instant::now(),
            first: Timestamp::now() + LIVED_IN - LIVED,
        }
    }

    /// When it begins.
    pub(super) const fn first(&self) -> Timestamp {
        self.first
    }

    pub(super) fn now(&self) -> Timestamp {
        let elapsed = self.begun.elapsed();
        let faster = LIVED.as_secs_f64() / LIVED_IN.as_secs_f64();
        self.first + elapsed.min(LIVED_IN).mul_f64(faster) + elapsed.saturating_sub(LIVED_IN)
    }
}
