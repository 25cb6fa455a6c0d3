//! An authorization server and a mail server that fail as real ones do, by a plan that hangs on seed, action and try alone.
//!
//! So a seed fails in the same way whatever runs side by side. What they did is kept, also where nobody heard of it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokenwarden::actions::{Attempt, Claim, Notification, Notifier, Revoker};
use tokenwarden::model::{Action, ActionKind, Bulletin, Evidence, News, Text, Timestamp, limits};
use tokenwarden::simulate::Random;

use super::clock::Clock;

/// How one try goes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Works,
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
    /// The answer comes when the lease has run out, and somebody else is at it.
    Slow,
}

/// One thing that a server did.
#[derive(Debug, Clone)]
pub(crate) struct Deed {
    pub(crate) action: Action,
    pub(crate) at: Timestamp,
}

/// One message that people got.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) id: Text,
    pub(crate) incident: Text,
    /// What it said: how grave, and how each action stood.
    pub(crate) said: String,
    pub(crate) at: Timestamp,
    /// The daemon knows: what it never heard of it cannot help but say again.
    pub(crate) heard: bool,
}

/// Both servers of one world.
pub(crate) struct Servers {
    seed: u64,
    clock: Arc<Clock>,
    tries: Mutex<BTreeMap<String, u64>>,
    pub(crate) begun: Mutex<Vec<Deed>>,
    pub(crate) done: Mutex<Vec<Deed>>,
    pub(crate) told: Mutex<Vec<Told>>,
    /// Notices that a summary counted in place of a message.
    pub(crate) summed_up: AtomicU64,
    pub(crate) died: AtomicBool,
}

impl Servers {
    pub(crate) fn new(seed: u64, clock: Arc<Clock>) -> Self {
        Self {
            seed,
            clock,
            tries: Mutex::default(),
            begun: Mutex::default(),
            done: Mutex::default(),
            told: Mutex::default(),
            summed_up: AtomicU64::new(0),
            died: AtomicBool::new(false),
        }
    }

    fn fate(&self, id: &str) -> Fate {
        let mut tries = self.tries.lock().expect("tries");
        let n = tries.entry(id.to_owned()).or_default();
        *n += 1;
        let mut hasher = DefaultHasher::new();
        (self.seed, id, *n).hash(&mut hasher);
        let mut random = Random::new(hasher.finish());
        match random.below(24) {
            0..=2 => Fate::Fails,
            3 | 4 => Fate::WorksUnheard,
            5 => Fate::Busy(u64::from(random.below(3000))),
            6 => Fate::Refuses,
            7 => Fate::Hangs(random.below(2) == 0),
            8 => Fate::Dies(random.below(2) == 0),
            9 => Fate::Slow,
            _ => Fate::Works,
        }
    }

    async fn call(&self, id: &str, work: impl FnOnce(bool) + Send) -> Attempt {
        let fate = self.fate(id);
        let works = match fate {
            Fate::Works | Fate::WorksUnheard | Fate::Slow => true,
            Fate::Hangs(works) | Fate::Dies(works) => works,
            Fate::Fails | Fate::Busy(_) | Fate::Refuses => false,
        };
        if works {
            work(fate == Fate::Works);
        }
        let retry = |reason: &str, after| Attempt::Retry {
            reason: reason.into(),
            after,
        };
        match fate {
            Fate::Works => {}
            Fate::Fails => return retry("500", None),
            Fate::WorksUnheard => return retry("timed out", None),
            Fate::Busy(seconds) => return retry("429", Some(Duration::from_secs(seconds))),
            Fate::Refuses => {
                return Attempt::Refused {
                    reason: "403".into(),
                };
            }
            Fate::Hangs(_) => std::future::pending().await,
            Fate::Dies(_) => {
                self.died.store(true, Ordering::SeqCst);
                std::future::pending().await
            }
            Fate::Slow => {
                self.clock.ahead(limits::LEASE + Duration::from_secs(1));
                self.clock.sleep(Duration::from_secs(1)).await;
            }
        }
        Attempt::Done {
            detail: "200".into(),
            evidence: Evidence::new(),
        }
    }
}

/// The authorization server.
pub(crate) struct Idp(pub(crate) Arc<Servers>, pub(crate) Text);

impl Revoker for Idp {
    fn name(&self) -> &Text {
        &self.1
    }

    fn claims<'a>(&'a self, _: &'a Action) -> BoxFuture<'a, Claim> {
        Box::pin(std::future::ready(Claim::Mine))
    }

    fn perform<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Attempt> {
        let deed = Deed {
            action: action.clone(),
            at: self.0.clock.now(),
        };
        self.0.begun.lock().expect("begun").push(deed.clone());
        let work = move |_| self.0.done.lock().expect("done").push(deed);
        Box::pin(self.0.call(&action.id, work))
    }
}

/// The mail server.
pub(crate) struct Mail(pub(crate) Arc<Servers>, pub(crate) Text);

impl Notifier for Mail {
    fn name(&self) -> &Text {
        &self.1
    }

    fn notify<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt> {
        let mut stands: Vec<String> = (notification.actions.iter())
            .filter(|it| it.action.kind != ActionKind::Notify)
            .map(|it| format!("{} {}", it.action.id, it.state))
            .collect();
        stands.sort();
        let told = Told {
            id: notification.action.id.clone(),
            incident: notification.incident.id.clone(),
            said: format!("{} {}", notification.incident.severity, stands.join(", ")),
            at: self.0.clock.now(),
            heard: false,
        };
        let work = move |heard| {
            let told = Told { heard, ..told };
            self.0.told.lock().expect("told").push(told);
        };
        Box::pin(self.0.call(&notification.action.id, work))
    }

    fn announce<'a>(&'a self, bulletin: &'a Bulletin) -> BoxFuture<'a, Attempt> {
        if let News::TooLate(_) = &bulletin.news {
            self.0.summed_up.fetch_add(1, Ordering::SeqCst);
        }
        Box::pin(self.0.call(&bulletin.id, |_| {}))
    }
}
