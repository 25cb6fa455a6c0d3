//! The exception that would have prevented a false positive: YAML for `overrides`, to be looked at by a person first.
//!
//! As narrow as what was found: client, user and network together. Every value is written as a JSON string, which is
//! YAML too, so that no name of a client can become a key.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::{By, Detection, Prefix, Severity, Timestamp, limits};

use super::people::EXCEPTION_LASTS;

/// Detections of the incident that are looked at.
pub(super) const DETECTIONS_READ: u32 = 200;
/// Exceptions that one proposal has at most.
const PROPOSED_MAX: usize = 20;

pub(super) fn proposed(detections: &[Detection], by: &By, now: Timestamp) -> String {
    let expires = now.checked_add(EXCEPTION_LASTS).unwrap_or(now);
    let expires = expires.strftime("%Y-%m-%d").to_string();
    let mut rules: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let told = detections
        .iter()
        .filter(|it| it.severity >= Severity::Medium);
    for detection in told {
        let found = rules.entry(&detection.rule).or_default();
        let matches = matches_of(detection);
        if !matches.is_empty() && !found.contains(&matches) && found.len() < PROPOSED_MAX {
            found.push(matches);
        }
    }
    rules.retain(|_, matches| !matches.is_empty());
    if rules.is_empty() {
        return String::new();
    }
    let mut yaml = String::from("overrides:\n");
    for (rule, matches) in rules {
        // Writing into a String cannot fail.
        let _infallible = writeln!(yaml, "  {rule}:\n    exceptions:");
        for matches in matches {
            let (reason, owner) = (text(&line(&by.why)), text(&line(&by.who)));
            let _infallible = writeln!(
                yaml,
                "      - match: {{ {matches} }}\n        reason: {reason}\n        owner: {owner}\n        expires: {expires}"
            );
        }
    }
    yaml
}

fn matches_of(detection: &Detection) -> String {
    let network = detection
        .ip_address
        .map(|address| Prefix::of(address).to_string());
    let members = [
        ("client_id", detection.client_id.as_deref()),
        ("user_id", detection.user_id.as_deref()),
        ("network", network.as_deref()),
    ];
    let member = |(name, value): (&str, Option<&str>)| Some(format!("{name}: {}", text(value?)));
    let members: Vec<String> = members.into_iter().filter_map(member).collect();
    members.join(", ")
}

/// One line, as long as an exception's reason may be.
fn line(note: &str) -> String {
    let mut line: String = note.split_whitespace().collect::<Vec<_>>().join(" ");
    while line.len() > limits::LABEL_BYTES_MAX {
        line.pop();
    }
    line
}

/// A string in double quotes, with everything escaped that could end it or its line.
fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}
