//! Tells another system about an incident, or about many at once: signed JSON to one address.
//!
//! The body is the same data that a mail is made of, under stable names.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::config;
use crate::model::{Bulletin, Evidence, News, Text};

use super::signed::Signed;
use super::{Asked, Attempt, Finding, Notification, Notifier, Remark, Surroundings};

pub(super) struct Webhook {
    name: Text,
    signed: Signed,
    surroundings: Surroundings,
}

impl Webhook {
    pub(super) fn new(
        receiver: &config::Receiver,
        settings: &config::WebhookReceiver,
        surroundings: Surroundings,
    ) -> Result<Self, String> {
        let transport = (settings.timeout, settings.ca_file.as_deref());
        let (url, secret) = (&settings.url, settings.secret.as_ref());
        Ok(Self {
            name: receiver.name.clone(),
            signed: Signed::new(url, secret, transport, surroundings.now)?,
            surroundings,
        })
    }

    async fn send(&self, notification: &Notification) -> Attempt {
        let asked = self.surroundings.ask(notification).await;
        let body = body(notification, &asked).to_string();
        self.post(&notification.action.id, body).await
    }

    async fn post(&self, id: &str, body: String) -> Attempt {
        let what = format!("webhook {}", self.name);
        match self.signed.post(&what, id, body).await {
            Ok(answer) => Attempt::Done {
                detail: format!("{} answered {}", answer.host, answer.status).into(),
                evidence: Evidence::new().with("status", i64::from(answer.status)),
            },
            Err(attempt) => attempt,
        }
    }
}

impl Notifier for Webhook {
    fn name(&self) -> &Text {
        &self.name
    }

    fn notify<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt> {
        Box::pin(self.send(notification))
    }

    fn announce<'a>(&'a self, bulletin: &'a Bulletin) -> BoxFuture<'a, Attempt> {
        Box::pin(self.post(&bulletin.id, bulletin_body(bulletin).to_string()))
    }

    fn inspect(&self) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(self.signed.inspect())
    }
}

/// Stable: members are added, never changed.
fn body(notification: &Notification, asked: &Asked) -> Value {
    let rules = notification.rules.iter().map(
        |note| json!({"rule": note.rule, "description": note.description, "runbook": note.runbook}),
    );
    json!({
        "version": 1,
        "id": notification.action.id,
        "type": "incident",
        "specimen": notification.specimen,
        "remarks": notification.remarks.iter().map(Remark::sentence).collect::<Vec<_>>(),
        "incident": notification.incident,
        "user_name": asked.user_name,
        "detections": notification.detections,
        "actions": notification.actions,
        "rules": rules.collect::<Vec<_>>(),
    })
}

/// The same promise: `type` is `digest`, `too_late` or `more`, and the facts stand under that name.
fn bulletin_body(bulletin: &Bulletin) -> Value {
    let (name, facts) = match &bulletin.news {
        News::Digest(digest) => ("digest", json!(digest)),
        News::TooLate(too_late) => ("too_late", json!(too_late)),
        News::More(more) => ("more", json!(more)),
    };
    json!({
        "version": 1,
        "id": bulletin.id,
        "type": name,
        "since": bulletin.since,
        "until": bulletin.until,
        name: facts,
    })
}
