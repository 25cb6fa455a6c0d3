//! One leased action: which way it goes, keeping its lease while a try runs, and writing down its end.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::actions::Attempt;
use crate::model::limits::{ATTEMPTS_MAX, LEAD_LOOK_EVERY, LEASE, LEASE_RENEWAL};
use crate::model::{
    Action, ActionKind, ActionState, OwnEvent, OwnEventKind, ShownBy, Text, Timestamp,
};
use crate::store::{AttemptResult, Finish, FinishState, LeasedAction, Queue, Store, StoreError};

use super::gates::{Gates, Later};
use super::schedule::{self, Failure, Next};
use super::{Options, Performers, Report};

pub(super) struct Worker {
    pub(super) store: Store,
    pub(super) performers: watch::Receiver<Arc<Performers>>,
    pub(super) gates: Gates,
    pub(super) report: Arc<dyn Report>,
    pub(super) options: Options,
    pub(super) leases: AtomicU64,
    /// Held while messages of the hour are counted and one more begins.
    pub(super) counting: tokio::sync::Mutex<()>,
}

impl Worker {
    pub(super) fn now(&self) -> Timestamp {
        (self.options.now)()
    }

    /// Waits until so much time has passed, as time passes here.
    pub(super) fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        (self.options.sleep)(duration)
    }

    /// What comes of it, if it does within the time.
    pub(super) async fn within<T>(
        &self,
        duration: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.sleep(duration) => None,
        }
    }

    /// Another name for each lease: a try that outlived its lease must not end that of the try after it.
    pub(super) fn lease_name(&self) -> String {
        format!(
            "{} {}",
            self.options.owner,
            self.leases.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// Takes our canary on its way, as far as a look that has just leased what is due can.
    pub(super) async fn pass_canary(&self, queue: Queue) -> Result<(), StoreError> {
        let passed = self.store.pass_canary(queue, &self.options.owner).await?;
        if let Some(sent_at) = passed {
            let took = self.now().duration_since(sent_at);
            let took = Duration::try_from(took).unwrap_or_default();
            self.report.canary(sent_at, took);
        }
        Ok(())
    }

    /// Takes a leased action as far as it goes now.
    pub(super) async fn deliver(&self, leased: LeasedAction) {
        let performers = self.performers.borrow().clone();
        let action = &leased.action;
        let delivered = if leased.attempts >= ATTEMPTS_MAX {
            let why = format!(
                "given up after {} tries, none of which came to an end; see the log for why",
                leased.attempts
            );
            self.finish(&leased, Finish::new(action, FinishState::Parked, why))
                .await
        } else if action.kind == ActionKind::Notify {
            self.notify(&leased, &performers).await
        } else {
            self.perform(&leased, &performers).await
        };
        match delivered {
            Ok(()) => {}
            Err(StoreError::LeaseLost { .. }) => {
                tracing::warn!(action.id = %action.id, "The lease on a {} ran out during a try; another worker has it", action.kind);
            }
            Err(error) => {
                tracing::warn!(action.id = %action.id, %error, "What became of a {} cannot be recorded; it will be made again", action.kind);
            }
        }
    }

    /// Writes the end down, tells the engine of one that counts, and then the log and the metrics.
    pub(super) async fn finish(
        &self,
        leased: &LeasedAction,
        mut finish: Finish,
    ) -> Result<(), StoreError> {
        let (action, now) = (&leased.action, self.now());
        finish.own_event = match finish.state {
            FinishState::Done | FinishState::Answered => {
                Some(own_event(OwnEventKind::Done, action, now))
            }
            FinishState::Parked => Some(own_event(OwnEventKind::Parked, action, now)),
            FinishState::RetryAt(_)
            | FinishState::Held
            | FinishState::Suppressed
            | FinishState::TooOld
            | FinishState::Expired => None,
        };
        self.store.finish(&finish, &leased.lease, now).await?;
        let outcome = finish.outcome.as_ref();
        let state = match finish.state {
            FinishState::RetryAt(due) => {
                tracing::info!(action.id = %action.id, reason = outcome, "A {} did not work, next try at {due}", action.kind);
                return Ok(());
            }
            FinishState::Done => {
                tracing::info!(action.id = %action.id, outcome, "A {} is done", action.kind);
                ActionState::Done
            }
            FinishState::Answered => {
                tracing::info!(action.id = %action.id, outcome, "A {} was answered; whether it took effect is watched", action.kind);
                ActionState::Answered
            }
            FinishState::Parked => {
                tracing::warn!(action.id = %action.id, reason = outcome, "A {} was given up and waits for a person", action.kind);
                ActionState::Parked
            }
            FinishState::Held => {
                tracing::warn!(action.id = %action.id, reason = outcome, "A {} is held and waits for a person", action.kind);
                ActionState::Held
            }
            // A backlog has thousands: the summary says it once.
            FinishState::TooOld => {
                tracing::debug!(action.id = %action.id, reason = outcome, "A {} is held for its age", action.kind);
                ActionState::Held
            }
            FinishState::Suppressed => {
                tracing::info!(action.id = %action.id, reason = outcome, "A {} is not performed", action.kind);
                ActionState::Suppressed
            }
            FinishState::Expired => ActionState::Expired,
        };
        let since_event =
            Duration::try_from(now.duration_since(action.event_time)).unwrap_or_default();
        self.report.ended(action.kind, state, since_event);
        if state == ActionState::Done && action.kind.ends_something() {
            self.report.verified(action.kind, ShownBy::Check, false);
        }
        Ok(())
    }

    /// What becomes of an action whose target may not be asked now: no try is counted. What waited too long is given up.
    pub(super) async fn put_off(
        &self,
        leased: &LeasedAction,
        until: &Later,
        deadline: Duration,
    ) -> Result<(), StoreError> {
        let now = self.now();
        if until.until > later(leased.ready_since, deadline) {
            let why = format!("given up, since its time was over: {}", until.why);
            let finish = Finish::new(&leased.action, FinishState::Parked, why);
            return self.finish(leased, finish).await;
        }
        self.store
            .put_off(leased, until.until, &until.why, now)
            .await
    }

    /// What becomes of an action after a try that may work later.
    pub(super) fn after_failure(
        &self,
        leased: &LeasedAction,
        reason: &str,
        asked: Option<Duration>,
        deadline: Duration,
    ) -> Finish {
        let attempts = leased.attempts + 1;
        let failure = Failure {
            action_id: &leased.action.id,
            attempts,
            asked,
            ready_since: leased.ready_since,
            deadline,
        };
        match schedule::after(&failure, self.now()) {
            Next::RetryAt(due) => Finish::new(&leased.action, FinishState::RetryAt(due), reason),
            Next::GiveUp(why) => {
                let outcome = format!(
                    "given up after {attempts} tries, since {why}; the last answer: {reason}"
                );
                Finish::new(&leased.action, FinishState::Parked, outcome)
            }
        }
    }

    /// Runs a try with its lease renewed, and with an end: an adapter that never answers is a failed try.
    pub(super) async fn attempt(
        &self,
        leased: &LeasedAction,
        performer: &Text,
        timeout: Duration,
        call: impl Future<Output = Attempt>,
    ) -> Result<Attempt, StoreError> {
        let begun = tokio::time::Instant::now();
        let attempt = tokio::select! {
            // An answer that is there counts, also where the lease is lost in this moment.
            biased;
            answered = self.within(timeout, self.while_leading(call)) => answered.unwrap_or_else(|| Ok(Attempt::Retry {
                reason: format!("{performer}: no answer within {} s; it may have worked all the same", timeout.as_secs()).into(),
                after: None,
            }))?,
            lost = self.keep_lease(leased) => return Err(lost),
        };
        self.report.attempted(
            leased.action.kind,
            performer,
            result_of(&attempt),
            begun.elapsed(),
        );
        Ok(attempt)
    }

    /// Goes on with a call as long as this daemon may act. Asked before each step of it and while it waits: a process that
    /// was frozen wakes up in the middle of one, when another may have taken over.
    pub(super) async fn while_leading<T>(
        &self,
        call: impl Future<Output = T>,
    ) -> Result<T, StoreError> {
        let mut call = pin!(call);
        let mut look = self.sleep(LEAD_LOOK_EVERY);
        poll_fn(|context| {
            while look.as_mut().poll(context).is_ready() {
                look = self.sleep(LEAD_LOOK_EVERY);
            }
            if self.options.mandate.holds() {
                return call.as_mut().poll(context).map(Ok);
            }
            Poll::Ready(Err(StoreError::NotLeading {
                leader: "its lead was not renewed in time; what was under way is left".into(),
            }))
        })
        .await
    }

    /// Ends only when the lease is lost; a store that cannot be reached now may be back before it ends.
    async fn keep_lease(&self, leased: &LeasedAction) -> StoreError {
        loop {
            self.sleep(LEASE_RENEWAL).await;
            let until = later(self.now(), LEASE);
            if let Err(lost @ StoreError::LeaseLost { .. }) = self
                .store
                .renew_lease(&leased.action.id, &leased.lease, until)
                .await
            {
                return lost;
            }
        }
    }
}

pub(super) fn result_of(attempt: &Attempt) -> AttemptResult {
    match attempt {
        Attempt::Done { .. } | Attempt::Answered { .. } => AttemptResult::Done,
        Attempt::Retry { .. } => AttemptResult::Retry,
        Attempt::Refused { .. } => AttemptResult::Refused,
    }
}

pub(super) fn own_event(kind: OwnEventKind, action: &Action, time: Timestamp) -> OwnEvent {
    OwnEvent {
        time,
        kind,
        action_id: action.id.clone(),
        action: action.kind,
        target: action.target.clone(),
    }
}

pub(super) fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}

pub(super) fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}
