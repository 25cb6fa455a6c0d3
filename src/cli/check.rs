//! `check`: every fault of configuration and rules at once, or a summary of what was loaded.
//!
//! The rules are looked at even when the configuration has faults, as far as it could be read: who mends a file wants to
//! know all of it. What only `run` needs is a warning here, since `replay` is content with less.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::app::{blind, parts};
use crate::clock;
use crate::config::{
    Config, Format, Receiver, ReceiverKind, Revoker, RevokerKind, Source, SourceKind,
};
use crate::enrich::Tables;
use crate::model::{Mode, SHIPPED_RULES, span};
use crate::rules::{RULES_VERSION, Rule, RuleSet};
use crate::yaml::{Fault, Place};

use super::{Exit, Terminal};

/// Report every fault of configuration and rules with its place
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Ask every source, store, mail server and API too
    #[arg(long)]
    online: bool,
}

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let Examined {
        usable,
        faults,
        warnings,
    } = examine(&arguments.config);
    let Some((config, rules)) = usable else {
        for fault in faults.iter().chain(&warnings) {
            writeln!(terminal.out, "{fault}")?;
        }
        let place = arguments.config.display();
        writeln!(terminal.err, "{place}: {}", counted(faults.len(), "fault"))?;
        return Ok(Exit::Unusable);
    };
    let (tables, unusable) = parts::tables(&config);
    write_warnings(&config, &rules, unusable, terminal.out)?;
    write_summary(&config, &rules, &tables, terminal.out)?;
    if arguments.online {
        return super::online::run(&config, &rules, terminal);
    }
    Ok(Exit::Success)
}

/// What the files alone tell.
pub(super) struct Examined {
    /// Only where there is no fault.
    usable: Option<(Config, RuleSet)>,
    /// Of the configuration and of the rules, in the order of the files.
    pub(super) faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

/// Looks at the configuration, and at the rules as far as it says which.
pub(super) fn examine(path: &Path) -> Examined {
    let (config, mut faults) = Config::examine(path);
    faults.extend(config.iter().flat_map(parts::kafka_faults));
    faults.extend(config.iter().flat_map(parts::template_faults));
    let warnings = config.as_ref().map(|config| config.warnings.clone());
    // Which rules are meant, only the configuration tells; missing paths are among its faults already.
    let is_there = |path: &PathBuf| path.as_os_str() == SHIPPED_RULES || path.exists();
    let known = config.filter(|config| config.rules.iter().all(is_there));
    let loaded = known.and_then(|config| match parts::rule_set(&config, None) {
        Ok(rules) => {
            faults.extend(config.routes_to_nothing(&parts::rule_labels(&rules)));
            Some((config, rules))
        }
        Err(of_rules) => {
            faults.extend(of_rules);
            None
        }
    });
    // Those of the configuration itself come first.
    faults.sort_by_key(|fault| (*fault.place.file != *path, fault.place.clone()));
    Examined {
        usable: loaded.filter(|_| faults.is_empty()),
        faults,
        warnings: warnings.into_iter().flatten().map(as_warning).collect(),
    }
}

fn write_warnings(
    config: &Config,
    rules: &RuleSet,
    unusable: Vec<String>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let names: Vec<&str> = rules.rules.iter().map(|rule| &*rule.name).collect();
    let mut warnings = config.warnings.clone();
    warnings.extend(rules.warnings.clone());
    let expiring = rules.expiring(clock::now());
    warnings.extend(expiring.into_iter().map(|(_, warning)| warning));
    warnings.extend(config.exemptions_from_nothing(&names));
    warnings.extend(rules.too_slow_to_respond(config.response.act_within));
    warnings.extend(config.require_runnable());
    let start = Place::start_of(&config.path);
    // One that is not there has been told of already, at its line.
    let geoip = &config.geoip;
    let there = [&geoip.city, &geoip.asn, &geoip.anonymous_ip]
        .into_iter()
        .flatten()
        .filter(|path| path.is_file());
    let there: Vec<String> = there.map(|path| path.display().to_string()).collect();
    let unusable = unusable
        .into_iter()
        .filter(|why| there.iter().any(|path| why.contains(path)));
    warnings.extend(unusable.map(|why| start.fault(why)));
    for warning in warnings {
        writeln!(out, "{}", as_warning(warning))?;
    }
    Ok(())
}

fn as_warning(warning: Fault) -> Fault {
    let message = format!("warning: {}", warning.message);
    Fault { message, ..warning }
}

fn write_summary(
    config: &Config,
    rules: &RuleSet,
    tables: &Tables,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "{} is valid", config.path.display())?;
    writeln!(out, "  {:<12} {}", "mode", config.mode)?;
    write_parts(
        "rule",
        rules.rules.iter().map(|rule| describe_rule(config, rule)),
        out,
    )?;
    if let Some(pinned) = pinned(config, rules) {
        write_list("pinned", [pinned], out)?;
    }
    write_parts("source", config.sources.iter().map(describe_source), out)?;
    let blind = blind::blind(config, rules, tables);
    if !blind.is_empty() {
        write_list("blind", blind.iter().map(ToString::to_string), out)?;
    }
    write_parts("revoker", config.revokers.iter().map(describe_revoker), out)?;
    write_parts(
        "receiver",
        config.receivers.iter().map(describe_receiver),
        out,
    )?;
    write_parts("listener", listeners(config), out)?;
    if let Some(banner) = banner(config.mode) {
        writeln!(out, "\n{banner}")?;
    }
    Ok(())
}

fn write_parts(
    what: &str,
    parts: impl IntoIterator<Item = String>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let parts: Vec<String> = parts.into_iter().collect();
    let label = counted(parts.len(), what);
    if parts.is_empty() {
        return writeln!(out, "  {label}");
    }
    write_list(&label, parts, out)
}

/// The label stands before the first.
fn write_list(
    label: &str,
    parts: impl IntoIterator<Item = String>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut label = label;
    for part in parts {
        writeln!(out, "  {label:<12} {part}")?;
        label = "";
    }
    Ok(())
}

/// With the mode that is left of the rule's own below the ceiling.
fn describe_rule(config: &Config, rule: &Rule) -> String {
    let mode = rule.mode.min(config.mode);
    format!("{} ({}, {mode})", rule.name, rule.detect.kind())
}

/// What a pin holds back must be seen as well.
fn pinned(config: &Config, rules: &RuleSet) -> Option<String> {
    let (pin, _) = config.rules_version.as_ref()?;
    let held = rules.rules.iter().filter(|rule| rule.pinned_at.is_some());
    let held: Vec<&str> = held.map(|rule| &*rule.name).collect();
    let newer = if held.is_empty() {
        "no rule is newer".to_owned()
    } else {
        format!("newer ones act at most as alert: {}", held.join(", "))
    };
    Some(format!("rules_version {pin} of {RULES_VERSION}; {newer}"))
}

fn describe_source(source: &Source) -> String {
    let kind = match &source.kind {
        SourceKind::Kafka(_) => "kafka",
        SourceKind::Sql(_) => "sql",
        SourceKind::Webhook(_) => "webhook",
        SourceKind::File(_) => "file",
    };
    let format = match &source.decode.format {
        Format::Tokenwarden => "tokenwarden",
        Format::Keycloak => "keycloak",
        Format::Auth0 => "auth0",
        Format::Mapping(_) => "mapping",
    };
    format!("{} ({kind}, format {format})", source.name)
}

fn describe_revoker(revoker: &Revoker) -> String {
    match &revoker.kind {
        RevokerKind::Keycloak(keycloak) => {
            format!("{} (keycloak, realm {})", revoker.name, keycloak.realm)
        }
        RevokerKind::Http(http) => format!("{} (http, {})", revoker.name, host(&http.url)),
        RevokerKind::Webhook(webhook) => {
            let measures: Vec<&str> = webhook.actions.iter().map(|it| it.as_str()).collect();
            format!(
                "{} (webhook, {} for {})",
                revoker.name,
                measures.join(", "),
                span(i64::try_from(webhook.ttl.as_millis()).unwrap_or(i64::MAX))
            )
        }
    }
}

fn describe_receiver(receiver: &Receiver) -> String {
    let digest = match receiver.digest_at.map(|at| at.as_secs() / 60) {
        Some(at) => format!(", digest at {:02}:{:02} UTC", at / 60, at % 60),
        None => String::new(),
    };
    match &receiver.kind {
        ReceiverKind::Email(email) => {
            let to = email.to.join(", ");
            format!("{} (email to {to}{digest})", receiver.name)
        }
        kind => format!("{} ({}{digest})", receiver.name, kind.name()),
    }
}

/// Only the host: the rest of a URL may hold what should not be printed.
fn host(url: &str) -> String {
    let url = url::Url::parse(url).ok();
    url.and_then(|url| url.host_str().map(String::from))
        .unwrap_or_default()
}

fn listeners(config: &Config) -> Vec<String> {
    let http = &config.http;
    let ops = http
        .ops
        .as_ref()
        .map(|ops| format!("ops on {}", ops.listen));
    let api = http
        .api
        .as_ref()
        .map(|api| format!("api on {}", api.listen));
    let ingest = http
        .ingest
        .as_ref()
        .map(|ingest| format!("ingest on {}", ingest.listen));
    [ops, api, ingest].into_iter().flatten().collect()
}

/// What a careful default holds back must be seen, or somebody believes to be protected.
fn banner(mode: Mode) -> Option<&'static str> {
    match mode {
        Mode::Off => Some("MODE IS OFF: nothing is judged."),
        Mode::Observe => Some(
            "MODE IS OBSERVE: detections are recorded and told in the daily digest alone, nothing is revoked.\n\
             Set `mode: alert` to be told, `mode: enforce` to have stolen families revoked.",
        ),
        Mode::Alert => Some("MODE IS ALERT: people are told, nothing is revoked."),
        Mode::Enforce => None,
    }
}

pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
