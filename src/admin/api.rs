//! The `api` listener: incidents, detections and actions from the store, who refreshes most, reload, and what people change.
//!
//! Reading is a GET and for every role; what changes something is a POST (see `people`). `openapi.json` beside this file describes every route; a test compares both.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Serialize;
use serde_json::{Value, json};

use crate::model::Timestamp;
use crate::model::limits::API_BODY_BYTES_MAX;
use crate::store::{Listed, Store};

use super::answer::Refusal;
use super::guard::{Admitted, guarded};
use super::listen::Peer;
use super::people;
use super::query::{ActionQuery, DetectionQuery, IncidentQuery, TopQuery};
use super::{Control, Guard};

/// The description of the API.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Detections listed with one incident; a storm has more.
const INCIDENT_DETECTIONS_MAX: u32 = 200;

/// What the listener needs.
#[derive(Clone)]
pub struct Api {
    pub store: Store,
    pub control: Arc<dyn Control>,
    pub guard: Guard,
    pub now: fn() -> Timestamp,
}

pub fn router(api: Api) -> Router {
    let guard = api.guard.clone();
    let control = Arc::clone(&api.control);
    Router::new()
        .route("/-/reload", post(reload))
        .route("/api/v1/openapi.json", get(openapi))
        .route("/api/v1/incidents", get(incidents))
        .route("/api/v1/incidents/{id}", get(incident))
        .route("/api/v1/detections", get(detections))
        .route("/api/v1/detections/{id}", get(detection))
        .route("/api/v1/actions", get(actions))
        .route("/api/v1/actions/{id}", get(action))
        .route("/api/v1/top", get(top))
        .route(
            "/api/v1/incidents/{id}/acknowledge",
            post(people::acknowledge),
        )
        .route("/api/v1/incidents/{id}/close", post(people::close))
        .route("/api/v1/actions/{id}/approve", post(people::approve))
        .route("/api/v1/actions/{id}/refuse", post(people::refuse))
        .route("/api/v1/actions/{id}/retry", post(people::retry))
        .route("/api/v1/actions/{id}/undo", post(people::undo))
        .route(
            "/api/v1/silences",
            get(people::silences).post(people::silence),
        )
        .route("/api/v1/silences/{id}", get(people::silence_of))
        .route("/api/v1/silences/{id}/end", post(people::end_silence))
        .route("/api/v1/breakers", get(people::breakers))
        .route("/api/v1/breakers/half-open", post(people::half_open))
        .route("/api/v1/revocations", post(people::revoke))
        .fallback(|| async {
            Refusal::new(
                StatusCode::NOT_FOUND,
                "no such page; see /api/v1/openapi.json",
            )
        })
        .with_state(api)
        .layer(DefaultBodyLimit::max(API_BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(guard, guarded))
        .layer(middleware::from_fn_with_state(control, noting))
        .layer(middleware::from_fn(private))
}

/// Who is refused is told, whatever route he tried.
async fn noting(State(control): State<Arc<dyn Control>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|Peer(peer)| *peer);
    let response = next.run(request).await;
    if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&response.status()) {
        control.refused(peer);
    }
    response
}

pub(super) type Answer = Result<Json<Value>, Refusal>;
type Asked<T> = Result<Query<T>, QueryRejection>;

async fn reload(State(api): State<Api>, Extension(who): Extension<Admitted>) -> Answer {
    who.may_reload()?;
    match api.control.reload().await {
        Ok(message) => Ok(Json(json!({ "message": message }))),
        // The request was fine and the configuration is not: the old one stays in force.
        Err(message) => Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message)),
    }
}

async fn openapi() -> ([(header::HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

async fn incidents(State(api): State<Api>, query: Asked<IncidentQuery>) -> Answer {
    let (filter, page) = asked(query)?.parse()?;
    Ok(list(
        "incidents",
        &api.store.incidents(&filter, page).await?,
    ))
}

async fn detections(State(api): State<Api>, query: Asked<DetectionQuery>) -> Answer {
    let (filter, page) = asked(query)?.parse()?;
    Ok(list(
        "detections",
        &api.store.detections(&filter, page).await?,
    ))
}

async fn actions(State(api): State<Api>, query: Asked<ActionQuery>) -> Answer {
    let (filter, page) = asked(query)?.parse()?;
    Ok(list("actions", &api.store.actions(&filter, page).await?))
}

async fn incident(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let details = api
        .store
        .incident(&id, INCIDENT_DETECTIONS_MAX)
        .await?
        .ok_or_else(|| missing("incident", &id))?;
    Ok(Json(json!({
        "incident": details.incident,
        "detections": details.detections,
        "actions": details.actions,
    })))
}

async fn detection(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let found = api
        .store
        .detection(&id)
        .await?
        .ok_or_else(|| missing("detection", &id))?;
    Ok(Json(json!({ "detection": found })))
}

async fn action(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let found = api
        .store
        .action(&id)
        .await?
        .ok_or_else(|| missing("action", &id))?;
    Ok(Json(json!({ "action": found })))
}

async fn top(State(api): State<Api>, query: Asked<TopQuery>) -> Answer {
    let (by, window, limit) = asked(query)?.parse()?;
    let list = api.control.top(by, window, limit);
    let top: Vec<Value> = list
        .ranked
        .iter()
        .map(|ranked| json!({ "name": ranked.name, "refreshes": ranked.refreshes }))
        .collect();
    Ok(Json(json!({
        "by": by.as_str(),
        "window_seconds": window.as_secs(),
        "missed_max": list.missed_max,
        "top": top,
    })))
}

fn asked<T>(query: Asked<T>) -> Result<T, Refusal> {
    query
        .map(|Query(query)| query)
        .map_err(|rejection| Refusal::bad_request(rejection.body_text()))
}

fn list<T: Serialize>(name: &str, listed: &Listed<T>) -> Json<Value> {
    Json(json!({ name: listed.items, "next": listed.next }))
}

pub(super) fn missing(what: &str, id: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("no {what} has the id {id}"))
}

/// Answers hold names of people: no cache keeps them, and no browser takes them for anything else.
async fn private(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
