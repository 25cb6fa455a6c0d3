//! Two sets of rules over the same events in one pass: which detections and actions appear, vanish or change.
//!
//! Both sides judge each event in turn, so what belongs together comes about at nearly the same time: it waits for its
//! counterpart a while of event time, then it has none. Comparing two finished lists would need memory for both.

mod pairing;

use super::lane::Lane;
use super::{PROGRESS_EVERY, Replay, Step, Summary};
use crate::enrich::Enricher;
use crate::model::{Action, Detection, Output, Reject, Severity, Timestamp};
use crate::rules::RuleSet;
use pairing::{Paired, Pairing, Side};

/// What one side has, the other has, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pair<'a, T> {
    /// Only the rules in force have it: it vanishes.
    Before(&'a T),
    /// Only the other rules have it: it appears.
    After(&'a T),
    Both(&'a T, &'a T),
}

/// Where the comparison goes, as it comes about.
pub trait Listener {
    fn detection(&mut self, pair: Pair<'_, Detection>) -> anyhow::Result<()>;
    fn action(&mut self, pair: Pair<'_, Action>) -> anyhow::Result<()>;
    fn rejected(&mut self, reject: &Reject) -> anyhow::Result<()>;
    /// Bytes read of all input files, and events judged.
    fn progress(&mut self, bytes: u64, events: u64);
}

/// What both sides came to.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    pub before: Summary,
    pub after: Summary,
}

impl Replay<'_> {
    /// Judges by these rules and by others.
    pub fn compare(
        &self,
        other: &RuleSet,
        listener: &mut dyn Listener,
    ) -> anyhow::Result<Compared> {
        let mut enricher = Enricher::new(self.tables());
        let mut before = Lane::new(self.config, &self.rules);
        let mut after = Lane::new(self.config, other);
        let mut pairings = Pairings::default();
        let mut feed = self.feed()?;
        while let Some(step) = feed.next()? {
            match step {
                Step::Rejected(reject) => {
                    before.summary.rejected += 1;
                    after.summary.rejected += 1;
                    listener.rejected(&reject)?;
                }
                Step::Event(taken) => {
                    let event = Box::new(enricher.enrich(taken.event));
                    let time = event.event.time;
                    let was = before.take(taken.partition, event.clone(), taken.last);
                    let is = after.take(taken.partition, event, taken.last);
                    pairings.take(time, was, is, listener)?;
                }
            }
            if feed.taken.is_multiple_of(PROGRESS_EVERY) {
                listener.progress(feed.bytes(), feed.taken);
            }
        }
        listener.progress(feed.bytes(), feed.taken);
        pairings.finish(listener)?;
        Ok(Compared {
            before: before.summary(),
            after: after.summary(),
        })
    }
}

#[derive(Default)]
struct Pairings {
    detections: Pairing<Detection>,
    actions: Pairing<Action>,
    now: Option<Timestamp>,
}

impl Pairings {
    fn take(
        &mut self,
        time: Timestamp,
        was: Output,
        is: Output,
        listener: &mut dyn Listener,
    ) -> anyhow::Result<()> {
        for (side, output) in [(Side::Before, was), (Side::After, is)] {
            for detection in output.detections {
                self.detections.take(side, detection, time);
            }
            for action in output.actions {
                self.actions.take(side, action, time);
            }
        }
        // A time that lies behind is one of several files, or a late event.
        let now = self.now.map_or(time, |now| now.max(time));
        self.now = Some(now);
        self.detections.forget_before(now);
        self.actions.forget_before(now);
        self.tell(listener)
    }

    fn finish(mut self, listener: &mut dyn Listener) -> anyhow::Result<()> {
        self.detections.forget_all();
        self.actions.forget_all();
        self.tell(listener)
    }

    fn tell(&mut self, listener: &mut dyn Listener) -> anyhow::Result<()> {
        for paired in self.detections.done() {
            listener.detection(paired.pair())?;
        }
        for paired in self.actions.done() {
            listener.action(paired.pair())?;
        }
        Ok(())
    }
}

impl<T> Paired<T> {
    fn pair(&self) -> Pair<'_, T> {
        match self {
            Self::Alone(Side::Before, item) => Pair::Before(item),
            Self::Alone(Side::After, item) => Pair::After(item),
            Self::Both(was, is) => Pair::Both(was, is),
        }
    }
}

impl<T> Pair<'_, T> {
    /// The one that is told of: as it will be, or as it was where it will not be.
    pub fn shown(&self) -> &T {
        match self {
            Self::Before(item) | Self::After(item) | Self::Both(_, item) => item,
        }
    }
}

impl Pair<'_, Detection> {
    /// Severity before and after, where that differs.
    pub fn other_severity(&self) -> Option<(Severity, Severity)> {
        match self {
            Self::Both(was, is) if was.severity != is.severity => Some((was.severity, is.severity)),
            _ => None,
        }
    }

    pub fn stays(&self) -> bool {
        matches!(self, Self::Both(..)) && self.other_severity().is_none()
    }
}

impl Pair<'_, Action> {
    pub fn stays(&self) -> bool {
        match self {
            Self::Both(was, is) => was.decision == is.decision && was.target == is.target,
            _ => false,
        }
    }
}
