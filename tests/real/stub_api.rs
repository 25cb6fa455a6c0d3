//! An API that counts what it is asked, as a revocation endpoint and as a receiver of notifications. It does everything
//! but what it is asked under `/refuse`.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::post;

/// By path and idempotency key: how often it was asked.
type Calls = Arc<Mutex<BTreeMap<(String, String), usize>>>;

pub(crate) struct StubApi {
    pub(crate) url: String,
    calls: Calls,
    serving: tokio::task::JoinHandle<()>,
}

impl StubApi {
    pub(crate) async fn start() -> Self {
        let calls = Calls::default();
        let router = Router::new()
            .route("/{*path}", post(count))
            .with_state(Arc::clone(&calls));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            calls,
            serving,
        }
    }

    /// The keys of the calls of one path.
    pub(crate) fn keys(&self, path: &str) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        let of_path = calls.keys().filter(|(called, _)| called == path);
        of_path.map(|(_, key)| key.clone()).collect()
    }

    /// How often each call came, by its path and key.
    pub(crate) fn counts(&self) -> BTreeMap<(String, String), usize> {
        self.calls.lock().unwrap().clone()
    }

    /// All calls, also those that came twice.
    pub(crate) fn calls(&self) -> usize {
        self.counts().values().sum()
    }
}

impl Drop for StubApi {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn count(State(calls): State<Calls>, uri: Uri, headers: HeaderMap) -> StatusCode {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let call = (uri.path().to_owned(), key);
    *calls.lock().unwrap().entry(call).or_default() += 1;
    match uri.path() {
        "/refuse" => StatusCode::FORBIDDEN,
        _ => StatusCode::OK,
    }
}
