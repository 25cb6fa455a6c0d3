//! The parts that run while a daemon leads, each with what it needs of the others.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::Daemon;
use crate::app::adapters::{InboxOf, OwnEvents, Remembered, StoreClaims};
use crate::app::ahead::Restored;
use crate::app::archive::Keeper;
use crate::app::board::Board;
use crate::app::chores;
use crate::app::watch::{Deliveries, Watch};
use crate::clock::{self, Mandate};
use crate::config::{Source as SourceConfig, SourceKind};
use crate::delivery::{Delivery, Options, Performers};
use crate::model::{OWN_SOURCE, Text, limits};
use crate::pipeline::{Ingest, Preparer};
use crate::sources::canary::Canaries;
use crate::sources::kafka::{self, Kafka};
use crate::sources::own_table::TableTail;
use crate::sources::{Context, Source, file::FileTail, sql::SqlTail};

impl Daemon {
    /// Begins to read, decide and act: it leads.
    pub(super) async fn begin(&mut self) -> anyhow::Result<()> {
        let Some(waiting) = self.waiting.take() else {
            return Ok(());
        };
        let (controls, lead) = (&self.controls, Arc::clone(&self.controls.lead));
        let (owner, mandate) = (lead.owner.clone(), lead.mandate.clone());
        let keeper = tokio::spawn(async move { lead.keep().await });
        self.keeper = Some(AbortOnDropHandle::new(keeper));
        let loaded = controls.loaded();
        let mut pause = limits::STORE_RETRY_MIN;
        let restored = loop {
            match waiting.ahead.state(&self.store, &loaded).await {
                Ok(restored) => break restored,
                Err(error) => self.pause(error, &mut pause).await?,
            }
        };
        let standing = restored.standing();
        let Restored { worker, .. } = restored;
        let (batch_sender, batches) = mpsc::channel(limits::BATCHES_WAITING_MAX);
        let watch = Watch::new(
            waiting.metrics.clone(),
            loaded.names(),
            waiting.top,
            Arc::clone(&controls.board),
        );
        let ingest = Ingest {
            store: self.store.clone(),
            preparer: Preparer::new(loaded.forms.clone(), Arc::clone(&loaded.tables)),
            worker,
            batches,
            control: waiting.control,
            owner: owner.clone(),
            observer: Box::new(watch),
            archive: waiting.archiving,
            sources: loaded
                .config
                .sources
                .iter()
                .map(|s| s.name.clone())
                .collect(),
            standing: Arc::clone(&standing),
            snapshot_every: loaded.config.store.snapshot_every,
            now: clock::now,
            cancel: self.rest.clone(),
        };
        let claims = StoreClaims {
            store: self.store.clone(),
            owner: owner.clone(),
            standing,
            control: controls.control.clone(),
            mandate: mandate.clone(),
        };
        let context = Context {
            batches: batch_sender,
            claims: Arc::new(claims),
            status: Arc::<Board>::clone(&controls.board),
            cancel: self.sources.clone(),
            now: clock::steady,
        };
        let mut pause = limits::STORE_RETRY_MIN;
        while let Err(error) = self.tell_start().await {
            self.pause(error, &mut pause).await?;
        }
        self.spawn_ingest(ingest);
        if let Some(scribe) = waiting.scribe {
            self.spawn_thread("archive", async {
                scribe.run().await;
                Ok(())
            });
        }
        let (arrived, arrivals) = watch::channel(None);
        self.spawn_sources(&context, Canaries::new(owner.clone(), arrivals));
        let report = Deliveries {
            metrics: waiting.metrics,
            arrived,
        };
        self.spawn_delivery(owner, mandate, waiting.performers, report);
        self.spawn_chores();
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

    fn spawn_sources(&mut self, context: &Context, canaries: Canaries) {
        let own = TableTail::own(OWN_SOURCE.into(), Arc::new(OwnEvents(self.store.clone())));
        let looked = own.looked();
        self.spawn_source(context, Box::new(own), std::future::ready(()));
        self.spawn_source(context, Box::new(canaries), std::future::ready(()));
        for source in &self.controls.config().sources {
            let mut looked = looked.clone();
            self.spawn_source(context, self.source(source), async move {
                // That it never will says the same: then all of them are stopped.
                drop(looked.wait_for(|looked| *looked).await);
            });
        }
    }

    fn spawn_source(
        &mut self,
        context: &Context,
        source: Box<dyn Source>,
        before: impl Future<Output = ()> + Send + 'static,
    ) {
        let (context, name) = (context.clone(), source.name().clone());
        let cancelled = context.cancel.clone();
        self.parts.spawn(async move {
            tokio::select! {
                () = cancelled.cancelled() => return Ok(()),
                () = before => {}
            }
            source
                .run(context)
                .await
                .with_context(|| format!("source {name}"))?;
            // A source that was told to stop has; the part is over when the daemon is.
            cancelled.cancelled().await;
            Ok(())
        });
    }

    fn source(&self, source: &SourceConfig) -> Box<dyn Source> {
        let (name, start, warm_up) = (source.name.clone(), source.start, source.warm_up);
        match &source.kind {
            SourceKind::Kafka(kafka) => {
                let mut kafka = kafka.clone();
                kafka::be_one_member(&mut kafka, &name, &self.controls.lead.store_id);
                Box::new(Kafka::new(name, kafka, start, warm_up))
            }
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
        mandate: Mandate,
        performers: watch::Receiver<Arc<Performers>>,
        report: Deliveries,
    ) {
        let mut options = Options::new(owner, self.controls.grace_period(), clock::now);
        options.withheld = self.controls.withheld.clone();
        options.memory = Arc::new(Remembered {
            engine: self.controls.control.clone(),
            stories: self.controls.archive.as_ref().map(Keeper::stories),
        });
        options.mandate = mandate;
        let delivery = Delivery::new(self.store.clone(), performers, Arc::new(report), options);
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
