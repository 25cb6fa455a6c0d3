//! `tokenwarden audit verify`: whether any entry was changed, removed, moved, emptied or cut off.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::super::look::with_store;
use super::super::replay::Form;
use super::super::{Exit, Terminal};
use crate::model::AuditHead;
use crate::store::audit::{Hash, Verdict, lines};

/// Check the whole log; exits 1 when something is wrong with it, and prints how far it goes
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", required_unless_present = "file")]
    config: Option<PathBuf>,
    /// A file that `audit export` wrote, in place of the store
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// NUMBER:HASH as a digest mail or an earlier check told it: the log must still hold this entry
    #[arg(long, value_name = "HEAD", value_parser = head)]
    head: Vec<AuditHead>,
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
}

fn head(text: &str) -> Result<AuditHead, String> {
    let read = || {
        let (seq, hash) = text.split_once(':')?;
        Some(AuditHead {
            seq: seq.parse().ok()?,
            hash: Hash::from_str(hash).ok()?.to_string().into(),
        })
    };
    read().ok_or_else(|| "expected NUMBER:HASH, the hash with 64 digits of 0-9 and a-f".to_owned())
}

pub(super) fn run(args: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    if let Some(file) = &args.file {
        return tell(&of_file(file, &args.head)?, args.output, terminal);
    }
    // The parser asks for one of the two.
    let config = args.config.clone().unwrap_or_default();
    with_store(&config, terminal, async |_, store, terminal| {
        let verdict = store.verify_audit(&args.head).await?;
        tell(&verdict, args.output, terminal)
    })
}

fn of_file(path: &Path, noted: &[AuditHead]) -> anyhow::Result<Verdict> {
    let place = || format!("{} cannot be read", path.display());
    let reader = BufReader::new(File::open(path).with_context(place)?);
    lines::verify(reader, noted).with_context(place)
}

fn tell(verdict: &Verdict, form: Form, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    match form {
        Form::Text => tell_people(verdict, terminal)?,
        Form::Json => writeln!(terminal.out, "{}", object(verdict))?,
    }
    Ok(if verdict.broken_total == 0 {
        Exit::Success
    } else {
        Exit::Negative
    })
}

fn object(verdict: &Verdict) -> serde_json::Value {
    let broken: Vec<_> = verdict
        .broken
        .iter()
        .map(|broken| json!({ "entry": broken.seq, "why": broken.why }))
        .collect();
    json!({
        "type": "audit_verdict",
        "entries": verdict.entries,
        "pruned": verdict.base.seq,
        "emptied": verdict.emptied,
        "head": verdict.head.head().to_string(),
        "broken_total": verdict.broken_total,
        "broken": broken,
    })
}

fn tell_people(verdict: &Verdict, terminal: &mut Terminal<'_>) -> std::io::Result<()> {
    for broken in &verdict.broken {
        writeln!(terminal.out, "BROKEN {broken}")?;
    }
    let told = u64::try_from(verdict.broken.len()).unwrap_or(u64::MAX);
    if verdict.broken_total > told {
        writeln!(terminal.out, "... and {} more", verdict.broken_total - told)?;
    }
    let says = match verdict.broken_total {
        0 => "nothing in it was changed, removed, moved or cut off".to_owned(),
        faults => format!("{faults} faults"),
    };
    writeln!(
        terminal.out,
        "{} entries ({} before them pruned, {} emptied for a person who was to be forgotten): {says}",
        verdict.entries, verdict.base.seq, verdict.emptied
    )?;
    writeln!(terminal.out, "head {}", verdict.head.head())
}
