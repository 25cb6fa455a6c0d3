//! What a rule test expects, and whether a detection is that.
//!
//! A member that is not written is not compared: a test says what it is about, so that another rule's change of words
//! does not break it.

use std::time::Duration;

use serde_json::Value;

use super::Got;
use super::events::{after_start, since_start, written};
use super::read::{check_name, json};
use crate::model::{ActionKind, Detection, Severity, Subject, Text};
use crate::rules::RuleSet;
use crate::yaml::{Faults, Map, Node};

/// One detection that a test expects.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    pub rule: Text,
    pub severity: Severity,
    /// The actions that would be sent for it, in the order of the contract.
    pub actions: Option<Vec<ActionKind>>,
    pub subject: Option<Subject>,
    /// When, after the start of the test.
    pub at: Option<Duration>,
    /// The event that completed the proof.
    pub event: Option<Text>,
    /// Members that the evidence has among others; all values are texts, lists and objects of them, or null for none.
    pub evidence: Option<Value>,
}

/// One thing that is expected, and what there is in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// `severity`, or `evidence.verdict`.
    pub name: String,
    pub expected: String,
    pub got: String,
    /// Not by the written form: what is equal may be written in two ways.
    pub met: bool,
}

pub(super) fn read(node: &Node, rules: &RuleSet, faults: &mut Faults) -> Option<Expected> {
    let mut map = node.mapping(faults)?;
    let rule = map.required("rule", faults, |node, faults| {
        let name = node.text(faults)?;
        check_name(node, &name, rules, faults);
        Some(name)
    });
    let severity = map.required("severity", faults, |node, faults| {
        node.name(Severity::ALL, Severity::as_str, faults)
    });
    let actions = map.optional("actions", faults, actions);
    let subject = map.optional("subject", faults, subject);
    let at = map.optional("at", faults, after_start);
    let event = map.optional("event", faults, Node::text);
    let evidence = map.optional("evidence", faults, evidence);
    map.finish(faults);
    Some(Expected {
        rule: rule?,
        severity: severity?,
        actions,
        subject,
        at,
        event,
        evidence,
    })
}

fn actions(node: &Node, faults: &mut Faults) -> Option<Vec<ActionKind>> {
    let mut kinds = node.list(faults, |node, faults| {
        node.name(ActionKind::ALL, ActionKind::as_str, faults)
    })?;
    kinds.sort_unstable();
    kinds.dedup();
    Some(kinds)
}

/// `{ family: f1 }`.
fn subject(node: &Node, faults: &mut Faults) -> Option<Subject> {
    const KINDS: &[&str] = &["family", "user", "client", "network", "key"];
    let mut map: Map<'_> = node.mapping(faults)?;
    let kind = map.one_kind(KINDS, faults);
    map.finish(faults);
    let (kind, node) = kind?;
    let id = node.text(faults)?;
    Some(match kind {
        "family" => Subject::Family(id),
        "user" => Subject::User(id),
        "client" => Subject::Client(id),
        "network" => Subject::Network(id),
        _ => Subject::Key(id),
    })
}

fn evidence(node: &Node, faults: &mut Faults) -> Option<Value> {
    node.mapping(faults)?.entries();
    Some(json(node))
}

impl Expected {
    pub(super) fn is_met_by(&self, got: &Got) -> bool {
        self.rule == got.detection.rule && self.members(got).iter().all(|member| member.met)
    }

    /// Whether this says more than the other, of one rule: a graver finding, or one for which more is done.
    pub(super) fn is_graver_than(&self, other: &Self) -> bool {
        let does_more = match (&self.actions, &other.actions) {
            (Some(more), Some(less)) => more.iter().any(|kind| !less.contains(kind)),
            _ => false,
        };
        self.severity > other.severity || (self.severity == other.severity && does_more)
    }

    /// Each thing that is expected beside what came.
    pub fn members(&self, got: &Got) -> Vec<Member> {
        let detection = &got.detection;
        let mut members = vec![plain(
            "severity",
            self.severity.as_str(),
            detection.severity.as_str(),
        )];
        if let Some(actions) = &self.actions {
            members.push(plain("actions", &names(actions), &names(&got.actions)));
        }
        if let Some(subject) = &self.subject {
            let (expected, got) = (subject_text(subject), subject_text(&detection.subject));
            members.push(plain("subject", &expected, &got));
        }
        if let Some(at) = self.at {
            let came = written(since_start(detection.time));
            members.push(plain("at", &written(at), &came));
        }
        if let Some(event) = &self.event {
            members.push(plain("event", event, &detection.event_id));
        }
        if let Some(evidence) = &self.evidence {
            compare(
                "evidence",
                evidence,
                Some(&evidence_of(detection)),
                &mut members,
            );
        }
        members
    }

    /// As it would be written under `expect`.
    pub fn written(&self) -> String {
        let mut members = vec![
            format!("rule: {}", self.rule),
            format!("severity: {}", self.severity),
        ];
        members.extend(
            self.actions
                .as_ref()
                .map(|a| format!("actions: {}", names(a))),
        );
        members.extend(
            self.subject
                .as_ref()
                .map(|s| format!("subject: {}", subject_text(s))),
        );
        members.extend(self.at.map(|at| format!("at: {}", written(at))));
        members.extend(self.event.as_ref().map(|event| format!("event: {event}")));
        members.extend(
            self.evidence
                .as_ref()
                .map(|e| format!("evidence: {}", shown(Some(e)))),
        );
        format!("{{ {} }}", members.join(", "))
    }
}

impl Got {
    /// As it would be written under `expect`.
    pub fn written(&self) -> String {
        let (rule, severity) = (&self.detection.rule, self.detection.severity);
        let actions = names(&self.actions);
        format!("{{ rule: {rule}, severity: {severity}, actions: {actions} }}")
    }

    /// When it came, after the start of the test.
    pub fn at(&self) -> String {
        written(since_start(self.detection.time))
    }
}

fn plain(name: &str, expected: &str, got: &str) -> Member {
    Member {
        name: name.to_owned(),
        expected: expected.to_owned(),
        got: got.to_owned(),
        met: expected == got,
    }
}

fn names(kinds: &[ActionKind]) -> String {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    format!("[{}]", names.join(", "))
}

fn subject_text(subject: &Subject) -> String {
    let (kind, id) = match subject {
        Subject::Family(id) => ("family", id),
        Subject::User(id) => ("user", id),
        Subject::Client(id) => ("client", id),
        Subject::Network(id) => ("network", id),
        Subject::Key(id) => ("key", id),
    };
    format!("{{ {kind}: {id} }}")
}

fn evidence_of(detection: &Detection) -> Value {
    serde_json::to_value(&detection.evidence).unwrap_or(Value::Null)
}

/// Objects are compared by the members that are expected, everything else as a whole.
fn compare(name: &str, expected: &Value, got: Option<&Value>, members: &mut Vec<Member>) {
    if let (Value::Object(expected), Some(Value::Object(found))) = (expected, got) {
        for (member, value) in expected {
            compare(
                &format!("{name}.{member}"),
                value,
                found.get(member),
                members,
            );
        }
        return;
    }
    members.push(Member {
        name: name.to_owned(),
        expected: shown(Some(expected)),
        got: shown(got),
        met: equal(expected, got),
    });
}

/// What is expected was written as text, whatever it looks like.
fn equal(expected: &Value, got: Option<&Value>) -> bool {
    match (expected, got) {
        (Value::Null, got) => got.is_none_or(Value::is_null),
        (Value::String(text), Some(Value::Number(number))) => {
            text.parse::<f64>().ok() == number.as_f64()
        }
        (Value::String(text), Some(Value::Bool(yes))) => *text == yes.to_string(),
        (Value::Array(expected), Some(Value::Array(got))) => {
            expected.len() == got.len()
                && expected
                    .iter()
                    .zip(got)
                    .all(|(expected, got)| equal(expected, Some(got)))
        }
        (Value::Object(expected), Some(Value::Object(got))) => expected
            .iter()
            .all(|(name, value)| equal(value, got.get(name))),
        (expected, got) => got == Some(expected),
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "~".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let items: Vec<String> = items.iter().map(|item| shown(Some(item))).collect();
            format!("[{}]", items.join(", "))
        }
        Some(Value::Object(members)) => {
            let member =
                |(name, value): (&String, &Value)| format!("{name}: {}", shown(Some(value)));
            let members: Vec<String> = members.iter().map(member).collect();
            format!("{{ {} }}", members.join(", "))
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differing(expected: &Value, got: &Value) -> Vec<String> {
        let mut members = Vec::new();
        compare("evidence", expected, Some(got), &mut members);
        members.retain(|member| !member.met);
        let line = |m: &Member| format!("{}: {} is {}", m.name, m.expected, m.got);
        members.iter().map(line).collect()
    }

    #[test]
    fn evidence_is_compared_by_the_members_that_are_expected() {
        let got = json!({"verdict": "theft", "generation_gap": 2, "accepted": true, "thief": {"address": "a", "agent": "b"}, "seen": ["x", "y"]});
        let met = json!({"verdict": "theft", "generation_gap": "2", "accepted": "true", "thief": {"agent": "b"}, "seen": ["x", "y"], "cause": null});
        assert_eq!(differing(&met, &got), [""; 0]);
        let unmet = json!({"verdict": "suspected", "generation_gap": "3", "thief": {"agent": "c"}, "seen": ["x"], "place": "Berlin", "accepted": null});
        assert_eq!(
            differing(&unmet, &got),
            [
                "evidence.accepted: ~ is true",
                "evidence.generation_gap: 3 is 2",
                "evidence.place: Berlin is ~",
                "evidence.seen: [x] is [x, y]",
                "evidence.thief.agent: c is b",
                "evidence.verdict: suspected is theft",
            ]
        );
    }
}
