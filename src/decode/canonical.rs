//! `tokenwarden`: the canonical form, one JSON object per record, as the contract fixes it.
//!
//! Members that the contract names are checked by [`Fields`]; the others are kept for evidence, but for what the event
//! archive noted beside the event: who replays it has tables of his own.

use jiff::tz::TimeZone;
use serde_json::Value;

use super::clean::{Cleaner, Extra};
use super::fields::{Field, FieldName, Fields};
use super::json::{Member, Object};
use super::{DecodeOptions, Decoder, Rejected, archived, text_of};
use crate::model::{Event, Text};

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
                None if member.is_null() || name == archived::MEMBER => {}
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
            match serde_json::from_str::<Value>(member.raw()) {
                Ok(mut value) => {
                    self.cleaner.clean_member(name, &mut value);
                    extra.add(&self.cleaner.member_name(name), &value);
                }
                // Deeper than the parser goes: nothing that a reader could open either.
                Err(_) => extra.leave_out(),
            }
        }
        extra
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decode::TokenKey;
    use crate::model::{Timestamp, limits};

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
        // The model calls the type of an event `kind`; the last three are not the contract's.
        let kind = members.remove("kind").unwrap();
        members.insert("type".to_owned(), kind);
        assert_eq!(members.remove("token_kind"), Some(Value::Null));
        assert_eq!(members.remove("extra"), Some(Value::Null));
        assert_eq!(members.remove("rehashed"), Some(json!([])));
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
        let opaque = message(&json!({"reason": "refresh_token=8xLOxBtZp8 already used"}));
        assert!(
            opaque.contains("hmac:") && !opaque.contains("8xLO"),
            "{opaque}"
        );
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
        assert_eq!(event.rehashed.len(), 2);
        assert_eq!(event.rehashed[0].now, TokenKey::new(b"new").hash(JWT));
        assert_eq!(event.rehashed[0].before, old);
        assert_eq!(event.extra, None);
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

        let odd = with(&json!({"deep": null})).to_string().replace(
            "\"deep\":null",
            &format!(
                "\"deep\":{}{},\"half\":\"\\ud800\"",
                "[".repeat(500),
                "]".repeat(500)
            ),
        );
        let odd = decode_text(odd.as_bytes()).unwrap();
        assert_eq!(odd.extra.as_deref(), Some(r#"{"_left_out":2}"#));

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
