//! `tokenwarden audit`: who did what, when and why; and whether anybody has changed what the log says of it.
//!
//! It reads the store beside a running daemon, or a file that `export` wrote.

mod export;
mod list;
mod verify;

use std::path::Path;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::{Exit, Terminal, report};
use crate::config::Config;
use crate::store::{OpenAs, OpenError, Store};

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

/// Does something with the store that a configuration names.
fn with_store(
    config: &Path,
    terminal: &mut Terminal<'_>,
    work: impl AsyncFnOnce(&Store, &mut Terminal<'_>) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let config = match Config::load(config) {
        Ok(config) => config,
        Err(faults) => return report(&faults, terminal),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime for the store")?;
    runtime.block_on(async {
        let store = match Store::open(&config.store, OpenAs::Reader).await {
            Ok(store) => store,
            Err(error @ OpenError::Missing { .. }) => {
                writeln!(terminal.err, "tokenwarden: {error}")?;
                return Ok(Exit::Negative);
            }
            Err(error) => return Err(error.into()),
        };
        let done = work(&store, terminal).await;
        store.close().await;
        done
    })
}
