//! Tells people once more when a person is needed: what was under way has failed, or still waits and nobody has taken it on.
//!
//! The first notification says how it stood then. One that said "under way" promised that somebody takes care; when that
//! turns out wrong, it is said at once, and what fails after that soon: what fails within some minutes is told together.
//! What is left is said again every four hours for a day, as long as nobody has
//! acknowledged the incident; after that the digest lists it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::model::limits::{FAILURES_TOLD_EVERY, REMIND_FOR, REMINDED_MAX, WAITING_NOTICE_EVERY};
use crate::model::{Action, ActionKind, Decision, IncidentState, Timestamp};
use crate::store::{Left, StoreError};

use super::worker::{Worker, earlier, later};

/// Reasons of such notices; by them it is known what to say.
pub(super) const NEEDED: &str = "what was under way has not worked: a person is needed";
pub(super) const AGAIN: &str = "something is left to do, and nobody has acknowledged it";

/// Looks come so many times less often than those of the outbox: this can wait for seconds.
const LOOKS: u32 = 10;

impl Worker {
    /// Looks now and then until cancelled.
    pub(super) async fn remind(&self, cancel: &CancellationToken) {
        let mut trouble = false;
        while !cancel.is_cancelled() {
            let reminded = tokio::select! {
                () = cancel.cancelled() => return,
                reminded = self.remind_of_all() => reminded,
            };
            match reminded {
                Ok(()) => trouble = false,
                Err(error) if !std::mem::replace(&mut trouble, true) => {
                    tracing::warn!(%error, "What is left to do cannot be read; trying again until it works");
                }
                Err(_) => {}
            }
            let pause: Duration = self.options.look_every * LOOKS;
            tokio::select! {
                () = cancel.cancelled() => {}
                () = self.sleep(pause) => {}
            }
        }
    }

    async fn remind_of_all(&self) -> Result<(), StoreError> {
        // With nobody to tell, it waits until somebody is.
        if self.performers.borrow().notifiers.is_empty() {
            return Ok(());
        }
        let now = self.now();
        let since = earlier(now, REMIND_FOR);
        for left in self.store.left_to_do(since, REMINDED_MAX, now).await? {
            let told = self.store.last_told(&left.incident_id).await?;
            let Some(at) = told.at.filter(|_| !told.pending) else {
                continue;
            };
            let broken = self.store.failed_since(&left.incident_id, at).await?;
            let Some(reason) = due(&left, at, broken, now) else {
                continue;
            };
            if self
                .store
                .put_notice(&notice(&left, at, reason, now), now)
                .await?
            {
                tracing::info!(incident.id = %left.incident_id, reason, "People are told of an incident once more");
            }
        }
        Ok(())
    }
}

/// Why people are told once more, if they are: they were told at a time, and perhaps of something as under way that has failed
/// since. Who was told nothing is not reminded.
fn due(left: &Left, told: Timestamp, has_failed: bool, now: Timestamp) -> Option<&'static str> {
    let is_new = left.first > told;
    if is_new || (has_failed && now >= later(told, FAILURES_TOLD_EVERY)) {
        return Some(NEEDED);
    }
    let is_time = now >= later(told, WAITING_NOTICE_EVERY);
    (is_time && left.state != IncidentState::Acknowledged).then_some(AGAIN)
}

/// The id is made of what was told last: no notice comes twice.
fn notice(left: &Left, told_at: Timestamp, reason: &str, now: Timestamp) -> Action {
    Action {
        id: format!("{}-again-{}", left.incident_id, told_at.as_millisecond()).into(),
        kind: ActionKind::Notify,
        detection_ids: Vec::new(),
        decision: Decision::Execute,
        reason: reason.into(),
        // News of now, however old their cause: it is not to be held for its age.
        event_time: now,
        ..left.action.clone()
    }
}
