//! Makes notifiers, and asks the servers what a person reading a notification wants to know.

use std::sync::Arc;

use crate::config;
use crate::model::{Action, ActionKind, ActionState, Text, Timestamp, limits};

use super::alertmanager::Alertmanager;
use super::email::Email;
use super::pagerduty::PagerDuty;
use super::slack::Slack;
use super::webhook::Webhook;
use super::{Notification, Notifier, Revokers};

/// What notifiers take from outside.
#[derive(Clone)]
pub struct Surroundings {
    /// Wall time, for the date of a mail and the stamp of a signature.
    pub now: fn() -> Timestamp,
    /// Asked for names and for the commands by which a person can do what was not done.
    pub revokers: Revokers,
}

/// What the servers told for one notification; nothing of it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    pub user_name: Option<String>,
    /// Command by action id.
    pub by_hand: Vec<(Text, String)>,
    /// By which a person can end the login, where no action would.
    pub to_end: Option<String>,
}

/// Makes one notifier.
pub fn notifier(
    settings: &config::Receiver,
    surroundings: Surroundings,
) -> Result<Arc<dyn Notifier>, String> {
    let made: Result<Arc<dyn Notifier>, String> = match &settings.kind {
        config::ReceiverKind::Email(email) => {
            Email::new(settings, email, surroundings).map(|made| Arc::new(made) as _)
        }
        config::ReceiverKind::Slack(slack) => {
            Slack::new(settings, slack, surroundings).map(|made| Arc::new(made) as _)
        }
        config::ReceiverKind::PagerDuty(pagerduty) => {
            PagerDuty::new(settings, pagerduty, surroundings).map(|made| Arc::new(made) as _)
        }
        config::ReceiverKind::Alertmanager(alertmanager) => {
            Alertmanager::new(settings, alertmanager, surroundings).map(|made| Arc::new(made) as _)
        }
        config::ReceiverKind::Webhook(webhook) => {
            Webhook::new(settings, webhook, surroundings).map(|made| Arc::new(made) as _)
        }
    };
    made.map_err(|fault| format!("receiver {}: {fault}", settings.name))
}

impl Surroundings {
    /// Waits a bounded time and takes what has come by then: a mail without a name beats a late one.
    pub(super) async fn ask(&self, notification: &Notification) -> Asked {
        let name = self.revokers.user_name(&notification.action.target);
        let user_name = tokio::time::timeout(limits::NAME_WAIT_MAX, name)
            .await
            .ok()
            .flatten();
        let mut by_hand = Vec::new();
        for record in &notification.actions {
            if !matches!(
                record.state,
                ActionState::Done | ActionState::Answered | ActionState::Offered
            ) && let Some(command) = self.revokers.by_hand(&record.action)
            {
                by_hand.push((record.action.id.clone(), command));
            }
        }
        Asked {
            user_name,
            by_hand,
            to_end: self.to_end(notification),
        }
    }

    fn to_end(&self, notification: &Notification) -> Option<String> {
        let kinds = notification.actions.iter().map(|it| it.action.kind);
        if kinds.into_iter().any(ActionKind::ends_something) {
            return None;
        }
        let revocation = Action {
            kind: ActionKind::RevokeFamily,
            ..notification.action.clone()
        };
        self.revokers.by_hand(&revocation)
    }
}
