//! What many families cost the engine: memory, and how long it stands still.
//!
//! Each measurement is a process of its own, since an allocator gives little back. The same state written as a snapshot
//! is the baseline of memory: the bytes that the content itself needs. Time is that of the engine's thread alone, without
//! making the records and decoding them.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use serde::{Deserialize, Serialize};
use tokenwarden::app::parts;
use tokenwarden::app::replay::replay_key;
use tokenwarden::decode::Decoder;
use tokenwarden::engine::Engine;
use tokenwarden::enrich::Enricher;
use tokenwarden::model::{Output, Timestamp};
use tokenwarden::pipeline::Worker;

use crate::input::{Kind, Presentation, write_record};
use crate::machine::resident_bytes;
use crate::table;
use crate::world::{ALL_RULES, FOUR_RULES, World};

/// How many families, how often each is refreshed after its issue, and under which rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) families: u32,
    pub(crate) refreshes: u32,
    pub(crate) four_rules: bool,
}

const CASES: [Case; 2] = [
    Case {
        families: 1_000_000,
        refreshes: 1,
        four_rules: false,
    },
    Case {
        families: 200_000,
        refreshes: 8,
        four_rules: false,
    },
];

/// Events of a batch, as a busy source hands them over.
const BATCH: u32 = 500;

/// What one process found.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Bytes that the process grew by, and those of the saved form.
    grown: u64,
    saved: u64,
    tokens: usize,
    users: usize,
    networks: usize,
    /// Events judged a second, over the last time that each family came.
    pub(crate) rate: f64,
    /// The longest that one event took, of all.
    pub(crate) longest_ms: f64,
    /// While the saved form is made and events go on: the longest that the next event had to wait, whether for a piece of it
    /// or for an event that had to be saved first; and how much of the rate is lost meanwhile.
    pub(crate) save_ms: f64,
    pub(crate) lost: f64,
    /// How long it takes until it is made, events included, and how long to take it over.
    save_seconds: f64,
    pub(crate) restore_ms: f64,
}

pub(crate) fn run(runs: u32) -> anyhow::Result<()> {
    table::line("")?;
    table::line(&format!(
        "families: growth of resident memory and time of the engine's thread, {runs} processes each"
    ))?;
    table::line(
        "| families | events each | bytes per family: median (min - max) | saved bytes per family | tokens | users | networks \
         | events/s | longest event, ms | longest stall while saving, ms | rate lost meanwhile | saving, s | restoring, ms |",
    )?;
    table::line("|---|---|---|---|---|---|---|---|---|---|---|---|---|")?;
    for case in CASES {
        let turns: Vec<Cost> = (0..runs)
            .map(|_| apart(case))
            .collect::<anyhow::Result<_>>()?;
        let sorted = |of: fn(&Cost) -> f64| table::sorted(turns.iter().map(of));
        let families = f64::from(case.families);
        let grown = sorted(Cost::grown_bytes);
        let typical = |of: fn(&Cost) -> f64| table::median(&sorted(of));
        table::line(&format!(
            "| {} | {} | {:.0} ({:.0} - {:.0}) | {:.0} | {} | {} | {} | {:.0} | {:.1} | {:.1} | {:.0} % | {:.1} | {:.0} |",
            case.families,
            case.refreshes + 1,
            table::median(&grown) / families,
            table::first(&grown) / families,
            table::last(&grown) / families,
            typical(|turn| bytes(turn.saved)) / families,
            turns[0].tokens,
            turns[0].users,
            turns[0].networks,
            typical(|turn| turn.rate),
            typical(|turn| turn.longest_ms),
            typical(|turn| turn.save_ms),
            typical(|turn| turn.lost * 1e2),
            typical(|turn| turn.save_seconds),
            typical(|turn| turn.restore_ms),
        ))?;
    }
    Ok(())
}

impl Cost {
    pub(crate) fn grown_bytes(&self) -> f64 {
        bytes(self.grown)
    }
}

/// Exact up to petabytes.
fn bytes(count: u64) -> f64 {
    let mib = u32::try_from(count >> 20).unwrap_or(u32::MAX);
    let rest = u32::try_from(count & 0xf_ffff).unwrap_or(0);
    f64::from(mib) * 1_048_576.0 + f64::from(rest)
}

/// In a process of its own.
pub(crate) fn apart(case: Case) -> anyhow::Result<Cost> {
    let output = Command::new(std::env::current_exe()?)
        .args(["memory", "--families", &case.families.to_string()])
        .args(["--refreshes", &case.refreshes.to_string()])
        .args(case.four_rules.then_some("--four-rules"))
        .output()
        .context("start the measurement")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the measurement failed: {errors}");
    serde_json::from_slice(&output.stdout).context("read the measurement")
}

/// Feeds the families and prints what that took.
pub(crate) fn measure(case: Case) -> anyhow::Result<()> {
    let families = case.families;
    let world = World::new()?;
    let mut feed = Feed::new(&world, case)?;
    // One family more, beforehand, so that tables, parsers and caches of the process are there.
    feed.present(families, 0, Kind::Issue)?;
    feed.longest = Duration::ZERO;
    let before = resident_bytes();
    for family in 0..families {
        feed.present(family, 0, Kind::Issue)?;
    }
    for generation in 0..case.refreshes {
        feed.took = Duration::ZERO;
        for family in 0..families {
            feed.present(family, generation, Kind::Refresh)?;
        }
    }
    let grown = resident_bytes().saturating_sub(before);
    let sizes = feed.worker.engine.sizes();
    ensure!(
        sizes.families == usize::try_from(families)? + 1 && sizes.evicted == 0,
        "{sizes:?}"
    );
    let rate = f64::from(families) / feed.took.as_secs_f64();
    let longest = feed.longest;
    let round = feed.save(case)?;
    let saved = round.saved.concat();
    let mut other = feed.empty.clone();
    let begun = Instant::now();
    ensure!(other.restore(&saved), "the saved form is not taken");
    let restore = begun.elapsed();
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let cost = Cost {
        grown,
        saved: saved.len() as u64,
        tokens: sizes.tokens,
        users: sizes.users,
        networks: sizes.networks,
        rate,
        longest_ms: ms(longest),
        save_ms: ms(round.longest),
        lost: 1.0 - round.events / round.took.as_secs_f64() / rate,
        save_seconds: round.took.as_secs_f64(),
        restore_ms: ms(restore),
    };
    table::line(&serde_json::to_string(&cost)?)?;
    Ok(())
}

/// The state, saved while events went on.
struct Round {
    saved: Vec<Vec<u8>>,
    longest: Duration,
    /// Of the engine's thread, and how many events it took meanwhile.
    took: Duration,
    events: f64,
}

/// What the engine's thread does beside taking events.
#[derive(Default)]
struct Pieces {
    took: Duration,
    longest: Duration,
}

impl Pieces {
    fn time<T>(&mut self, piece: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = piece();
        let took = begun.elapsed();
        self.took += took;
        self.longest = self.longest.max(took);
        done
    }
}

struct Feed {
    worker: Worker,
    /// The same without anything remembered.
    empty: Engine,
    /// Of the engine's thread, since it was set to nothing; and the longest that one event took.
    took: Duration,
    longest: Duration,
    decoder: std::sync::Arc<dyn Decoder>,
    enricher: Enricher,
    start: Timestamp,
    line: String,
    families: u32,
}

impl Feed {
    fn new(world: &World, case: Case) -> anyhow::Result<Self> {
        let rules = if case.four_rules {
            &FOUR_RULES[..]
        } else {
            &ALL_RULES
        };
        let config = world.config_of(rules, "")?;
        let rules = parts::rule_set(&config, None).map_err(|faults| anyhow!("{faults:?}"))?;
        let (tables, warnings) = parts::tables(&config);
        ensure!(warnings.is_empty(), "{warnings:?}");
        let (engine, policy) = (parts::engine(&config, &rules), parts::policy(&config));
        Ok(Self {
            empty: engine.clone(),
            took: Duration::ZERO,
            longest: Duration::ZERO,
            worker: Worker::new(engine, policy),
            decoder: parts::named_decoder("tokenwarden", None, replay_key())
                .map_err(|why| anyhow!(why))?,
            enricher: Enricher::new(tables),
            start: "2026-11-20T08:00:00Z".parse()?,
            line: String::new(),
            families: case.families,
        })
    }

    /// As the daemon does it: a piece after every batch.
    fn save(&mut self, case: Case) -> anyhow::Result<Round> {
        let (mut pieces, mut events) = (Pieces::default(), 0.0);
        let worker = &mut self.worker;
        pieces.time(|| {
            std::hint::black_box(worker.policy.snapshot());
            worker.engine.begin_round();
        });
        (self.took, self.longest) = (Duration::ZERO, Duration::ZERO);
        let mut saved = Vec::new();
        for generation in case.refreshes.. {
            for family in 0..self.families {
                self.present(family, generation, Kind::Refresh)?;
                events += 1.0;
                if !(family + 1).is_multiple_of(BATCH) {
                    continue;
                }
                let worker = &mut self.worker;
                let mut made = pieces.time(|| worker.engine.go_on_with_round());
                saved.append(&mut made.pieces);
                if made.is_complete {
                    return Ok(Round {
                        saved,
                        longest: pieces.longest.max(self.longest),
                        took: pieces.took + self.took,
                        events,
                    });
                }
            }
        }
        Err(anyhow!("the state was never saved in full"))
    }

    /// Spread so that a whole round takes five minutes, as the lifetime of the access tokens would have it.
    fn present(&mut self, family: u32, generation: u32, kind: Kind) -> anyhow::Result<()> {
        let rounds = i64::from(generation) + i64::from(kind == Kind::Refresh);
        let within = 300_000 * i64::from(family) / i64::from(self.families + 1);
        let presentation = Presentation {
            time_ms: self.start.as_millisecond() + 300_000 * rounds + within,
            family,
            generation,
            kind,
        };
        self.line.clear();
        write_record(&presentation, &mut self.line)?;
        let mut events = Vec::new();
        self.decoder
            .decode(self.line.as_bytes(), &"bench".into(), &mut events)
            .map_err(|why| anyhow!("{}", why.message))?;
        let mut output = Output::default();
        let events: Vec<_> = events
            .into_iter()
            .map(|event| Box::new(self.enricher.enrich(event)))
            .collect();
        let begun = Instant::now();
        for event in events {
            self.worker.take_enriched(0, event, &mut output);
        }
        let took = begun.elapsed();
        self.took += took;
        self.longest = self.longest.max(took);
        Ok(())
    }
}
