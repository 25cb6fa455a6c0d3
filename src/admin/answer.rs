//! How a refusal looks: a status and one sentence, as JSON.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::model::limits::ANSWER_RETRY_AFTER;
use crate::store::StoreError;

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.message }));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = HeaderValue::from(ANSWER_RETRY_AFTER.as_secs());
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        if matches!(
            error,
            StoreError::Unavailable(_) | StoreError::NotLeading { .. }
        ) {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        }
        // A fault of ours or of the data: whoever runs the daemon must see it, not only whoever asked.
        tracing::error!(%error, "A request to the API failed in the store: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_meets_a_daemon_that_stands_by_is_told_when_to_come_again() {
        let leader = "another".into();
        let refusals = [
            (Refusal::from(StoreError::NotLeading { leader }), Some("5")),
            (Refusal::bad_request("odd"), None),
        ];
        for (refusal, expected) in refusals {
            let response = refusal.into_response();
            let after = response.headers().get(header::RETRY_AFTER);
            assert_eq!(after.map(|it| it.to_str().unwrap()), expected);
        }
    }
}
