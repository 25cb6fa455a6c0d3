//! `sources:`: each has a name, one kind (`kafka`, `sql`, `webhook`, `file`), a format and a beginning.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::limits::LATENESS_DEFAULT;
use crate::model::{CANARY_SOURCE, OWN_SOURCE, Text, Timestamp};
use crate::yaml::{Faults, Map, Node};

use super::super::{
    Decode, FileSource, Format, KafkaSource, Secret, Source, SourceKind, SqlLayout, Start,
    WebhookAuth, WebhookSource,
};
use super::{mapping, name, secret, some, sql, texts};

/// A day shows most of the families that are alive and where their users usually are.
const WARM_UP_DEFAULT: Duration = Duration::from_hours(24);
/// A thousand events of a kibibyte each.
const BODY_BYTES_DEFAULT: usize = 1024 * 1024;
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Clocks differ by less; a recorded request is of no use for longer.
const TOLERANCE_DEFAULT: Duration = Duration::from_mins(5);
const POLL_DEFAULT: Duration = Duration::from_secs(1);

pub(super) fn source(node: &Node, faults: &mut Faults) -> Option<Source> {
    let mut map = node.mapping(faults)?;
    let name = map.required("name", faults, name_of_a_source);
    let kind = map
        .one_kind(&["kafka", "sql", "webhook", "file"], faults)
        .and_then(|(kind, node)| match kind {
            "kafka" => kafka(node, faults).map(SourceKind::Kafka),
            "sql" => sql::sql(node, faults).map(SourceKind::Sql),
            "webhook" => webhook(node, faults).map(SourceKind::Webhook),
            _ => file(node, faults).map(SourceKind::File),
        });
    let decode = decode(&mut map, kind.as_ref(), faults);
    let start = map.or("start", Start::Latest, faults, |node, faults| {
        start(node, kind.as_ref(), faults)
    });
    let warm_up = map.or("warm_up", WARM_UP_DEFAULT, faults, |node, faults| {
        not_of_webhooks(node, kind.as_ref(), faults)?;
        node.duration(faults)
    });
    let lateness = map.or("lateness", LATENESS_DEFAULT, faults, Node::duration);
    map.finish(faults);
    let (name, kind, decode) = (name?, kind?, decode?);
    Some(Source {
        name,
        kind,
        decode,
        start,
        warm_up,
        lateness,
    })
}

fn name_of_a_source(node: &Node, faults: &mut Faults) -> Option<Text> {
    let name = name(node, faults)?;
    if [OWN_SOURCE, CANARY_SOURCE].contains(&&*name) {
        let fault = node.fault(format!("`{name}` is a source of the daemon's own"));
        faults.push(fault.with_hint("any other name will do"));
        return None;
    }
    Some(name)
}

fn start(node: &Node, kind: Option<&SourceKind>, faults: &mut Faults) -> Option<Start> {
    not_of_webhooks(node, kind, faults)?;
    let start = match node.as_str() {
        Some("latest") => Some(Start::Latest),
        Some("earliest") => Some(Start::Earliest),
        text => text
            .and_then(|text| text.parse::<Timestamp>().ok())
            .map(Start::At),
    };
    match (start, kind) {
        (Some(Start::At(_)), Some(SourceKind::File(_))) => {
            // Its lines are times only to the decoder, and a place in it cannot be looked up by time.
            let fault =
                node.fault("a file cannot be read from a time on: expected latest or earliest");
            faults.push(fault.with_hint("earliest judges all of it; latest with a `warm_up` reads it, and judges what comes"));
            None
        }
        (None, _) => {
            let message = "expected latest, earliest or a time such as 2026-11-20T08:00:00Z";
            faults.push(node.fault(message));
            None
        }
        (start, _) => start,
    }
}

/// There is nothing before the first request.
fn not_of_webhooks(node: &Node, kind: Option<&SourceKind>, faults: &mut Faults) -> Option<()> {
    if let Some(SourceKind::Webhook(_)) = kind {
        let fault = node.fault("a webhook begins with the first request that comes");
        faults.push(fault.with_hint("remove `start` and `warm_up` here"));
        return None;
    }
    Some(())
}

fn decode(map: &mut Map<'_>, kind: Option<&SourceKind>, faults: &mut Faults) -> Option<Decode> {
    let format = format(map, kind, faults);
    let own_accounts = map.or("own_accounts", Vec::new(), faults, texts);
    let timezone = map.optional("timezone", faults, timezone);
    Some(Decode {
        format: format?,
        own_accounts,
        timezone,
    })
}

fn format(map: &mut Map<'_>, kind: Option<&SourceKind>, faults: &mut Faults) -> Option<Format> {
    const NAMES: [(&str, &str); 4] = [
        ("tokenwarden", "tokenwarden"),
        ("keycloak", "keycloak"),
        ("auth0", "auth0"),
        ("mapping", "mapping"),
    ];
    let fixed = kind.and_then(fixed_format);
    let given = map.get("format");
    let mapping = map.get("mapping");
    let format = match (given, fixed) {
        (None, Some(fixed)) => fixed,
        (None, None) => {
            // A faulty kind may have been one with a format of its own.
            if kind.is_some() {
                faults.push(
                    map.fault("`format` is missing")
                        .with_hint("one of tokenwarden, keycloak, auth0, mapping"),
                );
            }
            return None;
        }
        (Some(node), fixed) => {
            let format = node.one_of(&NAMES, faults)?;
            if let Some(fixed) = fixed.filter(|fixed| *fixed != format) {
                let message = format!("this layout gives records of the format {fixed}");
                faults.push(node.fault(message).with_hint("leave `format` out"));
            }
            format
        }
    };
    match (format, mapping) {
        ("mapping", Some(node)) => mapping::mapping(node, faults).map(Format::Mapping),
        ("mapping", None) => {
            faults.push(map.fault("`mapping` is missing: it says where each member comes from"));
            None
        }
        (_, Some(node)) => {
            faults.push(node.fault("a `mapping` is used only with `format: mapping`"));
            None
        }
        ("keycloak", None) => Some(Format::Keycloak),
        ("auth0", None) => Some(Format::Auth0),
        _ => Some(Format::Tokenwarden),
    }
}

/// The format that a ready layout gives by itself.
fn fixed_format(kind: &SourceKind) -> Option<&'static str> {
    match kind {
        SourceKind::Sql(sql) => match sql.layout {
            SqlLayout::Keycloak { .. } => Some("keycloak"),
            SqlLayout::RefreshTokens { .. } => Some("tokenwarden"),
            SqlLayout::Rows { .. } => None,
        },
        SourceKind::Kafka(_) | SourceKind::Webhook(_) | SourceKind::File(_) => None,
    }
}

fn timezone(node: &Node, faults: &mut Faults) -> Option<Text> {
    let name = node.text(faults)?;
    if jiff::tz::TimeZone::get(&name).is_err() {
        faults.push(
            node.fault(format!("unknown time zone `{name}`"))
                .with_hint("an IANA name, such as Europe/Berlin"),
        );
        return None;
    }
    Some(name)
}

fn kafka(node: &Node, faults: &mut Faults) -> Option<KafkaSource> {
    let mut map = node.mapping(faults)?;
    let brokers = map.required("brokers", faults, |node, faults| some(node, faults, broker));
    let topics = map.required("topics", faults, |node, faults| some(node, faults, topic));
    let group = map.or("group", "tokenwarden".into(), faults, Node::text);
    let properties = map.or("properties", BTreeMap::new(), faults, properties);
    map.finish(faults);
    let brokers = brokers?.join(",").into();
    Some(KafkaSource {
        brokers,
        topics: topics?,
        group,
        properties,
    })
}

/// The name of a topic, as brokers allow it.
fn topic(node: &Node, faults: &mut Faults) -> Option<Text> {
    const NAME_BYTES_MAX: usize = 249;
    let topic = node.as_str().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.starts_with('^') {
        let fault = node.fault(format!("`{topic}` is a pattern; topics go by their names"));
        faults.push(fault.with_hint("list each topic"));
        return None;
    }
    if topic.is_empty() || topic.len() > NAME_BYTES_MAX || !topic.chars().all(plain) {
        let fault = node.unexpected("the name of a topic");
        faults.push(fault.with_hint(format!(
            "at most {NAME_BYTES_MAX} letters, digits, `.`, `_` and `-`; several as a list: [a, b]"
        )));
        return None;
    }
    Some(topic.into())
}

/// `host:port`, or several with commas between; librdkafka would try a URL for ever.
fn broker(node: &Node, faults: &mut Faults) -> Option<Text> {
    let text = node.as_str().unwrap_or_default();
    if text.split(',').all(|broker| is_broker(broker.trim())) {
        return Some(text.into());
    }
    let fault = node.unexpected("host:port");
    faults.push(
        fault.with_hint("such as kafka-1.example.com:9093; TLS and passwords go into `properties`"),
    );
    None
}

fn is_broker(broker: &str) -> bool {
    let (host, port) = broker.rsplit_once(':').unwrap_or((broker, "9092"));
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    !host.is_empty() && host.chars().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Properties of librdkafka. What it takes, and what the daemon's own bookkeeping leaves open, the source itself knows.
fn properties(node: &Node, faults: &mut Faults) -> Option<BTreeMap<Text, Secret>> {
    let mut map = node.mapping(faults)?;
    let mut properties = BTreeMap::new();
    for entry in map.entries() {
        let name = property_name(entry.name);
        if properties.contains_key(name) {
            faults.push(entry.place.fault(format!("`{name}` was given before")));
            continue;
        }
        if let Some((value, _)) = secret::placed(&mut map, name, faults) {
            properties.insert(name.into(), value);
        }
    }
    map.finish(faults);
    Some(properties)
}

/// Which property a key means that may name a file with its value.
pub(super) fn property_name(key: &str) -> &str {
    key.strip_suffix("_file").unwrap_or(key)
}

fn webhook(node: &Node, faults: &mut Faults) -> Option<WebhookSource> {
    let mut map = node.mapping(faults)?;
    let hmac = map.get("hmac");
    let auth = match hmac {
        Some(node) if secret::is_given(&mut map, "bearer") => {
            faults.push(node.fault("`hmac` and `bearer` exclude each other: keep one of them"));
            None
        }
        Some(node) => self::hmac(node, faults),
        None if secret::is_given(&mut map, "bearer") => {
            secret::required(&mut map, "bearer", faults).map(WebhookAuth::Bearer)
        }
        None => {
            faults.push(map.fault("`bearer_file` or `hmac` is missing: who may send events here?"));
            None
        }
    };
    let body_bytes_max = map.or(
        "body_bytes_max",
        BODY_BYTES_DEFAULT,
        faults,
        |node, faults| node.integer(1024..=BODY_BYTES_MAX, faults),
    );
    map.finish(faults);
    Some(WebhookSource {
        auth: auth?,
        body_bytes_max,
    })
}

fn hmac(node: &Node, faults: &mut Faults) -> Option<WebhookAuth> {
    let mut map = node.mapping(faults)?;
    let secret = secret::required(&mut map, "secret", faults);
    let header = map.required("header", faults, Node::text);
    let timestamp_header = map.optional("timestamp_header", faults, Node::text);
    let tolerance = map.or(
        "tolerance",
        TOLERANCE_DEFAULT,
        faults,
        Node::duration_above_zero,
    );
    map.finish(faults);
    let (secret, header) = (secret?, header?);
    Some(WebhookAuth::Hmac {
        secret,
        header,
        timestamp_header,
        tolerance,
    })
}

fn file(node: &Node, faults: &mut Faults) -> Option<FileSource> {
    let mut map = node.mapping(faults)?;
    let path = map.required("path", faults, Node::path);
    let poll_every = map.or(
        "poll_every",
        POLL_DEFAULT,
        faults,
        Node::duration_above_zero,
    );
    map.finish(faults);
    Some(FileSource {
        path: path?,
        poll_every,
    })
}
