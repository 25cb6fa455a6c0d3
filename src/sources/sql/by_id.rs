//! Rows of a table or query by a growing id: each once, whatever order their transactions commit in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Database, Start};
use crate::model::limits;

use super::column::{Cell, Column, Kind, object, require};
use super::fault::Fault;
use super::gaps::{Horizon, Tracker};
use super::grace::grace;
use super::query::{Query, as_text, quoted_whole, selected};
use super::reader::{Begin, Page, ROWS_PER_PAGE, Record, Restart};
use super::restart::{Seen, Watch};
use super::session::{Row, Session, Snapshot};
use super::time::TimeColumn;

/// What is read, fixed when the source starts.
pub(super) struct ById {
    /// Quoted table, or the query in parentheses.
    from: String,
    columns: Vec<Column>,
    id_at: usize,
    time: Option<(usize, TimeColumn)>,
    json_at: Option<usize>,
    grace: Duration,
    position: Option<IdPosition>,
    /// What had been judged before the restart: rows that it covers are read muted.
    committed: Option<Tracker>,
    /// The table's past, until it is known to be settled.
    past: Past,
    watch: Watch,
}

/// The ids that had been drawn when reading began. A table of years has more holes than gaps could be remembered, and
/// all of them are old: once everything that ran then has ended, none of them needs to be watched.
#[derive(Debug, Default)]
struct Past {
    /// The highest id then, and when that was, in ms since 1970.
    border: Option<(i64, i64)>,
    stamp: Option<i64>,
    is_settled: bool,
}

/// Where reading goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct IdPosition {
    #[serde(flatten)]
    tracker: Tracker,
    /// `start: latest` with a warm-up: what was there at the start, muted until reading has passed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    past: Option<Tracker>,
    /// `start: TIME`: rows from before this are muted, in us since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_us: Option<i64>,
    /// The latest time of a row that was read, in us since 1970: where to look when ids begin again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reached_us: Option<i64>,
}

impl IdPosition {
    /// A row with a time that has not come yet tells nothing.
    fn reach(&mut self, time_us: Option<i64>, now_ms: i64) {
        let now_us = now_ms.saturating_mul(1000);
        self.reached_us = self.reached_us.max(time_us.map(|time| time.min(now_us)));
    }

    /// Once everything of the past has been read, it mutes nothing any more.
    fn forget_past(&mut self) {
        let border = self.past.as_ref().map(Tracker::high);
        let open = self.tracker.open().first().map_or(i64::MAX, |gap| gap.first);
        if border.is_some_and(|border| border <= self.tracker.high() && border < open) {
            self.past = None;
        }
    }
}

/// The names as configured.
pub(super) struct IdLayout<'a> {
    pub(super) table: &'a str,
    pub(super) from: String,
    pub(super) is_query: bool,
    pub(super) id_column: &'a str,
    pub(super) time_column: Option<&'a str>,
    pub(super) json_column: Option<&'a str>,
}

impl ById {
    pub(super) async fn open(session: &mut Session, layout: &IdLayout<'_>) -> Result<Self, Fault> {
        let all = session
            .columns(&format!("SELECT * FROM {} AS source", layout.from))
            .await?;
        let (columns, id_at) = chosen(all, layout)?;
        let place = |name: &str| columns.iter().position(|column| column.name == name);
        let time = layout.time_column.and_then(place);
        let json_at = layout.json_column.and_then(place);
        let time = time.map(|at| (at, TimeColumn::new(columns[at].clone())));
        Ok(Self {
            grace: grace(session, layout).await?,
            from: layout.from.clone(),
            id_at,
            time,
            json_at,
            columns,
            position: None,
            committed: None,
            past: Past::default(),
            watch: Watch::default(),
        })
    }

    /// Where to begin: where it was left, or where `start` and `warm_up` say.
    pub(super) async fn begin(
        &mut self,
        session: &mut Session,
        begin: &Begin,
    ) -> Result<(), Fault> {
        if let Some((from, committed)) = begin.stored::<IdPosition>()? {
            self.committed = Some(committed.tracker);
            self.position = Some(self.earlier(session, from, begin).await?);
            return Ok(());
        }
        let snapshot = session.begin().await?;
        let position = self.fresh(session, snapshot, begin).await?;
        session.end().await?;
        self.position = Some(position);
        Ok(())
    }

    /// Where nothing is remembered of what was before, and a time tells where the warm-up begins: from there.
    async fn earlier(&mut self, session: &mut Session, from: IdPosition, begin: &Begin) -> Result<IdPosition, Fault> {
        if !begin.is_anew() || self.time.is_none() {
            return Ok(from);
        }
        let warm_us = session.begin().await?.now_us.saturating_sub(begin.warm_up_us());
        let before = self.before(session, warm_us).await?;
        session.end().await?;
        let tracker = if before < from.tracker.high() {
            Tracker::at(before)
        } else {
            from.tracker
        };
        Ok(IdPosition { tracker, ..from })
    }

    async fn fresh(&mut self, session: &mut Session, snapshot: Snapshot, begin: &Begin) -> Result<IdPosition, Fault> {
        let mut position = IdPosition {
            tracker: Tracker::at(self.bottom(session).await?),
            past: None,
            start_us: None,
            reached_us: None,
        };
        match begin.start {
            Start::Earliest => {}
            // Without a time nobody can say which rows are within the warm-up: begin at the end.
            _ if self.time.is_none() => position.tracker = self.at_end(session, snapshot, begin.now_ms()).await?,
            Start::Latest => {
                let warm_us = snapshot.now_us.saturating_sub(begin.warm_up_us());
                position.past = Some(self.at_end(session, snapshot, begin.now_ms()).await?);
                position.tracker = Tracker::at(self.before(session, warm_us).await?);
            }
            Start::At(time) => {
                let start_us = time.as_microsecond();
                position.start_us = Some(start_us);
                let warm_us = start_us.saturating_sub(begin.warm_up_us());
                position.tracker = Tracker::at(self.before(session, warm_us).await?);
            }
        }
        Ok(position)
    }

    pub(super) fn position(&self) -> String {
        let position = self
            .position
            .as_ref()
            .and_then(|position| serde_json::to_string(position).ok());
        position.unwrap_or_default()
    }

    /// One page of new rows and those that filled gaps, from one snapshot.
    pub(super) async fn poll(&mut self, session: &mut Session, now_ms: i64) -> Result<Page, Fault> {
        let Some(mut position) = self.position.clone() else {
            return Ok(Page::default());
        };
        let snapshot = session.begin().await?;
        let database = session.database();
        let horizon = Horizon {
            ceiling: snapshot.ceiling,
            floor: snapshot.floor,
            now_ms,
        };
        if self.waits_for_past(session, horizon, &mut position.tracker).await? {
            session.end().await?;
            return Ok(Page { is_stale: true, ..Page::default() });
        }
        let fresh = session
            .rows(self.above(database, position.tracker.high()))
            .await?;
        let filled = match self.missing(database, &position.tracker) {
            Some(query) => session.rows(query).await?,
            None => Vec::new(),
        };
        let restart = self.look(session, &mut position, fresh.is_empty(), now_ms).await?;
        session.end().await?;

        let is_full = |rows: &[Row]| rows.len() >= ROWS_PER_PAGE;
        let more = is_full(&fresh) || is_full(&filled);
        let may_close = !is_full(&filled);
        let has_begun_again = matches!(restart, Some(Restart::BegunAgain(_)));
        let mut page = Page {
            more: more || has_begun_again,
            is_stale: restart.is_some(),
            restart,
            ..Page::default()
        };
        if has_begun_again {
            self.position = Some(position);
            return Ok(page);
        }
        for row in filled.into_iter().chain(fresh) {
            let id = self.id(&row)?;
            if position.tracker.take(id, horizon) {
                let record = self.record(id, &row, &position, &mut page);
                page.records.push(record);
            }
        }
        if may_close {
            position.tracker.close(horizon, ms(self.grace));
        }
        position.reach(page.reached_us, now_ms);
        page.given_up = position.tracker.give_up_beyond(limits::SQL_GAPS_MAX);
        position.forget_past();
        self.position = Some(position);
        Ok(page)
    }

    /// The holes of a long backlog must be known to be just that before many of them are passed, or they would crowd out real
    /// gaps.
    async fn waits_for_past(&mut self, session: &mut Session, horizon: Horizon, tracker: &mut Tracker) -> Result<bool, Fault> {
        if self.past.is_settled {
            return Ok(false);
        }
        let (border, since_ms) = match self.past.border {
            Some(border) => border,
            None => (self.extreme(session, "MAX").await?.unwrap_or(0), horizon.now_ms),
        };
        self.past.border = Some((border, since_ms));
        let waited_ms = horizon.now_ms.saturating_sub(since_ms);
        if waited_ms >= ms(self.grace) {
            let stamp = *self.past.stamp.get_or_insert(horizon.ceiling);
            self.past.is_settled = horizon.floor >= stamp;
        }
        if self.past.is_settled {
            tracker.settle(border);
            if let Some(position) = &mut self.position {
                position.tracker.settle(border);
            }
        }
        let is_long = border.saturating_sub(tracker.high()) > limits::SQL_BACKLOG_IDS;
        // As long as there is room for them they are watched like any other.
        let is_crowded = tracker.open().len() > limits::SQL_GAPS_MAX / 2;
        Ok(is_long && is_crowded && !self.past.is_settled && waited_ms < ms(limits::SQL_BACKLOG_WAIT))
    }

    /// Whether ids have begun again below those that were read, and if so, from where they are read then.
    async fn look(
        &mut self,
        session: &mut Session,
        position: &mut IdPosition,
        found_nothing: bool,
        now_ms: i64,
    ) -> Result<Option<Restart>, Fault> {
        if !found_nothing {
            self.watch.grew();
        }
        if !found_nothing || !self.watch.is_due(now_ms) {
            return Ok(None);
        }
        let (newest, high) = (self.extreme(session, "MAX").await?, position.tracker.high());
        let seen = self.watch.look(newest, high, now_ms);
        Ok(match seen {
            Seen::Growing => None,
            Seen::Below => Some(Restart::Suspected(format!(
                "{} ends below id {high}, which was read of it: its ids may have begun again",
                self.from
            ))),
            Seen::BegunAgain => {
                let newest = newest.unwrap_or_default();
                Some(Restart::BegunAgain(self.begin_again(session, position, newest).await?))
            }
        })
    }

    /// From the lowest id, or where a time tells, from the first row that may be younger than what was read.
    async fn begin_again(&mut self, session: &mut Session, position: &mut IdPosition, newest: i64) -> Result<String, Fault> {
        let known = position.reached_us.filter(|_| self.time.is_some());
        let from = match known {
            Some(time_us) => self.before(session, time_us.saturating_sub(us(limits::FUTURE_MAX))).await?,
            None => self.bottom(session).await?,
        };
        let high = position.tracker.high();
        position.tracker = Tracker::at(from);
        position.past = None;
        self.past = Past::default();
        // What was committed under the new ids stays judged; positions among the former say nothing about them.
        self.committed = self.committed.take().filter(|committed| committed.high() <= newest);
        Ok(format!(
            "The ids of {} have begun again: it ends at {newest}, although {high} was read of it (it was emptied or restored, or its \
             newest rows were deleted). It is read again behind id {from}; events that were read before are ignored by their ids",
            self.from
        ))
    }

    /// Rows that wait, as far as ids tell.
    pub(super) async fn lag(&self, session: &mut Session) -> Result<u64, Fault> {
        let newest = self.extreme(session, "MAX").await?.unwrap_or(0);
        let high = self
            .position
            .as_ref()
            .map_or(0, |position| position.tracker.high());
        Ok(newest.saturating_sub(high).max(0).unsigned_abs())
    }

    fn record(&mut self, id: i64, row: &Row, position: &IdPosition, page: &mut Page) -> Record {
        let time_us = self
            .time
            .as_mut()
            .and_then(|(at, time)| time.read(row.get(*at)?));
        page.reached_us = page.reached_us.max(time_us);
        let before_start = position.start_us.zip(time_us).is_some_and(|(start, time)| time < start);
        let past = position.past.as_ref().is_some_and(|past| past.covers(id));
        let judged = self
            .committed
            .as_ref()
            .is_some_and(|committed| committed.covers(id));
        let payload = match self.json_at.and_then(|at| row.get(at)) {
            Some(cell) => cell.text().unwrap_or_default().into_bytes(),
            None => object(&self.columns, row),
        };
        Record {
            place: id.to_string(),
            payload,
            muted: judged || before_start || past,
        }
    }

    fn id(&self, row: &Row) -> Result<i64, Fault> {
        let id = row.get(self.id_at).and_then(Cell::integer);
        id.ok_or_else(|| {
            let name = &self.columns[self.id_at].name;
            Fault::Lasting(format!(
                "column {name} is no whole number: a cursor by id needs one; use cursor: time for ids of another kind"
            ))
        })
    }

    fn id_name(&self, database: Database) -> String {
        quoted_whole(database, &self.columns[self.id_at].name)
    }

    fn above(&self, database: Database, high: i64) -> Query {
        let (columns, id) = (selected(database, &self.columns), self.source_id(database));
        Query::new(database)
            .push(&format!(
                "SELECT {columns} FROM {} AS source WHERE {id} > ",
                self.from
            ))
            .integer(high)
            .push(&format!(" ORDER BY {id} LIMIT {ROWS_PER_PAGE}"))
    }

    /// The id of the table, not the text of the same name that is selected.
    fn source_id(&self, database: Database) -> String {
        format!("source.{}", self.id_name(database))
    }

    fn missing(&self, database: Database, tracker: &Tracker) -> Option<Query> {
        if tracker.open().is_empty() {
            return None;
        }
        let (columns, id) = (selected(database, &self.columns), self.source_id(database));
        let one = |gap: &&super::gaps::Gap| gap.first == gap.last;
        let mut tests: Vec<String> = tracker
            .open()
            .iter()
            .filter(|gap| !one(gap))
            .map(|gap| format!("{id} BETWEEN {} AND {}", gap.first, gap.last))
            .collect();
        let singles: Vec<String> = tracker
            .open()
            .iter()
            .filter(one)
            .map(|gap| gap.first.to_string())
            .collect();
        if !singles.is_empty() {
            tests.push(format!("{id} IN ({})", singles.join(",")));
        }
        let tests = tests.join(" OR ");
        let sql = format!(
            "SELECT {columns} FROM {} AS source WHERE {tests} ORDER BY {id} LIMIT {ROWS_PER_PAGE}",
            self.from
        );
        Some(Query::new(database).push(&sql).once())
    }

    /// The lowest (`MIN`) or highest (`MAX`) id there is.
    async fn extreme(&self, session: &mut Session, which: &str) -> Result<Option<i64>, Fault> {
        let database = session.database();
        let extreme = format!("{which}({})", self.source_id(database));
        let sql = format!(
            "SELECT {} FROM {} AS source",
            cast(database, &extreme),
            self.from
        );
        let cell = session.one(Query::new(database).push(&sql)).await?;
        Ok(cell.and_then(|cell| cell.integer()))
    }

    /// The id before the first row.
    async fn bottom(&self, session: &mut Session) -> Result<i64, Fault> {
        Ok(self
            .extreme(session, "MIN")
            .await?
            .unwrap_or(1)
            .saturating_sub(1))
    }

    /// Begins at the end; ids missing among the newest may belong to transactions that are still running.
    async fn at_end(
        &self,
        session: &mut Session,
        snapshot: Snapshot,
        now_ms: i64,
    ) -> Result<Tracker, Fault> {
        let database = session.database();
        let id = self.source_id(database);
        let sql = format!(
            "SELECT {} FROM {} AS source ORDER BY {id} DESC LIMIT {}",
            cast(database, &id),
            self.from,
            limits::SQL_SETTLING_IDS
        );
        let rows = session.rows(Query::new(database).push(&sql)).await?;
        let mut ids: Vec<i64> = rows
            .iter()
            .filter_map(|row| row.first()?.integer())
            .collect();
        ids.sort_unstable();
        let horizon = Horizon {
            ceiling: snapshot.ceiling,
            floor: snapshot.floor,
            now_ms,
        };
        let mut tracker = Tracker::at(ids.first().map_or(0, |lowest| lowest - 1));
        for id in ids {
            tracker.take(id, horizon);
        }
        Ok(tracker)
    }

    /// The id below which rows are older than this time: a search by halves, so that no index on the time is needed.
    async fn before(&mut self, session: &mut Session, time_us: i64) -> Result<i64, Fault> {
        let bottom = self.bottom(session).await?;
        let mut low = bottom;
        let mut high = self.extreme(session, "MAX").await?.unwrap_or(bottom);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_above(session, middle).await? {
                Some((id, Some(time))) if time < time_us => low = id,
                _ => high = middle,
            }
        }
        // Ids follow time only roughly: what was written at the same moment is within this margin.
        Ok(low.saturating_sub(i64::from(limits::SQL_SETTLING_IDS)).max(bottom))
    }

    async fn first_above(
        &mut self,
        session: &mut Session,
        id: i64,
    ) -> Result<Option<(i64, Option<i64>)>, Fault> {
        let database = session.database();
        let Some((time_at, _)) = self.time else {
            return Ok(None);
        };
        let columns = [
            self.columns[self.id_at].clone(),
            self.columns[time_at].clone(),
        ];
        let name = self.source_id(database);
        let query = Query::new(database)
            .push(&format!(
                "SELECT {} FROM {} AS source WHERE {name} > ",
                selected(database, &columns),
                self.from
            ))
            .integer(id)
            .push(&format!(" ORDER BY {name} LIMIT 1"));
        let rows = session.rows(query).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let id = row.first().and_then(Cell::integer);
        let time = self
            .time
            .as_mut()
            .and_then(|(_, time)| time.read(row.get(1)?));
        Ok(id.map(|id| (id, time)))
    }
}

fn us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn cast(database: Database, expression: &str) -> String {
    as_text(database, expression, Kind::Integer)
}

/// The columns to select, and which of them is the id.
fn chosen(all: Vec<Column>, layout: &IdLayout<'_>) -> Result<(Vec<Column>, usize), Fault> {
    for name in [
        Some(layout.id_column),
        layout.time_column,
        layout.json_column,
    ]
    .into_iter()
    .flatten()
    {
        require(&all, layout.table, name)?;
    }
    let wanted = |column: &Column| {
        let name = Some(column.name.as_str());
        let named = [
            Some(layout.id_column),
            layout.time_column,
            layout.json_column,
        ]
        .contains(&name);
        named || layout.json_column.is_none()
    };
    let columns: Vec<Column> = all.into_iter().filter(wanted).collect();
    let id_at = columns
        .iter()
        .position(|column| column.name == layout.id_column)
        .unwrap_or_default();
    Ok((columns, id_at))
}

#[cfg(test)]
mod tests;
