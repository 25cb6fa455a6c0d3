//! The outbox loop on a real SQLite store, with performers that follow a script and a clock that stands still.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::panic::panic_any;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokenwarden::actions::{Attempt, Claim, Notification, Notifier, Revoker, Revokers, RuleNote};
use tokenwarden::config::{Secret, StoreConfig};
use tokenwarden::delivery::{Delivery, Digests, Options, Performers, Report, Withheld};
use tokenwarden::model::{
    Action, ActionKind, ActionRecord, ActionState, Bulletin, Commit, Decision, Evidence, OwnEvent,
    OwnEventKind, Text,
};
use tokenwarden::store::{AttemptResult, OpenAs, Store};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::store_suite::{action, actions, at, incident, theft};

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
    running: AtomicI64,
    running_most: AtomicI64,
}

impl Script {
    fn new(name: &str, steps: impl IntoIterator<Item = Step>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            steps: Mutex::new(steps.into_iter().collect()),
            calls: Mutex::default(),
            notifications: Mutex::default(),
            bulletins: Mutex::default(),
            running: AtomicI64::new(0),
            running_most: AtomicI64::new(0),
        })
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("calls").clone()
    }

    async fn follow(&self, id: &Text) -> Attempt {
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
        let mine = kind && &*action.target.issuer == "events";
        async move { if mine { Claim::Mine } else { Claim::NotMine } }.boxed()
    }

    fn perform<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Attempt> {
        self.follow(&action.id).boxed()
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
        self.follow(&notification.action.id).boxed()
    }

    fn announce<'a>(&'a self, bulletin: &'a Bulletin) -> BoxFuture<'a, Attempt> {
        self.bulletins
            .lock()
            .expect("bulletins")
            .push(bulletin.clone());
        self.follow(&bulletin.id).boxed()
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

    fn store_failed(&self) {}
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
            rules: BTreeMap::from([(note.rule.clone(), note)]),
            act_within: Duration::from_mins(15),
            digests: Digests::default(),
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
        };
        bench.start("one");
        bench
    }

    fn start(&mut self, owner: &str) {
        let clock = self.clock.clone();
        let options = Options {
            owner: owner.into(),
            grace_period: Duration::from_secs(20),
            look_every: Duration::from_millis(5),
            revocation_timeout: Duration::from_millis(200),
            notification_timeout: Duration::from_millis(200),
            withheld: self.withheld.clone(),
            now: Arc::new(move || at(clock.load(Ordering::SeqCst))),
            memory: Arc::new(()),
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
    for _ in 0..4000 {
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

#[tokio::test]
async fn done_at_the_first_try_is_told_to_all() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    bench.advance(7);
    let id = bench.revoke("u1").await;
    let record = bench.until_state(&id, ActionState::Done).await;
    assert_eq!(
        (record.attempts, record.outcome.as_deref()),
        (1, Some("204 No Content"))
    );
    assert_eq!(
        bench.own_events().await,
        [OwnEventKind::Attempted, OwnEventKind::Done]
    );
    assert_eq!(
        bench.counts(),
        [
            "revoke_family by keycloak: Done",
            "revoke_family done after 7 s"
        ]
    );
}

#[tokio::test]
async fn tries_again_until_it_works() {
    let keycloak = Script::new(
        "keycloak",
        [retry(None), retry(Some(Duration::from_secs(100)))],
    );
    let bench = Bench::new(&[&keycloak], &[]).await;
    let id = bench.revoke("u1").await;
    until("the first try", async || {
        bench.record(&id).await.outcome.is_some()
    })
    .await;
    bench.advance(1);
    until("the second try", async || {
        keycloak.calls().len() == 2 && bench.record(&id).await.state == ActionState::Ready
    })
    .await;
    bench.advance(99);
    a_while().await;
    assert_eq!(keycloak.calls().len(), 2, "the server asked for 100 s");
    bench.advance(1);
    assert_eq!(bench.until_state(&id, ActionState::Done).await.attempts, 3);
    assert_eq!(
        bench.own_events().await,
        [OwnEventKind::Attempted, OwnEventKind::Done]
    );
}

#[tokio::test]
async fn no_answer_is_a_failed_try_and_is_repeated_with_the_same_id() {
    let keycloak = Script::new("keycloak", [Step::Hang]);
    let bench = Bench::new(&[&keycloak], &[]).await;
    let id = bench.revoke("u1").await;
    until("the time-out", async || {
        bench.record(&id).await.outcome.is_some()
    })
    .await;
    let outcome = bench.record(&id).await.outcome.unwrap_or_default();
    assert!(outcome.contains("may have worked"), "{outcome}");
    bench.advance(1);
    bench.until_state(&id, ActionState::Done).await;
    assert_eq!(keycloak.calls(), ["revoke u1", "revoke u1"]);
}

#[tokio::test]
async fn crash_during_a_try_repeats_it_after_the_lease() {
    let keycloak = Script::new("keycloak", [Step::Gate(Arc::new(Semaphore::new(0)))]);
    let mut bench = Bench::new(&[&keycloak], &[]).await;
    let id = bench.revoke("u1").await;
    until("the call", async || !keycloak.calls().is_empty()).await;
    bench.crash().await;
    bench.start("two");
    a_while().await;
    assert_eq!(keycloak.calls().len(), 1, "the lease still runs");
    bench.advance(31);
    assert_eq!(bench.until_state(&id, ActionState::Done).await.attempts, 2);
    assert_eq!(keycloak.calls(), ["revoke u1", "revoke u1"]);
    assert_eq!(
        bench.own_events().await,
        [OwnEventKind::Attempted, OwnEventKind::Done]
    );
}

#[tokio::test]
async fn fault_in_an_adapter_ends_its_try_only() {
    let keycloak = Script::new("keycloak", [Step::Panic]);
    let bench = Bench::new(&[&keycloak], &[]).await;
    let first = bench.revoke("u1").await;
    until("the fault", async || !keycloak.calls().is_empty()).await;
    let second = bench.revoke("u2").await;
    bench.until_state(&second, ActionState::Done).await;
    bench.advance(31);
    bench.until_state(&first, ActionState::Done).await;
}

#[tokio::test]
async fn refused_for_good_is_parked_and_not_repeated() {
    let keycloak = Script::new(
        "keycloak",
        [refused("403: the service account lacks `manage-users`")],
    );
    let bench = Bench::new(&[&keycloak], &[]).await;
    let id = bench.revoke("u1").await;
    let record = bench.until_state(&id, ActionState::Parked).await;
    assert_eq!(
        record.outcome.as_deref(),
        Some("403: the service account lacks `manage-users`")
    );
    bench.advance(600);
    a_while().await;
    assert_eq!(keycloak.calls().len(), 1);
    assert_eq!(
        bench.own_events().await,
        [OwnEventKind::Attempted, OwnEventKind::Parked]
    );
}

#[tokio::test]
async fn given_up_at_the_deadline() {
    let keycloak = Script::new("keycloak", (0..100).map(|_| retry(None)));
    let bench = Bench::new(&[&keycloak], &[]).await;
    let id = bench.revoke("u1").await;
    until("the end", async || {
        bench.advance(20);
        bench.record(&id).await.state == ActionState::Parked
    })
    .await;
    let outcome = bench.record(&id).await.outcome.unwrap_or_default();
    assert!(outcome.starts_with("given up after"), "{outcome}");
    assert_eq!(bench.own_events().await.last(), Some(&OwnEventKind::Parked));
}

#[tokio::test]
async fn nobody_to_perform_it_says_how_to_mend() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    let mut lock = action("lock", ActionKind::LockUser, "u1", Decision::Execute);
    let mut elsewhere = action(
        "elsewhere",
        ActionKind::RevokeFamily,
        "u2",
        Decision::Execute,
    );
    elsewhere.target.issuer = "other".into();
    lock.target.issuer = "events".into();
    bench.commit(&actions(vec![lock, elsewhere])).await;
    for (id, named) in [("lock", "lock_user"), ("elsewhere", "issuer other")] {
        let outcome = bench
            .until_state(id, ActionState::Parked)
            .await
            .outcome
            .unwrap_or_default();
        assert!(
            outcome.contains(named) && outcome.contains("`revokers`"),
            "{outcome}"
        );
    }
    assert!(keycloak.calls().is_empty());
}

#[tokio::test]
async fn too_old_is_held_until_a_person_lets_it_go() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    bench.advance(15 * 60 + 1);
    let id = bench.revoke("u1").await;
    let record = bench.until_state(&id, ActionState::Held).await;
    assert!(
        record
            .outcome
            .as_deref()
            .is_some_and(|why| why.contains("act_within")),
        "{record:?}"
    );
    assert!(keycloak.calls().is_empty() && bench.own_events().await.is_empty());
    assert!(bench.store.release(&id, at(15 * 60 + 1)).await.unwrap());
    bench.until_state(&id, ActionState::Done).await;
}

/// A server that does not do what the configuration says makes every verdict about it doubtful.
#[tokio::test]
async fn a_revoker_in_contradiction_does_nothing_until_a_person_says_so() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    bench.withheld.replace(BTreeMap::from([(
        "keycloak".into(),
        "it does not rotate".into(),
    )]));
    let id = bench.revoke("u1").await;
    let record = bench.until_state(&id, ActionState::Held).await;
    assert_eq!(record.outcome.as_deref(), Some("it does not rotate"));
    assert!(keycloak.calls().is_empty());
    assert!(bench.store.release(&id, at(0)).await.unwrap());
    bench.until_state(&id, ActionState::Done).await;
    bench.withheld.replace(BTreeMap::new());
    let later = bench.revoke("u2").await;
    bench.until_state(&later, ActionState::Done).await;
}

#[tokio::test]
async fn actions_on_one_user_go_one_after_the_other() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    let ids: Vec<String> = (0..12).map(|n| format!("action {n:02}")).collect();
    let all = ids
        .iter()
        .map(|id| action(id, ActionKind::RevokeFamily, "u1", Decision::Execute));
    bench.commit(&actions(all.collect())).await;
    bench.until_state("action 11", ActionState::Done).await;
    assert_eq!(keycloak.calls(), ids);
    assert_eq!(keycloak.running_most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn actions_on_several_users_go_side_by_side_within_the_bound() {
    let gate = Arc::new(Semaphore::new(0));
    let keycloak = Script::new("keycloak", (0..30).map(|_| Step::Gate(gate.clone())));
    let bench = Bench::new(&[&keycloak], &[]).await;
    let all = (0..30).map(|n| {
        action(
            &format!("{n}"),
            ActionKind::RevokeFamily,
            &format!("u{n}"),
            Decision::Execute,
        )
    });
    bench.commit(&actions(all.collect())).await;
    until("a full house", async || keycloak.calls().len() == 8).await;
    gate.add_permits(30);
    until("all done", async || {
        bench.store.gauges().await.unwrap().pending.is_empty()
    })
    .await;
    let mut calls = keycloak.calls();
    calls.sort();
    calls.dedup();
    assert_eq!(calls.len(), 30);
    assert_eq!(keycloak.running_most.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn mail_waits_for_the_outcome_and_says_it() {
    let gate = Arc::new(Semaphore::new(0));
    let keycloak = Script::new("keycloak", [Step::Gate(gate.clone())]);
    let mail = Script::new("on-call", []);
    let bench = Bench::new(&[&keycloak], &[&mail]).await;
    bench
        .commit(&Commit {
            output: theft("u1"),
            ..Commit::default()
        })
        .await;
    until("the revocation", async || !keycloak.calls().is_empty()).await;
    a_while().await;
    assert!(mail.calls().is_empty());
    gate.add_permits(1);
    let record = bench.until_state("notify u1", ActionState::Done).await;
    assert_eq!(
        (record.attempts, record.outcome.as_deref()),
        (1, Some("told on-call (204 No Content)"))
    );
    let notification = mail.notifications.lock().unwrap().remove(0);
    assert_eq!(notification.actions.len(), 1);
    assert_eq!(notification.actions[0].state, ActionState::Done);
    assert_eq!(
        notification.incident,
        incident("u1", tokenwarden::model::Severity::Critical)
    );
    assert_eq!(
        (
            notification.detections.len(),
            notification.rules.len(),
            notification.specimen
        ),
        (1, 1, false)
    );
}

#[tokio::test]
async fn mail_waits_no_longer_than_fifteen_seconds() {
    let keycloak = Script::new("keycloak", [retry(Some(Duration::from_mins(5)))]);
    let mail = Script::new("on-call", []);
    let bench = Bench::new(&[&keycloak], &[&mail]).await;
    bench
        .commit(&Commit {
            output: theft("u1"),
            ..Commit::default()
        })
        .await;
    until("the failed try", async || {
        bench.record("revoke u1").await.outcome.is_some()
    })
    .await;
    bench.advance(14);
    a_while().await;
    assert!(mail.calls().is_empty());
    bench.advance(1);
    bench.until_state("notify u1", ActionState::Done).await;
    assert_eq!(
        mail.notifications.lock().unwrap()[0].actions[0].state,
        ActionState::Ready
    );
}

#[tokio::test]
async fn each_receiver_is_told_once() {
    let (mail, siem) = (
        Script::new("on-call", []),
        Script::new("siem", [retry(None), Step::Hang]),
    );
    let bench = Bench::new(&[], &[&mail, &siem]).await;
    bench
        .commit(&Commit {
            output: theft("u1"),
            ..Commit::default()
        })
        .await;
    until("both failures", async || {
        bench.advance(1);
        siem.calls().len() == 3
    })
    .await;
    let record = bench.until_state("notify u1", ActionState::Done).await;
    assert_eq!(
        record.outcome.as_deref(),
        Some("told on-call (204 No Content), siem (204 No Content)")
    );
    assert_eq!(mail.calls(), ["notify u1"]);
}

#[tokio::test]
async fn receiver_that_refuses_silences_nobody() {
    let (dead, mail) = (
        Script::new("dead", [refused("550 no such user")]),
        Script::new("on-call", [retry(None)]),
    );
    let bench = Bench::new(&[], &[&dead, &mail]).await;
    bench
        .commit(&Commit {
            output: theft("u1"),
            ..Commit::default()
        })
        .await;
    until("the first round", async || {
        bench.record("notify u1").await.outcome.is_some()
    })
    .await;
    bench.advance(1);
    let record = bench.until_state("notify u1", ActionState::Parked).await;
    assert_eq!(
        record.outcome.as_deref(),
        Some("told on-call (204 No Content), but refused by dead (550 no such user)")
    );
    assert_eq!((dead.calls().len(), mail.calls().len()), (1, 2));

    bench.advance(60);
    bench
        .store
        .release(&"notify u1".into(), at(bench.clock.load(Ordering::SeqCst)))
        .await
        .unwrap();
    bench.until_state("notify u1", ActionState::Done).await;
    assert_eq!(
        (dead.calls().len(), mail.calls().len()),
        (2, 2),
        "only the one that refused is asked again"
    );
}

#[tokio::test]
async fn mail_server_that_hangs_delays_no_revocation() {
    let keycloak = Script::new("keycloak", []);
    let never = Arc::new(Semaphore::new(0));
    let mail = Script::new("on-call", (0..20).map(|_| Step::Gate(never.clone())));
    let bench = Bench::new(&[&keycloak], &[&mail]).await;
    for n in 0..20 {
        bench
            .commit(&Commit {
                output: theft(&format!("u{n}")),
                ..Commit::default()
            })
            .await;
    }
    for n in 0..20 {
        bench
            .until_state(&format!("revoke u{n}"), ActionState::Done)
            .await;
    }
}

#[tokio::test]
async fn stop_lets_running_tries_end_and_starts_no_more() {
    let gate = Arc::new(Semaphore::new(0));
    let keycloak = Script::new("keycloak", [Step::Gate(gate.clone())]);
    let mut bench = Bench::new(&[&keycloak], &[]).await;
    let first = bench.revoke("u1").await;
    until("the call", async || !keycloak.calls().is_empty()).await;
    bench.cancel.cancel();
    a_while().await;
    let second = bench.revoke("u2").await;
    gate.add_permits(1);
    bench.stop().await;
    assert_eq!(bench.record(&first).await.state, ActionState::Done);
    assert_eq!(bench.record(&second).await.state, ActionState::Ready);
}

#[tokio::test]
async fn new_performers_serve_from_the_next_action_on() {
    let bench = Bench::new(&[], &[]).await;
    let id = bench.revoke("u1").await;
    bench.until_state(&id, ActionState::Parked).await;
    let keycloak = Script::new("keycloak", []);
    let revokers = Revokers::from_list(vec![keycloak.clone()]);
    bench.performers.send_modify(|performers| {
        *performers = Arc::new(Performers {
            revokers: revokers.clone(),
            ..Performers::clone(performers)
        });
    });
    bench.store.release(&id, at(0)).await.unwrap();
    bench.until_state(&id, ActionState::Done).await;
}
