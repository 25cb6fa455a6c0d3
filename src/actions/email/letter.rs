//! A mail in sections: for what is told of many incidents at once. The look is that of a report.

use minijinja::value::Serde;
use serde::Serialize;

use super::render::{environment, heading, line, write_table};
use crate::actions::report::Table;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::actions) struct Letter {
    /// Stands in the sender's name and colours the HTML.
    pub(in crate::actions) state: &'static str,
    pub(in crate::actions) headline: String,
    /// What stretch of time it tells of, and the like.
    pub(in crate::actions) lead: String,
    pub(in crate::actions) sections: Vec<Section>,
    /// Why it came, and how it ends.
    pub(in crate::actions) closing: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::actions) struct Section {
    pub(in crate::actions) title: &'static str,
    pub(in crate::actions) table: Option<Table>,
    pub(in crate::actions) items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::actions) struct Item {
    pub(in crate::actions) text: String,
    pub(in crate::actions) details: Vec<String>,
}

impl Section {
    pub(in crate::actions) fn of_items(title: &'static str, items: Vec<Item>) -> Self {
        Self {
            title,
            table: None,
            items,
        }
    }

    pub(in crate::actions) fn of_table(
        title: &'static str,
        head: &[&str],
        rows: Vec<Vec<String>>,
    ) -> Self {
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

    pub(in crate::actions) fn with_items(self, items: Vec<Item>) -> Self {
        Self { items, ..self }
    }

    /// A section with nothing in it is left out.
    pub(in crate::actions) fn is_empty(&self) -> bool {
        self.items.is_empty()
            && self
                .table
                .as_ref()
                .is_none_or(|table| table.rows.is_empty())
    }
}

impl Item {
    pub(in crate::actions) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            details: Vec::new(),
        }
    }
}

impl Letter {
    pub(in crate::actions) fn html(&self) -> Result<String, String> {
        environment()
            .and_then(|environment| environment.get_template("letter.html")?.render(Serde(self)))
            .map_err(|error| error.to_string())
    }

    pub(in crate::actions) fn text(&self) -> String {
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
