//! A running daemon, asked through its API: what the commands for people talk to.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use crate::actions::http_client;
use crate::config::Secret;
use crate::model::limits;

/// A daemon on the same machine answers at once; one behind a busy store within seconds.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The API of one daemon.
pub struct Remote {
    base: Url,
    token: Option<Secret>,
    client: reqwest::Client,
}

/// The daemon's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Done(Value),
    /// There is no such thing.
    Missing(String),
    /// It does not do that, and why.
    Refused(String),
}

impl Remote {
    pub fn new(
        base: &str,
        token_file: Option<&Path>,
        ca_file: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let base: Url = base
            .parse()
            .with_context(|| format!("`{base}` is no address of an API"))?;
        let token = token_file.map(read_token).transpose()?;
        let is_local = base
            .host_str()
            .is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
        if base.scheme() != "https" && token.is_some() && !is_local {
            bail!("the token would go to {base} unencrypted; use https://");
        }
        let client = http_client(TIMEOUT, ca_file).map_err(anyhow::Error::msg)?;
        Ok(Self {
            base,
            token,
            client,
        })
    }

    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(Method::GET, url, None).await
    }

    pub async fn post(&self, path: &[&str], body: &Value) -> anyhow::Result<Answer> {
        self.send(Method::POST, self.url(path)?, Some(body)).await
    }

    /// Each part is one segment, whatever stands in it.
    fn url(&self, path: &[&str]) -> anyhow::Result<Url> {
        let mut url = self.base.clone();
        let Ok(mut segments) = url.path_segments_mut() else {
            bail!("{} is no address of an API", self.base);
        };
        segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        drop(segments);
        Ok(url)
    }

    async fn send(&self, method: Method, url: Url, body: Option<&Value>) -> anyhow::Result<Answer> {
        let mut request = self.client.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let asked = request.send().await.map_err(reqwest::Error::without_url);
        let mut response =
            asked.with_context(|| format!("the daemon at {} does not answer", self.base))?;
        let status = response.status();
        let mut text = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(reqwest::Error::without_url)?
        {
            text.extend_from_slice(&chunk);
            if text.len() > 16 * limits::ANSWER_BYTES_MAX {
                bail!("the answer of {} is too large; ask for less", self.base);
            }
        }
        let parsed: Value = serde_json::from_slice(&text).unwrap_or_default();
        Ok(judge(status, parsed))
    }
}

fn judge(status: StatusCode, body: Value) -> Answer {
    if status.is_success() {
        return Answer::Done(body);
    }
    let why = match body["error"].as_str() {
        Some(why) => why.to_owned(),
        None => format!("the daemon answers {status}"),
    };
    match status {
        StatusCode::NOT_FOUND => Answer::Missing(why),
        StatusCode::UNAUTHORIZED => Answer::Refused(format!("{why} (--token-file names its file)")),
        _ => Answer::Refused(why),
    }
}

fn read_token(path: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the token file {} cannot be read", path.display()))?;
    let token = text.trim();
    if token.is_empty() || token.len() > limits::SECRET_BYTES_MAX {
        bail!("the token file {} holds no token", path.display());
    }
    Ok(Secret::new(token))
}
