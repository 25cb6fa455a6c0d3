//! Small tools for the statements: times, ranks, JSON bodies, and inserts of many rows.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row as _, query::Query};

use crate::model::{Severity, Text, Timestamp};

use super::StoreError;

pub(super) type AnyQuery<'q> = Query<'q, Any, sqlx::any::AnyArguments>;

pub(super) fn ms(time: Timestamp) -> i64 {
    time.as_millisecond()
}

pub(super) fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What counts as written within a window of time ends there: what is as far ahead as the window is long was written before the
/// clock was set back, and long ago for all that is known; what is less far ahead may have been written a moment ago.
pub(super) fn latest(now: Timestamp, window: Duration) -> Timestamp {
    now.checked_add(window).unwrap_or(now)
}

/// Severities are kept as numbers, so that "at least" is a comparison.
pub(super) fn rank(severity: Severity) -> i64 {
    Severity::ALL
        .iter()
        .zip(0..)
        .find(|(each, _)| **each == severity)
        .map_or(0, |(_, rank)| rank)
}

pub(super) fn severity(rank: i64) -> Severity {
    usize::try_from(rank)
        .ok()
        .and_then(|rank| Severity::ALL.get(rank))
        .copied()
        .unwrap_or(Severity::Info)
}

pub(super) fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or(0)
}

pub(super) fn to_json<T: Serialize>(record: &T) -> Result<String, StoreError> {
    serde_json::to_string(record)
        .map_err(|error| StoreError::Other(format!("a record cannot be written as JSON: {error}")))
}

pub(super) fn from_json<T: DeserializeOwned>(
    table: &str,
    row: &str,
    body: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::unreadable(table, row, &error))
}

/// One value of a row to insert.
pub(super) enum Cell {
    Text(String),
    MaybeText(Option<String>),
    Int(i64),
    Bytes(Vec<u8>),
    MaybeBytes(Option<Vec<u8>>),
}

impl Cell {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(clean(text))
    }

    pub(super) fn maybe(text: Option<&Text>) -> Self {
        Self::MaybeText(text.map(|text| clean(text)))
    }

    pub(super) fn bind(self, query: AnyQuery<'_>) -> AnyQuery<'_> {
        match self {
            Self::Text(text) => query.bind(text),
            Self::MaybeText(text) => query.bind(text),
            Self::Int(int) => query.bind(int),
            Self::Bytes(bytes) => query.bind(bytes),
            Self::MaybeBytes(bytes) => query.bind(bytes),
        }
    }
}

/// PostgreSQL's text cannot hold U+0000, and a hostile client must not be able to stop every commit with one.
pub(super) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// An insert of any number of rows: `head VALUES (..), (..) tail`.
pub(super) struct Insert {
    pub(super) head: &'static str,
    pub(super) tail: &'static str,
}

impl Insert {
    /// Few sizes, so that few statements are prepared and kept. Fifty rows of twenty columns are far from both
    /// databases' limit of parameters, and more of them were no faster.
    const ROWS: [usize; 3] = [50, 8, 1];

    /// Inserts the rows and tells how many there are new.
    pub(super) async fn run(
        &self,
        connection: &mut AnyConnection,
        rows: Vec<Vec<Cell>>,
    ) -> Result<u64, StoreError> {
        let mut inserted = 0;
        for (statement, cells) in self.chunks(rows) {
            let query = query(statement, cells);
            inserted += query.execute(&mut *connection).await?.rows_affected();
        }
        Ok(inserted)
    }

    /// The same where `tail` ends with `RETURNING id`: the ids of those that are new.
    pub(super) async fn run_returning(
        &self,
        connection: &mut AnyConnection,
        rows: Vec<Vec<Cell>>,
    ) -> Result<HashSet<String>, StoreError> {
        let mut new = HashSet::new();
        for (statement, cells) in self.chunks(rows) {
            for row in query(statement, cells).fetch_all(&mut *connection).await? {
                new.insert(row.try_get("id")?);
            }
        }
        Ok(new)
    }

    /// Statements with their values.
    fn chunks(&self, rows: Vec<Vec<Cell>>) -> Vec<(String, Vec<Cell>)> {
        let mut chunks = Vec::new();
        let mut left = rows.into_iter();
        while left.len() > 0 {
            let size = Self::ROWS
                .into_iter()
                .find(|size| *size <= left.len())
                .unwrap_or(1);
            let chunk: Vec<Vec<Cell>> = left.by_ref().take(size).collect();
            let columns = chunk.first().map_or(0, Vec::len);
            let cells = chunk.into_iter().flatten().collect();
            chunks.push((self.statement(size, columns), cells));
        }
        chunks
    }

    fn statement(&self, rows: usize, columns: usize) -> String {
        let mut sql = format!("{} VALUES ", self.head);
        for row in 0..rows {
            sql.push_str(if row == 0 { "(" } else { ", (" });
            for column in 0..columns {
                let comma = if column == 0 { "" } else { ", " };
                // Writing to a String cannot fail.
                write!(sql, "{comma}${}", row * columns + column + 1).ok();
            }
            sql.push(')');
        }
        sql.push(' ');
        sql.push_str(self.tail);
        sql
    }
}

fn query<'q>(statement: String, cells: Vec<Cell>) -> AnyQuery<'q> {
    let query = sqlx::query(AssertSqlSafe(statement));
    cells
        .into_iter()
        .fold(query, |query, cell| cell.bind(query))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_placeholders_across_rows() {
        let insert = Insert {
            head: "INSERT INTO t (a, b)",
            tail: "ON CONFLICT DO NOTHING",
        };
        assert_eq!(
            insert.statement(2, 2),
            "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT DO NOTHING"
        );
    }

    #[test]
    fn severities_keep_their_order_as_numbers() {
        for each in Severity::ALL {
            assert_eq!(severity(rank(*each)), *each);
        }
        assert!(rank(Severity::Critical) > rank(Severity::High));
    }

    #[test]
    fn a_null_character_does_not_reach_the_database() {
        assert_eq!(clean("a\0b"), "a\u{fffd}b");
    }
}
