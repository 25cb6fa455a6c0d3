//! The contract of the command: members of its lines, forms of its input, exit codes.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use tokenwarden::cli::Exit;
use tokenwarden::simulate::places::WORLD;

use super::log::{FRANKFURT, HOME, Log, MINUTE, at};
use super::{Desk, command};

const CONFIG: &str = "mode: enforce\nclients: { default: { rotation: enforced } }\n";

fn stolen() -> Log {
    Log::begun("u", HOME)
        .refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3")
        .refused(40.0 * MINUTE, at(FRANKFURT), "u-t2", "other")
}

fn desk() -> Desk {
    Desk::new(CONFIG, WORLD)
}

fn has(line: &Value, members: &[&str]) {
    for member in members {
        assert!(line.get(*member).is_some(), "{member} is missing: {line}");
    }
}

#[test]
fn lines_have_the_members_that_others_rely_on() {
    let desk = desk();
    let printed = desk.json(&[stolen().write(&desk)]);
    assert_eq!(printed.exit, Exit::Success);
    let detections = printed.detections();
    assert_eq!(detections.len(), 1);
    has(
        &detections[0],
        &[
            "id",
            "rule",
            "kind",
            "severity",
            "time",
            "event_id",
            "user_id",
            "client_id",
            "family_id",
            "session_id",
            "ip_address",
            "summary",
            "evidence",
        ],
    );
    assert_eq!(detections[0]["rule"], "token-reuse");
    assert_eq!(detections[0]["kind"], "reuse");
    assert_eq!(detections[0]["severity"], "critical");
    assert_eq!(
        detections[0]["family_id"], "u-t0",
        "the family's first known token"
    );
    assert_eq!(detections[0]["session_id"], "session of u");
    assert_eq!(detections[0]["ip_address"], FRANKFURT);
    let actions = printed.of_type("action");
    assert_eq!(actions.len(), 2);
    for action in &actions {
        has(
            action,
            &[
                "id",
                "action",
                "target",
                "detection_ids",
                "rule",
                "decision",
                "reason",
            ],
        );
        has(
            &action["target"],
            &["family_id", "user_id", "client_id", "session_id"],
        );
        assert_eq!(action["detection_ids"][0], detections[0]["id"]);
        assert!(!action["reason"].as_str().unwrap().is_empty());
    }
    let summary = printed.summary();
    assert_eq!(summary["type"], "summary");
    assert_eq!(summary["events"], 5);
    for name in ["rejected", "duplicates", "late"] {
        assert_eq!(summary[name], 0, "{name}");
    }
    assert_eq!(summary["actions"]["execute"], 2);
}

#[test]
fn packed_files_arrays_and_several_files_give_the_same() {
    let desk = desk();
    let plain = desk.json(&[stolen().write(&desk)]).out;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(stolen().text().as_bytes()).unwrap();
    let gzip = desk.write("log.jsonl.gz", gzip.finish().unwrap());
    assert_eq!(desk.json(&[gzip]).out, plain);
    // Frame after frame, as logs that are packed piece by piece have it.
    let text = stolen().text();
    let frames = text.split_inclusive('\n');
    let frames = frames.map(|line| zstd::encode_all(line.as_bytes(), 1).unwrap());
    let frames = desk.write("log.jsonl.zst", frames.collect::<Vec<_>>().concat());
    assert_eq!(desk.json(&[frames]).out, plain);
    let lines: Vec<String> = stolen().text().lines().map(str::to_owned).collect();
    let array = desk.write("array.json", format!("[{}]", lines.join(",\n")));
    assert_eq!(desk.json(&[array]).out, plain);
    let pieces = [
        desk.write("a.jsonl", [&*lines[0], &*lines[3]].join("\n")),
        desk.write("b.jsonl", [&*lines[1], &*lines[2], &*lines[4]].join("\r\n")),
    ];
    assert_eq!(desk.json(&pieces).out, plain);
}

#[test]
fn repeats_and_damaged_lines_are_counted_and_named() {
    let desk = desk();
    let once = stolen().text();
    let last = once.lines().next_back().unwrap();
    let text = format!("{once}{last}\nnot json\n{{\"type\":\"refresh\"}}\n");
    let printed = desk.json(&[desk.write("log.jsonl", text)]);
    assert_eq!(printed.exit, Exit::Success);
    assert_eq!(printed.summary()["duplicates"], 1);
    assert_eq!(printed.summary()["rejected"], 2);
    assert!(
        printed.err.contains("line 7") && printed.err.contains("line 8"),
        "{}",
        printed.err
    );
    assert_eq!(printed.executed("notify").len(), 1);
}

#[test]
fn exit_codes_tell_what_happened() {
    let desk = desk();
    let (bad, good) = (
        stolen().write(&desk),
        desk.write("good.jsonl", Log::begun("u", HOME).text()),
    );
    let failing = ["--fail-on-detection", "--output", "json"];
    assert_eq!(desk.run(&failing, &[bad.clone()]).exit, Exit::Negative);
    assert_eq!(desk.run(&failing, &[good.clone()]).exit, Exit::Success);
    assert_eq!(desk.run(&[], &[bad.clone()]).exit, Exit::Success);
    let unknown = desk.run(&["--format", "keyclock"], &[good.clone()]);
    assert_eq!(unknown.exit, Exit::Unusable);
    assert!(unknown.err.contains("keyclock"), "{}", unknown.err);
    let missing = desk.run(&[], &[desk.path("nowhere.jsonl")]);
    assert_eq!(missing.exit, Exit::Failure);
    assert!(missing.err.contains("nowhere.jsonl"), "{}", missing.err);
    let broken = Desk::new("mode: enforced\n", &[]);
    assert_eq!(broken.run(&[], &[good]).exit, Exit::Unusable);
    let nothing = command(vec!["tokenwarden".into(), "replay".into()]);
    assert_eq!(nothing.exit, Exit::Unusable);
}

#[test]
fn diff_names_what_would_appear_and_disappear() {
    let desk = desk();
    let rules = desk.path("others");
    std::fs::create_dir(&rules).unwrap();
    let text = "version: 1\nrules:\n  - name: reuse-of-ours\n    description: Ours.\n    severity: high\n    detect: { reuse: {} }\n    response: [revoke_family]\n";
    std::fs::write(rules.join("ours.yaml"), text).unwrap();
    let rules = rules.to_str().unwrap();
    let printed = desk.run(
        &["--output", "json", "--diff", rules],
        &[stolen().write(&desk)],
    );
    let changes: Vec<(String, String)> = printed
        .of_type("diff")
        .iter()
        .map(|d| (d["change"].to_string(), d["detection"]["rule"].to_string()))
        .collect();
    let change = |what: &str, rule: &str| (format!("\"{what}\""), format!("\"{rule}\""));
    let mut wanted = vec![
        change("appears", "reuse-of-ours"),
        change("disappears", "token-reuse"),
    ];
    wanted.sort();
    let mut got = changes;
    got.sort();
    assert_eq!(got, wanted, "{}", printed.out);
    assert_eq!(printed.summary()["changed"], 2);
}

#[test]
fn standard_input_is_a_file_named_dash() {
    let desk = desk();
    let plain = desk.json(&[stolen().write(&desk)]).out;
    let mut child = Command::new(env!("CARGO_BIN_EXE_tokenwarden"))
        .args(["replay", "--output", "json", "-c"])
        .arg(desk.path("config.yaml"))
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stolen().text().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), plain);
}

#[test]
fn text_is_for_people_and_nothing_steers_their_terminal() {
    let desk = desk();
    let log = stolen()
        .text()
        .replace("\"user_id\":\"u\"", "\"user_id\":\"u\\u001b[2J\"");
    let printed = desk.run(&[], &[desk.write("log.jsonl", log)]);
    assert!(
        printed.out.contains("token-reuse") && printed.out.contains("revoke_family"),
        "{}",
        printed.out
    );
    assert!(!printed.out.contains('\u{1b}'), "{}", printed.out);
}
