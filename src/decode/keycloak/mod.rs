//! `keycloak`: what Keycloak 24 to 26 records, in whichever form it comes.
//!
//! The forms differ only in spelling, so each is read into one of two plain records ([`UserEvent`], [`AdminEvent`]) and
//! translated in one place: a fact learnt about a reason or a type holds for all of them. Which form it is, the record
//! itself says; a source may mix them.
//!
//! Types that say nothing about refresh tokens give no events. So do lines of a server log that are not of the event
//! listener.

mod admin;
mod forms;
mod log;
mod members;
mod reasons;
#[cfg(test)]
mod tests;
mod user;

use std::borrow::Cow;

use jiff::tz::TimeZone;

use super::clean::Cleaner;
use super::json::Object;
use super::{DecodeOptions, Decoder, Rejected, text_of};
use crate::model::{Clue, Event, Text, Timestamp};

pub(super) fn build(options: DecodeOptions) -> Result<Box<dyn Decoder>, String> {
    let zone = super::time::zone(options.timezone.as_deref())?;
    Ok(Box::new(Keycloak {
        cleaner: Cleaner::new(options.token_key, options.previous_key),
        own_accounts: options.own_accounts,
        zone,
    }))
}

/// What its events tell of a refresh.
pub(super) const CLUES: &[Clue] = &[
    Clue::Refusals,
    Clue::TokenId,
    Clue::SessionId,
    Clue::UserId,
    Clue::ClientId,
    Clue::IpAddress,
    Clue::Scope,
];

struct Keycloak {
    cleaner: Cleaner,
    own_accounts: Vec<Text>,
    /// Of log lines, which name none.
    zone: TimeZone,
}

/// What a user or a client did, whichever form told it. Absent members are `None`, never `"null"` or empty.
#[derive(Debug)]
struct UserEvent<'a> {
    id: Cow<'a, str>,
    time: Timestamp,
    /// `REFRESH_TOKEN`, `LOGIN`, ...: open, newer versions add to it.
    kind: Cow<'a, str>,
    realm_id: Option<Cow<'a, str>>,
    client_id: Option<Cow<'a, str>>,
    user_id: Option<Cow<'a, str>>,
    session_id: Option<Cow<'a, str>>,
    ip_address: Option<Cow<'a, str>>,
    error: Option<Cow<'a, str>>,
    details: Details<'a>,
}

/// What an operator, or a program with an operator's rights, did through the admin API.
#[derive(Debug)]
struct AdminEvent<'a> {
    id: Cow<'a, str>,
    time: Timestamp,
    /// `CREATE`, `UPDATE`, `DELETE`, `ACTION`.
    operation: Cow<'a, str>,
    resource_path: Option<Cow<'a, str>>,
    /// The realm acted upon; log lines do not name it.
    realm_id: Option<Cow<'a, str>>,
    /// Whose call it was.
    operator: Operator<'a>,
    /// The body that was sent, where the server keeps it.
    representation: Option<Cow<'a, str>>,
    error: Option<Cow<'a, str>>,
}

#[derive(Debug, Default)]
struct Operator<'a> {
    user_id: Option<Cow<'a, str>>,
    client_id: Option<Cow<'a, str>>,
    ip_address: Option<Cow<'a, str>>,
}

/// The flat details of an event: a JSON object, or what is left of a log line.
#[derive(Debug)]
enum Details<'a> {
    Json(Object<'a>),
    Pairs(Vec<(&'a str, Cow<'a, str>)>),
}

impl Details<'_> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Json(object) => object.text(name),
            Self::Pairs(pairs) => pairs
                .iter()
                .find(|(key, value)| *key == name && !value.is_empty())
                .map(|(_, value)| Cow::Borrowed(value.as_ref())),
        }
    }
}

/// One record, read.
#[derive(Debug)]
enum Record<'a> {
    User(UserEvent<'a>),
    Admin(AdminEvent<'a>),
}

impl Decoder for Keycloak {
    fn decode(
        &self,
        payload: &[u8],
        issuer: &Text,
        events: &mut Vec<Event>,
    ) -> Result<(), Rejected> {
        let text = text_of(payload)?;
        let line = if text.starts_with('{') {
            let object = Object::parse(text)?;
            if !log::is_console(&object) {
                // Kept here, so that the record can borrow from it.
                let details = forms::details_text(&object);
                let record = forms::read(&object, details.as_deref())?;
                self.translate(&record, issuer, events);
                return Ok(());
            }
            log::json_line(&object, &self.zone)?
        } else {
            log::text_line(text, &self.zone)?
        };
        if let Some(line) = line {
            self.translate(&line.record()?, issuer, events);
        }
        Ok(())
    }

    fn redact(&self, payload: &[u8]) -> Text {
        self.cleaner.record(payload)
    }
}

impl Keycloak {
    fn translate(&self, record: &Record<'_>, issuer: &Text, events: &mut Vec<Event>) {
        match record {
            Record::User(event) => self.user(event, issuer, events),
            Record::Admin(event) => self.admin(event, issuer, events),
        }
    }
}
