//! Rows of a table, query or Keycloak's event tables by (time, id), where the id tells nothing about order.
//!
//! Pages go on after the last (time, id) until one is not full; then reading begins anew at the start of the window.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{Database, Start};
use crate::model::{Timestamp, limits};

use super::column::{Cell, Column, Kind, object};
use super::fault::Fault;
use super::keycloak::Realms;
use super::overlap::Window;
use super::query::{Query, as_text, quoted_whole, selected};
use super::reader::{Begin, Page, ROWS_PER_PAGE, Record};
use super::session::{Row, Session, Snapshot};
use super::time::TimeColumn;

pub(super) struct ByTime {
    pub(super) from: From,
    pub(super) columns: Vec<Column>,
    pub(super) id_at: usize,
    pub(super) time_at: usize,
    pub(super) time: TimeColumn,
    pub(super) json_at: Option<usize>,
    pub(super) overlap_us: i64,
    pub(super) position: Option<TimePosition>,
    /// What had been judged before the restart: rows that it covers are read muted.
    pub(super) committed: Option<Window>,
    /// Reading has come from the start of the window, not from behind a page of before the restart.
    pub(super) is_whole: bool,
    /// When the first page of this pass was asked for: what was there then has been read when the pass ends.
    pub(super) pass_began: Timestamp,
    /// Up to when everything was visible to that page: what appeared behind a later page is read by the next pass.
    pub(super) pass_hold_us: Option<i64>,
}

/// What stands behind FROM.
pub(super) enum From {
    /// Quoted table, or the query in parentheses.
    Rows(String),
    /// A table of Keycloak, realm by realm along its index.
    Realms(Realms),
}

/// Where reading goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TimePosition {
    #[serde(flatten)]
    window: Window,
    /// The last row of a full page: the next page begins behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<(Value, String)>,
    /// Rows from before this are muted, in us since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_us: Option<i64>,
}

impl ByTime {
    pub(super) async fn begin(
        &mut self,
        session: &mut Session,
        begin: &Begin,
    ) -> Result<(), Fault> {
        let newest_us = self.newest_us(session).await?;
        if let Some((from, committed)) = begin.stored::<TimePosition>()? {
            self.committed = Some(committed.window);
            self.position = Some(TimePosition {
                window: begin.earlier(session, from.window).await?,
                after: from.after.filter(|_| !begin.is_anew()),
                ..from
            });
            return Ok(());
        }
        let now_us = session.begin().await?.now_us;
        session.end().await?;
        let start_us = match begin.start {
            Start::Earliest => None,
            // What is there is the past, whatever the clocks say; but not a row from the future.
            Start::Latest => Some(newest_us.map_or(now_us, |newest| newest.saturating_add(1).min(now_us))),
            Start::At(time) => Some(time.as_microsecond()),
        };
        self.position = Some(TimePosition {
            window: Window::starting(start_us.map(|start| start.saturating_sub(begin.warm_up_us()))),
            after: None,
            start_us,
        });
        Ok(())
    }

    pub(super) fn position(&self) -> String {
        let position = self
            .position
            .as_ref()
            .and_then(|position| serde_json::to_string(position).ok());
        position.unwrap_or_default()
    }

    /// One page from one snapshot, without the rows that are known.
    pub(super) async fn poll(&mut self, session: &mut Session, now: Timestamp) -> Result<Page, Fault> {
        let Some(mut position) = self.position.clone() else {
            return Ok(Page::default());
        };
        let snapshot = session.begin().await?;
        let hold_us = hold_us(session.database(), snapshot, &mut position.window);
        if position.after.is_none() {
            self.is_whole = true;
            self.pass_began = now;
            self.pass_hold_us = hold_us;
        }
        let rows = match self.query(session, &position).await? {
            Some(query) => session.rows(query).await?,
            None => Vec::new(),
        };
        session.end().await?;

        let more = rows.len() >= ROWS_PER_PAGE;
        let mut page = Page {
            more,
            ..Page::default()
        };
        for row in &rows {
            self.take(row, &mut position, &mut page);
        }
        // The window does not move past what this pass has still to read: rows that were not there before may be among it.
        let read_to_us = match rows.last().filter(|_| more) {
            Some(last) => last.get(self.time_at).and_then(|cell| self.time.read(cell)),
            None => Some(i64::MAX),
        };
        let hold_us = self.pass_hold_us.zip(read_to_us).map(|(hold, read_to)| hold.min(read_to));
        page.given_up = position.window.settle(snapshot.now_us, hold_us, self.overlap_us);
        position.after = rows.last().filter(|_| more).map(|row| self.place(row));
        page.read_at = Some(self.pass_began);
        if !self.is_whole {
            // The start of the window comes with the next pass.
            page.more = true;
        } else if position.after.is_none() {
            position.window.completed();
        }
        self.position = Some(position);
        Ok(page)
    }

    fn take(&mut self, row: &Row, position: &mut TimePosition, page: &mut Page) {
        let id = self.id(row);
        let Some(time_us) = row.get(self.time_at).and_then(|cell| self.time.read(cell)) else {
            return;
        };
        if !position.window.take(&id, time_us) {
            return;
        }
        page.reached_us = page.reached_us.max(Some(time_us));
        let before_start = position.start_us.is_some_and(|start| time_us < start);
        let judged = self
            .committed
            .as_ref()
            .is_some_and(|window| window.covers(&id, time_us));
        let payload = match self.json_at.and_then(|at| row.get(at)) {
            Some(cell) => cell.text().unwrap_or_default().into_bytes(),
            None => object(&self.columns, row),
        };
        page.records.push(Record {
            place: id,
            payload,
            muted: before_start || judged,
        });
    }

    async fn query(
        &self,
        session: &mut Session,
        position: &TimePosition,
    ) -> Result<Option<Query>, Fault> {
        let database = session.database();
        let columns = selected(database, &self.columns);
        let query = Query::new(database).push(&format!("SELECT {columns} FROM "));
        let query = match &self.from {
            From::Rows(from) => {
                let query = query.push(from).push(" AS source WHERE ");
                self.bounds(query, position)
            }
            From::Realms(realms) => {
                let part = |query: Query| self.ordered(self.bounds(query, position));
                match realms.union(session, query, &part).await? {
                    Some(query) => query,
                    None => return Ok(None),
                }
            }
        };
        Ok(Some(self.ordered(query)))
    }

    /// From the start of the window, or behind the last row of the page before.
    fn bounds(&self, query: Query, position: &TimePosition) -> Query {
        let time = self.time_name(query.database);
        if let Some((at, id)) = &position.after {
            let at = cell(at);
            let query = self.time.value(query.push(&format!("{time} >= ")), &at);
            let query = self
                .time
                .value(query.push(&format!(" AND ({time} > ")), &at);
            let name = self.id_name(query.database);
            return query.push(&format!(" OR {name} > ")).text(id).push(")");
        }
        match position.window.begins_us().filter(|_| self.time.is_known()) {
            Some(from_us) => self
                .time
                .lower_bound(query.push(&format!("{time} >= ")), from_us),
            None => query.push(&format!("{time} IS NOT NULL")),
        }
    }

    fn ordered(&self, query: Query) -> Query {
        let (time, id) = (self.time_name(query.database), self.id_name(query.database));
        query.push(&format!(" ORDER BY {time}, {id} LIMIT {ROWS_PER_PAGE}"))
    }

    /// The time of the newest row, from which is also learnt how numbers and text are written.
    async fn newest_us(&mut self, session: &mut Session) -> Result<Option<i64>, Fault> {
        let From::Rows(from) = &self.from else {
            return Ok(None);
        };
        let database = session.database();
        let time = self.time_name(database);
        let newest = as_text(database, &time, self.time.column.kind);
        let sql = format!(
            "SELECT {newest} FROM {from} AS source WHERE {time} IS NOT NULL ORDER BY {time} DESC LIMIT 1"
        );
        let Some(newest) = session.one(Query::new(database).push(&sql)).await? else {
            return Ok(None);
        };
        let newest = self.time.read(&newest).ok_or_else(|| {
            Fault::Lasting(format!(
                "column {} is no time: expected a timestamp, a number since 1970, or RFC 3339 text",
                self.time.column.name
            ))
        });
        newest.map(Some)
    }

    fn place(&self, row: &Row) -> (Value, String) {
        let at = match row.get(self.time_at) {
            Some(Cell::Integer(number)) => Value::from(*number),
            Some(cell) => cell.text().map_or(Value::Null, Value::from),
            None => Value::Null,
        };
        (at, self.id(row))
    }

    fn id(&self, row: &Row) -> String {
        row.get(self.id_at).and_then(Cell::text).unwrap_or_default()
    }

    fn time_name(&self, database: Database) -> String {
        format!("source.{}", self.time.quoted(database))
    }

    fn id_name(&self, database: Database) -> String {
        let name = format!(
            "source.{}",
            quoted_whole(database, &self.columns[self.id_at].name)
        );
        match database {
            // The id is compared and ordered as the text that is selected.
            Database::Sqlite => format!("CAST({name} AS TEXT)"),
            _ => as_text(database, &name, self.columns[self.id_at].kind),
        }
    }
}

fn us(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn cell(value: &Value) -> Cell {
    match value {
        Value::Number(number) => number.as_i64().map_or(Cell::Null, Cell::Integer),
        Value::String(text) => Cell::Text(text.clone()),
        _ => Cell::Null,
    }
}

fn place(columns: &[Column], table: &str, name: &str) -> Result<usize, Fault> {
    super::column::require(columns, table, name)?;
    Ok(columns
        .iter()
        .position(|column| column.name == name)
        .unwrap_or_default())
}

/// Up to when everything is visible. PostgreSQL tells transaction ids, the others times.
fn hold_us(database: Database, snapshot: Snapshot, window: &mut Window) -> Option<i64> {
    match database {
        Database::Postgres => window.hold_us(snapshot),
        Database::Mysql | Database::Sqlite => Some(snapshot.floor).filter(|floor| *floor > i64::MIN),
    }
}

/// The columns of a table or query by time, checked.
pub(super) struct TimeLayout<'a> {
    pub(super) table: &'a str,
    pub(super) from: String,
    pub(super) time_column: &'a str,
    pub(super) id_column: &'a str,
    pub(super) json_column: Option<&'a str>,
    pub(super) overlap: std::time::Duration,
}

impl ByTime {
    pub(super) async fn open(
        session: &mut Session,
        layout: &TimeLayout<'_>,
    ) -> Result<Self, Fault> {
        let columns = session
            .columns(&format!("SELECT * FROM {} AS source", layout.from))
            .await?;
        let place = |name: &str| place(&columns, layout.table, name);
        let (id_at, time_at) = (place(layout.id_column)?, place(layout.time_column)?);
        let json_at = layout.json_column.map(place).transpose()?;
        Ok(Self {
            from: From::Rows(layout.from.clone()),
            id_at,
            time_at,
            json_at,
            time: TimeColumn::new(columns[time_at].clone()),
            columns,
            overlap_us: us(layout.overlap),
            position: None,
            committed: None,
            is_whole: false,
            pass_began: Timestamp::UNIX_EPOCH,
            pass_hold_us: None,
        })
    }

    /// One of Keycloak's event tables.
    pub(super) async fn open_keycloak(
        session: &mut Session,
        realms: Realms,
        time_column: &str,
    ) -> Result<Self, Fault> {
        let sql = format!("SELECT * FROM {} AS source", realms.table());
        let mut columns = session.columns(&sql).await?;
        for column in &mut columns {
            // On MySQL Keycloak writes its names in upper case, and MySQL does not mind.
            column.name.make_ascii_lowercase();
        }
        let place = |name: &str| place(&columns, realms.table(), name);
        let (id_at, time_at) = (place("id")?, place(time_column)?);
        let time = Column {
            kind: Kind::Integer,
            ..columns[time_at].clone()
        };
        Ok(Self {
            from: From::Realms(realms),
            id_at,
            time_at,
            json_at: None,
            time: TimeColumn::per_second(time, 1000),
            columns,
            overlap_us: us(limits::SQL_KEYCLOAK_OVERLAP),
            position: None,
            committed: None,
            is_whole: false,
            pass_began: Timestamp::UNIX_EPOCH,
            pass_hold_us: None,
        })
    }
}
