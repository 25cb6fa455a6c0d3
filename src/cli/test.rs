//! `tokenwarden test`: the rule tests that stand beside the rules, one line each.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::{Exit, Terminal};
use crate::app::rule_tests::{self, Difference, Runner};
use crate::model::{ActionKind, Severity};

/// Run the tests that stand beside the rules; without a path, those of the rules that come with the program.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Folder, file of tests (NAME.test.yaml), or rule file (NAME.yaml) whose tests are meant.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let suites = match rule_tests::suites(&arguments.paths) {
        Ok(suites) => suites,
        Err(faults) => return super::report(&faults, terminal),
    };
    let mut runner = Runner::default();
    let (mut passed, mut failed) = (0_u64, 0_u64);
    for suite in &suites {
        writeln!(terminal.out, "{}", suite.file.display())?;
        for test in &suite.tests {
            let difference = runner.run(test)?;
            if difference.is_none() {
                passed += 1;
                writeln!(terminal.out, "  ok      {}", test.name)?;
            } else {
                failed += 1;
                writeln!(terminal.out, "  FAILED  {}", test.name)?;
                write_difference(&difference, terminal.out)?;
            }
        }
    }
    writeln!(terminal.out, "\n{passed} passed, {failed} failed")?;
    Ok(if failed == 0 {
        Exit::Success
    } else {
        Exit::Negative
    })
}

fn write_difference(difference: &Difference, out: &mut dyn Write) -> io::Result<()> {
    for expected in &difference.missing {
        let shown = shown(
            &expected.rule,
            expected.severity,
            expected.actions.as_deref(),
        );
        writeln!(out, "          expected, not found: {shown}")?;
    }
    for got in &difference.unexpected {
        let detection = &got.detection;
        let shown = shown(&detection.rule, detection.severity, Some(&got.actions));
        writeln!(out, "          found, not expected: {shown}")?;
        let (time, event, summary) = (detection.time, &detection.event_id, &detection.summary);
        writeln!(out, "            at {time}, event {event}: {summary}")?;
    }
    Ok(())
}

/// As it would be written under `expect`.
fn shown(rule: &str, severity: Severity, actions: Option<&[ActionKind]>) -> String {
    let actions = actions.map(|kinds| {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        format!(", actions: [{}]", names.join(", "))
    });
    let actions = actions.unwrap_or_default();
    format!("{{ rule: {rule}, severity: {severity}{actions} }}")
}
