//! How a file of rule tests is written.
//!
//! ```yaml
//! version: 1
//! places: simulated                      # GeoIP of the simulated world in place of `geoip` in the configuration
//! config: { clients: { default: { rotation: enforced } } }   # as in the configuration; mode is enforce unless given
//! event: { user_id: u1, client_id: web } # members that every event has unless it says otherwise
//! tests:
//!   - name: a stolen token is refused
//!     events:                            # canonical events, `at` in place of `time`; outcome is success unless given
//!       - { at: 0s, type: issue, new_token_id: a }
//!       - { at: 1m, type: refresh, token_id: a, new_token_id: b, times: 5, every: 10s }
//!     expect:                            # exactly these, in any order; `actions` are those that would be sent
//!       - { rule: token-reuse, severity: critical, actions: [revoke_family, notify] }
//! ```
//!
//! Events arrive in order of time. A test may have `config` and `event` of its own: its configuration replaces the file's, its members go on top.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map as Members, Value};

use super::super::{parts, replay::replay_key};
use super::{Expected, Suite, Test};
use crate::config::Config;
use crate::decode::Decoder;
use crate::model::{ActionKind, Event, Severity, Text};
use crate::rules::{self, RuleSet};
use crate::yaml::{Fault, Faults, Map, Node, nearest};

/// `at: 0s`: Monday, 5 January 2026, 09:00 UTC, in milliseconds.
const START_MS: u64 = 1_767_603_600_000;
/// Events of one test; more are a load test.
const EVENTS_MAX: u32 = 100_000;
/// Longer than the engine remembers.
const AT_MAX: Duration = Duration::from_hours(24 * 365);

const TEXT_MEMBERS: &[&str] = &[
    "event_id",
    "type",
    "outcome",
    "reason",
    "error",
    "issuer",
    "tenant",
    "user_id",
    "client_id",
    "session_id",
    "family_id",
    "token_id",
    "new_token_id",
    "ip_address",
    "user_agent",
    "device_id",
    "ja4",
    "key_thumbprint",
    "scope",
    "initiator",
];
const INTEGER_MEMBERS: &[&str] = &["generation", "latest_generation", "access_token_ttl"];

/// The rules that are tested, as text: each test may override them.
pub(super) struct RuleFile<'a> {
    file: PathBuf,
    text: &'a str,
}

impl<'a> RuleFile<'a> {
    pub(super) fn new(file: &Path, text: &'a str) -> Self {
        Self {
            file: file.to_owned(),
            text,
        }
    }
}

/// What all tests of a file share.
struct Common<'a> {
    rules: &'a RuleFile<'a>,
    /// As they are without overrides.
    known: RuleSet,
    config: Option<&'a Node>,
    event: Members<String, Value>,
    simulated_places: bool,
    decoder: Arc<dyn Decoder>,
}

pub(super) fn suite(
    text: &str,
    file: &Path,
    rules: &RuleFile<'_>,
    faults: &mut Faults,
) -> Option<Suite> {
    let known = rules::parse(rules.text, &rules.file, &[])
        .map_err(|found| found.into_iter().for_each(|fault| faults.push(fault)))
        .ok()?;
    let node = Node::parse(text, file, faults)?;
    let mut map = node.mapping(faults)?;
    map.required("version", faults, |node, faults| {
        node.integer(1..=1, faults)
    });
    let decoder = parts::named_decoder("tokenwarden", None, replay_key())
        .map_err(|why| faults.push(node.fault(why)))
        .ok()?;
    let common = Common {
        rules,
        known,
        config: map.get("config"),
        event: map.or("event", Members::new(), faults, event_members),
        simulated_places: simulated_places(&mut map, faults),
        decoder,
    };
    let tests = map.required("tests", faults, |node, faults| {
        node.list(faults, |node, faults| test(node, &common, faults))
    });
    map.finish(faults);
    Some(Suite {
        file: file.to_owned(),
        tests: tests?,
    })
}

fn simulated_places(map: &mut Map<'_>, faults: &mut Faults) -> bool {
    map.optional("places", faults, |node, faults| {
        node.one_of(&[("simulated", true)], faults)
    })
    .unwrap_or(false)
}

fn test(node: &Node, common: &Common<'_>, faults: &mut Faults) -> Option<Test> {
    let mut map = node.mapping(faults)?;
    let name = map.required("name", faults, Node::text);
    let config_node = map.get("config").or(common.config);
    let config = configuration(config_node, node, faults);
    let rules = config
        .as_ref()
        .and_then(|config| overridden(common.rules, config, config_node.unwrap_or(node), faults));
    let mut event = common.event.clone();
    event.extend(map.or("event", Members::new(), faults, event_members));
    let events = map.required("events", faults, |node, faults| {
        events(node, &event, &*common.decoder, faults)
    });
    let expected = map.required("expect", faults, |node, faults| {
        node.list(faults, |node, faults| expected(node, &common.known, faults))
    });
    map.finish(faults);
    Some(Test {
        name: name?,
        config: config?,
        rules: rules?,
        simulated_places: common.simulated_places,
        events: events?,
        expected: expected?,
    })
}

/// The configuration is read as any other, so that a test says what an operator would write.
fn configuration(node: Option<&Node>, test: &Node, faults: &mut Faults) -> Option<Config> {
    let place = node.unwrap_or(test).place();
    let mut members = match node.map(json) {
        None | Some(Value::Null) => Members::new(),
        Some(Value::Object(members)) => members,
        Some(_) => {
            faults.push(place.fault("expected a mapping (`key: value`), as in the configuration"));
            return None;
        }
    };
    members.entry("mode").or_insert_with(|| "enforce".into());
    let text = format!("{:#}", Value::Object(members));
    Config::parse(&text, &place.file)
        .map_err(|found| moved(found, node.unwrap_or(test), faults))
        .ok()
}

fn overridden(
    rules: &RuleFile<'_>,
    config: &Config,
    node: &Node,
    faults: &mut Faults,
) -> Option<RuleSet> {
    rules::parse(rules.text, &rules.file, &config.overrides)
        .map_err(|found| moved(found, node, faults))
        .ok()
}

/// Faults of a generated text stand where it was generated from.
fn moved(found: Vec<Fault>, node: &Node, faults: &mut Faults) {
    for fault in found {
        faults.push(Fault {
            place: node.place().clone(),
            ..fault
        });
    }
}

fn json(node: &Node) -> Value {
    if let Some(text) = node.as_str() {
        return text.into();
    }
    if node.is_null() {
        return Value::Null;
    }
    // What is no list stands as its own only item.
    let items = node.items();
    if !items.first().is_some_and(|item| std::ptr::eq(item, node)) {
        return items.iter().map(json).collect();
    }
    let member = |(_, name, value): &(_, Text, Node)| (name.to_string(), json(value));
    Value::Object(node.members().iter().map(member).collect())
}

fn event_members(node: &Node, faults: &mut Faults) -> Option<Members<String, Value>> {
    let mut map = node.mapping(faults)?;
    let members = members(&mut map, faults);
    map.finish(faults);
    Some(members)
}

/// A member that is written as null is absent, whatever stands above.
fn members(map: &mut Map<'_>, faults: &mut Faults) -> Members<String, Value> {
    let mut found = Members::new();
    let mut add = |name: &str, value: Option<Value>| {
        found.extend(value.map(|value| (name.to_owned(), value)));
    };
    for name in TEXT_MEMBERS {
        let value = map.get(*name).and_then(|node| {
            if node.is_null() {
                return Some(Value::Null);
            }
            node.text(faults)
                .map(|text| Value::String(text.to_string()))
        });
        add(name, value);
    }
    for name in INTEGER_MEMBERS {
        let value = map.get(*name).and_then(|node| {
            if node.is_null() {
                return Some(Value::Null);
            }
            node.integer(0..=u32::MAX, faults).map(Value::from)
        });
        add(name, value);
    }
    found
}

fn events(
    node: &Node,
    shared: &Members<String, Value>,
    decoder: &dyn Decoder,
    faults: &mut Faults,
) -> Option<Vec<Event>> {
    let mut number = 0;
    let found = node.list(faults, |node, faults| {
        number += 1;
        repeated(node, number, shared, decoder, faults)
    })?;
    let mut events: Vec<Event> = found.into_iter().flatten().collect();
    // Repeated events would else arrive one bundle after the other.
    events.sort_by_key(|event| event.time);
    Some(events)
}

/// One event, or `times` of it, `every` so often.
fn repeated(
    node: &Node,
    number: u32,
    shared: &Members<String, Value>,
    decoder: &dyn Decoder,
    faults: &mut Faults,
) -> Option<Vec<Event>> {
    let mut map = node.mapping(faults)?;
    let at = map.required("at", faults, |node, faults| {
        let at = node.duration(faults)?;
        if at > AT_MAX {
            faults.push(node.fault("expected at most a year after the start"));
        }
        Some(at.min(AT_MAX))
    });
    let times = map.or("times", 1, faults, |node, faults| {
        node.integer(1..=EVENTS_MAX, faults)
    });
    let every = map.or("every", Duration::ZERO, faults, Node::duration);
    let mut record = shared.clone();
    record.extend(members(&mut map, faults));
    map.finish(faults);
    let at = at?;
    let id = match record.get("event_id") {
        Some(Value::String(id)) => id.clone(),
        _ => number.to_string(),
    };
    record.entry("outcome").or_insert_with(|| "success".into());
    let mut events = Vec::new();
    for n in 0..times {
        let after = at + every.saturating_mul(n).min(AT_MAX);
        let time = START_MS + u64::try_from(after.as_millis()).unwrap_or(0);
        record.insert("time".to_owned(), time.into());
        let id = if n == 0 {
            id.clone()
        } else {
            format!("{id}.{n}")
        };
        record.insert("event_id".to_owned(), id.into());
        let text = Value::Object(record.clone()).to_string();
        if let Err(why) = decoder.decode(text.as_bytes(), &"test".into(), &mut events) {
            faults.push(node.fault(why.message));
            return None;
        }
    }
    Some(events)
}

fn expected(node: &Node, rules: &RuleSet, faults: &mut Faults) -> Option<Expected> {
    let mut map = node.mapping(faults)?;
    let rule = map.required("rule", faults, |node, faults| {
        let name = node.text(faults)?;
        check_name(node, &name, rules, faults);
        Some(name)
    });
    let severity = map.required("severity", faults, |node, faults| {
        node.name(Severity::ALL, Severity::as_str, faults)
    });
    let actions = map.optional("actions", faults, |node, faults| {
        let mut kinds = node.list(faults, |node, faults| {
            node.name(ActionKind::ALL, ActionKind::as_str, faults)
        })?;
        kinds.sort_unstable();
        kinds.dedup();
        Some(kinds)
    });
    map.finish(faults);
    Some(Expected {
        rule: rule?,
        severity: severity?,
        actions,
    })
}

fn check_name(node: &Node, name: &str, rules: &RuleSet, faults: &mut Faults) {
    if rules.rules.iter().any(|rule| *rule.name == *name) {
        return;
    }
    let fault = node.fault(format!(
        "the rule file has no rule `{}`",
        name.escape_debug()
    ));
    let names = rules.rules.iter().map(|rule| &*rule.name);
    faults.push(match nearest(name, names) {
        Some(near) => fault.with_hint(format!("did you mean `{near}`?")),
        None => fault,
    });
}
