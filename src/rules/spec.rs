//! What a rule file says: YAML, read once at the border into rules that cannot be wrong, every fault with its place.
//!
//! Shipped files are never edited: `overrides` of the configuration change mode, severity and parameters by rule name.

use std::path::Path;
use std::sync::Arc;

use super::finding::Class;
use super::kinds::Detect;
use super::parameters::Reader;
use super::{Rule, RuleSet};
use crate::model::{ActionKind, Mode, Severity, Text};
use crate::yaml::{Fault, Faults, Map, Node, Place, nearest};

/// The version of the rule language that this release reads.
const LANGUAGE_VERSION: u32 = 1;

/// Reads one rule file.
pub(super) fn read(text: &str, file: &Path, faults: &mut Faults) -> Vec<(Rule, Place)> {
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

fn rule(node: &Node, faults: &mut Faults) -> Option<(Rule, Place)> {
    let mut map = node.mapping(faults)?;
    let name = map.required("name", faults, rule_name);
    let description = map.required("description", faults, Node::text);
    let severity = map.required("severity", faults, |n, f| {
        n.name(Severity::ALL, Severity::as_str, f)
    });
    let mode = map
        .optional("mode", faults, |n, f| n.name(Mode::ALL, Mode::as_str, f))
        .unwrap_or(Mode::Enforce);
    let response = map
        .optional("response", faults, actions)
        .unwrap_or_default();
    let runbook = map.optional("runbook", faults, Node::text);
    let classes = map.optional("classes", faults, classes);
    let risk = map.or("risk", 0.0, faults, |n, f| n.number(0.0..=1.0, f));
    let detect = map.required("detect", faults, detect);
    map.finish(faults);
    let detect = detect?;
    let rule = Rule {
        classes: classes.unwrap_or_else(|| detect.classes().to_vec()),
        risk,
        name: name?,
        description: description?,
        severity: severity?,
        mode,
        detect,
        response,
        runbook,
    };
    Some((rule, node.place().clone()))
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

fn actions(node: &Node, faults: &mut Faults) -> Option<Vec<ActionKind>> {
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
    apply(&mut detect, params, faults);
    Some(detect)
}

/// Sets the parameters that are written; the others keep their defaults.
fn apply(detect: &mut Detect, params: &Node, faults: &mut Faults) {
    if params.is_null() {
        return;
    }
    let Some(mut map) = params.mapping(faults) else {
        return;
    };
    parameters(detect, &mut map, faults);
    map.finish(faults);
}

fn parameters(detect: &mut Detect, map: &mut Map<'_>, faults: &mut Faults) {
    detect.parameters(&mut Reader { map, faults });
}

fn set<T>(value: &mut T, written: Option<T>) {
    if let Some(written) = written {
        *value = written;
    }
}

/// Puts the files' rules together and applies the overrides of the configuration.
pub(super) fn compile(
    files: Vec<(Rule, Place)>,
    overrides: &[(Text, Node)],
    faults: &mut Faults,
) -> RuleSet {
    let mut rules: Vec<Rule> = Vec::new();
    for (rule, place) in files {
        if rules.iter().any(|known| known.name == rule.name) {
            faults.push(
                place
                    .fault(format!("rule `{}` stands in two places", rule.name))
                    .with_hint("give one of them another name"),
            );
            continue;
        }
        rules.push(rule);
    }
    for (name, node) in overrides {
        match rules.iter_mut().find(|rule| rule.name == *name) {
            Some(rule) => override_rule(rule, node, faults),
            None => faults.push(unknown_rule(name, node, &rules)),
        }
    }
    RuleSet {
        rules: rules.into_iter().map(Arc::new).collect(),
        files: Vec::new(),
    }
}

fn override_rule(rule: &mut Rule, node: &Node, faults: &mut Faults) {
    let Some(mut map) = node.mapping(faults) else {
        return;
    };
    set(
        &mut rule.mode,
        map.optional("mode", faults, |n, f| n.name(Mode::ALL, Mode::as_str, f)),
    );
    set(
        &mut rule.severity,
        map.optional("severity", faults, |n, f| {
            n.name(Severity::ALL, Severity::as_str, f)
        }),
    );
    set(
        &mut rule.response,
        map.optional("response", faults, actions),
    );
    // Parameters stand beside the mode, as the contract shows it.
    parameters(&mut rule.detect, &mut map, faults);
    map.finish(faults);
}

fn unknown_rule(name: &Text, node: &Node, rules: &[Rule]) -> Fault {
    let fault = node.fault(format!("there is no rule `{name}`"));
    match nearest(name, rules.iter().map(|rule| &*rule.name)) {
        Some(near) => fault.with_hint(format!("did you mean `{near}`?")),
        None => fault.with_hint("overrides go by the names in the rule files"),
    }
}
