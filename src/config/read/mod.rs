//! Reads the configuration file: text to values, or every fault at once.
//!
//! One file for each part, under the name of the part. What a key alone can show is checked where the key is read; what
//! only two keys together can show, in [`across`]. A faulty value is replaced by its default, so that the rest is checked too.

mod across;
mod http;
mod lists;
mod mapping;
mod policy;
mod receivers;
mod revokers;
mod routes;
mod secret;
mod services;
mod sources;
mod sql;
mod state;
mod store;
mod templates;

use std::fmt::Write;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::model::limits::YAML_BYTES_MAX;
use crate::model::{Mode, Text};
use crate::yaml::{Fault, Faults, Map, Node, Place};

use super::{
    Clients, Config, GeoIp, Http, Log, Response, Retention, StateLimits, StoreConfig, Tenants,
};

/// Below the 30 s after which Kubernetes kills.
const GRACE_PERIOD_DEFAULT: Duration = Duration::from_secs(20);

impl Config {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, Vec<Fault>> {
        whole(Self::examine(path))
    }

    /// Reads the text of a file; relative paths in it start at the folder of `path`.
    ///
    /// The result is enough for `replay`; `run` asks [`Config::require_runnable`] too.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Vec<Fault>> {
        whole(examine_text(text, path))
    }

    /// Reads a file as far as it can be read, so that `check` can go on to the rules and report all faults of both.
    pub fn examine(path: &Path) -> (Option<Self>, Vec<Fault>) {
        match read_text(path) {
            Ok(text) => examine_text(&text, path),
            Err(fault) => (None, vec![fault]),
        }
    }
}

fn examine_text(text: &str, path: &Path) -> (Option<Config>, Vec<Fault>) {
    let mut faults = Faults::default();
    let mut config = Node::parse(text, path, &mut faults).and_then(|mut node| {
        lists::put_in(&mut node, &mut faults);
        read(&node, text, path, &mut faults)
    });
    let (faults, warnings) = faults.into_parts();
    if let Some(config) = &mut config {
        config.warnings = warnings;
    }
    (config, faults)
}

fn whole((config, faults): (Option<Config>, Vec<Fault>)) -> Result<Config, Vec<Fault>> {
    config.filter(|_| faults.is_empty()).ok_or(faults)
}

fn read_text(path: &Path) -> Result<String, Fault> {
    let start = Place::start_of(path);
    let mut bytes = Vec::new();
    // One more than allowed, so that the parser sees that it is too much; never a gigabyte named by mistake.
    std::fs::File::open(path)
        .and_then(|file| file.take(YAML_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            let fault = start.fault(format!("cannot be read: {error}"));
            fault.with_hint("expected a configuration file in YAML; deploy/examples has some")
        })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let line = count(before.split('\n').count());
        let last = before.rsplit('\n').next().unwrap_or_default();
        let column = count(last.chars().count() + 1);
        let fault = Place {
            line,
            column,
            ..start
        }
        .fault("not UTF-8 text");
        fault.with_hint("save the file as UTF-8, without the byte order mark of UTF-16")
    })
}

fn read(node: &Node, text: &str, path: &Path, faults: &mut Faults) -> Option<Config> {
    let mut map = node.mapping(faults)?;
    let config = Config {
        path: path.into(),
        sha256: sha256(text),
        mode: map.or("mode", Mode::Observe, faults, mode),
        rules: map.or("rules", Vec::new(), faults, policy::rule_paths),
        rules_version: map.optional("rules_version", faults, policy::rules_version),
        overrides: map.or("overrides", Vec::new(), faults, policy::overrides),
        geoip: map.or("geoip", GeoIp::default(), faults, policy::geoip),
        networks: map.or("networks", Vec::new(), faults, policy::networks),
        clients: map.or("clients", Clients::default(), faults, policy::clients),
        tenants: map.or("tenants", Tenants::default(), faults, policy::tenants),
        token_key: secret::token_key(&mut map, "token_key", faults),
        token_key_previous: secret::token_key(&mut map, "token_key_previous", faults),
        store: map.or("store", StoreConfig::beside(path), faults, store::store),
        archive: map.optional("archive", faults, store::archive),
        retention: map.or("retention", Retention::default(), faults, store::retention),
        state: map.or("state", StateLimits::default(), faults, state::state),
        sources: list(&mut map, "sources", faults, sources::source),
        revokers: list(&mut map, "revokers", faults, revokers::revoker),
        receivers: list(&mut map, "receivers", faults, receivers::receiver),
        routes: map.or("routes", Vec::new(), faults, routes::routes),
        response: map.or("response", Response::default(), faults, policy::response),
        http: map.or("http", Http::default(), faults, http::http),
        log: map.or("log", Log::default(), faults, store::log),
        grace_period: map.or("grace_period", GRACE_PERIOD_DEFAULT, faults, Node::duration),
        exemptions: across::exemptions(node),
        kafka_properties: across::kafka_properties(node),
        templates: templates::templates(node),
        warnings: Vec::new(),
    };
    lists::know(&mut map);
    map.finish(faults);
    across::check(node, &config, faults);
    Some(config)
}

fn sha256(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a String takes every write");
            hex
        })
}

fn mode(node: &Node, faults: &mut Faults) -> Option<Mode> {
    node.name(Mode::ALL, Mode::as_str, faults)
}

/// A key with a list, empty when it is left out.
fn list<'a, T>(
    map: &mut Map<'a>,
    key: &'static str,
    faults: &mut Faults,
    read: impl FnMut(&'a Node, &mut Faults) -> Option<T>,
) -> Vec<T> {
    map.or(key, Vec::new(), faults, |node, faults| {
        node.list(faults, read)
    })
}

/// Texts, one alone or several, none twice.
fn texts(node: &Node, faults: &mut Faults) -> Option<Vec<Text>> {
    unique(node, faults, Node::text)
}

fn unique(
    node: &Node,
    faults: &mut Faults,
    read: impl Fn(&Node, &mut Faults) -> Option<Text>,
) -> Option<Vec<Text>> {
    let mut seen: Vec<Text> = Vec::new();
    node.one_or_list(faults, |node, faults| {
        let text = read(node, faults)?;
        if seen.contains(&text) {
            faults.push(node.fault(format!("`{text}` stands twice in this list")));
            return None;
        }
        seen.push(text.clone());
        Some(text)
    })
}

/// As [`texts`], each of a kind of its own, and at least one.
fn some(
    node: &Node,
    faults: &mut Faults,
    read: impl Fn(&Node, &mut Faults) -> Option<Text>,
) -> Option<Vec<Text>> {
    let texts = unique(node, faults, read)?;
    if texts.is_empty() && node.items().is_empty() {
        faults.push(node.fault("expected at least one"));
        return None;
    }
    Some(texts)
}

/// The name of a source, revoker or receiver: stands in paths, metrics and positions.
fn name(node: &Node, faults: &mut Faults) -> Option<Text> {
    const NAME_BYTES_MAX: usize = 64;
    let name = node.text(faults)?;
    let plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-');
    if name.len() > NAME_BYTES_MAX || !name.chars().all(plain) {
        let message =
            format!("`{name}` cannot be a name: at most {NAME_BYTES_MAX} of a-z, 0-9, _ and -");
        faults.push(node.fault(message));
        return None;
    }
    Some(name)
}

/// The path of a file that must be there.
fn existing_file(node: &Node, faults: &mut Faults) -> Option<std::path::PathBuf> {
    let path = node.path(faults)?;
    if !path.is_file() {
        faults.push(node.fault(format!("there is no file `{}`", path.display())));
        return None;
    }
    Some(path)
}

/// The URL of a server that is sent secrets: HTTPS, or plain HTTP with a warning unless it stays on this machine.
fn server_url(node: &Node, faults: &mut Faults) -> Option<Text> {
    let url = node.url(&["https", "http"], faults)?;
    warn_if_plain(node, &url, faults);
    Some(url)
}

fn warn_if_plain(node: &Node, url: &str, faults: &mut Faults) {
    let Ok(url) = url::Url::parse(url) else {
        return;
    };
    if url.scheme() == "http" && !url.host_str().is_some_and(is_loopback) {
        faults.warn(
            node.fault("plain HTTP: what is sent there, secrets included, can be read on the way")
                .with_hint("use https://"),
        );
    }
}

/// Whether a host is this machine, as far as its name tells.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
