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

/// Three refreshes are one too many for the rule above, two are not.
const BUSY: &str = "version: 1
event: { family_id: f1, client_id: web }
tests:
  - name: three within a minute
    events: [{ at: 0s, type: refresh, times: 3, every: 10s }]
    expect: EXPECT
  - name: two within a minute
    events: [{ at: 0s, type: refresh, times: 2, every: 10s }]
    expect: []
";

/// A benign case and its twin.
const PAIR: &str = "version: 1
event: { family_id: f1, client_id: web }
tests:
  - name: an hour between the refreshes
    events:
      - { at: 0s, type: refresh, times: 2, every: 10s }
      - { at: 1h, type: refresh }
    expect: []
    benign: nobody refreshes twice an hour
    twin: TWIN
";

fn run(paths: &[&Path]) -> (Exit, String, String) {
    run_with(&[], paths)
}

fn run_with(options: &[&str], paths: &[&Path]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
    };
    let mut line: Vec<OsString> = vec!["tokenwarden".into(), "test".into()];
    line.extend(options.iter().map(Into::into));
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
    assert!(out.contains(" passed, 0 failed\n"), "{out}");
}

#[test]
fn a_shipped_test_that_finds_nothing_names_the_fact_and_has_a_twin() {
    let suites = tokenwarden::app::rule_tests::suites(&[]).unwrap();
    let tests = suites.iter().flat_map(|suite| &suite.tests);
    let without: Vec<&str> = tests
        .filter(|test| test.expected.is_empty() && test.benign.is_none())
        .map(|test| &*test.name)
        .collect();
    assert_eq!(without, [""; 0], "`benign` and `twin` are missing");
}

#[test]
fn a_folder_a_rule_file_and_a_test_file_name_the_same_tests() {
    let (folder, file) = desk(&BUSY.replace("EXPECT", "[{ rule: busy, severity: low }]"));
    for path in [folder.path(), &file, &folder.path().join("busy.yaml")] {
        let (exit, out, err) = run(&[path]);
        assert_eq!(exit, Exit::Success, "{out}{err}");
        assert!(out.contains("\n2 passed, 0 failed\n"), "{out}");
        let coverage =
            "coverage: 1 of 1 rules have a hit and a miss\n  busy    1 hits    1 misses\n";
        assert!(out.ends_with(coverage), "{out}");
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

    let wrong = "[{ rule: busy, severity: low }, { rule: busy, severity: low, at: 1m }]";
    let (_folder, file) = desk(&BUSY.replace("EXPECT", wrong));
    let (exit, out, _) = run(&[&file]);
    assert_eq!(exit, Exit::Negative, "{out}");
    let missing = "expected, not found: { rule: busy, severity: low, at: 1m }";
    assert!(out.contains(missing), "{out}");
    assert!(out.contains("\n1 passed, 1 failed\n"), "{out}");
}

#[test]
fn a_finding_that_is_another_is_shown_member_by_member() {
    let wrong = "[{ rule: busy, severity: low, actions: [notify], subject: { family: f2 }, at: 20s, event: 1.2, evidence: { limit: 2, refreshes: 4 } }]";
    let (_folder, file) = desk(&BUSY.replace("EXPECT", wrong));
    let (exit, out, _) = run(&[&file]);
    assert_eq!(exit, Exit::Negative, "{out}");
    let shown = out.split("busy.test.yaml").nth(2).unwrap();
    insta::assert_snapshot!(shown, @r"
    :4
                busy is another finding than expected:
                  severity: low
                - actions: [notify]
                + actions: [throttle]
                - subject: { family: f2 }
                + subject: { family: f1 }
                  at: 20s
                  event: 1.2
                  evidence.limit: 2
                - evidence.refreshes: 4
                + evidence.refreshes: ~
                  at 20s, event 1.2: 3 refreshes within 10 min in one login (limit 2)
      ok      two within a minute

    1 passed, 1 failed
    coverage: 1 of 1 rules have a hit and a miss
      busy    1 hits    1 misses
    ");
}

#[test]
fn what_is_expected_finds_its_detection_whatever_the_order() {
    let loose = "{ rule: busy, severity: low }";
    let strict = "{ rule: busy, severity: low, at: 20s, subject: { family: f1 } }";
    for both in [[loose, strict], [strict, loose]] {
        let tests = BUSY
            .replace("EXPECT", &format!("[{}]", both.join(", ")))
            .replace("times: 3, every: 10s }]", "times: 3, every: 10s }, { at: 0s, type: refresh, family_id: f2, times: 3, every: 10s }]");
        let (_folder, file) = desk(&tests);
        let (exit, out, _) = run(&[&file]);
        assert_eq!(exit, Exit::Success, "{out}");
    }
}

#[test]
fn a_twin_does_without_the_fact_that_its_benign_case_names() {
    let hit = "expect: [{ rule: busy, severity: low }]";
    for differs in [
        "change: [{ event: 2, at: 1m }]",
        "drop: [2], add: [{ at: 30s, type: refresh }]",
        "change: [{ event: 1, times: 3 }]",
    ] {
        let twin = format!("{{ {differs}, {hit} }}");
        let (_folder, file) = desk(&PAIR.replace("TWIN", &twin));
        let (exit, out, err) = run(&[&file]);
        assert_eq!(exit, Exit::Success, "{differs}: {out}{err}");
        let name = "ok        twin: twin of an hour between the refreshes";
        assert!(out.contains(name), "{out}");
    }
    let silent = format!("{{ name: later still, change: [{{ event: 2, at: 2h }}], {hit} }}");
    let (_folder, file) = desk(&PAIR.replace("TWIN", &silent));
    let (exit, out, _) = run(&[&file]);
    assert_eq!(exit, Exit::Negative, "a fact that exculpates nobody: {out}");
    assert!(out.contains("FAILED    twin: later still"), "{out}");
}

#[test]
fn a_pair_that_proves_nothing_is_unusable() {
    let unusable = |twin: &str, place: &str, what: &str| {
        let (_folder, file) = desk(&PAIR.replace("TWIN", twin));
        let (exit, _, err) = run(&[&file]);
        assert_eq!(exit, Exit::Unusable, "{twin}: {err}");
        let told = format!("busy.test.yaml:{place}: {what}");
        assert!(err.contains(&told), "{told} in {err}");
    };
    unusable(
        "{ change: [{ event: 2, at: 1m }], expect: [] }",
        "10:11",
        "this twin expects nothing graver than its benign case",
    );
    unusable(
        "{ expect: [{ rule: busy, severity: low }] }",
        "10:11",
        "this twin has every fact of its benign case",
    );
    unusable(
        "{ change: [{ event: 7, at: 1m }], expect: [{ rule: busy, severity: low }] }",
        "10:31",
        "there is no event `7`\n  hint: events are numbered from 1, or have the `event_id` that they say; there are 1, 2",
    );
    let alone = PAIR.replace("    twin: TWIN\n", "");
    let (_folder, file) = desk(&alone);
    let (exit, _, err) = run(&[&file]);
    assert_eq!(exit, Exit::Unusable, "{err}");
    assert!(err.contains(":4:5: `benign` without `twin`"), "{err}");
}

#[test]
fn a_rule_without_a_hit_or_a_miss_fails() {
    let hit = "[{ rule: busy, severity: low }]";
    let only_hits = BUSY
        .replace("EXPECT", hit)
        .replace("times: 2", "times: 3")
        .replace("[]", hit);
    let (_folder, file) = desk(&only_hits);
    let (exit, out, _) = run(&[&file]);
    assert_eq!(exit, Exit::Negative, "{out}");
    assert!(out.contains("2 passed, 0 failed"), "{out}");
    assert!(out.contains("no test in which it does not fire"), "{out}");

    let (folder, _file) = desk(&BUSY.replace("EXPECT", hit));
    let other = RULES.replace("name: busy", "name: lonely");
    std::fs::write(folder.path().join("lonely.yaml"), other).unwrap();
    let (exit, out, _) = run(&[folder.path()]);
    assert_eq!(exit, Exit::Negative, "{out}");
    assert!(out.contains("coverage: 1 of 2 rules"), "{out}");
    assert!(
        out.contains("lonely    0 hits    0 misses  no test ("),
        "{out}"
    );
}

#[test]
fn a_filter_keeps_pairs_together_and_judges_no_coverage() {
    let twin = "{ name: a minute between, change: [{ event: 2, at: 1m }], expect: [{ rule: busy, severity: low }] }";
    let (_folder, file) = desk(&PAIR.replace("TWIN", twin));
    for part in ["minute", "an hour"] {
        let (exit, out, _) = run_with(&["--filter", part], &[&file]);
        assert_eq!(exit, Exit::Success, "{out}");
        assert!(
            out.contains("2 passed, 0 failed\ncoverage is not judged"),
            "{out}"
        );
    }
    let (exit, out, err) = run_with(&["--filter", "nowhere"], &[&file]);
    assert_eq!((exit, &*out), (Exit::Unusable, ""), "{err}");
    assert!(err.contains("no test has `nowhere` in its name"), "{err}");
}

#[test]
fn machines_read_lines_of_json_or_junit() {
    let tests = BUSY
        .replace("EXPECT", "[]")
        .replace("three within", "<three> & more within");
    let (folder, file) = desk(&tests);
    let steady = |out: String| out.replace(folder.path().to_str().unwrap(), "DESK");
    let (exit, out, _) = run_with(&["--output", "json"], &[&file]);
    assert_eq!(exit, Exit::Negative, "{out}");
    let lines: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["passed"], false);
    assert_eq!(lines[0]["differences"][0]["change"], "unexpected");
    assert_eq!(lines[1]["passed"], true);
    assert_eq!(lines[2]["type"], "coverage");
    assert_eq!(
        (&lines[3]["passed"], &lines[3]["failed"]),
        (&1.into(), &1.into())
    );
    let (exit, out, _) = run_with(&["--output", "junit"], &[&file]);
    assert_eq!(exit, Exit::Negative, "{out}");
    insta::assert_snapshot!(steady(out), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="tokenwarden test" tests="3" failures="1" errors="0">
      <testsuite name="DESK/busy.test.yaml" tests="2" failures="1" errors="0" skipped="0">
        <testcase name="&lt;three&gt; &amp; more within a minute" classname="DESK/busy.test.yaml" file="DESK/busy.test.yaml" line="4">
          <failure message="another outcome than expected" type="failure">
    + found, not expected: { rule: busy, severity: low, actions: [throttle] }
        at 20s, event 1.2: 3 refreshes within 10 min in one login (limit 2)
          </failure>
        </testcase>
        <testcase name="two within a minute" classname="DESK/busy.test.yaml" file="DESK/busy.test.yaml" line="7"/>
      </testsuite>
      <testsuite name="coverage" tests="1" failures="0" errors="0" skipped="0">
        <testcase name="busy" classname="coverage" file="DESK/busy.test.yaml"/>
      </testsuite>
    </testsuites>
    "#);
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
