//! `tokenwarden rules fields`: what conditions and keys of rules can be written with.

use std::io::{self, Write};

use clap::Args;
use serde_json::json;

use super::super::{Exit, Terminal};
use super::Form;
use crate::model::Clue;
use crate::rules::expr;
use crate::rules::fields::{FIELDS, Field, KeyField};

/// List the fields and functions of conditions; fields can also be keys
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
}

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    match arguments.output {
        Form::Text => write_text(terminal.out)?,
        Form::Json => write_json(terminal.out)?,
    }
    Ok(Exit::Success)
}

fn write_text(out: &mut dyn Write) -> io::Result<()> {
    let width = |length: fn(&Field) -> usize| FIELDS.iter().map(length).max().unwrap_or(0);
    let names = width(|field| field.name.len());
    let kinds = width(|field| field.kind.to_string().len());
    writeln!(out, "fields (* cannot be a key)\n")?;
    for field in FIELDS {
        let mark = if is_key(field) { ' ' } else { '*' };
        let (name, kind) = (field.name, field.kind.to_string());
        writeln!(out, "{mark} {name:names$}  {kind:kinds$}  {}", field.about)?;
        if !field.kind.names().is_empty() {
            let indent = names + kinds + 6;
            writeln!(out, "{:indent$}{}", "", field.kind.names().join(", "))?;
        }
    }
    writeln!(out, "\nfunctions\n")?;
    for function in expr::functions() {
        writeln!(out, "  {:names$}  {}", function.name, function.usage)?;
    }
    writeln!(
        out,
        "\nA missing value is unknown: whatever is asked of it does not match; has(...) asks whether there is one."
    )
}

fn write_json(out: &mut dyn Write) -> io::Result<()> {
    for field in FIELDS {
        let line = json!({
            "type": "field",
            "name": field.name,
            "kind": field.kind.to_string(),
            "values": field.kind.names(),
            "about": field.about,
            "key": is_key(field),
            "needs": field.clue.map(Clue::as_str),
        });
        writeln!(out, "{line}")?;
    }
    for function in expr::functions() {
        let line = json!({ "type": "function", "name": function.name, "usage": function.usage });
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn is_key(field: &Field) -> bool {
    KeyField::parse(field.name).is_ok()
}
