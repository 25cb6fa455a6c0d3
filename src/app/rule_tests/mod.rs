//! `test`: rules judged over events that are written beside them, by the same decode, engine and response policy as `run`.
//!
//! The tests of `NAME.yaml` stand in `NAME.test.yaml` and see the rules of that file alone; how such a file is written
//! says `read`. A test names every detection it expects, so that one too many fails it as one too few does.

mod compare;
mod coverage;
mod events;
mod expect;
mod read;
mod save;
#[cfg(test)]
mod shuffled;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

pub use compare::Difference;
pub use coverage::Coverage;
pub use expect::{Expected, Member};
pub use save::Saved;

use super::parts;
use crate::config::Config;
use crate::enrich::Enricher;
use crate::model::{Action, ActionKind, Decision, Detection, Event, Output, Text, Timestamp};
use crate::pipeline::Worker;
use crate::rules::{self, RuleSet};
use crate::simulate::places;
use crate::yaml::{Fault, Faults, Place};

/// One file of tests, with the rules that they are about.
pub struct Suite {
    pub file: PathBuf,
    pub rules: Vec<Text>,
    pub tests: Vec<Test>,
}

/// Events, and what is to be found in them.
pub struct Test {
    pub name: Text,
    /// Where it stands in its file.
    pub line: u32,
    /// Why nothing, or nothing grave, is to be found: the fact that its twin, the next test, does without.
    pub benign: Option<Text>,
    /// The benign case whose fact this one does without.
    pub twin_of: Option<Text>,
    pub expected: Vec<Expected>,
    config: Config,
    rules: RuleSet,
    /// The same two as text.
    written: save::Written,
    /// Of these rules the findings are compared; the others only feed them.
    tested: Vec<Text>,
    simulated_places: bool,
    events: Vec<Event>,
}

/// One detection that came about.
#[derive(Debug, Clone)]
pub struct Got {
    pub detection: Detection,
    /// The actions that would be sent for it, each once, in the order of the contract.
    pub actions: Vec<ActionKind>,
}

/// What came of one test.
pub struct Outcome {
    pub difference: Difference,
    /// Rules that fired, each once.
    pub fired: Vec<Text>,
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
            suites.extend(read::suite(shipped.tests, &file, rules, &mut faults));
        }
    }
    for file in files(paths, &mut faults) {
        if !is_tests(&file) {
            suites.extend(untested(&file, &mut faults));
            continue;
        }
        let rules_file = rules_beside(&file);
        match (rules::text_of(&file), rules::text_of(&rules_file)) {
            (Ok(tests), Ok(rules)) => {
                let rules = read::RuleFile::new(&rules_file, rules);
                suites.extend(read::suite(&tests, &file, rules, &mut faults));
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

/// A rule file of a folder without tests beside it: its rules are not covered.
fn untested(file: &Path, faults: &mut Faults) -> Option<Suite> {
    let text = rules::text_of(file).map_err(|fault| vec![fault]);
    let rules = text.and_then(|text| rules::parse(&[(file, &text)], &[]));
    let suite = |rules| Suite {
        file: file.to_owned(),
        rules: read::names(&rules),
        tests: Vec::new(),
    };
    rules
        .map(suite)
        .map_err(|found| found.into_iter().for_each(|fault| faults.push(fault)))
        .ok()
}

/// A folder stands for all its tests and the rule files without any, a rule file for the tests beside it.
fn files(paths: &[PathBuf], faults: &mut Faults) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(tests_beside(path));
            continue;
        }
        match folder(path) {
            Ok(files) if !files.iter().any(|file| is_tests(file)) => faults.push(
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
    let mut named = HashSet::new();
    found.retain(|file| named.insert(file.clone()));
    found
}

fn folder(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let is_untested = is_rules(&file) && !tests_beside(&file).exists();
        if (is_tests(&file) || is_untested) && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn is_tests(file: &Path) -> bool {
    file.to_string_lossy().ends_with(TESTS_END)
}

fn is_rules(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    (name.ends_with(".yaml") || name.ends_with(".yml")) && !name.contains(".test.")
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
    pub fn run(&mut self, test: &Test) -> anyhow::Result<Outcome> {
        let mut config = test.config.clone();
        if test.simulated_places {
            let folder = self.geo_folder()?;
            config.geoip.city = Some(folder.join("city.mmdb"));
            config.geoip.asn = Some(folder.join("asn.mmdb"));
            config.geoip.anonymous_ip = Some(folder.join("anonymous-ip.mmdb"));
        }
        let got = judge(test, &config);
        let mut fired: Vec<Text> = got.iter().map(|got| got.detection.rule.clone()).collect();
        fired.sort_unstable();
        fired.dedup();
        Ok(Outcome {
            difference: compare::compare(&test.expected, got),
            fired,
        })
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
    let mut enricher = Enricher::new(tables);
    let mut worker = Worker::new(engine, policy).assuming_done();
    let mut output = Output::default();
    for event in &test.events {
        let event = Box::new(enricher.enrich(event.clone()));
        worker.take_enriched(0, event, &mut output);
    }
    worker.end(0, &mut output);
    let actions = output.actions;
    let got = |detection: Detection| Got {
        actions: sent_for(&detection, &actions),
        detection,
    };
    let mut detections = output.detections;
    detections.retain(|detection| test.tested.contains(&detection.rule));
    detections.into_iter().map(got).collect()
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
