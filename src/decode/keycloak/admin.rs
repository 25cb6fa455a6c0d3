//! Translates what operators did through the admin API.
//!
//! The target stands in the resource path. The operator is never the event's user: its id and address go to `extra`, so
//! that no place or network of an operator is ever taken for one of the user's.

use serde_json::Value;

use crate::decode::clean::Extra;
use crate::model::{Event, EventType, Initiator, Outcome, Text, TokenKind};

use super::{AdminEvent, Keycloak};

impl Keycloak {
    pub(super) fn admin(&self, event: &AdminEvent<'_>, issuer: &Text, events: &mut Vec<Event>) {
        // A call that failed has changed nothing.
        if event.error.is_some() {
            return;
        }
        let Some(done) = Done::of(event) else {
            return;
        };
        let mut translated = Event::new(
            self.cleaner.event_id(&event.id),
            event.time,
            done.kind,
            Outcome::Success,
            issuer.clone(),
        );
        translated.tenant = event.realm_id.as_deref().and_then(|id| self.cleaner.id(id));
        translated.user_id = done.user_id.and_then(|id| self.cleaner.id(id));
        translated.session_id = done.session_id.and_then(|id| self.cleaner.id(id));
        translated.client_id = done.client_id.and_then(|id| self.cleaner.id(id));
        translated.token_kind = done.token_kind;
        translated.initiator = Some(self.admin_initiator(event));
        translated.extra = self.operator(event);
        events.push(translated);
    }

    fn admin_initiator(&self, event: &AdminEvent<'_>) -> Initiator {
        let operator = &event.operator;
        if self.is_ours(operator.user_id.as_deref()) || self.is_ours(operator.client_id.as_deref())
        {
            Initiator::Tokenwarden
        } else {
            Initiator::Admin
        }
    }

    fn operator(&self, event: &AdminEvent<'_>) -> Option<Text> {
        let operator = &event.operator;
        let mut extra = Extra::default();
        for (name, value) in [
            ("operator_user_id", &operator.user_id),
            ("operator_client_id", &operator.client_id),
            ("operator_ip_address", &operator.ip_address),
        ] {
            if let Some(text) = value.as_deref().and_then(|value| self.cleaner.id(value)) {
                extra.text(name, &text);
            }
        }
        extra.finish()
    }
}

/// What was done to whom.
#[derive(Debug, PartialEq)]
struct Done<'a> {
    kind: EventType,
    user_id: Option<&'a str>,
    session_id: Option<&'a str>,
    client_id: Option<&'a str>,
    token_kind: Option<TokenKind>,
}

impl<'a> Done<'a> {
    /// Nothing where the call touches no refresh token. `logout-all` and `push-revocation` of a realm name no user,
    /// session or family: what follows from them comes as refusals.
    fn of(event: &'a AdminEvent<'_>) -> Option<Self> {
        let path: Vec<&str> = event.resource_path.as_deref()?.split('/').collect();
        let operation = event.operation.as_ref();
        match (operation, path.as_slice()) {
            ("DELETE", ["sessions", session]) => Some(Self {
                session_id: Some(session),
                token_kind: session_kind(event),
                ..Self::new(EventType::Revoke)
            }),
            ("ACTION", ["users", user, "logout"]) => Some(Self::to_user(EventType::Revoke, user)),
            ("ACTION", ["users", user, "reset-password"]) => {
                Some(Self::to_user(EventType::CredentialChange, user))
            }
            ("UPDATE", ["users", user]) => {
                let kind = if enabled(event)? {
                    EventType::UserEnable
                } else {
                    EventType::UserDisable
                };
                Some(Self::to_user(kind, user))
            }
            ("DELETE", ["users", user]) => Some(Self::to_user(EventType::UserDisable, user)),
            // Ends the offline tokens of that client for certain. An online session ends too where the client requires
            // consent, which the event does not say: claimed, its next ordinary refresh would look like a use after it.
            ("ACTION" | "DELETE", ["users", user, "consents", client]) => Some(Self {
                client_id: Some(client),
                token_kind: Some(TokenKind::Offline),
                ..Self::to_user(EventType::Revoke, user)
            }),
            _ => None,
        }
    }

    fn new(kind: EventType) -> Self {
        Self {
            kind,
            user_id: None,
            session_id: None,
            client_id: None,
            token_kind: None,
        }
    }

    fn to_user(kind: EventType, user: &'a str) -> Self {
        Self {
            user_id: Some(user),
            ..Self::new(kind)
        }
    }
}

fn session_kind(event: &AdminEvent<'_>) -> Option<TokenKind> {
    let offline = member(event, "offline")?;
    Some(if offline {
        TokenKind::Offline
    } else {
        TokenKind::Online
    })
}

/// Whether an update said anything about `enabled`; most change something else, and log lines do not tell.
fn enabled(event: &AdminEvent<'_>) -> Option<bool> {
    member(event, "enabled")
}

fn member(event: &AdminEvent<'_>, name: &str) -> Option<bool> {
    let body: Value = serde_json::from_str(event.representation.as_deref()?).ok()?;
    body.get(name)?.as_bool()
}
