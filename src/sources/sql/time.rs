//! A column that says when: a timestamp, a number since 1970, or text.
//!
//! Inside, a time is microseconds since 1970, finer than any server's clock agrees with another's. Text is compared as
//! text by the database, so its style is taken from the values that are there.

use crate::config::Database;
use crate::model::Timestamp;

use super::column::{Cell, Column, Kind};
use super::query::{Query, quoted_whole};

/// The column with what is known of its style.
#[derive(Debug, Clone)]
pub(super) struct TimeColumn {
    pub(super) column: Column,
    /// Numbers and text: how they are written; unknown until a value has been seen.
    style: Option<Style>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// A number: so many of them are a second.
    PerSecond(i64),
    /// `2026-01-02T03:04:05...` or with a blank in the middle.
    Text { separator: char },
}

impl TimeColumn {
    pub(super) fn new(column: Column) -> Self {
        Self {
            column,
            style: None,
        }
    }

    /// A column of numbers of which so many are a second.
    pub(super) fn per_second(column: Column, count: i64) -> Self {
        Self {
            column,
            style: Some(Style::PerSecond(count)),
        }
    }

    pub(super) fn quoted(&self, database: Database) -> String {
        quoted_whole(database, &self.column.name)
    }

    /// The time of a value, in us since 1970. Remembers how it is written.
    pub(super) fn read(&mut self, cell: &Cell) -> Option<i64> {
        match cell {
            Cell::Null | Cell::Bytes(_) => None,
            Cell::Integer(number) => Some(self.of_number(*number)),
            Cell::Float(seconds) => of_seconds(*seconds),
            Cell::Text(text) => match (self.column.kind, text.parse::<i64>()) {
                (Kind::Instant | Kind::Civil, _) => parse(text),
                (_, Ok(number)) => Some(self.of_number(number)),
                _ => self.of_text(text),
            },
        }
    }

    /// Whether a lower bound can be written yet.
    pub(super) fn is_known(&self) -> bool {
        self.style.is_some() || matches!(self.column.kind, Kind::Instant | Kind::Civil)
    }

    /// A value that is at or below every value of this time or later.
    pub(super) fn lower_bound(&self, query: Query, time_us: i64) -> Query {
        let time = Timestamp::from_microsecond(time_us).unwrap_or(Timestamp::MIN);
        match (self.column.kind, self.style) {
            (Kind::Instant | Kind::Civil, _) => self.value(query, &Cell::Text(time.to_string())),
            (_, Some(Style::Text { separator })) => {
                let text = time
                    .strftime(&format!("%Y-%m-%d{separator}%H:%M:%S"))
                    .to_string();
                query.text(&text)
            }
            (_, Some(Style::PerSecond(count))) => {
                let number = i128::from(time_us) * i128::from(count) / 1_000_000;
                query.integer(i64::try_from(number).unwrap_or(i64::MAX))
            }
            (_, None) => query.integer(0),
        }
    }

    /// Exactly the value that was read.
    pub(super) fn value(&self, query: Query, cell: &Cell) -> Query {
        let text = cell.text().unwrap_or_default();
        match (query.database, self.column.kind) {
            (Database::Postgres, Kind::Instant) => {
                query.push("CAST(").text(&text).push(" AS timestamptz)")
            }
            (Database::Postgres, Kind::Civil) => query
                .push("CAST(")
                .text(text.trim_end_matches('Z'))
                .push(" AS timestamp)"),
            (Database::Mysql, Kind::Instant | Kind::Civil) => {
                let civil = text.trim_end_matches('Z').replace('T', " ");
                query.push("CAST(").text(&civil).push(" AS DATETIME(6))")
            }
            _ => match (self.style, cell.integer()) {
                (Some(Style::PerSecond(_)), Some(number)) => query.integer(number),
                _ => query.text(&text),
            },
        }
    }

    fn of_number(&mut self, number: i64) -> i64 {
        let count = match self.style {
            Some(Style::PerSecond(count)) => count,
            _ => per_second(number),
        };
        self.style = Some(Style::PerSecond(count));
        let us = i128::from(number) * 1_000_000 / i128::from(count);
        i64::try_from(us).unwrap_or(i64::MAX)
    }

    fn of_text(&mut self, text: &str) -> Option<i64> {
        let time = parse(text)?;
        let separator = text.chars().nth(10).unwrap_or('T');
        self.style = Some(Style::Text { separator });
        Some(time)
    }
}

fn of_seconds(seconds: f64) -> Option<i64> {
    let since = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
    let time = Timestamp::UNIX_EPOCH.checked_add(since).ok()?;
    Some(time.as_microsecond())
}

/// By magnitude: every second since 1970 up to the year 5000 has 11 digits at most.
fn per_second(number: i64) -> i64 {
    match number.unsigned_abs() {
        0..100_000_000_000 => 1,
        100_000_000_000..100_000_000_000_000 => 1000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000_000,
        _ => 1_000_000_000,
    }
}

fn parse(text: &str) -> Option<i64> {
    let instant = text.parse::<Timestamp>().ok();
    let civil = || {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        civil
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    };
    instant.or_else(civil).map(Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: Kind) -> TimeColumn {
        TimeColumn::new(Column {
            name: "at".into(),
            kind,
        })
    }

    #[test]
    fn numbers_are_told_apart_by_magnitude() {
        for (number, count) in [
            (1_795_237_585, 1),
            (1_795_237_585_978, 1000),
            (1_795_237_585_978_123, 1_000_000),
        ] {
            let mut at = column(Kind::Integer);
            let time = at.read(&Cell::Integer(number)).unwrap();
            assert_eq!(time / 1_000_000, 1_795_237_585);
            let query = at.lower_bound(Query::new(Database::Sqlite), time);
            assert_eq!(
                query.values,
                [super::super::query::Bound::Integer(number)],
                "{count}"
            );
        }
    }

    #[test]
    fn a_bound_on_text_is_below_every_way_of_writing_that_second() {
        let mut at = column(Kind::Dynamic);
        let time = at
            .read(&Cell::Text("2026-01-02 03:04:05.250Z".into()))
            .unwrap();
        let query = at.lower_bound(Query::new(Database::Sqlite), time);
        assert_eq!(
            query.values,
            [super::super::query::Bound::Text(
                "2026-01-02 03:04:05".into()
            )]
        );
    }

    #[test]
    fn a_time_without_a_zone_is_utc() {
        let mut at = column(Kind::Dynamic);
        assert_eq!(
            at.read(&Cell::Text("1970-01-01 00:00:01".into())),
            Some(1_000_000)
        );
        assert_eq!(
            at.read(&Cell::Text("1970-01-01T01:00:01+01:00".into())),
            Some(1_000_000)
        );
        assert_eq!(at.read(&Cell::Text("soon".into())), None);
    }
}
