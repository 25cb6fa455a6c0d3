//! `tokenwarden simulate`: writes the events of a population, with thieves among it, and the truth about them.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Exit, Terminal};
use crate::model::Timestamp;
use crate::simulate::population::{Folder, Settings, Source, Written};

/// Write the events of a simulated population with thieves in it, the truth about them, and a configuration to replay them
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// People, back-end sessions and robots
    #[arg(long, value_name = "N", default_value_t = 1000)]
    users: u32,
    #[arg(long, value_name = "D", default_value_t = 7)]
    days: u32,
    /// The same seed and options give the same bytes
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// How much the source tells of each event
    #[arg(long, value_enum, default_value_t = Richness::Full)]
    source: Richness,
    /// How many times as often as usual honest oddities happen
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    oddities: u32,
    /// Attacks of each kind per 10,000 users and week, and as many of its honest twin; at least one of each unless 0
    #[arg(long, value_name = "N", default_value_t = 2)]
    attacks: u32,
    /// When the log begins, in RFC 3339
    #[arg(long, value_name = "TIME", default_value_t = Settings::default().start)]
    start: Timestamp,
    /// A new or empty folder for events.jsonl, truth.jsonl, geoip/ and tokenwarden.yaml
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Write events.jsonl.gz in place of events.jsonl
    #[arg(long)]
    gzip: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Richness {
    /// User agent, device id and TLS fingerprint
    Full,
    /// User agent, but neither device id nor TLS fingerprint
    NoDevice,
    /// Address and time alone, as plain Keycloak tells
    AddressOnly,
}

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let settings = settings(arguments);
    if let Some(fault) = settings.fault() {
        writeln!(terminal.err, "tokenwarden: {fault}")?;
        return Ok(Exit::Unusable);
    }
    if let Err(error) = make(&arguments.out) {
        writeln!(
            terminal.err,
            "tokenwarden: the folder {} cannot be used: {error}",
            arguments.out.display()
        )?;
        return Ok(Exit::Unusable);
    }
    let folder = Folder {
        path: arguments.out.clone(),
        gzip: arguments.gzip,
    };
    let bar = bar();
    let written = folder.write(settings, |done, events| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1000"
        )]
        bar.set_position((done * 1000.0) as u64);
        bar.set_message(format!("{events} events"));
    })?;
    bar.finish_and_clear();
    sum_up(&written, terminal)?;
    Ok(Exit::Success)
}

fn settings(arguments: &Arguments) -> Settings {
    Settings {
        users: arguments.users,
        days: arguments.days,
        seed: arguments.seed,
        source: match arguments.source {
            Richness::Full => Source::Full,
            Richness::NoDevice => Source::NoDevice,
            Richness::AddressOnly => Source::AddressOnly,
        },
        oddities: arguments.oddities,
        attacks: arguments.attacks,
        start: arguments.start,
    }
}

/// Nothing of the user's is ever overwritten.
fn make(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    if folder.read_dir()?.next().is_some() {
        return Err(io::Error::other(
            "it is not empty; name a new or an empty one",
        ));
    }
    Ok(())
}

fn bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:40} {percent} % {msg} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn sum_up(written: &Written, terminal: &mut Terminal<'_>) -> io::Result<()> {
    let truth = &written.known;
    let thefts = truth.thefts().count();
    let provable = truth
        .thefts()
        .filter(|family| family.proved.is_some())
        .count();
    writeln!(
        terminal.out,
        "{} events: {}",
        truth.events,
        written.events.display()
    )?;
    writeln!(
        terminal.out,
        "{thefts} stolen families, of which an observer of these events could prove {provable}, and {} other attacks: {}",
        truth.raids.len(),
        written.truth.display()
    )?;
    writeln!(
        terminal.out,
        "What the rules find: tokenwarden replay -c {} {}",
        written.config.display(),
        written.events.display()
    )
}
