//! `tokenwarden replay`: what would have fired over a recorded log, and what would have been done.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{Exit, Terminal, clean};
use crate::app::parts;
use crate::app::replay::{Listener, Replay, Summary, replay_key};
use crate::config::Config;
use crate::decode::Decoder;
use crate::model::{Action, Detection, Output, Reject, Severity, Text};
use crate::rules::RuleSet;

/// Run recorded events through decode, engine and response policy, in event time; performs nothing.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Rules to use in place of those the configuration names: a file or a folder.
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Form of the records: tokenwarden, keycloak, auth0, or the mapping of a source in the configuration.
    #[arg(long, value_name = "NAME")]
    format: Option<String>,
    /// Other rules to compare with: prints which detections would appear and which disappear.
    #[arg(long, value_name = "DIR")]
    diff: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
    /// Zone of log lines that name none (IANA name, e.g. Europe/Berlin); UTC unless given.
    #[arg(long, value_name = "TZ")]
    timezone: Option<String>,
    /// Exit 1 when something of severity low or above fired.
    #[arg(long)]
    fail_on_detection: bool,
    /// Recorded events: lines of JSON or of a log, or one JSON array; plain, gzip or zstd; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
}

/// Rejected records shown one by one; the rest is counted.
const REJECTS_SHOWN: u64 = 10;

pub(super) fn run(args: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(faults) => return super::report(&faults, terminal),
    };
    let (rules, other) = match (
        parts::rule_set(&config, args.rules.as_ref()),
        diff_rules(args, &config),
    ) {
        (Ok(rules), Ok(other)) => (rules, other),
        (Err(faults), _) | (_, Err(faults)) => return super::report(&faults, terminal),
    };
    let (source, decoder) = match form(args, &config) {
        Ok(form) => form,
        Err(why) => {
            writeln!(terminal.err, "tokenwarden: {why}")?;
            return Ok(Exit::Unusable);
        }
    };
    let replay = |rules: RuleSet| Replay {
        config: &config,
        rules,
        files: args.files.clone(),
        decoder: Arc::clone(&decoder),
        source: source.clone(),
    };
    let Terminal { out, err } = terminal;
    let fired = match other {
        Some(other) => compare(&replay(rules), &replay(other), args.output, *out, *err)?,
        None => print(&replay(rules), args.output, *out, *err)?,
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

/// Which decoder reads the files: the one named, else that of the configuration's only source, else the canonical one.
fn form(args: &Arguments, config: &Config) -> Result<(Text, Arc<dyn Decoder>), String> {
    let timezone: Option<Text> = args.timezone.as_deref().map(Into::into);
    if args
        .files
        .iter()
        .filter(|file| file.as_os_str() == "-")
        .count()
        > 1
    {
        return Err("`-` (standard input) can be read once only".to_owned());
    }
    let with_mapping = |wanted: Option<&str>| {
        config.sources.iter().find(|source| match wanted {
            Some("mapping") => matches!(source.decode.format, crate::config::Format::Mapping(_)),
            Some(_) => false,
            None => config.sources.len() == 1,
        })
    };
    if let Some(source) = with_mapping(args.format.as_deref()) {
        let mut decode = source.decode.clone();
        decode.timezone = timezone.or(decode.timezone);
        return parts::decoder(&decode, &replay_key(), None)
            .map(|decoder| (source.name.clone(), decoder));
    }
    let format = args.format.as_deref().unwrap_or("tokenwarden");
    parts::named_decoder(format, timezone, replay_key()).map(|decoder| ("replay".into(), decoder))
}

fn print(
    replay: &Replay<'_>,
    form: Form,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<bool> {
    let mut printer = Printer {
        form,
        out,
        err,
        bar: bar(replay.total_bytes()),
        fired: false,
        rejects: 0,
    };
    let summary = replay.run(&mut printer)?;
    printer.finish(&summary)
}

struct Printer<'a> {
    form: Form,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    bar: ProgressBar,
    fired: bool,
    rejects: u64,
}

impl Listener for Printer<'_> {
    fn output(&mut self, output: &Output) -> anyhow::Result<()> {
        for detection in &output.detections {
            self.fired |= detection.severity >= Severity::Low;
            self.line(&detection_line(detection), || detection_text(detection))?;
            for action in output
                .actions
                .iter()
                .filter(|a| a.detection_ids.first() == Some(&detection.id))
            {
                self.line(&action_line(action), || action_text(action))?;
            }
        }
        Ok(())
    }

    fn rejected(&mut self, reject: &Reject) -> anyhow::Result<()> {
        self.rejects += 1;
        if self.rejects <= REJECTS_SHOWN {
            writeln!(
                self.err,
                "{}:{}: rejected ({}): {}",
                reject.partition, reject.place, reject.reason, reject.message
            )?;
        }
        Ok(())
    }

    fn progress(&mut self, bytes: u64) {
        self.bar.set_position(bytes);
    }
}

impl Printer<'_> {
    fn line(
        &mut self,
        json: &serde_json::Value,
        text: impl FnOnce() -> String,
    ) -> std::io::Result<()> {
        match self.form {
            Form::Json => writeln!(self.out, "{json}"),
            Form::Text => writeln!(self.out, "{}", text()),
        }
    }

    fn finish(mut self, summary: &Summary) -> anyhow::Result<bool> {
        self.bar.finish_and_clear();
        if self.rejects > REJECTS_SHOWN {
            writeln!(
                self.err,
                "and {} more records were rejected",
                self.rejects - REJECTS_SHOWN
            )?;
        }
        self.line(&summary_line(summary), || summary_text(summary))?;
        self.out
            .flush()
            .context("standard output cannot be written")?;
        Ok(self.fired)
    }
}

/// Replays twice and prints the detections of one side only.
fn compare(
    now: &Replay<'_>,
    other: &Replay<'_>,
    form: Form,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<bool> {
    let (now, other) = (collect(now, err)?, collect(other, err)?);
    let gone = now
        .iter()
        .filter(|(id, _)| !other.contains_key(*id))
        .map(|(_, d)| ("disappears", d));
    let new = other
        .iter()
        .filter(|(id, _)| !now.contains_key(*id))
        .map(|(_, d)| ("appears", d));
    let mut changes: Vec<(&str, &Detection)> = gone.chain(new).collect();
    changes.sort_by(|(_, a), (_, b)| (a.time, &a.id).cmp(&(b.time, &b.id)));
    for (change, detection) in &changes {
        match form {
            Form::Json => writeln!(
                out,
                "{}",
                json!({"type": "diff", "change": change, "detection": detection_json(detection)})
            )?,
            Form::Text => writeln!(out, "{change:<11} {}", detection_text(detection))?,
        }
    }
    let unchanged = now.keys().filter(|id| other.contains_key(*id)).count();
    match form {
        Form::Json => writeln!(
            out,
            "{}",
            json!({"type": "diff_summary", "changed": changes.len(), "unchanged": unchanged})
        )?,
        Form::Text => writeln!(out, "{} detections change, {unchanged} stay", changes.len())?,
    }
    Ok(!other.is_empty())
}

fn collect(replay: &Replay<'_>, err: &mut dyn Write) -> anyhow::Result<BTreeMap<Text, Detection>> {
    struct Collector<'a>(BTreeMap<Text, Detection>, &'a mut dyn Write);
    impl Listener for Collector<'_> {
        fn output(&mut self, output: &Output) -> anyhow::Result<()> {
            self.0
                .extend(output.detections.iter().map(|d| (d.id.clone(), d.clone())));
            Ok(())
        }

        fn rejected(&mut self, reject: &Reject) -> anyhow::Result<()> {
            Ok(writeln!(
                self.1,
                "{}:{}: rejected: {}",
                reject.partition, reject.place, reject.message
            )?)
        }

        fn progress(&mut self, _: u64) {}
    }
    let mut collector = Collector(BTreeMap::new(), err);
    replay.run(&mut collector)?;
    Ok(collector.0)
}

fn bar(bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() || bytes == 0 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn detection_line(detection: &Detection) -> serde_json::Value {
    let mut line = detection_json(detection);
    line["type"] = json!("detection");
    line
}

fn detection_json(d: &Detection) -> serde_json::Value {
    json!({
        "type": null, "id": d.id, "rule": d.rule, "kind": d.kind, "severity": d.severity, "time": d.time.to_string(),
        "event_id": d.event_id, "issuer": d.issuer, "tenant": d.tenant, "user_id": d.user_id, "client_id": d.client_id,
        "family_id": d.family_id, "session_id": d.session_id, "ip_address": d.ip_address.map(|ip| ip.to_string()),
        "summary": d.summary, "evidence": d.evidence,
    })
}

fn action_line(a: &Action) -> serde_json::Value {
    let t = &a.target;
    json!({
        "type": "action", "id": a.id, "action": a.kind,
        "target": {"family_id": t.family_id, "user_id": t.user_id, "client_id": t.client_id, "session_id": t.session_id, "tenant": t.tenant},
        "detection_ids": a.detection_ids, "incident_id": a.incident_id, "rule": a.rule, "decision": a.decision, "reason": a.reason,
    })
}

fn summary_line(s: &Summary) -> serde_json::Value {
    let [execute, observe, hold, suppress] = s.actions;
    json!({
        "type": "summary", "events": s.events, "rejected": s.rejected, "duplicates": s.duplicates, "late": s.late,
        "detections": s.detections, "actions": {"execute": execute, "observe": observe, "hold": hold, "suppress": suppress},
    })
}

fn detection_text(d: &Detection) -> String {
    let whom = d
        .user_id
        .as_ref()
        .or(d.family_id.as_ref())
        .or(d.client_id.as_ref())
        .map_or("-", |t| t);
    format!(
        "{} {:<8} {:<20} {} {}",
        d.time,
        d.severity.as_str(),
        d.rule,
        clean(whom),
        clean(&d.summary)
    )
}

fn action_text(a: &Action) -> String {
    let whom = a
        .target
        .session_id
        .as_ref()
        .or(a.target.family_id.as_ref())
        .or(a.target.user_id.as_ref());
    format!(
        "  -> {:<14} {:<8} {} ({})",
        a.kind.as_str(),
        a.decision.as_str(),
        clean(whom.map_or("-", |t| t)),
        a.reason
    )
}

fn summary_text(s: &Summary) -> String {
    let [execute, observe, hold, suppress] = s.actions;
    format!(
        "{} events ({} rejected, {} repeats, {} late): {} detections; actions: {execute} execute, {observe} observe, {hold} hold, {suppress} suppress",
        s.events, s.rejected, s.duplicates, s.late, s.detections
    )
}
