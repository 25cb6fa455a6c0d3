//! Text of statements: quoted identifiers, bound values, and columns rendered so that one text form serves all databases.
//!
//! Every selected value is turned into text by the database itself, so that enums, arrays, addresses and types that no
//! driver knows arrive like anything else. Decoding each type in the driver was the alternative; it fails on the first
//! type that nobody thought of.

use crate::config::Database;

use super::column::{Column, Kind};

/// A statement in the making: text with placeholders, and the values for them.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) database: Database,
    pub(super) sql: String,
    pub(super) values: Vec<Bound>,
    /// The same text comes again and again: worth a prepared statement.
    pub(super) is_repeated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bound {
    Integer(i64),
    Text(String),
}

impl Query {
    pub(super) fn new(database: Database) -> Self {
        Self {
            database,
            sql: String::new(),
            values: Vec::new(),
            is_repeated: true,
        }
    }

    /// The text differs every time, as with a list of ids in it.
    pub(super) fn once(mut self) -> Self {
        self.is_repeated = false;
        self
    }

    pub(super) fn push(mut self, sql: &str) -> Self {
        self.sql.push_str(sql);
        self
    }

    pub(super) fn integer(self, value: i64) -> Self {
        self.bind(Bound::Integer(value))
    }

    pub(super) fn text(self, value: &str) -> Self {
        self.bind(Bound::Text(value.to_owned()))
    }

    pub(super) fn bind(mut self, value: Bound) -> Self {
        self.values.push(value);
        match self.database {
            Database::Postgres => {
                self.sql.push('$');
                self.sql.push_str(&self.values.len().to_string());
            }
            Database::Mysql | Database::Sqlite => self.sql.push('?'),
        }
        self
    }

    /// `a, b, c`, each bound.
    pub(super) fn texts<'a>(self, values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut query = self;
        for (at, value) in values.into_iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            query = query.push(comma).text(value);
        }
        query
    }
}

/// An identifier as this database quotes it. A dot separates schema and table.
pub(super) fn quoted(database: Database, name: &str) -> String {
    let quote = match database {
        Database::Mysql => '`',
        Database::Postgres | Database::Sqlite => '"',
    };
    let part = |part: &str| {
        let doubled = part.replace(quote, &format!("{quote}{quote}"));
        format!("{quote}{doubled}{quote}")
    };
    name.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// The columns as text, in order, each under its own name.
pub(super) fn selected(database: Database, columns: &[Column]) -> String {
    let one = |column: &Column| {
        let name = quoted_whole(database, &column.name);
        format!("{} AS {name}", as_text(database, &name, column.kind))
    };
    columns.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A column name is never split at dots: a query may name its columns as it likes.
pub(super) fn quoted_whole(database: Database, name: &str) -> String {
    match database {
        Database::Mysql => format!("`{}`", name.replace('`', "``")),
        Database::Postgres | Database::Sqlite => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// The text form of a value: bytes as hex, times as RFC 3339 in UTC.
pub(super) fn as_text(database: Database, name: &str, kind: Kind) -> String {
    match (database, kind) {
        (Database::Sqlite, _) => name.to_owned(),
        (Database::Postgres, Kind::Bytes) => format!("encode({name}, 'hex')"),
        (Database::Postgres, Kind::Instant) => {
            format!("to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        }
        (Database::Postgres, Kind::Civil) => {
            format!("to_char({name}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        }
        (Database::Postgres, _) => format!("{name}::text"),
        (Database::Mysql, Kind::Bytes) => format!("LOWER(HEX({name}))"),
        (Database::Mysql, Kind::Instant | Kind::Civil) => {
            format!("DATE_FORMAT({name}, '%Y-%m-%dT%H:%i:%s.%fZ')")
        }
        (Database::Mysql, Kind::Bits) => format!("CAST({name} + 0 AS CHAR)"),
        (Database::Mysql, _) => format!("CAST({name} AS CHAR)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(
            quoted(Database::Postgres, "audit.ev\"; drop"),
            "\"audit\".\"ev\"\"; drop\""
        );
        assert_eq!(quoted(Database::Mysql, "a`b"), "`a``b`");
        assert_eq!(quoted_whole(Database::Sqlite, "a.\"b"), "\"a.\"\"b\"");
    }

    #[test]
    fn values_are_bound_in_order() {
        let query = Query::new(Database::Postgres)
            .push("a > ")
            .integer(7)
            .push(" AND b IN (");
        let query = query.texts(["x", "y"]).push(")");
        assert_eq!(query.sql, "a > $1 AND b IN ($2, $3)");
        assert_eq!(query.values.len(), 3);
    }
}
