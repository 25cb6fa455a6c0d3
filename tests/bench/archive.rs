//! What the event archive costs: the whole way from a record to what would be committed, with and without it.
//!
//! Batches are decoded, looked up and judged as in the daemon's loop; a "commit" after as many records as one takes waits for the
//! archive, and writes nothing itself, so that no database hides or shares the cost. Files are written to the temporary folder.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, anyhow, ensure};
use tokenwarden::app::parts;
use tokenwarden::app::replay::replay_key;
use tokenwarden::archive::{Folder, Writer};
use tokenwarden::model::{Position, RawBatch, RawRecord, SourcePartition, Timestamp, limits};
use tokenwarden::pipeline::{ArchiveReport, Archiving, Preparer, Taken, Worker};

use crate::input::{Traffic, write_record};
use crate::machine::{Stopwatch, Turn};
use crate::table::{self, Path as Measured};
use crate::world::World;

pub(crate) fn run(events: u32, families: u32, runs: u32) -> anyhow::Result<()> {
    let world = World::new()?;
    let batches = batches(events, families)?;
    let mut without = Measured::new("decode to decision, no archive");
    let mut with = Measured::new("the same, with the archive");
    let (mut json_bytes, mut bytes) = (0, 0);
    for _ in 0..runs {
        without.add(turn(&world, &batches, events, None)?);
        let folder = tempfile::tempdir()?;
        with.add(turn(&world, &batches, events, Some(folder.path()))?);
        bytes = Folder::new(folder.path()).bytes()?;
        json_bytes = unpacked_bytes(folder.path())?;
    }
    let title = format!(
        "archive: {events} events, {families} families, {runs} turns each; {} bytes of JSON and {} in the archive for an event",
        json_bytes / u64::from(events),
        bytes / u64::from(events),
    );
    table::print(&title, &[without, with])?;
    Ok(())
}

fn batches(events: u32, families: u32) -> anyhow::Result<Vec<RawBatch>> {
    let start: Timestamp = "2026-11-20T08:00:00Z".parse()?;
    let mut records = Vec::new();
    for presentation in Traffic::new(0..families, start).take(usize::try_from(events)?) {
        let mut line = String::new();
        write_record(&presentation, &mut line)?;
        records.push(RawRecord {
            place: "".into(),
            payload: line.into_bytes(),
            muted: false,
        });
    }
    let partition = SourcePartition {
        source: "bench".into(),
        partition: "0".into(),
    };
    let batch = |records: &[RawRecord]| RawBatch {
        partition: partition.clone(),
        shard: 0,
        epoch: 1,
        records: records.to_vec(),
        position: Position("".into()),
        tick: None,
        ended: false,
        arrived_at: None,
    };
    Ok(records
        .chunks(limits::BATCH_RECORDS_MAX)
        .map(batch)
        .collect())
}

fn turn(
    world: &World,
    batches: &[RawBatch],
    events: u32,
    folder: Option<&std::path::Path>,
) -> anyhow::Result<Turn> {
    let config = world.config("")?;
    let rules = parts::rule_set(&config, None).map_err(|faults| anyhow!("{faults:?}"))?;
    let (tables, _) = parts::tables(&config);
    let decoder =
        parts::named_decoder("tokenwarden", None, replay_key()).map_err(|why| anyhow!(why))?;
    let (engine, policy) = (parts::engine(&config, &rules), parts::policy(&config));
    let forms = HashMap::from([("bench".into(), decoder)]);
    let mut preparer = Preparer::new(forms, tables);
    let mut worker = Worker::new(engine, policy);
    let written = Written::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut archiving, mut scribe) = (Archiving::default(), None);
    if let Some(folder) = folder {
        worker = worker.naming_families();
        let locked = Folder::new(folder).lock()?.context("nobody else has it")?;
        let (writer, _) = Writer::open(locked, |_| None)?;
        let (sender, _, thread) = Archiving::new(writer, written.clone(), Timestamp::now);
        archiving = sender;
        scribe = Some(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(thread.run());
        }));
    }
    let (mut taken, mut since_commit) = (Taken::default(), 0);
    let watch = Stopwatch::start();
    for batch in batches {
        worker.take(&mut preparer.prepare(batch), false, &mut taken);
        archiving.take(&mut taken.seen);
        since_commit += batch.records.len();
        if since_commit >= limits::COMMIT_RECORDS_MAX {
            runtime.block_on(archiving.settled());
            taken = Taken::default();
            since_commit = 0;
        }
    }
    runtime.block_on(archiving.settled());
    let turn = watch.stop(events);
    drop(archiving);
    if let Some(scribe) = scribe {
        scribe.join().map_err(|_| anyhow!("the archive broke"))?;
        let count = written.0.load(Ordering::Relaxed);
        ensure!(count == u64::from(events), "{count} events in the archive");
    }
    ensure!(worker.engine.counters().events == u64::from(events));
    Ok(turn)
}

fn unpacked_bytes(folder: &std::path::Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    tokenwarden::archive::newest_first(&Folder::new(folder), u64::MAX, |lines| {
        bytes += lines.len() as u64;
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(bytes)
}

/// Counts what was written; a loss fails the turn, as it is not counted here.
#[derive(Clone, Default)]
struct Written(Arc<AtomicU64>);

impl ArchiveReport for Written {
    fn written(&self, events: u64, _: u64) {
        self.0.fetch_add(events, Ordering::Relaxed);
    }

    fn lost(&self, _: u64) {}

    fn fails(&self, _: &str) {}
}
