//! The events of a rule test, from their short form: relative times, what they share said once, repetition as a number.
//!
//! They stay lines until both a test and its twin have been made of them, and go through the decoder last of all: so a
//! test cannot say what no source could.

use std::time::Duration;

use serde_json::{Map as Members, Value};

use crate::decode::Decoder;
use crate::model::{Event, Timestamp};
use crate::yaml::{Faults, Map, Node};

/// `at: 0s`: Monday, 5 January 2026, 09:00 UTC, in milliseconds.
const START_MS: u64 = 1_767_603_600_000;
/// Events of one line; more are a load test.
const EVENTS_MAX: u32 = 100_000;
/// Longer than the engine remembers.
const AT_MAX: Duration = Duration::from_hours(24 * 365);

/// Members of a canonical event; one that is null is absent, whatever stands above.
pub(super) type EventMembers = Members<String, Value>;

/// One event, or several of it, as they stand in the file.
#[derive(Debug, Clone)]
pub(super) struct Line<'a> {
    node: &'a Node,
    /// Its number in the list, unless it has an `event_id` of its own.
    id: String,
    at: Duration,
    times: u32,
    every: Duration,
    members: EventMembers,
}

/// What a line says, before anything is taken for granted.
struct Said {
    at: Option<Duration>,
    times: Option<u32>,
    every: Option<Duration>,
    members: EventMembers,
}

/// The lines of a list; the first has the number after `before`.
pub(super) fn lines<'a>(
    node: &'a Node,
    before: usize,
    faults: &mut Faults,
) -> Option<Vec<Line<'a>>> {
    let mut number = before;
    node.list(faults, |node, faults| {
        number += 1;
        line(node, number, faults)
    })
}

fn line<'a>(node: &'a Node, number: usize, faults: &mut Faults) -> Option<Line<'a>> {
    let mut map = node.mapping(faults)?;
    let said = said(&mut map, faults);
    if said.at.is_none() && node.member("at").is_none() {
        faults.push(map.fault("`at` is missing"));
    }
    map.finish(faults);
    let id = match said.members.get("event_id") {
        Some(Value::String(id)) => id.clone(),
        _ => number.to_string(),
    };
    Some(Line {
        node,
        id,
        at: said.at?,
        times: said.times.unwrap_or(1),
        every: said.every.unwrap_or_default(),
        members: said.members,
    })
}

fn said(map: &mut Map<'_>, faults: &mut Faults) -> Said {
    Said {
        at: map.optional("at", faults, after_start),
        times: map.optional("times", faults, |node, faults| {
            node.integer(1..=EVENTS_MAX, faults)
        }),
        every: map.optional("every", faults, Node::duration),
        members: members(map, faults),
    }
}

/// The members that all events share.
pub(super) fn shared(node: &Node, faults: &mut Faults) -> Option<EventMembers> {
    let mut map = node.mapping(faults)?;
    let members = members(&mut map, faults);
    map.finish(faults);
    Some(members)
}

fn members(map: &mut Map<'_>, faults: &mut Faults) -> EventMembers {
    let mut found = Members::new();
    let mut add = |name: &str, value: Option<Value>| {
        found.extend(value.map(|value| (name.to_owned(), value)));
    };
    for name in Event::TEXT_MEMBERS {
        let value = map.get(*name).and_then(|node| {
            if node.is_null() {
                return Some(Value::Null);
            }
            node.text(faults)
                .map(|text| Value::String(text.to_string()))
        });
        add(name, value);
    }
    for name in Event::INTEGER_MEMBERS {
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

/// What a twin says of the events of its benign case: `change`, `drop` and `add`.
pub(super) fn altered<'a>(
    mut lines: Vec<Line<'a>>,
    map: &mut Map<'a>,
    faults: &mut Faults,
) -> Vec<Line<'a>> {
    let count = lines.len();
    map.optional("change", faults, |node, faults| {
        node.list(faults, |node, faults| change(&mut lines, node, faults))
    });
    map.optional("drop", faults, |node, faults| {
        node.list(faults, |node, faults| {
            let at = position(&lines, node, faults)?;
            lines.remove(at);
            Some(())
        })
    });
    let added = map.optional("add", faults, |node, faults| {
        self::lines(node, count, faults)
    });
    lines.extend(added.unwrap_or_default());
    lines
}

/// `{ event: 3, user_agent: curl/8.14.1 }`: what is written replaces what stands there, `~` takes it away.
fn change<'a>(lines: &mut [Line<'a>], node: &'a Node, faults: &mut Faults) -> Option<()> {
    let mut map = node.mapping(faults)?;
    let at = map.required("event", faults, |node, faults| {
        position(lines, node, faults)
    });
    let said = said(&mut map, faults);
    map.finish(faults);
    let line = lines.get_mut(at?)?;
    line.node = node;
    line.at = said.at.unwrap_or(line.at);
    line.times = said.times.unwrap_or(line.times);
    line.every = said.every.unwrap_or(line.every);
    line.members.extend(said.members);
    Some(())
}

fn position(lines: &[Line<'_>], node: &Node, faults: &mut Faults) -> Option<usize> {
    let id = node.text(faults)?;
    let found = lines.iter().position(|line| *line.id == *id);
    if found.is_none() {
        let ids: Vec<&str> = lines.iter().map(|line| &*line.id).collect();
        let fault = node.fault(format!("there is no event `{}`", id.escape_debug()));
        let hint = "events are numbered from 1, or have the `event_id` that they say";
        faults.push(fault.with_hint(format!("{hint}; there are {}", ids.join(", "))));
    }
    found
}

/// The canonical events of all lines, in order of time.
pub(super) fn played(
    lines: &[Line<'_>],
    shared: &EventMembers,
    decoder: &dyn Decoder,
    faults: &mut Faults,
) -> Vec<Event> {
    let mut events = Vec::new();
    for line in lines {
        line.play(shared, decoder, &mut events, faults);
    }
    // Repeated events would else arrive one bundle after the other.
    events.sort_by_key(|event| event.time);
    events
}

impl Line<'_> {
    fn play(
        &self,
        shared: &EventMembers,
        decoder: &dyn Decoder,
        events: &mut Vec<Event>,
        faults: &mut Faults,
    ) {
        let mut record = shared.clone();
        record.extend(self.members.clone());
        record.entry("outcome").or_insert_with(|| "success".into());
        for n in 0..self.times {
            let after = self.at + self.every.saturating_mul(n).min(AT_MAX);
            let time = START_MS + u64::try_from(after.as_millis()).unwrap_or(0);
            record.insert("time".to_owned(), time.into());
            let id = match n {
                0 => self.id.clone(),
                _ => format!("{}.{n}", self.id),
            };
            record.insert("event_id".to_owned(), id.into());
            let text = Value::Object(record.clone()).to_string();
            if let Err(why) = decoder.decode(text.as_bytes(), &"test".into(), events) {
                faults.push(self.node.fault(why.message));
                return;
            }
        }
    }
}

/// A time of a test: how long after its start.
pub(super) fn after_start(node: &Node, faults: &mut Faults) -> Option<Duration> {
    let at = node.duration(faults)?;
    if at > AT_MAX {
        faults.push(node.fault("expected at most a year after the start"));
    }
    Some(at.min(AT_MAX))
}

/// The same from a time of the calendar; nothing is before the start but by an event's own fault.
pub(super) fn since_start(time: Timestamp) -> Duration {
    let ms = u64::try_from(time.as_millisecond()).unwrap_or(0);
    Duration::from_millis(ms.saturating_sub(START_MS))
}

/// As it is written in a file: `1h30m`, `5m20s`, `250ms`.
pub(super) fn written(duration: Duration) -> String {
    let (seconds, ms) = (duration.as_secs(), duration.subsec_millis());
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (ms.into(), "ms"),
    ];
    let mut written = String::new();
    for (count, unit) in parts.iter().filter(|(count, _)| *count > 0) {
        written.push_str(&count.to_string());
        written.push_str(unit);
    }
    if written.is_empty() {
        "0s".to_owned()
    } else {
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_as_it_is_written() {
        for text in ["0s", "250ms", "5m20s", "1h30m", "49h1s"] {
            let read = crate::yaml::parse_duration(text).unwrap();
            assert_eq!(written(read), text);
        }
    }
}
