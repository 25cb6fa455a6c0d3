//! Which settings are read at the start only: a reload that changes one of them is refused, and says which.
//!
//! Sources, store, archive and listeners live as long as the process. A reload that took their new settings and went on with the
//! old ones would be called successful, show its hash and have the new places checked, while the old ones are read. To end
//! and start them again within the process was the other way; a restart does just that, and goes on where it was.

use crate::config::{
    Config, FileSource, Http, KafkaSource, Log, Source, SourceKind, SqlSource, StoreConfig,
    WebhookSource,
};

/// Names of the settings that differ. The pattern names every field, so that a new one cannot be forgotten here.
macro_rules! changed {
    ($before:expr, $after:expr, $type:ident { $($field:ident = $name:literal),+ $(; $free:ident)* }) => {{
        let $type { $($field: _,)+ $($free: _,)* } = $before;
        let fields = [$(($name, $before.$field == $after.$field)),+];
        fields.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect::<Vec<&'static str>>()
    }};
}

/// One sentence for each setting that only a restart applies; empty when a reload can apply everything.
pub(super) fn needed_by(before: &Config, after: &Config) -> Vec<String> {
    let mut whys = of_sources(&before.sources, &after.sources);
    whys.extend(told(
        "store",
        &changed!(&before.store, &after.store, StoreConfig {
            url = "url", connections_max = "connections_max", snapshot_every = "snapshot_every"
        }),
    ));
    if before.archive != after.archive {
        whys.push(why("`archive`"));
    }
    whys.extend(told(
        "http",
        &changed!(&before.http, &after.http, Http { ops = "ops", api = "api", ingest = "ingest" }),
    ));
    whys.extend(told(
        "log",
        &changed!(&before.log, &after.log, Log { format = "format", level = "level" }),
    ));
    whys
}

fn of_sources(before: &[Source], after: &[Source]) -> Vec<String> {
    let named = |all: &'_ [Source], name: &str| all.iter().position(|source| &*source.name == name);
    let mut whys = Vec::new();
    for source in before {
        match named(after, &source.name) {
            Some(at) => whys.extend(told(
                &format!("source {}", source.name),
                &of_source(source, &after[at]),
            )),
            None => whys.push(format!(
                "source {} is gone; restart the daemon to apply it",
                source.name
            )),
        }
    }
    let new = after
        .iter()
        .filter(|source| named(before, &source.name).is_none());
    whys.extend(new.map(|source| {
        format!(
            "source {} is new; restart the daemon to apply it",
            source.name
        )
    }));
    whys
}

fn of_source(before: &Source, after: &Source) -> Vec<&'static str> {
    // How records become events is replaced by a reload.
    let mut names = changed!(before, after, Source { start = "start", warm_up = "warm_up", lateness = "lateness"; name; kind; decode });
    names.extend(match (&before.kind, &after.kind) {
        (SourceKind::Kafka(before), SourceKind::Kafka(after)) => changed!(before, after, KafkaSource {
            brokers = "brokers", topics = "topics", group = "group", properties = "properties"
        }),
        (SourceKind::Sql(before), SourceKind::Sql(after)) => changed!(before, after, SqlSource {
            url = "url", layout = "layout", poll_every = "poll_every", statement_timeout = "statement_timeout"; database
        }),
        (SourceKind::Webhook(before), SourceKind::Webhook(after)) => changed!(before, after, WebhookSource {
            auth = "bearer` or `hmac", body_bytes_max = "body_bytes_max"
        }),
        (SourceKind::File(before), SourceKind::File(after)) => {
            changed!(before, after, FileSource { path = "path", poll_every = "poll_every" })
        }
        _ => vec!["kafka`, `sql`, `webhook` or `file"],
    });
    names
}

fn told(part: &str, names: &[&'static str]) -> Vec<String> {
    names
        .iter()
        .map(|name| why(&format!("{part}: `{name}`")))
        .collect()
}

fn why(setting: &str) -> String {
    format!("{setting} has changed; restart the daemon to apply it, or put it back")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const KAFKA: &str = "sources: [{ name: a, kafka: { brokers: b:9092, topics: t, properties: { x: one } }, format: auth0 }]";

    fn needed(before: &str, after: &str) -> Vec<String> {
        let parsed = |text| Config::parse(text, Path::new("tokenwarden.yaml")).unwrap();
        let whys = needed_by(&parsed(before), &parsed(after));
        let setting = |why: String| why.split_once(" has changed").unwrap().0.to_owned();
        whys.into_iter().map(setting).collect()
    }

    #[test]
    fn what_a_reload_applies_needs_none() {
        let after = KAFKA.replace("format: auth0", "format: keycloak");
        let rest = "mode: alert\nretention: { inbox: 3d, archive: 3d }\ngrace_period: 3s\nclients: { web: { mode: observe } }\n";
        assert_eq!(needed(KAFKA, &format!("{rest}{after}")), [""; 0]);
    }

    #[test]
    fn each_setting_of_a_source_is_named() {
        let changes = [
            ("b:9092", "c:9092", "brokers"),
            ("topics: t", "topics: u", "topics"),
            ("topics: t", "topics: t, group: g", "group"),
            ("x: one", "x: two", "properties"),
            ("format: auth0", "format: auth0, start: earliest", "start"),
            ("format: auth0", "format: auth0, lateness: 3m", "lateness"),
            ("format: auth0", "format: auth0, warm_up: 3m", "warm_up"),
        ];
        for (old, new, setting) in changes {
            let named = needed(KAFKA, &KAFKA.replace(old, new));
            assert_eq!(named, [format!("source a: `{setting}`")]);
        }
        let other = "sources: [{ name: a, file: { path: a.log }, format: auth0 }]";
        assert_eq!(
            needed(KAFKA, other),
            ["source a: `kafka`, `sql`, `webhook` or `file`"]
        );
    }

    #[test]
    fn the_order_of_sources_means_nothing() {
        let source = |name: &str| {
            format!("  - {{ name: {name}, file: {{ path: {name}.log }}, format: auth0 }}\n")
        };
        let both = |one: &str, other: &str| format!("sources:\n{}{}", source(one), source(other));
        assert_eq!(needed(&both("a", "b"), &both("b", "a")), [""; 0]);
    }

    #[test]
    fn store_archive_listeners_and_log_are_named() {
        let after = "store: { url: \"sqlite:other.db\" }\narchive: { path: a }\nhttp: { api: { listen: 127.0.0.1:9 } }\nlog: { level: debug }\n";
        let expected = ["store: `url`", "`archive`", "http: `api`", "log: `level`"];
        assert_eq!(needed(KAFKA, &format!("{after}{KAFKA}")), expected);
    }
}
