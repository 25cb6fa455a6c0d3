//! `POST /ingest/{source}`: takes records over HTTP and answers only when they are durable.
//!
//! What is stored in the inbox is tailed like any other table (`own_table`), so that a webhook has positions, replay and
//! ownership like the rest. Nothing is judged here beyond "is it JSON": a record that is no event goes to the reject
//! table with a reason, where a person finds it, and not back to a sender that cannot mend it.

mod auth;
mod report;
mod split;

pub use report::{Outcome, Report};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{info, warn};

use super::Inbox;
use crate::config::WebhookSource;
use crate::model::{Text, Timestamp, limits};

/// The ingest listener's only route, for all webhook sources.
pub fn router(
    sources: impl IntoIterator<Item = (Text, WebhookSource)>,
    inbox: Arc<dyn Inbox>,
    report: Arc<dyn Report>,
    now: fn() -> Timestamp,
) -> Router {
    let sources: BTreeMap<_, WebhookSource> = sources.into_iter().collect();
    let largest = sources.values().map(|source| source.body_bytes_max).max();
    let room = limits::WEBHOOK_REQUESTS_MAX.saturating_mul(largest.unwrap_or(0));
    let ingest = Ingest {
        sources,
        inbox,
        report,
        room: Semaphore::new(room.min(Semaphore::MAX_PERMITS)),
        places: Semaphore::new(limits::WEBHOOK_REQUESTS_MAX),
        store_works: AtomicBool::new(true),
        now,
    };
    Router::new()
        .route("/ingest/{source}", post(receive))
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "there is only POST /ingest/SOURCE") })
        .with_state(Arc::new(ingest))
}

struct Ingest {
    sources: BTreeMap<Text, WebhookSource>,
    inbox: Arc<dyn Inbox>,
    report: Arc<dyn Report>,
    /// One for each byte of a body that has arrived. A signature can only be checked with the whole body, so anybody can
    /// begin one: he holds what he has sent, not a place that somebody else needs.
    room: Semaphore,
    /// One for each request that is taken apart and stored.
    places: Semaphore,
    /// Only changes are logged: senders come again and again.
    store_works: AtomicBool,
    now: fn() -> Timestamp,
}

/// Why a request is not taken, as the sender reads it: `{"error": "..."}`.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.message });
        let mut response = (self.status, axum::Json(body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = HeaderValue::from(limits::ANSWER_RETRY_AFTER.as_secs());
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

async fn receive(
    State(ingest): State<Arc<Ingest>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let Some((name, source)) = ingest.sources.get_key_value(name.as_str()) else {
        let message = "no webhook source has this name";
        return Err(Refusal::new(StatusCode::NOT_FOUND, message));
    };
    let answer = ingest.answer(name, source, request).await;
    let status = (answer.as_ref()).map_or_else(|refusal| refusal.status, |_| StatusCode::ACCEPTED);
    ingest.report.answered(name, Outcome::of(status));
    let answer = serde_json::json!({ "accepted": answer? });
    Ok((StatusCode::ACCEPTED, axum::Json(answer)).into_response())
}

impl Ingest {
    /// How many records were taken.
    async fn answer(
        &self,
        name: &Text,
        source: &WebhookSource,
        request: Request,
    ) -> Result<usize, Refusal> {
        let (parts, body) = request.into_parts();
        // A bearer secret is checked before a byte of the body is read.
        auth::before_body(&source.auth, &parts.headers)?;
        let (body, _room) = read(body, &parts.headers, source.body_bytes_max, &self.room).await?;
        auth::with_body(&source.auth, &parts.headers, &body, (self.now)())?;
        let _place = self.places.try_acquire().map_err(|_| too_many())?;
        let records = split::records(&body)?;
        drop(body);
        let count = records.len();
        self.store(name, records).await?;
        Ok(count)
    }

    async fn store(&self, source: &Text, records: Vec<Vec<u8>>) -> Result<(), Refusal> {
        match self.inbox.put(source, records).await {
            Ok(()) => {
                if !self.store_works.swap(true, Ordering::Relaxed) {
                    info!("Webhook records can be stored again");
                }
                Ok(())
            }
            Err(error) => {
                if self.store_works.swap(false, Ordering::Relaxed) {
                    warn!(%error, "Webhook records cannot be stored; senders are told to come again");
                }
                let message = "the records could not be stored; send them again later";
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message))
            }
        }
    }
}

/// The whole body, within its bound in bytes and in time, and the room that it takes.
async fn read<'a>(
    body: Body,
    headers: &HeaderMap,
    bytes_max: usize,
    room: &'a Semaphore,
) -> Result<(Vec<u8>, SemaphorePermit<'a>), Refusal> {
    let declared = headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    tokio::time::timeout(limits::WEBHOOK_BODY_TIMEOUT, collect(body, bytes_max, room))
        .await
        .unwrap_or_else(|_| {
            let message = "the body took too long to arrive";
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message))
        })
}

async fn collect(
    body: Body,
    bytes_max: usize,
    room: &Semaphore,
) -> Result<(Vec<u8>, SemaphorePermit<'_>), Refusal> {
    let take = |bytes: usize| {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        room.try_acquire_many(bytes).map_err(|_| too_many())
    };
    let mut held = take(0)?;
    let mut chunks = body.into_data_stream();
    // What was declared is not believed: memory follows what has come.
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            let message = format!("the body could not be read: {error}");
            Refusal::new(StatusCode::BAD_REQUEST, message)
        })?;
        if bytes.len() + chunk.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        held.merge(take(chunk.len())?);
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, held))
}

fn too_large(bytes_max: usize) -> Refusal {
    let message = format!("the body is larger than {bytes_max} bytes; send fewer records at once");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

fn too_many() -> Refusal {
    let message = "too many requests at once; send it again later";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
}
