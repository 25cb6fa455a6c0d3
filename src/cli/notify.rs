//! `notify test`: sends a real specimen, so that nobody learns during an incident that mails do not arrive.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::{Exit, Terminal};
use crate::app::notify::{Sent, send_specimen};
use crate::config::{Config, Receiver};

/// Try out who is told
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Test(Test),
}

/// Send a specimen to a receiver and print what its server answered
#[derive(Debug, Args)]
struct Test {
    /// Name of the receiver, as under `receivers`
    receiver: String,
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let Command::Test(test) = &arguments.command;
    let config = match Config::load(&test.config) {
        Ok(config) => config,
        Err(faults) => return super::report(&faults, terminal),
    };
    let wanted = |receiver: &&Receiver| *receiver.name == *test.receiver;
    let Some(receiver) = config.receivers.iter().find(wanted) else {
        writeln!(terminal.err, "{}", unknown(test, &config))?;
        return Ok(Exit::Unusable);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime to send with")?;
    match runtime.block_on(send_specimen(receiver)) {
        Sent::Accepted(answer) => {
            writeln!(terminal.out, "{}: accepted: {answer}", receiver.name)?;
            Ok(Exit::Success)
        }
        Sent::Refused(answer) => {
            writeln!(terminal.out, "{}: NOT accepted: {answer}", receiver.name)?;
            Ok(Exit::Failure)
        }
    }
}

fn unknown(test: &Test, config: &Config) -> String {
    let names: Vec<&str> = config
        .receivers
        .iter()
        .map(|receiver| &*receiver.name)
        .collect();
    let there = match names.as_slice() {
        [] => "it names none".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    };
    format!(
        "{}: there is no receiver `{}`; {there}",
        test.config.display(),
        test.receiver
    )
}
