//! `breakers`: clients at which nothing more is ended without a person.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::super::{Exit, Terminal};
use super::table::Table;
use super::{Daemon, Question, made};

/// Look at open breakers, and let some actions through
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List those that are not closed
    List(List),
    /// Let half of a client's budget through; if that is used up, it opens again
    HalfOpen(HalfOpen),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
struct HalfOpen {
    /// The client
    client: String,
    /// The source that it belongs to
    #[arg(long)]
    issuer: String,
    #[arg(long)]
    tenant: Option<String>,
    /// Why: stands beside your name
    #[arg(long)]
    note: String,
    #[command(flatten)]
    daemon: Daemon,
}

pub(in crate::cli) fn run(
    arguments: &Arguments,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<Exit> {
    match &arguments.command {
        Command::List(list) => {
            let question = Question::get(&["breakers"]);
            list.daemon.list(&question, "breakers", terminal, table)
        }
        Command::HalfOpen(asked) => {
            let body = json!({
                "issuer": asked.issuer,
                "tenant": asked.tenant,
                "client_id": asked.client,
                "note": asked.note,
            });
            let question = Question::post(&["breakers", "half-open"], body);
            asked.daemon.show(&question, terminal, made)
        }
    }
}

fn table(items: &[Value]) -> Table {
    let columns = [
        ("CLIENT", "/client_id"),
        ("ISSUER", "/issuer"),
        ("TENANT", "/tenant"),
        ("STATE", "/state"),
        ("SINCE", "/since"),
        ("HELD", "/held"),
        ("WHY", "/why"),
    ];
    Table::new(items, &columns)
}
