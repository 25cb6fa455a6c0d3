//! Rule tests for a program: one object per line, tests, then the coverage of each rule, then one summary.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::Done;
use crate::app::rule_tests::{Difference, Expected, Got};

pub(super) fn write(done: &Done, out: &mut dyn Write) -> io::Result<()> {
    for suite in &done.suites {
        for (test, difference) in &suite.tests {
            let line = json!({
                "type": "test", "file": suite.file.display().to_string(), "line": test.line, "name": test.name,
                "benign": test.benign, "twin_of": test.twin_of, "passed": difference.is_none(),
                "differences": differences(difference),
            });
            writeln!(out, "{line}")?;
        }
    }
    for suite in done.suites.iter().filter(|_| done.whole) {
        for it in &suite.coverage {
            let line = json!({
                "type": "coverage", "file": suite.file.display().to_string(), "rule": it.rule,
                "hits": it.hits, "misses": it.misses, "lacks": it.lacks(),
            });
            writeln!(out, "{line}")?;
        }
    }
    let line = json!({
        "type": "summary", "passed": done.passed(), "failed": done.failed(), "uncovered": done.uncovered().count(),
    });
    writeln!(out, "{line}")
}

fn differences(difference: &Difference) -> Vec<Value> {
    let changed = difference.changed.iter().map(|(expected, got)| {
        json!({"change": "another", "rule": expected.rule, "members": members(expected, got), "got": detection(got)})
    });
    let missing = difference
        .missing
        .iter()
        .map(|expected| json!({"change": "missing", "rule": expected.rule, "expected": expected.written()}));
    let unexpected = difference.unexpected.iter().map(
        |got| json!({"change": "unexpected", "rule": got.detection.rule, "got": detection(got)}),
    );
    changed.chain(missing).chain(unexpected).collect()
}

fn members(expected: &Expected, got: &Got) -> Vec<Value> {
    let unmet = expected.members(got).into_iter().filter(|it| !it.met);
    unmet
        .map(|it| json!({"name": it.name, "expected": it.expected, "got": it.got}))
        .collect()
}

fn detection(got: &Got) -> Value {
    let detection = &got.detection;
    json!({
        "severity": detection.severity, "actions": got.actions, "subject": detection.subject, "at": got.at(),
        "event_id": detection.event_id, "summary": detection.summary, "evidence": detection.evidence,
    })
}
