//! The members of a canonical event before and while they are checked: the one place where the contract's rules stand.
//!
//! The canonical form brings members of a record, `mapping` brings values picked from anywhere; both pass here. A member
//! of the wrong type rejects the record and says so by name; null and, for what is optional, the empty string mean "not
//! there".

use std::borrow::Cow;

use jiff::tz::TimeZone;

use super::clean::{Cleaner, Extra, cut};
use super::json::Member;
use super::{Rejected, address, time};
use crate::model::{
    Event, EventType, Initiator, Outcome, Reason, Rehashed, Text, Timestamp, limits,
};

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
    Hashed { now: Text, before: Option<Text> },
}

impl<'a> Field<'a> {
    pub(super) fn of(member: Member<'a>) -> Option<Self> {
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
            self.one_of(cleaner, F::Type, EventType::ALL, EventType::as_str)?,
        )?;
        let outcome = self.one_of(cleaner, F::Outcome, Outcome::ALL, Outcome::as_str)?;
        let mut event = Event::new(
            self.event_id(cleaner)?,
            self.time()?,
            kind,
            required(F::Outcome, outcome)?,
            issuer.clone(),
        );
        let mut rehashed = Vec::new();
        event.reason = self.reason(cleaner, event.outcome)?;
        event.error = self.text(cleaner, F::Error)?;
        if let Some(issuer) = self.id(cleaner, F::Issuer, &mut rehashed)? {
            event.issuer = issuer;
        }
        event.tenant = self.id(cleaner, F::Tenant, &mut rehashed)?;
        event.user_id = self.id(cleaner, F::UserId, &mut rehashed)?;
        event.client_id = self.id(cleaner, F::ClientId, &mut rehashed)?;
        event.session_id = self.id(cleaner, F::SessionId, &mut rehashed)?;
        event.family_id = self.id(cleaner, F::FamilyId, &mut rehashed)?;
        event.token_id = self.token_id(cleaner, F::TokenId, &mut rehashed)?;
        event.new_token_id = self.token_id(cleaner, F::NewTokenId, &mut rehashed)?;
        event.generation = self.count(F::Generation)?;
        event.latest_generation = self.count(F::LatestGeneration)?;
        event.ip_address = self.address(cleaner, &mut extra)?;
        event.user_agent = self.text(cleaner, F::UserAgent)?;
        event.device_id = self.id(cleaner, F::DeviceId, &mut rehashed)?;
        event.ja4 = self.id(cleaner, F::Ja4, &mut rehashed)?;
        event.key_thumbprint = self.id(cleaner, F::KeyThumbprint, &mut rehashed)?;
        event.scope = self.text(cleaner, F::Scope)?;
        event.access_token_ttl = self
            .count(F::AccessTokenTtl)?
            .map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
        event.initiator = self.one_of(cleaner, F::Initiator, Initiator::ALL, Initiator::as_str)?;
        event.extra = extra.finish();
        event.rehashed = rehashed;
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
            Field::Hashed { .. } => None,
        };
        time.ok_or_else(|| {
            Rejected::schema(format!(
                "member `time`: expected an RFC 3339 time or a Unix time since 1970, got {}",
                value.described()
            ))
        })
    }

    /// Required of a failure. A success has none, whatever stands there.
    fn reason(&self, cleaner: &Cleaner, outcome: Outcome) -> Result<Option<Reason>, Rejected> {
        let reason = self.one_of(cleaner, FieldName::Reason, Reason::ALL, Reason::as_str)?;
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

    fn id(
        &self,
        cleaner: &Cleaner,
        name: FieldName,
        rehashed: &mut Vec<Rehashed>,
    ) -> Result<Option<Text>, Rejected> {
        self.clean(cleaner, name, Cleaner::id, rehashed)
    }

    fn text(&self, cleaner: &Cleaner, name: FieldName) -> Result<Option<Text>, Rejected> {
        Ok(self.string(name)?.and_then(|text| cleaner.text(&text)))
    }

    fn token_id(
        &self,
        cleaner: &Cleaner,
        name: FieldName,
        rehashed: &mut Vec<Rehashed>,
    ) -> Result<Option<Text>, Rejected> {
        self.clean(cleaner, name, Cleaner::token_id, rehashed)
    }

    /// An id, noted with its hash under the previous key where it had to be hashed.
    fn clean(
        &self,
        cleaner: &Cleaner,
        name: FieldName,
        clean: fn(&Cleaner, &str) -> Option<Text>,
        rehashed: &mut Vec<Rehashed>,
    ) -> Result<Option<Text>, Rejected> {
        let Some(text) = self.string(name)? else {
            return Ok(None);
        };
        let id = clean(cleaner, &text);
        let before = match (&self.values[name as usize], &id) {
            (Some(Field::Hashed { before, .. }), _) => before.clone(),
            (_, Some(id)) if **id != *text => cleaner.hash_before(&text, id),
            _ => None,
        };
        if let (Some(now), Some(before)) = (&id, before) {
            let now = now.clone();
            rehashed.push(Rehashed { now, before });
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
            Field::Hashed { .. } => None,
        };
        match number.and_then(|number| u64::try_from(number).ok()) {
            Some(count) => Ok(Some(count)),
            None => Err(value.is_not(name, "an integer from 0 on")),
        }
    }

    fn one_of<T: Copy>(
        &self,
        cleaner: &Cleaner,
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
            "member `{}`: unknown value {}, expected one of {}",
            name.as_str(),
            cleaner.quoted(name.as_str(), &text),
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
            Field::Hashed { now, .. } => Cow::Borrowed(now.as_ref()),
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
            // It is one, and it was asked for as one: only its escapes can be at fault.
            Self::Json(member) if member.type_name() == "a string" && member.text().is_none() => {
                "one with a broken escape".to_owned()
            }
            Self::Json(member) => member.type_name().to_owned(),
            Self::Picked(_) => "another text".to_owned(),
            Self::Hashed { .. } => "a secret".to_owned(),
        }
    }
}

/// Keeps what was no value of its field, so that a person sees what the server passed on.
pub(super) fn keep_as_text(cleaner: &Cleaner, extra: &mut Extra, name: &str, text: &str) {
    if let Some(text) = cleaner.text(text) {
        extra.text(name, &text);
    }
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
