//! The outbox loop on a real SQLite store, with performers that follow a script and a clock that stands still.

mod follow;
mod lead;
mod measures;
mod notices;
mod recheck;
mod reminders;
mod revocations;
mod routes;
mod targets;
mod verify;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::panic::panic_any;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokenwarden::actions::{
    Attempt, Claim, Followed, Following, Notification, Notifier, Revoker, Revokers, RuleNote,
};
use tokenwarden::clock::Mandate;
use tokenwarden::config::{Secret, StoreConfig, TargetLimits};
use tokenwarden::delivery::{
    Delivery, Memory, Options, Performers, PutOff, Report, Routes, TargetKind, Withheld,
};
use tokenwarden::model::{
    Action, ActionKind, ActionRecord, ActionState, Afterwards, Bulletin, Commit, Decision,
    Detection, Evidence, OwnEvent, OwnEventKind, ShownBy, Target, Text, Timestamp,
};
use tokenwarden::store::{AttemptResult, Consequence, OpenAs, Store};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::store_suite::{action, actions, at};

/// What a scripted performer does at one call.
enum Step {
    Answer(Attempt),
    /// Never answers, though it may have worked.
    Hang,
    Panic,
    /// Answers "done" when the test opens the gate.
    Gate(Arc<Semaphore>),
}

fn done() -> Step {
    Step::Answer(Attempt::Done {
        detail: "204 No Content".into(),
        evidence: Evidence::new(),
    })
}

/// Done, with something to remember of it.
fn raised(memo: &str) -> Step {
    let memo = Evidence::new().with("alert", memo);
    Step::Answer(Attempt::Done {
        detail: "202 Accepted".into(),
        evidence: Evidence::new().with("memo", memo),
    })
}

/// The server says so, and nobody has looked.
fn answered() -> Step {
    Step::Answer(Attempt::Answered {
        detail: "204 No Content".into(),
        evidence: Evidence::new(),
    })
}

fn retry(after: Option<Duration>) -> Step {
    Step::Answer(Attempt::Retry {
        reason: "503 Service Unavailable".into(),
        after,
    })
}

fn refused(reason: &str) -> Step {
    Step::Answer(Attempt::Refused {
        reason: reason.into(),
    })
}

/// A revoker and notifier that follows a script, then answers "done"; it keeps what it was asked.
struct Script {
    name: Text,
    steps: Mutex<VecDeque<Step>>,
    calls: Mutex<Vec<String>>,
    notifications: Mutex<Vec<Notification>>,
    bulletins: Mutex<Vec<Bulletin>>,
    followed: Mutex<Vec<Followed>>,
    following: Option<Following>,
    running: AtomicI64,
    running_most: AtomicI64,
}

impl Script {
    fn new(name: &str, steps: impl IntoIterator<Item = Step>) -> Arc<Self> {
        Self::following(name, steps, None)
    }

    /// One that knows incidents as states.
    fn following(
        name: &str,
        steps: impl IntoIterator<Item = Step>,
        following: Option<Following>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            steps: Mutex::new(steps.into_iter().collect()),
            calls: Mutex::default(),
            notifications: Mutex::default(),
            bulletins: Mutex::default(),
            followed: Mutex::default(),
            following,
            running: AtomicI64::new(0),
            running_most: AtomicI64::new(0),
        })
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("calls").clone()
    }

    async fn play(&self, id: &Text) -> Attempt {
        self.calls.lock().expect("calls").push(id.to_string());
        let step = self
            .steps
            .lock()
            .expect("steps")
            .pop_front()
            .unwrap_or_else(done);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.running_most.fetch_max(running, Ordering::SeqCst);
        // Long enough that others would come in between if they could.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let answer = match step {
            Step::Answer(attempt) => attempt,
            Step::Hang => std::future::pending().await,
            Step::Panic => panic_any("scripted"),
            Step::Gate(gate) => {
                gate.acquire().await.expect("an open gate").forget();
                Attempt::Done {
                    detail: "through the gate".into(),
                    evidence: Evidence::new(),
                }
            }
        };
        self.running.fetch_sub(1, Ordering::SeqCst);
        answer
    }
}

impl Revoker for Script {
    fn name(&self) -> &Text {
        &self.name
    }

    fn claims<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Claim> {
        let kind = matches!(
            action.kind,
            ActionKind::RevokeFamily | ActionKind::RevokeUser
        );
        let issuer = &action.target.issuer;
        let mine = kind && (&**issuer == "events" || *issuer == self.name);
        async move { if mine { Claim::Mine } else { Claim::NotMine } }.boxed()
    }

    fn perform<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Attempt> {
        self.play(&action.id).boxed()
    }
}

impl Notifier for Script {
    fn name(&self) -> &Text {
        &self.name
    }

    fn notify<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt> {
        self.notifications
            .lock()
            .expect("notifications")
            .push(notification.clone());
        self.play(&notification.action.id).boxed()
    }

    fn following(&self) -> Option<Following> {
        self.following
    }

    fn follow<'a>(&'a self, followed: &'a [Followed]) -> BoxFuture<'a, Attempt> {
        self.followed
            .lock()
            .expect("followed")
            .extend(followed.iter().cloned());
        async move { self.play(&"states".into()).await }.boxed()
    }

    fn announce<'a>(&'a self, bulletin: &'a Bulletin) -> BoxFuture<'a, Attempt> {
        self.bulletins
            .lock()
            .expect("bulletins")
            .push(bulletin.clone());
        self.play(&bulletin.id).boxed()
    }
}

/// What the events show of everybody since the question, and how often somebody looked back.
#[derive(Default)]
struct Events {
    seen: Mutex<Afterwards>,
    stories: AtomicI64,
}

impl Events {
    fn show(&self, change: impl FnOnce(&mut Afterwards)) {
        change(&mut self.seen.lock().expect("events"));
    }
}

impl Memory for Events {
    fn afterwards(
        &self,
        families: Vec<(Target, Timestamp)>,
    ) -> BoxFuture<'_, Vec<Option<Afterwards>>> {
        let seen = self.seen.lock().expect("events").clone();
        async move { vec![Some(seen); families.len()] }.boxed()
    }

    fn story<'a>(&'a self, _detection: &'a Detection) -> BoxFuture<'a, Vec<Evidence>> {
        self.stories.fetch_add(1, Ordering::SeqCst);
        async { Vec::new() }.boxed()
    }
}

#[derive(Default)]
struct Counts(Mutex<Vec<String>>);

impl Report for Counts {
    fn attempted(&self, kind: ActionKind, performer: &Text, result: AttemptResult, _: Duration) {
        self.0
            .lock()
            .expect("counts")
            .push(format!("{kind} by {performer}: {result:?}"));
    }

    fn ended(&self, kind: ActionKind, state: ActionState, since_event: Duration) {
        self.0
            .lock()
            .expect("counts")
            .push(format!("{kind} {state} after {} s", since_event.as_secs()));
    }

    fn circuit(&self, kind: TargetKind, target: &Text, is_open: bool) {
        let line = format!("circuit of {} {target}: {is_open}", kind.as_str());
        self.0.lock().expect("counts").push(line);
    }

    fn put_off(&self, kind: TargetKind, target: &Text, why: PutOff) {
        let line = format!("{} {target} put off: {}", kind.as_str(), why.as_str());
        self.0.lock().expect("counts").push(line);
    }

    fn verified(&self, kind: ActionKind, by: ShownBy, is_new: bool) {
        if is_new {
            let line = format!("{kind} verified by {}", by.as_str());
            self.0.lock().expect("counts").push(line);
        }
    }

    fn without_effect(&self, consequence: Consequence) {
        let line = format!("without effect: {}", consequence.as_str());
        self.0.lock().expect("counts").push(line);
    }

    fn store_failed(&self) {}
}

fn limits(
    scripts: &[&Arc<Script>],
    kind: TargetKind,
) -> impl Iterator<Item = ((TargetKind, Text), TargetLimits)> {
    let most = TargetLimits {
        concurrency: 1000,
        per_second: 1000,
    };
    scripts
        .iter()
        .map(move |script| ((kind, script.name.clone()), most))
}

/// A store, a clock and a running loop.
struct Bench {
    store: Store,
    _folder: TempDir,
    /// Seconds since the events happened.
    clock: Arc<AtomicI64>,
    performers: watch::Sender<Arc<Performers>>,
    counts: Arc<Counts>,
    cancel: CancellationToken,
    running: Option<JoinHandle<()>>,
    withheld: Withheld,
    mandate: Mandate,
    events: Arc<Events>,
    /// Of a try.
    timeout: Duration,
}

impl Bench {
    async fn new(revokers: &[&Arc<Script>], notifiers: &[&Arc<Script>]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = StoreConfig {
            url: Secret::new(format!("sqlite://{}/warden.db", folder.path().display())),
            connections_max: 1,
            snapshot_every: Duration::from_mins(1),
        };
        let store = Store::open(&config, OpenAs::Daemon).await.expect("a store");
        let route = |script: &&Arc<Script>| -> Arc<dyn Revoker> { Arc::<Script>::clone(script) };
        let note = RuleNote {
            rule: "token-reuse".into(),
            description: "A token came back".into(),
            runbook: None,
        };
        let performers = Performers {
            revokers: Revokers::from_list(revokers.iter().map(route).collect()),
            notifiers: notifiers
                .iter()
                .map(|script| -> Arc<dyn Notifier> { Arc::<Script>::clone(script) })
                .collect(),
            routes: Routes::default(),
            rules: BTreeMap::from([(note.rule.clone(), note)]),
            act_within: Duration::from_mins(15),
            // The clock stands still: within its second nothing may run into a limit that is not meant.
            limits: limits(revokers, TargetKind::Revoker)
                .chain(limits(notifiers, TargetKind::Receiver))
                .collect(),
            ..Performers::default()
        };
        let mut bench = Self {
            store,
            _folder: folder,
            clock: Arc::new(AtomicI64::new(0)),
            performers: watch::Sender::new(Arc::new(performers)),
            counts: Arc::default(),
            cancel: CancellationToken::new(),
            running: None,
            withheld: Withheld::default(),
            mandate: Mandate::default(),
            events: Arc::default(),
            timeout: Duration::from_secs(2),
        };
        bench.start("one");
        bench
    }

    /// Other performers from now on.
    fn change(&self, change: impl FnOnce(&mut Performers)) {
        let mut performers = Performers::clone(&self.performers.borrow());
        change(&mut performers);
        self.performers.send_replace(Arc::new(performers));
    }

    fn start(&mut self, owner: &str) {
        let clock = self.clock.clone();
        let options = Options {
            owner: owner.into(),
            grace_period: Duration::from_secs(20),
            look_every: Duration::from_millis(5),
            // Long enough that only what hangs on purpose runs into it, also on a busy machine.
            revocation_timeout: self.timeout,
            notification_timeout: self.timeout,
            withheld: self.withheld.clone(),
            now: Arc::new(move || at(clock.load(Ordering::SeqCst))),
            memory: self.events.clone(),
            mandate: self.mandate.clone(),
            ..Options::new("", Duration::ZERO, || Timestamp::UNIX_EPOCH)
        };
        let delivery = Delivery::new(
            self.store.clone(),
            self.performers.subscribe(),
            self.counts.clone(),
            options,
        );
        self.running = Some(tokio::spawn(delivery.run(self.cancel.clone())));
    }

    /// As a kill would: nothing is finished, nothing is given back.
    async fn crash(&mut self) {
        let running = self.running.take().expect("a running loop");
        running.abort();
        assert!(running.await.is_err_and(|error| error.is_cancelled()));
    }

    async fn stop(&mut self) {
        self.cancel.cancel();
        self.running
            .take()
            .expect("a running loop")
            .await
            .expect("a clean stop");
    }

    fn advance(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    /// By less than a lease, and while the action is leased not at all: one that runs out lets another try begin beside the first.
    async fn advance_between_tries(&self, id: &str, seconds: i64) {
        if self.record(id).await.state == ActionState::Ready {
            self.advance(seconds);
        }
    }

    fn now(&self) -> Timestamp {
        at(self.clock.load(Ordering::SeqCst))
    }

    async fn commit(&self, commit: &Commit) {
        self.store
            .commit(commit, at(self.clock.load(Ordering::SeqCst)))
            .await
            .expect("a commit");
    }

    async fn revoke(&self, user: &str) -> Text {
        let id = format!("revoke {user}");
        self.commit(&actions(vec![action(
            &id,
            ActionKind::RevokeFamily,
            user,
            Decision::Execute,
        )]))
        .await;
        id.into()
    }

    async fn record(&self, id: &str) -> ActionRecord {
        self.store
            .action(id)
            .await
            .expect("an answer")
            .expect("the action")
    }

    async fn until_state(&self, id: &str, state: ActionState) -> ActionRecord {
        until(&format!("{id} is {state}"), async || {
            self.record(id).await.state == state
        })
        .await;
        self.record(id).await
    }

    /// What was told is also noted as told: the clock may go on.
    async fn until_noted(&self) {
        until("nothing pending", async || {
            let gauges = self.store.gauges().await.expect("gauges");
            gauges.pending.iter().all(|(_, count)| *count == 0)
        })
        .await;
    }

    /// Performed, held or given up.
    async fn until_over(&self, id: &str) {
        let over = async || {
            let state = self.record(id).await.state;
            !matches!(state, ActionState::Ready | ActionState::Leased)
        };
        until(&format!("{id} is over"), over).await;
    }

    async fn own_events(&self) -> Vec<OwnEventKind> {
        let rows = self
            .store
            .own_events_after(0, 100)
            .await
            .expect("own events");
        rows.iter()
            .map(|row| {
                serde_json::from_slice::<OwnEvent>(&row.payload)
                    .expect("an own event")
                    .kind
            })
            .collect()
    }

    fn counts(&self) -> Vec<String> {
        self.counts.0.lock().expect("counts").clone()
    }
}

async fn until<F: Future<Output = bool>>(what: &str, reached: impl Fn() -> F) {
    for _ in 0..24_000 {
        if reached().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// Long enough for the loop to look many times.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(60)).await;
}
