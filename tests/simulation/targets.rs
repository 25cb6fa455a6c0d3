//! What one revoker or receiver may be asked: a naive model of its limits and its circuit, which sees calls and answers alone.
//!
//! It allows a little more than the product does, so that what it finds is wrong by any reading.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use tokenwarden::config::TargetLimits;
use tokenwarden::model::{Text, Timestamp, limits};

/// How a call ended for who made it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Heard {
    Answer,
    Failure(Option<Duration>),
    /// Whoever called has gone.
    Nothing,
}

pub(crate) struct Watchman {
    name: Text,
    limits: TargetLimits,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    calls: u64,
    running: BTreeMap<u64, Text>,
    lately: Vec<Timestamp>,
    /// Actions that failed since the last answer.
    failed: BTreeSet<Text>,
    alone: Option<Alone>,
    faults: Vec<String>,
    opened: u64,
}

/// It is left alone until then, and tried by one after that.
struct Alone {
    since: Timestamp,
    until: Timestamp,
    times: u32,
    tried_by: Option<u64>,
}

impl Watchman {
    pub(crate) fn new(name: &str, limits: TargetLimits) -> Self {
        Self {
            name: name.into(),
            limits,
            seen: Mutex::default(),
        }
    }

    pub(crate) fn begun(&self, action: &Text, now: Timestamp) -> u64 {
        let mut seen = self.seen.lock().expect("what was seen");
        seen.calls += 1;
        let call = seen.calls;
        seen.running.insert(call, action.clone());
        seen.lately
            .retain(|at| *at <= now && *at + Duration::from_secs(1) > now);
        seen.lately.push(now);
        // As many as a second allows may follow each other at once, and as many more within it.
        let is_often = seen.lately.len() > 2 * self.limits.per_second as usize;
        let is_crowded = seen.running.len() > self.limits.concurrency as usize;
        let why_not = match &mut seen.alone {
            _ if is_crowded => Some("with too many calls at once"),
            _ if is_often => Some("too often"),
            None => None,
            // It had been let through before.
            Some(alone) if now <= alone.since + Duration::from_secs(1) => None,
            Some(alone) if now < alone.until => Some("while it is to be left alone"),
            Some(alone) if alone.tried_by.is_some() => Some("while one tries it"),
            Some(alone) => {
                alone.tried_by = Some(call);
                None
            }
        };
        let fault = why_not.map(|why| format!("{} was asked for {action} {why}", self.name));
        seen.faults.extend(fault);
        call
    }

    pub(crate) fn ended(&self, call: u64, heard: Heard, now: Timestamp) {
        let seen = &mut *self.seen.lock().expect("what was seen");
        // Of a daemon that is dead.
        let Some(action) = seen.running.remove(&call) else {
            return;
        };
        let asked = match heard {
            Heard::Answer => {
                seen.failed.clear();
                seen.alone = None;
                return;
            }
            Heard::Nothing => {
                if let Some(alone) = &mut seen.alone
                    && alone.tried_by == Some(call)
                {
                    alone.tried_by = None;
                    alone.until = now.min(alone.until);
                }
                return;
            }
            Heard::Failure(asked) => asked.map(|asked| asked.min(limits::RETRY_AFTER_MAX)),
        };
        let was_tried = match &seen.alone {
            // Begun before: that is known already.
            Some(alone) if alone.tried_by.is_none() => return,
            tried => tried.is_some(),
        };
        seen.failed.insert(action);
        if !was_tried && asked.is_none() && seen.failed.len() < limits::CIRCUIT_FAULTS {
            return;
        }
        let times = seen.alone.as_ref().map_or(0, |alone| alone.times);
        let pause = limits::CIRCUIT_PAUSE_FIRST * (1 << times.min(16));
        seen.opened += 1;
        seen.alone = Some(Alone {
            since: now,
            until: now + asked.unwrap_or(pause.min(limits::CIRCUIT_PAUSE_MAX)),
            times: times + 1,
            tried_by: None,
        });
    }

    /// Another daemon: it knows nothing of what was before.
    pub(crate) fn forget(&self) {
        let mut seen = self.seen.lock().expect("what was seen");
        seen.running.clear();
        seen.lately.clear();
        seen.failed.clear();
        seen.alone = None;
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        self.seen.lock().expect("what was seen").faults.clone()
    }

    /// How often it was to be left alone.
    pub(crate) fn opened(&self) -> u64 {
        self.seen.lock().expect("what was seen").opened
    }
}
