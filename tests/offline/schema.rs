//! `tokenwarden schema`: what editors are told is what the readers know, no more and no less.
//!
//! Each reader is asked for its keys by a key that it cannot know: it answers with all that it does. So the schema, which
//! the readers of the configuration cannot give, cannot drift away from them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use boon::{Compiler, Schemas};
use serde_json::{Map, Value, json};
use tokenwarden::cli::{self, Exit, Terminal};
use tokenwarden::config::Config;
use tokenwarden::model::{ActionKind, Mode, NetworkClass};
use tokenwarden::rules;
use tokenwarden::yaml::{Fault, Faults, Node};

fn schema(of: &str) -> Value {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
    };
    let exit = cli::main(["tokenwarden", "schema", of].map(Into::into), &mut terminal);
    assert_eq!(exit, Exit::Success);
    serde_json::from_slice(&out).unwrap()
}

/// As an editor reads YAML: what looks like a number or a truth value is one.
fn json_of(node: &Node) -> Value {
    if let Some(text) = node.as_str() {
        return match text.parse::<f64>() {
            _ if text == "true" || text == "false" => json!(text == "true"),
            Ok(number) if text.parse::<i64>().is_err() => json!(number),
            Ok(_) => json!(text.parse::<i64>().unwrap()),
            Err(_) => json!(text),
        };
    }
    if node.is_null() {
        return Value::Null;
    }
    if !node
        .items()
        .first()
        .is_some_and(|item| std::ptr::eq(item, node))
    {
        return node.items().iter().map(json_of).collect();
    }
    let members = node.members().iter();
    Value::Object(
        members
            .map(|(_, name, value)| (name.to_string(), json_of(value)))
            .collect(),
    )
}

fn yaml(text: &str) -> Value {
    json_of(&Node::parse(text, "f".as_ref(), &mut Faults::default()).unwrap())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The YAML files of a folder, by name.
fn files(folder: &str) -> Vec<(String, String)> {
    let mut files: Vec<_> = std::fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder}");
    files
}

/// What `full.yaml` leaves out because it excludes what is there.
const REST: &str = "
geoip: { city: a, asn: b, anonymous_ip: c }
rules_version: 1
networks_file: networks.yaml
clients_file: [clients.yaml]
tenants_file: []
http: { ingest: { listen: 127.0.0.1:1, tls: { cert_file: a, key_file: b } } }
overrides: { refresh-velocity: { suppress: none, clients: { ci: { limit_min: 5 } } } }
sources: [{ name: m, file: { path: p }, format: mapping, mapping: { event_id: a, time: b, type: { from: c }, outcome: d } }]
revokers:
  - { name: a, http: { actions: revoke_user, url: u, auth: { bearer: x } } }
  - { name: b, http: { actions: [lock_user], url: u, auth: { basic: { username: x, password: y } } } }
receivers:
  - { name: a, alertmanager: { url: u, auth: { scheme: { scheme: x, token: y } } } }
  - { name: b, alertmanager: { url: u, auth: { client_credentials: { token_url: u, client_id: x, client_secret: y } } } }
";

fn configurations() -> Vec<(String, String)> {
    let mut all = files("deploy/examples");
    all.push((
        "full.yaml".into(),
        std::fs::read_to_string(root().join("tests/fixtures/config/full.yaml")).unwrap(),
    ));
    all.push(("rest".into(), REST.into()));
    all
}

fn rule_files() -> Vec<(String, String)> {
    let mut all = files("rules");
    all.retain(|(name, _)| !name.ends_with(".test.yaml"));
    let kinds = rules::kinds::Detect::KINDS
        .iter()
        .map(|kind| format!("{{ name: {kind}, detect: {{ {kind}: {{}} }} }}"));
    let each = format!(
        "version: 1\nrules: [{}]",
        kinds.collect::<Vec<_>>().join(", ")
    );
    all.push(("each kind".into(), each));
    all.push((
        "around".into(),
        "version: 1\nrules: [{ name: a, labels: {}, suppress: {}, exceptions: [{ match: {} }] }]"
            .into(),
    ));
    all
}

/// Keys that the reader knows, by the place of the mapping in the document.
fn known_keys(
    document: &Value,
    read: impl Fn(&str) -> Vec<Fault>,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut places = Vec::new();
    let mut asking = document.clone();
    ask(&mut asking, "", &mut places);
    let mut known = BTreeMap::new();
    for fault in read(&format!("{asking:#}")) {
        let Some(number) = fault
            .message
            .strip_prefix("unknown key `qqqqqqqqqqqqqqqqqqqq")
        else {
            continue;
        };
        let place: &String = &places[number.trim_end_matches('`').parse::<usize>().unwrap()];
        let keys = fault.hint.unwrap();
        let keys = keys.strip_prefix("known here: ").unwrap_or_default();
        known.insert(
            place.clone(),
            keys.split(", ")
                .filter(|key| !key.is_empty())
                .map(str::to_owned)
                .collect(),
        );
    }
    known
}

/// Puts a key into every mapping that nobody knows.
fn ask(value: &mut Value, place: &str, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members.iter_mut() {
                ask(member, &format!("{place}/{key}"), places);
            }
            members.insert(format!("qqqqqqqqqqqqqqqqqqqq{}", places.len()), Value::Null);
            places.push(place.to_owned());
        }
        Value::Array(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                ask(item, &format!("{place}/{n}"), places);
            }
        }
        _ => {}
    }
}

/// The pointer to what the schema says of a place in a document.
fn pointer(schema: &Value, place: &str) -> Option<String> {
    let mut at = String::new();
    for step in place.split('/').skip(1) {
        at = resolved(schema, &at, step)?;
    }
    resolved_self(schema, at)
}

fn resolved_self(schema: &Value, at: String) -> Option<String> {
    let here = schema.pointer(&at)?;
    if let Some(reference) = here["$ref"].as_str() {
        return resolved_self(schema, reference.trim_start_matches('#').to_owned());
    }
    if let Some(choices) = here["anyOf"]
        .as_array()
        .filter(|_| here.get("properties").is_none())
    {
        let found =
            (0..choices.len()).filter_map(|n| resolved_self(schema, format!("{at}/anyOf/{n}")));
        return found.into_iter().find(|at| {
            let here = &schema.pointer(at).unwrap();
            here.get("properties").is_some() || here.get("items").is_some()
        });
    }
    Some(at)
}

fn resolved(schema: &Value, at: &str, step: &str) -> Option<String> {
    let at = resolved_self(schema, at.to_owned())?;
    let here = schema.pointer(&at)?;
    if step.parse::<usize>().is_ok() {
        return Some(format!("{at}/items"));
    }
    if here["properties"].get(step).is_some() {
        return Some(format!("{at}/properties/{step}"));
    }
    here["additionalProperties"]
        .is_object()
        .then(|| format!("{at}/additionalProperties"))
}

/// Every object in the schema that lists its keys and no others.
fn closed(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if value["additionalProperties"] == json!(false) {
                found.insert(at.to_owned());
            }
            members
                .iter()
                .for_each(|(key, value)| closed(value, &format!("{at}/{key}"), found));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(n, item)| closed(item, &format!("{at}/{n}"), found));
        }
        _ => {}
    }
}

/// Compares the readers with the schema over all documents; what no document shows may only be what `unseen` names.
fn compare(
    of: &str,
    documents: &[(String, String)],
    read: impl Fn(&str) -> Vec<Fault>,
    unseen: impl Fn(&str) -> bool,
) {
    let schema = schema(of);
    let mut seen = BTreeSet::new();
    for (name, text) in documents {
        for (place, keys) in known_keys(&yaml(text), &read) {
            let at = pointer(&schema, &place)
                .unwrap_or_else(|| panic!("{name}: the schema knows nothing of {place}"));
            let here = schema.pointer(&at).unwrap();
            let told: BTreeSet<String> = here["properties"]
                .as_object()
                .unwrap_or(&Map::new())
                .keys()
                .cloned()
                .collect();
            assert_eq!(
                told, keys,
                "{name}, at {place}: the schema (left) and the reader (right)"
            );
            assert_eq!(
                here["additionalProperties"],
                json!(false),
                "{name}, at {place}"
            );
            seen.insert(at);
        }
    }
    let mut all = BTreeSet::new();
    closed(&schema, "", &mut all);
    let missing: Vec<_> = all.difference(&seen).filter(|at| !unseen(at)).collect();
    assert!(missing.is_empty(), "no document shows {missing:#?}");
}

#[test]
fn the_schema_of_the_configuration_has_the_keys_of_its_readers() {
    let read = |text: &str| {
        Config::parse(text, Path::new("/nowhere/c.yaml"))
            .err()
            .unwrap_or_default()
    };
    // What rules are asked for under `overrides` is compared below, and what they share with rule files there.
    let of_rules = |at: &str| {
        at.contains("/overrides/")
            || at.starts_with("/$defs/exception")
            || at.starts_with("/$defs/suppress")
    };
    compare("config", &configurations(), read, of_rules);
}

#[test]
fn the_schema_of_rules_has_the_keys_of_their_readers() {
    let read = |text: &str| {
        rules::parse(&[(Path::new("r.yaml"), text)], &[])
            .err()
            .unwrap_or_default()
    };
    compare("rules", &rule_files(), read, |_| false);
}

#[test]
fn the_schema_of_overrides_has_the_keys_of_their_reader() {
    let shipped = rules::load(&[], &[]).unwrap();
    let schema = schema("config");
    for rule in &shipped.rules {
        let document = json!({ "clients": { "default": {}, "web": {} }, "tenants": { "a": {} } });
        let read = |text: &str| {
            let node = Node::parse(text, "c.yaml".as_ref(), &mut Faults::default()).unwrap();
            rules::load(&[], &[(rule.name.clone(), node)]).unwrap_err()
        };
        let known = known_keys(&document, read);
        assert!(known.len() >= 4, "{known:?}");
        for (place, keys) in known {
            let at = pointer(&schema, &format!("/overrides/{}{place}", rule.name)).unwrap();
            let told: BTreeSet<String> = schema.pointer(&at).unwrap()["properties"]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect();
            assert_eq!(told, keys, "{} at {place}", rule.name);
        }
    }
}

#[test]
fn names_of_values_are_those_of_the_model() {
    let schema = schema("config");
    let names = |at: &str| schema.pointer(at).unwrap()["enum"].clone();
    let of = |names: Vec<&'static str>| json!(names);
    assert_eq!(
        names("/$defs/mode"),
        of(Mode::ALL.iter().map(|it| it.as_str()).collect())
    );
    let class = "/$defs/declared_network/properties/class";
    assert_eq!(
        names(class),
        of(NetworkClass::ALL.iter().map(|it| it.as_str()).collect())
    );
    let performed = ActionKind::ALL
        .iter()
        .filter(|it| !matches!(it, ActionKind::Notify | ActionKind::Review));
    assert_eq!(
        names("/$defs/action"),
        of(performed.map(|it| it.as_str()).collect())
    );
}

/// What a validator says of a document; nothing when it is valid.
fn invalid(schema: &Value, document: &Value) -> Option<String> {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("s.json", schema.clone()).unwrap();
    let index = compiler.compile("s.json", &mut schemas).unwrap();
    schemas
        .validate(document, index)
        .err()
        .map(|error| format!("{error:#}"))
}

#[test]
fn what_the_readers_take_is_valid() {
    for (of, documents) in [("config", configurations()), ("rules", files("rules"))] {
        let schema = schema(of);
        for (name, text) in documents
            .into_iter()
            .filter(|(name, _)| !name.ends_with(".test.yaml"))
        {
            let why = invalid(&schema, &yaml(&text));
            assert!(why.is_none(), "{name}: {}", why.unwrap());
        }
    }
}

#[test]
fn what_is_broken_by_its_shape_is_not() {
    let config = schema("config");
    for (name, text) in files("tests/fixtures/config/broken") {
        // These are broken by what a schema cannot know: names given twice, ports taken, routes in each other's way, files that are not there, YAML itself.
        let by_more = [
            "exposed.yaml",
            "secrets.yaml",
            "syntax.yaml",
            "names.yaml",
            "unreached.yaml",
        ];
        if by_more.contains(&name.as_str()) {
            continue;
        }
        assert!(invalid(&config, &yaml(&text)).is_some(), "{name}");
    }
    let rules = schema("rules");
    for broken in [
        "version: 1",
        "version: 9\nrules: []",
        "version: 1\nrules: [{ name: a, description: d, severity: low }]",
        "version: 1\nrules: [{ name: a, description: d, severity: low, detect: { velocity: {}, reuse: {} } }]",
        "version: 1\nrules: [{ name: a, description: d, severity: low, detect: { velocity: { limit: 5 } } }]",
        "version: 1\nrules: [{ name: a, description: d, severity: low, detect: { velocity: { window: 5 } } }]",
        "version: 1\nrules: [{ name: A, description: d, severity: low, detect: { velocity: {} } }]",
        "version: 1\nrules: [{ name: a, description: d, severity: low, labels: { mitre: X1 }, detect: { velocity: {} } }]",
        "version: 1\nrules: [{ name: a, description: d, severity: low, exceptions: [{ match: {}, reason: r, owner: o, expires: 2027-01-31 }], detect: { velocity: {} } }]",
        "version: 1\nrules: [{ name: a, description: d, severity: low, exceptions: [{ match: { user_id: u } }], detect: { velocity: {} } }]",
    ] {
        assert!(invalid(&rules, &yaml(broken)).is_some(), "{broken}");
    }
}
