//! The loop of a table source: connect, claim, poll the part that is furthest behind, hand on, wait.
//!
//! Positions live here while running and go out with every batch; after a broken connection reading goes on from them.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Claim, RawBatch, RawRecord, SourcePartition, StartAt, Text, Timestamp, limits};

use super::super::pace::Pace;
use super::super::{Context, SourceError};
use super::fault::Fault;
use super::reader::{Begin, Page, Part, Record, Restart};
use super::session::Session;
use super::{SqlTail, layout};

/// Reads until cancelled. `Err` where no waiting helps.
pub(super) async fn run(source: SqlTail, context: Context) -> Result<(), SourceError> {
    let cancel = context.cancel.clone();
    let mut tail = Tail {
        source,
        context,
        claims: Vec::new(),
        parts: Vec::new(),
        is_down: false,
        has_read: false,
        is_doubtful: false,
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Ok(()),
        end = tail.keep_reading() => end,
    }
}

struct Tail {
    source: SqlTail,
    context: Context,
    claims: Vec<Claim>,
    parts: Vec<Tended>,
    /// What was reported last.
    is_down: bool,
    /// The last connection was good for something.
    has_read: bool,
    /// A table ends below what was read of it: nobody knows yet what that means.
    is_doubtful: bool,
}

/// A part with its place in the schedule.
struct Tended {
    part: Part,
    claim: Claim,
    /// The last page was full: go on at once.
    more: bool,
    reached_us: Option<i64>,
    due: Instant,
    pace: Pace,
    lag_told: Option<(Instant, bool)>,
    /// Rows given up and not yet told of.
    given_up: u64,
    warned: Option<Instant>,
}

/// Why the loop ends.
enum End {
    Fault(Fault),
    /// Nobody takes batches any more.
    Unwanted,
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Tail {
    async fn keep_reading(&mut self) -> Result<(), SourceError> {
        let mut backoff = limits::SOURCE_RETRY_MIN;
        loop {
            self.has_read = false;
            let end = match self.read().await {
                Ok(never) => match never {},
                Err(end) => end,
            };
            match end {
                End::Unwanted => return Ok(()),
                End::Fault(Fault::Lasting(reason)) => {
                    self.context.status.down(&self.source.name, &reason);
                    return Err(SourceError(format!(
                        "source {}: {reason}",
                        self.source.name
                    )));
                }
                End::Fault(Fault::Waiting(reason)) => {
                    if self.has_read {
                        backoff = limits::SOURCE_RETRY_MIN;
                    }
                    self.report_down(&reason, backoff);
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(limits::SOURCE_RETRY_MAX);
                }
            }
        }
    }

    fn report_down(&mut self, reason: &str, backoff: Duration) {
        if !self.is_down {
            tracing::warn!(source = %self.source.name, reason, "The database cannot be read; trying again");
        }
        tracing::debug!(source = %self.source.name, reason, ?backoff, "Next try after a pause");
        self.context.status.down(&self.source.name, reason);
        self.is_down = true;
    }

    fn report_up(&mut self) {
        if self.is_down {
            tracing::info!(source = %self.source.name, "The database can be read again");
        }
        self.context.status.up(&self.source.name);
        self.is_down = false;
        self.has_read = true;
    }

    /// A page was read: that is up, unless it cannot be told whether it is all there was.
    fn report(&mut self, page: &Page) {
        match &page.restart {
            Some(Restart::Suspected(what)) => {
                self.is_doubtful = true;
                self.is_down = true;
                self.has_read = true;
                self.context.status.down(&self.source.name, what);
            }
            Some(Restart::BegunAgain(what)) => {
                self.is_doubtful = false;
                tracing::error!(source = %self.source.name, "{what}");
            }
            None => self.is_doubtful &= page.is_stale,
        }
        if !self.is_doubtful && (self.is_down || !self.has_read) {
            self.report_up();
        }
    }

    /// One connection's life.
    async fn read(&mut self) -> Result<std::convert::Infallible, End> {
        let mut session = Session::open(&self.source.sql).await?;
        if self.parts.is_empty() {
            self.parts = self.prepare(&mut session).await?;
        }
        self.poll(&mut session, 0).await?;
        loop {
            let next = self.next();
            tokio::time::sleep_until(self.parts[next].due).await;
            self.poll(&mut session, next).await?;
        }
    }

    async fn prepare(&mut self, session: &mut Session) -> Result<Vec<Tended>, End> {
        let parts = layout::parts(session, &self.source.sql).await?;
        if self.claims.is_empty() {
            self.claims = self
                .claim(parts.iter().map(|part| part.name.clone()))
                .await?;
        }
        let mut tended = Vec::new();
        for (mut part, claim) in parts.into_iter().zip(self.claims.clone()) {
            let begin = self.begin(claim.start.clone());
            part.reader.begin(session, &begin).await?;
            tended.push(Tended {
                part,
                claim,
                more: true,
                reached_us: None,
                due: Instant::now(),
                pace: Pace::default(),
                lag_told: None,
                given_up: 0,
                warned: None,
            });
        }
        Ok(tended)
    }

    async fn claim(&self, names: impl Iterator<Item = Text>) -> Result<Vec<Claim>, End> {
        let partition = |partition| SourcePartition {
            source: self.source.name.clone(),
            partition,
        };
        let wanted: Vec<SourcePartition> = names.map(partition).collect();
        let claims = self
            .context
            .claims
            .claim(&wanted)
            .await
            .map_err(|SourceError(reason)| Fault::Waiting(reason))?;
        let of = |partition: &SourcePartition| {
            let claim = claims
                .iter()
                .find(|claim| claim.partition == *partition)
                .cloned();
            claim.ok_or_else(|| {
                End::Fault(Fault::Waiting(format!("the store did not grant {}", partition.partition)))
            })
        };
        wanted.iter().map(of).collect()
    }

    fn begin(&self, at: StartAt) -> Begin {
        Begin {
            at,
            start: self.source.start,
            warm_up: self.source.warm_up,
            now: (self.context.now)(),
        }
    }

    /// A part that was at its end and is due; else, of those with more to read, the one furthest behind in time, so that
    /// they advance together; else the one that is due first.
    fn next(&self) -> usize {
        let now = Instant::now();
        let order = |at: &usize| {
            let part = &self.parts[*at];
            match part.more {
                false if part.due <= now => (0, None, None),
                true => (1, part.reached_us, None),
                false => (2, None, Some(part.due)),
            }
        };
        (0..self.parts.len()).min_by_key(order).unwrap_or_default()
    }

    async fn poll(&mut self, session: &mut Session, at: usize) -> Result<(), End> {
        let now = (self.context.now)();
        let every = self.source.sql.poll_every;
        let page = self.parts[at].part.reader.poll(session, now).await?;
        self.report(&page);
        let tended = &mut self.parts[at];
        tended.schedule(&page, every);
        tended.warn(&page, &self.source.name);
        let tick = tended.tick(&page, now);
        if tick.is_some() || !page.records.is_empty() {
            let batch = tended.batch(page, now, tick);
            let sent = self.context.batches.send(batch).await;
            sent.map_err(|_| End::Unwanted)?;
        }
        self.tell_lag(session, at).await
    }

    async fn tell_lag(&mut self, session: &mut Session, at: usize) -> Result<(), End> {
        let tended = &mut self.parts[at];
        let now = Instant::now();
        // At once when rows begin or cease to wait: a pass that nobody takes from may be the last for long.
        let is_known = |(told, more)| more == tended.more && now < told + limits::SQL_LAG_EVERY;
        if tended.lag_told.is_some_and(is_known) {
            return Ok(());
        }
        tended.lag_told = Some((now, tended.more));
        let lag = if tended.more {
            tended.part.reader.lag(session).await?
        } else {
            Some(0)
        };
        if let Some(lag) = lag {
            self.context.status.lag(&tended.claim.partition, lag);
        }
        Ok(())
    }
}

impl Tended {
    fn schedule(&mut self, page: &Page, every: Duration) {
        self.more = page.more;
        self.reached_us = self.reached_us.max(page.reached_us);
        let pause = match (page.more, page.records.is_empty()) {
            (true, _) => Duration::ZERO,
            (false, true) => every,
            (false, false) => every.min(limits::SQL_BUSY_PAUSE),
        };
        self.due = Instant::now() + pause;
    }

    fn warn(&mut self, page: &Page, source: &Text) {
        self.given_up += page.given_up;
        let is_quiet = self.warned.is_some_and(|warned| warned.elapsed() < limits::SQL_WARN_EVERY);
        if self.given_up == 0 || is_quiet {
            return;
        }
        self.warned = Some(Instant::now());
        tracing::warn!(
            %source,
            partition = %self.part.name,
            rows = std::mem::take(&mut self.given_up),
            "Rows that may still appear late will no longer be looked for: a bound was reached"
        );
    }

    fn tick(&mut self, page: &Page, now: Timestamp) -> Option<Timestamp> {
        if !page.records.is_empty() {
            self.pace.read_something();
        }
        let at_end = !page.more && !page.is_stale;
        (at_end && self.pace.at_end(now)).then(|| page.read_at.unwrap_or(now))
    }

    fn batch(&self, page: Page, now: Timestamp, tick: Option<Timestamp>) -> RawBatch {
        let record = |record: Record| RawRecord {
            place: record.place.into(),
            payload: record.payload,
            muted: record.muted,
        };
        RawBatch {
            partition: self.claim.partition.clone(),
            shard: 0,
            epoch: self.claim.epoch,
            position: self.part.reader.position(),
            tick,
            records: page.records.into_iter().map(record).collect(),
            ended: false,
            arrived_at: Some(now),
        }
    }
}
