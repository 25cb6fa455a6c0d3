//! `tokenwarden audit`: who did what, when and why; and whether anybody has changed what the log says of it.
//!
//! It reads the store beside a running daemon, or a file that `export` wrote.

mod export;
mod list;
mod verify;

use clap::{Args, Subcommand};

use super::{Exit, Terminal};

/// Read the audit log, or check that nothing in it was changed, removed or cut off
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Export(export::Arguments),
    List(list::Arguments),
    Verify(verify::Arguments),
}

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    match &arguments.command {
        Command::Export(arguments) => export::run(arguments, terminal),
        Command::List(arguments) => list::run(arguments, terminal),
        Command::Verify(arguments) => verify::run(arguments, terminal),
    }
}
