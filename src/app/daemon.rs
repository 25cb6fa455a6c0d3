//! The daemon: starts every part, supervises them, and stops them in order.
//!
//! It begins when it leads: of several on one store one does, and the others stand by (see the file `lead`).
//! A stop goes with the flow: sources first, then what they handed over is judged and committed and the state saved,
//! then running attempts end, then the listeners and the store close. A part that ends by itself ends the daemon.

mod begin;
mod listen;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::ahead::Ahead;
use super::archive;
use super::audited;
use super::board::Board;
use super::control::Controls;
use super::key::{self, Keys};
use super::lead::Lead;
use super::loaded::Loaded;
use crate::clock;
use crate::config::Config;
use crate::decode::TokenKey;
use crate::delivery::Performers;
use crate::metrics::top::Top;
use crate::metrics::{self, Metrics};
use crate::model::{AuditKind, AuditNote, DAEMON, Text, Timestamp, limits};
use crate::pipeline::{Archiving, Control, Scribe};
use crate::store::{OpenAs, Store, StoreError};
use crate::yaml::Fault;

/// Who asked for a reload or a stop, as far as the process can know.
const BY_SIGNAL: &str = "signal";

/// A running daemon.
pub struct Daemon {
    pub store: Store,
    /// Where the listeners are, by name: `ops`, `api`, `ingest`.
    pub addresses: Vec<(&'static str, SocketAddr)>,
    parts: JoinSet<anyhow::Result<()>>,
    sources: CancellationToken,
    rest: CancellationToken,
    controls: Arc<Controls>,
    /// As long as it stands by.
    waiting: Option<Waiting>,
    /// Ends with the reason when the lead is lost.
    keeper: Option<AbortOnDropHandle<anyhow::Error>>,
}

/// What is made at the start and used from when the daemon leads.
struct Waiting {
    ahead: Ahead,
    control: mpsc::Receiver<Control>,
    performers: watch::Receiver<Arc<Performers>>,
    top: Arc<Mutex<Top>>,
    archiving: Archiving,
    scribe: Option<Scribe>,
    metrics: Metrics,
}

/// Why the daemon did not start.
#[derive(Debug)]
pub enum StartError {
    /// Faults of the user's files.
    Faults(Vec<Fault>),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for StartError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl Daemon {
    /// Starts everything, or nothing: all faults of the configuration at once, then the store, then the ports.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let keys = key::keys(&config)?;
        let loaded = Loaded::new(config, &keys).map_err(StartError::Faults)?;
        let store = open_store(&loaded, &keys).await?;
        let (registry, metrics) =
            metrics::registry().context("the metrics cannot be registered")?;
        metrics.prepare(&loaded.known());
        let board = Arc::new(Board::new(metrics.clone(), source_names(&loaded.config)));
        let top = Arc::new(Mutex::new(Top::default()));
        let lead = Lead::new(store.clone(), name_of_this_process(), Arc::clone(&board));
        let lead = Arc::new(lead.await.context("the store does not say which it is")?);
        let (control_sender, control) = mpsc::channel(64);
        let (performers_sender, performers) = watch::channel(Arc::clone(&loaded.performers));
        let archive = archive::open(&loaded.config, &board)?;
        let waiting = Waiting {
            ahead: Ahead::new(archive.scribe.is_some()),
            control,
            performers,
            top: Arc::clone(&top),
            archiving: archive.archiving,
            scribe: archive.scribe,
            metrics: metrics.clone(),
        };
        let controls = Arc::new(Controls::new(
            loaded,
            keys,
            metrics,
            registry,
            store.clone(),
            top,
            board,
            control_sender,
            performers_sender,
            archive.keeper,
            lead,
        ));
        let mut daemon = Self {
            store,
            addresses: Vec::new(),
            parts: JoinSet::new(),
            waiting: Some(waiting),
            keeper: None,
            sources: CancellationToken::new(),
            rest: CancellationToken::new(),
            controls,
        };
        daemon.listen().await?;
        daemon.spawn_archive_keeper();
        let leads = daemon.controls.lead.take().await;
        if leads.context("the store does not say who leads")? {
            Box::pin(daemon.begin()).await?;
        }
        Ok(daemon)
    }

    /// Also while it stands by: what it wrote when it led is nobody else's to prune, or to rid of people.
    fn spawn_archive_keeper(&mut self) {
        let (controls, cancel) = (Arc::clone(&self.controls), self.rest.clone());
        if controls.archive.is_none() {
            return;
        }
        self.parts.spawn(async move {
            if let Some(archive) = &controls.archive {
                archive.run(&controls, cancel).await;
            }
            Ok(())
        });
    }

    /// Another daemon leads, and this one takes over from it.
    pub fn stands_by(&self) -> bool {
        self.waiting.is_some()
    }

    /// A pause, where the store is away and the lead still ours: it may come back. Else the error is the end.
    async fn pause(&self, error: anyhow::Error, pause: &mut Duration) -> anyhow::Result<()> {
        let lead = &self.controls.lead;
        if !self.store.is_shared() || !lead.mandate.holds() || !is_passing(&error) {
            return Err(error);
        }
        tracing::warn!(
            error = format!("{error:#}"),
            "The store is away while this daemon takes the lead; tried again"
        );
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(limits::STORE_RETRY_MAX);
        Ok(())
    }

    /// Waits for its turn, with what it takes to lead at hand.
    async fn stand_by(&mut self, ahead: Ahead) -> anyhow::Result<()> {
        let keeping_up = tokio::spawn(ahead.keep_up(Arc::clone(&self.controls)));
        let keeping_up = AbortOnDropHandle::new(keeping_up);
        tokio::select! {
            () = self.controls.lead.await_turn() => {}
            ended = self.parts.join_next(), if !self.parts.is_empty() => return part_ended(ended),
        }
        tracing::info!("Nobody leads any more: taking over");
        let begun = Instant::now();
        drop(keeping_up);
        Box::pin(self.begin()).await?;
        tracing::info!(took = ?begun.elapsed(), "Took over");
        Ok(())
    }

    /// Takes over when nobody leads any more, and waits until a part ends by itself; a daemon does not. One that has lost
    /// the lead ends too: its memory is of no use any more.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        if let Some(waiting) = &self.waiting {
            let ahead = waiting.ahead.clone();
            self.stand_by(ahead).await?;
        }
        let lost = async {
            match &mut self.keeper {
                Some(keeper) => keeper.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            lost = lost => Err(lost.context("keeping the lead broke")?),
            ended = self.parts.join_next() => part_ended(ended),
        }
    }

    /// Loads the configuration again, as SIGHUP does.
    pub async fn reload(&self) -> Result<String, String> {
        self.controls.load_again(BY_SIGNAL).await
    }

    /// The same, for whoever waits for the daemon meanwhile.
    pub fn reloader(&self) -> impl Fn() -> BoxFuture<'static, Result<String, String>> + use<> {
        let controls = Arc::clone(&self.controls);
        move || {
            let controls = Arc::clone(&controls);
            Box::pin(async move { controls.load_again(BY_SIGNAL).await })
        }
    }

    /// Drains and commits, then closes everything.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let grace = self.controls.grace_period();
        self.sources.cancel();
        // A moment for what sources have in their hands; then the ingest loop takes what stands in the channel.
        tokio::time::sleep(limits::BATCH_WAIT_MAX).await;
        self.rest.cancel();
        let mut result = Ok(());
        let ends = async {
            while let Some(ended) = self.parts.join_next().await {
                let ended = ended
                    .context("a part of the daemon broke")
                    .and_then(|ended| ended);
                if result.is_ok() {
                    result = ended;
                }
            }
        };
        if tokio::time::timeout(grace + limits::STORE_RETRY_MAX, ends)
            .await
            .is_err()
        {
            tracing::warn!(
                "Some parts did not stop in time; what they had in hand is done again at the next start"
            );
            self.parts.abort_all();
        }
        if self.controls.lead.mandate.holds() {
            self.tell_stop(&result).await;
        }
        self.keeper = None;
        if let Err(error) = self.controls.lead.give_up().await {
            tracing::warn!(%error, "The lead could not be given up; another daemon waits until it has run out");
        }
        self.store.close().await;
        result
    }

    /// Before anything is decided: what cannot be told is not begun.
    async fn tell_start(&self) -> anyhow::Result<()> {
        let loaded = self.controls.loaded();
        let note = audited::in_force(AuditKind::Started, DAEMON, &loaded);
        let told = audited::record(&self.store, note).await;
        told.context("the audit log cannot be written")
    }

    async fn tell_stop(&self, result: &anyhow::Result<()>) {
        let stopped = AuditNote::of_daemon(AuditKind::Stopped);
        let stopped = match result {
            Ok(()) => stopped,
            Err(error) => stopped.because(&format!("{error:#}")),
        };
        for note in self
            .controls
            .refusals
            .due(Timestamp::MAX)
            .into_iter()
            .chain([stopped])
        {
            if let Err(why) = audited::tell(&self.store, note).await {
                tracing::warn!("The stop is missing in the audit log: {why}");
            }
        }
    }
}

async fn open_store(loaded: &Loaded, keys: &Keys) -> anyhow::Result<Store> {
    let store = Store::open(&loaded.config.store, OpenAs::Daemon).await?;
    let previous = keys.previous.as_ref().map(TokenKey::fingerprint);
    store
        .check_token_key(&keys.current.fingerprint(), previous.as_deref())
        .await?;
    Ok(store)
}

/// As others on the store are told of it: another one for each start.
fn name_of_this_process() -> Text {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    format!("{host} (process {}, {})", std::process::id(), clock::now()).into()
}

/// Whether waiting may mend it.
fn is_passing(error: &anyhow::Error) -> bool {
    let error = error.chain().find_map(|cause| cause.downcast_ref());
    matches!(error, Some(StoreError::Unavailable(_)))
}

fn part_ended(ended: Option<Result<anyhow::Result<()>, JoinError>>) -> anyhow::Result<()> {
    match ended {
        Some(Ok(Ok(()))) => anyhow::bail!("a part of the daemon ended by itself"),
        Some(Ok(Err(error))) => Err(error),
        Some(Err(panic)) => Err(panic).context("a part of the daemon broke"),
        None => Ok(()),
    }
}

fn source_names(config: &Config) -> Vec<(Text, std::time::Duration)> {
    config
        .sources
        .iter()
        .map(|source| (source.name.clone(), source.lateness))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use sqlx::{Connection as _, SqliteConnection};

    use super::*;
    use crate::admin::{Health as _, Readiness};

    const PATIENCE: Duration = Duration::from_mins(1);

    async fn wait_for(daemon: &Daemon, what: &str, is: impl Fn(&Readiness) -> bool) {
        let wait = async {
            while !is(&daemon.controls.readiness()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "{what}: {:?}", daemon.controls.readiness());
    }

    fn store_is_away(readiness: &Readiness) -> bool {
        matches!(readiness, Readiness::NotReady(why) if why.iter().any(|why| why.starts_with("store: ")))
    }

    #[test]
    fn what_passes_is_known_whoever_adds_to_it() {
        let away = || anyhow::Error::new(StoreError::Unavailable("no answer".into()));
        assert!(is_passing(&away()));
        assert!(is_passing(&away().context("the audit log")));
        let refused = StoreError::Other("no such table".into());
        assert!(!is_passing(&refused.into()));
        assert!(!is_passing(&anyhow::anyhow!("something else")));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reload_that_the_engine_cannot_take_is_refused_and_keeps_nobody_waiting() {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("tokenwarden.yaml");
        let events = home.path().join("events.jsonl");
        let text = "sources: [{ name: log, file: { path: events.jsonl, poll_every: 50ms }, format: tokenwarden, start: earliest }]";
        std::fs::write(&config, text).unwrap();
        std::fs::write(&events, "").unwrap();
        let daemon = Daemon::start(Config::load(&config).unwrap()).await.unwrap();
        wait_for(&daemon, "ready", |it| *it == Readiness::Ready).await;

        let url = format!("sqlite://{}", daemon.store.name());
        let mut other = SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE")
            .execute(&mut other)
            .await
            .unwrap();
        let mut events = std::fs::File::options().append(true).open(&events).unwrap();
        events.write_all(b"{}\n").unwrap();
        wait_for(&daemon, "the store is away", store_is_away).await;
        while daemon
            .controls
            .control
            .try_send(Control::Arrived(Vec::new()))
            .is_ok()
        {}

        let reload = tokio::time::timeout(PATIENCE, daemon.reload()).await;
        let refusal = reload.expect("the reload waits for the store").unwrap_err();
        assert!(refusal.contains("the store"), "{refusal}");
        let stopped = tokio::time::timeout(PATIENCE, daemon.stop()).await;
        assert!(
            stopped.expect("a stop").is_err(),
            "the last commit was meant to fail"
        );
    }
}
