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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::TokenKey;
    use crate::decode::{DecodeOptions, decoder, has_unknown_reason};
    use crate::model::Event;
    use Reason::{
        Binding, ClientMismatch, Expired, Policy, Reuse, Revoked, SessionEnded, UnknownToken,
        UserDisabled,
    };

    /// A refusal as the admin API lists it; `read` when the server got as far as reading the token.
    fn refusal(error: &str, reason: Option<&str>, read: bool) -> Event {
        let mut details = serde_json::json!({"grant_type": "refresh_token"});
        if let Some(reason) = reason {
            details["reason"] = reason.into();
        }
        if read {
            details["refresh_token_id"] = "t1".into();
            details["refresh_token_sub"] = "u1".into();
        }
        let record = serde_json::json!({
            "id": "e1", "time": 1_795_237_643_521_i64, "type": "REFRESH_TOKEN_ERROR", "realmId": "r", "clientId": "web",
            "ipAddress": "192.0.2.10", "error": error, "details": details,
        });
        let keycloak = decoder(DecodeOptions {
            format: "keycloak".into(),
            own_accounts: Vec::new(),
            timezone: None,
            mapping: None,
            token_key: TokenKey::new(b"key"),
            previous_key: None,
        });
        let mut events = Vec::new();
        keycloak
            .unwrap()
            .decode(record.to_string().as_bytes(), &"kc".into(), &mut events)
            .unwrap();
        events.remove(0)
    }

    /// `error`, `details.reason`, whether the server had read the token, and the class.
    const REFUSALS: &[(&str, Option<&str>, bool, Reason)] = &[
        (
            "invalid_token",
            Some("Maximum allowed refresh token reuse exceeded"),
            true,
            Reuse,
        ),
        ("invalid_token", Some("Stale token"), true, Reuse),
        ("invalid_token", Some("Stale token"), false, Revoked),
        (
            "invalid_token",
            Some("Session doesn't have required client"),
            true,
            SessionEnded,
        ),
        (
            "invalid_token",
            Some("refresh token issued before the client session started"),
            true,
            SessionEnded,
        ),
        (
            "invalid_token",
            Some("Refresh toked issued before the user session started"),
            true,
            SessionEnded,
        ),
        (
            "invalid_token",
            Some("Session not active"),
            true,
            SessionEnded,
        ),
        (
            "invalid_token",
            Some("Offline session not active"),
            true,
            SessionEnded,
        ),
        (
            "invalid_token",
            Some("Offline user session not found"),
            true,
            SessionEnded,
        ),
        ("invalid_token", Some("User disabled"), true, UserDisabled),
        ("invalid_token", Some("Token is not active"), false, Expired),
        (
            "invalid_token",
            Some("Invalid refresh token"),
            false,
            UnknownToken,
        ),
        (
            "invalid_token",
            Some("Invalid refresh token. Token client and authorized client don't match"),
            false,
            ClientMismatch,
        ),
        (
            "invalid_token",
            Some("Unmatching clients"),
            false,
            ClientMismatch,
        ),
        (
            "invalid_token",
            Some("DPoP proof is missing"),
            false,
            Binding,
        ),
        (
            "invalid_token",
            Some("DPoP confirmation doesn't match DPoP proof"),
            false,
            Binding,
        ),
        (
            "invalid_scope",
            Some("Client no longer has requested consent from user"),
            true,
            Revoked,
        ),
        (
            "invalid_token",
            Some("Invalid token issuer. Expected 'https://a'"),
            false,
            Policy,
        ),
        ("not_allowed", None, false, Binding),
        ("client_not_found", None, false, Policy),
        ("client_disabled", None, false, Policy),
        ("invalid_client_credentials", None, false, Policy),
    ];

    #[test]
    fn every_known_refusal_has_its_class() {
        for &(error, reason, read, class) in REFUSALS {
            let event = refusal(error, reason, read);
            assert_eq!(event.reason, Some(class), "{error} {reason:?} {read}");
            assert!(!has_unknown_reason(&event), "{error} {reason:?}");
            assert_eq!(event.error.as_deref(), Some(reason.unwrap_or(error)));
            assert_eq!(
                event.user_id.is_some(),
                read,
                "the user stands in the details"
            );
        }
    }

    #[test]
    fn unknown_words_are_marked_to_be_counted() {
        for reason in [None, Some("The moon is full")] {
            let event = refusal("invalid_token", reason, true);
            assert_eq!(event.reason, Some(Reason::Other));
            assert!(has_unknown_reason(&event));
        }
    }
}
