//! An app as the authorization server sees it: real HTTP requests from a forwarded address with a user agent.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::authorization_server::{DEVICE_HEADER, FORWARDED_HEADER, LOGIN_CODE};
use super::truth::ACTOR_HEADER;

/// Loopback answers in milliseconds, on a busy machine in seconds; a server that takes this long hangs.
const ANSWER_TIME_MAX: Duration = Duration::from_mins(1);

/// What all simulated apps share.
#[derive(Clone)]
pub struct Internet {
    http: reqwest::Client,
    base_url: Arc<str>,
}

impl Internet {
    pub fn new(base_url: &str) -> Result<Self> {
        // Needed to build a client at all; whoever was first has chosen the same one.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .timeout(ANSWER_TIME_MAX)
            .no_proxy()
            .build()
            .context("build the HTTP client of the simulated apps")?;
        Ok(Self {
            http,
            base_url: base_url.into(),
        })
    }
}

/// One installation: a browser, a phone app, or what a thief has instead.
#[derive(Clone)]
pub struct App {
    pub internet: Internet,
    pub client_id: &'static str,
    pub user_agent: String,
    pub device_id: Option<String>,
    /// Who really is behind it; goes into the private header.
    pub actor: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The new refresh token.
    Rotated(String),
    Refused,
}

#[derive(Deserialize)]
struct TokenAnswer {
    refresh_token: String,
}

impl App {
    /// Logs the user in and gives the first refresh token.
    pub async fn log_in(&self, user_id: &str, from: IpAddr) -> Result<String> {
        let code = format!("{LOGIN_CODE}{user_id}");
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", self.client_id),
            ("code", &code),
        ];
        match self.ask_token(&form, from).await? {
            Answer::Rotated(token) => Ok(token),
            Answer::Refused => bail!(
                "the simulated server refused the login of {user_id} at {}",
                self.client_id
            ),
        }
    }

    pub async fn refresh(&self, token: &str, from: IpAddr) -> Result<Answer> {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", self.client_id),
            ("refresh_token", token),
        ];
        self.ask_token(&form, from).await
    }

    /// Logs out.
    pub async fn revoke(&self, token: &str, from: IpAddr) -> Result<()> {
        let form = [("client_id", self.client_id), ("token", token)];
        let response = self.send("revoke", &form, from).await?;
        response.error_for_status()?;
        Ok(())
    }

    async fn ask_token(&self, form: &[(&str, &str)], from: IpAddr) -> Result<Answer> {
        let response = self.send("token", form, from).await?;
        if response.status() == reqwest::StatusCode::BAD_REQUEST {
            return Ok(Answer::Refused);
        }
        let answer: TokenAnswer = response.error_for_status()?.json().await?;
        Ok(Answer::Rotated(answer.refresh_token))
    }

    async fn send(
        &self,
        path: &str,
        form: &[(&str, &str)],
        from: IpAddr,
    ) -> Result<reqwest::Response> {
        let url = format!("{}/{path}", self.internet.base_url);
        let mut request = self
            .internet
            .http
            .post(url)
            .header(FORWARDED_HEADER, from.to_string())
            .header(reqwest::header::USER_AGENT, &self.user_agent)
            .header(ACTOR_HEADER, &self.actor)
            .form(form);
        if let Some(device_id) = &self.device_id {
            request = request.header(DEVICE_HEADER, device_id);
        }
        request
            .send()
            .await
            .context("ask the simulated authorization server")
    }
}
