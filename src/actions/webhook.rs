//! Tells another system about an incident, or about many at once: signed JSON to one address.
//!
//! The body is the same data that a mail is made of, under stable names. The signature covers the time of sending, so
//! that a recorded request cannot be replayed later: `X-Tokenwarden-Signature: t=SECONDS,v1=HEX` with HMAC-SHA256 of
//! `SECONDS.BODY`. The address often carries a key of its own, so it is a secret and never shown.

use futures_util::future::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::config::{self, Secret};
use crate::model::{Bulletin, Evidence, News, Text};

use super::client::{Client, secret_address};
use super::{Asked, Attempt, Finding, Notification, Notifier, Remark, Surroundings};

const SIGNATURE: &str = "x-tokenwarden-signature";
const IDEMPOTENCY_KEY: &str = "idempotency-key";

pub(super) struct Webhook {
    name: Text,
    url: Url,
    secret: Option<Secret>,
    client: Client,
    surroundings: Surroundings,
}

impl Webhook {
    pub(super) fn new(
        receiver: &config::Receiver,
        settings: &config::WebhookReceiver,
        surroundings: Surroundings,
    ) -> Result<Self, String> {
        Ok(Self {
            name: receiver.name.clone(),
            url: secret_address(&settings.url)?,
            secret: settings.secret.clone(),
            client: Client::new(settings.timeout, settings.ca_file.as_deref())?,
            surroundings,
        })
    }

    async fn send(&self, notification: &Notification) -> Attempt {
        let asked = self.surroundings.ask(notification).await;
        let body = body(notification, &asked).to_string();
        self.post(&notification.action.id, body).await
    }

    async fn post(&self, id: &str, body: String) -> Attempt {
        let mut request = self
            .client
            .request(Method::POST, self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, id);
        if let Some(secret) = &self.secret {
            let seconds = (self.surroundings.now)().as_second();
            request = request.header(SIGNATURE, signature(secret, seconds, &body));
        }
        match self.client.send(request.body(body)).await {
            Ok(answer) if answer.succeeded() => Attempt::Done {
                detail: format!("{} answered {}", answer.host, answer.status).into(),
                evidence: Evidence::new().with("status", i64::from(answer.status)),
            },
            Ok(answer) => answer.failure(&format!("webhook {}", self.name)),
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
        Box::pin(self.client.inspect(&self.url, self.surroundings.now))
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

fn signature(secret: &Secret, seconds: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(format!("{seconds}.{body}").as_bytes());
    let hex: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect();
    format!("t={seconds},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `printf '%s' '1700000000.{}' | openssl dgst -sha256 -hmac key`.
    #[test]
    fn the_signature_is_what_others_compute() {
        assert_eq!(
            signature(&Secret::new("key"), 1_700_000_000, "{}"),
            "t=1700000000,v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
        );
    }
}
