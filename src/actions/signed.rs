//! A signed POST of JSON: how systems of one's own are told and asked.
//!
//! The signature covers the time of sending, so that a recorded request cannot be replayed later:
//! `X-Tokenwarden-Signature: t=SECONDS,v1=HEX` with HMAC-SHA256 of `SECONDS.BODY`. The address often carries a key of its
//! own, so it is a secret and never shown.

use std::path::Path;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Url};
use sha2::Sha256;

use crate::config::Secret;
use crate::model::Timestamp;

use super::client::{Answer, Client, secret_address};
use super::{Attempt, Finding};

const SIGNATURE: &str = "x-tokenwarden-signature";
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// One address with the key that both sides know.
pub(super) struct Signed {
    url: Url,
    secret: Option<Secret>,
    client: Client,
    now: fn() -> Timestamp,
}

impl Signed {
    pub(super) fn new(
        url: &Secret,
        secret: Option<&Secret>,
        (timeout, ca_file): (Duration, Option<&Path>),
        now: fn() -> Timestamp,
    ) -> Result<Self, String> {
        Ok(Self {
            url: secret_address(url)?,
            secret: secret.cloned(),
            client: Client::new(timeout, ca_file)?,
            now,
        })
    }

    /// Sends it once; whoever receives it knows by the id that it was sent before.
    pub(super) async fn post(&self, what: &str, id: &str, body: String) -> Result<Answer, Attempt> {
        let mut request = self
            .client
            .request(Method::POST, self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, id);
        if let Some(secret) = &self.secret {
            let seconds = self.now().as_second();
            request = request.header(SIGNATURE, signature(secret, seconds, &body));
        }
        let answer = self.client.send(request.body(body)).await?;
        if answer.succeeded() {
            return Ok(answer);
        }
        Err(answer.failure(what))
    }

    /// Wall time.
    pub(super) fn now(&self) -> Timestamp {
        (self.now)()
    }

    pub(super) async fn inspect(&self) -> Vec<Finding> {
        self.client.inspect(&self.url, self.now).await
    }
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
