//! An explanation as one line of JSON.

use std::io::Write;

use serde_json::{Value, json};

use crate::app::replay::explain::Explanation;
use crate::engine::{Explained, Outcome};
use crate::model::{Action, Detection};
use crate::rules::context::Context;
use crate::rules::words::who;

pub(super) fn print(explanation: &Explanation, out: &mut dyn Write) -> anyhow::Result<()> {
    let event = &explanation.event;
    let rules = explanation.rules.iter();
    let line = json!({
        "type": "explanation",
        "event": event.event,
        "from": who(&Context::of(event)),
        "family": explanation.family.as_ref().map(|family| json!({
            "whose": family.whose,
            "timeline": family.timeline,
        })),
        "rules": rules.map(|explained| rule(explained, &explanation.decided)).collect::<Vec<_>>(),
    });
    writeln!(out, "{line}")?;
    Ok(())
}

fn rule(explained: &Explained, decided: &[(Detection, Vec<Action>)]) -> Value {
    let (outcome, why, findings) = match &explained.outcome {
        Outcome::Fired(findings) => ("fired", None, findings.as_slice()),
        Outcome::Silent => ("silent", None, &[][..]),
        Outcome::Unasked(why) => ("not_asked", Some(*why), &[][..]),
    };
    let notes = explained.notes.iter();
    let of_rule = decided
        .iter()
        .filter(|(d, _)| d.rule == explained.rule.name);
    json!({
        "rule": explained.rule.name,
        "kind": explained.rule.detect.kind(),
        "outcome": outcome,
        "why": why,
        "notes": notes.map(|note| json!({"why": note.why, "values": note.values})).collect::<Vec<_>>(),
        "findings": findings.iter().map(|finding| json!({
            "severity": explained.rule.severity.min(finding.at_most),
            "summary": finding.summary,
            "evidence": finding.evidence,
        })).collect::<Vec<_>>(),
        "detections": of_rule.map(|(detection, actions)| json!({
            "id": detection.id,
            "actions": actions.iter().map(action).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

fn action(action: &Action) -> Value {
    json!({"action": action.kind, "decision": action.decision, "reason": action.reason})
}
