//! `tokenwarden test` as a user runs it: the shipped rules pass their tests, and what is wrong is told with its place.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tokenwarden::cli::{self, Exit, Terminal};

const RULES: &str = "version: 1
rules:
  - name: busy
    description: More refreshes than expected.
    severity: medium
    detect: { velocity: { by: family, window: 10m, limit_min: 2, per_lifetime: 1, gross: 60, gross_window: 5m, lasts: 30m } }
    response: [throttle]
";

/// Three refreshes are one too many for the rule above.
const BUSY: &str = "version: 1
event: { family_id: f1, client_id: web }
tests:
  - name: three within a minute
    events: [{ at: 0s, type: refresh, times: 3, every: 10s }]
    expect: EXPECT
";

fn run(paths: &[&Path]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
    };
    let mut line: Vec<OsString> = vec!["tokenwarden".into(), "test".into()];
    line.extend(paths.iter().map(Into::into));
    let exit = cli::main(line, &mut terminal);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (exit, text(out), text(err))
}

/// A folder with the rule above and these tests beside it.
fn desk(tests: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("busy.yaml"), RULES).unwrap();
    let file = folder.path().join("busy.test.yaml");
    std::fs::write(&file, tests).unwrap();
    (folder, file)
}

#[test]
fn the_shipped_rules_pass_their_tests() {
    let (exit, out, err) = run(&[]);
    assert_eq!(exit, Exit::Success, "{out}{err}");
    for name in [
        "token-reuse",
        "impossible-travel",
        "refresh-velocity",
        "device-change",
    ] {
        assert!(
            out.contains(&format!("rules/{name}.test.yaml\n  ok ")),
            "{out}"
        );
    }
    assert!(out.trim_end().ends_with("passed, 0 failed"), "{out}");
}

#[test]
fn a_folder_a_rule_file_and_a_test_file_name_the_same_tests() {
    let (folder, file) = desk(&BUSY.replace("EXPECT", "[{ rule: busy, severity: low }]"));
    for path in [folder.path(), &file, &folder.path().join("busy.yaml")] {
        let (exit, out, err) = run(&[path]);
        assert_eq!(exit, Exit::Success, "{out}{err}");
        assert!(out.ends_with("1 passed, 0 failed\n"), "{out}");
    }
}

#[test]
fn a_detection_too_many_and_one_too_few_fail() {
    let (_folder, file) = desk(&BUSY.replace("EXPECT", "[]"));
    let (exit, out, _) = run(&[&file]);
    assert_eq!(exit, Exit::Negative, "{out}");
    assert!(out.contains("FAILED  three within a minute"), "{out}");
    let found = "found, not expected: { rule: busy, severity: low, actions: [throttle] }";
    assert!(out.contains(found), "{out}");

    let wrong = "[{ rule: busy, severity: low, actions: [notify] }]";
    let (_folder, file) = desk(&BUSY.replace("EXPECT", wrong));
    let (exit, out, _) = run(&[&file]);
    assert_eq!(exit, Exit::Negative, "{out}");
    assert!(
        out.contains("expected, not found: { rule: busy, severity: low, actions: [notify] }"),
        "{out}"
    );
    assert!(out.contains(found), "{out}");
    assert!(out.ends_with("0 passed, 1 failed\n"), "{out}");
}

#[test]
fn every_fault_of_a_test_file_is_told_with_its_place() {
    let (_folder, file) = desk(
        "version: 1
config: { clients: { default: { rotation: sometimes } } }
tests:
  - name: broken
    events:
      - { at: 0s, type: renew }
      - { at: soon, type: refresh }
      - { at: 0s, type: refresh, famly_id: f1 }
    expect: [{ rule: bussy, severity: grave }]
",
    );
    let (exit, out, err) = run(&[&file]);
    assert_eq!(exit, Exit::Unusable, "{out}{err}");
    assert_eq!(out, "");
    for place in [
        ":2:9: ", ":6:9: ", ":7:15: ", ":8:34: ", ":9:22: ", ":9:39: ",
    ] {
        assert!(
            err.contains(&format!("busy.test.yaml{place}")),
            "{place} {err}"
        );
    }
    assert!(err.contains("did you mean `family_id`?"), "{err}");
    assert!(err.contains("did you mean `busy`?"), "{err}");
}

#[test]
fn rules_without_tests_and_tests_without_rules_are_unusable() {
    let folder = tempfile::tempdir().unwrap();
    let (exit, _, err) = run(&[folder.path()]);
    assert_eq!(exit, Exit::Unusable);
    assert!(err.contains("holds no rule test"), "{err}");

    let (folder, file) = desk(&BUSY.replace("EXPECT", "[]"));
    std::fs::remove_file(folder.path().join("busy.yaml")).unwrap();
    let (exit, _, err) = run(&[&file]);
    assert_eq!(exit, Exit::Unusable);
    assert!(err.contains("busy.yaml:1:1: cannot be read"), "{err}");
}
