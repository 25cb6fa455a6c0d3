//! First numbers: what the daemon costs beside a bare loop that reads the same input in the same run.
//!
//! `cargo bench --bench throughput -- replay` (or `rules`, `archive`, `kafka --broker HOST:PORT`, `latency --broker HOST:PORT`,
//! `again --broker HOST:PORT`, `tail --postgres URL`, `families`, `all`, `goals --broker HOST:PORT --postgres URL`: what is aimed
//! at beside what is reached; or `soak --broker HOST:PORT`: whether it stays as it is)
//!
//! Absolute rates say more of the machine and its other work than of the program, so every path is measured beside its
//! baselines, turn by turn, and the ratio of the medians is what to compare. CPU seconds count every thread of the
//! process. No benchmark crate: one turn takes seconds, and what counts is that turns of different paths alternate.

mod again;
mod archive;
#[allow(
    dead_code,
    reason = "a support file that is shared with test binaries, which use more of it"
)]
#[path = "../support/daemon.rs"]
mod daemon;
mod families;
mod goals;
mod input;
mod kafka;
mod latency;
mod listeners;
mod machine;
mod replay;
mod rules;
mod soak;
mod table;
mod tail;
mod world;

use std::num::NonZeroU32;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(value_enum, default_value_t = Subject::All)]
    subject: Subject,
    /// Events of one turn of `replay`, `rules`, `archive` and `kafka`, and those of `latency`.
    #[arg(long, default_value = "500000")]
    events: NonZeroU32,
    /// Turns of each path.
    #[arg(long, default_value = "3")]
    runs: NonZeroU32,
    /// Families among which the events are spread: fewer where that would leave less than five events to each; those of `soak`.
    #[arg(long, default_value = "100000")]
    families: NonZeroU32,
    /// A Kafka broker, HOST:PORT; `all` leaves `kafka`, `again` and `latency` out without one.
    #[arg(long)]
    broker: Option<String>,
    /// A PostgreSQL server, as postgres://USER@HOST:PORT/NAME, in which a database may be made; `all` leaves `tail` out without one.
    #[arg(long)]
    postgres: Option<String>,
    /// `soak`: how long at half load.
    #[arg(long, default_value = "30")]
    minutes: NonZeroU32,
    /// `soak`: people of the simulated population.
    #[arg(long, default_value = "20000")]
    people: NonZeroU32,
    /// `memory`: refreshes of each family after its issue.
    #[arg(long, default_value = "1", hide = true)]
    refreshes: u32,
    /// `memory`: reuse, travel, velocity and device only.
    #[arg(long, hide = true)]
    four_rules: bool,
    /// Cargo says so to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    Replay,
    Rules,
    Archive,
    Kafka,
    Again,
    Latency,
    Tail,
    Families,
    Goals,
    Soak,
    All,
    /// One measurement of `families`, in a process of its own.
    #[value(hide = true)]
    Memory,
}

const NO_BROKER: &str = "name a broker with --broker HOST:PORT; tests/servers starts one";
const NO_POSTGRES: &str = "name a server with --postgres URL; tests/servers starts one";

fn main() -> anyhow::Result<()> {
    let args = Arguments::parse();
    if args.subject == Subject::Memory {
        return families::measure(families::Case {
            families: args.families.get(),
            refreshes: args.refreshes,
            four_rules: args.four_rules,
        });
    }
    table::line(&machine::described())?;
    let (events, runs) = (args.events.get(), args.runs.get());
    let families = args.families.get().min(events / 5).max(1);
    let broker = || args.broker.as_deref().context(NO_BROKER);
    let postgres = || args.postgres.as_deref().context(NO_POSTGRES);
    if args.subject == Subject::Goals {
        return goals::run(broker()?, postgres()?, events, families, runs);
    }
    if args.subject == Subject::Soak {
        let plan = soak::Plan {
            minutes: args.minutes.get(),
            people: args.people.get(),
            families: args.families.get(),
        };
        return soak::run(broker()?, plan);
    }
    let all = args.subject == Subject::All;
    let wanted = |subject| args.subject == subject || all;
    if wanted(Subject::Replay) {
        replay::run(events, families, runs)?;
    }
    if wanted(Subject::Rules) {
        rules::run(events, families, runs)?;
    }
    if wanted(Subject::Archive) {
        archive::run(events, families, runs)?;
    }
    if all && args.broker.is_none() {
        table::line(&format!("kafka, again and latency: left out, {NO_BROKER}"))?;
    } else {
        if wanted(Subject::Kafka) {
            kafka::run(broker()?, events, families, runs)?;
        }
        if wanted(Subject::Again) {
            again::run(broker()?, events, families, runs)?;
        }
        if wanted(Subject::Latency) {
            latency::run(broker()?, events)?;
        }
    }
    if all && args.postgres.is_none() {
        table::line(&format!("tail: left out, {NO_POSTGRES}"))?;
    } else if wanted(Subject::Tail) {
        tail::run(postgres()?, events, runs)?;
    }
    if wanted(Subject::Families) {
        families::run(runs)?;
    }
    Ok(())
}
