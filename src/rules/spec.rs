//! What a rule file says: YAML, read once at the border into rules that cannot be wrong, every fault with its place.
//!
//! Shipped files are never edited: what the configuration changes by rule name stands in [`overrides`](super::overrides).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::finding::Class;
use super::kinds::Detect;
use super::parameters::Reader;
use super::rule::{Maturity, RULES_VERSION, SetBy, Written};
use super::suppress::Asked;
use super::variants::Variants;
use super::{Rule, exception, labels, suppress};
use crate::model::{ActionKind, Mode, Severity, Text, limits};
use crate::yaml::{Faults, Map, Node};

/// The version of the rule language that this release reads.
pub(super) const LANGUAGE_VERSION: u32 = 1;

/// Reads one rule file.
pub(super) fn read(text: &str, file: &Path, faults: &mut Faults) -> Vec<Rule> {
    let Some(root) = Node::parse(text, file, faults) else {
        return Vec::new();
    };
    let Some(mut map) = root.mapping(faults) else {
        return Vec::new();
    };
    map.required("version", faults, |node, faults| {
        node.integer(1..=LANGUAGE_VERSION, faults)
    });
    let rules = map.required("rules", faults, |node, faults| node.list(faults, rule));
    map.finish(faults);
    rules.unwrap_or_default()
}

fn rule(node: &Node, faults: &mut Faults) -> Option<Rule> {
    let mut map = node.mapping(faults)?;
    let name = map.required("name", faults, rule_name);
    let description = map.required("description", faults, Node::text);
    let severity = map.required("severity", faults, severity);
    let mode = map.optional("mode", faults, mode).unwrap_or(Mode::Enforce);
    let response = map.or("response", Vec::new(), faults, actions);
    let offer = map.or("offer", Vec::new(), faults, actions);
    let runbook = map.optional("runbook", faults, Node::text);
    let classes = map.optional("classes", faults, classes);
    let risk = map.or("risk", 0.0, faults, risk);
    let labels = map.optional("labels", faults, labels::read);
    let suppress = map
        .optional("suppress", faults, suppress::read)
        .and_then(Asked::once);
    let exceptions = map.or("exceptions", Vec::new(), faults, exception::read_all);
    let not_fired_on = map.or("not_fired_on", Vec::new(), faults, causes);
    let false_positives = map.or("false_positives", Vec::new(), faults, causes);
    let maturity = map.or("maturity", Maturity::Stable, faults, |n, f| {
        n.name(Maturity::ALL, Maturity::as_str, f)
    });
    let since = map.or("since", 1, faults, |n, f| n.integer(1..=RULES_VERSION, f));
    let detect = map.required("detect", faults, detect);
    map.finish(faults);
    let detect = detect?;
    Some(Rule {
        classes: classes.unwrap_or_else(|| detect.classes().to_vec()),
        risk,
        name: name?,
        description: description?,
        severity: severity?,
        mode,
        written: written(node, detect.kind()),
        detect,
        response,
        offer,
        runbook,
        labels: labels.unwrap_or_default(),
        suppress,
        exceptions: exceptions.into_iter().map(Arc::new).collect(),
        not_fired_on,
        false_positives,
        maturity,
        since,
        pinned_at: None,
        variants: Variants::default(),
    })
}

/// Keys of the rule and of its kind's parameters, which have no name in common.
fn written(node: &Node, kind: &str) -> Written {
    let params = node.member("detect").and_then(|it| it.member(kind));
    let members = node.members().iter();
    let members = members.chain(params.map_or(&[][..], Node::members));
    let key =
        |(place, key, _): &(_, Text, _)| (key.clone(), (SetBy::RuleFile, Clone::clone(place)));
    Written {
        place: node.place().clone(),
        keys: members.map(key).collect::<BTreeMap<_, _>>(),
    }
}

fn rule_name(node: &Node, faults: &mut Faults) -> Option<Text> {
    let name = node.text(faults)?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.is_empty() && name.len() <= 64 && name.chars().all(fits) {
        return Some(name);
    }
    faults.push(
        node.fault(format!("`{name}` is not a rule name"))
            .with_hint("use a-z, 0-9 and `-`, at most 64 characters"),
    );
    None
}

fn classes(node: &Node, faults: &mut Faults) -> Option<Vec<Class>> {
    node.list(faults, |n, f| n.name(Class::ALL, Class::as_str, f))
}

pub(super) fn severity(node: &Node, faults: &mut Faults) -> Option<Severity> {
    node.name(Severity::ALL, Severity::as_str, faults)
}

pub(super) fn mode(node: &Node, faults: &mut Faults) -> Option<Mode> {
    node.name(Mode::ALL, Mode::as_str, faults)
}

pub(super) fn risk(node: &Node, faults: &mut Faults) -> Option<f64> {
    node.number(0.0..=1.0, faults)
}

fn causes(node: &Node, faults: &mut Faults) -> Option<Vec<Text>> {
    let causes = node.one_or_list(faults, Node::text)?;
    if causes.len() > limits::LABELS_MAX {
        faults.push(node.fault(format!("lists more than {}", limits::LABELS_MAX)));
        return None;
    }
    Some(causes)
}

pub(super) fn actions(node: &Node, faults: &mut Faults) -> Option<Vec<ActionKind>> {
    node.list(faults, |n, f| {
        let action = n.name(ActionKind::ALL, ActionKind::as_str, f)?;
        if action == ActionKind::Notify {
            f.push(
                n.fault("`notify` is not written in `response`")
                    .with_hint("it follows from the severity: medium and above notify"),
            );
            return None;
        }
        Some(action)
    })
}

fn detect(node: &Node, faults: &mut Faults) -> Option<Detect> {
    let mut map = node.mapping(faults)?;
    let kind = map.one_kind(Detect::KINDS, faults);
    map.finish(faults);
    let (kind, params) = kind?;
    let mut detect = Detect::default_of(kind)?;
    if let Some(mut params) = params.mapping(faults) {
        // What is not written keeps its default.
        parameters(&mut detect, &mut params, faults);
        params.finish(faults);
    }
    Some(detect)
}

pub(super) fn parameters(detect: &mut Detect, map: &mut Map<'_>, faults: &mut Faults) {
    detect.parameters(&mut Reader { map, faults });
}
