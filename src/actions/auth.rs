//! How a request shows who sends it: a fixed header, a password, or a token that is fetched.

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{RequestBuilder, Url};

use crate::config::{HttpAuth, Secret};
use crate::model::Text;

use super::client::{Answer, Client};
use super::token::{Authorized, Grant};
use super::{Attempt, Finding};

pub(super) enum Auth {
    Fixed(Option<HeaderValue>),
    Basic(Text, Secret),
    Token(Box<Authorized>),
}

impl Auth {
    pub(super) fn new(client: &Client, auth: &HttpAuth) -> Result<Self, String> {
        Ok(match auth {
            HttpAuth::None => Self::Fixed(None),
            HttpAuth::Bearer(token) => Self::Fixed(Some(secret_value("Bearer", token)?)),
            HttpAuth::Scheme { scheme, token } => Self::Fixed(Some(secret_value(scheme, token)?)),
            HttpAuth::Basic { username, password } => {
                Self::Basic(username.clone(), password.clone())
            }
            HttpAuth::ClientCredentials {
                token_url,
                client_id,
                client_secret,
                audience,
                scope,
            } => {
                let grant = Grant {
                    token_url: Url::parse(token_url)
                        .map_err(|error| format!("token_url: {error}"))?,
                    client_id: client_id.clone(),
                    client_secret: client_secret.clone(),
                    audience: audience.clone(),
                    scope: scope.clone(),
                };
                Self::Token(Box::new(Authorized::new(client.clone(), grant)))
            }
        })
    }

    /// Sends what `build` makes; with a token twice at most.
    pub(super) async fn send(
        &self,
        client: &Client,
        build: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Answer, Attempt> {
        let request = || build(client);
        match self {
            Self::Token(authorized) => authorized.send(&build).await,
            Self::Fixed(Some(value)) => client.send(request().header(AUTHORIZATION, value)).await,
            Self::Fixed(None) => client.send(request()).await,
            Self::Basic(username, password) => {
                let request = request().basic_auth(username, Some(password.expose()));
                client.send(request).await
            }
        }
    }

    /// What is wrong with it, as far as the server that gives tokens tells.
    pub(super) async fn inspect(&self) -> Option<Finding> {
        let Self::Token(authorized) = self else {
            return None;
        };
        let attempt = authorized.fresh_token().await.err()?;
        Some(Finding::fault(
            attempt.reason(),
            "check token_url, client_id, client_secret, audience and scope under `auth`",
        ))
    }
}

fn secret_value(scheme: &str, token: &Secret) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {}", token.expose()))
        .map_err(|_| "auth: the token holds a character that no header may hold".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
