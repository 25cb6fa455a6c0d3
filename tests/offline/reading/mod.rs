//! What a person reads of each shipped rule, one snapshot a rule: its description, the summary of a finding, the mail about
//! it, and what `explain` says of it. Read them as somebody who was woken: they are the product.
//!
//! The events are those of the rule's own tests, so a rule without a hit to show fails. The mail goes the whole way: events
//! from a log, engine, policy, store, delivery, and the mail as it is written into a folder.

mod mail;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use tokenwarden::app::parts;
use tokenwarden::app::replay::replay_key;
use tokenwarden::app::rule_tests::{self, Saved, Suite, Test};
use tokenwarden::cli::{self, Exit, Terminal};
use tokenwarden::config::{Config, KEYCLOAK_ACTIONS};
use tokenwarden::enrich::Enricher;
use tokenwarden::model::{ActionKind, Detection, Output};
use tokenwarden::pipeline::Worker;
use tokenwarden::respond::{Allowed, Policy};
use tokenwarden::rules::Rule;

#[tokio::test]
async fn every_rule_reads_well_at_night() {
    let mut read = BTreeSet::new();
    for suite in rule_tests::suites(&[]).unwrap() {
        for rule in &suite.rules {
            let text = text_of(rule, &suite).await;
            insta::assert_snapshot!(&**rule, text);
            read.insert(format!("offline__reading__{rule}.snap"));
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/offline/reading/snapshots");
    let kept = std::fs::read_dir(folder).unwrap();
    let kept: BTreeSet<String> = kept
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(kept, read, "one for each rule, none of rules that are gone");
}

async fn text_of(rule: &str, suite: &Suite) -> String {
    let test = gravest(rule, suite).unwrap_or_else(|| panic!("no test in which {rule} fires"));
    let folder = tempfile::tempdir().unwrap();
    let saved = test.save(folder.path()).unwrap();
    let config = Config::load(&saved.config).unwrap();
    let rules = parts::rule_set(&config, None).unwrap();
    let (detection, output) = judged(rule, &saved, &config)
        .unwrap_or_else(|| panic!("{}: {rule} does not fire in `replay`", test.name));
    let its_rule = rules.rules.iter().find(|it| *it.name == *rule).unwrap();
    let summary = &detection.summary;
    let mail = mail::about(&detection, output, &rules, &config).await;
    let explained = explained(&detection, &saved);
    format!(
        "Rule {rule}, in its test: {}\n{}\n\nSummary ({}): {summary}\n\n=== Mail\n{mail}\n=== Explain\n{explained}",
        test.name,
        described(its_rule),
        detection.severity,
    )
}

/// What the mail begins with: what it means, and then what to do about it, unless a runbook says that.
fn described(rule: &Rule) -> &str {
    let sentences = rule
        .description
        .split(['.', '?'])
        .filter(|it| !it.trim().is_empty());
    assert!(
        sentences.count() > 1 || rule.runbook.is_some(),
        "{}: what is to be done?",
        rule.name
    );
    &rule.description
}

/// The first of the tests in which the rule finds the gravest that it finds in any, most of all what pages.
fn gravest<'s>(rule: &str, suite: &'s Suite) -> Option<&'s Test> {
    let gravity = |test: &Test| {
        let of_rule = test.expected.iter().filter(|it| *it.rule == *rule);
        let pages = |kinds: &Vec<ActionKind>| kinds.contains(&ActionKind::Notify);
        of_rule
            .map(|it| (it.severity, it.actions.as_ref().is_some_and(pages)))
            .max()
    };
    let gravest = suite.tests.iter().filter_map(gravity).max()?;
    suite
        .tests
        .iter()
        .find(|test| gravity(test) == Some(gravest))
}

/// The gravest finding of the rule, with all that had come about when it was made.
fn judged(rule: &str, saved: &Saved, config: &Config) -> Option<(Detection, Output)> {
    let rules = parts::rule_set(config, None).unwrap();
    let (tables, warnings) = parts::tables(config);
    assert!(warnings.is_empty(), "{warnings:?}");
    // As where a Keycloak is asked, which can do all that is offered.
    let policy = Policy::new(Allowed {
        performed: KEYCLOAK_ACTIONS.to_vec(),
        ..parts::allowed(config)
    });
    let engine = parts::engine(config, &rules);
    let mut enricher = Enricher::new(tables);
    let mut worker = Worker::new(engine, policy).assuming_done();
    let decoder = parts::named_decoder("tokenwarden", None, replay_key()).unwrap();
    let mut events = Vec::new();
    for line in std::fs::read_to_string(&saved.log).unwrap().lines() {
        let decoded = decoder.decode(line.as_bytes(), &"test".into(), &mut events);
        assert!(decoded.is_ok(), "{line}");
    }
    let mut output = Output::default();
    let mut found: Option<(Detection, Output)> = None;
    let mut look = |output: &Output| {
        let of_rule = output.detections.iter().filter(|d| *d.rule == *rule);
        for detection in of_rule {
            let is_graver = |(found, _): &(Detection, Output)| detection.severity > found.severity;
            if found.as_ref().is_none_or(is_graver) {
                found = Some((detection.clone(), output.clone()));
            }
        }
    };
    for event in events {
        worker.take_enriched(0, Box::new(enricher.enrich(event)), &mut output);
        look(&output);
    }
    worker.end(0, &mut output);
    look(&output);
    found
}

/// What `explain` prints about the detection.
fn explained(detection: &Detection, saved: &Saved) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
    };
    let path = |path: &Path| OsString::from(path);
    let mut line: Vec<OsString> = ["tokenwarden", "explain", "--detection", &detection.id, "-c"]
        .map(OsString::from)
        .into();
    line.extend([path(&saved.config), "--replay".into(), path(&saved.log)]);
    let exit = cli::main(line, &mut terminal);
    assert_eq!(exit, Exit::Success, "{}", String::from_utf8_lossy(&err));
    String::from_utf8(out).unwrap()
}
