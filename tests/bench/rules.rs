//! What the rules cost: engine and policy alone, over events that are decoded and enriched already, with the four rules of
//! the mission and with all that come along.

use anyhow::{anyhow, ensure};
use tokenwarden::app::parts;
use tokenwarden::app::replay::replay_key;
use tokenwarden::config::Config;
use tokenwarden::enrich::Enricher;
use tokenwarden::model::{Enriched, Output, Timestamp};
use tokenwarden::pipeline::Worker;

use crate::input::{Traffic, write_record};
use crate::machine::{Stopwatch, Turn};
use crate::table::{self, Path as Measured};
use crate::world::{ALL_RULES, FOUR_RULES, World};

pub(crate) fn run(events: u32, families: u32, runs: u32) -> anyhow::Result<()> {
    let world = World::new()?;
    let four = world.config_of(&FOUR_RULES, "")?;
    let all = world.config_of(&ALL_RULES, "")?;
    let prepared = prepare(&four, events, families)?;
    let mut of_four = Measured::new("engine and policy, four rules");
    let mut of_all = Measured::new("engine and policy, all shipped rules");
    for _ in 0..runs {
        of_four.add(judge(&four, &prepared, events)?);
        of_all.add(judge(&all, &prepared, events)?);
    }
    let title = format!("rules: {events} prepared events, {families} families, {runs} turns each");
    table::print(&title, &[of_four, of_all])?;
    Ok(())
}

fn prepare(config: &Config, events: u32, families: u32) -> anyhow::Result<Vec<Enriched>> {
    let decoder =
        parts::named_decoder("tokenwarden", None, replay_key()).map_err(|why| anyhow!(why))?;
    let (tables, warnings) = parts::tables(config);
    ensure!(warnings.is_empty(), "{warnings:?}");
    let mut enricher = Enricher::new(tables);
    let start: Timestamp = "2026-11-20T08:00:00Z".parse()?;
    let (mut prepared, mut line, mut decoded) = (Vec::new(), String::new(), Vec::new());
    for presentation in Traffic::new(0..families, start).take(usize::try_from(events)?) {
        line.clear();
        write_record(&presentation, &mut line)?;
        decoder
            .decode(line.as_bytes(), &"bench".into(), &mut decoded)
            .map_err(|why| anyhow!("{}", why.message))?;
        prepared.extend(decoded.drain(..).map(|event| enricher.enrich(event)));
    }
    Ok(prepared)
}

fn judge(config: &Config, events: &[Enriched], count: u32) -> anyhow::Result<Turn> {
    let rules = parts::rule_set(config, None).map_err(|faults| anyhow!("{faults:?}"))?;
    let (engine, policy) = (parts::engine(config, &rules), parts::policy(config));
    let mut worker = Worker::new(engine, policy).assuming_done();
    // The copies are made before the clock runs; they cost both the same and are no work of the rules.
    let copies: Vec<Box<Enriched>> = events.iter().cloned().map(Box::new).collect();
    let watch = Stopwatch::start();
    for event in copies {
        let mut output = Output::default();
        worker.take_enriched(0, event, &mut output);
    }
    let turn = watch.stop(count);
    ensure!(worker.engine.counters().events == u64::from(count));
    Ok(turn)
}
