//! `tokenwarden explain`: why each rule fired or did not, for an event, a family or a detection.
//!
//! From a recording everything can be told: the rules are asked again, with their reasons. Without one there is what the daemon
//! stored: the evidence of what fired and what was decided about it, not why other rules were silent; and where there is an
//! event archive, what the family did.

mod archived;
mod json;
mod stored;
mod text;

use std::path::PathBuf;

use clap::Args;

use super::replay::{Aside, Form, Records};
use super::{Exit, Terminal};
use crate::app::parts;
use crate::app::replay::Replay;
use crate::app::replay::explain::Asked;
use crate::config::Config;
use crate::model::Text;

/// Say why each rule fired or did not, for an event, a family or a detection.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    asked: What,
    /// Recorded events to explain it from (plain, gzip or zstd); without it, what the daemon stored.
    #[arg(long, value_name = "LOG", num_args = 1..)]
    replay: Vec<PathBuf>,
    #[command(flatten)]
    records: Records,
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Id of a detection: the event that completed it is explained.
    #[arg(long, value_name = "ID")]
    detection: Option<String>,
    /// Id of a family, or of any of its tokens: its last event is explained.
    #[arg(long, value_name = "ID")]
    family: Option<String>,
    /// Id of an event.
    #[arg(long, value_name = "ID")]
    event: Option<String>,
}

impl What {
    fn asked(&self) -> Asked {
        let text = |id: &Option<String>| -> Option<Text> { id.as_deref().map(Into::into) };
        text(&self.detection)
            .map(Asked::Detection)
            .or_else(|| text(&self.family).map(Asked::Family))
            .unwrap_or_else(|| Asked::Event(text(&self.event).unwrap_or_else(|| "".into())))
    }
}

pub(super) fn run(args: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(faults) => return super::report(&faults, terminal),
    };
    let asked = args.asked.asked();
    if args.replay.is_empty() {
        return stored::explain(&config, &asked, args.output, terminal);
    }
    let rules = match parts::rule_set(&config, args.records.rules.as_ref()) {
        Ok(rules) => rules,
        Err(faults) => return super::report(&faults, terminal),
    };
    let (source, decoder) = match args.records.decoder(&args.replay, &config) {
        Ok(form) => form,
        Err(why) => return unusable(&why, terminal),
    };
    if args.replay.iter().any(|file| file.as_os_str() == "-") {
        let why = "standard input can be read once only, and an explanation reads twice: write it to a file first";
        return unusable(why, terminal);
    }
    let replay = Replay {
        config: &config,
        rules,
        files: args.replay.clone(),
        decoder,
        source,
    };
    let aside = Aside::new(replay.total_bytes(), terminal.err);
    let explanation = replay.explain(&asked, &mut |bytes, events| aside.progress(bytes, events))?;
    aside.finish()?;
    let Some(explanation) = explanation else {
        writeln!(
            terminal.err,
            "tokenwarden: the recording holds no such {}",
            name(&asked)
        )?;
        return Ok(Exit::Negative);
    };
    match args.output {
        Form::Text => text::print(&explanation, terminal.out)?,
        Form::Json => json::print(&explanation, terminal.out)?,
    }
    Ok(Exit::Success)
}

fn unusable(why: &str, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    writeln!(terminal.err, "tokenwarden: {why}")?;
    Ok(Exit::Unusable)
}

fn name(asked: &Asked) -> String {
    match asked {
        Asked::Event(id) => format!("event: {}", super::clean(id)),
        Asked::Detection(id) => format!("detection: {}", super::clean(id)),
        Asked::Family(id) => format!("family: {}", super::clean(id)),
    }
}
