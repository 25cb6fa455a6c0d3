//! Translates what users and clients did.
//!
//! Refused logins, logouts and revocations give no events: nothing has changed by them, and a token that was refused
//! is told by `REFRESH_TOKEN_ERROR` alone.

use std::borrow::Cow;

use crate::decode::clean::Extra;
use crate::decode::fields::keep_as_text;
use crate::decode::{UNKNOWN_REASON, address};
use crate::model::{Event, EventType, Initiator, Outcome, Text, TokenKind};

use super::reasons::{self, Known};
use super::{Keycloak, UserEvent};

impl Keycloak {
    pub(super) fn user(&self, event: &UserEvent<'_>, issuer: &Text, events: &mut Vec<Event>) {
        match event.kind.as_ref() {
            "REFRESH_TOKEN" => events.push(self.refreshed(event, issuer)),
            "REFRESH_TOKEN_ERROR" => events.push(self.refused(event, issuer)),
            "CODE_TO_TOKEN"
            | "OAUTH2_DEVICE_CODE_TO_TOKEN"
            | "AUTHREQID_TO_TOKEN"
            | "TOKEN_EXCHANGE" => {
                events.extend(self.issued(event, issuer, event.id.as_ref()));
            }
            "LOGIN" => {
                events.push(self.succeeded(event, EventType::Login, issuer));
                // A password grant logs in and issues in one event.
                let id = format!("{}:issue", event.id);
                events.extend(self.issued(event, issuer, &id));
            }
            "LOGOUT" => {
                let mut logout = self.succeeded(event, EventType::Logout, issuer);
                logout.initiator = Some(self.initiator(event));
                events.push(logout);
            }
            "REVOKE_GRANT" => events.extend(self.revoked(event, issuer)),
            "UPDATE_PASSWORD" | "RESET_PASSWORD" | "UPDATE_CREDENTIAL" => {
                events.push(self.succeeded(event, EventType::CredentialChange, issuer));
            }
            "DELETE_ACCOUNT" | "USER_DISABLED_BY_PERMANENT_LOCKOUT" => {
                events.push(self.succeeded(event, EventType::UserDisable, issuer));
            }
            _ => {}
        }
    }

    fn refreshed(&self, event: &UserEvent<'_>, issuer: &Text) -> Event {
        let mut refresh = self.succeeded(event, EventType::Refresh, issuer);
        refresh.token_id = self.token_id(event, "refresh_token_id");
        refresh.new_token_id = self.token_id(event, "updated_refresh_token_id");
        refresh.access_token_ttl = event
            .details
            .get("access_token_expiration_time")
            .and_then(|seconds| seconds.parse().ok());
        refresh
    }

    /// A refused refresh carries its user in the details only, and often not at all.
    fn refused(&self, event: &UserEvent<'_>, issuer: &Text) -> Event {
        let mut extra = Extra::default();
        let mut refresh = self.event(
            event,
            EventType::Refresh,
            Outcome::Failure,
            issuer,
            &mut extra,
        );
        refresh.token_id = self.token_id(event, "refresh_token_id");
        let (reason, known) = reasons::classify(event);
        refresh.reason = Some(reason);
        let words = event.details.get("reason");
        let error = words.as_deref().or(event.error.as_deref());
        refresh.error = error.and_then(|text| self.cleaner.text(text));
        if known == Known::No {
            let unknown = refresh.error.clone().unwrap_or_else(|| "".into());
            extra.text(UNKNOWN_REASON, &unknown);
        }
        refresh.extra = extra.finish();
        refresh
    }

    /// The first token of a family; nothing where the grant came without a refresh token.
    fn issued(&self, event: &UserEvent<'_>, issuer: &Text, id: &str) -> Option<Event> {
        let token = self.token_id(event, "refresh_token_id")?;
        let mut issue = self.succeeded(event, EventType::Issue, issuer);
        issue.event_id = self.cleaner.event_id(id);
        issue.new_token_id = Some(token);
        Some(issue)
    }

    /// RFC 7009. With an access token only that token dies, which is none of our business.
    fn revoked(&self, event: &UserEvent<'_>, issuer: &Text) -> Option<Event> {
        let token = self.token_id(event, "refresh_token_id");
        if token.is_none() && event.session_id.is_none() {
            return None;
        }
        let mut revoke = self.succeeded(event, EventType::Revoke, issuer);
        revoke.token_id = token;
        revoke.initiator = Some(self.initiator(event));
        Some(revoke)
    }

    fn succeeded(&self, event: &UserEvent<'_>, kind: EventType, issuer: &Text) -> Event {
        let mut extra = Extra::default();
        let mut succeeded = self.event(event, kind, Outcome::Success, issuer, &mut extra);
        succeeded.extra = extra.finish();
        succeeded
    }

    /// What all types have in common.
    fn event(
        &self,
        from: &UserEvent<'_>,
        kind: EventType,
        outcome: Outcome,
        issuer: &Text,
        extra: &mut Extra,
    ) -> Event {
        let id = |text: &Option<Cow<'_, str>>| self.cleaner.id(text.as_deref()?);
        let detail = |name| from.details.get(name);
        let mut event = Event::new(
            self.cleaner.event_id(&from.id),
            from.time,
            kind,
            outcome,
            issuer.clone(),
        );
        event.tenant = id(&from.realm_id);
        event.user_id =
            id(&from.user_id).or_else(|| self.cleaner.id(detail("refresh_token_sub")?.as_ref()));
        event.client_id = id(&from.client_id);
        event.session_id = id(&from.session_id);
        event.scope = detail("scope").and_then(|scope| self.cleaner.text(&scope));
        event.token_kind = detail("refresh_token_type").and_then(|kind| token_kind(&kind));
        if let Some(text) = &from.ip_address {
            event.ip_address = address::parse(text);
            if event.ip_address.is_none() {
                keep_as_text(&self.cleaner, extra, "ip_address", text);
            }
        }
        event
    }

    fn token_id(&self, event: &UserEvent<'_>, name: &str) -> Option<Text> {
        self.cleaner.token_id(&event.details.get(name)?)
    }

    fn initiator(&self, event: &UserEvent<'_>) -> Initiator {
        if self.is_ours(event.user_id.as_deref()) || self.is_ours(event.client_id.as_deref()) {
            Initiator::Tokenwarden
        } else {
            Initiator::User
        }
    }

    pub(super) fn is_ours(&self, account: Option<&str>) -> bool {
        account.is_some_and(|account| self.own_accounts.iter().any(|own| **own == *account))
    }
}

fn token_kind(text: &str) -> Option<TokenKind> {
    match text {
        "Refresh" => Some(TokenKind::Online),
        "Offline" => Some(TokenKind::Offline),
        _ => None,
    }
}
