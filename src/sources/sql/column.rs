//! Columns of a row, and the row as a JSON object.

use std::fmt::Write as _;

use sqlx::TypeInfo;

use crate::config::Database;

use super::fault::Fault;

/// A column of what is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// How a column's text becomes JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Integer,
    Float,
    /// `bit(n)` of MySQL: a number.
    Bits,
    Text,
    /// Embedded as it stands.
    Json,
    Bytes,
    /// A time with a zone.
    Instant,
    /// A time without a zone: taken as UTC.
    Civil,
    /// SQLite: every value has a type of its own.
    Dynamic,
}

/// A value as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    /// SQLite only: elsewhere numbers come as text.
    Integer(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Cell {
    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Integer(number) => Some(number.to_string()),
            Self::Float(number) => Some(number.to_string()),
            Self::Text(text) => Some(text.clone()),
            Self::Bytes(bytes) => Some(hex(bytes)),
        }
    }
}

impl Kind {
    /// From the name that the driver gives to the column's type.
    pub(super) fn of(database: Database, info: &impl TypeInfo) -> Self {
        match database {
            Database::Sqlite => Self::Dynamic,
            Database::Postgres => of_postgres(info.name()),
            Database::Mysql => of_mysql(info.name()),
        }
    }
}

fn of_postgres(name: &str) -> Kind {
    match name {
        "BOOL" => Kind::Bool,
        "INT2" | "INT4" | "INT8" | "OID" => Kind::Integer,
        "FLOAT4" | "FLOAT8" => Kind::Float,
        "JSON" | "JSONB" => Kind::Json,
        "BYTEA" => Kind::Bytes,
        "TIMESTAMPTZ" => Kind::Instant,
        "TIMESTAMP" => Kind::Civil,
        _ => Kind::Text,
    }
}

fn of_mysql(name: &str) -> Kind {
    match name {
        "BOOLEAN" => Kind::Integer,
        "FLOAT" | "DOUBLE" => Kind::Float,
        "JSON" => Kind::Json,
        "BIT" => Kind::Bits,
        "TIMESTAMP" => Kind::Instant,
        "DATETIME" => Kind::Civil,
        "BINARY" | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" | "GEOMETRY" => {
            Kind::Bytes
        }
        name if name.contains("INT") => Kind::Integer,
        _ => Kind::Text,
    }
}

/// Says which column is missing, and which there are.
pub(super) fn require(columns: &[Column], table: &str, name: &str) -> Result<(), Fault> {
    if columns.iter().any(|column| column.name == name) {
        return Ok(());
    }
    let there: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    Err(Fault::Lasting(format!(
        "{table} has no column {name}; it has {}",
        there.join(", ")
    )))
}

/// The row as a JSON object, members in the order of the columns.
pub(super) fn object(columns: &[Column], row: &[Cell]) -> Vec<u8> {
    let mut out = String::with_capacity(64 + columns.len() * 24);
    out.push('{');
    for (at, (column, cell)) in columns.iter().zip(row).enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_text(&mut out, &column.name);
        out.push(':');
        push_value(&mut out, column.kind, cell);
    }
    out.push('}');
    out.into_bytes()
}

fn push_value(out: &mut String, kind: Kind, cell: &Cell) {
    match (kind, cell) {
        (_, Cell::Null) => out.push_str("null"),
        (_, Cell::Integer(number)) => push_display(out, number),
        (_, Cell::Float(number)) if number.is_finite() => push_display(out, number),
        (Kind::Bool, Cell::Text(text)) => out.push_str(if text.starts_with('t') {
            "true"
        } else {
            "false"
        }),
        (Kind::Integer | Kind::Float | Kind::Bits | Kind::Json, Cell::Text(text))
            if is_json(text) =>
        {
            out.push_str(text);
        }
        (_, cell) => push_text(out, &cell.text().unwrap_or_default()),
    }
}

/// What claims to be a number or JSON is still checked: `NaN` is no JSON, and SQL's JSON columns can be plain text.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

fn push_display(out: &mut String, value: impl std::fmt::Display) {
    // Writing into a String cannot fail.
    write!(out, "{value}").unwrap_or_default();
}

fn push_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        push_display(&mut out, format_args!("{byte:02x}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_becomes_an_object_in_column_order() {
        let cells = [
            ("n", Kind::Integer, Cell::Text("42".into())),
            ("ok", Kind::Bool, Cell::Text("true".into())),
            ("d", Kind::Text, Cell::Text("10.50".into())),
            ("j", Kind::Json, Cell::Text(r#"{"b":1}"#.into())),
            ("b", Kind::Dynamic, Cell::Bytes(vec![0, 255])),
            ("f", Kind::Float, Cell::Text("NaN".into())),
            ("q\"", Kind::Text, Cell::Null),
        ];
        let columns = cells.clone().map(|(name, kind, _)| Column {
            name: name.into(),
            kind,
        });
        let row = cells.map(|(_, _, cell)| cell);
        let text = String::from_utf8(object(&columns, &row)).unwrap();
        assert_eq!(
            text,
            r#"{"n":42,"ok":true,"d":"10.50","j":{"b":1},"b":"00ff","f":"NaN","q\"":null}"#
        );
    }
}
