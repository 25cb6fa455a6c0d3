//! `tokenwarden rules list`: one line a rule, with the mode in force and why it is that one.

use clap::Args;
use serde_json::json;

use super::super::{Exit, Terminal, report};
use super::{Form, Known, Which, response};
use crate::rules::Rule;

/// List the rules with the mode in force, and why it is that one
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
}

const HEAD: [&str; 8] = [
    "RULE", "KIND", "MODE", "WHY", "SEVERITY", "RESPONSE", "SINCE", "FILE",
];

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let known = match Known::load(&arguments.which) {
        Ok(known) => known,
        Err(faults) => return report(&faults, terminal),
    };
    if arguments.which.output == Form::Json {
        for rule in &known.rules.rules {
            writeln!(terminal.out, "{}", object(&known, rule))?;
        }
        return Ok(Exit::Success);
    }
    let head = HEAD.map(str::to_owned);
    let rows = known.rules.rules.iter().map(|rule| row(&known, rule));
    write_table(
        &std::iter::once(head).chain(rows).collect::<Vec<_>>(),
        terminal,
    )?;
    Ok(Exit::Success)
}

fn row(known: &Known, rule: &Rule) -> [String; 8] {
    let (mode, why) = known.mode(rule);
    [
        rule.name.to_string(),
        rule.detect.kind().to_owned(),
        mode.to_string(),
        why,
        rule.severity.to_string(),
        response(rule),
        rule.since.to_string(),
        rule.written.place.file.display().to_string(),
    ]
}

fn object(known: &Known, rule: &Rule) -> serde_json::Value {
    let (mode, why) = known.mode(rule);
    let response: Vec<&str> = rule.response.iter().map(|kind| kind.as_str()).collect();
    json!({
        "type": "rule",
        "name": rule.name,
        "kind": rule.detect.kind(),
        "mode": mode.as_str(),
        "why": why,
        "severity": rule.severity.as_str(),
        "response": response,
        "since": rule.since,
        "maturity": rule.maturity.as_str(),
        "file": rule.written.place.file.display().to_string(),
        "description": rule.description,
    })
}

/// Columns as wide as their widest cell; nothing behind the last.
fn write_table(rows: &[[String; 8]], terminal: &mut Terminal<'_>) -> std::io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        writeln!(terminal.out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
