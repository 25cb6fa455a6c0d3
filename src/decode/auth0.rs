//! `auth0`: tenant log records, alone or in the envelope of a log stream.
//!
//! Auth0 names families and counts the tokens in them, and names no token. `tokenCounter` is the presented token's
//! position where a refresh is refused; of a success its documentation does not say whether the presented or the issued
//! token is meant: the presented is assumed, so that success and refusal of one token name one position.
//!
//! | type | is |
//! |---|---|
//! | `sertft` | a refresh |
//! | `ferrt` | the refusal of a used token of a rotating family |
//! | `fertft` | any other refusal |
//! | `seacft`, `sepft`, `sede` | the first token of a family, where a refresh token came with it (its family is not named) |
//! | `srrt` | a refresh token revoked |
//! | `s`, `slo`, `scp`, `sdu` | login, logout, password change, user deleted |

use std::borrow::Cow;

use super::clean::{Cleaner, Extra};
use super::fields::keep_as_text;
use super::json::Object;
use super::{DecodeOptions, Decoder, Rejected, UNKNOWN_REASON, address, text_of, time};
use crate::model::{
    Clue, Event, EventType, Initiator, Outcome, Reason, Text, Timestamp, TokenKind, limits,
};

#[expect(
    clippy::unnecessary_wraps,
    reason = "the type of the table of decoders"
)]
pub(super) fn build(options: DecodeOptions) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Auth0 {
        cleaner: Cleaner::new(options.token_key, options.previous_key),
        own_accounts: options.own_accounts,
    }))
}

/// What its log tells of a refresh.
pub(super) const CLUES: &[Clue] = &[
    Clue::Refusals,
    Clue::Generation,
    Clue::FamilyId,
    Clue::SessionId,
    Clue::UserId,
    Clue::ClientId,
    Clue::IpAddress,
    Clue::UserAgent,
    Clue::Scope,
];

struct Auth0 {
    cleaner: Cleaner,
    own_accounts: Vec<Text>,
}

impl Decoder for Auth0 {
    fn decode(
        &self,
        payload: &[u8],
        issuer: &Text,
        events: &mut Vec<Event>,
    ) -> Result<(), Rejected> {
        let log = Log::of(Object::parse(text_of(payload)?)?)?;
        if let Some((kind, outcome)) = log.meaning() {
            events.push(self.event(&log, kind, outcome, issuer)?);
        }
        Ok(())
    }

    fn redact(&self, payload: &[u8]) -> Text {
        self.cleaner.record(payload)
    }
}

/// One record of the tenant log, out of its envelope.
struct Log<'a> {
    /// Stands in the envelope, in the record, or in both.
    id: Option<Cow<'a, str>>,
    kind: Cow<'a, str>,
    record: Object<'a>,
    details: Object<'a>,
    refresh_token: Option<Object<'a>>,
}

impl<'a> Log<'a> {
    fn of(outer: Object<'a>) -> Result<Self, Rejected> {
        // EventBridge wraps the envelope once more.
        let envelope = outer.object("detail").unwrap_or(outer);
        let outer_id = envelope.text("log_id");
        let record = envelope.object("data").unwrap_or(envelope);
        let kind = record
            .text("type")
            .ok_or_else(|| Rejected::schema("member `type` is missing or no string"))?;
        let details = record.object("details").unwrap_or_default();
        Ok(Self {
            id: outer_id
                .or_else(|| record.text("log_id"))
                .or_else(|| record.text("_id")),
            kind,
            refresh_token: details.object("refresh_token"),
            details,
            record,
        })
    }

    /// What it is to us; nothing for the many types that say nothing about refresh tokens.
    fn meaning(&self) -> Option<(EventType, Outcome)> {
        use EventType::{CredentialChange, Issue, Login, Logout, Refresh, Revoke, UserDisable};
        let success = |kind| Some((kind, Outcome::Success));
        match self.kind.as_ref() {
            "sertft" => success(Refresh),
            "ferrt" | "fertft" => Some((Refresh, Outcome::Failure)),
            "seacft" | "sepft" | "sede" if self.refresh_token.is_some() => success(Issue),
            "srrt" => success(Revoke),
            "s" => success(Login),
            "slo" => success(Logout),
            "scp" => success(CredentialChange),
            "sdu" => success(UserDisable),
            _ => None,
        }
    }

    fn id(&self) -> Result<&str, Rejected> {
        match self.id.as_deref() {
            Some(id) if id.len() <= limits::EVENT_ID_BYTES_MAX => Ok(id),
            Some(_) => Err(Rejected::schema(format!(
                "member `log_id`: more than {} bytes",
                limits::EVENT_ID_BYTES_MAX
            ))),
            None => Err(Rejected::schema("member `log_id` is missing or no string")),
        }
    }

    fn time(&self) -> Result<Timestamp, Rejected> {
        self.record
            .text("date")
            .and_then(|date| time::rfc3339(&date))
            .ok_or_else(|| Rejected::schema("member `date`: expected an RFC 3339 time"))
    }

    fn count(&self, name: &str) -> Option<u64> {
        u64::try_from(self.details.get(name)?.integer()?).ok()
    }

    fn session_id(&self) -> Option<Cow<'a, str>> {
        let of_token = self.refresh_token.as_ref();
        of_token
            .and_then(|token| token.text("session_id"))
            .or_else(|| self.details.text("session_id"))
            .or_else(|| self.record.text("session_id"))
    }

    fn token_kind(&self) -> Option<TokenKind> {
        match self.refresh_token.as_ref()?.text("access")?.as_ref() {
            "online" => Some(TokenKind::Online),
            "offline" => Some(TokenKind::Offline),
            _ => None,
        }
    }

    /// A text here, a list of texts there.
    fn scope(&self) -> Option<Cow<'a, str>> {
        let member = self
            .details
            .get("requested_scope")
            .or_else(|| self.record.get("scope"))?;
        member.text().or_else(|| {
            let list: Vec<Cow<'_, str>> = serde_json::from_str(member.raw()).ok()?;
            Some(Cow::Owned(list.join(" ")))
        })
    }

    /// Why it was refused: in the provider's words, and their class where they are known.
    fn refusal(&self) -> (Option<Cow<'a, str>>, Option<Reason>) {
        let words = self
            .details
            .text("failure_reason")
            .or_else(|| self.record.text("description"));
        if self.kind == "ferrt" {
            return (words, Some(Reason::Reuse));
        }
        let class = words.as_deref().and_then(|words| match words {
            "session_not_found" | "session_expired" => Some(Reason::SessionEnded),
            "grant_revoked" | "refresh_token_revoked" => Some(Reason::Revoked),
            "invalid_token" => Some(Reason::UnknownToken),
            "expired" | "refresh_token_expired" => Some(Reason::Expired),
            "user_blocked" => Some(Reason::UserDisabled),
            _ => None,
        });
        (words, class)
    }
}

impl Auth0 {
    fn event(
        &self,
        log: &Log<'_>,
        kind: EventType,
        outcome: Outcome,
        issuer: &Text,
    ) -> Result<Event, Rejected> {
        let mut extra = Extra::default();
        let mut event = Event::new(
            self.cleaner.event_id(log.id()?),
            log.time()?,
            kind,
            outcome,
            issuer.clone(),
        );
        self.identify(&mut event, log);
        self.context(&mut event, log, &mut extra);
        if outcome == Outcome::Failure {
            let (words, class) = log.refusal();
            event.reason = Some(class.unwrap_or(Reason::Other));
            event.error = words.and_then(|words| self.cleaner.text(&words));
            if class.is_none() {
                let unknown = event.error.clone().unwrap_or_else(|| "".into());
                extra.text(UNKNOWN_REASON, &unknown);
            }
        }
        event.initiator = self.initiator(&event);
        event.extra = extra.finish();
        Ok(event)
    }

    fn identify(&self, event: &mut Event, log: &Log<'_>) {
        let id = |text: Option<Cow<'_, str>>| self.cleaner.id(&text?);
        event.tenant = id(log.record.text("tenant_name"));
        event.user_id = id(log.record.text("user_id"));
        event.client_id = id(log.record.text("client_id"));
        event.session_id = id(log.session_id());
        if event.kind == EventType::Refresh {
            event.family_id = id(log.details.text("familyId"));
            event.generation = log.count("tokenCounter");
            event.latest_generation = log.count("latestCounter");
        }
        if event.kind == EventType::Revoke {
            // The id of the token in the management API, by which it cannot be presented.
            event.token_id = log
                .details
                .text("credential_id")
                .and_then(|id| self.cleaner.token_id(&id));
        }
    }

    fn context(&self, event: &mut Event, log: &Log<'_>, extra: &mut Extra) {
        let record = &log.record;
        // `ip` follows the forwarded header, `client_ip` never does.
        if let Some(text) = record.text("ip").or_else(|| record.text("client_ip")) {
            event.ip_address = address::parse(&text);
            if event.ip_address.is_none() {
                keep_as_text(&self.cleaner, extra, "ip_address", &text);
            }
        }
        event.user_agent = record
            .text("user_agent")
            .and_then(|agent| self.cleaner.text(&agent));
        event.ja4 = record
            .object("security_context")
            .and_then(|context| self.cleaner.id(&context.text("ja4")?));
        event.key_thumbprint = record
            .text("mtls_thumbprint_sha256")
            .and_then(|print| self.cleaner.id(&print));
        event.scope = log.scope().and_then(|scope| self.cleaner.text(&scope));
        event.token_kind = log.token_kind();
        for name in ["organization_id", "hostname"] {
            if let Some(text) = record.text(name) {
                keep_as_text(&self.cleaner, extra, name, &text);
            }
        }
    }

    /// The record does not say who revoked; that it was our own application shows.
    fn initiator(&self, event: &Event) -> Option<Initiator> {
        let ours = |id: &Option<Text>| id.as_ref().is_some_and(|id| self.own_accounts.contains(id));
        match event.kind {
            EventType::Revoke | EventType::Logout
                if ours(&event.client_id) || ours(&event.user_id) =>
            {
                Some(Initiator::Tokenwarden)
            }
            EventType::Logout => Some(Initiator::User),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::TokenKey;
    use serde_json::json;

    fn decode(record: &serde_json::Value) -> Result<Vec<Event>, Rejected> {
        let auth0 = Auth0 {
            cleaner: Cleaner::new(TokenKey::new(b"key"), None),
            own_accounts: vec!["m2m".into()],
        };
        let mut events = Vec::new();
        auth0.decode(record.to_string().as_bytes(), &"a0".into(), &mut events)?;
        Ok(events)
    }

    fn reuse() -> serde_json::Value {
        json!({
            "date": "2026-11-11T06:46:23.765Z", "type": "ferrt", "log_id": "90020", "client_id": "web",
            "description": "Unsuccessful Refresh Token exchange, reused refresh token detected",
            "ip": "192.0.2.10", "user_agent": "Chrome 120.0.0 / Mac OS X 10.15.7", "user_id": "auth0|1",
            "security_context": {"ja3": "x", "ja4": "t13d1516h2_8daaf6152771_02713d6af862"},
            "tenant_name": "acme", "hostname": "acme.example",
            "details": {"familyId": "fam1", "tokenCounter": 3, "latestCounter": 5},
        })
    }

    #[test]
    fn a_reuse_names_family_and_positions() {
        let events = decode(&reuse()).unwrap();
        let [event] = events.as_slice() else { panic!() };
        assert_eq!(event.reason, Some(Reason::Reuse));
        assert_eq!(event.family_id.as_deref(), Some("fam1"));
        assert_eq!(
            (event.generation, event.latest_generation),
            (Some(3), Some(5))
        );
        assert_eq!(event.tenant.as_deref(), Some("acme"));
        assert!(event.ja4.is_some() && event.user_agent.is_some());
    }

    #[test]
    fn envelopes_make_no_difference() {
        let bare = decode(&reuse()).unwrap();
        let streamed = json!({"log_id": "90020", "data": reuse()});
        assert_eq!(decode(&streamed).unwrap(), bare);
        let bridged =
            json!({"version": "0", "id": "other", "detail-type": "Auth0 log", "detail": streamed});
        assert_eq!(decode(&bridged).unwrap(), bare);
    }

    #[test]
    fn refusals_have_a_class_or_are_marked_unknown() {
        let refused = |reason: &str| {
            let mut record = reuse();
            record["type"] = "fertft".into();
            record["details"] = json!({"failure_reason": reason, "refresh_token": {"access": "offline", "session_id": "s1"}});
            decode(&record).unwrap().remove(0)
        };
        assert_eq!(
            refused("session_not_found").reason,
            Some(Reason::SessionEnded)
        );
        assert_eq!(refused("grant_revoked").reason, Some(Reason::Revoked));
        assert_eq!(refused("invalid_token").reason, Some(Reason::UnknownToken));
        let strange = refused("full moon");
        assert_eq!(strange.reason, Some(Reason::Other));
        assert!(
            strange
                .extra
                .unwrap()
                .contains(r#""unknown_reason":"full moon""#)
        );
        assert_eq!(strange.session_id.as_deref(), Some("s1"));
        assert_eq!(strange.token_kind, Some(TokenKind::Offline));
    }

    #[test]
    fn other_types_by_what_they_are() {
        let of_type = |kind: &str, details: serde_json::Value| {
            let mut record = reuse();
            record["type"] = kind.into();
            record["details"] = details;
            decode(&record).unwrap().pop().map(|event| event.kind)
        };
        let with_token = json!({"refresh_token": {"session_id": "s1"}, "code": "secret"});
        assert_eq!(of_type("seacft", with_token), Some(EventType::Issue));
        assert_eq!(of_type("seacft", json!({})), None);
        assert_eq!(
            of_type("srrt", json!({"credential_id": "rt_1"})),
            Some(EventType::Revoke)
        );
        assert_eq!(of_type("slo", json!({})), Some(EventType::Logout));
        assert_eq!(of_type("s", json!({})), Some(EventType::Login));
        assert_eq!(of_type("scp", json!({})), Some(EventType::CredentialChange));
        assert_eq!(of_type("gd_auth_succeed", json!({})), None);
    }

    #[test]
    fn our_own_application_is_known() {
        let mut record = reuse();
        record["type"] = "srrt".into();
        record["client_id"] = "m2m".into();
        let events = decode(&record).unwrap();
        assert_eq!(events[0].initiator, Some(Initiator::Tokenwarden));
    }

    #[test]
    fn what_is_missing_is_named() {
        for member in ["log_id", "date", "type"] {
            let mut record = reuse();
            record.as_object_mut().unwrap().remove(member);
            let rejected = decode(&record).unwrap_err();
            assert!(rejected.message.contains(member), "{}", rejected.message);
        }
    }
}
