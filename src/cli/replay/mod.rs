//! `tokenwarden replay`: what would have fired over a recorded log, and what would have been done.
//!
//! What is printed is one file each: everything (`print`), what differs under other rules (`diff`), or what is asked
//! before anything is enforced (`figures`). They share how a detection is shown (`shown`), and what goes to standard error
//! meanwhile (`aside`).

mod aside;
mod diff;
mod figures;
mod print;
mod shown;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::{Exit, Terminal, clean};
use crate::app::parts;
use crate::app::replay::{Replay, replay_key};
use crate::config::Config;
use crate::decode::Decoder;
use crate::model::Text;
use crate::rules::RuleSet;
pub(super) use aside::Aside;

/// Run recorded events through decode, engine and response policy, in event time; performs nothing.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    records: Records,
    /// Other rules (a file or a folder) to compare with: prints which detections and actions would appear, vanish or change.
    #[arg(long, value_name = "DIR")]
    diff: Option<PathBuf>,
    /// Print what to know before anything is enforced in place of each detection: detections and pages per day, families that
    /// would be revoked, who stands out, blind rules, what to declare.
    #[arg(long, conflicts_with = "diff")]
    summary: bool,
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
    /// Exit 1 when something of severity low or above fired.
    #[arg(long)]
    fail_on_detection: bool,
    /// Recorded events: lines of JSON or of a log, or one JSON array; plain, gzip or zstd; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// How recorded events are read, and by which rules they are judged.
#[derive(Debug, Args)]
pub(super) struct Records {
    /// Rules to use in place of those the configuration names: a file or a folder.
    #[arg(long, value_name = "DIR")]
    pub(super) rules: Option<PathBuf>,
    /// Form of the records: tokenwarden, keycloak, auth0, or the mapping of a source in the configuration.
    #[arg(long, value_name = "NAME")]
    format: Option<String>,
    /// Zone of log lines that name none (IANA name, e.g. Europe/Berlin); UTC unless given.
    #[arg(long, value_name = "TZ")]
    timezone: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    Text,
    Json,
}

pub(super) fn run(args: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(faults) => return super::report(&faults, terminal),
    };
    let (rules, other) = match (
        parts::rule_set(&config, args.records.rules.as_ref()),
        diff_rules(args, &config),
    ) {
        (Ok(rules), Ok(other)) => (rules, other),
        (Err(faults), _) | (_, Err(faults)) => return super::report(&faults, terminal),
    };
    let (source, decoder) = match args.records.decoder(&args.files, &config) {
        Ok(form) => form,
        Err(why) => {
            writeln!(terminal.err, "tokenwarden: {why}")?;
            return Ok(Exit::Unusable);
        }
    };
    let replay = Replay {
        config: &config,
        rules,
        files: args.files.clone(),
        decoder,
        source,
    };
    let aside = Aside::new(replay.total_bytes(), terminal.err);
    let fired = match other {
        Some(other) => diff::print(&replay, &other, args.output, terminal.out, aside)?,
        None if args.summary => figures::print(&replay, args.output, terminal.out, aside)?,
        None => print::print(&replay, args.output, terminal.out, aside)?,
    };
    Ok(if fired && args.fail_on_detection {
        Exit::Negative
    } else {
        Exit::Success
    })
}

fn diff_rules(
    args: &Arguments,
    config: &Config,
) -> Result<Option<RuleSet>, Vec<crate::yaml::Fault>> {
    args.diff
        .as_ref()
        .map(|folder| parts::rule_set(config, Some(folder)))
        .transpose()
}

impl Records {
    /// Which decoder reads the files: the one named, else that of the configuration's only source, else the canonical one.
    pub(super) fn decoder(
        &self,
        files: &[PathBuf],
        config: &Config,
    ) -> Result<(Text, Arc<dyn Decoder>), String> {
        let timezone: Option<Text> = self.timezone.as_deref().map(Into::into);
        if files.iter().filter(|file| file.as_os_str() == "-").count() > 1 {
            return Err("`-` (standard input) can be read once only".to_owned());
        }
        let with_mapping = |wanted: Option<&str>| {
            config.sources.iter().find(|source| match wanted {
                Some("mapping") => {
                    matches!(source.decode.format, crate::config::Format::Mapping(_))
                }
                Some(_) => false,
                None => config.sources.len() == 1,
            })
        };
        if let Some(source) = with_mapping(self.format.as_deref()) {
            let mut decode = source.decode.clone();
            decode.timezone = timezone.or(decode.timezone);
            return parts::decoder(&decode, &replay_key(), None)
                .map(|decoder| (source.name.clone(), decoder));
        }
        let format = self.format.as_deref().unwrap_or("tokenwarden");
        parts::named_decoder(format, timezone, replay_key())
            .map(|decoder| ("replay".into(), decoder))
    }
}
