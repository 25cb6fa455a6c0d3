//! `explain`: why each rule fired or did not, from a recording and from the store.

use std::ffi::OsString;

use serde_json::Value;
use tokenwarden::cli::Exit;
use tokenwarden::simulate::places::WORLD;

use super::log::{FRANKFURT, HOME, Log, MINUTE, at};
use super::{Desk, Printed, command, fixtures};

const CONFIG: &str = "mode: enforce\nclients: { default: { rotation: enforced } }\n";

fn stolen() -> Log {
    Log::begun("u", HOME)
        .refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3")
        .refused(40.0 * MINUTE, at(FRANKFURT), "u-t2", "other")
}

fn retried() -> Log {
    Log::begun("u", HOME)
        .refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3")
        .refresh(30.2 * MINUTE, HOME, "u-t2", "u-t3b")
}

fn explain(desk: &Desk, log: &Log, arguments: &[&str]) -> Printed {
    let mut line: Vec<OsString> = vec!["tokenwarden".into(), "explain".into(), "-c".into()];
    line.push(desk.path("config.yaml").into());
    line.extend(arguments.iter().map(Into::into));
    line.extend(["--replay".into(), log.write(desk).into()]);
    command(line)
}

fn desk() -> Desk {
    Desk::new(CONFIG, WORLD)
}

#[test]
fn a_theft_as_a_tree_for_people() {
    let desk = desk();
    let printed = explain(&desk, &stolen(), &["--family", "u-t0"]);
    assert_eq!(printed.exit, Exit::Success, "{}", printed.err);
    insta::assert_snapshot!(printed.out);
}

#[test]
fn a_retry_is_recognised_and_said_to_be_one() {
    let desk = desk();
    let printed = explain(&desk, &retried(), &["--family", "u-t0"]);
    let says = "a retry or a race: the family's own context repeats its token in time";
    assert!(printed.out.contains(says), "{}", printed.out);
}

#[test]
fn a_detection_is_explained_by_the_event_that_completed_it() {
    let desk = desk();
    let log = stolen();
    let found = desk.json(&[log.write(&desk)]).detections();
    let id = found[0]["id"].as_str().unwrap();
    let printed = explain(&desk, &log, &["--detection", id, "--output", "json"]);
    let line: Value = serde_json::from_str(&printed.out).unwrap();
    assert_eq!(line["event"]["event_id"], found[0]["event_id"]);
    let rules = line["rules"].as_array().unwrap();
    let reuse = rules.iter().find(|r| r["rule"] == "token-reuse").unwrap();
    assert_eq!(reuse["outcome"], "fired");
    assert_eq!(reuse["detections"][0]["id"], id);
    assert_eq!(
        reuse["detections"][0]["actions"][0]["action"],
        "revoke_family"
    );
    let said = |rule: &Value| !rule["why"].is_null() || rule["outcome"] != "not_asked";
    assert!(rules.iter().all(said), "{line}");
}

#[test]
fn what_is_not_there_is_said_and_where_to_look_is_named() {
    let desk = desk();
    let printed = explain(&desk, &stolen(), &["--event", "nope"]);
    assert_eq!(printed.exit, Exit::Negative);
    assert!(
        printed.err.contains("holds no such event: nope"),
        "{}",
        printed.err
    );
    let config: OsString = desk.path("config.yaml").into();
    let line = ["tokenwarden", "explain", "--event", "nope", "-c"].map(OsString::from);
    let stored = command(line.into_iter().chain([config]).collect());
    assert_eq!(stored.exit, Exit::Negative);
    assert!(stored.err.contains("--replay FILE"), "{}", stored.err);
}

#[test]
fn a_recorded_replay_at_a_real_keycloak_is_explained() {
    let desk = Desk::new(CONFIG, &[]);
    let recorded = fixtures().join("keycloak-26.4/S02/events.jsonl");
    let found = desk.run(
        &["--format", "keycloak", "--output", "json"],
        &[recorded.clone()],
    );
    let detections = found.detections();
    let id = detections[0]["id"].as_str().unwrap();
    let mut line: Vec<OsString> = [
        "tokenwarden",
        "explain",
        "--format",
        "keycloak",
        "--detection",
        id,
        "-c",
    ]
    .map(OsString::from)
    .into();
    line.extend([
        desk.path("config.yaml").into(),
        "--replay".into(),
        recorded.into(),
    ]);
    let printed = command(line);
    assert_eq!(printed.exit, Exit::Success, "{}", printed.err);
    insta::assert_snapshot!(printed.out);
}

#[test]
fn a_condition_without_an_answer_is_told_and_stops_nothing() {
    let rule = |name: &str, condition: &str| {
        format!(
            "  - name: {name}\n    description: d\n    severity: low\n    detect:\n      threshold:\n        when: {condition}\n        by: user_id\n        within: 1m\n        over: 0\n"
        )
    };
    let desk = Desk::new("mode: enforce\nrules: [rules.yaml]\n", &[]);
    let divides = rule("divides", "100 / (event.access_token_ttl - 300) > 1");
    let counts = rule("counts", "event.type == \"refresh\"");
    desk.write(
        "rules.yaml",
        format!("version: 1\nrules:\n{divides}{counts}"),
    );
    let event = |n: u32| {
        format!(
            "{{\"event_id\":\"e{n}\",\"time\":\"2026-11-20T10:2{n}:00Z\",\"type\":\"refresh\",\"outcome\":\"success\",\"user_id\":\"u{n}\",\"access_token_ttl\":300}}\n"
        )
    };
    let log = desk.write("log.jsonl", event(1) + &event(2));
    let replayed = desk.json(&[log.clone()]);
    assert_eq!(replayed.exit, Exit::Success);
    assert!(
        replayed.detections().iter().all(|d| d["rule"] == "counts"),
        "{}",
        replayed.out
    );
    assert_eq!(replayed.detections().len(), 2, "{}", replayed.out);
    let told = "rule divides: a condition had no answer for 2 events";
    assert!(replayed.err.contains(told), "{}", replayed.err);
    let mut line: Vec<OsString> = ["tokenwarden", "explain", "--event", "e1", "-c"]
        .map(OsString::from)
        .into();
    line.extend([
        desk.path("config.yaml").into(),
        "--replay".into(),
        log.into(),
    ]);
    let explained = command(line);
    assert!(
        explained.out.contains("division by zero"),
        "{}",
        explained.out
    );
}
