//! The event archive in the daemon: opened at the start, and kept in order: packed, pruned, and rid of people who are to be
//! forgotten. Whoever stands by keeps its own in order too.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::control::Controls;
use super::erasure::{self, Gone};
use super::stories::Stories;
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
    stories: Arc<Stories>,
    /// Whom it has forgotten.
    forgotten: Mutex<HashSet<Erasing>>,
}

/// Opens the archive, after a crash with what has to be mended.
pub(super) fn open(config: &Config, board: &Arc<Board>) -> anyhow::Result<Opened> {
    let Some(folder) = config.archive.as_ref().map(|it| Folder::new(&it.path)) else {
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
    tell(&opened);
    let (archiving, control, scribe) = Archiving::new(writer, Arc::clone(board), clock::now);
    let keeper = Keeper {
        stories: Arc::new(Stories::new(folder.clone())),
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

/// What the process before left.
fn tell(opened: &archive::Opened) {
    let (files, cut_bytes) = (opened.mended, opened.cut_bytes);
    if cut_bytes > 0 {
        tracing::warn!(
            files,
            cut_bytes,
            "Cut off the archive what was no whole frame; after a kill it is read again, after a power failure or on a full disk events may be missing"
        );
    } else if files > 0 {
        tracing::info!(
            files,
            "The archive's last file had no end mark, as after a kill; all of it is whole"
        );
    }
    if opened.damaged > 0 {
        tracing::warn!(
            frames = opened.damaged,
            "The archive has damaged frames, which are passed over"
        );
    }
}

impl Keeper {
    /// Runs until cancelled. Files are rewritten here and nowhere else, so one after the other.
    pub(super) async fn run(&self, controls: &Controls, cancel: CancellationToken) {
        let mut due = Instant::now();
        let mut asked = HashSet::new();
        while !cancel.is_cancelled() {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            self.forget_asked(&controls.store, &mut asked).await;
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

    /// `asked` is who was to be forgotten before and could not be: nobody waits for one that stands by, and the store may not
    /// ask any more.
    async fn forget_asked(&self, store: &Store, asked: &mut HashSet<Erasing>) {
        // `ready` tells of a store that does not answer; it is tried again in a moment.
        let Ok(stored) = store.to_forget().await else {
            return;
        };
        let (known, new): (Vec<Erasing>, Vec<Erasing>) =
            stored.into_iter().partition(|it| self.has_forgotten(it));
        *self.forgotten() = known.into_iter().collect();
        asked.extend(new);
        if asked.is_empty() {
            return;
        }
        let people = asked.iter().map(|it| it.person.clone()).collect();
        match self.forget(people).await {
            Ok(gone) => {
                if gone.damaged > 0 {
                    tracing::warn!(
                        frames = gone.damaged,
                        "Damaged frames of the archive went with who was forgotten: nobody can say whose they were"
                    );
                }
                self.forgotten().extend(asked.drain());
            }
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "Who is to be forgotten is still in the archive; tried again in a moment"
                );
            }
        }
    }

    /// What is being written ends first, so that nothing is left out.
    async fn forget(&self, people: Vec<Person>) -> anyhow::Result<Gone> {
        let unended = self.folder.unended()?;
        // One that stands by writes nothing, and could not answer.
        if !unended.is_empty() {
            self.control.end_file().await;
        }
        let left = self.folder.unended()?;
        if let Some(name) = left.iter().find(|name| unended.contains(name)) {
            anyhow::bail!("the end of its file {name} cannot be marked");
        }
        let folder = self.folder.clone();
        let forget = move || -> std::io::Result<Gone> {
            let mut all = Gone::default();
            for person in &people {
                let gone = erasure::forget(&folder, person)?;
                all.events += gone.events;
                all.damaged += gone.damaged;
            }
            Ok(all)
        };
        let forgotten = tokio::task::spawn_blocking(forget).await;
        let gone = forgotten.context("the thread broke")??;
        self.stories.forget().await;
        Ok(gone)
    }

    /// What is told from it.
    pub(super) fn stories(&self) -> Arc<Stories> {
        Arc::clone(&self.stories)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics;

    const ALICE: &str = "{\"event_id\":\"1\",\"user_id\":\"alice\",\"tokenwarden\":{}}\n";

    fn keeper(folder: &Folder) -> (Archiving, Keeper, Scribe) {
        let locked = folder.lock().unwrap().unwrap();
        let (writer, _) = Writer::open(locked, archived_key).unwrap();
        let (_, metrics) = metrics::registry().unwrap();
        let board = Arc::new(Board::new(metrics, []));
        let (archiving, control, scribe) = Archiving::new(writer, board, clock::now);
        let keeper = Keeper {
            folder: folder.clone(),
            control,
            stories: Arc::new(Stories::new(folder.clone())),
            forgotten: Mutex::default(),
        };
        (archiving, keeper, scribe)
    }

    /// A file of a process that was killed.
    fn left_open(folder: &Folder) {
        let locked = folder.lock().unwrap().unwrap();
        let (mut writer, _) = Writer::open(locked, archived_key).unwrap();
        writer.write(ALICE.as_bytes(), clock::now()).unwrap();
    }

    fn alice() -> Vec<Person> {
        let user_id = "alice".into();
        vec![Person { user_id }]
    }

    #[tokio::test]
    async fn one_that_stands_by_forgets_what_it_wrote_before() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path());
        left_open(&folder);
        let (_archiving, keeper, _nobody_writes) = keeper(&folder);
        assert_eq!(keeper.forget(alice()).await.unwrap().events, 1);
        assert_eq!(keeper.forget(alice()).await.unwrap().events, 0);
    }

    #[tokio::test]
    async fn nobody_is_forgotten_before_every_file_has_ended() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path());
        let (archiving, keeper, scribe) = keeper(&folder);
        let elsewhere = tempfile::tempdir().unwrap();
        left_open(&Folder::new(elsewhere.path()));
        let name = "2026-11-22T05-0001.jsonl.zst";
        let written = Folder::new(elsewhere.path()).names().unwrap()[0].to_string();
        // As if its end could not be marked.
        std::fs::copy(elsewhere.path().join(written), home.path().join(name)).unwrap();
        let writes = tokio::spawn(scribe.run());
        let refused = keeper.forget(alice()).await.unwrap_err().to_string();
        assert!(refused.contains(name), "{refused}");
        drop(archiving);
        writes.await.unwrap();
    }
}
