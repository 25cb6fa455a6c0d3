//! A notification: waits a little for the outcome, says what the store knows then, and goes to each receiver once.
//!
//! Each receiver's answer is recorded as it comes, so that a repeated try goes only to those that are still without it.
//! What comes too late to be news by itself is held, and told with others in one summary (see the file `bulletins`).

use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};

use crate::actions::{Attempt, Notification, Notifier};
use crate::model::limits::{
    LEASE, NOTIFICATION_DEADLINE, NOTIFICATION_DETECTIONS_MAX, OUTCOME_WAIT,
};
use crate::model::{Bulletin, Evidence, Text};
use crate::store::{
    AttemptEnd, AttemptId, AttemptResult, Finish, FinishState, IncidentDetails, LeasedAction,
    Settled, StoreError,
};

use super::Performers;
use super::perform::too_old;
use super::worker::{Worker, later, result_of};

/// What is told.
#[derive(Clone, Copy)]
enum Message<'a> {
    Incident(&'a Notification),
    Bulletin(&'a Bulletin),
}

impl<'a> Message<'a> {
    fn to(self, notifier: &'a dyn Notifier) -> BoxFuture<'a, Attempt> {
        match self {
            Self::Incident(notification) => notifier.notify(notification),
            Self::Bulletin(bulletin) => notifier.announce(bulletin),
        }
    }
}

impl Worker {
    pub(super) async fn notify(
        &self,
        leased: &LeasedAction,
        performers: &Performers,
    ) -> Result<(), StoreError> {
        let action = &leased.action;
        if performers.notifiers.is_empty() {
            let why =
                "no receiver is configured; add one under `receivers:`, for the incidents to come";
            return self
                .finish(leased, Finish::new(action, FinishState::Parked, why))
                .await;
        }
        if let Some(bulletin) = self.store.bulletin(&action.incident_id).await? {
            return self.announce(leased, &bulletin, performers).await;
        }
        // One that has been tried is on its way: a mail server that was away makes no news old.
        if leased.attempts == 0
            && let Some(too_old) = too_old(leased, performers.act_within, self.now())
        {
            return self.finish(leased, too_old).await;
        }
        if let Some(until) = self.wait_for_outcome(leased).await? {
            return self.store.await_outcome(leased, until, self.now()).await;
        }
        let detections_max = u32::try_from(NOTIFICATION_DETECTIONS_MAX).unwrap_or(u32::MAX);
        let Some(details) = self
            .store
            .incident(&action.incident_id, detections_max)
            .await?
        else {
            let why = format!("its incident {} is not in the store", action.incident_id);
            return self
                .finish(leased, Finish::new(action, FinishState::Parked, why))
                .await;
        };
        let notification = compose(leased, details, performers);
        let finish = self
            .tell_all(
                leased,
                Message::Incident(&notification),
                &performers.notifiers,
            )
            .await?;
        self.finish(leased, finish).await
    }

    /// A bulletin goes to its receiver, or to all.
    async fn announce(
        &self,
        leased: &LeasedAction,
        bulletin: &Bulletin,
        performers: &Performers,
    ) -> Result<(), StoreError> {
        let is_for = |notifier: &&Arc<dyn Notifier>| {
            let wanted = bulletin.receiver.as_ref();
            wanted.is_none_or(|receiver| receiver == notifier.name())
        };
        let receivers: Vec<Arc<dyn Notifier>> = performers
            .notifiers
            .iter()
            .filter(is_for)
            .cloned()
            .collect();
        if receivers.is_empty() {
            let why = "its receiver is no longer in the configuration";
            return self
                .finish(
                    leased,
                    Finish::new(&leased.action, FinishState::Expired, why),
                )
                .await;
        }
        let finish = self
            .tell_all(leased, Message::Bulletin(bulletin), &receivers)
            .await?;
        self.finish(leased, finish).await
    }

    /// Until when to wait for the incident's other actions, so that one notification can say how it ended.
    async fn wait_for_outcome(
        &self,
        leased: &LeasedAction,
    ) -> Result<Option<crate::model::Timestamp>, StoreError> {
        let until = later(leased.ready_since, OUTCOME_WAIT);
        if leased.attempts > 0
            || self.now() >= until
            || !self
                .store
                .outcome_pending(&leased.action.incident_id)
                .await?
        {
            return Ok(None);
        }
        Ok(Some(until))
    }

    async fn tell_all(
        &self,
        leased: &LeasedAction,
        message: Message<'_>,
        receivers: &[Arc<dyn Notifier>],
    ) -> Result<Finish, StoreError> {
        let mut settled = self.store.settled(leased).await?;
        let missing: Vec<&Arc<dyn Notifier>> = receivers
            .iter()
            .filter(|notifier| !settled.iter().any(|s| s.performer == *notifier.name()))
            .collect();
        let names: Vec<Text> = missing
            .iter()
            .map(|notifier| notifier.name().clone())
            .collect();
        let now = self.now();
        let attempts = self
            .store
            .begin_attempt(
                &leased.action.id,
                &leased.lease,
                &names,
                None,
                now,
                later(now, LEASE),
            )
            .await?;
        let calls = missing
            .into_iter()
            .zip(attempts)
            .map(|(notifier, attempt)| self.tell(leased, message, notifier.as_ref(), attempt));
        let mut failed = Vec::new();
        for (answered, name) in join_all(calls).await.into_iter().zip(names) {
            match answered? {
                Attempt::Retry { reason, after } => failed.push((name, reason, after)),
                settling => settled.push(Settled {
                    performer: name,
                    result: result_of(&settling),
                    detail: settling.reason().into(),
                }),
            }
        }
        let Some((name, reason, _)) = failed.first() else {
            return Ok(conclude(leased, &settled));
        };
        let asked = failed.iter().filter_map(|(_, _, after)| *after).max();
        Ok(self.after_failure(
            leased,
            &format!("{name}: {reason}"),
            asked,
            NOTIFICATION_DEADLINE,
        ))
    }

    async fn tell(
        &self,
        leased: &LeasedAction,
        message: Message<'_>,
        notifier: &dyn Notifier,
        attempt: AttemptId,
    ) -> Result<Attempt, StoreError> {
        let answered = self
            .attempt(
                leased,
                notifier.name(),
                self.options.notification_timeout,
                message.to(notifier),
            )
            .await?;
        let (detail, evidence) = match &answered {
            Attempt::Done { detail, evidence } => (detail, evidence.clone()),
            Attempt::Retry { reason, .. } | Attempt::Refused { reason } => {
                (reason, Evidence::new())
            }
        };
        let end = AttemptEnd {
            attempt,
            result: result_of(&answered),
            detail: detail.clone(),
            evidence,
        };
        self.store.end_attempt(&end, self.now()).await?;
        Ok(answered)
    }
}

/// Everybody has answered: done, unless somebody refused, which a person must know.
fn conclude(leased: &LeasedAction, settled: &[Settled]) -> Finish {
    let those = |wanted: AttemptResult| {
        let those = settled.iter().filter(|one| one.result == wanted);
        those
            .map(|one| format!("{} ({})", one.performer, one.detail))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (told, refused) = (those(AttemptResult::Done), those(AttemptResult::Refused));
    let (state, outcome) = match (told.is_empty(), refused.is_empty()) {
        (_, true) => (FinishState::Done, format!("told {told}")),
        (true, false) => (FinishState::Parked, format!("refused by {refused}")),
        (false, false) => (
            FinishState::Parked,
            format!("told {told}, but refused by {refused}"),
        ),
    };
    Finish::new(&leased.action, state, outcome)
}

fn compose(
    leased: &LeasedAction,
    details: IncidentDetails,
    performers: &Performers,
) -> Notification {
    let IncidentDetails {
        incident,
        detections,
        actions,
    } = details;
    let mut rules: Vec<&Text> = detections
        .iter()
        .map(|detection| &detection.rule)
        .chain([&leased.action.rule])
        .collect();
    rules.sort();
    rules.dedup();
    Notification {
        rules: rules
            .into_iter()
            .filter_map(|rule| performers.rules.get(rule))
            .cloned()
            .collect(),
        actions: actions
            .into_iter()
            .filter(|record| record.action.id != leased.action.id)
            .collect(),
        action: leased.action.clone(),
        incident,
        detections,
        specimen: false,
    }
}
