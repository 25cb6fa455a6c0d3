//! Which class a refused refresh belongs to, by Keycloak's own words.
//!
//! The words are a hint and no more: the same `Stale token` stands for a reuse and for a moved not-before. What is
//! told apart here is only what the event itself tells apart.

use crate::model::Reason;

use super::UserEvent;

/// The class of a refused refresh, and whether the words were known.
pub(super) fn classify(event: &UserEvent<'_>) -> (Reason, Known) {
    let words = event.details.get("reason");
    let by_words = words.as_deref().and_then(|words| by_reason(words, event));
    let by_policy = event
        .details
        .get("client_policy_error")
        .map(|_| Reason::Policy);
    let by_error = event.error.as_deref().and_then(by_error);
    match by_words.or(by_policy).or(by_error) {
        Some(reason) => (reason, Known::Yes),
        None => (Reason::Other, Known::No),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Yes,
    No,
}

fn by_reason(words: &str, event: &UserEvent<'_>) -> Option<Reason> {
    let words = words.trim().to_ascii_lowercase();
    // A token older than the realm's not-before is refused before anything of it is noted down.
    if words == "stale token" && event.details.get("refresh_token_id").is_none() {
        return Some(Reason::Revoked);
    }
    BY_REASON
        .iter()
        .find(|(known, _)| words.starts_with(known))
        .map(|(_, reason)| *reason)
}

/// Beginnings of `details.reason`, lower case; the longer before the shorter.
const BY_REASON: &[(&str, Reason)] = &[
    (
        "maximum allowed refresh token reuse exceeded",
        Reason::Reuse,
    ),
    ("stale token", Reason::Reuse),
    ("session doesn't have required client", Reason::SessionEnded),
    ("session not active", Reason::SessionEnded),
    ("offline session not active", Reason::SessionEnded),
    ("offline user session not found", Reason::SessionEnded),
    // "toked" is what some versions write.
    ("refresh token issued before", Reason::SessionEnded),
    ("refresh toked issued before", Reason::SessionEnded),
    ("token is not active", Reason::Expired),
    (
        "invalid refresh token. token client and authorized client don't match",
        Reason::ClientMismatch,
    ),
    ("unmatching clients", Reason::ClientMismatch),
    ("invalid refresh token", Reason::UnknownToken),
    ("user disabled", Reason::UserDisabled),
    ("dpop proof is missing", Reason::Binding),
    (
        "dpop confirmation doesn't match dpop proof",
        Reason::Binding,
    ),
    (
        "client no longer has requested consent from user",
        Reason::Revoked,
    ),
    // The host name of the request is not the one the token was issued under: a faulty set-up, no attack.
    ("invalid token issuer", Reason::Policy),
    ("client_policy_error", Reason::Policy),
];

/// By `error`, where there is no reason or an unknown one. `invalid_token` alone says nothing.
fn by_error(error: &str) -> Option<Reason> {
    BY_ERROR
        .iter()
        .find(|(known, _)| *known == error)
        .map(|(_, reason)| *reason)
}

const BY_ERROR: &[(&str, Reason)] = &[
    ("client_not_found", Reason::Policy),
    ("client_disabled", Reason::Policy),
    ("invalid_client", Reason::Policy),
    ("invalid_client_credentials", Reason::Policy),
    ("unauthorized_client", Reason::Policy),
    ("invalid_request", Reason::Policy),
    ("invalid_scope", Reason::Policy),
    ("access_denied", Reason::Policy),
    ("realm_disabled", Reason::Policy),
    ("slow_down", Reason::Policy),
    ("resolve_required_actions", Reason::Policy),
    // A failed proof of a certificate-bound token.
    ("not_allowed", Reason::Binding),
    ("invalid_issuer", Reason::Policy),
    ("consent_denied", Reason::Revoked),
    ("session_expired", Reason::SessionEnded),
    ("user_session_not_found", Reason::SessionEnded),
    ("user_disabled", Reason::UserDisabled),
    ("user_temporarily_disabled", Reason::UserDisabled),
    ("user_not_found", Reason::UserDisabled),
];
