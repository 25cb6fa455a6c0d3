//! `silences`: whom nobody wants to be told about for a while. What is to be ended is ended all the same.

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::super::{Exit, Terminal};
use super::table::{Table, members};
use super::{Change, Daemon, Question, Show};
use crate::clock;
use crate::yaml::parse_duration;

/// Tell nobody about some findings for a while
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List those in force
    List(List),
    /// Show one
    Show(Show),
    /// Make one: at least one of rule, issuer, tenant, client, user and family
    Add(Box<Add>),
    /// End one before its time
    Close(Change),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
struct Add {
    #[arg(long)]
    rule: Option<String>,
    #[arg(long)]
    issuer: Option<String>,
    #[arg(long)]
    tenant: Option<String>,
    #[arg(long)]
    client: Option<String>,
    #[arg(long)]
    user: Option<String>,
    #[arg(long)]
    family: Option<String>,
    /// For how long: 30m, 8h, 7d
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasts: Duration,
    /// Why: stands beside your name
    #[arg(long)]
    note: String,
    #[command(flatten)]
    daemon: Daemon,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a duration like 30m, 8h or 7d".to_owned())
}

pub(in crate::cli) fn run(
    arguments: &Arguments,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<Exit> {
    match &arguments.command {
        Command::List(list) => {
            let question = Question::get(&["silences"]);
            list.daemon.list(&question, "silences", terminal, table)
        }
        Command::Show(show) => {
            let question = Question::get(&["silences", &show.id]);
            show.daemon.show(&question, terminal, shown)
        }
        Command::Add(add) => {
            let ends_at = clock::now()
                .checked_add(add.lasts)
                .context("that is beyond the calendar")?;
            let body = json!({ "matchers": matchers(add), "ends_at": ends_at, "note": add.note });
            let question = Question::post(&["silences"], body);
            add.daemon.show(&question, terminal, shown)
        }
        Command::Close(change) => change.make(&["silences", &change.id, "end"], &[], terminal),
    }
}

fn matchers(add: &Add) -> Value {
    let members = [
        ("rule", &add.rule),
        ("issuer", &add.issuer),
        ("tenant", &add.tenant),
        ("client_id", &add.client),
        ("user_id", &add.user),
        ("family_id", &add.family),
    ];
    let given = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())));
    Value::Object(given.collect::<Map<_, _>>())
}

fn table(items: &[Value]) -> Table {
    let columns = [
        ("ID", "/id"),
        ("UNTIL", "/ends_at"),
        ("BY", "/author"),
        ("WHOM", "/matchers"),
        ("WHY", "/comment"),
    ];
    Table::new(items, &columns)
}

fn shown(answer: &Value) -> String {
    let wanted = [
        ("silence", "/id"),
        ("whom", "/matchers"),
        ("by", "/author"),
        ("why", "/comment"),
        ("since", "/created_at"),
        ("until", "/ends_at"),
    ];
    members(&answer["silence"], &wanted)
}
