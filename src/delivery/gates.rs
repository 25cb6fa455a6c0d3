//! A gate for each target, a revoker or a receiver: so many calls at once, so many a second, none while it is not well.
//!
//! Nobody waits at a gate: what does not get through is given back to the outbox with the time at which to come again, so
//! that a target which is slow or dead holds no worker, and delays no other. Those times lie as far apart as the target's
//! rate allows. Gates live in memory: after a restart each is open, and what waited stands in the outbox.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::actions::Attempt;
use crate::config::TargetLimits;
use crate::model::limits::PUT_OFF_MAX;
use crate::model::{Text, Timestamp};

use super::circuit::Circuit;
use super::report::{PutOff, Report, TargetKind};
use super::worker::later;

/// Revokers and receivers by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) kind: TargetKind,
    pub(super) name: Text,
}

pub(super) struct Gates {
    of: Mutex<BTreeMap<Target, Gate>>,
    report: Arc<dyn Report>,
}

#[derive(Debug, Default)]
struct Gate {
    circuit: Circuit,
    running: u32,
    /// When as many calls as may follow each other at once would have been made at the rate.
    paid_until: Timestamp,
    /// The last time that was given to somebody who was put off.
    next: Timestamp,
}

/// One call through a gate. Who does not say what was answered has told nothing.
pub(super) struct Pass<'a> {
    gates: &'a Gates,
    target: Target,
    now: Timestamp,
    told: bool,
}

/// Not now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Later {
    pub(super) until: Timestamp,
    pub(super) why: Text,
}

impl Gates {
    pub(super) fn new(report: Arc<dyn Report>) -> Self {
        Self {
            of: Mutex::default(),
            report,
        }
    }

    /// Lets one call through, or says when to come again.
    pub(super) fn enter(
        &self,
        target: Target,
        limits: TargetLimits,
        now: Timestamp,
    ) -> Result<Pass<'_>, Later> {
        let mut gates = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gates.entry(target.clone()).or_default();
        match gate.enter(limits, now) {
            Ok(()) => Ok(Pass {
                gates: self,
                target,
                now,
                told: false,
            }),
            Err((put_off, until, why)) => {
                self.report.put_off(target.kind, &target.name, put_off);
                let why = match put_off {
                    PutOff::Circuit => {
                        format!(
                            "{} is left alone until {until}, for it failed: {why}",
                            target.name
                        )
                    }
                    PutOff::Busy => format!("{} has as many calls as it may", target.name),
                    PutOff::Rate => format!("{} was called as often as it may be", target.name),
                };
                Err(Later {
                    until,
                    why: why.into(),
                })
            }
        }
    }

    fn leave(&self, target: &Target, change: impl FnOnce(&mut Circuit)) {
        let mut gates = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gates.entry(target.clone()).or_default();
        gate.running = gate.running.saturating_sub(1);
        let was_open = gate.circuit.is_open();
        change(&mut gate.circuit);
        let is_open = gate.circuit.is_open();
        drop(gates);
        if was_open != is_open {
            self.report.circuit(target.kind, &target.name, is_open);
            let (kind, name) = (target.kind.as_str(), &*target.name);
            if is_open {
                tracing::warn!(
                    kind,
                    name,
                    "A target fails for one action after the other: it is left alone for a while, then tried with one"
                );
            } else {
                tracing::info!(kind, name, "A target that failed answers again");
            }
        }
    }
}

impl Gate {
    fn enter(
        &mut self,
        limits: TargetLimits,
        now: Timestamp,
    ) -> Result<(), (PutOff, Timestamp, Text)> {
        let apart = Duration::from_secs(1) / limits.per_second;
        // As many as are allowed in a second may follow each other at once.
        let second = Duration::from_secs(1);
        let paid_until = self.paid_until.min(later(now, second)).max(now);
        if self.running >= limits.concurrency {
            return Err((PutOff::Busy, self.slot(later(now, apart), apart), "".into()));
        }
        let free = paid_until
            .checked_sub(second.saturating_sub(apart))
            .unwrap_or(now);
        if free > now {
            return Err((PutOff::Rate, self.slot(free, apart), "".into()));
        }
        if let Err(rest) = self.circuit.admit(now) {
            return Err((PutOff::Circuit, self.slot(rest.until, apart), rest.why));
        }
        self.running += 1;
        self.paid_until = later(paid_until, apart);
        Ok(())
    }

    /// The next time at which somebody may come again, not before `from`; not so late that all is over by then.
    fn slot(&mut self, from: Timestamp, apart: Duration) -> Timestamp {
        let next = later(self.next, apart);
        self.next = if next > later(from, PUT_OFF_MAX) || next < from {
            from
        } else {
            next
        };
        self.next
    }
}

impl Pass<'_> {
    /// What the target answered to an action.
    pub(super) fn answered(mut self, action: &Text, attempt: &Attempt, now: Timestamp) {
        self.told = true;
        self.gates.leave(&self.target, |circuit| match attempt {
            Attempt::Done { .. } | Attempt::Answered { .. } | Attempt::Refused { .. } => {
                circuit.answered();
            }
            Attempt::Retry { reason, after } => circuit.failed(action, reason, *after, now),
        });
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.told {
            let now = self.now;
            self.gates
                .leave(&self.target, |circuit| circuit.abandoned(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Timestamp {
        later(Timestamp::UNIX_EPOCH, Duration::from_millis(milliseconds))
    }

    fn target(name: &str) -> Target {
        Target {
            kind: TargetKind::Revoker,
            name: name.into(),
        }
    }

    const LIMITS: TargetLimits = TargetLimits {
        concurrency: 2,
        per_second: 4,
    };

    fn done() -> Attempt {
        Attempt::Done {
            detail: "".into(),
            evidence: crate::model::Evidence::new(),
        }
    }

    #[test]
    fn so_many_at_once_and_one_target_does_not_hold_up_another() {
        let gates = Gates::new(Arc::new(()));
        let enter = |name: &str| gates.enter(target(name), LIMITS, at(0));
        let (first, second) = (enter("a").unwrap(), enter("a").unwrap());
        let busy = enter("a").err().unwrap();
        assert!(busy.why.contains("as many calls"), "{}", busy.why);
        assert!(enter("b").is_ok());
        first.answered(&"x".into(), &done(), at(0));
        drop(second);
        assert!(enter("a").is_ok());
    }

    #[test]
    fn so_many_a_second_and_who_is_put_off_comes_one_after_the_other() {
        let gates = Gates::new(Arc::new(()));
        let enter = |now| gates.enter(target("a"), LIMITS, at(now));
        for _ in 0..4 {
            drop(enter(0).unwrap());
        }
        let slots: Vec<Timestamp> = (0..3).map(|_| enter(0).err().unwrap().until).collect();
        assert_eq!(slots, [at(250), at(500), at(750)]);
        assert!(enter(249).is_err());
        drop(enter(250).unwrap());
        assert!(enter(250).is_err());
        for _ in 0..4 {
            drop(enter(5000).unwrap());
        }
        assert!(enter(5000).is_err());
    }

    #[test]
    fn a_target_that_fails_is_left_alone_and_tried_by_one() {
        let gates = Gates::new(Arc::new(()));
        let enter = |now| gates.enter(target("a"), LIMITS, at(now));
        let failed = Attempt::Retry {
            reason: "503".into(),
            after: None,
        };
        for action in ["x", "y", "z"] {
            enter(0).unwrap().answered(&action.into(), &failed, at(0));
        }
        let rest = enter(1000).err().unwrap();
        assert!(rest.why.contains("503"), "{}", rest.why);
        assert_eq!(rest.until, at(5000));
        assert!(gates.enter(target("b"), LIMITS, at(0)).is_ok());
        let one = enter(5000).unwrap();
        assert!(enter(5000).is_err(), "only one tries");
        drop(one);
        enter(5001)
            .unwrap()
            .answered(&"x".into(), &done(), at(5002));
        let both = [enter(9000), enter(9000)];
        assert!(both.iter().all(Result::is_ok), "it answers again");
    }
}
