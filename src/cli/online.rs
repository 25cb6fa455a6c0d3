//! `check --online`: what every part answered, one line a finding, with what mends it.

use std::io::{self, Write};

use anyhow::Context as _;

use super::check::counted;
use super::{Exit, Terminal};
use crate::app::online::{self, PartReport};
use crate::config::Config;
use crate::model::{Finding, Gravity};
use crate::rules::RuleSet;

pub(super) fn run(
    config: &Config,
    rules: &RuleSet,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no runtime to ask with")?;
    let reports = match runtime.block_on(online::inspect(config, rules)) {
        Ok(reports) => reports,
        Err(faults) => return super::report(&faults, terminal),
    };
    // A part that did not answer in time is not waited for any longer.
    runtime.shutdown_background();
    write_reports(&reports, terminal.out)?;
    let is_well = reports.iter().all(|report| report.faults() == 0);
    Ok(if is_well {
        Exit::Success
    } else {
        Exit::Unusable
    })
}

fn write_reports(reports: &[PartReport], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out)?;
    for report in reports {
        for finding in &report.findings {
            writeln!(out, "{}", line(&report.part, finding))?;
        }
    }
    let faults: usize = reports.iter().map(PartReport::faults).sum();
    let advice: usize = reports
        .iter()
        .map(|report| report.count(|gravity| gravity == Gravity::Advice))
        .sum();
    writeln!(
        out,
        "\nasked {}: {}, {advice} to consider",
        counted(reports.len(), "part"),
        counted(faults, "fault"),
    )
}

fn line(part: &str, finding: &Finding) -> String {
    let gravity = match finding.gravity {
        Gravity::Fine => "ok",
        Gravity::Advice => "advice",
        Gravity::Fault | Gravity::Contradiction => "FAULT",
    };
    match &finding.mend {
        Some(mend) => format!("{gravity:<7}{part}: {} -> {mend}", finding.what),
        None => format!("{gravity:<7}{part}: {}", finding.what),
    }
}
