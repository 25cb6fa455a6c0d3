//! Tells a channel about an incident through an incoming webhook of Slack, in blocks.
//!
//! A webhook does not tell which message it has made, so messages of one incident are no thread there: each names the
//! incident. Values from outside are escaped (`&`, `<`, `>`: no mention, no link), and cut to what Slack takes, since it
//! refuses a message as a whole.

use std::fmt::Write as _;

use futures_util::future::BoxFuture;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use crate::config;
use crate::model::{Bulletin, Evidence, Text, limits};

use super::client::{Client, secret_address};
use super::email::bulletin::letter;
use super::email::letter::{Letter, Section};
use super::email::render::write_table;
use super::links::Links;
use super::report::{Report, Table};
use super::{Attempt, Finding, Notification, Notifier, Surroundings};

/// What Slack answers to a message that it has taken.
const TAKEN: &str = "ok";

pub(super) struct Slack {
    name: Text,
    url: Url,
    links: Links,
    client: Client,
    surroundings: Surroundings,
}

impl Slack {
    pub(super) fn new(
        receiver: &config::Receiver,
        settings: &config::SlackReceiver,
        surroundings: Surroundings,
    ) -> Result<Self, String> {
        Ok(Self {
            name: receiver.name.clone(),
            url: secret_address(&settings.url)?,
            links: Links::new(&settings.links)?,
            client: Client::new(settings.timeout, settings.ca_file.as_deref())?,
            surroundings,
        })
    }

    async fn send(&self, notification: &Notification) -> Attempt {
        let asked = self.surroundings.ask(notification).await;
        let mut report = Report::of(notification, &asked);
        report.links.extend(self.links.of(notification));
        self.post(&message(&report)).await
    }

    async fn post(&self, message: &Value) -> Attempt {
        let request = self.client.request(Method::POST, self.url.clone());
        let answer = match self.client.send(request.json(message)).await {
            Ok(answer) => answer,
            Err(attempt) => return attempt,
        };
        let what = format!("slack {}", self.name);
        if !answer.succeeded() {
            return answer.failure(&what);
        }
        // A page that says 200 to everything has told nobody.
        if answer.body.trim() != TAKEN {
            return answer.refusal(&format!("{what}: expected the answer `{TAKEN}`"));
        }
        Attempt::Done {
            detail: format!("{} has taken it", answer.host).into(),
            evidence: Evidence::new().with("status", i64::from(answer.status)),
        }
    }
}

impl Notifier for Slack {
    fn name(&self) -> &Text {
        &self.name
    }

    fn notify<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt> {
        Box::pin(self.send(notification))
    }

    fn announce<'a>(&'a self, bulletin: &'a Bulletin) -> BoxFuture<'a, Attempt> {
        Box::pin(async move { self.post(&of_letter(&letter(bulletin))).await })
    }

    fn inspect(&self) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(self.client.inspect(&self.url, self.surroundings.now))
    }
}

fn message(report: &Report) -> Value {
    let first = format!("{}, {}: {}", report.state, report.severity, report.headline);
    let mut blocks = Vec::new();
    if report.is_specimen {
        blocks.push(section("This is a specimen: nobody's token was stolen."));
    }
    for remark in &report.remarks {
        blocks.push(section(&format!("_{}_", escaped(remark))));
    }
    let mut head = format!(
        "*{}*, {}\n*{}*",
        report.state,
        report.severity,
        escaped(&report.headline)
    );
    if !report.meaning.is_empty() {
        write!(head, "\n{}", escaped(&report.meaning)).expect("a String takes everything");
    }
    blocks.push(section(&head));
    blocks.push(section(&listed("What has been done", &report.done)));
    blocks.push(section(&to_do(report)));
    blocks.extend(why(report));
    blocks.push(who(report));
    blocks.push(footer(report));
    json!({ "text": cut(&escaped(&first), limits::SLACK_SECTION_CHARS_MAX), "blocks": blocks })
}

fn listed(title: &str, lines: &[String]) -> String {
    let lines = lines.iter().map(|line| format!("\n• {}", escaped(line)));
    format!("*{title}*{}", lines.collect::<String>())
}

fn to_do(report: &Report) -> String {
    let tasks = report.to_do.iter().map(|task| {
        let command = task.command.as_deref().map(fenced).unwrap_or_default();
        format!("\n• {}{command}", escaped(&task.text))
    });
    format!("*What to do now*{}", tasks.collect::<String>())
}

/// The gravest finding; the mail and the API have all of them.
fn why(report: &Report) -> Vec<Value> {
    let Some(finding) = report.findings.first() else {
        return Vec::new();
    };
    let mut text = format!(
        "*Why*: {} ({}) at {}",
        escaped(&finding.rule),
        finding.severity,
        finding.time
    );
    for fact in &finding.facts {
        write!(text, "\n{}: {}", escaped(&fact.name), escaped(&fact.value))
            .expect("a String takes everything");
    }
    let others = report.findings.len() - 1 + usize::try_from(report.more).unwrap_or(usize::MAX);
    if others > 0 {
        write!(text, "\n... and {others} more detections.").expect("a String takes everything");
    }
    let tables = finding.tables.iter().map(|it| section(&table(it)));
    std::iter::once(section(&text)).chain(tables).collect()
}

fn table(table: &Table) -> String {
    let mut aligned = String::new();
    write_table(&mut aligned, table);
    fenced(aligned.trim_matches('\n'))
}

fn who(report: &Report) -> Value {
    let field = |name: &str, value: &str| {
        let text = format!("*{}*\n{}", escaped(name), escaped(value));
        mrkdwn(&cut(&text, limits::SLACK_FIELD_CHARS_MAX))
    };
    let rows = report.who.iter().take(limits::SLACK_FIELDS_MAX);
    let fields: Vec<Value> = rows.map(|row| field(&row.name, &row.value)).collect();
    json!({ "type": "section", "fields": fields })
}

fn footer(report: &Report) -> Value {
    let mut lines = vec![format!("Incident {}", escaped(&report.incident_id))];
    // In a link the bar ends the address.
    lines.extend(report.links.iter().map(|link| {
        let url = escaped(&link.url).replace('|', "%7C");
        format!("<{url}|{}>", escaped(&link.name))
    }));
    if let Some(command) = &report.explain {
        lines.push(format!("All that is known: `{}`", plain(command)));
    }
    let text = cut(&lines.join("\n"), limits::SLACK_FIELD_CHARS_MAX);
    json!({ "type": "context", "elements": [mrkdwn(&text)] })
}

fn of_letter(letter: &Letter) -> Value {
    let first = format!("{}: {}", letter.state, letter.headline);
    let head = format!(
        "*{}*: *{}*\n{}",
        letter.state,
        escaped(&letter.headline),
        escaped(&letter.lead)
    );
    let sections = letter.sections.iter().map(|it| section(&of_section(it)));
    let closing = json!({ "type": "context", "elements": [mrkdwn(&escaped(&letter.closing))] });
    let blocks: Vec<Value> = (std::iter::once(section(&head)).chain(sections))
        .chain([closing])
        .collect();
    json!({ "text": cut(&escaped(&first), limits::SLACK_SECTION_CHARS_MAX), "blocks": blocks })
}

fn of_section(section: &Section) -> String {
    let mut text = format!("*{}*", section.title);
    if let Some(rows) = &section.table {
        text += &table(rows);
    }
    for item in &section.items {
        write!(text, "\n• {}", escaped(&item.text)).expect("a String takes everything");
        for detail in &item.details {
            write!(text, "\n      {}", escaped(detail)).expect("a String takes everything");
        }
    }
    text
}

fn section(text: &str) -> Value {
    let text = cut(text.trim_start(), limits::SLACK_SECTION_CHARS_MAX);
    json!({ "type": "section", "text": mrkdwn(&text) })
}

/// `verbatim`: nothing in it becomes a link or a mention by itself.
fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

/// As text between signs of ours: no markup, no mention, no end of a code block.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    plain(&text.replace('<', "&lt;").replace('>', "&gt;"))
}

/// Nothing can be escaped in code; a quotation mark that is none does no harm.
fn plain(text: &str) -> String {
    text.replace('`', "'")
}

/// A block of code that stays one when it has to be cut.
fn fenced(text: &str) -> String {
    let room = limits::SLACK_FIELD_CHARS_MAX;
    format!("\n```{}```", cut(&escaped(text), room))
}

/// Never in the middle of an escape.
fn cut(text: &str, chars_max: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(chars_max) else {
        return text.to_owned();
    };
    let shortened = text
        .char_indices()
        .nth(chars_max - 1)
        .map_or(end, |it| it.0);
    let kept = text.get(..shortened).unwrap_or_default();
    let kept = match kept.rsplit_once('&') {
        Some((before, escape)) if !escape.contains(';') => before,
        _ => kept,
    };
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_cut_in_the_middle_of_an_escape() {
        assert_eq!(cut("ab&lt;cd", 8), "ab&lt;cd");
        assert_eq!(cut("ab&lt;cd", 7), "ab&lt;…");
        assert_eq!(cut("ab&lt;cd", 5), "ab…");
        assert_eq!(cut("äöü", 2), "ä…");
    }

    #[test]
    fn a_block_of_code_that_is_too_long_ends_all_the_same() {
        let text = fenced(&"`x<".repeat(5000));
        assert!(text.ends_with("…```") && text.matches("```").count() == 2);
        assert!(text.chars().count() < limits::SLACK_SECTION_CHARS_MAX);
    }
}
