//! `replay` beside two loops over the same file: one that counts lines, and one that parses each as JSON.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, ensure};
use serde_json::Value;
use tokenwarden::app::parts;
use tokenwarden::app::replay::{Listener, Replay, Summary, replay_key};
use tokenwarden::config::Config;
use tokenwarden::model::{Output, Reject, Timestamp};

use crate::input::{Traffic, write_record};
use crate::machine::Stopwatch;
use crate::table::{self, Path as Measured};
use crate::world::World;

pub(crate) fn run(events: u32, families: u32, runs: u32) -> anyhow::Result<()> {
    let world = World::new()?;
    let file = world.path().join("events.jsonl");
    let bytes = write_events(&file, events, families)?;
    let config = world.config("")?;
    let mut lines = Measured::new("read lines, count bytes");
    let mut json = Measured::new("read lines, parse JSON (serde_json::Value)");
    let mut replayed = Measured::new("replay, shipped rules");
    let mut summary = Summary::default();
    for _ in 0..runs {
        let watch = Stopwatch::start();
        ensure!(count_lines(&file)? == bytes, "not every byte was read");
        lines.add(watch.stop(events));
        let watch = Stopwatch::start();
        parse_lines(&file)?;
        json.add(watch.stop(events));
        let watch = Stopwatch::start();
        summary = replay(&config, &file)?;
        replayed.add(watch.stop(events));
        ensure!(
            summary.events == u64::from(events) && summary.rejected == 0,
            "{summary:?}"
        );
    }
    let title = format!(
        "replay: {events} events of {} bytes, {families} families, {runs} turns each; {} detections, {} late, {} repeats",
        bytes / u64::from(events),
        summary.detections,
        summary.late,
        summary.duplicates
    );
    table::print(&title, &[lines, json, replayed])?;
    Ok(())
}

fn write_events(path: &Path, events: u32, families: u32) -> anyhow::Result<u64> {
    let start: Timestamp = "2026-11-20T08:00:00Z".parse()?;
    let mut file = BufWriter::new(File::create(path)?);
    let mut line = String::new();
    let mut bytes = 0;
    for presentation in Traffic::new(0..families, start).take(usize::try_from(events)?) {
        line.clear();
        write_record(&presentation, &mut line)?;
        line.push('\n');
        bytes += line.len() as u64;
        file.write_all(line.as_bytes())?;
    }
    file.flush()?;
    Ok(bytes)
}

fn count_lines(path: &Path) -> anyhow::Result<u64> {
    let mut input = BufReader::with_capacity(1 << 16, File::open(path)?);
    let (mut line, mut bytes) = (Vec::new(), 0);
    while input.read_until(b'\n', &mut line)? > 0 {
        bytes += black_box(&line).len() as u64;
        line.clear();
    }
    Ok(bytes)
}

fn parse_lines(path: &Path) -> anyhow::Result<()> {
    let mut input = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        black_box(serde_json::from_slice::<Value>(&line)?);
        line.clear();
    }
    Ok(())
}

fn replay(config: &Config, file: &Path) -> anyhow::Result<Summary> {
    let decoder =
        parts::named_decoder("tokenwarden", None, replay_key()).map_err(|why| anyhow!(why))?;
    let replay = Replay {
        config,
        rules: parts::rule_set(config, None).map_err(|faults| anyhow!("{faults:?}"))?,
        files: vec![PathBuf::from(file)],
        decoder,
        source: "replay".into(),
    };
    replay.run(&mut Nobody)
}

/// Printing is not measured: what is found in ordinary traffic is little.
struct Nobody;

impl Listener for Nobody {
    fn output(&mut self, output: &Output) -> anyhow::Result<()> {
        black_box(output);
        Ok(())
    }

    fn rejected(&mut self, reject: &Reject) -> anyhow::Result<()> {
        Err(anyhow!("rejected: {}", reject.message))
    }

    fn progress(&mut self, _: u64) {}
}
