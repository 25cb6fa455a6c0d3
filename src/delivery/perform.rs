//! An action for a revoker: not when it is too old, and only by one that is for its issuer and kind.

use std::time::Duration;

use crate::actions::Attempt;
use crate::model::limits::{LEASE, REVOCATION_DEADLINE, UNCLEAR_RETRY};
use crate::model::{ActionKind, OwnEventKind, Timestamp};
use crate::store::{AttemptEnd, AttemptId, Finish, FinishState, LeasedAction, StoreError};

use super::Performers;
use super::gates::Target;
use super::report::TargetKind;
use super::worker::{Worker, later, own_event, result_of};

impl Worker {
    pub(super) async fn perform(
        &self,
        leased: &LeasedAction,
        performers: &Performers,
    ) -> Result<(), StoreError> {
        let action = &leased.action;
        if let Some(finish) = self.recheck(leased, performers).await? {
            return self.finish(leased, finish).await;
        }
        let revoker = match performers.revokers.choose(action).await {
            Ok(revoker) => revoker,
            Err(attempt) => return self.finish(leased, self.unperformed(leased, attempt)).await,
        };
        let now = self.now();
        let name = revoker.name();
        if let Some(why) = self
            .options
            .withheld
            .reason(name)
            .filter(|_| !leased.approved && action.undoes.is_none())
        {
            return self.finish(leased, wait_for_person(leased, &why)).await;
        }
        let target = Target {
            kind: TargetKind::Revoker,
            name: name.clone(),
        };
        let limits = performers.limits_of(target.kind, name);
        let pass = match self.gates.enter(target, limits, now) {
            Ok(pass) => pass,
            Err(until) => return self.put_off(leased, &until, REVOCATION_DEADLINE).await,
        };
        let attempted = own_event(OwnEventKind::Attempted, action, now);
        // A person answers for what was approved, and what was begun before is charged already.
        let asks = !leased.approved && leased.attempts == 0 && action.undoes.is_none();
        let begun = self
            .store
            .begin_within(
                asks.then_some(&performers.budget),
                leased,
                name,
                &attempted,
                now,
                later(now, LEASE),
            )
            .await?;
        let begun = match begun {
            Ok(begun) => begun,
            Err(used_up) => {
                return self.finish(leased, wait_for_person(leased, &used_up)).await;
            }
        };
        let attempt = self
            .attempt(
                leased,
                name,
                self.options.revocation_timeout,
                revoker.perform(action),
            )
            .await?;
        pass.answered(&action.id, &attempt, self.now());
        let mut finish = self.end_of(leased, attempt, begun);
        if finish.state == FinishState::Done && action.undoes.is_none() {
            finish.undo_at = revoker.lasts().map(|ttl| later(self.now(), ttl));
        }
        self.finish(leased, finish).await
    }

    /// Nobody performs it. A review is a queue of our own; what only slows or challenges is worth no page.
    fn unperformed(&self, leased: &LeasedAction, attempt: Attempt) -> Finish {
        let action = &leased.action;
        let soft = matches!(
            action.kind,
            ActionKind::Challenge | ActionKind::Throttle | ActionKind::BlockIp
        );
        match attempt {
            _ if action.kind == ActionKind::Review => {
                Finish::new(action, FinishState::Done, "listed for review")
            }
            Attempt::Refused { reason } if soft => {
                Finish::new(action, FinishState::Expired, reason)
            }
            // Nobody was asked, so no try is counted: it waits until the server that knows may answer again.
            Attempt::Retry { reason, .. } => {
                let due = later(self.now(), UNCLEAR_RETRY);
                Finish::new(action, FinishState::RetryAt(due), reason)
            }
            attempt => self.end_of(leased, attempt, Vec::new()),
        }
    }

    fn end_of(&self, leased: &LeasedAction, attempt: Attempt, begun: Vec<AttemptId>) -> Finish {
        let action = &leased.action;
        let result = result_of(&attempt);
        let (finish, evidence) = match attempt {
            Attempt::Done { detail, evidence } => {
                (Finish::new(action, FinishState::Done, detail), evidence)
            }
            Attempt::Answered { detail, evidence } => {
                (Finish::new(action, FinishState::Answered, detail), evidence)
            }
            Attempt::Retry { reason, after } => (
                self.after_failure(leased, &reason, after, REVOCATION_DEADLINE),
                crate::model::Evidence::new(),
            ),
            Attempt::Refused { reason } => (
                Finish::new(action, FinishState::Parked, reason),
                crate::model::Evidence::new(),
            ),
        };
        let detail = finish.outcome.clone();
        let ends = begun
            .into_iter()
            .map(|attempt| AttemptEnd {
                attempt,
                result,
                detail: detail.clone(),
                evidence: evidence.clone(),
            })
            .collect();
        Finish { ends, ..finish }
    }
}

/// A first start, an outage or a restored backup must not revoke the past; a person may. One summary tells of all such.
pub(super) fn too_old(
    leased: &LeasedAction,
    act_within: Duration,
    now: Timestamp,
) -> Option<Finish> {
    let action = &leased.action;
    let age = Duration::try_from(now.duration_since(action.event_time)).unwrap_or_default();
    if leased.approved || age <= act_within {
        return None;
    }
    let minutes = |duration: Duration| duration.as_secs().div_ceil(60);
    let why = format!(
        "the event is {} min old, and only {} min are allowed (`response.act_within`)",
        minutes(age),
        minutes(act_within)
    );
    let came = leased.ready_since.duration_since(action.event_time);
    let was_news = Duration::try_from(came).unwrap_or_default() <= act_within;
    // What people may have heard of as under way is told by itself.
    Some(if leased.attempts == 0 && !was_news {
        Finish::new(action, FinishState::TooOld, why)
    } else {
        wait_for_person(leased, &why)
    })
}

fn wait_for_person(leased: &LeasedAction, why: &str) -> Finish {
    let action = &leased.action;
    match leased.attempts {
        0 => Finish::new(action, FinishState::Held, why),
        tried => Finish::new(
            action,
            FinishState::Parked,
            format!("given up after {tried} tries: {why}"),
        ),
    }
}
