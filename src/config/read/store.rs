//! `store:`, `archive:`, `retention:` and `log:`, and where files of the daemon's own stand beside its store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::yaml::{Faults, Node};

use super::super::{
    ArchiveConfig, Config, Log, LogFormat, LogLevel, Retention, Secret, StoreConfig,
};
use super::secret;
use super::sql::is_server;

const CONNECTIONS_DEFAULT: u32 = 8;
/// What a restart has to read again at most; a snapshot costs about a millisecond per shard.
const SNAPSHOT_DEFAULT: Duration = Duration::from_mins(1);
/// The embedded store, beside the configuration file.
const FILE_DEFAULT: &str = "tokenwarden.db";

pub(super) fn store(node: &Node, faults: &mut Faults) -> Option<StoreConfig> {
    let file = &node.place().file;
    let default = StoreConfig::beside(file);
    let mut map = node.mapping(faults)?;
    let url = match secret::placed(&mut map, "url", faults) {
        None => default.url,
        Some((url, _)) if url.expose().starts_with("sqlite:") => {
            StoreConfig::resolve_sqlite(&url, file)
        }
        Some((url, node)) => {
            if !is_server(url.expose(), &["postgres", "postgresql"]) {
                faults.push(node.fault("expected a URL that starts with sqlite:// or postgres://"));
            }
            url
        }
    };
    let connections_max = map.or(
        "connections_max",
        default.connections_max,
        faults,
        |node, faults| node.integer(2..=100, faults),
    );
    let snapshot_every = map.or(
        "snapshot_every",
        default.snapshot_every,
        faults,
        Node::duration_above_zero,
    );
    map.finish(faults);
    Some(StoreConfig {
        url,
        connections_max,
        snapshot_every,
    })
}

impl StoreConfig {
    /// The default: an SQLite file in the folder of the configuration file.
    pub(super) fn beside(config: &Path) -> Self {
        let file = config.parent().unwrap_or(Path::new("")).join(FILE_DEFAULT);
        Self {
            url: Secret::new(sqlite_url(&file)),
            connections_max: CONNECTIONS_DEFAULT,
            snapshot_every: SNAPSHOT_DEFAULT,
        }
    }

    /// Makes a relative file of a `sqlite:` URL start at the folder of the configuration file.
    pub(super) fn resolve_sqlite(url: &Secret, config: &Path) -> Secret {
        let (file, options) = match url.expose().split_once('?') {
            Some((file, options)) => (file, Some(options)),
            None => (url.expose(), None),
        };
        let Some(file) = sqlite_file(file) else {
            return url.clone();
        };
        let resolved = sqlite_url(&config.parent().unwrap_or(Path::new("")).join(file));
        Secret::new(match options {
            Some(options) => format!("{resolved}?{options}"),
            None => resolved,
        })
    }

    /// The file of an SQLite store; `None` for PostgreSQL or a store in memory.
    pub fn sqlite_file(&self) -> Option<PathBuf> {
        sqlite_file(self.url.expose())
    }
}

fn sqlite_file(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let file = rest.strip_prefix("//").unwrap_or(rest);
    let file = file.split_once('?').map_or(file, |(file, _)| file);
    if file.is_empty() || file == ":memory:" {
        return None;
    }
    Some(file.replace("%3F", "?").replace("%25", "%").into())
}

/// The driver takes everything up to a `?` as the path, and decodes percent signs in it.
fn sqlite_url(file: &Path) -> String {
    let file = file
        .to_string_lossy()
        .replace('%', "%25")
        .replace('?', "%3F");
    format!("sqlite://{file}")
}

impl Config {
    /// Where the key that hashes tokens is made when `token_key_file` names none: beside the store.
    pub fn token_key_path(&self) -> PathBuf {
        match self.store.sqlite_file() {
            Some(file) => file.with_extension("key"),
            None => self.path.with_file_name("tokenwarden.key"),
        }
    }
}

pub(super) fn archive(node: &Node, faults: &mut Faults) -> Option<ArchiveConfig> {
    let mut map = node.mapping(faults)?;
    let path = map.required("path", faults, |node, faults| {
        let path = node.path(faults)?;
        if path.is_file() {
            let message = format!("`{}` is a file", path.display());
            faults.push(node.fault(message).with_hint("name a folder of its own"));
            return None;
        }
        Some(path)
    });
    map.finish(faults);
    Some(ArchiveConfig { path: path? })
}

pub(super) fn retention(node: &Node, faults: &mut Faults) -> Option<Retention> {
    let default = Retention::default();
    let mut map = node.mapping(faults)?;
    let retention = Retention {
        detections: map.or(
            "detections",
            default.detections,
            faults,
            Node::duration_above_zero,
        ),
        rejects: map.or(
            "rejects",
            default.rejects,
            faults,
            Node::duration_above_zero,
        ),
        inbox: map.or("inbox", default.inbox, faults, Node::duration_above_zero),
        audit: map.or("audit", default.audit, faults, Node::duration_above_zero),
        archive: map.or(
            "archive",
            default.archive,
            faults,
            Node::duration_above_zero,
        ),
    };
    map.finish(faults);
    Some(retention)
}

pub(super) fn log(node: &Node, faults: &mut Faults) -> Option<Log> {
    const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    const LEVELS: [LogLevel; 4] = [
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
    ];
    let mut map = node.mapping(faults)?;
    let log = Log {
        format: map.or("format", LogFormat::Text, faults, |node, faults| {
            node.one_of(&FORMATS, faults)
        }),
        level: map.or("level", LogLevel::Info, faults, |node, faults| {
            node.name(&LEVELS, LogLevel::as_str, faults)
        }),
    };
    map.finish(faults);
    Some(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_store_is_beside_the_configuration() {
        let resolve = |url: &str| {
            let url = StoreConfig::resolve_sqlite(&Secret::new(url), "/etc/tw?/c.yaml".as_ref());
            let file = sqlite_file(url.expose());
            (url.expose().to_owned(), file)
        };
        let file = |path: &str| Some(PathBuf::from(path));
        assert_eq!(
            resolve("sqlite://state.db?mode=rwc"),
            (
                "sqlite:///etc/tw%3F/state.db?mode=rwc".into(),
                file("/etc/tw?/state.db")
            )
        );
        assert_eq!(
            resolve("sqlite:///var/state.db"),
            ("sqlite:///var/state.db".into(), file("/var/state.db"))
        );
        assert_eq!(resolve("sqlite::memory:"), ("sqlite::memory:".into(), None));
        assert_eq!(
            StoreConfig::beside("c.yaml".as_ref()).url.expose(),
            "sqlite://tokenwarden.db"
        );
    }
}
