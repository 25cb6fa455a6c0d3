//! One world in which everything fails: the response policy, a store and the delivery loop as the daemon has them, between
//! findings that come twice and out of order, servers that fail (see `servers`), a clock that jumps, a daemon that dies, and
//! people who decide.
//!
//! What is checked at the end stands in `verdicts`.

mod findings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::TempDir;
use tokenwarden::actions::{Notifier, Revoker, Revokers};
use tokenwarden::config::{
    Budget, Clients, Response, Secret, Shared, StoreConfig, TargetLimits, Tenants,
};
use tokenwarden::delivery::{Delivery, Options, Performers, TargetKind};
use tokenwarden::engine::Found;
use tokenwarden::model::{
    ActionKind, ActionRecord, ActionState, By, Commit, Mode, NoEffect, Output, Severity, Text,
    Timestamp, limits,
};
use tokenwarden::respond::{Allowed, Policy};
use tokenwarden::rules::Rule;
use tokenwarden::simulate::Random;
use tokenwarden::store::{ActionFilter, OpenAs, OpenError, Page, Queue, Row, Ruling, Store, Taken};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::clock::{Clock, Rest};
use super::logins::Logins;
use super::servers::{Idp, Mail, Servers};
use super::verdicts;

const START: i64 = 1_795_000_000_000;
/// Somebody whom nobody may ever touch.
const BREAK_GLASS: &str = "root";
const PAGE: Page = Page {
    before: None,
    limit: 1000,
};
/// Between looks of the loop at what nobody calls it for.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// With nothing due only reminders and expiry can come, which wait for hours.
const NOTHING_DUE: Duration = Duration::from_mins(125);
const MILLI: Duration = Duration::from_millis(1);
/// More than any world needs until all is over; by turns of the loop, not by time.
const TURNS_MAX: usize = 1500;
pub(crate) const ACT_WITHIN: Duration = Duration::from_mins(15);
/// In milliseconds: a little less than makes it too late to act.
const BACKLOG: i64 = 14 * 60_000;
pub(crate) const BUDGET: Budget = Budget {
    per_client: 3,
    per_rule: 6,
    per_tenant: 4,
    global: 6,
    per_10000_families: 100,
};

/// Revokers, one for a tenant, and receivers: some may be asked little, or one at a time.
const TARGETS: [(&str, TargetLimits); 4] = [
    ("idp a", limits_of(1, 2)),
    ("idp b", limits_of(2, 20)),
    ("mail", limits_of(4, 20)),
    ("chat", limits_of(1, 1)),
];

const fn limits_of(concurrency: u32, per_second: u32) -> TargetLimits {
    TargetLimits {
        concurrency,
        per_second,
    }
}

pub(crate) struct World {
    random: Random,
    clock: Arc<Clock>,
    rest: Arc<Rest>,
    pub(crate) logins: Arc<Logins>,
    pub(crate) servers: Arc<Servers>,
    /// Absent while nobody has it: the file is locked.
    store: Option<Store>,
    folder: TempDir,
    performers: watch::Sender<Arc<Performers>>,
    policy: Policy,
    rule: Arc<Rule>,
    /// What is found lies in the past, and comes at once.
    has_backlog: bool,
    running: Option<JoinHandle<()>>,
    starts: u32,
    /// Up to which own event the policy has heard.
    heard: i64,
    /// Whom nobody may touch, and from which call on.
    pub(crate) forbidden: BTreeMap<Text, usize>,
    /// For whom a person answers: no budget holds these.
    pub(crate) approved: BTreeSet<Text>,
    /// Of which somebody has to be told.
    pub(crate) incidents: BTreeSet<Text>,
}

/// What is wrong at the end of a seed, if anything.
pub(crate) async fn faults(
    seed: u64,
    rule: Arc<Rule>,
    template: &Path,
    rest: Arc<Rest>,
) -> Vec<String> {
    let mut world = World::new(seed, rule, template, rest).await;
    let mut findings = world.findings();
    while let Some(found) = findings.pop() {
        world.found(found).await;
        for _ in 0..world.pause() {
            world.something_happens().await;
            world.turn().await;
        }
    }
    let mut faults = world.run_out().await;
    faults.extend(verdicts::of(&world).await);
    world.stop().await;
    faults
}

/// A store that is migrated once, to be copied for each world.
pub(crate) async fn template() -> (TempDir, PathBuf) {
    let folder = folder();
    let path = folder.path().join("template.db");
    open(&path).await.expect("a store").close().await;
    (folder, path)
}

/// In memory where the machine has such a folder: thousands of worlds are written.
fn folder() -> TempDir {
    let shared_memory = Path::new("/dev/shm");
    let made = if shared_memory.is_dir() {
        tempfile::tempdir_in(shared_memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a folder")
}

async fn open(path: &Path) -> Result<Store, OpenError> {
    let config = StoreConfig {
        url: Secret::new(format!("sqlite://{}", path.display())),
        connections_max: 1,
        snapshot_every: Duration::from_mins(1),
    };
    Store::open(&config, OpenAs::Daemon).await
}

fn allowed(never_act_on: Vec<Text>) -> Allowed {
    Allowed {
        mode: Mode::Enforce,
        clients: Clients::default(),
        tenants: Tenants::default(),
        response: Response {
            budget: BUDGET,
            never_act_on,
            ..Response::default()
        },
        shared: Shared::default(),
        performed: tokenwarden::config::KEYCLOAK_ACTIONS.to_vec(),
    }
}

impl World {
    async fn new(seed: u64, rule: Arc<Rule>, template: &Path, rest: Arc<Rest>) -> Self {
        let folder = folder();
        let path = folder.path().join("warden.db");
        std::fs::copy(template, &path).expect("a copy");
        let clock = Arc::new(Clock::default());
        clock.set(START);
        let logins = Arc::<Logins>::default();
        let servers = Servers::new(seed, clock.clone(), logins.clone(), &TARGETS);
        let servers = Arc::new(servers);
        let forbidden = BTreeMap::from([(BREAK_GLASS.into(), 0)]);
        let performers = watch::Sender::new(Arc::new(performers(&servers, &forbidden)));
        let mut random = Random::new(seed);
        let mut world = Self {
            has_backlog: random.below(4) == 0,
            random,
            clock,
            rest,
            logins,
            servers,
            store: Some(open(&path).await.expect("a store")),
            folder,
            performers,
            policy: Policy::new(allowed(vec![BREAK_GLASS.into()])),
            rule,
            running: None,
            starts: 0,
            heard: 0,
            forbidden,
            approved: BTreeSet::new(),
            incidents: BTreeSet::new(),
        };
        world.start();
        world
    }

    fn start(&mut self) {
        self.starts += 1;
        let (clock, sleeping) = (self.clock.clone(), self.clock.clone());
        self.rest.watch(self.store.clone());
        let options = Options {
            owner: format!("daemon {}", self.starts).into(),
            look_every: LOOK_EVERY,
            now: Arc::new(move || clock.look()),
            sleep: Arc::new(move |duration| sleeping.sleep(duration)),
            memory: self.logins.clone(),
            ..Options::new("", Duration::from_secs(1), || Timestamp::UNIX_EPOCH)
        };
        let performers = self.performers.subscribe();
        let delivery = Delivery::new(self.store().clone(), performers, Arc::new(()), options);
        self.running = Some(tokio::spawn(delivery.run(CancellationToken::new())));
    }

    /// As a kill would: nothing is finished, nothing is given back.
    async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            running.await.ok();
        }
        self.servers.forget();
        self.rest.watch(None);
        if let Some(store) = self.store.take() {
            store.close().await;
        }
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().expect("an open store")
    }

    /// Another process on the same store.
    async fn restart(&mut self) {
        self.stop().await;
        self.begin_again().await;
    }

    async fn begin_again(&mut self) {
        let path = self.folder.path().join("warden.db");
        self.store = loop {
            if let Ok(store) = open(&path).await {
                break Some(store);
            }
            // What was aborted still holds the file for a moment.
            tokio::task::yield_now().await;
        };
        self.start();
    }

    /// Decides and commits as the pipeline does; it may die before the commit, and do it again, or after it, and do it twice.
    async fn found(&mut self, found: Found) {
        let ahead = found.detection.time.duration_since(self.clock.now());
        if let Ok(ahead) = Duration::try_from(ahead) {
            self.elapse(ahead).await;
        }
        let before = self.policy.snapshot();
        let dies = self.random.below(8) == 0;
        let mut output = Output::default();
        self.policy.decide(found.clone(), &mut output);
        if dies {
            self.policy = Policy::new(self.allowed());
            assert!(self.policy.restore(&before), "a snapshot of this version");
            output = Output::default();
            self.policy.decide(found, &mut output);
        }
        let grave = output
            .incidents
            .iter()
            .filter(|it| it.severity >= Severity::Medium);
        self.incidents.extend(grave.map(|it| it.id.clone()));
        self.commit(output).await;
    }

    /// It may die before it hears that it was done, and does it twice.
    async fn commit(&mut self, output: Output) {
        let commit = Commit {
            output,
            ..Commit::default()
        };
        for _ in 0..1 + self.random.below(2) {
            let committed = self.store().commit(&commit, self.clock.now()).await;
            committed.expect("a commit");
        }
    }

    /// The policy hears of revocations without effect, as the pipeline has it hear; it too may die before the commit.
    async fn step_up(&mut self) {
        for row in self.own_events(self.heard).await {
            self.heard = row.id;
            let Ok(failed) = serde_json::from_slice::<NoEffect>(&row.payload) else {
                continue;
            };
            let before = self.policy.snapshot();
            let mut output = Output::default();
            self.policy
                .step_up(&failed, Some(self.rule.mode), &mut output);
            if self.random.below(8) == 0 {
                self.policy = Policy::new(self.allowed());
                assert!(self.policy.restore(&before), "a snapshot of this version");
                output = Output::default();
                self.policy
                    .step_up(&failed, Some(self.rule.mode), &mut output);
            }
            self.commit(output).await;
        }
    }

    pub(crate) async fn own_events(&self, after: i64) -> Vec<Row> {
        let rows = self.store().own_events_after(after, 10_000).await;
        rows.expect("own events")
    }

    fn allowed(&self) -> Allowed {
        allowed(self.forbidden.keys().cloned().collect())
    }

    /// The configuration is read again, with one more whom nobody may touch.
    async fn forbid(&mut self) {
        // What is begun has been looked at before.
        self.settle().await;
        let user = format!("u{}", self.random.below(10)).into();
        let calls = self.servers.begun.lock().expect("begun").len();
        self.forbidden.entry(user).or_insert(calls);
        let performers = performers(&self.servers, &self.forbidden);
        self.performers.send_replace(Arc::new(performers));
        self.policy.replace(self.allowed());
    }

    /// Somebody goes on with a login, whatever became of it; and the daemon looks.
    async fn somebody_goes_on(&mut self) {
        let families = self.logins.families();
        let family = self.random.pick(&families);
        self.logins.present(family, self.clock.now());
        self.elapse(LOOK_EVERY).await;
        self.turn().await;
    }

    /// Nobody runs it for hours.
    async fn outage(&mut self) {
        self.settle().await;
        self.stop().await;
        let hours = self.random.from_to(1, 40).unsigned_abs();
        self.clock.ahead(Duration::from_hours(hours));
        self.begin_again().await;
    }

    async fn something_happens(&mut self) {
        match self.random.below(40) {
            0..=9 => self.leap(1, 19).await,
            10..=13 => self.leap(20, 400).await,
            14 | 15 => self.leap(600, 5000).await,
            16 | 17 => {
                // What is begun has looked at the clock before.
                self.settle().await;
                let seconds = u64::from(self.random.below(300));
                self.clock.back(Duration::from_secs(seconds));
            }
            18 | 19 => {
                self.settle().await;
                self.restart().await;
            }
            20..=25 => self.somebody_decides().await,
            26..=33 => self.somebody_goes_on().await,
            34 => self.outage().await,
            35 => self.forbid().await,
            _ => {}
        }
    }

    /// Time goes on at once, as for a process that was stopped meanwhile.
    async fn leap(&mut self, least: i64, most: i64) {
        let seconds = self.random.from_to(least, most).unsigned_abs();
        self.elapse(Duration::from_secs(seconds)).await;
    }

    /// What is under way goes as far as it can before.
    async fn elapse(&mut self, by: Duration) {
        self.settle().await;
        if by + limits::LEASE_RENEWAL >= limits::LEASE {
            self.servers.stalls.fetch_add(1, Ordering::SeqCst);
        }
        self.clock.elapse(by);
    }

    async fn somebody_decides(&mut self) {
        let mut waiting = self.actions().await;
        waiting.retain(|it| {
            let waits = matches!(
                it.state,
                ActionState::Held | ActionState::Offered | ActionState::Parked
            );
            waits && it.action.kind != ActionKind::Notify
        });
        waiting.sort_by(|a, b| a.action.id.cmp(&b.action.id));
        if waiting.is_empty() {
            return;
        }
        let record = self.random.pick(&waiting).clone();
        let ruling = match (record.state, self.random.below(3)) {
            (ActionState::Parked, _) => Ruling::Retry,
            (_, 0) => Ruling::Refuse,
            _ => Ruling::Approve,
        };
        let by = By {
            who: "alice".into(),
            why: "seen".into(),
        };
        let id = record.action.id;
        let ruled = self
            .store()
            .rule_on(&id, ruling, &by, self.clock.now())
            .await;
        if ruled.expect("a ruling") == Taken::Done(()) && ruling != Ruling::Refuse {
            self.approved.insert(id);
        }
    }

    /// Until all wait for time to pass; dies where a server says so.
    async fn settle(&mut self) {
        loop {
            self.rest.reached().await;
            if !self.servers.died.swap(false, Ordering::SeqCst) {
                break;
            }
            self.restart().await;
        }
    }

    /// Lets the loop look at the world as it is now.
    async fn turn(&mut self) {
        self.settle().await;
        let now = self.clock.now();
        let since = now - limits::HELD_EXPIRES;
        self.store()
            .expire_held(since, now)
            .await
            .expect("an answer");
        self.step_up().await;
    }

    pub(crate) async fn actions(&self) -> Vec<ActionRecord> {
        let actions = self.store().actions(&ActionFilter::default(), PAGE).await;
        actions.expect("a list").items
    }

    /// Time goes on until nothing is left to do, and a day beyond, in which people are reminded.
    async fn run_out(&mut self) -> Vec<String> {
        let mut over_since: Option<Timestamp> = None;
        for _ in 0..TURNS_MAX {
            let now = self.clock.now();
            let is_over = self.actions().await.iter().all(|it| it.state.is_final());
            over_since = over_since.filter(|_| is_over).or(is_over.then_some(now));
            if over_since.is_some_and(|since| now > since + limits::REMIND_FOR) {
                return Vec::new();
            }
            if !is_over && self.random.below(4) == 0 {
                self.somebody_goes_on().await;
            }
            let pause = self.until_something_is_due().await;
            self.elapse(pause).await;
            self.turn().await;
        }
        let left = self.actions().await;
        let left = left.iter().filter(|it| !it.state.is_final());
        left.map(|it| {
            let it = (&it.action.kind, &it.action.id, &it.state, &it.outcome);
            format!("never ends: {it:?}")
        })
        .collect()
    }

    /// Calls take their time; where none is under way and nothing is due, hours pass.
    async fn until_something_is_due(&self) -> Duration {
        let now = self.clock.now();
        let mut due = None;
        for queue in [Queue::Revocations, Queue::Notifications] {
            let next = self.store().next_due(queue).await.expect("an answer");
            due = [due, next].into_iter().flatten().min();
        }
        let pause = due.map(|due| Duration::try_from(due.duration_since(now)).unwrap_or_default());
        match pause {
            Some(pause) if !pause.is_zero() && !self.servers.is_busy() => pause + MILLI,
            Some(_) => self.clock.next().unwrap_or(MILLI),
            None => NOTHING_DUE,
        }
    }
}

fn performers(servers: &Arc<Servers>, forbidden: &BTreeMap<Text, usize>) -> Performers {
    let idp = |tenant: &str| -> Arc<dyn Revoker> {
        Arc::new(Idp {
            servers: servers.clone(),
            name: format!("idp {tenant}").into(),
            tenant: tenant.into(),
        })
    };
    let receiver =
        |name: &str| -> Arc<dyn Notifier> { Arc::new(Mail(servers.clone(), name.into())) };
    let limits = TARGETS.iter().map(|(name, limits)| {
        let kind = if name.starts_with("idp") {
            TargetKind::Revoker
        } else {
            TargetKind::Receiver
        };
        ((kind, Text::from(*name)), *limits)
    });
    Performers {
        revokers: Revokers::from_list(vec![idp("a"), idp("b")]),
        notifiers: vec![receiver("mail"), receiver("chat")],
        act_within: ACT_WITHIN,
        budget: BUDGET,
        never_act_on: forbidden.keys().cloned().collect(),
        limits: limits.collect(),
        ..Performers::default()
    }
}
