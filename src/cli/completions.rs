//! `completions`: a script that lets a shell complete subcommands and options.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, Exit, Terminal};

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub(super) struct Arguments {
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    // Through a buffer: the generator panics when a pipe closes early.
    let mut script = Vec::new();
    generate(
        arguments.shell,
        &mut Cli::command(),
        "tokenwarden",
        &mut script,
    );
    terminal.out.write_all(&script)?;
    Ok(Exit::Success)
}
