//! Tells people about an incident by mail, or about many at once.
//!
//! One message, one envelope for each recipient: a refused mailbox must not silence the others, and SMTP gives up all
//! recipients of an envelope together. Who has accepted is remembered until the action ends, so that a retry goes to
//! the rest alone; after a restart the same `Message-ID` lets mail programs fold what comes twice.

pub(super) mod bulletin;
mod folder;
pub(super) mod letter;
mod message;
pub(super) mod render;
mod smtp;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use lettre::Address;
use lettre::message::Mailbox;

use crate::config::{self, MailTransport};
use crate::model::{Bulletin, Evidence, Text, limits};

use super::links::Links;
use super::report::Report;
use super::{Attempt, Finding, Notification, Notifier, Surroundings};
use smtp::Smtp;

pub(super) struct Email {
    name: Text,
    from: Mailbox,
    reply_to: Option<Mailbox>,
    to: Vec<Mailbox>,
    links: Links,
    transport: Transport,
    surroundings: Surroundings,
    accepted: Mutex<Accepted>,
}

enum Transport {
    Smtp(Box<Smtp>),
    Folder(folder::Folder),
}

/// Recipients whose server has taken the mail, by action.
type Accepted = BTreeMap<Text, BTreeSet<Address>>;

/// How one envelope ended.
pub(super) enum Failure {
    /// About this recipient: the next may fare better.
    Recipient { is_final: bool, said: String },
    /// About the server: nobody would fare better.
    Server { is_final: bool, said: String },
}

/// What became of all envelopes of one message.
#[derive(Default)]
struct Result {
    sent: Vec<String>,
    refused: Vec<String>,
    waiting: Vec<String>,
}

impl Email {
    pub(super) fn new(
        receiver: &config::Receiver,
        settings: &config::EmailReceiver,
        surroundings: Surroundings,
    ) -> std::result::Result<Self, String> {
        let from = mailbox("from", &settings.from)?;
        if settings.to.is_empty() {
            return Err("to: nobody would get the mail".to_owned());
        }
        let transport = match &settings.transport {
            MailTransport::Folder(path) => Transport::Folder(folder::Folder::new(path)),
            MailTransport::Smtp { .. } => Transport::Smtp(Box::new(Smtp::new(
                &settings.transport,
                from.email.domain(),
            )?)),
        };
        Ok(Self {
            name: receiver.name.clone(),
            to: settings
                .to
                .iter()
                .map(|text| mailbox("to", text))
                .collect::<std::result::Result<_, _>>()?,
            reply_to: match &settings.reply_to {
                Some(text) => Some(mailbox("reply_to", text)?),
                None => None,
            },
            links: Links::new(&settings.links)?,
            from,
            transport,
            surroundings,
            accepted: Mutex::default(),
        })
    }

    async fn send(&self, notification: &Notification) -> Attempt {
        let report = self.report(notification).await;
        let now = (self.surroundings.now)();
        let message = match message::compose(self, notification, &report, now) {
            Ok(message) => message.formatted(),
            Err(fault) => {
                return Attempt::Refused {
                    reason: format!("the mail cannot be written: {fault}").into(),
                };
            }
        };
        let id = &notification.action.id;
        self.deliver_as(id, &notification.incident.id, &message)
            .await
    }

    async fn send_bulletin(&self, bulletin: &Bulletin) -> Attempt {
        let letter = bulletin::letter(bulletin);
        let now = (self.surroundings.now)();
        match message::compose_bulletin(self, bulletin, &letter, now) {
            Ok(message) => {
                let message = message.formatted();
                self.deliver_as(&bulletin.id, &bulletin.id, &message).await
            }
            Err(fault) => Attempt::Refused {
                reason: format!("the mail cannot be written: {fault}").into(),
            },
        }
    }

    /// `thread` names the file where mails are kept in a folder.
    async fn deliver_as(&self, id: &Text, thread: &str, message: &[u8]) -> Attempt {
        let attempt = self.deliver(id, thread, message).await.attempt();
        if !matches!(attempt, Attempt::Retry { .. }) {
            self.locked().remove(id);
        }
        attempt
    }

    async fn report(&self, notification: &Notification) -> Report {
        let asked = self.surroundings.ask(notification).await;
        let mut report = Report::of(notification, &asked);
        report.links.extend(self.links.of(notification));
        report
    }

    async fn deliver(&self, action_id: &Text, incident_id: &str, message: &[u8]) -> Result {
        let mut result = Result::default();
        let mut server_down = None;
        for to in &self.to {
            if self.has_accepted(action_id, &to.email) {
                result.sent.push(to.email.to_string());
                continue;
            }
            let outcome = match (&server_down, &self.transport) {
                (Some(said), _) => Err(Failure::Server {
                    is_final: false,
                    said: String::clone(said),
                }),
                (None, Transport::Smtp(smtp)) => {
                    smtp.send(&self.from.email, &to.email, message).await
                }
                // One file for all: nobody else reads the folder.
                (None, Transport::Folder(folder)) => folder.write(incident_id, message).await,
            };
            if let Err(Failure::Server {
                is_final: false,
                said,
            }) = &outcome
            {
                server_down = Some(said.clone());
            }
            if outcome.is_ok() {
                self.remember(action_id, &to.email);
            }
            let is_folder = matches!(self.transport, Transport::Folder(_));
            let is_fatal = matches!(outcome, Err(Failure::Server { is_final: true, .. }));
            result.add(&to.email, outcome);
            if is_folder || is_fatal {
                break;
            }
        }
        result
    }

    fn has_accepted(&self, action_id: &Text, to: &Address) -> bool {
        self.locked()
            .get(action_id)
            .is_some_and(|accepted| accepted.contains(to))
    }

    fn remember(&self, action_id: &Text, to: &Address) {
        let mut accepted = self.locked();
        if accepted.len() >= limits::MAILS_UNDER_WAY_MAX && !accepted.contains_key(action_id) {
            accepted.pop_first();
        }
        accepted
            .entry(action_id.clone())
            .or_default()
            .insert(to.clone());
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Accepted> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Result {
    fn add(&mut self, to: &Address, outcome: std::result::Result<(), Failure>) {
        match outcome {
            Ok(()) => self.sent.push(to.to_string()),
            Err(Failure::Recipient { is_final, said } | Failure::Server { is_final, said }) => {
                let list = if is_final {
                    &mut self.refused
                } else {
                    &mut self.waiting
                };
                list.push(format!("{to} ({said})"));
            }
        }
    }

    /// Waiting for one keeps the action alive; with one served, a refused mailbox is a note and no failure.
    fn attempt(&self) -> Attempt {
        let mut parts = Vec::new();
        for (what, list) in [
            ("sent to", &self.sent),
            ("refused for", &self.refused),
            ("not yet for", &self.waiting),
        ] {
            if !list.is_empty() {
                parts.push(format!("{what} {}", list.join(", ")));
            }
        }
        let text: Text = parts.join("; ").into();
        if !self.waiting.is_empty() {
            return Attempt::Retry {
                reason: text,
                after: None,
            };
        }
        if self.sent.is_empty() {
            return Attempt::Refused { reason: text };
        }
        let refused = self.refused.iter().map(|text| text.as_str().into());
        Attempt::Done {
            detail: text,
            evidence: Evidence::new()
                .with("sent", self.sent.len())
                .with("refused", crate::model::Value::List(refused.collect())),
        }
    }
}

impl Notifier for Email {
    fn name(&self) -> &Text {
        &self.name
    }

    fn notify<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt> {
        Box::pin(self.send(notification))
    }

    fn announce<'a>(&'a self, bulletin: &'a Bulletin) -> BoxFuture<'a, Attempt> {
        Box::pin(self.send_bulletin(bulletin))
    }

    fn inspect(&self) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async move {
            match &self.transport {
                Transport::Smtp(smtp) => smtp.inspect(&self.from.email, &self.to).await,
                Transport::Folder(folder) => folder.inspect().await,
            }
        })
    }
}

fn mailbox(key: &str, text: &str) -> std::result::Result<Mailbox, String> {
    text.parse().map_err(|error| {
        format!("{key}: {text:?} is no mail address ({error}); expected user@example.com or Name <user@example.com>")
    })
}
