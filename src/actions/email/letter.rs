//! A mail in sections: for what is told of many incidents at once. The look is that of a report.

use minijinja::value::Serde;
use serde::Serialize;

use super::render::{environment, heading, line, write_table};
use super::report::Table;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Letter {
    /// Stands in the sender's name and colours the HTML.
    pub(super) state: &'static str,
    pub(super) headline: String,
    /// What stretch of time it tells of, and the like.
    pub(super) lead: String,
    pub(super) sections: Vec<Section>,
    /// Why it came, and how it ends.
    pub(super) closing: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) table: Option<Table>,
    pub(super) items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Item {
    pub(super) text: String,
    pub(super) details: Vec<String>,
}

impl Section {
    pub(super) fn of_items(title: &'static str, items: Vec<Item>) -> Self {
        Self {
            title,
            table: None,
            items,
        }
    }

    pub(super) fn of_table(title: &'static str, head: &[&str], rows: Vec<Vec<String>>) -> Self {
        Self {
            title,
            table: Some(Table {
                title: String::new(),
                head: head.iter().map(ToString::to_string).collect(),
                rows,
            }),
            items: Vec::new(),
        }
    }

    pub(super) fn with_items(self, items: Vec<Item>) -> Self {
        Self { items, ..self }
    }

    /// A section with nothing in it is left out.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
            && self
                .table
                .as_ref()
                .is_none_or(|table| table.rows.is_empty())
    }
}

impl Item {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            details: Vec::new(),
        }
    }
}

impl Letter {
    pub(super) fn html(&self) -> Result<String, String> {
        environment()
            .and_then(|environment| environment.get_template("letter.html")?.render(Serde(self)))
            .map_err(|error| error.to_string())
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        line(&mut out, &format!("{}: {}", self.state, self.headline));
        line(&mut out, &self.lead);
        for section in &self.sections {
            heading(&mut out, section.title);
            if let Some(table) = &section.table {
                // Right below the heading: the empty line before a table is for text above it.
                let mut aligned = String::new();
                write_table(&mut aligned, table);
                out += aligned.trim_start_matches('\n');
            }
            for item in &section.items {
                line(&mut out, &format!("- {}", item.text));
                for detail in &item.details {
                    line(&mut out, &format!("    {detail}"));
                }
            }
        }
        line(&mut out, &format!("\n{}", self.closing));
        out
    }
}
