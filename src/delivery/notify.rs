//! A notification: waits a little for the outcome, says what the store knows then, and goes where the routes lead.
//!
//! What comes too late to be news by itself is held, and told with others in one summary (see the file `bulletins`).

use std::time::Duration;

use crate::actions::{Notification, Remark};
use crate::model::limits::{NOTIFICATION_DETECTIONS_MAX, OUTCOME_WAIT, STORY_WAIT_MAX};
use crate::model::{Action, Bulletin, Detection, NoEffect, Text, Timestamp, Value};
use crate::store::{Finish, FinishState, IncidentDetails, LeasedAction, StoreError};

use super::Performers;
use super::perform::too_old;
use super::reminders::{AGAIN, NEEDED};
use super::tell::{AsOf, Message};
use super::worker::{Worker, earlier, later};

/// The member of a finding's evidence that lists presentations.
const TIMELINE: &str = "timeline";

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
        // A receiver that was away makes no news old: what counts is how old they were when they came.
        if leased.attempts == 0
            && let Some(too_old) = too_old(leased, performers.act_within, leased.ready_since)
        {
            return self.finish(leased, too_old).await;
        }
        if let Some(until) = self.wait_for_outcome(leased).await? {
            return self.store.await_outcome(leased, until, self.now()).await;
        }
        let now = self.now();
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
        // What it shows was told, also where that came in this moment, or the clock was set back since.
        let needed = details.needed_since;
        let as_of = AsOf {
            time: needed.map_or(now, |it| it.max(now)),
            seen: details.seen,
        };
        let mut notification = compose(leased, details, performers);
        let mut receivers = performers.routes.of(&notification, &performers.names());
        if let Some(said) = self
            .leave_out_the_told(leased, needed, &mut receivers)
            .await?
        {
            return self.finish(leased, said).await;
        }
        self.tell_the_story(&mut notification.detections).await;
        let message = Message::Incident(&notification);
        self.tell_all(leased, message, receivers, performers, as_of)
            .await
    }

    /// The gravest finding about a family gets the family's last presentations, where no finding brings them itself.
    async fn tell_the_story(&self, detections: &mut [Detection]) {
        if detections
            .iter()
            .any(|it| it.evidence.get(TIMELINE).is_some())
        {
            return;
        }
        let of_families = detections.iter_mut().filter(|it| it.family_id.is_some());
        let Some(gravest) = of_families.max_by_key(|it| it.severity) else {
            return;
        };
        let story = self.options.memory.story(gravest);
        // A mail without it beats a mail that waits.
        let story = tokio::time::timeout(STORY_WAIT_MAX, story).await;
        let lines: Vec<Value> = story.into_iter().flatten().map(Value::Map).collect();
        if !lines.is_empty() {
            let evidence = std::mem::take(&mut gravest.evidence);
            gravest.evidence = evidence.with(TIMELINE, lines);
        }
    }

    /// A notice says how all stands when it is sent. Who was sent another one of the incident since this one was put in, or since
    /// there has been what it is about, has read what this one would say; tells so when that is everybody.
    async fn leave_out_the_told(
        &self,
        leased: &LeasedAction,
        needed: Option<Timestamp>,
        receivers: &mut Vec<Text>,
    ) -> Result<Option<Finish>, StoreError> {
        let action = &leased.action;
        let needed = needed.filter(|_| *action.reason == *NEEDED);
        let is_news = needed.is_none();
        let since = match needed {
            Some(needed) => earlier(needed, Duration::from_millis(1)).min(leased.ready_since),
            // What was read with it says so, whatever the clock showed; but a person wants it told now.
            None if !leased.approved => Timestamp::MIN,
            None => leased.ready_since,
        };
        let mut said = None;
        let mut left = Vec::new();
        for receiver in std::mem::take(receivers) {
            let told = self.store.told_since(action, &receiver, since, is_news);
            match told.await? {
                Some(notice) => said = Some(notice),
                None => left.push(receiver),
            }
        }
        *receivers = left;
        let said = said.filter(|_| receivers.is_empty());
        Ok(said.map(|notice| {
            let why = format!("the notice {notice} has said it");
            Finish::new(&leased.action, FinishState::Suppressed, why)
        }))
    }

    /// A bulletin goes to its receiver, or to those who are told of many at once.
    async fn announce(
        &self,
        leased: &LeasedAction,
        bulletin: &Bulletin,
        performers: &Performers,
    ) -> Result<(), StoreError> {
        let mut receivers = match &bulletin.receiver {
            Some(receiver) => vec![receiver.clone()],
            None => performers.routes.of_many(&performers.names()),
        };
        receivers.retain(|receiver| performers.names().contains(receiver));
        if receivers.is_empty() {
            let why = "its receiver is no longer in the configuration";
            return self
                .finish(
                    leased,
                    Finish::new(&leased.action, FinishState::Expired, why),
                )
                .await;
        }
        let message = Message::Bulletin(bulletin);
        let as_of = AsOf {
            time: self.now(),
            seen: None,
        };
        self.tell_all(leased, message, receivers, performers, as_of)
            .await
    }

    /// Until when to wait for the incident's other actions, so that one notification can say how it ended.
    async fn wait_for_outcome(
        &self,
        leased: &LeasedAction,
    ) -> Result<Option<Timestamp>, StoreError> {
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
        ..
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
        remarks: remarks(&leased.action),
        specimen: false,
    }
}

/// Why people are told once more, where they are.
fn remarks(action: &Action) -> Vec<Remark> {
    if action.reason.starts_with(NoEffect::LIVES_ON) {
        let why = action.reason.clone();
        return vec![Remark::LivesOn { why }];
    }
    let reasons = [(NEEDED, Remark::Needed), (AGAIN, Remark::Again)];
    let mut reasons = reasons.into_iter();
    let said = reasons.find(|(reason, _)| *action.reason == **reason);
    said.map(|(_, remark)| remark).into_iter().collect()
}
