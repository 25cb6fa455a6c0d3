//! The event archive in the daemon: opened at the start, and kept in order: packed, pruned, and rid of people who are to be
//! forgotten.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::control::Controls;
use super::erasure;
use crate::archive::{self, Folder, Writer};
use crate::clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::model::{Erasing, Person};
use crate::pipeline::{ArchiveControl, Archiving, Scribe, archived_key};
use crate::store::Store;

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Files are of an hour.
const TIDY_EVERY: Duration = Duration::from_hours(1);

/// What the start makes of it. Without an archive there is nothing in it.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) archiving: Archiving,
    pub(super) scribe: Option<Scribe>,
    pub(super) keeper: Option<Keeper>,
}

/// Keeps the archive in order.
pub(super) struct Keeper {
    folder: Folder,
    control: ArchiveControl,
    /// Whom it has forgotten.
    forgotten: Mutex<HashSet<Erasing>>,
}

/// Where the configuration has the archive, if it has one.
pub(super) fn folder(config: &Config) -> Option<Folder> {
    let archive = config.archive.as_ref();
    archive.map(|it| Folder::new(&it.path))
}

/// Opens the archive, after a crash with what has to be mended.
pub(super) fn open(config: &Config, board: &Arc<Board>) -> anyhow::Result<Opened> {
    let Some(folder) = folder(config) else {
        return Ok(Opened::default());
    };
    let shown = folder.path().display().to_string();
    let locked = folder
        .lock()
        .with_context(|| format!("the archive {shown} cannot be written"))?
        .with_context(|| {
            format!("the archive {shown} is being written by another process; each daemon needs a folder of its own")
        })?;
    let (writer, opened) = Writer::open(locked, archived_key)
        .with_context(|| format!("the archive {shown} cannot be opened"))?;
    if opened.mended > 0 {
        tracing::info!(
            files = opened.mended,
            cut_bytes = opened.cut_bytes,
            "Mended the archive; what was cut off was not committed and is read again"
        );
    }
    let (archiving, control, scribe) = Archiving::new(writer, Arc::clone(board), clock::now);
    let keeper = Keeper {
        folder,
        control,
        forgotten: Mutex::default(),
    };
    Ok(Opened {
        archiving,
        scribe: Some(scribe),
        keeper: Some(keeper),
    })
}

impl Keeper {
    /// Runs until cancelled. Files are rewritten here and nowhere else, so one after the other.
    pub(super) async fn run(&self, controls: &Controls, cancel: CancellationToken) {
        let mut due = Instant::now();
        while !cancel.is_cancelled() {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            self.forget_asked(&controls.store).await;
            if Instant::now() >= due {
                due = Instant::now() + TIDY_EVERY;
                self.tidy(controls.config().retention.archive).await;
            }
        }
    }

    /// Whether nothing of the person was in the archive any more, some time after it was asked for.
    pub(super) fn has_forgotten(&self, erasing: &Erasing) -> bool {
        self.forgotten().contains(erasing)
    }

    async fn forget_asked(&self, store: &Store) {
        // `ready` tells of a store that does not answer; it is tried again in a moment.
        let asked = store.to_forget().await.unwrap_or_default();
        let (known, new): (Vec<Erasing>, Vec<Erasing>) =
            asked.into_iter().partition(|it| self.has_forgotten(it));
        *self.forgotten() = known.into_iter().collect();
        if new.is_empty() {
            return;
        }
        let people = new.iter().map(|it| it.person.clone()).collect();
        match self.forget(people).await {
            Ok(()) => self.forgotten().extend(new),
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "Who is to be forgotten is still in the archive; tried again in a moment"
                );
            }
        }
    }

    /// What is being written ends first, so that nothing is left out.
    async fn forget(&self, people: Vec<Person>) -> anyhow::Result<()> {
        self.control.end_file().await;
        let folder = self.folder.clone();
        let forget = move || -> std::io::Result<()> {
            for person in &people {
                erasure::forget(&folder, person)?;
            }
            Ok(())
        };
        let forgotten = tokio::task::spawn_blocking(forget).await;
        Ok(forgotten.context("the thread broke")??)
    }

    /// Removes what is too old and packs what is over.
    async fn tidy(&self, kept: Duration) {
        let folder = self.folder.clone();
        let oldest = clock::now().checked_sub(kept);
        let tidied = tokio::task::spawn_blocking(move || {
            oldest.map_or(Ok(0), |oldest| folder.prune(oldest))?;
            archive::pack(&folder)
        });
        if let Ok(Err(error)) = tidied.await {
            tracing::warn!(%error, "The archive cannot be kept in order; tried again in an hour");
        }
    }

    pub(super) fn describe(&self, metrics: &Metrics) {
        if let Ok(bytes) = self.folder.bytes() {
            metrics
                .archive_size_bytes
                .set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    fn forgotten(&self) -> MutexGuard<'_, HashSet<Erasing>> {
        self.forgotten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
