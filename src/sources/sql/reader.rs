//! What the three ways of reading have in common: a page of records, and where to begin.

use serde::de::DeserializeOwned;

use crate::config::Start;
use crate::model::{Position, StartAt, Text, Timestamp};

use super::by_id::ById;
use super::by_time::ByTime;
use super::fault::Fault;
use super::overlap::Window;
use super::refresh_tokens::RefreshTokens;
use super::session::Session;

/// Rows of one statement. A page is one batch; rows that fill gaps may double it.
pub(super) const ROWS_PER_PAGE: usize = crate::model::limits::BATCH_RECORDS_MAX / 2;

/// What one poll has found.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) records: Vec<Record>,
    /// There may be more right behind it.
    pub(super) more: bool,
    /// Nothing was read this time: says nothing about whether there is more.
    pub(super) is_stale: bool,
    /// What was there at this time has been read, once there is no more. Absent: when the page was asked for.
    pub(super) read_at: Option<Timestamp>,
    /// The latest time among the records, in us since 1970.
    pub(super) reached_us: Option<i64>,
    /// Rows or ids that will not be looked for any longer, because a bound was reached.
    pub(super) given_up: u64,
    pub(super) restart: Option<Restart>,
}

/// The table ends below what was read of it. Both say what was seen.
#[derive(Debug)]
pub(super) enum Restart {
    /// What is there may not have been read; looked at again soon.
    Suspected(String),
    /// From here on it is read anew.
    BegunAgain(String),
}

#[derive(Debug)]
pub(super) struct Record {
    pub(super) place: String,
    pub(super) payload: Vec<u8>,
    pub(super) muted: bool,
}

/// Where a partition is to be read from, and what is muted.
#[derive(Debug, Clone)]
pub(super) struct Begin {
    pub(super) at: StartAt,
    pub(super) start: Start,
    pub(super) warm_up: std::time::Duration,
    pub(super) now: Timestamp,
}

impl Begin {
    pub(super) fn now_ms(&self) -> i64 {
        self.now.as_millisecond()
    }

    pub(super) fn warm_up_us(&self) -> i64 {
        i64::try_from(self.warm_up.as_micros()).unwrap_or(i64::MAX)
    }

    /// Nothing is remembered of what was before the stored positions.
    pub(super) fn is_anew(&self) -> bool {
        matches!(self.at, StartAt::Resume { anew: true, .. })
    }

    /// Where that is so, the window of a table read by time begins with the warm-up.
    pub(super) async fn earlier(&self, session: &mut Session, from: Window) -> Result<Window, Fault> {
        let Some(begins_us) = from.begins_us().filter(|_| self.is_anew()) else {
            return Ok(from);
        };
        let warm_us = session.begin().await?.now_us.saturating_sub(self.warm_up_us());
        session.end().await?;
        Ok(Window::starting(Some(warm_us.min(begins_us))))
    }

    /// The stored positions: where to go on, and what was committed.
    pub(super) fn stored<P: DeserializeOwned>(&self) -> Result<Option<(P, P)>, Fault> {
        match &self.at {
            StartAt::Fresh => Ok(None),
            StartAt::Resume {
                from, committed, ..
            } => {
                Ok(Some((position(from)?, position(committed)?)))
            }
        }
    }
}

fn position<P: DeserializeOwned>(position: &Position) -> Result<P, Fault> {
    serde_json::from_str(&position.0).map_err(|error| {
        Fault::Lasting(format!(
            "the stored position is not one of this kind of cursor ({error}); rename the source to read it anew"
        ))
    })
}

/// One independently positioned part of the source.
pub(super) struct Part {
    /// Name of the partition.
    pub(super) name: Text,
    pub(super) reader: Reader,
}

pub(super) enum Reader {
    ById(Box<ById>),
    ByTime(Box<ByTime>),
    Tokens(Box<RefreshTokens>),
}

impl Reader {
    pub(super) async fn begin(
        &mut self,
        session: &mut Session,
        begin: &Begin,
    ) -> Result<(), Fault> {
        match self {
            Self::ById(reader) => reader.begin(session, begin).await,
            Self::ByTime(reader) => reader.begin(session, begin).await,
            Self::Tokens(reader) => reader.begin(session, begin).await,
        }
    }

    pub(super) async fn poll(&mut self, session: &mut Session, now: Timestamp) -> Result<Page, Fault> {
        match self {
            Self::ById(reader) => reader.poll(session, now.as_millisecond()).await,
            Self::ByTime(reader) => reader.poll(session, now).await,
            Self::Tokens(reader) => reader.poll(session).await,
        }
    }

    pub(super) fn position(&self) -> Position {
        Position(match self {
            Self::ById(reader) => reader.position().into(),
            Self::ByTime(reader) => reader.position().into(),
            Self::Tokens(reader) => reader.position().into(),
        })
    }

    /// Records that wait, where that can be told cheaply.
    pub(super) async fn lag(&self, session: &mut Session) -> Result<Option<u64>, Fault> {
        match self {
            Self::ById(reader) => reader.lag(session).await.map(Some),
            Self::ByTime(_) | Self::Tokens(_) => Ok(None),
        }
    }
}
