//! An OAuth access token by client credentials, kept until shortly before it expires.
//!
//! The keycloak and http revokers send through [`Authorized`]: it puts the token on the request, and on 401 fetches a
//! new one and repeats once. Servers do kill such tokens early (Keycloak when the realm's not-before moves), so the
//! stated lifetime alone cannot be trusted; a second 401 with a fresh token is an answer. On 403 it does so where the
//! token was an old one: a role that was granted since stands in new tokens only.

use std::time::Duration;

use reqwest::{RequestBuilder, Url};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::Secret;
use crate::model::{Text, limits};

use super::Attempt;
use super::client::{Answer, Client};

/// Sends requests with the token of one client.
pub(super) struct Authorized {
    client: Client,
    grant: Grant,
    /// Held while fetching, so that ten actions at once ask for one token.
    kept: Mutex<Option<Kept>>,
}

/// How the token is asked for.
pub(super) struct Grant {
    pub(super) token_url: Url,
    pub(super) client_id: Text,
    pub(super) client_secret: Secret,
    pub(super) audience: Option<Text>,
    pub(super) scope: Option<Text>,
}

struct Kept {
    token: Secret,
    renew_at: Instant,
}

impl Authorized {
    pub(super) fn new(client: Client, grant: Grant) -> Self {
        Self {
            client,
            grant,
            kept: Mutex::new(None),
        }
    }

    /// Sends what `request` builds, twice at most.
    pub(super) async fn send(
        &self,
        request: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Answer, Attempt> {
        let (token, is_old) = self.token().await?;
        let answer = self.send_with(&token, &request).await?;
        if answer.status != 401 && !(answer.status == 403 && is_old) {
            return Ok(answer);
        }
        self.forget(&token).await;
        let (token, _) = self.token().await?;
        self.send_with(&token, &request).await
    }

    /// A token that should still be good, and whether it was fetched before.
    async fn token(&self) -> Result<(Secret, bool), Attempt> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref()
            && Instant::now() < kept.renew_at
        {
            return Ok((kept.token.clone(), true));
        }
        let (token, lifetime) = self.fetch().await?;
        *kept = Some(Kept {
            token: token.clone(),
            renew_at: Instant::now() + lifetime.mul_f64(0.8),
        });
        Ok((token, false))
    }

    /// A token fetched now; the kept one stays.
    pub(super) async fn fresh_token(&self) -> Result<Secret, Attempt> {
        self.fetch().await.map(|(token, _)| token)
    }

    async fn send_with(
        &self,
        token: &Secret,
        request: &impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Answer, Attempt> {
        self.client
            .send(request(&self.client).bearer_auth(token.expose()))
            .await
    }

    /// Only that token: another task may have fetched a newer one meanwhile.
    async fn forget(&self, token: &Secret) {
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|kept| kept.token == *token) {
            *kept = None;
        }
    }

    async fn fetch(&self) -> Result<(Secret, Duration), Attempt> {
        let grant = &self.grant;
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", &grant.client_id),
            ("client_secret", grant.client_secret.expose()),
        ];
        form.extend(grant.audience.as_deref().map(|text| ("audience", text)));
        form.extend(grant.scope.as_deref().map(|text| ("scope", text)));
        let request = self
            .client
            .request(reqwest::Method::POST, grant.token_url.clone())
            .form(&form);
        let answer = self.client.send(request).await?;
        if !answer.succeeded() {
            return Err(answer.failure(&format!("token for client {}", grant.client_id)));
        }
        read_token(&answer).ok_or_else(|| Attempt::Refused {
            reason: format!(
                "token for client {}: {} answered {} without an access_token; is this the token endpoint?",
                grant.client_id, answer.host, answer.status
            )
            .into(),
        })
    }
}

fn read_token(answer: &Answer) -> Option<(Secret, Duration)> {
    let body = answer.json()?;
    let token = body.get("access_token")?.as_str()?;
    let lifetime = body
        .get("expires_in")
        .and_then(serde_json::Value::as_u64)
        .map_or(limits::TOKEN_LIFETIME_DEFAULT, Duration::from_secs);
    // A day is longer than anyone gives, and bounds the arithmetic.
    Some((Secret::new(token), lifetime.min(Duration::from_hours(24))))
}
