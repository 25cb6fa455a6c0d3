//! `tokenwarden`: the canonical form, one JSON object per record, as the contract fixes it.
//!
//! Also the one place where members are checked: `mapping` picks its values from elsewhere and hands them to the same
//! checks. A member of the wrong type rejects the record and says so by name; null and, for what is optional, the empty
//! string mean "not there". Members that the contract does not name are kept for evidence.

use std::borrow::Cow;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::clean::{Cleaner, Extra, cut};
use super::json::{Member, Object};
use super::{DecodeOptions, Decoder, Rejected, address, text_of, time};
use crate::model::{Event, EventType, Initiator, Outcome, Reason, Text, Timestamp, limits};

#[expect(
    clippy::unnecessary_wraps,
    reason = "the type of the table of decoders"
)]
pub(super) fn build(options: DecodeOptions) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Canonical {
        cleaner: Cleaner::new(options.token_key, options.previous_key),
    }))
}

struct Canonical {
    cleaner: Cleaner,
}

impl Decoder for Canonical {
    fn decode(
        &self,
        payload: &[u8],
        issuer: &Text,
        events: &mut Vec<Event>,
    ) -> Result<(), Rejected> {
        let object = Object::parse(text_of(payload)?)?;
        let mut fields = Fields::in_zone(TimeZone::UTC);
        let mut unknown = Vec::new();
        for (name, member) in &object.members {
            match FieldName::parse(name) {
                Some(field) => fields.set(field, Field::of(*member)),
                None if member.is_null() => {}
                None => unknown.push((name.as_ref(), *member)),
            }
        }
        let extra = self.extra(&unknown);
        events.push(fields.event(&self.cleaner, issuer, extra)?);
        Ok(())
    }

    fn redact(&self, payload: &[u8]) -> Text {
        self.cleaner.record(payload)
    }
}

impl Canonical {
    fn extra(&self, unknown: &[(&str, Member<'_>)]) -> Extra {
        let mut extra = Extra::default();
        for (name, member) in unknown {
            // Deeper than the parser's limit: not worth keeping, and nothing that a reader could open.
            let mut wrapped = match serde_json::from_str::<Value>(member.raw()) {
                Ok(value) => Value::Object([((*name).to_owned(), value)].into_iter().collect()),
                Err(_) => continue,
            };
            self.cleaner.clean_value(&mut wrapped);
            extra.add(name, &wrapped[name]);
        }
        extra
    }
}

macro_rules! fields {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A member of the canonical event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum FieldName { $($variant),+ }

        impl FieldName {
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub(super) fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }

            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

fields! {
    EventId = "event_id", Time = "time", Type = "type", Outcome = "outcome", Reason = "reason", Error = "error",
    Issuer = "issuer", Tenant = "tenant", UserId = "user_id", ClientId = "client_id", SessionId = "session_id",
    FamilyId = "family_id", TokenId = "token_id", NewTokenId = "new_token_id", Generation = "generation",
    LatestGeneration = "latest_generation", IpAddress = "ip_address", UserAgent = "user_agent", DeviceId = "device_id",
    Ja4 = "ja4", KeyThumbprint = "key_thumbprint", Scope = "scope", AccessTokenTtl = "access_token_ttl",
    Initiator = "initiator",
}

/// One member's value before it is checked.
#[derive(Debug, Clone)]
pub(super) enum Field<'a> {
    /// As the canonical record holds it: the type must be right.
    Json(Member<'a>),
    /// Picked by a mapping: numbers and times may be written as text, as tables give them.
    Picked(Cow<'a, str>),
    /// Was a secret.
    Hashed(Text),
}

impl<'a> Field<'a> {
    fn of(member: Member<'a>) -> Option<Self> {
        (!member.is_null()).then_some(Self::Json(member))
    }
}

/// The members of one event before they are checked.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    values: [Option<Field<'a>>; FieldName::ALL.len()],
    /// The zone of picked times that name none.
    zone: TimeZone,
}

impl<'a> Fields<'a> {
    pub(super) fn in_zone(zone: TimeZone) -> Self {
        Self {
            values: [const { None }; FieldName::ALL.len()],
            zone,
        }
    }

    pub(super) fn set(&mut self, name: FieldName, value: Option<Field<'a>>) {
        self.values[name as usize] = value;
    }

    /// The event, if every member is what the contract asks for.
    pub(super) fn event(
        &self,
        cleaner: &Cleaner,
        issuer: &Text,
        mut extra: Extra,
    ) -> Result<Event, Rejected> {
        use FieldName as F;
        let kind = required(
            F::Type,
            self.one_of(F::Type, EventType::ALL, EventType::as_str)?,
        )?;
        let outcome = self.one_of(F::Outcome, Outcome::ALL, Outcome::as_str)?;
        let mut event = Event::new(
            self.event_id(cleaner)?,
            self.time()?,
            kind,
            required(F::Outcome, outcome)?,
            issuer.clone(),
        );
        event.reason = self.reason(event.outcome)?;
        event.error = self.text(cleaner, F::Error)?;
        if let Some(issuer) = self.id(cleaner, F::Issuer)? {
            event.issuer = issuer;
        }
        event.tenant = self.id(cleaner, F::Tenant)?;
        event.user_id = self.id(cleaner, F::UserId)?;
        event.client_id = self.id(cleaner, F::ClientId)?;
        event.session_id = self.id(cleaner, F::SessionId)?;
        event.family_id = self.id(cleaner, F::FamilyId)?;
        event.token_id = self.token_id(cleaner, F::TokenId, &mut extra)?;
        event.new_token_id = self.token_id(cleaner, F::NewTokenId, &mut extra)?;
        event.generation = self.count(F::Generation)?;
        event.latest_generation = self.count(F::LatestGeneration)?;
        event.ip_address = self.address(cleaner, &mut extra)?;
        event.user_agent = self.text(cleaner, F::UserAgent)?;
        event.device_id = self.id(cleaner, F::DeviceId)?;
        event.ja4 = self.id(cleaner, F::Ja4)?;
        event.key_thumbprint = self.id(cleaner, F::KeyThumbprint)?;
        event.scope = self.text(cleaner, F::Scope)?;
        event.access_token_ttl = self
            .count(F::AccessTokenTtl)?
            .map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
        event.initiator = self.one_of(F::Initiator, Initiator::ALL, Initiator::as_str)?;
        event.extra = extra.finish();
        Ok(event)
    }

    fn event_id(&self, cleaner: &Cleaner) -> Result<Text, Rejected> {
        let id = required(FieldName::EventId, self.string(FieldName::EventId)?)?;
        if id.len() > limits::EVENT_ID_BYTES_MAX {
            return Err(Rejected::schema(format!(
                "member `event_id`: {} bytes, the limit is {}",
                id.len(),
                limits::EVENT_ID_BYTES_MAX
            )));
        }
        Ok(cleaner.event_id(&id))
    }

    fn time(&self) -> Result<Timestamp, Rejected> {
        let value = required(
            FieldName::Time,
            self.values[FieldName::Time as usize].as_ref(),
        )?;
        let time = match value {
            Field::Json(member) => match member.text() {
                Some(text) => time::rfc3339(&text),
                None => unix(member.raw()),
            },
            Field::Picked(text) => time::rfc3339(text)
                .or_else(|| unix(text))
                .or_else(|| time::zoneless(text, &self.zone)),
            Field::Hashed(_) => None,
        };
        time.ok_or_else(|| {
            Rejected::schema(format!(
                "member `time`: expected an RFC 3339 time or a Unix time since 1970, got {}",
                value.described()
            ))
        })
    }

    /// Required of a failure. A success has none, whatever stands there.
    fn reason(&self, outcome: Outcome) -> Result<Option<Reason>, Rejected> {
        let reason = self.one_of(FieldName::Reason, Reason::ALL, Reason::as_str)?;
        match outcome {
            Outcome::Success => Ok(None),
            Outcome::Failure if reason.is_none() => Err(Rejected::schema(
                "member `reason` is missing: a failure must say why, if need be `other`",
            )),
            Outcome::Failure => Ok(reason),
        }
    }

    /// The address; what is no address is kept for evidence.
    fn address(
        &self,
        cleaner: &Cleaner,
        extra: &mut Extra,
    ) -> Result<Option<std::net::IpAddr>, Rejected> {
        let Some(text) = self.string(FieldName::IpAddress)? else {
            return Ok(None);
        };
        let address = address::parse(&text);
        if address.is_none() {
            keep_as_text(cleaner, extra, "ip_address", &text);
        }
        Ok(address)
    }

    fn id(&self, cleaner: &Cleaner, name: FieldName) -> Result<Option<Text>, Rejected> {
        Ok(self.string(name)?.and_then(|text| cleaner.id(&text)))
    }

    fn text(&self, cleaner: &Cleaner, name: FieldName) -> Result<Option<Text>, Rejected> {
        Ok(self.string(name)?.and_then(|text| cleaner.text(&text)))
    }

    fn token_id(
        &self,
        cleaner: &Cleaner,
        name: FieldName,
        extra: &mut Extra,
    ) -> Result<Option<Text>, Rejected> {
        let Some(text) = self.string(name)? else {
            return Ok(None);
        };
        let id = cleaner.token_id(&text);
        if id.as_deref().is_some_and(|id| id != text)
            && let Some(previous) = cleaner.previous_hash(&text)
        {
            extra.text(&previous_name(name), &previous);
        }
        Ok(id)
    }

    /// A count from zero on.
    fn count(&self, name: FieldName) -> Result<Option<u64>, Rejected> {
        let Some(value) = &self.values[name as usize] else {
            return Ok(None);
        };
        let number = match value {
            Field::Json(member) => member.integer(),
            Field::Picked(text) => text.trim().parse().ok(),
            Field::Hashed(_) => None,
        };
        match number.and_then(|number| u64::try_from(number).ok()) {
            Some(count) => Ok(Some(count)),
            None => Err(value.is_not(name, "an integer from 0 on")),
        }
    }

    fn one_of<T: Copy>(
        &self,
        name: FieldName,
        all: &[T],
        as_str: fn(T) -> &'static str,
    ) -> Result<Option<T>, Rejected> {
        let Some(text) = self.string(name)? else {
            return Ok(None);
        };
        if let Some(value) = all.iter().copied().find(|value| as_str(*value) == text) {
            return Ok(Some(value));
        }
        let known: Vec<_> = all.iter().map(|value| as_str(*value)).collect();
        Err(Rejected::schema(format!(
            "member `{}`: unknown value {:?}, expected one of {}",
            name.as_str(),
            cut(&text, 40),
            known.join(", ")
        )))
    }

    /// A string that is not empty.
    fn string(&self, name: FieldName) -> Result<Option<Cow<'_, str>>, Rejected> {
        let Some(value) = &self.values[name as usize] else {
            return Ok(None);
        };
        let text = match value {
            Field::Json(member) => member
                .text()
                .ok_or_else(|| value.is_not(name, "a string"))?,
            Field::Picked(text) => Cow::Borrowed(text.as_ref()),
            Field::Hashed(hash) => Cow::Borrowed(hash.as_ref()),
        };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}

impl Field<'_> {
    fn is_not(&self, name: FieldName, expected: &str) -> Rejected {
        Rejected::schema(format!(
            "member `{}`: expected {expected}, got {}",
            name.as_str(),
            self.described()
        ))
    }

    /// For a message: what it is, and of it only what cannot be a secret.
    fn described(&self) -> String {
        match self {
            Self::Json(member) if member.type_name() == "a number" => {
                cut(member.raw(), 40).to_owned()
            }
            Self::Json(member) => member.type_name().to_owned(),
            Self::Picked(_) => "another text".to_owned(),
            Self::Hashed(_) => "a secret".to_owned(),
        }
    }
}

/// Keeps what was no value of its field, so that a person sees what the server passed on.
pub(super) fn keep_as_text(cleaner: &Cleaner, extra: &mut Extra, name: &str, text: &str) {
    if let Some(text) = cleaner.text(text) {
        extra.text(name, &text);
    }
}

/// Under which name `extra` tells the hash under the previous key.
pub(super) fn previous_name(name: FieldName) -> String {
    format!("{}_previous_key", name.as_str())
}

fn unix(text: &str) -> Option<Timestamp> {
    match text.trim().parse::<i64>() {
        Ok(number) => time::unix_integer(number),
        Err(_) => time::unix_number(text.trim().parse().ok()?),
    }
}

fn required<T>(name: FieldName, value: Option<T>) -> Result<T, Rejected> {
    value.ok_or_else(|| Rejected::schema(format!("member `{}` is missing", name.as_str())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decode::TokenKey;

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2lnbmF0dXJl";

    fn decode_text(text: &[u8]) -> Result<Event, Rejected> {
        let canonical = Canonical {
            cleaner: Cleaner::new(TokenKey::new(b"new"), Some(TokenKey::new(b"old"))),
        };
        let mut events = Vec::new();
        canonical.decode(text, &"the-source".into(), &mut events)?;
        assert_eq!(events.len(), 1);
        Ok(events.remove(0))
    }

    fn decode(record: &Value) -> Result<Event, Rejected> {
        decode_text(record.to_string().as_bytes())
    }

    /// A whole record, with some members replaced; null takes one away.
    fn with(changes: &Value) -> Value {
        let mut record = json!({
            "event_id": "e-7", "time": "2026-11-20T10:20:00Z", "type": "refresh", "outcome": "failure",
            "reason": "reuse", "error": "invalid_grant", "issuer": "https://id.example", "tenant": "t1",
            "user_id": "u1", "client_id": "web", "session_id": "s1", "family_id": "f1", "token_id": "a",
            "new_token_id": "b", "generation": 3, "latest_generation": 5, "ip_address": "198.51.100.7",
            "user_agent": "Mozilla/5.0", "device_id": "d1", "ja4": "t13d", "key_thumbprint": "x5t",
            "scope": "openid email", "access_token_ttl": 300, "initiator": "admin",
        });
        for (name, value) in changes.as_object().unwrap() {
            record[name] = value.clone();
        }
        record
    }

    fn message(changes: &Value) -> String {
        let rejected = decode(&with(changes)).unwrap_err();
        assert_eq!(rejected.reason, crate::model::RejectReason::Schema);
        rejected.message
    }

    #[test]
    fn every_member_arrives() {
        let event = decode(&with(&json!({}))).unwrap();
        let mut back = serde_json::to_value(&event).unwrap();
        let members = back.as_object_mut().unwrap();
        // The model calls the type of an event `kind`; the last two are not the contract's.
        let kind = members.remove("kind").unwrap();
        members.insert("type".to_owned(), kind);
        assert_eq!(members.remove("token_kind"), Some(Value::Null));
        assert_eq!(members.remove("extra"), Some(Value::Null));
        assert_eq!(back, with(&json!({})));
    }

    #[test]
    fn the_issuer_is_the_source_unless_the_record_names_one() {
        let event = decode(&with(&json!({"issuer": null}))).unwrap();
        assert_eq!(&*event.issuer, "the-source");
    }

    #[test]
    fn optional_members_may_be_absent_null_or_empty() {
        for nothing in [json!(null), json!("")] {
            let event = decode(&with(&json!({
                "user_id": nothing, "session_id": nothing, "ip_address": nothing, "initiator": nothing,
            })))
            .unwrap();
            assert_eq!(
                (event.user_id, event.session_id, event.ip_address),
                (None, None, None)
            );
        }
    }

    #[test]
    fn what_is_required_is_named_when_it_is_missing() {
        for name in ["event_id", "time", "type", "outcome", "reason"] {
            let message = message(&json!({name: null}));
            assert!(
                message.contains(&format!("`{name}` is missing")),
                "{message}"
            );
        }
        let success = with(&json!({"outcome": "success", "reason": null}));
        assert_eq!(decode(&success).unwrap().reason, None);
        assert!(message(&json!({"event_id": ""})).contains("`event_id` is missing"));
        assert!(message(&json!({"event_id": "x".repeat(257)})).contains("257 bytes"));
        assert!(decode(&with(&json!({"event_id": "x".repeat(256)}))).is_ok());
    }

    #[test]
    fn a_member_of_the_wrong_type_rejects_by_name() {
        let wrong = |name: FieldName| match name {
            FieldName::Generation | FieldName::LatestGeneration | FieldName::AccessTokenTtl => {
                json!("3")
            }
            FieldName::Time => json!({"s": 1}),
            _ => json!(5),
        };
        for name in FieldName::ALL {
            let message = message(&json!({name.as_str(): wrong(*name)}));
            assert!(
                message.contains(&format!("`{}`", name.as_str())),
                "{message}"
            );
            assert!(message.contains("expected"), "{message}");
        }
        for bad in [json!(-1), json!(1.5), json!(true), json!([1]), json!(1e300)] {
            assert!(message(&json!({"generation": bad})).contains("an integer from 0 on"));
        }
    }

    #[test]
    fn unknown_words_reject_and_the_known_ones_are_listed() {
        assert!(message(&json!({"type": "renew"})).contains("issue, refresh, revoke"));
        assert!(message(&json!({"outcome": "SUCCESS"})).contains("success, failure"));
        assert!(message(&json!({"reason": "bad"})).contains("unknown_token"));
        assert!(message(&json!({"initiator": "robot"})).contains("tokenwarden"));
    }

    #[test]
    fn times_come_in_every_unit() {
        let expected: Timestamp = "2026-11-20T10:20:00Z".parse().unwrap();
        for time in [
            json!(1_795_170_000),
            json!(1_795_170_000_000_i64),
            json!(1_795_170_000_000_000_i64),
            json!(1_795_170_000_000_000_000_i64),
            json!(1_795_170_000.0),
            json!(1.79517e9),
            json!("2026-11-20T11:20:00+01:00"),
            json!("2026-11-20t10:20:00.000z"),
        ] {
            let event = decode(&with(&json!({"time": time}))).unwrap();
            assert_eq!(event.time, expected, "{time}");
        }
        for time in [
            json!("2026-11-20T10:20:00"),
            json!("1795170000"),
            json!(-1),
            json!(true),
            json!(""),
        ] {
            assert!(message(&json!({"time": time})).contains("`time`"), "{time}");
        }
    }

    #[test]
    fn no_token_passes_in_any_member() {
        for name in FieldName::ALL {
            let Ok(event) = decode(&with(&json!({name.as_str(): JWT}))) else {
                continue;
            };
            assert!(!format!("{event:?}").contains("eyJ"), "{}", name.as_str());
        }
        let record = with(&json!({"token_id": JWT, "new_token_id": "z".repeat(129)}));
        let event = decode(&record).unwrap();
        assert_eq!(event.token_id, Some(TokenKey::new(b"new").hash(JWT)));
        assert!(event.new_token_id.unwrap().starts_with("hmac:"));
        let old = TokenKey::new(b"old").hash(JWT);
        assert!(
            event
                .extra
                .unwrap()
                .contains(&format!(r#""token_id_previous_key":"{old}""#))
        );
        let message = message(&json!({"type": JWT}));
        assert!(!message.contains("c2lnbmF0dXJl"), "{message}");
    }

    #[test]
    fn unknown_members_are_kept_clean_and_bounded() {
        let record = with(
            &json!({"zone": {"a": [1, "two"]}, "note": JWT, "refresh_token": "short", "gone": null}),
        );
        let kept: Value = serde_json::from_str(&decode(&record).unwrap().extra.unwrap()).unwrap();
        assert_eq!(kept["zone"], json!({"a": [1, "two"]}));
        assert!(kept["note"].as_str().unwrap().starts_with("hmac:"));
        assert!(kept["refresh_token"].as_str().unwrap().starts_with("hmac:"));
        assert!(kept.get("gone").is_none());

        let large = with(&json!({"big": " x".repeat(limits::EXTRA_BYTES_MAX), "small": 1}));
        assert_eq!(
            decode(&large).unwrap().extra.as_deref(),
            Some(r#"{"small":1,"_left_out":1}"#)
        );
    }

    #[test]
    fn an_address_that_is_none_is_kept_for_evidence() {
        let event = decode(&with(&json!({"ip_address": "unknown"}))).unwrap();
        assert_eq!(event.ip_address, None);
        assert_eq!(event.extra.as_deref(), Some(r#"{"ip_address":"unknown"}"#));
        let mapped = decode(&with(&json!({"ip_address": "::ffff:198.51.100.7"}))).unwrap();
        assert_eq!(mapped.ip_address, Some("198.51.100.7".parse().unwrap()));
    }

    #[test]
    fn whole_records_are_bounded_and_must_be_text() {
        use crate::model::RejectReason::{NotUtf8, Schema, Syntax, TooLarge};
        let reason = |text: &[u8]| decode_text(text).unwrap_err().reason;
        assert_eq!(reason(&vec![b' '; limits::RECORD_BYTES_MAX + 1]), TooLarge);
        assert_eq!(reason(b"{\"event_id\":\"\xff\"}"), NotUtf8);
        assert_eq!(reason(b""), Syntax);
        assert_eq!(reason(b"{\"event_id\":"), Syntax);
        assert_eq!(reason(b"[{}]"), Schema);
        assert_eq!(reason(b"{}"), Schema);
        let deep = format!("{{\"user_id\":{}", "[".repeat(100_000));
        assert_eq!(reason(deep.as_bytes()), Syntax);
        let with_bom = format!("\u{feff}{}\r\n", with(&json!({})));
        assert!(decode_text(with_bom.as_bytes()).is_ok());
    }

    #[test]
    fn of_a_repeated_member_the_last_counts() {
        let text = with(&json!({}))
            .to_string()
            .replacen('{', r#"{"user_id":5,"#, 1);
        assert_eq!(
            decode_text(text.as_bytes()).unwrap().user_id.as_deref(),
            Some("u1")
        );
    }
}
