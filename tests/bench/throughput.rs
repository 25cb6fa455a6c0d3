//! First numbers: what the daemon costs beside a bare loop that reads the same input in the same run.
//!
//! `cargo bench --bench throughput -- replay` (or `rules`, `archive`, `kafka --broker HOST:PORT`, `latency --broker HOST:PORT`,
//! `families`, `all`)
//!
//! Absolute rates say more of the machine and its other work than of the program, so every path is measured beside its
//! baselines, turn by turn, and the ratio of the medians is what to compare. CPU seconds count every thread of the
//! process. No benchmark crate: one turn takes seconds, and what counts is that turns of different paths alternate.

mod archive;
mod families;
mod input;
mod kafka;
mod latency;
mod listeners;
mod machine;
mod replay;
mod rules;
mod table;
mod world;

use std::num::NonZeroU32;

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
    /// Families among which the events are spread: fewer where that would leave less than five events to each.
    #[arg(long, default_value = "100000")]
    families: NonZeroU32,
    /// A Kafka broker, HOST:PORT; `all` leaves `kafka` and `latency` out without one.
    #[arg(long)]
    broker: Option<String>,
    /// `memory`: refreshes of each family after its issue.
    #[arg(long, default_value = "1", hide = true)]
    refreshes: u32,
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
    Latency,
    Families,
    All,
    /// One measurement of `families`, in a process of its own.
    #[value(hide = true)]
    Memory,
}

fn main() -> anyhow::Result<()> {
    let args = Arguments::parse();
    if args.subject == Subject::Memory {
        return families::measure(args.families.get(), args.refreshes);
    }
    let wanted = |subject| args.subject == subject || args.subject == Subject::All;
    table::line(&machine::described())?;
    let (events, runs) = (args.events.get(), args.runs.get());
    let families = args.families.get().min(events / 5).max(1);
    if wanted(Subject::Replay) {
        replay::run(events, families, runs)?;
    }
    if wanted(Subject::Rules) {
        rules::run(events, families, runs)?;
    }
    if wanted(Subject::Archive) {
        archive::run(events, families, runs)?;
    }
    if wanted(Subject::Kafka) || wanted(Subject::Latency) {
        match &args.broker {
            Some(broker) => {
                if wanted(Subject::Kafka) {
                    kafka::run(broker, events, families, runs)?;
                }
                if wanted(Subject::Latency) {
                    // So many that each is refreshed once: as often as they come here, more would be an attack.
                    latency::run(broker, events, (events / 2).max(1))?;
                }
            }
            None if args.subject == Subject::All => {
                table::line("kafka and latency: left out, name a broker with --broker HOST:PORT")?;
            }
            None => {
                anyhow::bail!("name a broker with --broker HOST:PORT; tests/servers starts one")
            }
        }
    }
    if wanted(Subject::Families) {
        families::run(runs)?;
    }
    Ok(())
}
