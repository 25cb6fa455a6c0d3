//! `tokenwarden test`: the rule tests that stand beside the rules, and which rules they cover.
//!
//! Each form of output is a file of its own over the same [`Done`]; what passes is decided here alone.

mod json;
mod junit;
mod text;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Exit, Terminal};
use crate::app::rule_tests::{self, Coverage, Difference, Runner, Suite, Test};

/// Run the tests that stand beside the rules; without a path, those of the rules that come with the program.
///
/// A rule without a test in which it fires and one in which it does not fails.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Folder, file of tests (NAME.test.yaml), or rule file (NAME.yaml) whose tests are meant.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only tests whose name contains this, each with its twin; coverage is not judged then.
    #[arg(long, value_name = "SUBSTRING")]
    filter: Option<String>,
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    /// One object per line.
    Json,
    /// XML, as servers of continuous integration read it.
    Junit,
}

/// What came of all tests.
struct Done {
    suites: Vec<DoneSuite>,
    /// Whether all tests ran, so that a rule that was not seen is not tested.
    whole: bool,
}

struct DoneSuite {
    file: PathBuf,
    tests: Vec<(Test, Difference)>,
    coverage: Vec<Coverage>,
}

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let mut suites = match rule_tests::suites(&arguments.paths) {
        Ok(suites) => suites,
        Err(faults) => return super::report(&faults, terminal),
    };
    if let Some(wanted) = &arguments.filter {
        keep(&mut suites, wanted);
        if suites.is_empty() {
            writeln!(
                terminal.err,
                "tokenwarden: no test has `{}` in its name",
                super::clean(wanted)
            )?;
            return Ok(Exit::Unusable);
        }
    }
    let done = Done {
        suites: judge(suites)?,
        whole: arguments.filter.is_none(),
    };
    match arguments.output {
        Form::Text => text::write(&done, terminal.out.wants_colour(), terminal.out)?,
        Form::Json => json::write(&done, terminal.out)?,
        Form::Junit => junit::write(&done, terminal.out)?,
    }
    Ok(if done.is_good() {
        Exit::Success
    } else {
        Exit::Negative
    })
}

/// A benign case and its twin prove something together only.
fn keep(suites: &mut Vec<Suite>, wanted: &str) {
    for suite in &mut *suites {
        let named = |test: &Test| test.name.contains(wanted);
        let mut kept: Vec<bool> = suite.tests.iter().map(named).collect();
        for at in 1..suite.tests.len() {
            if suite.tests[at].twin_of.is_some() {
                let either = kept[at - 1] || kept[at];
                (kept[at - 1], kept[at]) = (either, either);
            }
        }
        let mut kept = kept.into_iter();
        suite.tests.retain(|_| kept.next().unwrap_or(false));
    }
    suites.retain(|suite| !suite.tests.is_empty());
}

fn judge(suites: Vec<Suite>) -> anyhow::Result<Vec<DoneSuite>> {
    let mut runner = Runner::default();
    let mut done = Vec::new();
    for suite in suites {
        let mut coverage = Coverage::of(&suite.rules);
        let mut tests = Vec::new();
        for test in suite.tests {
            let outcome = runner.run(&test)?;
            Coverage::count(&mut coverage, &outcome.fired);
            tests.push((test, outcome.difference));
        }
        done.push(DoneSuite {
            file: suite.file,
            tests,
            coverage,
        });
    }
    Ok(done)
}

impl Done {
    fn is_good(&self) -> bool {
        self.failed() == 0 && self.uncovered().count() == 0
    }

    fn passed(&self) -> usize {
        self.suites.iter().map(|s| s.tests.len()).sum::<usize>() - self.failed()
    }

    fn failed(&self) -> usize {
        self.suites.iter().map(DoneSuite::failed).sum()
    }

    /// Rules with what no test of them has seen, and the file that should have it.
    fn uncovered(&self) -> impl Iterator<Item = (&Path, &Coverage, &'static str)> {
        let judged = self.suites.iter().filter(|_| self.whole);
        judged.flat_map(|suite| {
            let lacking = |coverage| Some((&*suite.file, coverage, Coverage::lacks(coverage)?));
            suite.coverage.iter().filter_map(lacking)
        })
    }
}

impl DoneSuite {
    fn failed(&self) -> usize {
        let failed = |(_, difference): &&(Test, Difference)| !difference.is_none();
        self.tests.iter().filter(failed).count()
    }
}
