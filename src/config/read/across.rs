//! What only several keys together show: names that must be unique or known, parts that need each other.
//!
//! Works on the nodes as well as on the values: a part that could not be read has a name all the same, and whoever
//! refers to it is not at fault.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::model::{Mode, Text};
use crate::yaml::{Fault, Faults, Node, Place, nearest};

use super::super::{Config, Format};
use super::{routes, sources};

pub(super) fn check(root: &Node, config: &Config, faults: &mut Faults) {
    for key in ["sources", "revokers", "receivers", "networks"] {
        unique_names(parts(root, key), faults);
    }
    known_issuers(root, config, faults);
    unique_realms(parts(root, "revokers"), faults);
    ingest_for_webhooks(root, faults);
    nobody_to_act(root, config, faults);
    two_keys(root, config, faults);
    one_listener_a_port(root, config, faults);
    routes::check(root, config, faults);
}

impl Config {
    /// What `run` needs beyond a valid file; empty when it can start.
    pub fn require_runnable(&self) -> Vec<Fault> {
        let start = Place::start_of(&self.path);
        let mut faults = Vec::new();
        if self.sources.is_empty() {
            faults.push(
                start
                    .fault("there is no source: `sources` says where events come from")
                    .with_hint("`replay` works without; deploy/examples has sources of each kind"),
            );
        }
        if self.token_key.is_none() && self.store.sqlite_file().is_none() {
            // Whoever stands by on the same store must come to the same hashes.
            faults.push(
                start
                    .fault("a store that several machines can use needs `token_key_file`")
                    .with_hint("make one: head -c 32 /dev/urandom | base64 > token.key"),
            );
        }
        faults
    }

    /// Exemptions from rules that there are not: a slip, or a rule that is not loaded here. Somebody believes that a
    /// client is spared, and it may not be.
    pub fn exemptions_from_nothing(&self, rules: &[&str]) -> Vec<Fault> {
        let unknown = self
            .exemptions
            .iter()
            .filter(|(name, _)| !rules.contains(&&**name));
        unknown
            .map(|(name, place)| {
                let fault = place.fault(format!("there is no rule `{name}` to be exempt from"));
                match nearest(name, rules.iter().copied()) {
                    Some(meant) => fault.with_hint(format!("did you mean `{meant}`?")),
                    None => fault,
                }
            })
            .collect()
    }
}

/// The rules named under `exempt_from` of any client.
pub(super) fn exemptions(root: &Node) -> Vec<(Text, Place)> {
    let clients = root.member("clients").map_or(&[][..], Node::members);
    clients
        .iter()
        .flat_map(|(_, _, client)| parts(client, "exempt_from"))
        .filter_map(|rule| Some((rule.as_str()?.into(), rule.place().clone())))
        .collect()
}

/// The properties of every Kafka source that has a name.
pub(super) fn kafka_properties(root: &Node) -> Vec<(Text, Text, Place)> {
    let mut found = Vec::new();
    for source in parts(root, "sources") {
        let name = name_of(source).and_then(Node::as_str).unwrap_or_default();
        let properties = source
            .member("kafka")
            .and_then(|it| it.member("properties"));
        for (place, key, _) in properties.map_or(&[][..], Node::members) {
            let property = sources::property_name(key);
            found.push((name.into(), property.into(), place.clone()));
        }
    }
    found
}

fn one_listener_a_port(root: &Node, config: &Config, faults: &mut Faults) {
    let http = &config.http;
    let listeners = [
        ("ops", http.ops.as_ref().map(|it| it.listen)),
        ("api", http.api.as_ref().map(|it| it.listen)),
        ("ingest", http.ingest.as_ref().map(|it| it.listen)),
    ];
    let mut seen: Vec<(&str, SocketAddr)> = Vec::new();
    for (name, listen) in listeners {
        let Some(listen) = listen.filter(|listen| listen.port() != 0) else {
            continue;
        };
        if let Some((first, _)) = seen.iter().find(|(_, address)| *address == listen)
            && let Some(node) = root.member("http").and_then(|http| http.member(name))
        {
            let fault = node.fault(format!("`{first}` listens on {listen} already"));
            faults.push(fault.with_hint("give each listener a port of its own"));
        }
        seen.push((name, listen));
    }
}

/// The next key is the one that a rotation is about; the same twice is a slip that would go unnoticed.
fn two_keys(root: &Node, config: &Config, faults: &mut Faults) {
    if config.token_key.is_none() || config.token_key != config.token_key_previous {
        return;
    }
    let previous = ["token_key_previous_file", "token_key_previous"];
    if let Some(node) = previous.iter().find_map(|key| root.member(key)) {
        let fault = node.fault("the previous token key is the same as the present one");
        faults.push(fault.with_hint("name the key that was in use before, or remove this line"));
    }
}

pub(super) fn parts<'a>(root: &'a Node, key: &str) -> &'a [Node] {
    root.member(key).map_or(&[], Node::items)
}

pub(super) fn name_of(part: &Node) -> Option<&Node> {
    part.member("name").filter(|name| name.as_str().is_some())
}

fn unique_names(parts: &[Node], faults: &mut Faults) {
    let mut seen = BTreeMap::new();
    for name in parts.iter().filter_map(name_of) {
        if let Some(first) = seen.insert(name.as_str(), name.place()) {
            let text = name.as_str().unwrap_or_default();
            let place = name.place();
            let first = if first.file == place.file {
                format!("in line {}", first.line)
            } else {
                format!("at {first}")
            };
            faults.push(name.fault(format!("the name `{text}` is taken, {first}")));
        }
    }
}

const EVENTS_ONLY: &str = "only events that name this issuer themselves will go to this revoker";

/// `issuers` of a revoker name sources, or issuers that events bring along.
fn known_issuers(root: &Node, config: &Config, faults: &mut Faults) {
    let sources: BTreeSet<&str> = parts(root, "sources")
        .iter()
        .filter_map(|source| name_of(source)?.as_str())
        .collect();
    if sources.is_empty() {
        return;
    }
    // In these formats an event may name an issuer of its own.
    let foreign = config
        .sources
        .iter()
        .any(|source| match &source.decode.format {
            Format::Tokenwarden => true,
            Format::Mapping(mapping) => mapping.fields.contains_key("issuer"),
            Format::Keycloak | Format::Auth0 => false,
        });
    let issuers = parts(root, "revokers")
        .iter()
        .flat_map(|revoker| parts(revoker, "issuers"));
    for node in issuers {
        let Some(issuer) = node.as_str().filter(|issuer| !sources.contains(issuer)) else {
            continue;
        };
        let fault = node.fault(format!("there is no source `{issuer}`"));
        match nearest(issuer, sources.iter().copied()) {
            Some(meant) => faults.push(fault.with_hint(format!("did you mean `{meant}`?"))),
            None if foreign => faults.warn(fault.with_hint(EVENTS_ONLY)),
            None => {
                let known: Vec<&str> = sources.iter().copied().collect();
                faults.push(fault.with_hint(format!("sources: {}", known.join(", "))));
            }
        }
    }
}

/// Two service accounts for one realm would both be asked, or neither.
fn unique_realms(revokers: &[Node], faults: &mut Faults) {
    let mut seen = BTreeMap::new();
    for keycloak in revokers
        .iter()
        .filter_map(|revoker| revoker.member("keycloak"))
    {
        let (Some(url), Some(realm)) = (keycloak.member("url"), keycloak.member("realm")) else {
            continue;
        };
        let url = url.as_str().unwrap_or_default().trim_end_matches('/');
        let name = realm.as_str().unwrap_or_default();
        if let Some(first) = seen.insert((url, name), realm.place().line) {
            faults.push(realm.fault(format!(
                "the realm `{name}` has a revoker already, in line {first}"
            )));
        }
    }
}

fn ingest_for_webhooks(root: &Node, faults: &mut Faults) {
    let ingest = root.member("http").and_then(|http| http.member("ingest"));
    if ingest.is_some() {
        return;
    }
    for webhook in parts(root, "sources")
        .iter()
        .filter_map(|source| source.member("webhook"))
    {
        let fault = webhook.fault("nothing listens for this webhook: `http.ingest` is missing");
        faults.push(fault.with_hint("http: { ingest: { listen: 127.0.0.1:9512 } }"));
    }
}

/// A mode that promises more than the file can keep. Not for `replay`, whose file names no parts.
fn nobody_to_act(root: &Node, config: &Config, faults: &mut Faults) {
    let Some(mode) = root
        .member("mode")
        .filter(|_| root.member("sources").is_some())
    else {
        return;
    };
    if config.mode >= Mode::Enforce && parts(root, "revokers").is_empty() {
        faults.warn(mode.fault("mode is enforce, but there is no revoker: nothing can be revoked"));
    }
    if config.mode >= Mode::Alert && parts(root, "receivers").is_empty() {
        faults.warn(mode.fault(format!(
            "mode is {}, but there is no receiver: nobody is told",
            config.mode
        )));
    }
}
