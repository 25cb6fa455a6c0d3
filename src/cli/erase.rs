//! `tokenwarden erase`: forgets a person, in the store, in the audit log, in the archive, and in the memory of a running daemon.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::replay::Form;
use super::{Exit, Terminal, report};
use crate::app::erasure::{self, Gone};
use crate::archive::{Folder, Writer};
use crate::clock;
use crate::config::Config;
use crate::model::Person;
use crate::store::{Erased, Erasure, OpenAs, OpenError, Store};

/// Forget a user: everything that is kept about the person goes, and the audit log stays verifiable
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Id of the user, as events name it
    #[arg(long, value_name = "ID")]
    user: String,
    /// Who asks for it, for the audit log
    #[arg(long, value_name = "NAME", default_value = "command line")]
    by: String,
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
}

pub(super) fn run(args: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    if args.user.is_empty() {
        writeln!(
            terminal.err,
            "tokenwarden: --user: expected the id of a user"
        )?;
        return Ok(Exit::Unusable);
    }
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(faults) => return report(&faults, terminal),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime for the store")?;
    match runtime.block_on(erase(&config, args)) {
        Ok(Erasure::Done(erased)) => {
            let archive = from_archive(&config, args)?;
            tell(&erased, &archive, args.output, terminal)?;
            Ok(Exit::Success)
        }
        Ok(Erasure::UnderWay(actions)) => {
            writeln!(
                terminal.err,
                "tokenwarden: nothing was erased: {actions} actions about the user are under way; try again when they have ended"
            )?;
            Ok(Exit::Negative)
        }
        Err(error) if error.downcast_ref().is_some_and(is_missing) => {
            writeln!(terminal.err, "tokenwarden: {error}")?;
            Ok(Exit::Negative)
        }
        Err(error) => Err(error),
    }
}

fn is_missing(error: &OpenError) -> bool {
    matches!(error, OpenError::Missing { .. })
}

async fn erase(config: &Config, args: &Arguments) -> anyhow::Result<Erasure> {
    let store = Store::open(&config.store, OpenAs::Helper).await?;
    let erased = store.erase(&args.user, &args.by, clock::now()).await;
    store.close().await;
    Ok(erased?)
}

/// What became of the person's events in the archive.
enum InArchive {
    /// There is none.
    Nothing,
    Gone(Gone),
    /// A daemon writes it, and does it.
    Daemons,
}

fn from_archive(config: &Config, args: &Arguments) -> anyhow::Result<InArchive> {
    let folder = config.archive.as_ref().map(|it| Folder::new(&it.path));
    let Some(folder) = folder.filter(Folder::exists) else {
        return Ok(InArchive::Nothing);
    };
    let place = || {
        format!(
            "the archive {} cannot be rewritten",
            folder.path().display()
        )
    };
    let Some(locked) = folder.lock().with_context(place)? else {
        return Ok(InArchive::Daemons);
    };
    let person = Person {
        user_id: args.user.as_str().into(),
    };
    // What a crash left is mended first: only what has ended is rewritten.
    let _writer = Writer::open(locked, |_| None).with_context(place)?;
    erasure::forget(&folder, &person)
        .map(InArchive::Gone)
        .with_context(place)
}

fn tell(
    erased: &Erased,
    archive: &InArchive,
    form: Form,
    terminal: &mut Terminal<'_>,
) -> std::io::Result<()> {
    if form == Form::Json {
        let object = json!({
            "type": "erased", "detections": erased.detections, "incidents": erased.incidents,
            "actions": erased.actions, "records": erased.records, "renamed": erased.renamed,
            "audit_entries": erased.audit,
            "archived": match archive {
                InArchive::Gone(gone) => json!(gone.events),
                InArchive::Nothing | InArchive::Daemons => json!(null),
            },
        });
        return writeln!(terminal.out, "{object}");
    }
    writeln!(
        terminal.out,
        "erased: {} detections, {} incidents, {} actions, {} records; the name taken out of {} rows and {} entries of the audit log",
        erased.detections,
        erased.incidents,
        erased.actions,
        erased.records,
        erased.renamed,
        erased.audit
    )?;
    match archive {
        InArchive::Nothing => {}
        InArchive::Gone(gone) => {
            writeln!(terminal.out, "archive: {} events", gone.events)?;
            if gone.damaged > 0 {
                writeln!(
                    terminal.out,
                    "archive: {} damaged frames went too, as nobody can say whose they were",
                    gone.damaged
                )?;
            }
        }
        InArchive::Daemons => writeln!(
            terminal.out,
            "archive: the daemon that writes it rewrites it now"
        )?,
    }
    writeln!(
        terminal.out,
        "The daemon's memory and its saved states follow within minutes, or after its next start."
    )
}
