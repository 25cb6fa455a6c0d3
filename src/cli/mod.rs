//! L5: the command line, one file a subcommand.
//!
//! Each subcommand is a struct of its arguments and a function that takes them and a [`Terminal`]. What a command is
//! asked for goes to `out`, everything else to `err`; nothing else in the program prints. So tests run the whole
//! command line in their own process and read what a user would.

mod audit;
mod check;
mod completions;
mod demo;
mod erase;
mod explain;
mod look;
mod notify;
mod online;
mod people;
mod replay;
mod rules;
mod run;
mod schema;
mod simulate;
mod state;
mod test;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

/// Finds stolen OAuth refresh tokens in the events of an authorization server, revokes the family, and tells the
/// person on call.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Actions(people::actions::Arguments),
    Audit(audit::Arguments),
    Breakers(people::breakers::Arguments),
    Check(check::Arguments),
    Completions(completions::Arguments),
    Demo(demo::Arguments),
    Erase(erase::Arguments),
    Explain(explain::Arguments),
    Incidents(people::incidents::Arguments),
    Notify(notify::Arguments),
    Replay(replay::Arguments),
    Revoke(people::revoke::Arguments),
    Rules(rules::Arguments),
    Run(run::Arguments),
    Schema(schema::Arguments),
    Silences(people::silences::Arguments),
    Simulate(simulate::Arguments),
    State(state::Arguments),
    Test(test::Arguments),
}

/// Where a command writes.
pub struct Terminal<'a> {
    /// What the command was asked for.
    pub out: &'a mut dyn Stream,
    /// Everything else.
    pub err: &'a mut dyn Stream,
}

/// Something to write to that knows whether a person sits before it: what is kept in memory is read by a test.
pub trait Stream: Write {
    fn is_terminal(&self) -> bool {
        false
    }

    /// <https://no-color.org>: any value but an empty one means no.
    fn wants_colour(&self) -> bool {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        self.is_terminal() && !refused
    }
}

impl Stream for Vec<u8> {}

impl Stream for io::Stdout {
    fn is_terminal(&self) -> bool {
        io::IsTerminal::is_terminal(self)
    }
}

impl Stream for io::Stderr {
    fn is_terminal(&self) -> bool {
        io::IsTerminal::is_terminal(self)
    }
}

/// How a command ends, as scripts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Success = 0,
    /// What was looked for is not there, or what must not be is.
    Negative = 1,
    /// The configuration, the rules or the arguments cannot be used.
    Unusable = 2,
    /// It went wrong while running.
    Failure = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs one command line; the first argument is the name of the program.
pub fn main(arguments: impl IntoIterator<Item = OsString>, terminal: &mut Terminal<'_>) -> Exit {
    let done = match Cli::try_parse_from(arguments) {
        Ok(cli) => perform(cli.command, terminal),
        Err(answer) => say(&answer, terminal).map_err(Into::into),
    };
    done.unwrap_or_else(|error| give_up(&error, terminal))
}

fn perform(command: Command, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    match command {
        Command::Actions(arguments) => people::actions::run(&arguments, terminal),
        Command::Breakers(arguments) => people::breakers::run(&arguments, terminal),
        Command::Audit(arguments) => audit::run(&arguments, terminal),
        Command::Check(arguments) => check::run(&arguments, terminal),
        Command::Completions(arguments) => completions::run(&arguments, terminal),
        Command::Demo(arguments) => demo::run(&arguments, terminal),
        Command::Erase(arguments) => erase::run(&arguments, terminal),
        Command::Explain(arguments) => explain::run(&arguments, terminal),
        Command::Incidents(arguments) => people::incidents::run(&arguments, terminal),
        Command::Notify(arguments) => notify::run(&arguments, terminal),
        Command::Replay(arguments) => replay::run(&arguments, terminal),
        Command::Revoke(arguments) => people::revoke::run(&arguments, terminal),
        Command::Rules(arguments) => rules::run(&arguments, terminal),
        Command::Run(arguments) => run::run(&arguments, terminal),
        Command::Schema(arguments) => schema::run(&arguments, terminal),
        Command::Silences(arguments) => people::silences::run(&arguments, terminal),
        Command::Simulate(arguments) => simulate::run(&arguments, terminal),
        Command::State(arguments) => state::run(&arguments, terminal),
        Command::Test(arguments) => test::run(&arguments, terminal),
    }
}

/// Faults of the user's files: each with its place.
fn report(faults: &[crate::yaml::Fault], terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    for fault in faults {
        writeln!(terminal.err, "{fault}")?;
    }
    Ok(Exit::Unusable)
}

/// Help and version were asked for; anything else from the parser is a fault in the arguments.
fn say(answer: &clap::Error, terminal: &mut Terminal<'_>) -> io::Result<Exit> {
    let text = answer.render();
    match answer.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            write!(terminal.out, "{text}")?;
            Ok(Exit::Success)
        }
        _ => {
            write!(terminal.err, "{text}")?;
            Ok(Exit::Unusable)
        }
    }
}

fn give_up(error: &anyhow::Error, terminal: &mut Terminal<'_>) -> Exit {
    let broken_pipe = error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
    if broken_pipe {
        // `tokenwarden ... | head` has seen enough.
        return Exit::Success;
    }
    // When even this cannot be written, the exit code still tells.
    drop(writeln!(terminal.err, "tokenwarden: {error:#}"));
    Exit::Failure
}

/// Ids and names come from callers: nothing of them may steer a terminal, nor turn the direction of its text around.
fn clean(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let steers = |c: char| c.is_control() || turns(c);
    text.chars()
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect()
}
