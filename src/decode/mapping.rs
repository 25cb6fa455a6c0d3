//! `mapping`: a home-made audit log, read by a table that its owner writes.
//!
//! For each member of the canonical event the table says where in the record it stands, and how the log's own words
//! translate. What is picked goes through the same checks as a canonical record. Nothing else of the record is kept: a
//! column that nobody named may hold anything, also a token.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::clean::{Cleaner, Extra};
use super::fields::{Field, FieldName, Fields};
use super::token_key::push_hex;
use super::{DecodeOptions, Decoder, Rejected, text_of};
use crate::model::{Clue, Event, Outcome, Text};

/// Which member of the record gives which member of the event: by member of the canonical event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MappingSpec {
    pub fields: BTreeMap<Text, MappingField>,
}

/// Where one member comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct MappingField {
    pub from: MappingValue,
    /// Translates the provider's values; one that is not listed rejects the record, unless `otherwise` is given.
    pub values: BTreeMap<Text, Text>,
    pub otherwise: Option<Text>,
    /// The value could be presented as a token: it is replaced by its keyed hash.
    pub secret: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum MappingValue {
    /// RFC 6901 JSON pointer, or the name of a column (a member of the record).
    Pointer(Text),
    Constant(Text),
}

impl MappingSpec {
    /// What the table picks. A log of which every entry is a success tells no refusals.
    pub(super) fn clues(&self) -> Vec<Clue> {
        let picked = self.fields.keys().filter_map(|name| Clue::parse(name));
        let refusals = self
            .fields
            .get("outcome")
            .is_some_and(MappingField::may_fail);
        picked.chain(refusals.then_some(Clue::Refusals)).collect()
    }
}

impl MappingField {
    fn may_fail(&self) -> bool {
        let fails = |outcome: &Text| **outcome == *Outcome::Failure.as_str();
        match &self.from {
            MappingValue::Constant(outcome) => fails(outcome),
            MappingValue::Pointer(_) if self.values.is_empty() => true,
            MappingValue::Pointer(_) => self.values.values().chain(&self.otherwise).any(fails),
        }
    }
}

pub(super) fn build(options: DecodeOptions) -> Result<Box<dyn Decoder>, String> {
    let Some(spec) = options.mapping else {
        return Err("format `mapping` needs a mapping".to_owned());
    };
    Ok(Box::new(Mapping {
        picks: picks(spec)?,
        cleaner: Cleaner::new(options.token_key, options.previous_key),
        zone: super::time::zone(options.timezone.as_deref())?,
    }))
}

/// The table with its names resolved, or the first thing wrong with it.
fn picks(spec: MappingSpec) -> Result<Vec<(FieldName, MappingField)>, String> {
    let mut picks = Vec::with_capacity(spec.fields.len());
    for (name, field) in spec.fields {
        let Some(known) = FieldName::parse(&name) else {
            let all: Vec<_> = FieldName::ALL.iter().map(|field| field.as_str()).collect();
            return Err(format!(
                "mapping: `{name}` is no member of an event, expected one of {}",
                all.join(", ")
            ));
        };
        picks.push((known, field));
    }
    for needed in [FieldName::Time, FieldName::Type, FieldName::Outcome] {
        if !picks.iter().any(|(name, _)| *name == needed) {
            return Err(format!(
                "mapping: `{}` is missing; every event needs it (a constant will do)",
                needed.as_str()
            ));
        }
    }
    Ok(picks)
}

struct Mapping {
    picks: Vec<(FieldName, MappingField)>,
    cleaner: Cleaner,
    zone: TimeZone,
}

impl Decoder for Mapping {
    fn decode(
        &self,
        payload: &[u8],
        issuer: &Text,
        events: &mut Vec<Event>,
    ) -> Result<(), Rejected> {
        let record = object(text_of(payload)?)?;
        let mut fields = Fields::in_zone(self.zone.clone());
        for (name, field) in &self.picks {
            let value = self.picked(&record, *name, field)?;
            fields.set(*name, value);
        }
        if !self
            .picks
            .iter()
            .any(|(name, _)| *name == FieldName::EventId)
        {
            fields.set(
                FieldName::EventId,
                Some(Field::Picked(derived_id(payload).into())),
            );
        }
        events.push(fields.event(&self.cleaner, issuer, Extra::default())?);
        Ok(())
    }

    /// A record that cannot be read might hold a declared secret anywhere: nothing of it is kept.
    fn redact(&self, payload: &[u8]) -> Text {
        if !self.picks.iter().any(|(_, field)| field.secret) {
            return self.cleaner.record(payload);
        }
        let Ok(mut record) = text_of(payload).and_then(object) else {
            return format!(
                "({} bytes withheld: the mapping names secrets and the record cannot be read)",
                payload.len()
            )
            .into();
        };
        for (_, field) in self.picks.iter().filter(|(_, field)| field.secret) {
            if let MappingValue::Pointer(pointer) = &field.from
                && let Some(secret) = find_mut(&mut record, pointer)
            {
                *secret = match text_form(secret) {
                    Some(text) => Value::String(self.cleaner.hash(&text).to_string()),
                    None => Value::Null,
                };
            }
        }
        self.cleaner.record(record.to_string().as_bytes())
    }
}

impl Mapping {
    fn picked<'a>(
        &self,
        record: &'a Value,
        name: FieldName,
        field: &'a MappingField,
    ) -> Result<Option<Field<'a>>, Rejected> {
        let pointer = match &field.from {
            MappingValue::Constant(text) => return Ok(Some(Field::Picked(text.as_ref().into()))),
            MappingValue::Pointer(pointer) => pointer,
        };
        let text = match find(record, pointer) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => text_form(value).ok_or_else(|| not_plain(name, pointer))?,
        };
        if text.is_empty() {
            return Ok(None);
        }
        if field.secret {
            return Ok(Some(Field::Hashed {
                now: self.cleaner.hash(&text),
                before: self.cleaner.previous_hash(&text),
            }));
        }
        if field.values.is_empty() {
            return Ok(Some(Field::Picked(text)));
        }
        // In the event's words.
        match field.values.get(text.as_ref()).or(field.otherwise.as_ref()) {
            Some(known) => Ok(Some(Field::Picked(Cow::Borrowed(known)))),
            None => Err(Rejected::schema(format!(
                "member `{}`: the mapping does not translate {}; add it to `values` or give `otherwise`",
                name.as_str(),
                self.cleaner.quoted(pointer, &text)
            ))),
        }
    }
}

fn not_plain(name: FieldName, pointer: &str) -> Rejected {
    Rejected::schema(format!(
        "member `{}`: expected a string, number or boolean at `{pointer}`",
        name.as_str()
    ))
}

fn object(text: &str) -> Result<Value, Rejected> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Rejected::syntax(format!("not JSON: {error}")))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Rejected::schema("expected one JSON object"))
    }
}

fn find<'a>(record: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.starts_with('/') {
        record.pointer(pointer)
    } else {
        record.get(pointer)
    }
}

fn find_mut<'a>(record: &'a mut Value, pointer: &str) -> Option<&'a mut Value> {
    if pointer.starts_with('/') {
        record.pointer_mut(pointer)
    } else {
        record.get_mut(pointer)
    }
}

/// Ids are numbers in many tables and flags are booleans: all are compared and taken as text.
fn text_form(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Where the log has no ids: the same record twice is the same event.
fn derived_id(payload: &[u8]) -> String {
    let digest = Sha256::digest(payload.trim_ascii());
    let mut id = String::from("record:");
    push_hex(&mut id, &digest[..16]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{TokenKey, decoder};

    fn at(pointer: &str) -> MappingField {
        MappingField {
            from: MappingValue::Pointer(pointer.into()),
            values: BTreeMap::new(),
            otherwise: None,
            secret: false,
        }
    }

    fn options(fields: Vec<(&str, MappingField)>) -> DecodeOptions {
        let fields = fields
            .into_iter()
            .map(|(name, field)| (name.into(), field))
            .collect();
        DecodeOptions {
            format: "mapping".into(),
            own_accounts: Vec::new(),
            timezone: Some("Europe/Berlin".into()),
            mapping: Some(MappingSpec { fields }),
            token_key: TokenKey::new(b"new"),
            previous_key: Some(TokenKey::new(b"old")),
        }
    }

    /// A home-made log: words of its own, integer ids, local times, the raw token.
    fn audit_log() -> Vec<(&'static str, MappingField)> {
        let constant = |text: &str| MappingField {
            from: MappingValue::Constant(text.into()),
            ..at("")
        };
        let values = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(from, to)| ((*from).into(), (*to).into()))
                .collect()
        };
        vec![
            ("time", at("happened")),
            (
                "type",
                MappingField {
                    values: values(&[("renew", "refresh"), ("first", "issue")]),
                    ..at("/what/action")
                },
            ),
            (
                "outcome",
                MappingField {
                    values: values(&[("true", "success"), ("false", "failure")]),
                    ..at("ok")
                },
            ),
            (
                "reason",
                MappingField {
                    values: values(&[("USED", "reuse")]),
                    otherwise: Some("other".into()),
                    ..at("why")
                },
            ),
            ("tenant", constant("shop")),
            ("user_id", at("/user")),
            (
                "token_id",
                MappingField {
                    secret: true,
                    ..at("/token")
                },
            ),
            ("generation", at("n")),
            ("ip_address", at("ip")),
        ]
    }

    fn decode(record: &str) -> Result<Event, Rejected> {
        let mapping = decoder(options(audit_log())).unwrap();
        let mut events = Vec::new();
        mapping.decode(record.as_bytes(), &"log".into(), &mut events)?;
        assert_eq!(events.len(), 1);
        Ok(events.remove(0))
    }

    const RECORD: &str = r#"{"happened":"2026-11-21 05:06:40.5","what":{"action":"renew"},"ok":false,"why":"USED",
        "user":4711,"token":"v1.short","n":"3","ip":"192.0.2.10:443","password":"hunter2"}"#;

    #[test]
    fn a_home_made_record_becomes_an_event() {
        let event = decode(RECORD).unwrap();
        assert_eq!(event.time.to_string(), "2026-11-21T04:06:40.5Z");
        assert_eq!(
            (event.kind.as_str(), event.outcome.as_str()),
            ("refresh", "failure")
        );
        assert_eq!(event.reason, Some(crate::model::Reason::Reuse));
        assert_eq!(event.user_id.as_deref(), Some("4711"));
        assert_eq!(event.tenant.as_deref(), Some("shop"));
        assert_eq!(event.generation, Some(3));
        assert_eq!(event.ip_address.unwrap().to_string(), "192.0.2.10");
        assert_eq!(event.token_id, Some(TokenKey::new(b"new").hash("v1.short")));
        let old = TokenKey::new(b"old").hash("v1.short");
        let [rehashed] = event.rehashed.as_slice() else {
            panic!("one secret: {:?}", event.rehashed);
        };
        assert_eq!(
            (Some(&rehashed.now), &rehashed.before),
            (event.token_id.as_ref(), &old)
        );
        assert_eq!(event.extra, None);
        assert_eq!(event.event_id, decode(RECORD).unwrap().event_id);
        assert!(event.event_id.starts_with("record:"));
    }

    #[test]
    fn untranslated_values_are_refused_unless_there_is_an_otherwise() {
        let rejected = decode(&RECORD.replace("renew", "ponder")).unwrap_err();
        assert!(
            rejected.message.contains("\"ponder\""),
            "{}",
            rejected.message
        );
        let event = decode(&RECORD.replace("USED", "full moon")).unwrap();
        assert_eq!(event.reason, Some(crate::model::Reason::Other));
        assert!(decode(&RECORD.replace("4711", "[4711]")).is_err());
        assert!(decode(&RECORD.replace("2026-11-21 05:06:40.5", "soon")).is_err());
    }

    #[test]
    fn a_rejected_record_keeps_no_declared_secret() {
        let mapping = decoder(options(audit_log())).unwrap();
        let kept = mapping.redact(RECORD.as_bytes());
        assert!(
            !kept.contains("v1.short") && !kept.contains("hunter2"),
            "{kept}"
        );
        assert!(kept.contains("4711"));
        let broken = mapping.redact(RECORD.replace('}', "").as_bytes());
        assert!(
            broken.contains("withheld") && !broken.contains("v1.short"),
            "{broken}"
        );
    }

    #[test]
    fn the_message_hides_what_the_record_beside_it_hides() {
        let mut fields = audit_log();
        for (name, field) in &mut fields {
            match *name {
                "reason" => field.otherwise = None,
                "outcome" => field.from = MappingValue::Pointer("/login_token".into()),
                _ => {}
            }
        }
        let mapping = decoder(options(fields)).unwrap();
        let message = |record: &str| {
            let mut events = Vec::new();
            let rejected = mapping.decode(record.as_bytes(), &"log".into(), &mut events);
            rejected.unwrap_err().message
        };
        let with_outcome = RECORD.replace("\"ok\":false", "\"login_token\":false");
        for record in [
            with_outcome.replace("USED", "refresh_token=8xLOxBtZp8 already used"),
            RECORD.replace("\"ok\":false", "\"login_token\":\"8xLOxBtZp8\""),
        ] {
            let message = message(&record);
            assert!(
                message.contains("hmac:") && !message.contains("8xLO"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_table_that_cannot_work_is_refused_at_once() {
        for (fields, word) in [
            (vec![("time", at("t"))], "`type` is missing"),
            (vec![("user", at("u"))], "`user` is no member"),
        ] {
            let error = decoder(options(fields)).err().unwrap();
            assert!(error.contains(word), "{error}");
        }
    }
}
