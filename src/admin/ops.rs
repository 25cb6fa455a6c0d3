//! The `ops` listener: `/metrics`, `/-/healthy`, `/-/ready`, `/-/leader`. No personal data.
//!
//! Health is answered to anybody, as probes carry no tokens; the reasons for not being ready name servers, and the notes rules, so beyond
//! loopback they are for those with the token, like the metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics;

use super::answer::Refusal;
use super::{Guard, Health, Readiness};

/// What the listener needs.
#[derive(Clone)]
pub struct Ops {
    pub health: Arc<dyn Health>,
    pub guard: Guard,
}

pub fn router(ops: Ops) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/-/healthy", get(|| async { "alive\n" }))
        .route("/-/ready", get(ready))
        .route("/-/leader", get(leader))
        .with_state(ops)
}

async fn scrape(State(ops): State<Ops>, headers: HeaderMap) -> Result<Response, Refusal> {
    ops.guard.admits(&headers)?;
    let text = ops
        .health
        .metrics()
        .await
        .map_err(|reason| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, reason))?;
    Ok(([(header::CONTENT_TYPE, metrics::SCRAPE_CONTENT_TYPE)], text).into_response())
}

/// For what sends requests to one of several daemons: only the one that leads takes webhooks and decisions of people.
async fn leader(State(ops): State<Ops>) -> (StatusCode, &'static str) {
    if ops.health.leads() {
        (StatusCode::OK, "leads\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stands by\n")
    }
}

async fn ready(State(ops): State<Ops>, headers: HeaderMap) -> (StatusCode, String) {
    let (status, word, reasons) = match ops.health.readiness() {
        Readiness::Ready => (StatusCode::OK, "ready", Vec::new()),
        Readiness::StandsBy => (StatusCode::OK, "stands by", Vec::new()),
        Readiness::NotReady(reasons) => (StatusCode::SERVICE_UNAVAILABLE, "not ready", reasons),
    };
    let mut lines = vec![word.to_owned()];
    if ops.guard.admits(&headers).is_ok() {
        lines.extend(reasons);
        lines.extend(ops.health.notes());
    }
    (status, lines.join("\n") + "\n")
}
