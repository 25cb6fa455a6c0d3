//! The daemon: starts every part, supervises them, and stops them in order.
//!
//! A stop goes with the flow: sources first, then what they handed over is judged and committed and the state saved,
//! then running attempts end, then the listeners and the store close. A part that ends by itself ends the daemon.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::adapters::{EngineMemory, InboxOf, OwnEvents, StoreClaims, StoreInbox};
use super::archive;
use super::audited;
use super::board::Board;
use super::control::Controls;
use super::key::{self, Keys};
use super::loaded::Loaded;
use super::watch::{Deliveries, Watch};
use super::{chores, parts};
use crate::admin::{self, Guard, Listening};
use crate::clock;
use crate::config::{Config, Source as SourceConfig, SourceKind};
use crate::decode::TokenKey;
use crate::delivery::{Delivery, Options, Performers};
use crate::metrics::top::Top;
use crate::metrics::{self, Metrics};
use crate::model::{
    AuditKind, AuditNote, DAEMON, Position, SourcePartition, Text, Timestamp, limits,
};
use crate::pipeline::{Ingest, OWN_SOURCE, Standing, Worker, restore};
use crate::sources::own_table::TableTail;
use crate::sources::{Context, Source, file::FileTail, kafka::Kafka, sql::SqlTail, webhook};
use crate::store::{OpenAs, Store};
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
        let (batch_sender, batches) = mpsc::channel(limits::BATCHES_WAITING_MAX);
        let (control_sender, control) = mpsc::channel(64);
        let (performers_sender, performers) = watch::channel(Arc::clone(&loaded.performers));
        let (sources, rest) = (CancellationToken::new(), CancellationToken::new());
        let archive = archive::open(&loaded.config, &board)?;
        let mut worker = Worker::new(
            loaded.forms.clone(),
            Arc::clone(&loaded.tables),
            parts::engine(&loaded.config, &loaded.rules),
            parts::policy(&loaded.config),
        )
        .with_lateness(source_names(&loaded.config).into_iter().collect());
        if archive.scribe.is_some() {
            worker = worker.naming_families();
        }
        let standing = Arc::new(Standing::new(restored(&store, &mut worker).await?));
        let owner: Text = format!("{} {}", std::process::id(), clock::now()).into();
        let watch = Watch::new(
            metrics.clone(),
            loaded.names(),
            Arc::clone(&top),
            Arc::clone(&board),
        );
        let ingest = Ingest {
            store: store.clone(),
            worker,
            batches,
            control,
            owner: owner.clone(),
            observer: Box::new(watch),
            archive: archive.archiving,
            sources: loaded
                .config
                .sources
                .iter()
                .map(|s| s.name.clone())
                .collect(),
            standing: Arc::clone(&standing),
            snapshot_every: loaded.config.store.snapshot_every,
            now: clock::now,
            cancel: rest.clone(),
        };
        let claims = StoreClaims {
            store: store.clone(),
            owner: owner.clone(),
            standing,
            control: control_sender.clone(),
        };
        let context = Context {
            batches: batch_sender,
            claims: Arc::new(claims),
            status: Arc::<Board>::clone(&board),
            cancel: sources.clone(),
            now: clock::steady,
        };
        let controls = Arc::new(Controls::new(
            loaded,
            keys,
            metrics.clone(),
            registry,
            store.clone(),
            top,
            Arc::clone(&board),
            control_sender,
            performers_sender,
            archive.keeper,
        ));
        let mut daemon = Self {
            store,
            addresses: Vec::new(),
            parts: JoinSet::new(),
            sources,
            rest,
            controls,
        };
        daemon.listen().await?;
        daemon.tell_start().await?;
        daemon.spawn_ingest(ingest);
        if let Some(scribe) = archive.scribe {
            daemon.spawn_thread("archive", async {
                scribe.run().await;
                Ok(())
            });
        }
        daemon.spawn_sources(&context);
        daemon.spawn_delivery(owner, performers, &metrics);
        daemon.spawn_chores();
        Ok(daemon)
    }

    /// Waits until a part ends by itself; a daemon does not.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        match self.parts.join_next().await {
            Some(Ok(Ok(()))) => anyhow::bail!("a part of the daemon ended by itself"),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(panic)) => Err(panic).context("a part of the daemon broke"),
            None => Ok(()),
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
        self.tell_stop(&result).await;
        self.store.close().await;
        result
    }

    /// Before anything is decided: what cannot be told is not begun.
    async fn tell_start(&self) -> anyhow::Result<()> {
        let loaded = self.controls.loaded();
        let note = audited::in_force(AuditKind::Started, DAEMON, &loaded);
        audited::tell(&self.store, note)
            .await
            .map_err(anyhow::Error::msg)
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

    async fn listen(&mut self) -> Result<(), StartError> {
        let http = self.controls.config().http.clone();
        let mut serving = Vec::new();
        if let Some(ops) = http.ops {
            let guard = Guard::new(ops.listen, ops.token.as_ref()).map_err(anyhow::Error::msg)?;
            let health: Arc<dyn admin::Health> = self.controls.clone();
            serving.push((
                "ops",
                ops.listen,
                None,
                admin::ops(admin::Ops { health, guard }),
            ));
        }
        if let Some(api) = http.api {
            let guard = Guard::of_people(api.listen, api.token.as_ref(), &api.tokens)
                .map_err(anyhow::Error::msg)?;
            let control: Arc<dyn admin::Control> = self.controls.clone();
            serving.push((
                "api",
                api.listen,
                None,
                admin::api(admin::Api {
                    store: self.store.clone(),
                    control,
                    guard,
                    now: clock::now,
                }),
            ));
        }
        if let Some(ingest) = http.ingest {
            let inbox = Arc::new(StoreInbox(self.store.clone()));
            let report: Arc<dyn webhook::Report> = self.controls.board.clone();
            let webhooks = webhooks(&self.controls.config());
            let router = webhook::router(webhooks, inbox, report, clock::now);
            let tls = ingest
                .tls
                .map(|(certificate, key)| admin::Tls { certificate, key });
            serving.push(("ingest", ingest.listen, tls, router));
        }
        for (name, address, tls, router) in serving {
            let listening = Listening::open(name, address, tls.as_ref())
                .await
                .map_err(anyhow::Error::new)?;
            self.addresses.push((
                name,
                listening
                    .address()
                    .context("the listener's address is not known")?,
            ));
            let cancel = self.rest.clone();
            self.parts.spawn(async move {
                listening.serve(router, cancel).await;
                Ok(())
            });
        }
        Ok(())
    }

    /// The engine gets a thread of its own; a runtime of one thread lets it wait for batches and commits there.
    fn spawn_ingest(&mut self, ingest: Ingest) {
        self.spawn_thread("ingest", async {
            ingest.run().await.map_err(anyhow::Error::new)
        });
    }

    fn spawn_thread(
        &mut self,
        name: &'static str,
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let (done, ended) = tokio::sync::oneshot::channel();
        let handle = tokio::runtime::Handle::current();
        let spawned = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Nobody waits for the answer any more when the daemon gave up waiting.
                drop(done.send(handle.block_on(part)));
            });
        self.parts.spawn(async move {
            spawned.with_context(|| format!("no thread for part {name}"))?;
            ended.await.with_context(|| format!("part {name} broke"))?
        });
    }

    fn spawn_sources(&mut self, context: &Context) {
        let mut sources: Vec<Box<dyn Source>> = self
            .controls
            .config()
            .sources
            .iter()
            .map(|source| self.source(source))
            .collect();
        sources.push(Box::new(TableTail::own(
            OWN_SOURCE.into(),
            Arc::new(OwnEvents(self.store.clone())),
        )));
        for source in sources {
            let (context, name) = (context.clone(), source.name().clone());
            let cancelled = context.cancel.clone();
            self.parts.spawn(async move {
                source
                    .run(context)
                    .await
                    .with_context(|| format!("source {name}"))?;
                // A source that was told to stop has; the part is over when the daemon is.
                cancelled.cancelled().await;
                Ok(())
            });
        }
    }

    fn source(&self, source: &SourceConfig) -> Box<dyn Source> {
        let (name, start, warm_up) = (source.name.clone(), source.start, source.warm_up);
        match &source.kind {
            SourceKind::Kafka(kafka) => Box::new(Kafka::new(name, kafka.clone(), start, warm_up)),
            SourceKind::File(file) => Box::new(FileTail::new(name, file.clone(), start, warm_up)),
            SourceKind::Sql(sql) => Box::new(SqlTail::new(name, start, warm_up, sql.clone())),
            SourceKind::Webhook(_) => {
                let inbox = InboxOf {
                    store: self.store.clone(),
                    source: name.clone(),
                };
                Box::new(TableTail::inbox(name, Arc::new(inbox)))
            }
        }
    }

    fn spawn_delivery(
        &mut self,
        owner: Text,
        performers: watch::Receiver<Arc<Performers>>,
        metrics: &Metrics,
    ) {
        let mut options = Options::new(owner, self.controls.grace_period(), clock::now);
        options.withheld = self.controls.withheld.clone();
        options.memory = Arc::new(EngineMemory(self.controls.control.clone()));
        let delivery = Delivery::new(
            self.store.clone(),
            performers,
            Arc::new(Deliveries(metrics.clone())),
            options,
        );
        let cancel = self.rest.clone();
        self.parts.spawn(async move {
            delivery.run(cancel).await;
            Ok(())
        });
    }

    fn spawn_chores(&mut self) {
        let (controls, cancel) = (Arc::clone(&self.controls), self.rest.clone());
        self.parts.spawn(async move {
            chores::run(controls, cancel).await;
            Ok(())
        });
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

/// Restores the newest usable state, and gives the positions it stands for.
async fn restored(
    store: &Store,
    worker: &mut Worker,
) -> anyhow::Result<BTreeMap<SourcePartition, Position>> {
    let Some(snapshot) = store.load_snapshot().await? else {
        return Ok(BTreeMap::new());
    };
    if restore(worker, &snapshot) {
        let sizes = worker.engine.sizes();
        tracing::info!(
            families = sizes.families,
            users = sizes.users,
            "Restored the state"
        );
        worker.judged_before(store.detections_since_snapshot().await?);
        return Ok(snapshot.positions);
    }
    tracing::warn!(
        "The saved state has a form that this version does not know; it goes on from the committed positions without it"
    );
    Ok(BTreeMap::new())
}

fn source_names(config: &Config) -> Vec<(Text, std::time::Duration)> {
    config
        .sources
        .iter()
        .map(|source| (source.name.clone(), source.lateness))
        .collect()
}

fn webhooks(config: &Config) -> Vec<(Text, crate::config::WebhookSource)> {
    let webhook = |source: &SourceConfig| match &source.kind {
        SourceKind::Webhook(webhook) => Some((source.name.clone(), webhook.clone())),
        _ => None,
    };
    config.sources.iter().filter_map(webhook).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use sqlx::{Connection as _, SqliteConnection};

    use super::*;
    use crate::admin::{Health as _, Readiness};
    use crate::pipeline::Control;

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
