//! Leaf: the one place that reads what time it is.
//!
//! Loops at the edge (sources through their context, delivery, admin) take the time from here and hand it on as data;
//! everything below decides by the times it is given, so that replaying a log gives what the log's day gave.

use crate::model::Timestamp;

/// Wall time.
pub fn now() -> Timestamp {
    Timestamp::now()
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
    use super::seconds;

    #[test]
    fn keeps_fractions_of_a_second() {
        let time = "2026-11-20T10:20:00.25Z".parse().expect("a time");
        assert!((seconds(time) - 1_795_170_000.25).abs() < 1e-6);
    }
}
