//! When a failed action is tried again, and when it is given up. Pure: the time is an argument.
//!
//! Full jitter (a delay anywhere between nothing and the bound) spreads best what failed together. It comes from a hash
//! of the action and the try instead of a random number, so that a schedule can be told in advance and tested.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::model::Timestamp;
use crate::model::limits::{ACTION_RETRY_FIRST, ACTION_RETRY_MAX, ATTEMPTS_MAX, RETRY_AFTER_MAX};

/// What is known of an action after a failed try.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    pub action_id: &'a str,
    /// Tries so far, this one among them.
    pub attempts: u32,
    /// What the server asked for.
    pub asked: Option<Duration>,
    /// Since when the action could have been performed.
    pub ready_since: Timestamp,
    /// How long it is tried.
    pub deadline: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    RetryAt(Timestamp),
    GiveUp(Reason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The next try would come after the deadline.
    Deadline,
    Attempts,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Deadline => "its time was over",
            Self::Attempts => "it had been tried too often",
        })
    }
}

/// When to try again.
pub fn after(failure: &Failure<'_>, now: Timestamp) -> Next {
    if failure.attempts >= ATTEMPTS_MAX {
        return Next::GiveUp(Reason::Attempts);
    }
    let asked = failure.asked.unwrap_or_default().min(RETRY_AFTER_MAX);
    let delay = jittered(failure.action_id, failure.attempts).max(asked);
    // A time beyond the calendar is beyond every deadline.
    let last = failure
        .ready_since
        .checked_add(failure.deadline)
        .unwrap_or(Timestamp::MAX);
    match now.checked_add(delay) {
        Ok(due) if due <= last => Next::RetryAt(due),
        _ => Next::GiveUp(Reason::Deadline),
    }
}

/// Somewhere between nothing and the bound of this try.
fn jittered(action_id: &str, attempts: u32) -> Duration {
    let bound = bound(attempts);
    let hash = xxh3_64(format!("{action_id} {attempts}").as_bytes());
    // 16 bits are finer than any clock here.
    let part = u32::from(u16::try_from(hash >> 48).unwrap_or(u16::MAX));
    bound * part / u32::from(u16::MAX)
}

fn bound(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    ACTION_RETRY_FIRST
        .saturating_mul(1 << doublings)
        .min(ACTION_RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn failure(attempts: u32) -> Failure<'static> {
        Failure {
            action_id: "a",
            attempts,
            asked: None,
            ready_since: START,
            deadline: Duration::from_mins(15),
        }
    }

    #[test]
    fn bounds_double_up_to_five_minutes() {
        let seconds: Vec<f64> = [1, 2, 3, 10, 11, 400]
            .map(|attempts| bound(attempts).as_secs_f64())
            .to_vec();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 256.0, 300.0, 300.0]);
    }

    #[test]
    fn delays_spread_over_the_whole_bound_and_are_the_same_each_time() {
        let delays: Vec<Duration> = (0..200)
            .map(|n| jittered(&format!("action {n}"), 4))
            .collect();
        assert!(delays.iter().all(|delay| *delay <= bound(4)));
        assert!(delays.iter().any(|delay| *delay < bound(4) / 10));
        assert!(delays.iter().any(|delay| *delay > bound(4) * 9 / 10));
        assert_eq!(jittered("action 7", 4), delays[7]);
        assert_ne!(
            jittered("action 7", 5) / 2,
            delays[7],
            "each try has a jitter of its own"
        );
    }

    #[test]
    fn never_comes_before_the_server_asked() {
        let asked = Failure {
            asked: Some(Duration::from_mins(2)),
            ..failure(1)
        };
        assert_eq!(
            after(&asked, START),
            Next::RetryAt(START + Duration::from_mins(2))
        );
    }

    #[test]
    fn a_server_cannot_put_an_action_off_for_days() {
        let asked = Failure {
            asked: Some(Duration::from_hours(48)),
            deadline: Duration::from_hours(24),
            ..failure(1)
        };
        assert_eq!(after(&asked, START), Next::RetryAt(START + RETRY_AFTER_MAX));
    }

    #[test]
    fn gives_up_at_the_deadline_and_not_before() {
        let (mut now, mut attempts) = (START, 1);
        let end = loop {
            match after(&failure(attempts), now) {
                Next::RetryAt(due) => (now, attempts) = (due, attempts + 1),
                Next::GiveUp(reason) => break reason,
            }
        };
        assert_eq!(end, Reason::Deadline);
        assert!(
            now > START + Duration::from_mins(9) && now <= START + Duration::from_mins(15),
            "{now}"
        );
        assert!(attempts > 8, "{attempts}");
    }

    #[test]
    fn gives_up_what_kills_its_process_each_time() {
        let endless = Failure {
            deadline: Duration::from_hours(24_000),
            ..failure(ATTEMPTS_MAX)
        };
        assert_eq!(after(&endless, START), Next::GiveUp(Reason::Attempts));
    }
}
