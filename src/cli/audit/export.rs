//! `tokenwarden audit export`: the whole log as lines of JSON, which can be checked without the store.

use std::path::PathBuf;

use clap::Args;

use super::super::look::with_store;
use super::super::{Exit, Terminal};
use crate::store::audit::lines;

/// Print the whole log, oldest first, as lines that `audit verify --file` can check; it names people
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(args: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    with_store(&args.config, terminal, async |_, store, terminal| {
        let mut walk = store.walk_audit().await?;
        writeln!(terminal.out, "{}", lines::first(walk.base))?;
        while let Some(page) = walk.next_page().await? {
            for entry in &page {
                writeln!(terminal.out, "{}", lines::entry(entry))?;
            }
        }
        writeln!(terminal.out, "{}", lines::last(walk.head))?;
        Ok(Exit::Success)
    })
}
