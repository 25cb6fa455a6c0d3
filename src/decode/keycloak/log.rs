//! Lines of Keycloak's built-in logging listener, as text or as the JSON of the console.
//!
//! A line has no event id, so one is derived from its time and text: two lines that are the same to the millisecond
//! count as one event. Its time is the time of logging, a few milliseconds after the event's.
//!
//! ```text
//! 2026-11-21 05:07:27,218 WARN  [org.keycloak.events] (executor-thread-5) type="REFRESH_TOKEN_ERROR", realmId="...", ...
//! ```
//!
//! Values are callers' texts. A quote in one is written `\"`, a line break as a space, but a backslash as itself:
//! `"a\"` is a value that ends in a backslash, or the beginning of one with a quote in it. What follows decides, see
//! [`end_of_value`]. No value can forge a member: each needs a quote without a backslash before it.

use std::borrow::Cow;

use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use crate::decode::json::Object;
use crate::decode::token_key::push_hex;
use crate::decode::{Rejected, time};
use crate::model::Timestamp;

use super::{AdminEvent, Details, Operator, Record, UserEvent};

/// The category of the listener.
const LOGGER: &str = "org.keycloak.events";

/// A line of the listener, found but not yet taken apart.
#[derive(Debug)]
pub(super) struct Line<'a> {
    time: Timestamp,
    id: String,
    message: Cow<'a, str>,
}

/// A line of a server's log file; nothing where it is another part's.
pub(super) fn text_line<'a>(line: &'a str, zone: &TimeZone) -> Result<Option<Line<'a>>, Rejected> {
    let Some(head) = Head::of(line) else {
        return if is_continuation(line) {
            Ok(None)
        } else {
            Err(Rejected::syntax(
                "neither a JSON object nor a line of a Keycloak log (`TIME LEVEL [CATEGORY] (THREAD) TEXT`)",
            ))
        };
    };
    if head.logger != LOGGER {
        return Ok(None);
    }
    Line::new(head.time, Cow::Borrowed(head.message), zone).map(Some)
}

/// Whether an object is a line of the JSON console, in its own layout or in that of ECS.
pub(super) fn is_console(object: &Object<'_>) -> bool {
    object.get("loggerName").is_some() || object.get("log.logger").is_some()
}

/// An object of the JSON console; nothing where it is another part's.
pub(super) fn json_line<'a>(
    object: &Object<'a>,
    zone: &TimeZone,
) -> Result<Option<Line<'a>>, Rejected> {
    let logger = object
        .text("loggerName")
        .or_else(|| object.text("log.logger"));
    if logger.as_deref() != Some(LOGGER) {
        return Ok(None);
    }
    let stamp = object
        .text("timestamp")
        .or_else(|| object.text("@timestamp"))
        .ok_or_else(|| Rejected::schema("member `timestamp` is missing or no string"))?;
    let message = object
        .text("message")
        .ok_or_else(|| Rejected::schema("member `message` is missing or no string"))?;
    Line::new(&stamp, message, zone).map(Some)
}

impl<'a> Line<'a> {
    fn new(stamp: &str, message: Cow<'a, str>, zone: &TimeZone) -> Result<Self, Rejected> {
        let time = time::rfc3339(stamp)
            .or_else(|| time::zoneless(stamp, zone))
            .ok_or_else(|| Rejected::syntax("the log line has no time that can be read"))?;
        Ok(Self {
            time,
            id: derived_id(stamp, &message),
            message,
        })
    }

    pub(super) fn record(&self) -> Result<Record<'_>, Rejected> {
        let pairs = pairs(&self.message)?;
        match pairs.first() {
            Some((key, _)) if *key == "type" => Ok(Record::User(self.user_event(pairs))),
            Some((key, _)) if *key == "operationType" => {
                Ok(Record::Admin(self.admin_event(&pairs)))
            }
            _ => Err(Rejected::syntax(
                "the line of the event listener begins with neither `type` nor `operationType`",
            )),
        }
    }

    fn user_event<'b>(&'b self, pairs: Pairs<'b>) -> UserEvent<'b> {
        UserEvent {
            id: Cow::Borrowed(&self.id),
            time: self.time,
            kind: take(&pairs, "type").unwrap_or_default(),
            realm_id: take(&pairs, "realmId"),
            client_id: take(&pairs, "clientId").map(shortened),
            user_id: take(&pairs, "userId"),
            session_id: take(&pairs, "sessionId"),
            ip_address: take(&pairs, "ipAddress"),
            error: take(&pairs, "error"),
            details: Details::Pairs(pairs),
        }
    }

    /// Realm, client and user of such a line are the operator's; the realm acted upon is not in it.
    fn admin_event<'b>(&'b self, pairs: &Pairs<'b>) -> AdminEvent<'b> {
        AdminEvent {
            id: Cow::Borrowed(&self.id),
            time: self.time,
            operation: take(pairs, "operationType").unwrap_or_default(),
            resource_path: take(pairs, "resourcePath"),
            realm_id: None,
            operator: Operator {
                user_id: take(pairs, "userId"),
                client_id: take(pairs, "clientId"),
                ip_address: take(pairs, "ipAddress"),
            },
            representation: None,
            error: take(pairs, "error"),
        }
    }
}

/// The fixed beginning of a line of the default format, `%d{yyyy-MM-dd HH:mm:ss,SSS} %-5p [%c] (%t) %s%e%n`.
#[derive(Debug, PartialEq)]
struct Head<'a> {
    time: &'a str,
    logger: &'a str,
    message: &'a str,
}

impl<'a> Head<'a> {
    /// Read from the left, so that nothing a caller wrote into a line of another part can pass for the listener's.
    fn of(line: &'a str) -> Option<Self> {
        let (date, rest) = line.split_once([' ', 'T'])?;
        if date.len() != 10 || !date.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        let (clock, rest) = rest.split_once(' ')?;
        let time = line.get(..date.len() + 1 + clock.len())?;
        let (level, rest) = rest.trim_start().split_once(' ')?;
        if !level.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let (logger, rest) = rest.trim_start().strip_prefix('[')?.split_once(']')?;
        let (_thread, message) = rest.strip_prefix(" (")?.split_once(") ")?;
        Some(Self {
            time,
            logger,
            message,
        })
    }
}

/// Further lines of something that was logged: stack traces, wrapped texts, the banner.
fn is_continuation(line: &str) -> bool {
    const BEGINNINGS: &[&str] = &["at ", "Caused by:", "Suppressed:", "... "];
    if line.is_empty()
        || BEGINNINGS
            .iter()
            .any(|beginning| line.starts_with(beginning))
    {
        return true;
    }
    // `java.lang.IllegalStateException: ...`
    let first = line.split([':', ' ']).next().unwrap_or_default();
    first.contains('.') && (first.ends_with("Exception") || first.ends_with("Error"))
}

type Pairs<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Takes `key="value", key="value"` apart.
fn pairs(message: &str) -> Result<Pairs<'_>, Rejected> {
    let mut pairs = Vec::with_capacity(16);
    let mut rest = message.trim_end();
    loop {
        let (key, after) = key(rest).ok_or_else(|| {
            Rejected::syntax(format!(
                "member {} of the line is not written `key=\"value\"` (the listener's `quotes` option must keep its default)",
                pairs.len() + 1
            ))
        })?;
        let end = end_of_value(after).ok_or_else(|| {
            Rejected::syntax(format!(
                "the value of `{key}` does not end: the line was cut"
            ))
        })?;
        pairs.push((key, unescaped(after.get(..end).unwrap_or_default())));
        rest = after.get(end + 1..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(pairs);
        }
        rest = rest.strip_prefix(", ").ok_or_else(|| {
            Rejected::syntax(format!("the value of `{key}` is not followed by a comma"))
        })?;
    }
}

/// `key="`, and what comes after.
fn key(text: &str) -> Option<(&str, &str)> {
    let (key, rest) = text.split_once("=\"")?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (!key.is_empty() && key.len() <= KEY_BYTES_MAX && key.bytes().all(is_name))
        .then_some((key, rest))
}

const KEY_BYTES_MAX: usize = 128;

/// Where the closing quote of a value stands.
///
/// Usually it is the next quote without a backslash before it. But where the value ends in a backslash, its own
/// closing quote has one, and the next bare quote opens the next value. Then exactly `, key=` stands between the two. A
/// value with such a text in it looks the same up to there; only there the bare quote is followed by the next member.
fn end_of_value(text: &str) -> Option<usize> {
    let bare = bare_quote(text)?;
    let Some(escaped) = text.get(..bare)?.rfind("\\\"").map(|at| at + 1) else {
        return Some(bare);
    };
    let between = text.get(escaped + 1..=bare)?;
    let opens = between
        .strip_prefix(", ")
        .and_then(key)
        .is_some_and(|(_, rest)| rest.is_empty());
    let after = text.get(bare + 1..)?;
    let closes = after.is_empty() || after.strip_prefix(", ").and_then(key).is_some();
    Some(if opens && !closes { escaped } else { bare })
}

/// The first quote that has no backslash before it.
fn bare_quote(text: &str) -> Option<usize> {
    text.match_indices('"')
        .map(|(at, _)| at)
        .find(|at| *at == 0 || text.as_bytes().get(at - 1) != Some(&b'\\'))
}

/// A quote lost one backslash when it was written; a backslash stands for itself.
fn unescaped(value: &str) -> Cow<'_, str> {
    if value.contains("\\\"") {
        Cow::Owned(value.replace("\\\"", "\""))
    } else {
        Cow::Borrowed(value)
    }
}

/// The first of that name: what the server itself wrote stands before any detail. `null` is how it writes "none".
fn take<'a>(pairs: &Pairs<'a>, name: &str) -> Option<Cow<'a, str>> {
    pairs
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.clone())
        .filter(|value| !value.is_empty() && value != "null")
}

/// As the server stores it: a refused client's name is what the caller sent, cut to 254 characters if over 255.
fn shortened(client_id: Cow<'_, str>) -> Cow<'_, str> {
    if client_id.len() <= 255 || client_id.chars().count() <= 255 {
        return client_id;
    }
    Cow::Owned(client_id.chars().take(254).collect())
}

fn derived_id(stamp: &str, message: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(stamp);
    hash.update([0]);
    hash.update(message);
    let digest = hash.finalize();
    let mut id = String::with_capacity(36);
    id.push_str("log:");
    push_hex(&mut id, &digest[..16]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(message: &str) -> Vec<(String, String)> {
        pairs(message)
            .unwrap()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into_owned()))
            .collect()
    }

    /// As the listener writes it.
    fn written(values: &[(&str, &str)]) -> String {
        let members: Vec<_> = values
            .iter()
            .map(|(key, value)| {
                format!(
                    "{key}=\"{}\"",
                    value.replace(['\n', '\r'], " ").replace('"', "\\\"")
                )
            })
            .collect();
        members.join(", ")
    }

    #[test]
    fn hostile_values_stay_in_their_place() {
        for hostile in [
            "plain",
            "",
            "a\"b",
            "a\\b",
            "a\\",
            "a\\\\",
            "a\\\"b",
            "a\"",
            "a\\\"",
            "\", userId=\"victim",
            "\", userId=",
            "x\\\", userId=\"victim\", error=",
            "a=\"b\", c=\"",
            "a, b=",
            "=",
            ", ",
            "nul\0inside",
        ] {
            let members = [
                ("type", "REFRESH_TOKEN_ERROR"),
                ("clientId", hostile),
                ("userId", "null"),
                ("ipAddress", hostile),
                ("error", "invalid_token"),
            ];
            let line = written(&members);
            let expected: Vec<_> = members
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(values(&line), expected, "{line}");
        }
    }

    #[test]
    fn a_line_that_was_cut_is_refused() {
        let whole = written(&[("type", "LOGIN"), ("clientId", "web"), ("userId", "u1")]);
        for end in 0..whole.len() {
            let cut = whole.get(..end).unwrap();
            if let Ok(pairs) = pairs(cut) {
                // Only at the end of a member can a cut go unseen.
                assert!(cut.ends_with('"') && pairs.len() < 3, "{cut}");
            }
        }
    }

    #[test]
    fn lines_of_other_parts_are_passed_over() {
        let zone = TimeZone::UTC;
        for line in [
            "2026-11-21 05:06:40,683 INFO  [org.keycloak.services] (main) type=\"REFRESH_TOKEN\"",
            "2026-11-21 05:06:40,683 WARN  [org.keycloak.x] (main) said [org.keycloak.events] (t) type=\"LOGIN\"",
            "at org.keycloak.Foo.bar(Foo.java:1)",
            "java.lang.IllegalStateException: no",
            "Caused by: something",
        ] {
            assert!(text_line(line, &zone).unwrap().is_none(), "{line}");
        }
        assert!(text_line("nonsense", &zone).is_err());
        let ours = "2026-11-21 05:06:40,683 WARN  [org.keycloak.events] (t-1) nonsense";
        assert!(text_line(ours, &zone).unwrap().unwrap().record().is_err());
    }
}
