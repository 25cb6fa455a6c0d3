//! A table for people: columns as wide as they need to be, the last one as long as it is.

use std::fmt;

use serde_json::Value;

use super::text_of;

/// What one column shows of a value, in characters; ids and names of real servers fit.
const CELL_CHARS_MAX: usize = 80;

pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A heading for each column, and where its value stands in each item (a JSON pointer).
    pub(super) fn new(items: &[Value], columns: &[(&str, &str)]) -> Self {
        let heads = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
        let row = |item: &Value| {
            let cell = |(_, pointer): &(&str, &str)| {
                let text = text_of(item.pointer(pointer).unwrap_or(&Value::Null));
                text.chars().take(CELL_CHARS_MAX).collect::<String>()
            };
            columns.iter().map(cell).collect()
        };
        Self {
            rows: std::iter::once(heads)
                .chain(items.iter().map(row))
                .collect(),
        }
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |at: usize| self.rows.iter().map(|row| row[at].chars().count()).max();
        (0..columns).map(|at| width(at).unwrap_or(0)).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let cells = row.iter().zip(&widths);
            let cells: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Members with their values, one a line.
pub(super) fn members(item: &Value, wanted: &[(&str, &str)]) -> String {
    let width = wanted.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, pointer): &(&str, &str)| {
        let value = item.pointer(pointer).filter(|value| !value.is_null())?;
        Some(format!("{name:<width$}  {}\n", text_of(value)))
    };
    wanted.iter().filter_map(line).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up_and_nothing_hostile_gets_through() {
        let items = [
            json!({"id": "a", "of": {"name": "\u{1b}[31mred\u{202e}"}}),
            json!({"id": "long-id", "of": {"name": null}}),
        ];
        let table = Table::new(&items, &[("ID", "/id"), ("NAME", "/of/name")]).to_string();
        assert_eq!(
            table,
            "ID       NAME\na        \u{fffd}[31mred\u{fffd}\nlong-id  -\n"
        );
    }
}
