//! `tokenwarden state`: what the daemon would know after a restart.
//!
//! It reads the store beside a running daemon, so that before an upgrade or a rollback it can be seen whether this
//! version of the program can use what another one saved, and where the memory goes.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::look::with_store;
use super::replay::Form;
use super::{Exit, Terminal, clean};
use crate::app::parts;
use crate::config::Config;
use crate::engine::{Engine, Held};
use crate::model::{Timestamp, limits};
use crate::pipeline::{Restorable, Worker, restore};
use crate::rules::RuleSet;
use crate::store::{SavedState, Snapshot};

/// Look at the state that the daemon has saved
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inspect(Inspect),
}

/// Tell which states are saved, how far they go, and what the newest holds; exits 1 where none can be used
#[derive(Debug, Args)]
struct Inspect {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Leave out of the digests what is of no use any more at this time (RFC 3339), not before either was saved: a daemon sweeps it
    /// out in the course of a day, so that of two states only one may still hold it. Event ids and questions that wait are compared as they are
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
}

/// What a restart would go on with.
struct Usable {
    snapshot: Snapshot,
    /// `None`: saved by a version whose form this one does not know.
    held: Option<Vec<Held>>,
}

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let Command::Inspect(inspect) = &arguments.command;
    with_store(
        &inspect.config,
        terminal,
        async |config, store, terminal| {
            let saved = store.saved_states().await?;
            let usable = store.load_snapshot().await?.map(|snapshot| Usable {
                held: held(config, &snapshot, inspect.at),
                snapshot,
            });
            match inspect.output {
                Form::Text => tell(&saved, usable.as_ref(), terminal)?,
                Form::Json => writeln!(terminal.out, "{}", object(&saved, usable.as_ref()))?,
            }
            let is_usable = usable.is_some_and(|usable| usable.held.is_some());
            Ok(if is_usable {
                Exit::Success
            } else {
                Exit::Negative
            })
        },
    )
}

/// What the snapshot holds, as a start of this version would read it. Rules and tables are no part of it.
fn held(config: &Config, snapshot: &Snapshot, at: Option<Timestamp>) -> Option<Vec<Held>> {
    let engine = Engine::new(
        &RuleSet::default(),
        config.clients.clone(),
        limits::LATENESS_DEFAULT,
    );
    let mut worker = Worker::new(engine, parts::policy(config));
    (restore(&mut worker, snapshot) == Restorable::All).then(|| worker.engine.held(at))
}

fn tell(
    saved: &[SavedState],
    usable: Option<&Usable>,
    terminal: &mut Terminal<'_>,
) -> std::io::Result<()> {
    if saved.is_empty() {
        return writeln!(
            terminal.out,
            "no state is saved yet: a running daemon saves one every `store.snapshot_every`, and when it is stopped"
        );
    }
    for state in saved {
        writeln!(
            terminal.out,
            "saved {}  {} bytes  {}",
            state.saved_at,
            state.bytes,
            state.unusable.unwrap_or("whole")
        )?;
    }
    let Some(Usable { snapshot, held }) = usable else {
        return writeln!(
            terminal.out,
            "\nnone of them can be used: a start goes on from the committed positions without memory"
        );
    };
    writeln!(terminal.out, "\nthe newest whole one stands for")?;
    for (partition, position) in &snapshot.positions {
        let (source, of) = (clean(&partition.source), clean(&partition.partition));
        writeln!(terminal.out, "  {source} {of}  {}", clean(&position.0))?;
    }
    let Some(held) = held else {
        return writeln!(
            terminal.out,
            "\nits form is that of another version of tokenwarden: this one would go on from the committed positions without memory"
        );
    };
    writeln!(
        terminal.out,
        "\n{:<32} {:>10} {:>12}  {:<32}",
        "it holds", "entries", "saved bytes", "digest"
    )?;
    for part in held.iter().filter(|held| held.entries > 0) {
        writeln!(
            terminal.out,
            "{:<32} {:>10} {:>12}  {:032x}",
            part.what, part.entries, part.bytes, part.digest
        )?;
    }
    writeln!(
        terminal.out,
        "{:<32} {:>10} {:>12}  {:032x}",
        "all of it",
        "",
        "",
        Held::digest_of(held)
    )
}

fn object(saved: &[SavedState], usable: Option<&Usable>) -> Value {
    let state = |state: &SavedState| {
        json!({
            "saved_at": state.saved_at.to_string(), "bytes": state.bytes,
            "usable": state.unusable.is_none(), "reason": state.unusable,
        })
    };
    let positions = usable.iter().flat_map(|usable| &usable.snapshot.positions);
    let positions = positions.map(|(partition, position)| {
        json!({
            "source": &*partition.source, "partition": &*partition.partition, "position": &*position.0,
        })
    });
    let held = usable.and_then(|usable| usable.held.as_ref());
    let hex = |digest: u128| format!("{digest:032x}");
    let part = |held: &Held| {
        json!({
            "what": held.what, "entries": held.entries, "saved_bytes": held.bytes, "digest": hex(held.digest),
        })
    };
    json!({
        "type": "state",
        "saved": saved.iter().map(state).collect::<Vec<_>>(),
        "positions": positions.collect::<Vec<_>>(),
        "known_form": usable.map(|usable| usable.held.is_some()),
        "holds": held.map(|held| held.iter().map(part).collect::<Vec<_>>()),
        "digest": held.map(|held| hex(Held::digest_of(held))),
    })
}
