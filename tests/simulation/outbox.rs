//! One world in which everything fails: the response policy, a store and the delivery loop as the daemon has them, between
//! findings that come twice and out of order, servers that fail (see `servers`), a clock that jumps, a daemon that dies, and
//! people who decide.
//!
//! Checked at the end: every action ended exactly once; nothing went beyond its budget; nobody was touched who never may
//! be; of every incident somebody was told or is about to see that nobody could be; and nobody was told the same twice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::TempDir;
use tokenwarden::actions::Revokers;
use tokenwarden::config::{Budget, Clients, Response, Secret, Shared, StoreConfig, Tenants};
use tokenwarden::delivery::{Delivery, Options, Performers};
use tokenwarden::engine::{Found, stable_id};
use tokenwarden::model::{
    Action, ActionKind, ActionRecord, ActionState, By, Commit, Decision, Detection, Evidence, Mode,
    Output, OwnEvent, OwnEventKind, Severity, Subject, Text, Timestamp, limits,
};
use tokenwarden::respond::{Allowed, Policy};
use tokenwarden::rules::{Ask, Rule};
use tokenwarden::simulate::Random;
use tokenwarden::store::{ActionFilter, OpenAs, OpenError, Page, Queue, Ruling, Store, Taken};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::clock::{Clock, Rest};
use super::servers::{Idp, Mail, Servers};

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
/// How long nobody is told the same again, less what the clock may go back.
const SAME_AGAIN: Duration = Duration::from_mins(4 * 60 - 10);

const BUDGET: Budget = Budget {
    per_client: 3,
    per_rule: 5,
    per_tenant: 5,
    global: 5,
    per_10000_families: 100,
};

struct World {
    random: Random,
    clock: Arc<Clock>,
    rest: Arc<Rest>,
    servers: Arc<Servers>,
    /// Absent while nobody has it: the file is locked.
    store: Option<Store>,
    folder: TempDir,
    performers: watch::Sender<Arc<Performers>>,
    policy: Policy,
    rule: Arc<Rule>,
    running: Option<JoinHandle<()>>,
    starts: u32,
    /// Whom a person answers for: no budget holds these.
    approved: BTreeSet<Text>,
    incidents: BTreeSet<Text>,
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
        for _ in 0..world.random.below(3) {
            world.something_happens().await;
            world.turn().await;
        }
    }
    let mut faults = world.run_out().await;
    faults.extend(world.judged().await);
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

fn policy() -> Policy {
    Policy::new(Allowed {
        mode: Mode::Enforce,
        clients: Clients::default(),
        tenants: Tenants::default(),
        response: Response {
            budget: BUDGET,
            never_act_on: vec![BREAK_GLASS.into()],
            ..Response::default()
        },
        shared: Shared::default(),
    })
}

impl World {
    async fn new(seed: u64, rule: Arc<Rule>, template: &Path, rest: Arc<Rest>) -> Self {
        let folder = folder();
        let path = folder.path().join("warden.db");
        std::fs::copy(template, &path).expect("a copy");
        let clock = Arc::new(Clock::default());
        clock.set(START);
        let servers = Arc::new(Servers::new(seed, clock.clone()));
        let performers = Performers {
            revokers: Revokers::from_list(vec![Arc::new(Idp(servers.clone(), "idp".into()))]),
            notifiers: vec![Arc::new(Mail(servers.clone(), "oncall".into()))],
            act_within: Duration::from_mins(15),
            budget: BUDGET,
            never_act_on: vec![BREAK_GLASS.into()],
            ..Performers::default()
        };
        let mut world = Self {
            random: Random::new(seed),
            clock,
            rest,
            servers,
            store: Some(open(&path).await.expect("a store")),
            folder,
            performers: watch::Sender::new(Arc::new(performers)),
            policy: policy(),
            rule,
            running: None,
            starts: 0,
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
        self.rest.watch(None);
        if let Some(store) = self.store.take() {
            store.close().await;
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("an open store")
    }

    /// Another process on the same store.
    async fn restart(&mut self) {
        self.stop().await;
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

    /// What is going to be found, the last first: out of order, and some of it twice.
    fn findings(&mut self) -> Vec<Found> {
        let mut findings = Vec::new();
        let (mut at, thefts) = (START, 2 + self.random.below(9));
        for n in 0..thefts {
            at += i64::from(self.random.below(90_000));
            let user = match self.random.below(12) {
                0 => BREAK_GLASS.to_owned(),
                _ => format!("u{n}"),
            };
            let client = *self.random.pick(&["web", "web", "app"]);
            if self.random.below(4) == 0 {
                findings.push(self.finding(&user, n, client, at - 30_000, Severity::Medium));
            }
            findings.push(self.finding(&user, n, client, at, Severity::Critical));
            if self.random.below(4) == 0 {
                findings.push(findings.last().expect("one").clone());
            }
        }
        for _ in 0..findings.len() / 3 {
            let n = u32::try_from(findings.len() - 1).expect("a few");
            let at = self.random.below(n) as usize;
            findings.swap(at, at + 1);
        }
        findings.reverse();
        findings
    }

    fn finding(&self, user: &str, n: u32, client: &str, at: i64, severity: Severity) -> Found {
        let theft = severity == Severity::Critical;
        let family = format!("f{n}");
        Found {
            detection: Detection {
                id: stable_id(&["simulated", user, &family, severity.as_str()]),
                rule: self.rule.name.clone(),
                kind: "reuse".into(),
                severity,
                time: Timestamp::from_millisecond(at).expect("a time"),
                event_id: "e".into(),
                subject: Subject::Family(family.as_str().into()),
                issuer: "idp".into(),
                tenant: None,
                user_id: Some(user.into()),
                client_id: Some(client.into()),
                family_id: Some(family.as_str().into()),
                session_id: None,
                token_kind: None,
                ip_address: None,
                summary: format!("{family} of {user}").into(),
                evidence: Evidence::new(),
            },
            rule: self.rule.clone(),
            ask: if theft { Ask::Response } else { Ask::Nothing },
            may_revoke: theft,
            late: false,
            confidence: 1.0,
            foreign_network: None,
            families_active: 0,
            presenter: Arc::default(),
        }
    }

    /// Decides and commits as the pipeline does; it may die before the commit, and do it again, or after it, and do it twice.
    async fn found(&mut self, found: Found) {
        let now = self.clock.now().as_millisecond();
        let at = found.detection.time.as_millisecond();
        self.clock.set(now.max(at));
        let before = self.policy.snapshot();
        let dies = self.random.below(8) == 0;
        let mut output = Output::default();
        self.policy.decide(found.clone(), &mut output);
        if dies {
            self.policy = policy();
            assert!(self.policy.restore(&before), "a snapshot of this version");
            output = Output::default();
            self.policy.decide(found, &mut output);
        }
        let grave = output
            .incidents
            .iter()
            .filter(|it| it.severity >= Severity::Medium);
        self.incidents.extend(grave.map(|it| it.id.clone()));
        let commit = Commit {
            output,
            ..Commit::default()
        };
        for _ in 0..1 + self.random.below(2) {
            let committed = self.store().commit(&commit, self.clock.now()).await;
            committed.expect("a commit");
        }
    }

    async fn something_happens(&mut self) {
        match self.random.below(14) {
            0..=3 => self.jump(1, 20),
            4 | 5 => self.jump(20, 400),
            6 => self.jump(600, 5000),
            7 => self
                .clock
                .back(Duration::from_secs(u64::from(self.random.below(300)))),
            8 => self.restart().await,
            9 | 10 => self.somebody_decides().await,
            _ => {}
        }
    }

    fn jump(&mut self, least: i64, most: i64) {
        let seconds = self.random.from_to(least, most).unsigned_abs();
        self.clock.elapse(Duration::from_secs(seconds));
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

    /// Lets the loop look at the world as it is now; dies with it where a server says so.
    async fn turn(&mut self) {
        loop {
            self.rest.reached().await;
            if !self.servers.died.swap(false, Ordering::SeqCst) {
                break;
            }
            self.restart().await;
        }
        let now = self.clock.now();
        let since = now - limits::HELD_EXPIRES;
        self.store()
            .expire_held(since, now)
            .await
            .expect("an answer");
    }

    async fn actions(&self) -> Vec<ActionRecord> {
        let actions = self.store().actions(&ActionFilter::default(), PAGE).await;
        actions.expect("a list").items
    }

    /// Time goes on until nothing is left to do, and a day beyond, in which people are reminded.
    async fn run_out(&mut self) -> Vec<String> {
        let mut over_since: Option<Timestamp> = None;
        for _ in 0..TURNS_MAX {
            let now = self.clock.now();
            let mut due = None;
            for queue in [Queue::Revocations, Queue::Notifications] {
                let next = self.store().next_due(queue).await.expect("an answer");
                due = [due, next].into_iter().flatten().min();
            }
            let is_over = self.actions().await.iter().all(|it| it.state.is_final());
            match (due, over_since) {
                (_, Some(since)) if is_over && now > since + limits::REMIND_FOR => {
                    return Vec::new();
                }
                (Some(due), _) if due > now => self
                    .clock
                    .elapse(Duration::try_from(due.duration_since(now)).expect("later") + MILLI),
                (Some(_), _) => self.clock.elapse(self.clock.next().unwrap_or(MILLI)),
                (None, _) => self.clock.elapse(NOTHING_DUE),
            }
            over_since = over_since.or_else(|| is_over.then_some(now));
            self.turn().await;
        }
        let left = self.actions().await;
        let left = left.iter().filter(|it| !it.state.is_final());
        left.map(|it| {
            format!(
                "never ends: {} {} {}",
                it.action.kind, it.action.id, it.state
            )
        })
        .collect()
    }

    async fn judged(&self) -> Vec<String> {
        let actions = self.actions().await;
        let mut faults = self.ends(&actions).await;
        faults.extend(self.budgets());
        faults.extend(self.untouched());
        faults.extend(self.somebody_was_told(&actions));
        faults.extend(self.nobody_was_told_the_same());
        faults
    }

    /// The own events tell of an end exactly where there was one; a person who has it tried again has one more of them.
    async fn ends(&self, actions: &[ActionRecord]) -> Vec<String> {
        let rows = self
            .store()
            .own_events_after(0, 10_000)
            .await
            .expect("events");
        let mut ends: BTreeMap<Text, Vec<OwnEventKind>> = BTreeMap::new();
        for row in rows {
            if let Ok(event) = serde_json::from_slice::<OwnEvent>(&row.payload)
                && event.kind != OwnEventKind::Attempted
            {
                ends.entry(event.action_id).or_default().push(event.kind);
            }
        }
        let mut faults = Vec::new();
        for record in actions {
            let id = &record.action.id;
            let told = ends.get(id).map_or(&[][..], Vec::as_slice);
            let done = told.iter().filter(|it| **it == OwnEventKind::Done).count();
            let parked = told
                .iter()
                .filter(|it| **it == OwnEventKind::Parked)
                .count();
            let fits = match record.state {
                ActionState::Done => done == 1,
                ActionState::Parked => done == 0 && parked >= 1,
                _ => done == 0,
            };
            let once = parked <= 1 || self.approved.contains(id);
            if !fits || !once {
                faults.push(format!(
                    "{} {id} is {}, told {told:?}",
                    record.action.kind, record.state
                ));
            }
        }
        let worked: BTreeSet<Text> = {
            let done = self.servers.done.lock().expect("done");
            done.iter().map(|it| it.action.id.clone()).collect()
        };
        for record in actions.iter().filter(|it| it.state == ActionState::Done) {
            let is_ours = !matches!(record.action.kind, ActionKind::Notify | ActionKind::Review);
            if is_ours && !worked.contains(&record.action.id) {
                faults.push(format!(
                    "{} counts as done and was never done",
                    record.action.id
                ));
            }
        }
        faults
    }

    /// First calls of what nobody approved, in any ten minutes of wall time.
    fn budgets(&self) -> Vec<String> {
        let begun = self.servers.begun.lock().expect("begun");
        let mut first: BTreeMap<&Text, (Timestamp, &Action)> = BTreeMap::new();
        for deed in begun.iter() {
            let (id, at) = (&deed.action.id, (deed.at, &deed.action));
            if !self.approved.contains(id) {
                first.entry(id).or_insert(at);
            }
        }
        let mut faults = Vec::new();
        for (from, action) in first.values() {
            let to = *from + Duration::from_mins(10);
            let within = first.values().filter(|(at, _)| at >= from && *at < to);
            let client = &action.target.client_id;
            let of_client = within
                .clone()
                .filter(|(_, it)| it.target.client_id == *client);
            for (whose, number, most) in [
                ("the client", of_client.count(), BUDGET.per_client),
                ("all", within.count(), BUDGET.global),
            ] {
                if number > most as usize {
                    faults.push(format!(
                        "{number} calls of {whose} within 10 min from {from}"
                    ));
                }
            }
        }
        faults
    }

    fn untouched(&self) -> Vec<String> {
        let begun = self.servers.begun.lock().expect("begun");
        let of_root = begun
            .iter()
            .filter(|it| it.action.target.user_id.as_deref() == Some(BREAK_GLASS));
        of_root
            .map(|it| format!("{} was asked for {BREAK_GLASS}", it.action.kind))
            .collect()
    }

    /// By a message, in a summary of what came too late, or visibly not: the notice was given up and says why.
    fn somebody_was_told(&self, actions: &[ActionRecord]) -> Vec<String> {
        let told = self.servers.told.lock().expect("told");
        let told: BTreeSet<&Text> = told.iter().map(|it| &it.incident).collect();
        let is_told = |incident: &Text| {
            let notices = actions.iter().filter(|it| {
                it.action.kind == ActionKind::Notify
                    && it.action.decision == Decision::Execute
                    && it.action.incident_id == *incident
            });
            let mut notices = notices.peekable();
            notices.peek().is_some()
                && (told.contains(incident)
                    || notices.any(|it| {
                        let summed_up = self.servers.summed_up.load(Ordering::SeqCst) > 0;
                        it.state == ActionState::Parked
                            || (summed_up && it.state != ActionState::Done)
                    }))
        };
        let untold = self.incidents.iter().filter(|incident| !is_told(incident));
        untold
            .map(|incident| format!("nobody was told of incident {incident}"))
            .collect()
    }

    /// Two messages of one incident say different things, unless people are reminded after hours.
    fn nobody_was_told_the_same(&self) -> Vec<String> {
        let told = self.servers.told.lock().expect("told");
        let mut faults = Vec::new();
        let heard: Vec<_> = told.iter().filter(|it| it.heard).collect();
        for (n, one) in heard.iter().enumerate() {
            let mut before = heard.iter().take(n);
            let same = before.find(|it| {
                it.incident == one.incident
                    && it.id != one.id
                    && it.said == one.said
                    && one.at < it.at + SAME_AGAIN
            });
            if let Some(same) = same {
                faults.push(format!(
                    "told the same by {} and {}: {}",
                    same.id, one.id, one.said
                ));
            }
        }
        faults
    }
}
