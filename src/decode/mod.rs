//! L1: decoders turn raw records into canonical events. Pure: bytes in, events or a reason out.
//!
//! Uses `model` only. Everything is hostile: sizes are bounded, types are checked, a bad record is rejected with a
//! reason and never stops a source. Secrets are replaced by keyed hashes here and exist nowhere after.
//!
//! In: the payload of a [`RawRecord`](crate::model::RawRecord). Out: events, or [`Rejected`]. A new form is one file
//! and one line in the table below.

mod address;
mod archived;
mod assigned;
mod auth0;
mod canonical;
mod clean;
mod encode;
mod fields;
mod json;
mod keycloak;
mod mapping;
mod secret_names;
mod time;
mod token_key;

pub use archived::{Archived, archive};
pub use encode::encode;
pub use mapping::{MappingField, MappingSpec, MappingValue};
pub use token_key::TokenKey;

use crate::model::{Clue, Event, Reason, RejectReason, Text, limits};

/// Turns one record of one provider's form into events.
pub trait Decoder: Send + Sync {
    /// Appends the record's events to `events`: none when it is well-formed but of no interest here.
    ///
    /// `issuer` is the source's name, used where the record names no issuer.
    fn decode(
        &self,
        payload: &[u8],
        issuer: &Text,
        events: &mut Vec<Event>,
    ) -> Result<(), Rejected>;

    /// What may be kept of a rejected record: bounded by `limits::REJECT_BYTES_MAX`, token-like values replaced.
    fn redact(&self, payload: &[u8]) -> Text;
}

/// Why a record could not be used, for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    pub reason: RejectReason,
    pub message: String,
}

impl Rejected {
    fn new(reason: RejectReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    fn schema(message: impl Into<String>) -> Self {
        Self::new(RejectReason::Schema, message)
    }

    fn syntax(message: impl Into<String>) -> Self {
        Self::new(RejectReason::Syntax, message)
    }
}

/// What a decoder has to know besides the record.
#[derive(Debug, Clone)]
pub struct DecodeOptions {
    /// One of [`FORMATS`].
    pub format: Text,
    /// Ids of users or clients whose calls are our own: the daemon's service accounts.
    pub own_accounts: Vec<Text>,
    /// Zone of times that name none, by IANA name. Absent: UTC.
    pub timezone: Option<Text>,
    /// Only, and always, with the format `mapping`.
    pub mapping: Option<MappingSpec>,
    pub token_key: TokenKey,
    /// During a rotation of the key: hashes under it are given along, in `Event::rehashed`.
    pub previous_key: Option<TokenKey>,
}

/// The decoder for these options, or what is wrong with them.
pub fn decoder(options: DecodeOptions) -> Result<Box<dyn Decoder>, String> {
    let Some(entry) = TABLE.iter().find(|entry| *entry.name == *options.format) else {
        return Err(format!(
            "unknown format `{}`, expected one of {}",
            options.format,
            FORMATS.join(", ")
        ));
    };
    if options.mapping.is_some() && entry.name != "mapping" {
        return Err(format!(
            "format `{}` takes no mapping; a mapping needs `format: mapping`",
            entry.name
        ));
    }
    (entry.build)(options)
}

/// Whether the provider gave a reason that no table here knows: counted, so that a person adds it.
pub fn has_unknown_reason(event: &Event) -> bool {
    event.reason == Some(Reason::Other)
        && event
            .extra
            .as_deref()
            .is_some_and(|extra| extra.contains(&format!("\"{UNKNOWN_REASON}\":")))
}

/// The member of `extra` that holds such a reason.
const UNKNOWN_REASON: &str = "unknown_reason";

/// What records of this format can tell at best; of a mapping, what it picks.
pub fn clues(format: &str, mapping: Option<&MappingSpec>) -> Vec<Clue> {
    if let Some(mapping) = mapping {
        return mapping.clues();
    }
    let entry = TABLE.iter().find(|entry| entry.name == format);
    let clues = entry.map_or(&[][..], |entry| entry.clues);
    clues
        .iter()
        .copied()
        .filter(|clue| !clue.is_looked_up())
        .collect()
}

struct Entry {
    name: &'static str,
    build: fn(DecodeOptions) -> Result<Box<dyn Decoder>, String>,
    clues: &'static [Clue],
}

macro_rules! decoders {
    ($($name:literal => $build:path, $clues:expr);+ $(;)?) => {
        const TABLE: &[Entry] = &[$(Entry { name: $name, build: $build, clues: $clues }),+];
        /// The names of the forms that can be read, as `format:` and `--format` take them.
        pub const FORMATS: &[&str] = &[$($name),+];
    };
}

decoders! {
    "tokenwarden" => canonical::build, Clue::ALL;
    "keycloak" => keycloak::build, keycloak::CLUES;
    "auth0" => auth0::build, auth0::CLUES;
    // Its table says for itself.
    "mapping" => mapping::build, &[];
}

/// The record as text, or why it cannot be: the first check of every decoder.
fn text_of(payload: &[u8]) -> Result<&str, Rejected> {
    if payload.len() > limits::RECORD_BYTES_MAX {
        return Err(Rejected::new(
            RejectReason::TooLarge,
            format!(
                "record of {} bytes, the limit is {}",
                payload.len(),
                limits::RECORD_BYTES_MAX
            ),
        ));
    }
    let text = std::str::from_utf8(payload).map_err(|error| {
        Rejected::new(
            RejectReason::NotUtf8,
            format!("not UTF-8 from byte {} on", error.valid_up_to()),
        )
    })?;
    Ok(text.trim_start_matches('\u{feff}').trim())
}
