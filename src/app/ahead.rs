//! The state that a daemon begins with: restored from the newest one saved, and loaded ahead while it stands by.
//!
//! Whoever leads saves again and again, so a daemon that stands by loads again and again, and has only to look whether its
//! own is still the newest when its turn comes. It does so for a tenth of its time at most: a large state is loaded less
//! often, and then a takeover may have to load it once more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::control::Controls;
use super::loaded::Loaded;
use super::parts;
use crate::model::{OWN_SOURCE, Position, SourcePartition};
use crate::pipeline::{Restorable, Standing, Worker, restore};
use crate::store::{Snapshot, Store};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A load that took so long is followed by a pause of so many times that.
const PAUSE_FACTOR: u32 = 10;

/// What the ingest loop begins with.
pub(super) struct Restored {
    pub(super) worker: Worker,
    /// What the worker's state stands for.
    pub(super) positions: BTreeMap<SourcePartition, Position>,
    /// What of it was saved before.
    knows: Restorable,
}

impl Restored {
    pub(super) fn standing(&self) -> Arc<Standing> {
        let knows = self.knows == Restorable::All;
        Arc::new(Standing::new(self.positions.clone(), knows))
    }
}

/// What is loaded ahead: locked while it is being loaded.
#[derive(Clone)]
pub(super) struct Ahead {
    kept: Arc<Mutex<Option<Kept>>>,
    /// For the archive: of each event it is said to which family it belongs.
    names_families: bool,
}

struct Kept {
    restored: Restored,
    /// Of which snapshot, and made under which configuration.
    snapshot: Option<i64>,
    loaded: Arc<Loaded>,
}

impl Kept {
    fn is_good(&self, newest: Option<i64>, loaded: &Arc<Loaded>) -> bool {
        self.snapshot == newest && Arc::ptr_eq(&self.loaded, loaded)
    }
}

impl Ahead {
    pub(super) fn new(names_families: bool) -> Self {
        Self {
            kept: Arc::default(),
            names_families,
        }
    }

    /// Loads each new state until it is given up.
    pub(super) async fn keep_up(self, controls: Arc<Controls>) {
        loop {
            let begun = Instant::now();
            if let Err(error) = self.look(&controls).await {
                tracing::debug!(
                    error = format!("{error:#}"),
                    "No state could be loaded ahead"
                );
            }
            tokio::time::sleep(LOOK_EVERY.max(begun.elapsed() * PAUSE_FACTOR)).await;
        }
    }

    async fn look(&self, controls: &Controls) -> anyhow::Result<()> {
        let (store, loaded) = (&controls.store, controls.loaded());
        let newest = store.newest_snapshot().await?;
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|it| it.is_good(newest, &loaded)) {
            return Ok(());
        }
        // Before the next one, since two take twice the room.
        *kept = None;
        let restored = self.restored(store, &loaded).await?;
        *kept = Some(Kept {
            restored,
            snapshot: newest,
            loaded,
        });
        Ok(())
    }

    /// The newest state, loaded before or now.
    pub(super) async fn state(
        &self,
        store: &Store,
        loaded: &Arc<Loaded>,
    ) -> anyhow::Result<Restored> {
        let kept = self.kept.lock().await.take();
        let newest = store.newest_snapshot().await?;
        let mut restored = match kept.filter(|kept| kept.is_good(newest, loaded)) {
            Some(kept) => kept.restored,
            None => self.restored(store, loaded).await?,
        };
        if restored.knows == Restorable::All {
            let sizes = restored.worker.engine.sizes();
            tracing::info!(
                families = sizes.families,
                users = sizes.users,
                "Restored the state"
            );
        } else {
            // An incident of before is not begun a second time: its notices would be taken for told.
            let next = store
                .greatest_closed_episode()
                .await?
                .map_or(0, |it| it.saturating_add(1));
            restored.worker.policy.begin_episodes_at(next);
        }
        if restored.knows == Restorable::Policy {
            let own = restored.positions.iter();
            let mut own = own.filter(|(partition, _)| &*partition.source == OWN_SOURCE);
            let heard = own.next().and_then(|(_, it)| it.0.parse().ok());
            restored.worker.heard_before(heard.unwrap_or(0));
        }
        let judged = store.detections_since_snapshot().await?;
        restored.worker.judged_before(judged);
        Ok(restored)
    }

    /// The newest usable state, and the positions it stands for; an empty one where there is none.
    async fn restored(&self, store: &Store, loaded: &Loaded) -> anyhow::Result<Restored> {
        let empty = |worker| Restored {
            worker,
            positions: BTreeMap::new(),
            knows: Restorable::Nothing,
        };
        let worker = self.worker(loaded);
        let Some(snapshot) = store.load_snapshot().await? else {
            return Ok(empty(worker));
        };
        // A large one takes seconds, and the lead has to be renewed meanwhile.
        let restored = tokio::task::spawn_blocking(move || from_snapshot(worker, snapshot)).await;
        let restored = restored.context("restoring the state broke")?;
        match restored.knows {
            Restorable::All => {}
            Restorable::Policy => tracing::warn!(
                "What is known of tokens and users was saved by another version, in a form that this one does not know: it is made anew from what the sources \
                 still have of their `warm_up`. What people decided and were told is known"
            ),
            Restorable::Nothing => tracing::warn!(
                "The saved state has a form that this version does not know: what the sources still have of their `warm_up` is read again, then it goes on \
                 from the committed positions"
            ),
        }
        Ok(restored)
    }

    fn worker(&self, loaded: &Loaded) -> Worker {
        let sources = loaded.config.sources.iter();
        let lateness = sources.map(|source| (source.name.clone(), source.lateness));
        let worker = Worker::new(
            parts::engine(&loaded.config, &loaded.rules),
            parts::policy(&loaded.config),
        )
        .with_lateness(lateness.collect());
        if self.names_families {
            worker.naming_families()
        } else {
            worker
        }
    }
}

fn from_snapshot(mut worker: Worker, snapshot: Snapshot) -> Restored {
    let knows = restore(&mut worker, &snapshot);
    let positions = match knows {
        Restorable::Nothing => BTreeMap::new(),
        Restorable::All | Restorable::Policy => snapshot.positions,
    };
    Restored {
        worker,
        positions,
        knows,
    }
}
