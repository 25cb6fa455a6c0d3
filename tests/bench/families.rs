//! Memory of the engine's state: what the process grows by when families arrive, divided by their number.
//!
//! Each measurement is a process of its own, since an allocator gives little back. The same state written as a snapshot
//! is the baseline: the bytes that the content itself needs.

use std::process::Command;

use anyhow::{Context as _, anyhow, ensure};
use serde_json::{Value, json};
use tokenwarden::app::parts;
use tokenwarden::app::replay::replay_key;
use tokenwarden::decode::Decoder;
use tokenwarden::model::{Output, Timestamp};
use tokenwarden::pipeline::Worker;

use crate::input::{Kind, Presentation, write_record};
use crate::machine::resident_bytes;
use crate::table;
use crate::world::World;

/// Families, and refreshes of each after its issue.
const SIZES: [(u32, u32); 2] = [(1_000_000, 1), (200_000, 8)];

pub(crate) fn run(runs: u32) -> anyhow::Result<()> {
    table::line("")?;
    table::line(&format!(
        "families: growth of resident memory, {runs} processes each"
    ))?;
    table::line(
        "| families | events each | bytes per family: median (min - max) | snapshot bytes per family | tokens | users | networks |",
    )?;
    table::line("|---|---|---|---|---|---|---|")?;
    for (families, refreshes) in SIZES {
        let turns: Vec<Value> = (0..runs)
            .map(|_| apart(families, refreshes))
            .collect::<anyhow::Result<_>>()?;
        let per_family = |name: &str| {
            table::sorted(
                turns
                    .iter()
                    .map(|turn| turn[name].as_f64().unwrap_or(0.0) / f64::from(families)),
            )
        };
        let grown = per_family("grown");
        table::line(&format!(
            "| {families} | {} | {:.0} ({:.0} - {:.0}) | {:.0} | {} | {} | {} |",
            refreshes + 1,
            table::median(&grown),
            table::first(&grown),
            table::last(&grown),
            table::median(&per_family("snapshot")),
            turns[0]["tokens"],
            turns[0]["users"],
            turns[0]["networks"],
        ))?;
    }
    Ok(())
}

fn apart(families: u32, refreshes: u32) -> anyhow::Result<Value> {
    let output = Command::new(std::env::current_exe()?)
        .args(["memory", "--families", &families.to_string()])
        .args(["--refreshes", &refreshes.to_string()])
        .output()
        .context("start the measurement")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the measurement failed: {errors}");
    serde_json::from_slice(&output.stdout).context("read the measurement")
}

/// Feeds the families and prints how much memory that took.
pub(crate) fn measure(families: u32, refreshes: u32) -> anyhow::Result<()> {
    let world = World::new()?;
    let mut feed = Feed::new(&world, families)?;
    // One family more, beforehand, so that tables, parsers and caches of the process are there.
    feed.present(families, 0, Kind::Issue)?;
    let before = resident_bytes();
    for family in 0..families {
        feed.present(family, 0, Kind::Issue)?;
    }
    for generation in 0..refreshes {
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
    let snapshot = feed.worker.engine.snapshot().len();
    table::line(
        &json!({
            "grown": grown, "snapshot": snapshot,
            "tokens": sizes.tokens, "users": sizes.users, "networks": sizes.networks,
        })
        .to_string(),
    )?;
    Ok(())
}

struct Feed {
    worker: Worker,
    decoder: std::sync::Arc<dyn Decoder>,
    start: Timestamp,
    line: String,
    families: u32,
}

impl Feed {
    fn new(world: &World, families: u32) -> anyhow::Result<Self> {
        let config = world.config("")?;
        let rules = parts::rule_set(&config, None).map_err(|faults| anyhow!("{faults:?}"))?;
        let (tables, warnings) = parts::tables(&config);
        ensure!(warnings.is_empty(), "{warnings:?}");
        let (engine, policy) = (parts::engine(&config, &rules), parts::policy(&config));
        Ok(Self {
            worker: Worker::new(std::collections::HashMap::new(), tables, engine, policy),
            decoder: parts::named_decoder("tokenwarden", None, replay_key())
                .map_err(|why| anyhow!(why))?,
            start: "2026-11-20T08:00:00Z".parse()?,
            line: String::new(),
            families,
        })
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
        for event in events {
            self.worker.take_event(0, event, false, None, &mut output);
        }
        Ok(())
    }
}
