//! How quickly a daemon that was killed reads again what it had read, beside how quickly it read it, and whether it works all
//! of the time in which something waits for it.
//!
//! The real binary as a process of its own, which saves its state at the start alone: after the kill nearly everything is
//! read again, muted. What it has read it says itself, in its metrics.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::daemon::{Daemon, Home};
use crate::kafka::{self, PARTITIONS, PATIENCE};
use crate::machine::{self, Turn};
use crate::table::{self, Path as Measured};
use crate::world::{self, ALL_RULES};

/// What came of it.
pub(crate) struct Again {
    /// Rate of reading again, of the rate of reading.
    pub(crate) of_live: f64,
    /// Part of the time in which the process was on no core, while records waited for it.
    pub(crate) idle: f64,
}

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Commits come every 50 ms.
const COMMITTED_WITHIN: Duration = Duration::from_secs(2);
const READ: &str = "tokenwarden_records_received_total";
const READ_AGAIN: &str = "tokenwarden_records_read_again_total";
/// Of families that come no more.
const AFTER: u32 = 100_000_000;

pub(crate) fn run(broker: &str, events: u32, families: u32, runs: u32) -> anyhow::Result<Again> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut live = Measured::new("read for the first time");
    let mut again = Measured::new("read again after a kill, muted");
    let mut idle = Vec::new();
    for run in 0..runs {
        let topic = format!("tokenwarden-again-{}-{run}", std::process::id());
        runtime.block_on(kafka::make_topic(broker, &topic))?;
        let turns = kafka::produce(broker, &topic, events, 0..families)
            .and_then(|_| runtime.block_on(turn(broker, &topic, events)));
        runtime.block_on(kafka::delete_topic(broker, &topic));
        let [first, second] = turns?;
        idle.push(1.0 - (first.cpu.as_secs_f64() / first.wall.as_secs_f64()).min(1.0));
        live.add(first);
        again.add(second);
    }
    let of_live = again.rate() / live.rate();
    let title = format!("again: {events} events, {families} families, {runs} turns each");
    table::print(&title, &[live, again])?;
    Ok(Again {
        of_live,
        idle: table::median(&table::sorted(idle.into_iter())),
    })
}

async fn turn(broker: &str, topic: &str, events: u32) -> anyhow::Result<[Turn; 2]> {
    let more = format!(
        "sources:\n  - name: bench\n    kafka: {{ brokers: [\"{broker}\"], topics: [{topic}], group: \"{topic}-daemon\" }}\n    \
         format: tokenwarden\n    start: earliest\n    warm_up: 0s\n\
         store: {{ snapshot_every: 1h }}\n"
    );
    let home = Home::new(&world::text_of(&ALL_RULES, &more));
    world::write_geoip(home.path())?;
    let daemon = home.start().await;
    let live = timed(&daemon, READ, async |read| read >= events).await?;
    tokio::time::sleep(COMMITTED_WITHIN).await;
    daemon.kill();
    // What comes behind all that was read before says that reading again is over.
    kafka::produce(broker, topic, PARTITIONS, AFTER..AFTER + PARTITIONS)?;
    let daemon = home.start().await;
    let is_over = async |_| count(&daemon, READ).await >= PARTITIONS;
    let again = timed(&daemon, READ_AGAIN, is_over).await?;
    ensure!(
        again.events > events / 2,
        "only {} of {events} records were read again: a state was saved in between",
        again.events
    );
    Ok([live, again])
}

/// From the first look at which the count was above zero until it is over.
async fn timed(
    daemon: &Daemon,
    name: &str,
    is_over: impl AsyncFn(u32) -> bool,
) -> anyhow::Result<Turn> {
    let begun = Instant::now();
    let mut first: Option<(Instant, Duration, u32)> = None;
    while begun.elapsed() < PATIENCE {
        let (now, cpu, read) = (
            Instant::now(),
            machine::cpu_time_of(&daemon.pid().to_string()),
            count(daemon, name).await,
        );
        if read > 0 {
            let (since, cpu_before, before) = *first.get_or_insert((now, cpu, read));
            if is_over(read).await {
                ensure!(read > before, "all was read at the first look");
                return Ok(Turn {
                    events: read - before,
                    wall: now - since,
                    cpu: cpu.saturating_sub(cpu_before),
                });
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    anyhow::bail!("{name} has not come to its end within {PATIENCE:?}")
}

/// Of the source that is measured; nothing where it is not told yet.
async fn count(daemon: &Daemon, name: &str) -> u32 {
    machine::in_whole(daemon.metric(name, "source=\"bench\"").await)
}
