//! `test`: rules judged over events that are written beside them, by the same decode, engine and response policy as `run`.
//!
//! The tests of `NAME.yaml` stand in `NAME.test.yaml` and see the rules of that file alone; how such a file is written
//! says `read`. A test names every detection it expects, so that one too many fails it as one too few does.

mod read;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

use super::parts;
use crate::config::Config;
use crate::model::{
    Action, ActionKind, Decision, Detection, Event, Output, Severity, Text, Timestamp,
};
use crate::pipeline::Worker;
use crate::rules::{self, RuleSet};
use crate::simulate::places;
use crate::yaml::{Fault, Faults, Place};

/// One file of tests.
pub struct Suite {
    pub file: PathBuf,
    pub tests: Vec<Test>,
}

/// Events, and what is to be found in them.
pub struct Test {
    pub name: Text,
    config: Config,
    rules: RuleSet,
    simulated_places: bool,
    events: Vec<Event>,
    expected: Vec<Expected>,
}

/// One detection that a test expects.
#[derive(Debug, Clone)]
pub struct Expected {
    pub rule: Text,
    pub severity: Severity,
    /// The actions that would be sent for it; not compared when the test does not say.
    pub actions: Option<Vec<ActionKind>>,
}

/// One detection that came about.
#[derive(Debug, Clone)]
pub struct Got {
    pub detection: Detection,
    /// The actions that would be sent for it, each once, in the order of the contract.
    pub actions: Vec<ActionKind>,
}

/// How the outcome differs from what was expected; passed when both are empty.
#[derive(Debug, Clone, Default)]
pub struct Difference {
    pub missing: Vec<Expected>,
    pub unexpected: Vec<Got>,
}

const TESTS_END: &str = ".test.yaml";

/// Reads the tests that are named, or those of the shipped rules when none is; all faults of all files at once.
pub fn suites(paths: &[PathBuf]) -> Result<Vec<Suite>, Vec<Fault>> {
    let mut faults = Faults::default();
    let mut suites = Vec::new();
    if paths.is_empty() {
        for shipped in rules::SHIPPED {
            let rules = read::RuleFile::new(Path::new(shipped.name), shipped.rules);
            let file = tests_beside(Path::new(shipped.name));
            suites.extend(read::suite(shipped.tests, &file, &rules, &mut faults));
        }
    }
    for file in files(paths, &mut faults) {
        let rules_file = rules_beside(&file);
        match (rules::text_of(&file), rules::text_of(&rules_file)) {
            (Ok(tests), Ok(rules)) => {
                let rules = read::RuleFile::new(&rules_file, &rules);
                suites.extend(read::suite(&tests, &file, &rules, &mut faults));
            }
            (tests, rules) => {
                for fault in [tests.err(), rules.err()].into_iter().flatten() {
                    faults.push(fault);
                }
            }
        }
    }
    faults.finish(Some(suites)).map(|(suites, _)| suites)
}

/// A folder stands for all its tests, a rule file for those beside it.
fn files(paths: &[PathBuf], faults: &mut Faults) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(tests_beside(path));
            continue;
        }
        match folder(path) {
            Ok(files) if files.is_empty() => faults.push(
                Place::start_of(path)
                    .fault("this folder holds no rule test")
                    .with_hint("tests of NAME.yaml stand beside it in NAME.test.yaml"),
            ),
            Ok(files) => found.extend(files),
            Err(error) => {
                faults.push(Place::start_of(path).fault(format!("cannot be read: {error}")));
            }
        }
    }
    found
}

fn folder(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if is_tests(&file) && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn is_tests(file: &Path) -> bool {
    file.to_string_lossy().ends_with(TESTS_END)
}

fn tests_beside(file: &Path) -> PathBuf {
    if is_tests(file) {
        file.to_owned()
    } else {
        file.with_extension("test.yaml")
    }
}

fn rules_beside(tests: &Path) -> PathBuf {
    tests.with_extension("").with_extension("yaml")
}

/// Runs tests; keeps what several of them share.
#[derive(Default)]
pub struct Runner {
    geo_files: Option<TempDir>,
}

impl Runner {
    /// Judges the events of one test and compares.
    pub fn run(&mut self, test: &Test) -> anyhow::Result<Difference> {
        let mut config = test.config.clone();
        if test.simulated_places {
            let folder = self.geo_folder()?;
            config.geoip.city = Some(folder.join("city.mmdb"));
            config.geoip.asn = Some(folder.join("asn.mmdb"));
            config.geoip.anonymous_ip = Some(folder.join("anonymous-ip.mmdb"));
        }
        Ok(compare(&test.expected, judge(test, &config)))
    }

    fn geo_folder(&mut self) -> anyhow::Result<PathBuf> {
        if self.geo_files.is_none() {
            let folder = tempfile::tempdir().context("make a folder for the GeoIP files")?;
            places::write_city_asn(folder.path(), places::WORLD, Timestamp::UNIX_EPOCH)?;
            self.geo_files = Some(folder);
        }
        let folder = self.geo_files.as_ref().map(tempfile::TempDir::path);
        Ok(folder.unwrap_or(Path::new("")).to_owned())
    }
}

fn judge(test: &Test, config: &Config) -> Vec<Got> {
    let (tables, _) = parts::tables(config);
    let engine = parts::engine(config, &test.rules);
    let policy = parts::policy(config);
    let mut worker = Worker::new(HashMap::new(), tables, engine, policy).assuming_done();
    let mut output = Output::default();
    for event in &test.events {
        worker.take_event(0, event.clone(), false, None, &mut output);
    }
    worker.end(0, &mut output);
    let actions = output.actions;
    let got = |detection: Detection| Got {
        actions: sent_for(&detection, &actions),
        detection,
    };
    output.detections.into_iter().map(got).collect()
}

fn sent_for(detection: &Detection, actions: &[Action]) -> Vec<ActionKind> {
    let mut kinds: Vec<ActionKind> = actions
        .iter()
        .filter(|action| action.decision == Decision::Execute)
        .filter(|action| action.detection_ids.contains(&detection.id))
        .map(|action| action.kind)
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// What says more finds its counterpart first.
fn compare(expected: &[Expected], mut got: Vec<Got>) -> Difference {
    let mut expected: Vec<&Expected> = expected.iter().collect();
    expected.sort_by_key(|expected| expected.actions.is_none());
    let mut missing = Vec::new();
    for expected in expected {
        match got.iter().position(|got| expected.is_met_by(got)) {
            Some(at) => drop(got.remove(at)),
            None => missing.push(expected.clone()),
        }
    }
    Difference {
        missing,
        unexpected: got,
    }
}

impl Difference {
    pub fn is_none(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty()
    }
}

impl Expected {
    fn is_met_by(&self, got: &Got) -> bool {
        self.rule == got.detection.rule
            && self.severity == got.detection.severity
            && self
                .actions
                .as_ref()
                .is_none_or(|actions| *actions == got.actions)
    }
}
