//! The ingest loop when a partition has another owner by the time of the commit: what it caused is not written, what the
//! others caused is, and nothing is lost when the partition comes back. And when the state is saved while batches come.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokenwarden::app::parts::named_decoder;
use tokenwarden::config::{Client, Clients, Response, Rotation, Tenants};
use tokenwarden::decode::TokenKey;
use tokenwarden::engine::{Counters, Engine, Sizes};
use tokenwarden::model::{
    BreakerReport, Claim, Commit, Mode, Output, Position, RawBatch, RawRecord, SourcePartition,
    StartAt, Text, Timestamp,
};
use tokenwarden::pipeline::{
    Archiving, Control, Ingest, IngestError, Observer, Prepared, Preparer, Reload, Restorable,
    Standing, Taken, Worker, restore,
};
use tokenwarden::respond::{Allowed, Policy};
use tokenwarden::store::{ActionFilter, CommitReport, DetectionFilter, Store};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::store_suite::{ALL, at, partition};

/// Longest wait: twenty seconds.
const TRIES: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Nobody;

impl Observer for Nobody {
    fn rule_errors(&mut self, _: &Text, _: u64) {}
    fn batch(&mut self, _: &Prepared, _: &Taken, _: Duration) {}
    fn committed(&mut self, _: &Commit, _: CommitReport, _: Timestamp, _: Duration) {}
    fn store_down(&mut self, _: &str) {}
    fn engine(&mut self, _: Sizes, _: Counters, _: Option<Timestamp>) {}
    fn breakers(&mut self, _: Vec<BreakerReport>) {}
    fn saved(&mut self, _: usize) {}
    fn reloaded(&mut self, _: &Reload) {}
}

pub(crate) fn worker() -> Worker {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let rules = tokenwarden::rules::load(&[folder], &[]).unwrap();
    let clients = Clients {
        default: Client {
            rotation: Rotation::Enforced,
            ..Client::default()
        },
        ..Clients::default()
    };
    let policy = Policy::new(Allowed {
        mode: Mode::Enforce,
        clients: clients.clone(),
        tenants: Tenants::default(),
        response: Response::default(),
        shared: tokenwarden::config::Shared::default(),
        performed: tokenwarden::config::KEYCLOAK_ACTIONS.to_vec(),
    });
    let engine = Engine::new(&rules, clients, Duration::from_mins(2));
    Worker::new(engine, policy)
}

pub(crate) fn preparer() -> Preparer {
    let form = named_decoder("tokenwarden", None, TokenKey::new(b"key")).unwrap();
    Preparer::new(HashMap::from([("events".into(), form)]), Arc::default())
}

/// The loop of the daemon `us`, which saves nothing meanwhile.
pub(crate) fn ingest(
    store: Store,
    (batches, control): (mpsc::Receiver<RawBatch>, mpsc::Receiver<Control>),
    now: fn() -> Timestamp,
    cancel: CancellationToken,
) -> Ingest {
    Ingest {
        store,
        preparer: preparer(),
        worker: worker(),
        batches,
        control,
        owner: "us".into(),
        observer: Box::new(Nobody),
        archive: Archiving::default(),
        sources: BTreeSet::new(),
        standing: Arc::default(),
        snapshot_every: Duration::from_hours(1),
        now,
        cancel,
    }
}

/// The loop of the daemon `us`, and a store.
struct Desk {
    store: Store,
    _folder: TempDir,
    batches: mpsc::Sender<RawBatch>,
    control: mpsc::Sender<Control>,
    standing: Arc<Standing>,
    cancel: CancellationToken,
    ingest: Option<Ingest>,
}

impl Desk {
    async fn new() -> Self {
        let (store, folder) = crate::store::open().await;
        let (batches, receiver) = mpsc::channel(16);
        let (control, controls) = mpsc::channel(16);
        let cancel = CancellationToken::new();
        let ingest = ingest(
            store.clone(),
            (receiver, controls),
            || at(0),
            cancel.clone(),
        );
        let standing = ingest.standing.clone();
        Self {
            store,
            _folder: folder,
            batches,
            control,
            standing,
            cancel,
            ingest: Some(ingest),
        }
    }

    async fn claim(&self, owner: &str, wanted: &SourcePartition) -> Claim {
        let positions = self.standing.positions();
        let wanted = std::slice::from_ref(wanted);
        let claims = self.store.claim(wanted, owner, &positions, at(0)).await;
        claims.unwrap().remove(0)
    }

    /// Claims it and tells the loop.
    async fn take(&self, wanted: &SourcePartition) -> Claim {
        let claim = self.claim("us", wanted).await;
        let told = self.control.send(Control::Claimed(vec![claim.clone()]));
        assert!(told.await.is_ok());
        claim
    }

    fn start(&mut self) -> JoinHandle<Result<(), IngestError>> {
        tokio::spawn(self.ingest.take().unwrap().run())
    }

    async fn send(&self, batch: RawBatch) {
        self.batches.send(batch).await.unwrap();
    }

    async fn wait_for_position(&self, of: &SourcePartition, position: &str) {
        for _ in 0..TRIES {
            let positions = self.store.positions().await.unwrap();
            if positions.get(of) == Some(&Position(position.into())) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{position} was not committed");
    }

    /// Until there are detections about these and no others.
    async fn wait_for_families(&self, expected: &[&str]) {
        let mut found = Vec::new();
        for _ in 0..TRIES {
            found = families(&self.store).await;
            if found.iter().map(AsRef::as_ref).eq(expected.iter().copied()) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("found {found:?}, not {expected:?}");
    }

    async fn actions(&self) -> Vec<Text> {
        let found = self.store.actions(&ActionFilter::default(), ALL).await;
        let actions = found.unwrap().items.into_iter();
        actions
            .filter_map(|it| it.action.target.family_id)
            .collect()
    }
}

fn batch(claim: &Claim, position: &str, records: &[String]) -> RawBatch {
    let record = |text: &String| RawRecord {
        place: "1".into(),
        payload: text.clone().into_bytes(),
        muted: false,
    };
    RawBatch {
        partition: claim.partition.clone(),
        shard: 0,
        epoch: claim.epoch,
        records: records.iter().map(record).collect(),
        position: Position(position.into()),
        tick: None,
        ended: false,
        arrived_at: Some(at(3600)),
    }
}

fn event(family: &str, second: i64, old: &str, new: &str) -> String {
    format!(
        r#"{{"event_id":"{family}-{second}","time":"{}","type":"refresh","outcome":"success","user_id":"user of {family}","client_id":"web","family_id":"{family}","token_id":"{family}-{old}","new_token_id":"{family}-{new}","ip_address":"198.51.100.7"}}"#,
        at(second)
    )
}

/// A token that was used long ago is taken once more.
fn theft(family: &str) -> Vec<String> {
    [
        (0, "a", "b"),
        (100, "b", "c"),
        (200, "c", "d"),
        (300, "a", "e"),
    ]
    .into_iter()
    .map(|(second, old, new)| event(family, second, old, new))
    .collect()
}

async fn families(store: &Store) -> Vec<Text> {
    let found = store.detections(&DetectionFilter::default(), ALL).await;
    let families: BTreeSet<Text> = found
        .unwrap()
        .items
        .into_iter()
        .filter_map(|it| it.family_id)
        .collect();
    families.into_iter().collect()
}

/// What a worker that has this behind it makes of a theft that nobody has read yet.
fn judged(before: HashSet<Text>) -> (Worker, Output) {
    let claim = Claim {
        partition: partition("0"),
        epoch: 1,
        start: StartAt::Fresh,
    };
    let batch = batch(&claim, "4", &theft("f1"));
    let (mut worker, mut taken) = (worker(), Taken::default());
    worker.judged_before(before);
    worker.take(&mut preparer().prepare(&batch), false, &mut taken);
    (worker, taken.output)
}

#[test]
fn what_was_found_before_is_remembered_and_not_answered_again_whatever_completes_it() {
    let (first, found) = judged(HashSet::new());
    assert!(!found.actions.is_empty());
    let ids = found.detections.iter().map(|it| it.id.clone()).collect();
    let (second, again) = judged(ids);
    assert_eq!(again, Output::default());
    assert_eq!(second.policy.snapshot(), first.policy.snapshot());
}

#[tokio::test]
async fn what_another_owner_judges_is_not_written_until_it_is_ours_again() {
    let mut desk = Desk::new().await;
    let (lost, kept) = (partition("0"), partition("1"));
    let (ours, also) = (desk.take(&lost).await, desk.take(&kept).await);
    desk.send(batch(&ours, "0", &[])).await;
    desk.send(batch(&also, "0", &[])).await;
    let running = desk.start();
    desk.wait_for_position(&kept, "0").await;
    desk.wait_for_position(&lost, "0").await;

    desk.claim("them", &lost).await;
    desk.send(batch(&ours, "4", &theft("f1"))).await;
    desk.send(batch(&ours, "8", &theft("f2"))).await;
    desk.send(batch(&also, "4", &theft("f3"))).await;
    desk.wait_for_families(&["f3"]).await;
    assert!(desk.actions().await.iter().all(|family| **family == *"f3"));
    let positions = desk.store.positions().await.unwrap();
    assert_eq!(positions[&lost], Position("0".into()), "for them to judge");

    // They have ended before they judged anything.
    desk.take(&lost).await;
    desk.wait_for_families(&["f1", "f3"]).await;
    desk.cancel.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_claim_of_our_own_keeps_what_was_judged_before() {
    let mut desk = Desk::new().await;
    let (lost, kept) = (partition("0"), partition("1"));
    let (ours, also) = (desk.take(&lost).await, desk.take(&kept).await);
    desk.send(batch(&ours, "0", &[])).await;
    let running = desk.start();
    desk.wait_for_position(&lost, "0").await;

    // The loop has not heard of it yet.
    let again = desk.claim("us", &lost).await;
    desk.send(batch(&ours, "4", &theft("f1"))).await;
    desk.send(batch(&also, "4", &theft("f3"))).await;
    desk.wait_for_families(&["f1", "f3"]).await;
    let told = desk.control.send(Control::Claimed(vec![again.clone()]));
    assert!(told.await.is_ok());
    desk.send(batch(&again, "8", &theft("f2"))).await;
    desk.wait_for_position(&lost, "8").await;
    desk.cancel.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_daemon_that_lost_everything_stops_and_saves_nothing() {
    let mut desk = Desk::new().await;
    let lost = partition("0");
    let ours = desk.take(&lost).await;
    desk.send(batch(&ours, "0", &[])).await;
    let running = desk.start();
    desk.wait_for_position(&lost, "0").await;
    desk.claim("them", &lost).await;
    desk.send(batch(&ours, "4", &theft("f1"))).await;
    let ended = running.await.unwrap();
    assert!(matches!(ended, Err(IngestError::TakenOver)), "{ended:?}");
    assert_eq!(families(&desk.store).await, [] as [Text; 0]);
}

/// Positions are numbers of families here: whatever is saved must hold as many as its position says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_saved_while_batches_come_holds_what_its_positions_say() {
    const AT_ONCE: usize = 20;
    let mut desk = Desk::new().await;
    desk.ingest.as_mut().unwrap().snapshot_every = Duration::ZERO;
    let ours = desk.take(&partition("0")).await;
    let running = desk.start();
    let (mut families, mut looked_at) = (0, BTreeSet::new());
    // Few, because to look at one takes a second; in the end a state takes several pieces.
    while families < 1000 || looked_at.len() < 3 {
        let records = (families..families + AT_ONCE).map(|n| event(&format!("f{n}"), 0, "a", "b"));
        let records: Vec<String> = records.collect();
        families += AT_ONCE;
        desk.send(batch(&ours, &families.to_string(), &records))
            .await;
        // Slowly: without optimization a state of many is saved for longer than it is made.
        tokio::time::sleep(PAUSE / 2).await;
        let newest = desk.store.newest_snapshot().await.unwrap();
        if newest.is_some_and(|newest| looked_at.insert(newest)) {
            holds_what_it_says(&desk.store).await;
        }
    }
    desk.cancel.cancel();
    running.await.unwrap().unwrap();
    holds_what_it_says(&desk.store).await;
}

async fn holds_what_it_says(store: &Store) {
    let saved = store.load_snapshot().await.unwrap().unwrap();
    let mut worker = worker();
    assert_eq!(restore(&mut worker, &saved), Restorable::All);
    let position = saved.positions.get(&partition("0"));
    let families = position.map_or(0, |it| it.0.parse().unwrap());
    assert_eq!(worker.engine.sizes().families, families);
}
