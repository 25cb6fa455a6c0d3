//! What a mail says, as plain data: decided here once, written twice (text and HTML).
//!
//! The order is that of the questions at three in the morning: what happened, what has been done, what must I do, why
//! should I believe it, who and where, what came before, where can I look, how do I make it stop.

use serde::Serialize;

use crate::actions::{Asked, Notification, word};
use crate::model::{Detection, Evidence, Subject, Text, Value, limits};

use super::clean;
use super::tasks::{self, Task};
use super::words::{self, Standing};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    #[serde(skip)]
    pub(super) standing: Standing,
    pub(super) state: &'static str,
    pub(super) severity: &'static str,
    pub(super) is_specimen: bool,
    /// What this receiver alone must know.
    pub(super) remarks: Vec<String>,
    /// Who and what: also the subject.
    pub(super) headline: String,
    /// What the gravest finding means and what to do about it, in the words of its rule's author.
    pub(super) meaning: String,
    pub(super) done: Vec<String>,
    pub(super) to_do: Vec<Task>,
    pub(super) findings: Vec<Finding>,
    /// Detections that are not listed.
    pub(super) more: u32,
    pub(super) who: Vec<Row>,
    pub(super) links: Vec<Link>,
    pub(super) hints: Vec<String>,
    /// The command that tells all that is known of the gravest finding.
    pub(super) explain: Option<String>,
    pub(super) incident_id: String,
}

/// Why one rule fired.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Finding {
    pub(super) rule: String,
    pub(super) severity: &'static str,
    pub(super) time: String,
    pub(super) summary: String,
    pub(super) description: String,
    pub(super) facts: Vec<Row>,
    pub(super) tables: Vec<Table>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Table {
    pub(super) title: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) url: String,
}

/// Members of the evidence that are two sides of one thing.
const SIDES: [(&str, &str); 8] = [
    ("there", "here"),
    ("owner", "thief"),
    ("own_branch", "foreign_branch"),
    ("before", "presenter"),
    ("from", "to"),
    ("known", "new"),
    ("before", "after"),
    ("first", "second"),
];

impl Report {
    pub(super) fn of(notification: &Notification, asked: &Asked) -> Self {
        let incident = &notification.incident;
        let standing = Standing::of(&notification.actions, notification.specimen);
        let mut gravest_first: Vec<&Detection> = notification.detections.iter().collect();
        // Stable: of equally grave ones the first is still the first.
        gravest_first.sort_by_key(|detection| std::cmp::Reverse(detection.severity));
        let listed = gravest_first.iter().map(|d| finding(d, notification));
        let mut findings: Vec<Finding> = listed.take(limits::NOTIFICATION_DETECTIONS_MAX).collect();
        let meaning = findings
            .first()
            .map_or_else(String::new, |gravest| gravest.description.clone());
        say_once(&mut findings);
        let shown = u32::try_from(findings.len()).unwrap_or(u32::MAX);
        Self {
            standing,
            state: standing.as_str(),
            severity: incident.severity.as_str(),
            is_specimen: notification.specimen,
            remarks: remarks(notification),
            headline: headline(notification, asked),
            meaning,
            done: done(notification),
            to_do: tasks::to_do(notification, asked, standing),
            more: incident.detections.saturating_sub(shown),
            findings,
            who: who(notification, asked),
            links: runbooks(notification),
            hints: hints(notification),
            explain: gravest_first
                .first()
                .filter(|_| !notification.specimen)
                .and_then(|gravest| word(&gravest.id))
                .map(|id| format!("tokenwarden explain -c tokenwarden.yaml --detection {id}")),
            incident_id: clean::value(&incident.id),
        }
    }
}

impl Link {
    pub(super) fn new(name: &str, url: &str) -> Self {
        Self {
            name: clean::value(name),
            url: clean::line(url),
        }
    }
}

impl Row {
    fn new(name: &str, value: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: clean::value(value),
        }
    }
}

pub(super) fn is_web_address(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

fn remarks(notification: &Notification) -> Vec<String> {
    let remarks = notification.remarks.iter();
    remarks.map(|it| clean::paragraph(&it.sentence())).collect()
}

fn done(notification: &Notification) -> Vec<String> {
    let mut deeds: Vec<String> = Vec::new();
    let records = notification.actions.iter();
    for record in records.filter(|record| record.action.kind.is_deed()) {
        let deed = words::deed(record);
        // Two rules may have asked for the same.
        if !deeds.contains(&deed) {
            deeds.push(deed);
        }
    }
    if deeds.is_empty() {
        return vec!["Nothing was ended: the rules ask only that you know.".to_owned()];
    }
    deeds
}

fn finding(detection: &Detection, notification: &Notification) -> Finding {
    let note = notification
        .rules
        .iter()
        .find(|note| note.rule == detection.rule);
    let (facts, tables) = evidence(&detection.evidence);
    Finding {
        rule: clean::value(&detection.rule),
        severity: detection.severity.as_str(),
        time: words::moment(detection.time),
        // The headline has said it already.
        summary: if detection.summary == notification.incident.summary {
            String::new()
        } else {
            clean::value(&detection.summary)
        },
        description: note.map_or_else(String::new, |note| clean::paragraph(&note.description)),
        facts,
        tables,
    }
}

/// What one rule means is said once, at its first finding; of the gravest it stands above.
fn say_once(findings: &mut [Finding]) {
    let mut said: Vec<String> = Vec::new();
    for (n, finding) in findings.iter_mut().enumerate() {
        if n == 0 || said.contains(&finding.rule) {
            finding.description.clear();
        }
        said.push(finding.rule.clone());
    }
}

/// Who and what, in one line: the same for the whole life of an incident, as long as the server tells the user's name.
fn headline(notification: &Notification, asked: &Asked) -> String {
    let incident = &notification.incident;
    let summary = clean::value(&incident.summary);
    // Of a client or network the summary says which; a family's id nobody knows by heart.
    let user = match &incident.subject {
        Subject::User(_) => {
            let named = asked.user_name.as_deref();
            named.or(incident.user_id.as_deref())
        }
        _ => None,
    };
    match user.map(clean::value) {
        Some(user) if !summary.contains(&user) => format!("user {user}: {summary}"),
        _ => summary,
    }
}

/// Two sides become columns beside each other, lists of objects tables, everything else `name: value`.
fn evidence(evidence: &Evidence) -> (Vec<Row>, Vec<Table>) {
    let mut facts = Vec::new();
    let mut tables = Vec::new();
    for (name, value) in &evidence.0 {
        if let Some((left, right)) = SIDES
            .iter()
            .find(|(left, right)| **left == **name || **right == **name)
            && let (Some(one), Some(other)) = (
                evidence.get(left).and_then(single),
                evidence.get(right).and_then(single),
            )
        {
            if **name == **left {
                tables.push(side_by_side(left, one, right, other));
            }
            continue;
        }
        match value {
            // The same as the limit, which also knows what is usual.
            over if **name == *"over" && evidence.get("limit") == Some(over) => {}
            Value::Map(map) => tables.push(side(name, map)),
            Value::List(list) if list.iter().any(|row| matches!(row, Value::Map(_))) => {
                tables.push(listing(name, list));
            }
            value => {
                let (name, value) = words::member(name, value);
                facts.push(Row { name, value });
            }
        }
    }
    (facts, tables)
}

/// One side alone.
fn side(name: &str, map: &Evidence) -> Table {
    let members = map.0.iter().take(limits::MAIL_ROWS_MAX);
    let row = |(name, value): &(Text, Value)| {
        let (name, value) = words::member(name, value);
        vec![name, value]
    };
    Table {
        title: String::new(),
        head: vec![String::new(), words::label(name)],
        rows: members.map(row).collect(),
    }
}

/// One object, or a list of one.
fn single(value: &Value) -> Option<&Evidence> {
    match value {
        Value::Map(map) => Some(map),
        Value::List(list) if list.len() == 1 => list.first().and_then(single),
        _ => None,
    }
}

fn side_by_side(left: &str, one: &Evidence, right: &str, other: &Evidence) -> Table {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in one.0.iter().chain(&other.0) {
        if !names.contains(&&**name) {
            names.push(name);
        }
    }
    let cell = |side: &Evidence, name: &str| {
        side.get(name)
            .map_or_else(|| "-".to_owned(), |value| words::member(name, value).1)
    };
    let label = |name: &str| {
        let value = one.get(name).or_else(|| other.get(name));
        value.map_or_else(String::new, |value| words::member(name, value).0)
    };
    Table {
        title: String::new(),
        head: vec![String::new(), words::label(left), words::label(right)],
        rows: names
            .into_iter()
            .take(limits::MAIL_ROWS_MAX)
            .map(|name| vec![label(name), cell(one, name), cell(other, name)])
            .collect(),
    }
}

/// The last rows: what came just before matters most.
fn listing(name: &str, list: &[Value]) -> Table {
    let rows = list.iter().filter_map(|row| match row {
        Value::Map(map) => Some(map),
        _ => None,
    });
    let rows: Vec<&Evidence> = rows.collect();
    let left_out = rows.len().saturating_sub(limits::MAIL_ROWS_MAX);
    let rows = rows.get(left_out..).unwrap_or_default();
    let names = columns(rows);
    let mut title = words::label(name);
    if left_out > 0 {
        title = format!("{title} (the last {}, {left_out} before)", rows.len());
    }
    let cell = |row: &Evidence, name: &str| {
        row.get(name)
            .map_or_else(String::new, |value| words::member(name, value).1)
    };
    Table {
        title,
        head: names.iter().map(|name| words::label(name)).collect(),
        rows: rows
            .iter()
            .map(|row| names.iter().map(|name| cell(row, name)).collect())
            .collect(),
    }
}

/// The members of all rows, each after the one that it follows in a row. Rows name rules: ids of detections help nobody.
fn columns<'a>(rows: &[&'a Evidence]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        let mut after = 0;
        for (name, _) in row.0.iter().filter(|(name, _)| **name != *"detection_id") {
            if let Some(at) = names.iter().position(|known| **known == **name) {
                after = at + 1;
            } else {
                names.insert(after, name);
                after += 1;
            }
        }
    }
    names
}

fn who(notification: &Notification, asked: &Asked) -> Vec<Row> {
    let target = &notification.action.target;
    let incident = &notification.incident;
    let mut rows = Vec::new();
    let user = target.user_id.as_deref().or(incident.user_id.as_deref());
    match (&asked.user_name, user) {
        (Some(name), Some(id)) if name != id => {
            rows.push(Row::new("user", &format!("{name} ({id})")));
        }
        (_, Some(id)) => rows.push(Row::new("user", id)),
        (_, None) if matches!(incident.subject, Subject::Family(_)) => rows.push(Row::new(
            "user",
            "not known: the server did not say whose token it was",
        )),
        // Of a client or network no one user is meant.
        (_, None) => {}
    }
    let last = notification.detections.last();
    let address = last.and_then(|d| d.ip_address).map(|ip| ip.to_string());
    for (name, value) in [
        (
            "client",
            target
                .client_id
                .as_deref()
                .or(incident.client_id.as_deref()),
        ),
        ("address", address.as_deref()),
        ("tenant", target.tenant.as_deref()),
        ("server", Some(&*target.issuer)),
        ("session", target.session_id.as_deref()),
        ("family", target.family_id.as_deref()),
    ] {
        if let Some(value) = value {
            rows.push(Row::new(name, value));
        }
    }
    rows
}

fn runbooks(notification: &Notification) -> Vec<Link> {
    let mut links = Vec::new();
    for note in &notification.rules {
        if let Some(url) = note.runbook.as_deref().filter(|url| is_web_address(url)) {
            links.push(Link::new(&format!("Runbook of {}", note.rule), url));
        }
    }
    links
}

fn hints(notification: &Notification) -> Vec<String> {
    let target = &notification.action.target;
    let Some(rule) = word(&notification.action.rule) else {
        return Vec::new();
    };
    let mut hints = Vec::new();
    if let Some(client) = target.client_id.as_deref().and_then(word) {
        hints.push(format!(
            "To be told nothing of it for 8 hours: {}",
            tasks::command(&format!(
                "silences add --rule {rule} --client {client} --for 8h"
            ))
        ));
        hints.push(format!(
            "If this is normal for client {client}: clients: {{ {client}: {{ exempt_from: [{rule}] }} }}"
        ));
    }
    hints.push(format!(
        "To watch this rule without mails: overrides: {{ {rule}: {{ mode: observe }} }}"
    ));
    hints
}
