//! A small but real OAuth authorization server on loopback: it issues, rotates, refuses and revokes over HTTP.
//!
//! `POST /token` and `POST /revoke` are what apps use, `DELETE /admin/...` with a service token is what the daemon's
//! revoker uses. It stands behind an imaginary reverse proxy, so it believes `X-Forwarded-For`. The one unreal thing is
//! the authorization code: `login:USER` stands for "USER has just logged in".

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::extract::{Form, Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::audit::{AuditTable, Requester};
use super::grants::{ClientSetting, Decision, Fact, Grants};
use super::random::Random;
use super::truth::{ACTOR_HEADER, TruthLog};
use crate::model::Initiator;

pub(super) const FORWARDED_HEADER: &str = "x-forwarded-for";
pub(super) const DEVICE_HEADER: &str = "x-device-id";
/// In front of the user's name in the simulated authorization code.
pub(super) const LOGIN_CODE: &str = "login:";

/// A running server; ends with [`AuthorizationServer::stop`].
pub struct AuthorizationServer {
    address: SocketAddr,
    service_token: String,
    audit_file: PathBuf,
    truth: TruthLog,
    cancel: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

impl AuthorizationServer {
    /// Listens on a free loopback port and writes its audit table to `authorization-server.db` in `folder`.
    pub async fn start(
        folder: &Path,
        seed: u64,
        clients: &'static [ClientSetting],
    ) -> Result<Self> {
        let audit_file = folder.join("authorization-server.db");
        let service_token = format!("st.{}", Random::part(seed, u64::MAX).hex());
        let truth = TruthLog::default();
        let server = Server {
            books: Mutex::new(Books {
                grants: Grants::new(seed, clients),
                audit: AuditTable::open(&audit_file).await?,
            }),
            truth: truth.clone(),
            service_authorization: format!("Bearer {service_token}"),
        };
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("listen on loopback for the simulated authorization server")?;
        let address = listener.local_addr()?;
        let cancel = CancellationToken::new();
        let stopped = cancel.clone().cancelled_owned();
        let serve = axum::serve(listener, routes(server)).with_graceful_shutdown(stopped);
        let serving = tokio::spawn(async move { serve.await });
        Ok(Self {
            address,
            service_token,
            audit_file,
            truth,
            cancel,
            serving,
        })
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What a caller of the admin API presents.
    pub fn service_token(&self) -> &str {
        &self.service_token
    }

    /// The SQLite file that holds `audit_events`.
    pub fn audit_file(&self) -> &Path {
        &self.audit_file
    }

    pub fn truth(&self) -> &TruthLog {
        &self.truth
    }

    pub async fn stop(self) -> Result<()> {
        self.cancel.cancel();
        Ok(self.serving.await??)
    }
}

struct Server {
    books: Mutex<Books>,
    truth: TruthLog,
    service_authorization: String,
}

/// Kept under one lock, so that the audit table has the order in which things were decided.
struct Books {
    grants: Grants,
    audit: AuditTable,
}

fn routes(server: Server) -> Router {
    Router::new()
        .route("/token", post(token))
        .route("/revoke", post(revoke))
        .route("/admin/families/{id}", delete(end_family))
        .route("/admin/sessions/{id}", delete(end_session))
        .with_state(Arc::new(server))
}

#[derive(Deserialize)]
struct TokenRequest {
    grant_type: String,
    client_id: String,
    code: Option<String>,
    refresh_token: Option<String>,
}

async fn token(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    Form(request): Form<TokenRequest>,
) -> Response {
    let mut books = server.books.lock().await;
    let Some(decision) = decide(&mut books.grants, &request) else {
        return oauth_error("invalid_request");
    };
    if let Err(failed) = server.write(&mut books, &headers, &decision.facts).await {
        return failed;
    }
    match decision.answer {
        Ok(token) => Json(token_answer(&token)).into_response(),
        Err(error) => oauth_error(error),
    }
}

fn decide(grants: &mut Grants, request: &TokenRequest) -> Option<Decision> {
    match request.grant_type.as_str() {
        "authorization_code" => {
            let user_id = request.code.as_deref()?.strip_prefix(LOGIN_CODE)?;
            Some(grants.log_in(user_id, &request.client_id))
        }
        "refresh_token" => {
            let token = request.refresh_token.as_deref()?;
            Some(grants.refresh(token, &request.client_id))
        }
        _ => None,
    }
}

fn token_answer(refresh_token: &str) -> Value {
    json!({
        "access_token": format!("at.{}", super::grants::token_id(refresh_token)),
        "token_type": "Bearer",
        "expires_in": super::ACCESS_TOKEN_TTL_SECONDS,
        "refresh_token": refresh_token,
    })
}

fn oauth_error(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
}

#[derive(Deserialize)]
struct RevokeRequest {
    token: String,
}

async fn revoke(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    Form(request): Form<RevokeRequest>,
) -> Response {
    let mut books = server.books.lock().await;
    let facts = books.grants.revoke(&request.token);
    match server.write(&mut books, &headers, &facts).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(failed) => failed,
    }
}

async fn end_family(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    UrlPath(id): UrlPath<String>,
) -> Response {
    server
        .end(&headers, |grants| {
            grants.end_family(&id, Initiator::Tokenwarden)
        })
        .await
}

async fn end_session(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    UrlPath(id): UrlPath<String>,
) -> Response {
    server
        .end(&headers, |grants| {
            grants.end_session(&id, Initiator::Tokenwarden)
        })
        .await
}

impl Server {
    /// 204 also for what had ended before; 404 for what never was; 401 without the service token.
    async fn end(
        &self,
        headers: &HeaderMap,
        end: impl FnOnce(&mut Grants) -> Option<Vec<Fact>>,
    ) -> Response {
        if text(headers, "authorization").as_deref() != Some(self.service_authorization.as_str()) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let mut books = self.books.lock().await;
        let Some(facts) = end(&mut books.grants) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        match self.write(&mut books, headers, &facts).await {
            Ok(()) => StatusCode::NO_CONTENT.into_response(),
            Err(failed) => failed,
        }
    }

    /// Records first and answers afterwards: nobody holds a token that the audit table has not seen.
    async fn write(
        &self,
        books: &mut Books,
        headers: &HeaderMap,
        facts: &[Fact],
    ) -> Result<(), Response> {
        let time = crate::clock::now();
        if let Err(error) = books.audit.write(time, &requester(headers), facts).await {
            error!(%error, "The simulated authorization server cannot write its audit table");
            return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response());
        }
        self.truth
            .record(time, text(headers, ACTOR_HEADER).as_deref(), facts);
        Ok(())
    }
}

fn requester(headers: &HeaderMap) -> Requester {
    Requester {
        address: text(headers, FORWARDED_HEADER).and_then(|address| address.parse().ok()),
        user_agent: text(headers, "user-agent"),
        device_id: text(headers, DEVICE_HEADER),
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}
