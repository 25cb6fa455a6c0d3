//! Memory and lag over the time of a run: how they begin and end.

use crate::table::{first, last, line, sorted};

use super::SAMPLE_EVERY;

/// Taken at even distances.
#[derive(Debug, Default)]
pub(super) struct Samples {
    bytes: Vec<f64>,
    lag: Vec<f64>,
}

/// How much the last quarter may differ from the first.
const FLAT_PERCENT: f64 = 2.0;
const MIB: f64 = 1_048_576.0;
/// Once a minute.
const SHOWN_ONE_IN: usize = 6;

impl Samples {
    pub(super) fn begin() -> std::io::Result<Self> {
        line("")?;
        line("| s | MiB resident | records behind |")?;
        line("|---|---|---|")?;
        Ok(Self::default())
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(super) fn add(&mut self, bytes: u64, lag: f64) -> std::io::Result<()> {
        let (taken, bytes) = (self.bytes.len(), bytes as f64);
        self.bytes.push(bytes);
        self.lag.push(lag);
        if !taken.is_multiple_of(SHOWN_ONE_IN) {
            return Ok(());
        }
        let second = SAMPLE_EVERY.as_secs() * taken as u64;
        line(&format!("| {second} | {:.0} | {lag:.0} |", bytes / MIB))
    }

    /// Means of the first and the last quarter.
    fn quarters(&self) -> [f64; 2] {
        let all = &self.bytes;
        let quarter = (all.len() / 4).max(1);
        [&all[..quarter], &all[all.len() - quarter..]].map(mean)
    }

    fn grown_percent(&self) -> f64 {
        let [first, last] = self.quarters();
        (last / first - 1.0) * 100.0
    }

    pub(super) fn is_flat(&self) -> bool {
        self.grown_percent().abs() <= FLAT_PERCENT
    }

    pub(super) fn sum_up(&self) -> std::io::Result<()> {
        let [begin, end] = self.quarters();
        let all = sorted(self.bytes.iter().copied());
        let of_hour = slope(&self.bytes) * 3600.0 / SAMPLE_EVERY.as_secs_f64();
        line(&format!(
            "memory: {:.0} MiB in the first quarter, {:.0} MiB in the last ({:+.1} %, within {FLAT_PERCENT} %: {}); \
             largest / smallest {:.3}; {:+.1} MiB an hour by least squares",
            begin / MIB,
            end / MIB,
            self.grown_percent(),
            if self.is_flat() { "yes" } else { "no" },
            last(&all) / first(&all).max(1.0),
            of_hour / MIB,
        ))?;
        let lag = sorted(self.lag.iter().copied());
        line(&format!("lag: at most {:.0} records", last(&lag)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "some hundred")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// By least squares, of one sample to the next.
#[expect(clippy::cast_precision_loss, reason = "some hundred")]
fn slope(values: &[f64]) -> f64 {
    let (middle, mean) = (values.len().saturating_sub(1) as f64 / 2.0, mean(values));
    let (mut above, mut below) = (0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        let distance = at as f64 - middle;
        above += distance * (value - mean);
        below += distance * distance;
    }
    if below > 0.0 { above / below } else { 0.0 }
}
