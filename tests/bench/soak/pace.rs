//! How fast the load is written, and the most that the daemon takes of it once all is full that it bounds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::daemon::Daemon;

/// For so long the daemon is held (`SIGSTOP`) while the load is written: shorter than a broker's patience with a consumer (45 s).
const HELD: Duration = Duration::from_secs(20);
/// What it reads then is measured for no longer.
const MEASURED_MOST: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LAG: &str = "tokenwarden_source_lag_records";

/// Events a second; its writer follows.
#[derive(Debug)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    pub(super) const fn of(rate: u64) -> Self {
        Self(AtomicU64::new(rate))
    }

    pub(super) fn set(&self, rate: u64) {
        self.0.store(rate, Ordering::Relaxed);
    }

    pub(super) fn rate(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(super) fn due_in(&self, time: Duration) -> f64 {
        self.rate() as f64 * time.as_secs_f64()
    }
}

/// Events a second that it reads while records wait for it and more are written.
///
/// Held for a while, it has a backlog, whose events are as far apart as any others: more written in less time would be an attack.
pub(super) async fn most(daemon: &Daemon, pace: &Pace) -> anyhow::Result<f64> {
    daemon.signal("STOP");
    tokio::time::sleep(HELD).await;
    daemon.signal("CONT");
    let (read_before, begun) = (read(daemon).await, Instant::now());
    // It hears a little later how much there is; while so much is left it never waits.
    let enough = pace.due_in(Duration::from_secs(1));
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (read, lag) = (
            read(daemon).await - read_before,
            daemon.metric(LAG, "").await,
        );
        let time = begun.elapsed();
        let is_half_read = read > pace.due_in(HELD / 2);
        if time > MEASURED_MOST || (is_half_read && lag < enough) {
            ensure!(read > 0.0, "it reads nothing after it was held");
            return Ok(read / time.as_secs_f64());
        }
    }
}

/// Until nothing waits but what has just been written.
pub(super) async fn caught_up(
    daemon: &Daemon,
    pace: &Pace,
    patience: Duration,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    while daemon.metric(LAG, "").await > pace.due_in(Duration::from_secs(1)) {
        ensure!(
            begun.elapsed() < patience,
            "at half load it does not catch up"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn read(daemon: &Daemon) -> f64 {
    let name = "tokenwarden_records_received_total";
    daemon.metric(name, "source=\"auth\"").await
}
