//! An explanation as a tree for people.

use std::io::Write;

use super::super::clean;
use crate::app::replay::explain::Explanation;
use crate::engine::{Explained, Outcome};
use crate::model::{Action, Detection, Enriched, Evidence, Value, span};
use crate::rules::context::Context;
use crate::rules::words::{self, who};

/// Members of evidence that the family's own timeline tells better.
const SHOWN_ABOVE: &[&str] = &["timeline"];
/// Presentations of a family that are shown before the event, and after it.
const SHOWN_BEFORE: usize = 20;
const SHOWN_AFTER: usize = 5;
/// Names of rules that stand in one line.
const NAMES_IN_A_ROW: usize = 5;
/// Shorter spans are read as they are, in seconds.
const SPELT_OUT_FROM: i64 = 120;

pub(super) fn print(explanation: &Explanation, out: &mut dyn Write) -> anyhow::Result<()> {
    event(&explanation.event, out)?;
    if let Some(family) = &explanation.family {
        writeln!(out, "\nFamily {}", line(&family.whose))?;
        story(&family.timeline, &explanation.event.event.event_id, out)?;
    }
    writeln!(out, "\nRules")?;
    let fired = |explained: &&Explained| matches!(explained.outcome, Outcome::Fired(_));
    let has_more = |explained: &&Explained| !explained.notes.is_empty();
    let rules = explanation.rules.iter();
    for explained in rules.clone().filter(fired) {
        rule(explained, &explanation.decided, out)?;
    }
    for explained in rules.clone().filter(|it| !fired(it) && has_more(it)) {
        rule(explained, &explanation.decided, out)?;
    }
    quiet(rules.filter(|it| !fired(it) && !has_more(it)), out)
}

/// Rules with nothing more to say than why, those with the same reason together.
fn quiet<'a>(
    rules: impl Iterator<Item = &'a Explained>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    for explained in rules {
        let why = outcome(explained);
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, names)) => names.push(&explained.rule.name),
            None => reasons.push((why, vec![&explained.rule.name])),
        }
    }
    for (why, names) in reasons {
        writeln!(out, "  {why}:")?;
        for row in names.chunks(NAMES_IN_A_ROW) {
            writeln!(out, "      {}", row.join(", "))?;
        }
    }
    Ok(())
}

/// What came of a rule, in a few words.
fn outcome(explained: &Explained) -> String {
    match &explained.outcome {
        Outcome::Unasked(why) => format!("not asked, {why}"),
        Outcome::Silent if explained.notes.is_empty() => {
            "silent, nothing in the event for it to judge".to_owned()
        }
        Outcome::Silent => "silent".to_owned(),
        Outcome::Fired(_) => "FIRED".to_owned(),
    }
}

fn event(enriched: &Enriched, out: &mut dyn Write) -> anyhow::Result<()> {
    let event = &enriched.event;
    let outcome = event.reason.map_or_else(
        || event.outcome.to_string(),
        |reason| format!("{} ({reason})", event.outcome),
    );
    let head = format!(
        "Event {}: {}, {outcome}, {}",
        event.event_id, event.kind, event.time
    );
    writeln!(out, "{}", clean(&head))?;
    let whose = Evidence::new()
        .with_some("user_id", event.user_id.as_ref())
        .with_some("client_id", event.client_id.as_ref())
        .with_some("session_id", event.session_id.as_ref())
        .with_some("token_id", event.token_id.as_ref())
        .with_some("new_token_id", event.new_token_id.as_ref())
        .with_some("error", event.error.as_ref());
    for (name, said) in [("about", whose), ("from", who(&Context::of(enriched)))] {
        if !said.0.is_empty() {
            writeln!(out, "  {name:<6} {}", line(&said))?;
        }
    }
    Ok(())
}

fn rule(
    explained: &Explained,
    decided: &[(Detection, Vec<Action>)],
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let name = &explained.rule.name;
    writeln!(out, "  {name:<28} {}", outcome(explained))?;
    for note in &explained.notes {
        let values = line(&note.values);
        let values = if values.is_empty() {
            values
        } else {
            format!(" ({values})")
        };
        writeln!(out, "      - {}{values}", clean(&note.why))?;
    }
    if let Outcome::Fired(findings) = &explained.outcome {
        for finding in findings {
            let severity = explained.rule.severity.min(finding.at_most);
            writeln!(out, "      {severity}: {}", clean(&finding.summary))?;
            tree(&finding.evidence, 8, out)?;
        }
    }
    for (detection, actions) in decided.iter().filter(|(d, _)| d.rule == *name) {
        writeln!(out, "      detection {}", detection.id)?;
        for action in actions {
            let why = clean(&action.reason);
            writeln!(out, "        {} {}: {why}", action.decision, action.kind)?;
        }
    }
    Ok(())
}

/// Evidence, a member a line; what is nested stands below.
pub(super) fn tree(evidence: &Evidence, indent: usize, out: &mut dyn Write) -> anyhow::Result<()> {
    let members = evidence.0.iter();
    for (name, value) in members.filter(|(name, _)| !SHOWN_ABOVE.contains(&&**name)) {
        match value {
            Value::Map(inner) => {
                writeln!(out, "{:indent$}{name}: {}", "", line(inner))?;
            }
            Value::List(items) if items.iter().any(|item| matches!(item, Value::Map(_))) => {
                writeln!(out, "{:indent$}{name}:", "")?;
                for item in items {
                    writeln!(out, "{:indent$}  {}", "", scalar(item))?;
                }
            }
            value => writeln!(out, "{:indent$}{name}: {}", "", with_unit(name, value))?,
        }
    }
    Ok(())
}

/// The family's presentations around the event, which is marked; a long life is not told whole.
fn story(timeline: &[Evidence], event_id: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let is_event = |line: &Evidence| line.get("event_id").map(scalar).as_deref() == Some(event_id);
    let last = timeline.len().saturating_sub(1);
    let at = timeline.iter().position(is_event).unwrap_or(last);
    let shown = at.saturating_sub(SHOWN_BEFORE)..timeline.len().min(at + 1 + SHOWN_AFTER);
    if shown.start > 0 {
        writeln!(out, "    ... {} before", shown.start)?;
    }
    for presentation in timeline.get(shown.clone()).unwrap_or_default() {
        let mark = if is_event(presentation) { ">" } else { " " };
        writeln!(out, "{mark} {}", story_line(presentation))?;
    }
    if shown.end < timeline.len() {
        writeln!(out, "    ... {} after", timeline.len() - shown.end)?;
    }
    Ok(())
}

/// One presentation: when, what the server answered, which token, and from whom.
pub(super) fn story_line(presentation: &Evidence) -> String {
    let said = |name: &str| presentation.get(name).map(scalar);
    let short = |name: &str| said(name).map(|token| words::short(&token));
    let tokens = match (short("token"), short("issued")) {
        (Some(token), Some(issued)) => format!("{token} -> {issued}"),
        (token, issued) => token
            .or(issued.map(|issued| format!("-> {issued}")))
            .unwrap_or_default(),
    };
    let from = [
        "ip_address",
        "declared",
        "place",
        "agent",
        "device_id",
        "key_thumbprint",
    ];
    let from: Vec<String> = from.into_iter().filter_map(said).collect();
    let when = said("time").unwrap_or_default();
    let answer = said("answer").unwrap_or_default();
    format!("{when:<24}  {answer:<8}  {tokens:<23}  {}", from.join(", "))
}

/// Evidence in one line.
pub(super) fn line(evidence: &Evidence) -> String {
    let member =
        |(name, value): &(crate::model::Text, Value)| format!("{name} {}", with_unit(name, value));
    let members: Vec<String> = evidence.0.iter().map(member).collect();
    members.join(", ")
}

/// Many seconds are also told in words: nobody divides at night.
fn with_unit(name: &str, value: &Value) -> String {
    let is_span = name.ends_with("_seconds") || name == "seconds_after";
    match value {
        Value::Integer(seconds) if is_span && *seconds >= SPELT_OUT_FROM => {
            format!("{seconds} ({})", span(seconds.saturating_mul(1000)))
        }
        value => scalar(value),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::Text(value) => clean(value),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(scalar).collect();
            let are_words = items.iter().all(|item| !item.contains(' '));
            items.join(if are_words { " " } else { "; " })
        }
        Value::Map(inner) => line(inner),
    }
}
