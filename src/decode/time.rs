//! Reads event times: RFC 3339, Unix numbers told apart by magnitude, and the zoneless times of logs and tables.
//!
//! Everything before 1970 is refused: it is a broken clock or another unit, and would hold event time back for ever.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::model::Timestamp;

/// The zone of an IANA name; none named is UTC.
pub(super) fn zone(name: Option<&str>) -> Result<TimeZone, String> {
    let Some(name) = name else {
        return Ok(TimeZone::UTC);
    };
    TimeZone::get(name).map_err(|_| {
        format!("unknown time zone `{name}`, expected an IANA name such as `Europe/Berlin`")
    })
}

/// RFC 3339 with its offset.
pub(super) fn rfc3339(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(is_sane)
}

/// A date and time without an offset, `2026-11-21 05:06:40,683`, read in a zone. In the hour that a change of clocks
/// repeats, the first reading is taken.
pub(super) fn zoneless(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let civil: DateTime = text.replace(',', ".").parse().ok()?;
    let time = zone.to_ambiguous_timestamp(civil).compatible().ok()?;
    Some(time).filter(is_sane)
}

/// A Unix time in whole seconds, milliseconds, microseconds or nanoseconds.
///
/// The bounds are 10^11, 10^14 and 10^17: seconds until the year 5138, milliseconds from March 1973 until then, and so on.
pub(super) fn unix_integer(number: i64) -> Option<Timestamp> {
    let time = match number {
        ..0 => return None,
        0..SECONDS_END => Timestamp::from_second(number),
        SECONDS_END..MILLISECONDS_END => Timestamp::from_millisecond(number),
        MILLISECONDS_END..MICROSECONDS_END => Timestamp::from_microsecond(number),
        MICROSECONDS_END.. => Timestamp::from_nanosecond(i128::from(number)),
    };
    time.ok()
}

/// The same with a fraction. A double carries about 16 digits: microseconds of a time in seconds survive.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "bounded by the comparisons; the fraction is cut to what the number carries"
)]
pub(super) fn unix_number(number: f64) -> Option<Timestamp> {
    if !(0.0..=MAX_NANOSECONDS).contains(&number) {
        return None;
    }
    let nanoseconds_per_unit: i64 = if number < SECONDS_END as f64 {
        1_000_000_000
    } else if number < MILLISECONDS_END as f64 {
        1_000_000
    } else if number < MICROSECONDS_END as f64 {
        1_000
    } else {
        1
    };
    let whole = number.trunc() as i128;
    // Rounded to microseconds of the unit: 0.123 must not become 0.122999907.
    let millionths = (number.fract() * 1_000_000.0).round() as i128;
    let unit = i128::from(nanoseconds_per_unit);
    Timestamp::from_nanosecond(whole * unit + millionths * unit / 1_000_000).ok()
}

const SECONDS_END: i64 = 100_000_000_000;
const MILLISECONDS_END: i64 = 100_000_000_000_000;
const MICROSECONDS_END: i64 = 100_000_000_000_000_000;
/// The year 2262; beyond it nanoseconds do not fit the integers of most producers either.
const MAX_NANOSECONDS: f64 = 9.2e18;

fn is_sane(time: &Timestamp) -> bool {
    *time >= Timestamp::UNIX_EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_told_apart_by_magnitude() {
        let expected: Timestamp = "2026-11-21T05:07:23Z".parse().unwrap();
        let seconds = expected.as_second();
        for number in [
            seconds,
            seconds * 1_000,
            seconds * 1_000_000,
            seconds * 1_000_000_000,
        ] {
            assert_eq!(unix_integer(number), Some(expected), "{number}");
        }
        assert_eq!(unix_integer(-1), None);
    }

    #[test]
    fn fractions_survive() {
        let expected: Timestamp = "2026-11-21T05:07:23.521Z".parse().unwrap();
        assert_eq!(unix_number(1_795_237_643.521), Some(expected));
        assert_eq!(unix_number(1_795_237_643_521.0), Some(expected));
        let finer: Timestamp = "2026-11-21T05:07:23.5215Z".parse().unwrap();
        assert_eq!(unix_number(1_795_237_643_521.5), Some(finer));
        for bad in [-0.5, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(unix_number(bad), None, "{bad}");
        }
    }

    #[test]
    fn zoneless_times_are_read_in_the_zone_given() {
        let line = "2026-11-21 05:06:40,683";
        let utc = zoneless(line, &TimeZone::UTC).unwrap();
        assert_eq!(utc.to_string(), "2026-11-21T05:06:40.683Z");
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let there = zoneless(line, &berlin).unwrap();
        assert_eq!(there.to_string(), "2026-11-21T04:06:40.683Z");
        // 02:30 comes twice in the night of 25 October 2026.
        let fold = zoneless("2026-10-25 02:30:00,000", &berlin).unwrap();
        assert_eq!(fold.to_string(), "2026-10-25T00:30:00Z");
        assert_eq!(zoneless("2026-13-01 00:00:00", &TimeZone::UTC), None);
    }

    #[test]
    fn texts_need_an_offset_and_a_year_after_1970() {
        assert!(rfc3339("2026-11-20T10:20:00+01:00").is_some());
        for bad in [
            "2026-11-20T10:20:00",
            "1969-12-31T23:59:59Z",
            "yesterday",
            "1795237643",
            "",
        ] {
            assert_eq!(rfc3339(bad), None, "{bad}");
        }
    }
}
