//! Writes a report as text and as HTML.
//!
//! The text is made by hand because its tables need aligned columns; the HTML by a template that escapes everything. The
//! HTML loads nothing: no image, no font, no style from elsewhere, so opening it tells nobody and works without a network.

use std::fmt::Write;

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};

use crate::actions::report::{Finding, Report, Row, Table};

/// By the end of their names the HTML escapes everything, and the style, which has no values, nothing.
const TEMPLATES: [(&str, &str); 3] = [
    ("mail.html", include_str!("mail.html")),
    ("letter.html", include_str!("letter.html")),
    ("style.css", include_str!("style.css")),
];

/// Where paragraphs are wrapped.
const COLUMNS: usize = 100;

pub(super) fn html(report: &Report) -> Result<String, String> {
    environment()
        .and_then(|environment| environment.get_template("mail.html")?.render(Serde(report)))
        .map_err(|error| error.to_string())
}

pub(super) fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    Ok(environment)
}

pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    if report.is_specimen {
        out += "This is a specimen: nobody's token was stolen.\n\n";
    }
    for remark in &report.remarks {
        wrapped(&mut out, "", remark);
        out.push('\n');
    }
    line(
        &mut out,
        &format!(
            "{} / {}: {}",
            report.severity.to_uppercase(),
            report.state,
            report.headline
        ),
    );
    if !report.meaning.is_empty() {
        out.push('\n');
        wrapped(&mut out, "", &report.meaning);
    }
    heading(&mut out, "What has been done");
    for deed in &report.done {
        line(&mut out, &format!("- {deed}"));
    }
    heading(&mut out, "What to do now");
    for task in &report.to_do {
        line(&mut out, &format!("- {}", task.text));
        if let Some(command) = &task.command {
            line(&mut out, &format!("\n    {command}\n"));
        }
    }
    heading(&mut out, "Why");
    for finding in &report.findings {
        write_finding(&mut out, finding);
    }
    if report.more > 0 {
        line(
            &mut out,
            &format!("... and {} more detections.", report.more),
        );
    }
    if let Some(command) = &report.explain {
        line(
            &mut out,
            &format!("All that is known of it:\n\n    {command}"),
        );
    }
    heading(&mut out, "Who and where");
    rows(&mut out, &report.who);
    if !report.links.is_empty() {
        heading(&mut out, "Links");
        for link in &report.links {
            line(&mut out, &format!("{}: {}", link.name, link.url));
        }
    }
    if !report.hints.is_empty() {
        heading(&mut out, "If this should not page you");
    }
    for hint in &report.hints {
        line(&mut out, &format!("- {hint}"));
    }
    line(
        &mut out,
        &format!(
            "\nIncident {}. Further mails about it carry the same subject.",
            report.incident_id
        ),
    );
    out
}

fn write_finding(out: &mut String, finding: &Finding) {
    line(
        out,
        &format!(
            "{} ({}) at {}",
            finding.rule, finding.severity, finding.time
        ),
    );
    for text in [&finding.summary, &finding.description] {
        wrapped(out, "  ", text);
    }
    rows(out, &finding.facts);
    for table in &finding.tables {
        write_table(out, table);
    }
    out.push('\n');
}

/// A paragraph in lines that a terminal shows whole.
fn wrapped(out: &mut String, indent: &str, text: &str) {
    let mut row = String::new();
    for word in text.split_whitespace() {
        if !row.is_empty() && row.chars().count() + word.chars().count() >= COLUMNS {
            line(out, &format!("{indent}{row}"));
            row.clear();
        }
        if !row.is_empty() {
            row.push(' ');
        }
        row.push_str(word);
    }
    if !row.is_empty() {
        line(out, &format!("{indent}{row}"));
    }
}

fn rows(out: &mut String, rows: &[Row]) {
    let width = rows
        .iter()
        .map(|row| row.name.chars().count())
        .max()
        .unwrap_or(0);
    for row in rows {
        line(out, &format!("  {:width$}  {}", row.name, row.value));
    }
}

pub(in crate::actions) fn write_table(out: &mut String, table: &Table) {
    out.push('\n');
    if !table.title.is_empty() {
        line(out, &format!("  {}:", table.title));
    }
    let all = || std::iter::once(&table.head).chain(&table.rows);
    let width = |column: usize| {
        let cells = all().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..table.head.len()).map(width).collect();
    for row in all() {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let text = cells.collect::<Vec<_>>().join("  ");
        line(out, format!("  {text}").trim_end());
    }
}

pub(super) fn heading(out: &mut String, text: &str) {
    let trimmed = out.trim_end().len();
    out.truncate(trimmed);
    line(out, &format!("\n\n{text}\n{}", "-".repeat(text.len())));
}

pub(super) fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a String takes everything");
}
