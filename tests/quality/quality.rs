//! How well the shipped rules tell theft from accident, beside three naive ways, on simulated populations.
//!
//! `cargo bench --bench quality -- --users 100000 --days 30 --seeds 3`
//!
//! Each population is lived once and judged by every lane side by side: the shipped rules, and the baselines of the folder
//! `baselines` (any reuse ends the family; another country ends it; a fixed rate ends it), all in the same engine and the
//! same event time. What is right is known to the simulation alone. Seeds are fresh unless given, and printed, so that every
//! number can be had again.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report is for printing"
)]

mod lane;
mod score;
mod table;

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser;
use tokenwarden::config::Config;
use tokenwarden::enrich::Enricher;
use tokenwarden::simulate::places::write_city_asn;
use tokenwarden::simulate::population::{
    Population, Sender, Settings, Source, WORLD_CONFIG, localities,
};

use lane::Lane;
use score::Score;

#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
struct Arguments {
    #[arg(long, default_value = "100000")]
    users: u32,
    #[arg(long, default_value = "30")]
    days: u32,
    /// How many fresh seeds.
    #[arg(long, default_value = "3")]
    seeds: u32,
    /// These seeds in place of fresh ones.
    #[arg(long, value_delimiter = ',')]
    seed: Vec<u64>,
    /// Every honest oddity so many times as often; each is a run of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    oddities: Vec<u32>,
    /// Attacks of each kind per 10,000 users and week.
    #[arg(long, default_value = "2")]
    attacks: u32,
    /// Leave the baselines out.
    #[arg(long)]
    ours_only: bool,
    /// Only one richness of source: full, no-device or address-only.
    #[arg(long)]
    source: Option<String>,
    /// List every miss and every false alarm of the shipped rules.
    #[arg(long)]
    verbose: bool,
    /// Fail unless the goals are met.
    #[arg(long)]
    check: bool,
    /// Cargo says so to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Arguments::parse();
    let seeds = seeds(&args);
    println!(
        "{} users, {} days, {} attacks of each kind per 10,000 users and week, seeds {seeds:?}\n",
        args.users, args.days, args.attacks
    );
    let mut scores: Vec<Score> = Vec::new();
    for source in Source::ALL.iter().filter(|source| wanted(&args, **source)) {
        for oddities in &args.oddities {
            for seed in &seeds {
                let settings = Settings {
                    users: args.users,
                    days: args.days,
                    seed: *seed,
                    source: *source,
                    oddities: *oddities,
                    attacks: args.attacks,
                    ..Settings::default()
                };
                for score in live(&args, &settings)? {
                    eprintln!("{}", score.one_line());
                    scores.push(score);
                }
            }
        }
    }
    table::print(&scores);
    if args.check {
        table::check(&scores)?;
    }
    Ok(())
}

fn wanted(args: &Arguments, source: Source) -> bool {
    args.source
        .as_ref()
        .is_none_or(|name| name == source.as_str())
}

/// Fresh ones, from what the system gives to hash maps.
fn seeds(args: &Arguments) -> Vec<u64> {
    use std::hash::{BuildHasher, RandomState};
    if !args.seed.is_empty() {
        return args.seed.clone();
    }
    let fresh = |n| RandomState::new().hash_one(n) % 1_000_000_000;
    (0..args.seeds).map(fresh).collect()
}

/// Lives one population; every lane judges it.
fn live(args: &Arguments, settings: &Settings) -> anyhow::Result<Vec<Score>> {
    let folder = tempfile::tempdir().context("make a folder for the GeoIP files")?;
    let geoip = folder.path().join("geoip");
    std::fs::create_dir_all(&geoip)?;
    write_city_asn(&geoip, &localities(), settings.start)?;
    let path = folder.path().join("tokenwarden.yaml");
    std::fs::write(&path, WORLD_CONFIG)?;
    let config = Config::load(&path).map_err(first)?;
    let mut lanes = vec![Lane::new("shipped rules", &config, None)?];
    if !args.ours_only {
        let baselines = Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/quality/baselines"
        ));
        for name in lane::BASELINES {
            let rules = baselines.join(format!("{name}.yaml"));
            lanes.push(Lane::new(name, &config, Some(&rules))?);
        }
    }
    let mut enricher = Enricher::new(lanes[0].tables());
    let mut population = Population::new(settings.clone());
    let mut strangers = HashSet::new();
    let began = Instant::now();
    for moment in &mut population {
        if moment.truth.sender == Sender::Stranger {
            strangers.insert(moment.event.event_id.clone());
        }
        let event = enricher.enrich(moment.event);
        for lane in &mut lanes {
            lane.take(&event);
        }
    }
    let truth = population.into_truth();
    eprintln!(
        "{} events in {:.0} s",
        truth.events,
        began.elapsed().as_secs_f64()
    );
    let judged = lanes.into_iter().map(|lane| {
        let (name, told) = lane.finish();
        Score::new(name, settings, (&truth, &strangers), &told, args.verbose)
    });
    Ok(judged.collect())
}

/// All faults of files that are ours are one too many.
#[expect(
    clippy::needless_pass_by_value,
    reason = "made to be handed to `map_err`"
)]
fn first(faults: Vec<tokenwarden::yaml::Fault>) -> anyhow::Error {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("{}", faults.join("\n"))
}
