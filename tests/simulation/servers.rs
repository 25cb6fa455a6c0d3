//! Authorization servers and receivers that fail as real ones do, by a plan that hangs on seed, target, action and try alone.
//!
//! So a seed fails in the same way whatever runs side by side. What they did is kept, also where nobody heard of it. Each has
//! a watchman, who sees how it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokenwarden::actions::{Attempt, Claim, Notification, Notifier, Revoker};
use tokenwarden::config::TargetLimits;
use tokenwarden::model::{
    Action, ActionKind, ActionState, Bulletin, Evidence, News, Text, Timestamp, limits,
};
use tokenwarden::simulate::Random;

use super::clock::Clock;
use super::logins::Logins;
use super::targets::{Heard, Watchman};

/// How one try goes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// After so many seconds.
    Works(u64),
    /// 500: nothing was done.
    Fails,
    /// The answer was lost on its way.
    WorksUnheard,
    /// 429 with a time.
    Busy(u64),
    /// 403.
    Refuses,
    /// Never answers; may have worked.
    Hangs(bool),
    /// The daemon dies during the call.
    Dies(bool),
    /// The clock jumps during the call, so that its lease has run out when the answer comes.
    OutlivesItsLease,
}

/// One call to an authorization server.
#[derive(Debug, Clone)]
pub(crate) struct Deed {
    pub(crate) action: Action,
    pub(crate) at: Timestamp,
    /// Since the world began, whatever the clock showed.
    pub(crate) passed: Duration,
}

/// The server said that it was done.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) action: Text,
    pub(crate) at: Timestamp,
    /// It was looked whether it took effect.
    pub(crate) checked: bool,
    /// How often each login had been used: a clock that was set back shows those as later.
    pub(crate) uses: BTreeMap<Text, usize>,
}

/// One message that people got.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) receiver: Text,
    pub(crate) id: Text,
    pub(crate) incident: Text,
    /// What it said: how grave, and how each action stood.
    pub(crate) said: String,
    pub(crate) at: Timestamp,
    /// How often the clock had gone on by then.
    pub(crate) stalls: u64,
    /// The daemon knows: what it never heard of it cannot help but say again.
    pub(crate) heard: bool,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let heard = if self.heard { "" } else { ", unheard" };
        write!(
            f,
            "{} {} by {}: {}{heard}",
            self.at, self.receiver, self.id, self.said
        )
    }
}

/// All servers of one world.
pub(crate) struct Servers {
    seed: u64,
    clock: Arc<Clock>,
    pub(crate) logins: Arc<Logins>,
    pub(crate) watchmen: BTreeMap<Text, Watchman>,
    tries: Mutex<BTreeMap<String, u64>>,
    /// Subjects that are being acted on, with the stalls before each call.
    busy: Mutex<BTreeMap<Text, Vec<u64>>>,
    pub(crate) overlaps: Mutex<Vec<String>>,
    /// How often the clock has gone on so far at once that a lease may have run out.
    pub(crate) stalls: AtomicU64,
    /// The last time it did: what was leased for another call just before begins under a lease that has run out.
    stalled: Mutex<Stalled>,
    pub(crate) begun: Mutex<Vec<Deed>>,
    pub(crate) answers: Mutex<Vec<Answer>>,
    pub(crate) told: Mutex<Vec<Told>>,
    /// Notices that a summary counted in place of a message.
    pub(crate) summed_up: AtomicU64,
    pub(crate) died: AtomicBool,
}

/// The clock went on at once, and no time has passed since.
#[derive(Default)]
struct Stalled {
    at: Option<Duration>,
    /// Whose call under an older lease has begun since: of each there can be one.
    excused: BTreeSet<Text>,
}

/// A call under way; dropped when nobody waits for it any more.
struct Call<'a> {
    servers: &'a Servers,
    target: &'a Text,
    number: u64,
    since: Duration,
    timeout: Duration,
    heard: Option<Heard>,
    stalls: u64,
    subject: Option<Text>,
}

impl Servers {
    pub(crate) fn new(
        seed: u64,
        clock: Arc<Clock>,
        logins: Arc<Logins>,
        targets: &[(&str, TargetLimits)],
    ) -> Self {
        let watchman = |(name, limits): &(&str, TargetLimits)| {
            (Text::from(*name), Watchman::new(name, *limits))
        };
        Self {
            seed,
            clock,
            logins,
            watchmen: targets.iter().map(watchman).collect(),
            tries: Mutex::default(),
            busy: Mutex::default(),
            overlaps: Mutex::default(),
            stalls: AtomicU64::new(0),
            stalled: Mutex::default(),
            begun: Mutex::default(),
            answers: Mutex::default(),
            told: Mutex::default(),
            summed_up: AtomicU64::new(0),
            died: AtomicBool::new(false),
        }
    }

    /// The daemon has died, and all its calls with it.
    pub(crate) fn forget(&self) {
        self.watchmen.values().for_each(Watchman::forget);
        self.busy.lock().expect("busy").clear();
    }

    /// Calls under way.
    pub(crate) fn is_busy(&self) -> bool {
        !self.busy.lock().expect("busy").is_empty()
    }

    fn fate(&self, target: &Text, id: &str) -> (Fate, Random) {
        let mut tries = self.tries.lock().expect("tries");
        let n = tries.entry(format!("{target} {id}")).or_default();
        *n += 1;
        let mut hasher = DefaultHasher::new();
        (self.seed, &**target, id, *n).hash(&mut hasher);
        let mut random = Random::new(hasher.finish());
        let fate = match random.below(26) {
            _ if self.is_down(target) => Fate::Fails,
            0 | 1 => Fate::Fails,
            2 | 3 => Fate::WorksUnheard,
            4 => Fate::Busy(u64::from(random.below(3000))),
            5 => Fate::Refuses,
            6 => Fate::Hangs(random.below(2) == 0),
            7 => Fate::Dies(random.below(2) == 0),
            8 => Fate::OutlivesItsLease,
            9..=11 => Fate::Works(u64::from(random.below(30))),
            _ => Fate::Works(0),
        };
        (fate, random)
    }

    /// Each target fails altogether for some minutes of an hour.
    fn is_down(&self, target: &Text) -> bool {
        let part = self.clock.now().as_second() / 240;
        let mut hasher = DefaultHasher::new();
        (self.seed, "down", &**target, part).hash(&mut hasher);
        hasher.finish().is_multiple_of(8)
    }

    async fn call<'a>(
        &'a self,
        target: &'a Text,
        id: &Text,
        subject: Option<&Text>,
        work: impl FnOnce(&mut Random, bool) -> Attempt + Send,
    ) -> Attempt {
        let (fate, mut random) = self.fate(target, id);
        let mut call = self.begin(target, id, subject);
        let works = match fate {
            Fate::Works(_) | Fate::WorksUnheard | Fate::OutlivesItsLease => true,
            Fate::Hangs(works) | Fate::Dies(works) => works,
            Fate::Fails | Fate::Busy(_) | Fate::Refuses => false,
        };
        match fate {
            Fate::Works(seconds) if seconds > 0 => {
                self.clock.sleep(Duration::from_secs(seconds)).await;
            }
            Fate::OutlivesItsLease => {
                self.stall(limits::LEASE + Duration::from_secs(1));
                self.clock.sleep(Duration::from_secs(1)).await;
            }
            _ => {}
        }
        let keeps_its_lease = self.stalls.load(Ordering::SeqCst) == call.stalls;
        let is_heard = matches!(fate, Fate::Works(_)) && keeps_its_lease;
        let worked = works.then(|| work(&mut random, is_heard));
        let retry = |reason: &str, after| Attempt::Retry {
            reason: reason.into(),
            after,
        };
        let attempt = match (fate, worked) {
            (Fate::Works(_) | Fate::OutlivesItsLease, Some(answer)) => answer,
            (Fate::WorksUnheard, _) => retry("timed out", None),
            (Fate::Busy(seconds), _) => retry("429", Some(Duration::from_secs(seconds))),
            (Fate::Refuses, _) => Attempt::Refused {
                reason: "403".into(),
            },
            (Fate::Dies(_), _) => {
                self.died.store(true, Ordering::SeqCst);
                std::future::pending().await
            }
            (Fate::Hangs(_), _) => std::future::pending().await,
            _ => retry("500", None),
        };
        call.heard = Some(match &attempt {
            Attempt::Retry { after, .. } => Heard::Failure(*after),
            _ => Heard::Answer,
        });
        attempt
    }

    /// The clock goes on at once; what was leased may be somebody else's then.
    pub(crate) fn stall(&self, by: Duration) {
        self.stalls.fetch_add(1, Ordering::SeqCst);
        *self.stalled.lock().expect("stalled") = Stalled {
            at: Some(self.clock.passed()),
            ..Stalled::default()
        };
        self.clock.ahead(by);
    }

    fn begin<'a>(&'a self, target: &'a Text, id: &Text, subject: Option<&Text>) -> Call<'a> {
        // What only knocks at a receiver is nobody's lane.
        let subject = subject.map_or_else(|| format!("{target} {id}").into(), Text::clone);
        let mut busy = self.busy.lock().expect("busy");
        let calls = busy.entry(subject.clone()).or_default();
        let mut stalls = self.stalls.load(Ordering::SeqCst);
        let mut stalled = self.stalled.lock().expect("stalled");
        // It may have had a lease from before, which nobody else has.
        let before = stalls.saturating_sub(1);
        let may_be_older = stalled.at == Some(self.clock.passed()) && !calls.contains(&before);
        if may_be_older && stalled.excused.insert(subject.clone()) {
            stalls = before;
        }
        drop(stalled);
        if calls.contains(&stalls) {
            let overlap = format!("two calls at once about {subject}, the second for {id}");
            self.overlaps.lock().expect("overlaps").push(overlap);
        }
        calls.push(stalls);
        drop(busy);
        let is_revoker = target.starts_with("idp");
        Call {
            servers: self,
            target,
            number: self.watchmen[target].begun(id, self.clock.now()),
            since: self.clock.passed(),
            timeout: if is_revoker {
                limits::REVOCATION_TIMEOUT
            } else {
                limits::NOTIFICATION_TIMEOUT
            },
            heard: None,
            stalls,
            subject: Some(subject),
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let has_timed_out = self.servers.clock.passed() >= self.since + self.timeout;
        let heard = match self.heard {
            Some(heard) => heard,
            None if has_timed_out => Heard::Failure(None),
            None => Heard::Nothing,
        };
        let now = self.servers.clock.now();
        self.servers.watchmen[self.target].ended(self.number, heard, now);
        let mut busy = self.servers.busy.lock().expect("busy");
        if let Some(subject) = self.subject.take()
            && let Some(calls) = busy.get_mut(&subject)
            && let Some(at) = calls.iter().position(|stalls| *stalls == self.stalls)
        {
            calls.remove(at);
            if calls.is_empty() {
                busy.remove(&subject);
            }
        }
    }
}

/// The authorization server of a tenant.
pub(crate) struct Idp {
    pub(crate) servers: Arc<Servers>,
    pub(crate) name: Text,
    pub(crate) tenant: Text,
}

impl Revoker for Idp {
    fn name(&self) -> &Text {
        &self.name
    }

    fn claims<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Claim> {
        let is_mine = action.target.tenant.as_ref() == Some(&self.tenant);
        Box::pin(std::future::ready(if is_mine {
            Claim::Mine
        } else {
            Claim::NotMine
        }))
    }

    fn perform<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Attempt> {
        let servers = &*self.servers;
        let at = servers.clock.now();
        let deed = Deed {
            action: action.clone(),
            at,
            passed: servers.clock.passed(),
        };
        servers.begun.lock().expect("begun").push(deed);
        // An answer of which nobody hears is none.
        let work = move |random: &mut Random, _| {
            let (now, dice) = (servers.clock.now(), random.below(6));
            // One node of several says so, and another one goes on.
            let lies = dice == 0 || (dice == 1 && action.kind == ActionKind::RevokeFamily);
            if !lies {
                servers.logins.end(action, dice == 2, now);
            }
            let checked = dice > 3;
            servers.answers.lock().expect("answers").push(Answer {
                action: action.id.clone(),
                at: now,
                checked,
                uses: servers.logins.uses(),
            });
            let (detail, evidence) = ("200".into(), Evidence::new());
            if checked {
                Attempt::Done { detail, evidence }
            } else {
                Attempt::Answered { detail, evidence }
            }
        };
        let subject = action.target.user_id.as_ref();
        Box::pin(servers.call(&self.name, &action.id, subject, work))
    }
}

/// A receiver of notifications.
pub(crate) struct Mail(pub(crate) Arc<Servers>, pub(crate) Text);

impl Notifier for Mail {
    fn name(&self) -> &Text {
        &self.1
    }

    fn notify<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt> {
        let mut stands: Vec<String> = (notification.actions.iter())
            .filter(|it| it.action.kind != ActionKind::Notify)
            .map(|it| match (it.state, it.finished_at) {
                // What fails once more is news.
                (ActionState::Parked | ActionState::Expired, Some(at)) => {
                    format!("{} {} at {at}", it.action.id, it.state)
                }
                (state, _) => format!("{} {state}", it.action.id),
            })
            .collect();
        stands.sort();
        let told = Told {
            receiver: self.1.clone(),
            id: notification.action.id.clone(),
            incident: notification.incident.id.clone(),
            said: format!("{} {}", notification.incident.severity, stands.join(", ")),
            at: self.0.clock.now(),
            stalls: self.0.stalls.load(Ordering::SeqCst),
            heard: false,
        };
        let work = move |_: &mut Random, heard| {
            let told = Told { heard, ..told };
            self.0.told.lock().expect("told").push(told);
            taken()
        };
        let servers = &*self.0;
        Box::pin(servers.call(&self.1, &notification.action.id, None, work))
    }

    fn announce<'a>(&'a self, bulletin: &'a Bulletin) -> BoxFuture<'a, Attempt> {
        if let News::TooLate(_) = &bulletin.news {
            self.0.summed_up.fetch_add(1, Ordering::SeqCst);
        }
        let servers = &*self.0;
        Box::pin(servers.call(&self.1, &bulletin.id, None, |_, _| taken()))
    }
}

fn taken() -> Attempt {
    Attempt::Done {
        detail: "200".into(),
        evidence: Evidence::new(),
    }
}
