//! What people ask and tell a running daemon: incidents, actions, silences, breakers, and revocations by hand.
//!
//! All of it goes through the daemon's API, under the name of a token, so that whatever is changed is known there with who
//! and why. Tables are for people; `--output json` prints one object a line for scripts.

pub(super) mod actions;
pub(super) mod breakers;
pub(super) mod incidents;
pub(super) mod revoke;
pub(super) mod silences;
mod table;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Exit, Terminal, clean};
use crate::app::remote::{Answer, Remote};

use table::Table;

/// Which daemon, as whom, and how to print.
#[derive(Debug, Args)]
struct Daemon {
    /// Address of the daemon's API
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9511")]
    api: String,
    /// File with your token, one of those under `http.api`
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Authority that signed the API's certificate, in PEM, beside the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Tables for people, or one JSON object a line
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Text,
    Json,
}

/// A change, with its reason.
#[derive(Debug, Args)]
struct Change {
    /// Its id
    id: String,
    /// Why: stands beside your name
    #[arg(long)]
    note: String,
    #[command(flatten)]
    daemon: Daemon,
}

/// One thing to be shown.
#[derive(Debug, Args)]
struct Show {
    /// Its id
    id: String,
    #[command(flatten)]
    daemon: Daemon,
}

/// What is asked: a path below `/api/v1`, and a body where something is changed.
struct Question<'a> {
    path: Vec<&'a str>,
    query: Vec<(&'a str, &'a str)>,
    body: Option<Value>,
}

impl<'a> Question<'a> {
    fn get(path: &[&'a str]) -> Self {
        Self {
            path: path.to_vec(),
            query: Vec::new(),
            body: None,
        }
    }

    fn post(path: &[&'a str], body: Value) -> Self {
        Self {
            body: Some(body),
            ..Self::get(path)
        }
    }

    /// With those members of the query that were given.
    fn with(mut self, query: &[(&'a str, Option<&'a str>)]) -> Self {
        let given = query
            .iter()
            .filter_map(|(name, value)| Some((*name, (*value)?)));
        self.query.extend(given);
        self
    }
}

impl Daemon {
    /// Asks, and gives the answer to `print`; what is missing or refused is told, and the exit code says so.
    fn ask(
        &self,
        question: &Question<'_>,
        terminal: &mut Terminal<'_>,
        print: impl FnOnce(&Value, &mut Terminal<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Exit> {
        let remote = Remote::new(
            &self.api,
            self.token_file.as_deref(),
            self.ca_file.as_deref(),
        )?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime to ask with")?;
        let answer = runtime.block_on(async {
            match &question.body {
                Some(body) => remote.post(&question.path, body).await,
                None => remote.get(&question.path, &question.query).await,
            }
        })?;
        match answer {
            Answer::Done(value) => {
                print(&value, terminal)?;
                Ok(Exit::Success)
            }
            Answer::Missing(why) => {
                writeln!(terminal.err, "{}", clean(&why))?;
                Ok(Exit::Negative)
            }
            Answer::Refused(why) => {
                writeln!(terminal.err, "{}", clean(&why))?;
                Ok(Exit::Unusable)
            }
        }
    }

    /// A list: one line each.
    fn list(
        &self,
        question: &Question<'_>,
        name: &str,
        terminal: &mut Terminal<'_>,
        table: fn(&[Value]) -> Table,
    ) -> anyhow::Result<Exit> {
        self.ask(question, terminal, |answer, terminal| {
            let items = answer[name].as_array().map_or(&[][..], Vec::as_slice);
            match self.output {
                Output::Json => {
                    for item in items {
                        writeln!(terminal.out, "{}", json_line(item))?;
                    }
                }
                Output::Text if items.is_empty() => writeln!(terminal.err, "none")?,
                Output::Text => write!(terminal.out, "{}", table(items))?,
            }
            if let Some(next) = answer["next"].as_i64() {
                writeln!(terminal.err, "there are more: --before {next}")?;
            }
            Ok(())
        })
    }

    /// One thing with all that is known of it.
    fn show(
        &self,
        question: &Question<'_>,
        terminal: &mut Terminal<'_>,
        text: fn(&Value) -> String,
    ) -> anyhow::Result<Exit> {
        self.ask(question, terminal, |answer, terminal| {
            match self.output {
                Output::Json => writeln!(terminal.out, "{}", json_line(answer))?,
                Output::Text => write!(terminal.out, "{}", text(answer))?,
            }
            Ok(())
        })
    }
}

impl Change {
    /// Makes the change and says that it is made.
    fn make(
        &self,
        path: &[&str],
        more: &[(&str, &str)],
        terminal: &mut Terminal<'_>,
    ) -> anyhow::Result<Exit> {
        let mut body = json!({ "note": self.note });
        for (name, value) in more {
            body[*name] = (*value).into();
        }
        let question = Question::post(path, body);
        self.daemon.show(&question, terminal, made)
    }
}

/// What the daemon says that it did, and what it proposes.
fn made(answer: &Value) -> String {
    let (done, id) = (text_of(&answer["done"]), text_of(&answer["id"]));
    let mut said = format!("{id}: {done}\n");
    if let Some(yaml) = answer["proposed_exception"]
        .as_str()
        .filter(|it| !it.is_empty())
    {
        said += "\nThis exception would have prevented it. Look at it before you put it into the configuration:\n\n";
        for line in yaml.lines() {
            said += &clean(line);
            said.push('\n');
        }
    }
    said
}

/// JSON escapes what controls a terminal below U+0020 only.
fn json_line(value: &Value) -> String {
    let escaped = |c: char| match c {
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    let escaped: Vec<String> = value.to_string().chars().map(escaped).collect();
    escaped.concat()
}

/// A value as a person reads it; nothing of it steers a terminal.
fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    }
}
