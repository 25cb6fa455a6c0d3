//! JSON Schema of rule files and of overrides, for editors.
//!
//! What a kind takes is told by the kind itself, through the same list of parameters by which files are read.

use serde_json::{Map, Value, json};

use super::finding::Class;
use super::kinds::Detect;
use super::parameters::{Describer, Form, Parameter};
use super::rule::{Maturity, RULES_VERSION};
use super::spec::LANGUAGE_VERSION;
use super::suppress::SuppressBy;
use super::{Rule, RuleSet};
use crate::model::{ActionKind, Mode, Severity, limits};

/// JSON Schema 2020-12 of a rule file.
pub fn of_rule_files() -> Value {
    let mut defs = definitions();
    defs.insert("rule".to_owned(), rule());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rules of tokenwarden",
        "type": "object",
        "required": ["version", "rules"],
        "properties": {
            "version": {"description": "Version of the rule language.", "type": "integer", "minimum": 1, "maximum": LANGUAGE_VERSION},
            "rules": {"description": "The rules, each under a name of its own.", "type": ["array", "null"], "items": {"$ref": "#/$defs/rule"}},
        },
        "additionalProperties": false,
        "$defs": defs,
    })
}

/// What may stand under `overrides` of the configuration; it refers to [`definitions`].
pub fn of_overrides(rules: &RuleSet) -> Value {
    let of_rule = |rule: &std::sync::Arc<Rule>| (rule.name.to_string(), override_of(rule));
    let by_name: Map<String, Value> = rules.rules.iter().map(of_rule).collect();
    json!({
        "description": "Changes of rules, by their names: mode, severity, response, parameters and more.",
        "type": ["object", "null"],
        "properties": by_name,
        "additionalProperties": {"description": "A rule of your own.", "type": ["object", "null"]},
    })
}

fn override_of(rule: &Rule) -> Value {
    let mut changes = changes();
    changes.extend(parameters(rule.detect.clone()));
    let some =
        json!({"type": ["object", "null"], "properties": changes, "additionalProperties": false});
    let of = |whom: &str| {
        json!({
            "description": format!("The same for some {whom}; `default` fills what the others leave out."),
            "type": ["object", "null"],
            "additionalProperties": some,
        })
    };
    let (clients, tenants) = (of("clients"), of("tenants"));
    changes.extend([
        ("clients".to_owned(), clients),
        ("tenants".to_owned(), tenants),
        (
            "exceptions".to_owned(),
            json!({"$ref": "#/$defs/exceptions"}),
        ),
    ]);
    json!({
        "description": rule.description,
        "type": ["object", "null"],
        "properties": changes,
        "additionalProperties": false,
    })
}

/// Keys that rules and overrides have in common.
fn changes() -> Map<String, Value> {
    let actions: Vec<&str> = ActionKind::ALL
        .iter()
        .filter(|kind| **kind != ActionKind::Notify)
        .map(|kind| kind.as_str())
        .collect();
    members(json!({
        "mode": {"description": "What the rule may do; the lowest of all that apply wins.", "enum": names(Mode::ALL, Mode::as_str)},
        "severity": {"description": "Of its gravest finding.", "enum": names(Severity::ALL, Severity::as_str)},
        "response": {"description": "What is to be done; `notify` follows from the severity.", "type": ["array", "null"], "items": {"enum": actions}},
        "offer": {"description": "What a person may have done besides, when a login was ended.", "type": ["array", "null"], "items": {"enum": actions}},
        "risk": {"description": "What a sure finding adds to the composite risk.", "type": "number", "minimum": 0, "maximum": 1},
        "suppress": {"$ref": "#/$defs/suppress"},
    }))
}

fn rule() -> Value {
    let kind = |kind: &&str| {
        let parameters = Detect::default_of(kind).map(parameters).unwrap_or_default();
        let of = json!({"type": ["object", "null"], "properties": parameters, "additionalProperties": false});
        ((*kind).to_owned(), of)
    };
    let kinds: Map<String, Value> = Detect::KINDS.iter().map(kind).collect();
    let mut keys = members(json!({
        "name": {"description": "Name of the rule, in detections and overrides.", "type": ["string", "integer"], "pattern": "^[a-z0-9-]{1,64}$"},
        "description": {"description": "What it means when the rule fires; stands in the mail.", "$ref": "#/$defs/line"},
        "runbook": {"description": "Link to what is to be done.", "$ref": "#/$defs/line"},
        "classes": {"description": "Kinds of fact its findings are, for the composite risk.", "type": ["array", "null"], "items": {"enum": names(Class::ALL, Class::as_str)}},
        "labels": {"$ref": "#/$defs/labels"},
        "exceptions": {"$ref": "#/$defs/exceptions"},
        "not_fired_on": {"description": "What looks alike, and is recognised.", "$ref": "#/$defs/lines"},
        "false_positives": {"description": "What looks the same, is honest, and is found all the same.", "$ref": "#/$defs/lines"},
        "maturity": {"description": "Whether it has proved itself.", "enum": names(Maturity::ALL, Maturity::as_str)},
        "since": {"description": "Version of the shipped rules that introduced it.", "type": "integer", "minimum": 1, "maximum": RULES_VERSION},
        "detect": {"description": "What the rule looks for: one kind with its parameters.", "type": "object", "minProperties": 1, "maxProperties": 1, "properties": kinds, "additionalProperties": false},
    }));
    keys.extend(changes());
    json!({
        "type": "object",
        "required": ["name", "description", "severity", "detect"],
        "properties": keys,
        "additionalProperties": false,
    })
}

/// What the schemas of rules and of overrides refer to.
pub fn definitions() -> Map<String, Value> {
    let one_or_more = |of: Value| json!({"anyOf": [of, {"type": "array", "items": of, "minItems": 1, "maxItems": limits::MATCH_VALUES_MAX}]});
    let texts = one_or_more(json!({"$ref": "#/$defs/line"}));
    let techniques = one_or_more(json!({"type": "string", "pattern": "^T[0-9]{4}(\\.[0-9]{3})?$"}));
    let asns = one_or_more(json!({"type": "integer", "minimum": 1, "maximum": u32::MAX}));
    let degree =
        |about: &str| json!({"description": about, "type": "integer", "minimum": 0, "maximum": 3});
    members(json!({
        "line": {"type": ["string", "number", "boolean"]},
        "lines": texts,
        "duration": {"type": "string", "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$", "minLength": 2},
        "suppress": {
            "description": "Act once about the same thing, then stay silent for a while; `none` takes it back.",
            "anyOf": [{"const": "none"}, {
                "type": ["object", "null"],
                "properties": {
                    "by": {"description": "Findings with the same of this are the same thing.", "enum": names(SuppressBy::ALL, SuppressBy::as_str)},
                    "for": {"description": "How long; an hour unless given.", "$ref": "#/$defs/duration"},
                },
                "additionalProperties": false,
            }],
        },
        "labels": {
            "description": "For people and for lists of rules.",
            "type": ["object", "null"],
            "properties": {
                "confidence": degree("How sure a finding is: 0 (a hint) to 3 (a proof)."),
                "spoofable": degree("How easily an attacker avoids it: 0 (cannot) to 3 (by sending another header)."),
                "mitre": techniques,
            },
            "additionalProperties": {"$ref": "#/$defs/line"},
        },
        "exceptions": {"description": "Findings that somebody answers for.", "type": ["array", "null"], "maxItems": limits::EXCEPTIONS_MAX, "items": {"$ref": "#/$defs/exception"}},
        "exception": {
            "type": "object",
            "required": ["match", "reason", "owner", "expires"],
            "properties": {
                "match": {
                    "description": "Members of a detection; all that are named must match.",
                    "type": "object",
                    "minProperties": 1,
                    "properties": {
                        "issuer": texts, "tenant": texts, "client_id": texts, "user_id": texts, "family_id": texts,
                        "session_id": texts, "network": texts, "asn": asns, "device": texts, "country": texts,
                    },
                    "additionalProperties": false,
                },
                "reason": {"description": "Why it is all right.", "$ref": "#/$defs/line"},
                "owner": {"description": "Who answers for it.", "$ref": "#/$defs/line"},
                "expires": {"description": "The last day, in UTC, on which it applies.", "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
            },
            "additionalProperties": false,
        },
    }))
}

fn parameters(mut detect: Detect) -> Map<String, Value> {
    let mut describer = Describer::default();
    detect.parameters(&mut describer);
    properties(&describer.parameters)
}

fn properties(described: &[Parameter]) -> Map<String, Value> {
    described
        .iter()
        .map(|it| (it.key.to_owned(), parameter(it)))
        .collect()
}

fn parameter(parameter: &Parameter) -> Value {
    let Parameter {
        about, form, value, ..
    } = parameter;
    let default: Value = match form {
        Form::Duration | Form::Choice(_) => value.as_str().into(),
        _ => serde_json::from_str(value).unwrap_or(Value::Null),
    };
    match form {
        Form::Duration => {
            json!({"description": about, "$ref": "#/$defs/duration", "default": default})
        }
        Form::Count(range) => {
            json!({"description": about, "type": "integer", "minimum": range.start(), "maximum": range.end(), "default": default})
        }
        Form::Number(range) => {
            json!({"description": about, "type": "number", "minimum": range.start(), "maximum": range.end(), "default": default})
        }
        Form::Flag => json!({"description": about, "type": "boolean", "default": default}),
        Form::Choice(names) => json!({"description": about, "enum": names, "default": default}),
        Form::Texts => {
            json!({"description": about, "type": ["array", "null"], "items": {"$ref": "#/$defs/line"}})
        }
        Form::Condition | Form::Field { many: false } => {
            json!({"description": about, "$ref": "#/$defs/line"})
        }
        Form::Field { many: true } => json!({"description": about, "$ref": "#/$defs/lines"}),
        Form::Group(of) => {
            json!({"description": about, "type": ["object", "null"], "properties": properties(of), "additionalProperties": false})
        }
        Form::Groups(range, of) => {
            let each = json!({"type": "object", "properties": properties(of), "additionalProperties": false});
            json!({"description": about, "type": "array", "minItems": range.start(), "maxItems": range.end(), "items": each})
        }
    }
}

fn names<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|value| name(*value)).collect()
}

fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
