//! What Linux says of this machine and this process.

use std::fs;
use std::time::{Duration, Instant};

/// Linux counts CPU time in hundredths of a second towards programs, on every architecture in use.
const TICKS_PER_S: u32 = 100;
const PAGE_BYTES: u64 = 4096;

/// One line: what the numbers below were measured on.
pub(crate) fn described() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let gib = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok())
        .unwrap_or(0)
        / (1024 * 1024);
    format!("machine: {cores} cores, {model}, {gib} GiB, load {load} at the start")
}

/// Wall and CPU time since its creation; of every thread of the process.
pub(crate) struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self {
            wall: Instant::now(),
            cpu: cpu_time_of("self"),
        }
    }

    pub(crate) fn stop(&self, events: u32) -> Turn {
        Turn {
            events,
            wall: self.wall.elapsed(),
            cpu: cpu_time_of("self").saturating_sub(self.cpu),
        }
    }
}

/// One turn of one path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) events: u32,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// User and system time: fields 14 and 15 of the line, counted after the name, which may hold blanks.
pub(crate) fn cpu_time_of(process: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u32 = after_name
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u32>().ok())
        .sum();
    Duration::from_secs(1) * ticks / TICKS_PER_S
}

/// Memory of the process that is in RAM.
pub(crate) fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}

/// A count or a rate.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "none is negative, or more than some millions"
)]
pub(crate) fn in_whole(value: f64) -> u32 {
    value as u32
}
