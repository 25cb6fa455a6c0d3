//! Performs actions at any API: method, URL, headers and body are templates of the configuration.
//!
//! Servers differ in path and body, hardly in more, so a template with the right escaping serves them all, and a new
//! server needs no release. `deploy/examples/revokers.yaml` has tried ones for RFC 7009, Auth0 and Okta.
//! What an API answers is judged by two lists of statuses; what is in neither is a refusal, for a person to read.

use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Url};

use crate::config;
use crate::model::{Action, ActionKind, Evidence, Text, Timestamp, limits};

use super::auth::Auth;
use super::client::{Answer, Client, is_transient};
use super::template::{Names, Place, Template, values_of};
use super::{Attempt, Claim, Declared, Finding, Revoker};

/// The header that lets a server recognise a repeated attempt.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

pub(super) struct Http {
    name: Text,
    issuers: Vec<Text>,
    actions: Vec<ActionKind>,
    method: Method,
    url: Template,
    /// The part of the address before anything is filled in, where that names a host.
    host: Option<Url>,
    headers: Vec<(HeaderName, Template)>,
    body: Option<Template>,
    success: Vec<u16>,
    retry: Vec<u16>,
    client: Client,
    auth: Auth,
}

/// An action with everything filled in.
struct Filled {
    url: Url,
    headers: HeaderMap,
    body: Option<String>,
}

impl Http {
    pub(super) fn new(
        revoker: &config::Revoker,
        settings: &config::HttpRevoker,
    ) -> Result<Self, String> {
        let client = Client::new(settings.timeout, settings.ca_file.as_deref())?;
        let place = body_place(settings);
        Ok(Self {
            name: revoker.name.clone(),
            issuers: revoker.issuers.clone(),
            actions: settings.actions.clone(),
            method: method(&settings.method)?,
            url: Template::new("url", &settings.url, Place::Url, Names::OfRevoker)?,
            host: fixed_host(&settings.url),
            headers: headers(settings)?,
            body: match &settings.body {
                Some(body) => Some(Template::new("body", body, place, Names::OfRevoker)?),
                None => None,
            },
            success: settings.success.clone(),
            retry: settings.retry.clone(),
            auth: Auth::new(&client, &settings.auth)?,
            client,
        })
    }

    /// Without an action only the way there can be tried: the token, or else that somebody answers.
    async fn look(&self, now: fn() -> Timestamp) -> Vec<Finding> {
        if let Some(fault) = self.auth.inspect().await {
            return vec![fault];
        }
        match &self.host {
            Some(url) => self.client.inspect(url, now).await,
            None => vec![Finding::advice(
                "its host depends on the action, so nothing was asked",
                "name the host in `url`",
            )],
        }
    }

    async fn attempt(&self, action: &Action) -> Result<Attempt, Attempt> {
        let filled = self.fill(action).map_err(|fault| Attempt::Refused {
            reason: format!("{}: {fault}", self.name).into(),
        })?;
        let build = |client: &Client| self.request(client, &filled);
        let answer = self.auth.send(&self.client, build).await?;
        Ok(self.judge(action, &answer))
    }

    fn fill(&self, action: &Action) -> Result<Filled, String> {
        let values = values_of(action);
        let url = self.url.render(&values)?;
        if url.len() > limits::TEMPLATE_LINE_BYTES_MAX {
            return Err("the filled-in URL is too long".to_owned());
        }
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, header_value(&action.id)?);
        for (name, template) in &self.headers {
            headers.insert(name, header_value(&template.render(&values)?)?);
        }
        Ok(Filled {
            url: Url::parse(&url).map_err(|error| format!("the filled-in URL: {error}"))?,
            headers,
            body: match &self.body {
                Some(body) => Some(body.render(&values)?),
                None => None,
            },
        })
    }

    fn request(&self, client: &Client, filled: &Filled) -> RequestBuilder {
        let request = client
            .request(self.method.clone(), filled.url.clone())
            .headers(filled.headers.clone());
        match &filled.body {
            Some(body) => request.body(body.clone()),
            None => request,
        }
    }

    fn judge(&self, action: &Action, answer: &Answer) -> Attempt {
        let done = if self.success.is_empty() {
            answer.succeeded()
        } else {
            self.success.contains(&answer.status)
        };
        if done {
            let detail = format!("{} answered {}", answer.host, answer.status).into();
            let evidence = Evidence::new().with("status", i64::from(answer.status));
            return if action.kind.ends_something() {
                Attempt::Answered { detail, evidence }
            } else {
                Attempt::Done { detail, evidence }
            };
        }
        let what = format!("{} by {}", action.kind, self.name);
        if self.retry.contains(&answer.status)
            || (self.retry.is_empty() && is_transient(answer.status))
        {
            answer.retry(&what)
        } else {
            answer.refusal(&what)
        }
    }
}

impl Revoker for Http {
    fn name(&self) -> &Text {
        &self.name
    }

    fn claims<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Claim> {
        let is_ours = self.actions.contains(&action.kind)
            && super::is_issuer_of(&self.issuers, &action.target.issuer);
        Box::pin(std::future::ready(if is_ours {
            Claim::Mine
        } else {
            Claim::NotMine
        }))
    }

    fn perform<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            match self.attempt(action).await {
                Ok(attempt) | Err(attempt) => attempt,
            }
        })
    }

    fn inspect<'a>(
        &'a self,
        _: &'a Declared,
        now: fn() -> Timestamp,
    ) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(self.look(now))
    }
}

/// A host is fixed when a path follows it before anything is filled in.
fn fixed_host(url: &str) -> Option<Url> {
    let fixed = url.split("{{").next()?;
    let (_, after_scheme) = fixed.split_once("://")?;
    let is_whole = fixed.len() == url.len() || after_scheme.contains('/');
    Url::parse(fixed).ok().filter(|_| is_whole)
}

fn method(name: &str) -> Result<Method, String> {
    Method::from_bytes(name.as_bytes()).map_err(|_| format!("method {name}: no HTTP method"))
}

fn headers(settings: &config::HttpRevoker) -> Result<Vec<(HeaderName, Template)>, String> {
    let mut headers = Vec::new();
    if settings.body.is_some() && !names(settings).any(|name| name == CONTENT_TYPE.as_str()) {
        let json = Template::new("headers", "application/json", Place::Line, Names::OfRevoker)?;
        headers.push((CONTENT_TYPE, json));
    }
    for (name, value) in &settings.headers {
        let what = format!("headers: {name}");
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("{what}: this is no header name"))?;
        headers.push((
            header,
            Template::new(&what, value, Place::Line, Names::OfRevoker)?,
        ));
    }
    Ok(headers)
}

fn names(settings: &config::HttpRevoker) -> impl Iterator<Item = String> {
    settings
        .headers
        .keys()
        .map(|name| name.to_ascii_lowercase())
}

/// A form is escaped as a form, everything else as JSON.
fn body_place(settings: &config::HttpRevoker) -> Place {
    let is_form = settings.headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("content-type") && value.contains("x-www-form-urlencoded")
    });
    if is_form { Place::Url } else { Place::Json }
}

fn header_value(text: &str) -> Result<HeaderValue, String> {
    if text.len() > limits::TEMPLATE_LINE_BYTES_MAX {
        return Err("a filled-in header is too long".to_owned());
    }
    HeaderValue::from_str(text)
        .map_err(|_| "a filled-in header holds a control character".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_that_nothing_is_filled_into_can_be_asked() {
        let host = |url: &str| fixed_host(url).map(|url| url.to_string());
        assert_eq!(
            host("https://api.example.com/users/{{ target.user_id }}").as_deref(),
            Some("https://api.example.com/users/")
        );
        assert_eq!(
            host("https://api.example.com").as_deref(),
            Some("https://api.example.com/")
        );
        assert_eq!(host("https://{{ target.tenant }}.example.com/x"), None);
        assert_eq!(host("https://api{{ target.tenant }}/x"), None);
    }
}
