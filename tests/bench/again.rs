//! How quickly a daemon that was killed reads again what it had read, beside how quickly it read it, and whether it works all
//! of the time in which something waits for it.
//!
//! The real binary as a process of its own, which saves its state at the start alone: after the kill nearly everything is
//! read again, muted. What it has read it says itself, in its metrics.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::kafka::{self, PARTITIONS, PATIENCE};
use crate::machine::{self, Turn};
use crate::table::{self, Path as Measured};
use crate::world::{ALL_RULES, World};

/// What came of it.
pub(crate) struct Again {
    /// Rate of reading again, of the rate of reading.
    pub(crate) of_live: f64,
    /// Part of the time in which the process was on no core, while records waited for it.
    pub(crate) idle: f64,
}

const LOOK_EVERY: Duration = Duration::from_millis(20);
const READ: &str = "tokenwarden_records_received_total";
const READ_AGAIN: &str = "tokenwarden_records_read_again_total";
/// Of families that come no more.
const AFTER: u32 = 100_000_000;

pub(crate) fn run(broker: &str, events: u32, families: u32, runs: u32) -> anyhow::Result<Again> {
    // Of several that install it the first one wins.
    drop(rustls::crypto::ring::default_provider().install_default());
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
    let world = World::new()?;
    let ops = free_port()?;
    let config = world.write_config(
        &ALL_RULES,
        &format!(
            "sources:\n  - name: bench\n    kafka: {{ brokers: [\"{broker}\"], topics: [{topic}], group: \"{topic}-daemon\" }}\n    \
             format: tokenwarden\n    start: earliest\n    warm_up: 0s\n\
             store: {{ snapshot_every: 1h }}\n\
             http: {{ ops: {{ listen: \"{ops}\" }}, api: {{ listen: \"127.0.0.1:0\", token: bench-token-bench-token }} }}\n"
        ),
    )?;
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenwarden"));
        command
            .arg("run")
            .arg("-c")
            .arg(&config)
            .current_dir(world.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok::<_, anyhow::Error>(Killed(command.spawn()?))
    };
    let page = format!("http://{ops}/metrics");
    let daemon = start()?;
    let live = daemon
        .timed(&page, READ, async |read| Ok(read >= events))
        .await?;
    daemon.committed(&page, events).await?;
    drop(daemon);
    // What comes behind all that was read before says that reading again is over.
    kafka::produce(broker, topic, PARTITIONS, AFTER..AFTER + PARTITIONS)?;
    let daemon = start()?;
    let again = daemon
        .timed(&page, READ_AGAIN, async |_| {
            Ok(metric(&page, READ).await? >= PARTITIONS)
        })
        .await?;
    ensure!(
        again.events > events / 2,
        "only {} of {events} records were read again: a state was saved in between",
        again.events
    );
    Ok([live, again])
}

fn free_port() -> anyhow::Result<std::net::SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A process that is killed when it is no longer needed.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Killed {
    /// From the first look at which the count was above zero until it is over.
    async fn timed(
        &self,
        page: &str,
        count: &str,
        is_over: impl AsyncFn(u32) -> anyhow::Result<bool>,
    ) -> anyhow::Result<Turn> {
        let (begun, pid) = (Instant::now(), self.0.id());
        let mut first: Option<(Instant, Duration, u32)> = None;
        while begun.elapsed() < PATIENCE {
            let (now, cpu, read) = (
                Instant::now(),
                machine::cpu_time_of(&pid.to_string()),
                metric(page, count).await.unwrap_or(0),
            );
            if read > 0 {
                let (since, cpu_before, before) = *first.get_or_insert((now, cpu, read));
                if is_over(read).await? {
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
        anyhow::bail!("{count} has not come to its end within {PATIENCE:?}")
    }

    /// Until what was read is durable: nothing waits any more, and a commit has had its time.
    async fn committed(&self, page: &str, events: u32) -> anyhow::Result<()> {
        ensure!(metric(page, READ).await? >= events);
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(())
    }
}

/// Of the source that is measured; nothing where it is not told yet.
async fn metric(page: &str, name: &str) -> anyhow::Result<u32> {
    let text = reqwest::get(page).await?.text().await?;
    let series = format!("{name}{{source=\"bench\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&series));
    Ok(value.map_or(Ok(0), str::parse)?)
}
