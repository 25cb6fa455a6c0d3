//! The one HTTP client of the actions: time-out, size limit, trust, and what an answer means for a retry.
//!
//! Revokers, token fetching and webhooks all send through [`Client`], so that each rule stands in one place: the whole
//! exchange is under one time-out, an answer is read up to a limit, and no error or log shows a path or a query,
//! which may carry a key, also where the server quotes them (`hidden`). Redirects are not followed at all: a followed `POST` may turn into a `GET` whose 200 would be
//! taken for a revocation, and a credential must not wander to another host.

use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{RequestBuilder, Url};

use crate::config::Secret;
use crate::model::{Timestamp, limits};

use super::hidden::Hidden;
use super::inspection::off;
use super::{Attempt, Finding};

/// Sends requests to one server.
#[derive(Debug, Clone)]
pub(super) struct Client {
    inner: reqwest::Client,
}

/// Follows no redirect and reads no environment; `ca_file` is trusted beside the system's authorities.
pub fn http_client(timeout: Duration, ca_file: Option<&Path>) -> Result<reqwest::Client, String> {
    install_crypto();
    let mut builder = reqwest::Client::builder()
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        // A proxy would come from the environment, which is never read.
        .no_proxy()
        .user_agent(concat!("tokenwarden/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca_file {
        builder = builder.tls_certs_merge(read_certificates(path)?);
    }
    builder
        .build()
        .map_err(|error| format!("HTTP client: {}", chain(&error)))
}

/// What a server answered, as far as the limit lets it be read.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    /// The host that answered, for sentences.
    pub(super) host: String,
    retry_after: Option<Duration>,
    redirected_to: Option<String>,
    /// What no sentence may quote of the body.
    hidden: Hidden,
    /// What time it is there, where the server says so.
    pub(super) date: Option<Timestamp>,
}

impl Client {
    /// `ca_file` is trusted beside the system's authorities.
    pub(super) fn new(timeout: Duration, ca_file: Option<&Path>) -> Result<Self, String> {
        http_client(timeout, ca_file).map(|inner| Self { inner })
    }

    pub(super) fn request(&self, method: reqwest::Method, url: Url) -> RequestBuilder {
        self.inner.request(method, url)
    }

    /// Sends and reads the answer. No answer at all is worth another try.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Answer, Attempt> {
        self.send_hiding(request, &[]).await
    }

    /// The same where the body holds secrets that no sentence may quote.
    pub(super) async fn send_hiding(
        &self,
        request: RequestBuilder,
        secrets: &[&Secret],
    ) -> Result<Answer, Attempt> {
        let request = request.build().map_err(|error| Attempt::Refused {
            reason: format!(
                "the request cannot be written: {}",
                chain(&error.without_url())
            )
            .into(),
        })?;
        let host = host_of(request.url());
        let hidden = Hidden::of(&request).and(secrets);
        match self.exchange(request, &host, hidden.clone()).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(Attempt::Retry {
                reason: no_answer(&host, error, &hidden).into(),
                after: None,
            }),
        }
    }

    async fn exchange(
        &self,
        request: reqwest::Request,
        host: &str,
        hidden: Hidden,
    ) -> reqwest::Result<Answer> {
        let mut response = self.inner.execute(request).await?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            let room = limits::ANSWER_BYTES_MAX - body.len();
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if body.len() == limits::ANSWER_BYTES_MAX {
                break;
            }
        }
        let headers = response.headers();
        Ok(Answer {
            status: response.status().as_u16(),
            body: String::from_utf8_lossy(&body).into_owned(),
            host: host.to_owned(),
            retry_after: retry_after(headers),
            redirected_to: redirected_to(headers, response.url()),
            hidden,
            date: date(headers),
        })
    }

    /// Whether anything answers at the address, for `check --online`. Asks for the root of the host, which does nothing.
    pub(super) async fn inspect(&self, url: &Url, now: fn() -> Timestamp) -> Vec<Finding> {
        let mut root = url.clone();
        root.set_path("/");
        root.set_query(None);
        let host = host_of(&root);
        match self.send(self.request(reqwest::Method::HEAD, root)).await {
            Ok(answer) => {
                let clock = answer.date.and_then(|date| off(&host, date, now()));
                let answers = Finding::fine(format!("{host} answers; nothing was sent to it"));
                std::iter::once(answers).chain(clock).collect()
            }
            Err(attempt) => vec![Finding::fault(
                attempt.reason(),
                "check the address, the network and `ca_file`",
            )],
        }
    }
}

impl Answer {
    pub(super) fn succeeded(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(super) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&self.body).ok()
    }

    /// What an answer that is no success means: wait and try again, or give up.
    pub(super) fn failure(&self, what: &str) -> Attempt {
        if is_transient(self.status) {
            self.retry(what)
        } else {
            self.refusal(what)
        }
    }

    pub(super) fn retry(&self, what: &str) -> Attempt {
        Attempt::Retry {
            reason: self.sentence(what).into(),
            after: self.retry_after,
        }
    }

    pub(super) fn refusal(&self, what: &str) -> Attempt {
        let mut reason = self.sentence(what);
        if let Some(place) = &self.redirected_to {
            reason = format!(
                "{reason}; it redirects to {place}, which is not followed: configure the final address"
            );
        }
        Attempt::Refused {
            reason: reason.into(),
        }
    }

    fn sentence(&self, what: &str) -> String {
        // Before it is cut: a part of a key is one too.
        let said = excerpt(&self.hidden.mask(&self.body));
        let said = if said.is_empty() {
            said
        } else {
            format!(": {said}")
        };
        format!("{what}: {} answered {}{said}", self.host, self.status)
    }
}

/// An address that is a key too. The text of a parse error would show it.
pub(super) fn secret_address(url: &Secret) -> Result<Url, String> {
    let parsed = Url::parse(url.expose()).ok();
    let parsed = parsed.filter(|url| matches!(url.scheme(), "http" | "https"));
    parsed.ok_or_else(|| "url: this is no address that begins with https:// or http://".to_owned())
}

/// Statuses that may go away by waiting.
pub(super) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// The beginning of a server's text on one line, fit for a log, a mail and a terminal.
pub(super) fn excerpt(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(limits::EXCERPT_CHARS_MAX)
        .collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The library needs to be told once which cryptography it uses; whoever came first is right.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
    });
}

fn read_certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, String> {
    let pem =
        std::fs::read(path).map_err(|error| format!("ca_file {}: {error}", path.display()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem)
        .map_err(|error| format!("ca_file {}: {}", path.display(), chain(&error)))?;
    if certificates.is_empty() {
        return Err(format!(
            "ca_file {}: no certificate in it; expected PEM text with BEGIN CERTIFICATE",
            path.display()
        ));
    }
    Ok(certificates)
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn no_answer(host: &str, error: reqwest::Error, hidden: &Hidden) -> String {
    let error = error.without_url();
    let why = hidden.mask(&chain(&error));
    if error.is_timeout() {
        format!("{host} did not answer in time")
    } else if error.is_connect() {
        format!("cannot connect to {host}: {why}")
    } else {
        format!("no answer from {host}: {why}")
    }
}

/// An error with its causes, each once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    excerpt(&text)
}

/// Seconds, or a date; a date is taken relative to the server's own clock, so that neither clock need be right.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let until = rfc2822::parse(text).ok()?.timestamp();
        Duration::try_from(until.duration_since(date(headers)?)).unwrap_or_default()
    };
    Some(wait.min(limits::RETRY_AFTER_MAX))
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    Some(rfc2822::parse(text).ok()?.timestamp())
}

/// Only the host: a path may hold a key.
fn redirected_to(headers: &HeaderMap, from: &Url) -> Option<String> {
    let place = headers.get(LOCATION)?.to_str().ok()?;
    let to = from.join(place).ok()?;
    Some(format!("{}://{}", to.scheme(), host_of(&to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(reqwest::header::HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_servers_clock() {
        let seconds = headers(&[(RETRY_AFTER, "120")]);
        assert_eq!(retry_after(&seconds), Some(Duration::from_mins(2)));
        let date = headers(&[
            (RETRY_AFTER, "Fri, 20 Nov 2026 10:00:30 GMT"),
            (DATE, "Fri, 20 Nov 2026 10:00:00 GMT"),
        ]);
        assert_eq!(retry_after(&date), Some(Duration::from_secs(30)));
        let past = headers(&[
            (RETRY_AFTER, "Fri, 20 Nov 2026 09:00:00 GMT"),
            (DATE, "Fri, 20 Nov 2026 10:00:00 GMT"),
        ]);
        assert_eq!(retry_after(&past), Some(Duration::ZERO));
        assert_eq!(retry_after(&headers(&[(RETRY_AFTER, "soon")])), None);
        let for_ever = headers(&[(RETRY_AFTER, "99999999999")]);
        assert_eq!(retry_after(&for_ever), Some(limits::RETRY_AFTER_MAX));
    }

    #[test]
    fn what_a_server_says_is_one_short_line_without_control_characters() {
        assert_eq!(excerpt("a\r\n\u{1b}[31mb\u{7f}  c"), "a [31mb c");
        assert_eq!(excerpt(&"x".repeat(5000)).len(), limits::EXCERPT_CHARS_MAX);
    }
}
