//! `tokenwarden audit list`: the newest entries, for people or as one object a line.

use std::path::PathBuf;

use clap::Args;

use super::super::look::with_store;
use super::super::replay::Form;
use super::super::{Exit, Terminal, clean};
use crate::model::{AuditKind, Text, Timestamp};
use crate::store::Page;
use crate::store::audit::{AuditFilter, Entry, lines};

/// Print the newest entries
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Only such entries
    #[arg(long, value_name = "WHAT", value_parser = kind)]
    what: Option<AuditKind>,
    /// Only entries about this user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Only entries at or after this time
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only entries before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
}

fn kind(text: &str) -> Result<AuditKind, String> {
    AuditKind::parse(text).ok_or_else(|| format!("expected one of {}", AuditKind::NAMES.join(", ")))
}

pub(super) fn run(args: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let filter = AuditFilter {
        what: args.what,
        user_id: args.user.as_deref().map(Text::from),
        since: args.since,
        until: args.until,
    };
    let page = Page {
        before: None,
        limit: args.limit,
    };
    with_store(&args.config, terminal, async |_, store, terminal| {
        for entry in &store.audit(&filter, page).await?.items {
            match args.output {
                Form::Text => writeln!(terminal.out, "{}", text(entry))?,
                Form::Json => writeln!(terminal.out, "{}", lines::entry(entry))?,
            }
        }
        Ok(Exit::Success)
    })
}

/// Ids and reasons come from callers: nothing of them may steer a terminal.
fn text(entry: &Entry) -> String {
    let time = Timestamp::from_millisecond(entry.recorded_at).unwrap_or_default();
    let personal = match (&entry.personal, &entry.commitment) {
        (Some(personal), _) => members(personal),
        (None, Some(_)) => " (erased)".to_owned(),
        (None, None) => String::new(),
    };
    let line = format!(
        "{:>7}  {}  {:<14} {:<12}{}{personal}",
        entry.seq,
        time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"),
        entry.what,
        entry.who,
        members(&entry.body),
    );
    clean(&line)
}

fn members(json: &str) -> String {
    let read: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(json);
    let read = read.unwrap_or_default();
    let members = read.iter().map(|(name, value)| format!(" {name}={value}"));
    members.collect()
}
