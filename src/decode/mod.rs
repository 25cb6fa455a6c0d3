//! L1: decoders turn raw records into canonical events. Pure: bytes in, events or a reason out.
//!
//! Uses `model` only. Everything is hostile: sizes are bounded, types are checked, a bad record is rejected with a
//! reason and never stops a source. Secrets are replaced by keyed hashes here and exist nowhere after.
//!
//! In: the payload of a [`RawRecord`](crate::model::RawRecord). Out: events, or [`Rejected`].

use crate::model::{Event, RejectReason, Text};

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
}

/// Why a record could not be used, for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    pub reason: RejectReason,
    pub message: String,
}
