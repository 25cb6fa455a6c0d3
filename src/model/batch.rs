//! What flows from a source to the engine: raw records with a position, and what becomes of each.

use serde::{Deserialize, Serialize};

use super::{Enriched, OwnEvent, Position, SourcePartition, Text, Timestamp};

/// Records of one partition of one source, with the position after them.
///
/// A batch without records carries a position or a tick only.
#[derive(Debug, Clone, PartialEq)]
pub struct RawBatch {
    pub partition: SourcePartition,
    /// Which engine shard it belongs to; one shard today.
    pub shard: u32,
    /// The ownership under which it was read; a commit under an older epoch is refused.
    pub epoch: u64,
    pub records: Vec<RawRecord>,
    /// Where reading goes on after these records. Committed together with what they caused.
    pub position: Position,
    /// Wall time at which the source had read to its end: nothing older is known to be waiting.
    pub tick: Option<Timestamp>,
    /// The end of a finite input: no more will come from this partition.
    pub ended: bool,
    /// Wall time of arrival. Absent in `replay`, where there is none.
    pub arrived_at: Option<Timestamp>,
}

/// One record as the source gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct RawRecord {
    /// Where it stands, for people and for the reject table: `42`, `line 7`, an event id.
    pub place: Text,
    /// JSON text, a log line, or a table row as a JSON object.
    pub payload: Vec<u8>,
    /// Read only to build state (warm-up, or below the committed position): causes no output.
    pub muted: bool,
}

/// What the engine takes, in order of arrival.
#[derive(Debug, Clone)]
pub enum Input {
    Event {
        partition: u32,
        event: Box<Enriched>,
        muted: bool,
        arrived_at: Option<Timestamp>,
    },
    Own {
        event: OwnEvent,
        muted: bool,
    },
    /// The partition has been read to its end at this wall time.
    Tick {
        partition: u32,
        time: Timestamp,
    },
    /// The partition is finite and has ended, or cannot be read: it no longer holds time back.
    Ended {
        partition: u32,
    },
}

/// A record that could not be used: kept with the reason, never dropped silently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reject {
    pub source: Text,
    pub partition: Text,
    pub place: Text,
    pub reason: RejectReason,
    /// For a person: what was expected, where.
    pub message: Text,
    /// Bounded by `limits::REJECT_BYTES_MAX`, with token-like values replaced.
    pub payload: Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// Not JSON, or not a line of the expected log.
    Syntax,
    /// A required member is missing or has the wrong type or value.
    Schema,
    /// More than `limits::RECORD_BYTES_MAX`.
    TooLarge,
    NotUtf8,
    /// More than five minutes ahead of its arrival.
    FutureTime,
}

super::event::names!(RejectReason {
    Syntax = "syntax", Schema = "schema", TooLarge = "too_large", NotUtf8 = "not_utf8", FutureTime = "future_time",
});
