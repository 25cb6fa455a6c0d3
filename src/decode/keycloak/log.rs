//! Lines of Keycloak's built-in logging listener, as text or as the JSON of the console.
//!
//! A line has no event id, so one is derived from its time and text: two lines that are the same to the millisecond
//! count as one event. Its time is the time of logging, a few milliseconds after the event's.
//!
//! ```text
//! 2026-11-21 05:07:27,218 WARN  [org.keycloak.events] (executor-thread-5) type="REFRESH_TOKEN_ERROR", realmId="...", ...
//! ```

use std::borrow::Cow;

use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use crate::decode::json::Object;
use crate::decode::token_key::push_hex;
use crate::decode::{Rejected, time};
use crate::model::Timestamp;

use super::members::{Pairs, pairs};
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
