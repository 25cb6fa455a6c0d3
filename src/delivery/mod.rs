//! L4: the outbox loop: leases actions, performs them, records what became of them.
//!
//! Uses `actions`, `store`, `model`; knows nothing of the pipeline. What was done reaches the engine as own events in
//! the store, written in the transaction that records it.
//!
//! In: actions that are due. Out: calls to revokers and notifiers, and for each action exactly one end (O3). Delivery is
//! at least once: a try whose answer was lost is repeated with the same id. The daily digest and the summary of what is
//! held for its age are made here and then sent like any notification. Revocations and notifications are two queues
//! with workers of their own, so that a mail server that hangs delays no revocation. A revocation that was answered is
//! done when the events show it, and tried again when they show the contrary (see the file `verify`). Each revoker and
//! receiver has a gate of its own, so that one that is slow or dead delays no other (see the file `gates`).

mod bulletins;
mod circuit;
mod digest;
mod follow;
mod gates;
mod notify;
mod perform;
mod recheck;
mod reminders;
mod report;
mod routes;
pub mod schedule;
mod take_back;
mod tell;
mod verify;
mod withheld;
mod worker;

pub use bulletins::Digests;
pub use digest::Memory;
pub use report::{PutOff, Report, TargetKind};
pub use routes::{Routes, RuleLabels};
pub use withheld::Withheld;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::actions::{Notifier, Revokers, RuleNote};
use crate::clock::Mandate;
use crate::config::{Budget, Shared, TargetLimits};
use crate::model::limits::{
    DELIVERY_LANES, DELIVERY_LOOK_EVERY, LEASE, NOTIFICATION_TIMEOUT, REVOCATION_TIMEOUT,
};
use crate::model::{Text, Timestamp};
use crate::store::{Queue, Store, StoreError};

use gates::Gates;
use worker::Worker;

/// Who performs what; replaced as a whole when the configuration is read again.
#[derive(Clone, Default)]
pub struct Performers {
    /// The first that fits is taken.
    pub revokers: Revokers,
    /// Each gets what the routes lead to it.
    pub notifiers: Vec<Arc<dyn Notifier>>,
    pub routes: Routes,
    /// What the rules' authors say, by rule.
    pub rules: BTreeMap<Text, RuleNote>,
    /// An action whose event is older than this is held.
    pub act_within: Duration,
    /// By wall time; what a person has approved goes beyond it.
    pub budget: Budget,
    /// Users never to be acted on, whoever approves it.
    pub never_act_on: Vec<Text>,
    /// Networks that nobody blocks.
    pub shared: Shared,
    /// The ceiling over every rule is below `enforce`.
    pub performs_nothing: bool,
    pub digests: Digests,
    /// How much each revoker and receiver is asked; those that are not named here as usual.
    pub limits: BTreeMap<(TargetKind, Text), TargetLimits>,
}

impl Performers {
    fn limits_of(&self, kind: TargetKind, name: &Text) -> TargetLimits {
        let of = self.limits.get(&(kind, name.clone()));
        of.copied().unwrap_or_default()
    }

    /// Of all notifiers.
    fn names(&self) -> Vec<Text> {
        let names = self.notifiers.iter();
        names.map(|notifier| notifier.name().clone()).collect()
    }
}

/// How the loop runs.
#[derive(Clone)]
pub struct Options {
    /// Names this process in leases; another one for each start.
    pub owner: Text,
    /// How long running tries may go on after the stop; what is left then is done again under its lease.
    pub grace_period: Duration,
    /// How often to look without having been called.
    pub look_every: Duration,
    /// One call to a revoker, and one to a notifier, at most.
    pub revocation_timeout: Duration,
    pub notification_timeout: Duration,
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Ends when so much time has passed: on this machine, or where time is simulated too.
    pub sleep: Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>,
    /// Revokers that must not act for now.
    pub withheld: Withheld,
    /// Tells the digest what became of families.
    pub memory: Arc<dyn Memory>,
    /// Nothing is begun, or gone on with, outside while it does not hold.
    pub mandate: Mandate,
}

impl Options {
    pub fn new(owner: impl Into<Text>, grace_period: Duration, now: fn() -> Timestamp) -> Self {
        Self {
            owner: owner.into(),
            grace_period,
            look_every: DELIVERY_LOOK_EVERY,
            revocation_timeout: REVOCATION_TIMEOUT,
            notification_timeout: NOTIFICATION_TIMEOUT,
            now: Arc::new(now),
            sleep: Arc::new(|duration| Box::pin(tokio::time::sleep(duration))),
            withheld: Withheld::default(),
            memory: Arc::new(()),
            mandate: Mandate::default(),
        }
    }
}

/// The outbox loop.
pub struct Delivery {
    worker: Arc<Worker>,
}

impl Delivery {
    pub fn new(
        store: Store,
        performers: watch::Receiver<Arc<Performers>>,
        report: Arc<dyn Report>,
        options: Options,
    ) -> Self {
        let worker = Worker {
            store,
            performers,
            gates: Gates::new(Arc::clone(&report)),
            report,
            options,
            leases: AtomicU64::new(0),
            counting: tokio::sync::Mutex::new(()),
        };
        Self {
            worker: Arc::new(worker),
        }
    }

    /// Performs what is due until cancelled; then lets running tries end.
    pub async fn run(self, cancel: CancellationToken) {
        tokio::join!(
            self.work_off(Queue::Revocations, &cancel),
            self.work_off(Queue::Notifications, &cancel),
            self.worker.make_bulletins(&cancel),
            follow::follow_up(&self.worker, &cancel),
            self.worker.remind(&cancel),
            self.worker.verify(&cancel),
            self.worker.take_back(&cancel)
        );
    }

    async fn work_off(&self, queue: Queue, cancel: &CancellationToken) {
        let mut arrivals = self.worker.store.arrivals();
        let mut running = JoinSet::new();
        let mut trouble = false;
        while !cancel.is_cancelled() {
            // What arrives from here on is heard, also while we look.
            arrivals.mark_unchanged();
            let pause = match self.start_due(queue, &mut running).await {
                Ok(pause) => {
                    trouble = false;
                    pause
                }
                Err(error) => {
                    self.worker.report.store_failed();
                    // Said once: it is tried again every second.
                    if !std::mem::replace(&mut trouble, true) {
                        tracing::warn!(%error, "Actions cannot be taken from the store; trying again until it works");
                    }
                    self.worker.options.look_every
                }
            };
            let full = running.len() >= DELIVERY_LANES;
            tokio::select! {
                () = cancel.cancelled() => {}
                Some(ended) = running.join_next(), if !running.is_empty() => report_panic(ended),
                _ = arrivals.changed(), if !full => {}
                () = self.worker.sleep(pause), if !full => {}
            }
        }
        self.drain(running).await;
    }

    /// Starts as much as there is room for, and tells how long nothing more is due.
    async fn start_due(
        &self,
        queue: Queue,
        running: &mut JoinSet<()>,
    ) -> Result<Duration, StoreError> {
        let worker = &self.worker;
        let room = u32::try_from(DELIVERY_LANES.saturating_sub(running.len())).unwrap_or(0);
        if room > 0 && worker.options.mandate.holds() {
            let now = worker.now();
            let leased = worker
                .store
                .lease_due(
                    queue,
                    now,
                    &worker.lease_name(),
                    worker::later(now, LEASE),
                    room,
                )
                .await?;
            for action in leased {
                let worker = worker.clone();
                running.spawn(async move { worker.deliver(action).await });
            }
            worker.pass_canary(queue).await?;
        }
        let due = worker.store.next_due(queue).await?;
        let pause = due.map(|due| due.duration_since(worker.now()));
        // What is due but of a busy lane becomes free by an arrival; looking more often would not help.
        Ok(pause
            .and_then(|pause| Duration::try_from(pause).ok())
            .filter(|pause| !pause.is_zero())
            .map_or(self.worker.options.look_every, |pause| {
                pause.min(self.worker.options.look_every)
            }))
    }

    async fn drain(&self, mut running: JoinSet<()>) {
        let ends = async {
            while let Some(ended) = running.join_next().await {
                report_panic(ended);
            }
        };
        let grace_period = self.worker.options.grace_period;
        if self.worker.within(grace_period, ends).await.is_none() {
            tracing::warn!(
                left = running.len(),
                "Tries at actions were still running at the end of the grace period; they will be made again"
            );
            running.shutdown().await;
        }
    }
}

/// A panic in an adapter ends its try, not the loop; the action is due again when its lease has ended.
fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "A try at an action ended in a fault of the program; it will be made again");
    }
}
