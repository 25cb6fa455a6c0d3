//! An action for a revoker: not when it is too old, and only by one that is for its issuer and kind.

use std::time::Duration;

use crate::actions::Attempt;
use crate::model::limits::{LEASE, REVOCATION_DEADLINE};
use crate::model::{Action, OwnEventKind, Timestamp};
use crate::store::{AttemptEnd, AttemptId, Finish, FinishState, LeasedAction, StoreError};

use super::worker::{Worker, later, own_event, result_of};
use super::{Performers, RevokerRoute};

impl Worker {
    pub(super) async fn perform(
        &self,
        leased: &LeasedAction,
        performers: &Performers,
    ) -> Result<(), StoreError> {
        let action = &leased.action;
        if let Some(too_old) = too_old(leased, performers.act_within, self.now()) {
            return self.finish(leased, too_old).await;
        }
        let Some(route) = performers
            .revokers
            .iter()
            .find(|route| route.is_for(action))
        else {
            let why = format!(
                "no revoker is configured for `{}` at issuer `{}`; add one under `revokers:`, then release the action",
                action.kind, action.target.issuer
            );
            return self
                .finish(leased, Finish::new(action, FinishState::Parked, why))
                .await;
        };
        let now = self.now();
        let name = route.revoker.name();
        let attempted = own_event(OwnEventKind::Attempted, action, now);
        let begun = self
            .store
            .begin_attempt(
                &action.id,
                &leased.lease,
                std::slice::from_ref(name),
                Some(&attempted),
                now,
                later(now, LEASE),
            )
            .await?;
        let attempt = self
            .attempt(
                leased,
                name,
                self.options.revocation_timeout,
                route.revoker.perform(action),
            )
            .await?;
        let finish = self.end_of(leased, attempt, begun);
        self.finish(leased, finish).await
    }

    fn end_of(&self, leased: &LeasedAction, attempt: Attempt, begun: Vec<AttemptId>) -> Finish {
        let action = &leased.action;
        let result = result_of(&attempt);
        let (finish, evidence) = match attempt {
            Attempt::Done { detail, evidence } => {
                (Finish::new(action, FinishState::Done, detail), evidence)
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

impl RevokerRoute {
    fn is_for(&self, action: &Action) -> bool {
        let issuer = self.issuers.is_empty() || self.issuers.contains(&action.target.issuer);
        issuer && self.kinds.contains(&action.kind)
    }
}

/// A first start, an outage or a restored backup must not revoke the past; a person may.
fn too_old(leased: &LeasedAction, act_within: Duration, now: Timestamp) -> Option<Finish> {
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
    Some(match leased.attempts {
        0 => Finish::new(action, FinishState::Held, why),
        tried => Finish::new(
            action,
            FinishState::Parked,
            format!("given up after {tried} tries: {why}"),
        ),
    })
}
