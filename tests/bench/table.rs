//! Prints what was measured: medians with their spread, and ratios of medians.

use std::io::{self, Write as _};

use crate::machine::Turn;

/// All turns of one path.
pub(crate) struct Path {
    name: &'static str,
    turns: Vec<Turn>,
}

impl Path {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            turns: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, turn: Turn) {
        self.turns.push(turn);
    }

    /// Events a second, in the median.
    pub(crate) fn rate(&self) -> f64 {
        median(&self.rates())
    }

    fn rates(&self) -> Vec<f64> {
        sorted(
            self.turns
                .iter()
                .map(|t| f64::from(t.events) / t.wall.as_secs_f64()),
        )
    }

    fn cpu_per_million(&self) -> Vec<f64> {
        sorted(
            self.turns
                .iter()
                .map(|t| t.cpu.as_secs_f64() * 1e6 / f64::from(t.events)),
        )
    }
}

/// The first path is the baseline of the ratios.
pub(crate) fn print(title: &str, paths: &[Path]) -> io::Result<()> {
    let Some(base) = paths.first() else {
        return Ok(());
    };
    line("")?;
    line(title)?;
    line(
        "| path | events/s: median (min - max) | CPU s per million: median (min - max) | rate, of the first | CPU, of the first |",
    )?;
    line("|---|---|---|---|---|")?;
    for path in paths {
        let (rates, cpu) = (path.rates(), path.cpu_per_million());
        line(&format!(
            "| {} | {:.0} ({:.0} - {:.0}) | {:.2} ({:.2} - {:.2}) | {:.3} | {:.1} |",
            path.name,
            median(&rates),
            first(&rates),
            last(&rates),
            median(&cpu),
            first(&cpu),
            last(&cpu),
            path.rate() / base.rate(),
            median(&cpu) / median(&base.cpu_per_million()).max(0.001),
        ))?;
    }
    Ok(())
}

pub(crate) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

pub(crate) fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Of sorted values; the lower one of two in the middle.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    sorted
        .get(sorted.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0.0)
}

/// Of sorted values: the smallest that so many in a hundred do not exceed.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    let value = sorted.get(rank.saturating_sub(1));
    value.copied().unwrap_or(0.0)
}

pub(crate) fn first(sorted: &[f64]) -> f64 {
    sorted.first().copied().unwrap_or(0.0)
}

pub(crate) fn last(sorted: &[f64]) -> f64 {
    sorted.last().copied().unwrap_or(0.0)
}
