//! An application's own token table: read again and again, and what has changed is handed on as events.
//!
//! While running, every row's last state is in memory, and differences are exact. The position holds no rows: it says up to
//! which time facts were handed on, with the ids within an overlap; facts without a time are kept by id. So after a restart
//! a fact is lost if its time is older than the overlap at the moment it became visible, and an application that deletes
//! rows instead of marking them shows nothing. A raw token column is never selected.

use std::collections::{HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::config::{ColumnMap, Start};
use crate::model::{Clue, limits};

use super::column::{Cell, Column, require};
use super::fault::Fault;
use super::overlap::{Window, hash, hashes, of_hashes};
use super::query::{Query, quoted, selected};
use super::reader::{Begin, Page, ROWS_PER_PAGE, Record};
use super::session::{Row, Session};
use super::time::TimeColumn;
use super::token_rows::{Fact, Ledger, TokenRow};

/// Our names of the columns, in the order of [`ColumnMap`].
const COLUMNS: [&str; 16] = [
    "id", "user_id", "client_id", "family_id", "token_hash", "device_id", "ip_address", "user_agent", "issued_at",
    "expires_at", "used_at", "last_used_at", "revoked_at", "used", "revoked", "refresh_count",
];
/// What applications call the token itself. Never selected, even where the configuration names it.
const RAW: [&str; 7] =
    ["token", "refresh_token", "raw_token", "token_value", "refresh_token_value", "jwt", "secret"];

/// What is read, fixed when the source starts.
pub(super) struct RefreshTokens {
    /// Quoted.
    from: String,
    columns: Vec<(&'static str, TimeColumn)>,
    ledger: Ledger,
    /// Found, not yet handed on; in order of time.
    waiting: VecDeque<Fact>,
    /// The next scan is the first.
    is_first: bool,
    position: Option<TokenPosition>,
    committed: Option<TokenPosition>,
    scan_after: Option<tokio::time::Instant>,
    /// The database's clock at the last scan.
    now_us: i64,
}

/// Which facts have been handed on.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TokenPosition {
    #[serde(flatten)]
    window: Window,
    /// Facts that have no time, by their ids.
    #[serde(default, with = "untimed")]
    untimed: HashSet<u64>,
    /// Facts from before this are muted, in us since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_us: Option<i64>,
}

mod untimed {
    use std::collections::HashSet;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(set: &HashSet<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::hashes(set.iter().copied()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HashSet<u64>, D::Error> {
        Ok(super::of_hashes(&String::deserialize(deserializer)?).collect())
    }
}

impl RefreshTokens {
    pub(super) async fn open(session: &mut Session, table: &str, map: &ColumnMap) -> Result<Self, Fault> {
        let from = quoted(session.database(), table);
        let all = session.columns(&format!("SELECT * FROM {from} AS source")).await?;
        let columns = chosen(&all, table, map)?;
        Ok(Self {
            from,
            columns,
            ledger: Ledger::default(),
            waiting: VecDeque::new(),
            is_first: true,
            position: None,
            committed: None,
            scan_after: None,
            now_us: 0,
        })
    }

    /// Our names of the columns that the table has.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.columns.iter().map(|(ours, _)| *ours).collect()
    }

    pub(super) async fn begin(&mut self, session: &mut Session, begin: &Begin) -> Result<(), Fault> {
        if let Some((from, committed)) = begin.stored::<TokenPosition>()? {
            self.committed = Some(committed);
            self.position = Some(TokenPosition {
                window: begin.earlier(session, from.window).await?,
                ..from
            });
            return Ok(());
        }
        let now_us = session.begin().await?.now_us;
        let rows = self.rows(session, now_us).await?;
        session.end().await?;
        let start_us = match begin.start {
            Start::Earliest => None,
            Start::Latest => Some(now_us),
            Start::At(time) => Some(time.as_microsecond()),
        };
        // What has no time and is there already is the past.
        let past = Ledger::default().scan(&rows, now_us).into_iter().filter(|fact| !fact.is_timed && start_us.is_some());
        self.position = Some(TokenPosition {
            window: Window::starting(start_us.map(|start| start.saturating_sub(begin.warm_up_us()))),
            untimed: past.map(|fact| hash(&fact.event_id)).collect(),
            start_us,
        });
        Ok(())
    }

    pub(super) fn position(&self) -> String {
        let position = self.position.as_ref().and_then(|position| serde_json::to_string(position).ok());
        position.unwrap_or_default()
    }

    /// The next facts that wait; when none do, the table is read again.
    pub(super) async fn poll(&mut self, session: &mut Session) -> Result<Page, Fault> {
        let mut page = Page::default();
        if self.waiting.is_empty() && self.is_due() {
            self.scan(session, &mut page).await?;
        } else {
            page.is_stale = self.waiting.is_empty();
        }
        let Some(position) = &mut self.position else {
            return Ok(page);
        };
        let count = self.waiting.len().min(ROWS_PER_PAGE);
        for fact in self.waiting.drain(..count) {
            let muted = position.start_us.is_some_and(|start| fact.time_us < start)
                || self.committed.as_ref().is_some_and(|committed| committed.covers(&fact));
            position.take(&fact);
            page.reached_us = page.reached_us.max(Some(fact.time_us));
            page.records.push(Record {
                place: fact.event_id,
                payload: fact.payload,
                muted,
            });
        }
        page.given_up += position.settle(self.now_us);
        page.more = !self.waiting.is_empty();
        Ok(page)
    }

    /// Reading the whole table takes at most a tenth of the time.
    fn is_due(&self) -> bool {
        self.scan_after.is_none_or(|after| tokio::time::Instant::now() >= after)
    }

    async fn scan(&mut self, session: &mut Session, page: &mut Page) -> Result<(), Fault> {
        let began = tokio::time::Instant::now();
        self.now_us = session.begin().await?.now_us;
        let rows = self.rows(session, self.now_us).await?;
        session.end().await?;
        if rows.len() >= limits::SQL_TOKEN_ROWS_MAX {
            page.given_up = 1;
        }
        let mut facts = self.ledger.scan(&rows, self.now_us);
        if std::mem::take(&mut self.is_first)
            && let Some(position) = &mut self.position
        {
                position.meet(&facts);
                facts.retain(|fact| !position.covers(fact));
        }
        self.waiting.extend(facts);
        self.scan_after = Some(tokio::time::Instant::now() + began.elapsed() * 9);
        Ok(())
    }

    /// The rows that have not expired, newest first where that can be told, so that a bound cuts off the oldest.
    async fn rows(&mut self, session: &mut Session, now_us: i64) -> Result<Vec<TokenRow>, Fault> {
        let database = session.database();
        let columns: Vec<Column> = self.columns.iter().map(|(_, column)| column.column.clone()).collect();
        let mut query = Query::new(database).push(&format!("SELECT {} FROM {} AS source", selected(database, &columns), self.from));
        if let Some(expires) = self.column("expires_at").filter(|expires| expires.is_known()) {
            let name = format!("source.{}", expires.quoted(database));
            query = query.push(&format!(" WHERE {name} IS NULL OR {name} > "));
            query = expires.lower_bound(query, now_us.saturating_sub(60_000_000));
        }
        if let Some(issued) = self.column("issued_at") {
            query = query.push(&format!(" ORDER BY source.{} DESC", issued.quoted(database)));
        }
        let query = query.push(&format!(" LIMIT {}", limits::SQL_TOKEN_ROWS_MAX));
        let rows = session.rows(query).await?;
        Ok(rows.iter().map(|row| self.token_row(row)).collect())
    }

    fn column(&self, ours: &str) -> Option<&TimeColumn> {
        self.columns.iter().find(|(name, _)| *name == ours).map(|(_, column)| column)
    }

    fn token_row(&mut self, cells: &Row) -> TokenRow {
        let mut row = TokenRow::default();
        for ((ours, column), cell) in self.columns.iter_mut().zip(cells) {
            match *ours {
                "id" => row.id = cell.text().unwrap_or_default(),
                "token_hash" => row.token = cell.text(),
                "family_id" => row.family = cell.text(),
                "user_id" | "client_id" => row.who.extend(cell.text().map(|text| (*ours, text))),
                "device_id" | "ip_address" | "user_agent" => row.context.extend(cell.text().map(|text| (*ours, text))),
                "issued_at" => row.issued_us = column.read(cell),
                "expires_at" => drop(column.read(cell)),
                "used_at" => row.used_us = column.read(cell),
                "last_used_at" => row.last_used_us = column.read(cell),
                "revoked_at" => row.revoked_us = column.read(cell),
                "used" => row.used = is_true(cell),
                "revoked" => row.revoked = is_true(cell),
                _ => row.refresh_count = cell.integer(),
            }
        }
        row
    }
}

impl TokenPosition {
    fn covers(&self, fact: &Fact) -> bool {
        if fact.is_timed {
            self.window.covers(&fact.event_id, fact.time_us)
        } else {
            self.untimed.contains(&hash(&fact.event_id))
        }
    }

    fn take(&mut self, fact: &Fact) {
        if fact.is_timed {
            self.window.take(&fact.event_id, fact.time_us);
        } else if self.untimed.len() < limits::SQL_SEEN_MAX {
            self.untimed.insert(hash(&fact.event_id));
        }
    }

    /// The first scan gives all that is true: what is remembered and not among it is over.
    fn meet(&mut self, facts: &[Fact]) {
        let known = |fact: &&Fact| self.covers(fact);
        let (timed, untimed): (Vec<&Fact>, Vec<&Fact>) = facts.iter().filter(known).partition(|fact| fact.is_timed);
        self.untimed = untimed.into_iter().map(|fact| hash(&fact.event_id)).collect();
        for fact in timed {
            self.window.take(&fact.event_id, fact.time_us);
        }
        self.window.completed();
    }

    fn settle(&mut self, now_us: i64) -> u64 {
        let overlap_us = i64::try_from(limits::SQL_TOKEN_OVERLAP.as_micros()).unwrap_or(i64::MAX);
        self.window.settle(now_us, Some(now_us), overlap_us)
    }
}

fn is_true(cell: &Cell) -> bool {
    match cell {
        Cell::Integer(number) => *number != 0,
        Cell::Text(text) => matches!(text.as_str(), "t" | "true" | "TRUE" | "1" | "Y" | "y"),
        _ => false,
    }
}

/// Our columns as the table has them: named in the configuration, else under our own name.
fn chosen(all: &[Column], table: &str, map: &ColumnMap) -> Result<Vec<(&'static str, TimeColumn)>, Fault> {
    let mut columns = Vec::new();
    for ours in COLUMNS {
        let named = map.columns.get(ours);
        let theirs = named.map_or(ours, |theirs| theirs);
        if RAW.contains(&theirs.to_ascii_lowercase().as_str()) {
            tracing::warn!(table, column = theirs, "This column looks like the token itself and is not read; rows go by their id");
            continue;
        }
        if named.is_some() || ours == "id" {
            require(all, table, theirs)?;
        }
        let column = all.iter().find(|column| column.name == theirs);
        columns.extend(column.map(|column| (ours, TimeColumn::new(column.clone()))));
    }
    Ok(columns)
}

/// What the columns tell if they are all there. A token without a hash, and a family without an id, go by the row's own id. Of
/// refusals a table of tokens holds nothing.
pub(super) fn clues() -> Vec<Clue> {
    let columns = COLUMNS.iter().filter_map(|column| Clue::parse(column));
    columns.chain([Clue::TokenId]).collect()
}

/// What cannot be seen on such a table, for `check`.
pub(super) fn blind(columns: &[&str]) -> Vec<(&'static str, &'static str)> {
    const NEEDS: [(&str, &str); 6] = [
        ("family_id", "every row is a family of its own: theft by a rotated token cannot be told from the rows"),
        ("ip_address", "no address: impossible travel, network and brute-force rules are blind"),
        ("user_agent", "no user agent: a change of device is seen only by device_id"),
        ("device_id", "no device id: device rules go by user agent and network"),
        ("issued_at", "no time of issue: rotations are dated by when they were seen, and warm-up reads nothing"),
        ("expires_at", "no expiry: every row is read with every scan"),
    ];
    let has = |name: &str| columns.contains(&name);
    let mut blind: Vec<_> = NEEDS.into_iter().filter(|(name, _)| !has(name)).collect();
    if !["used_at", "used", "last_used_at", "refresh_count"].into_iter().any(has) {
        blind.push(("used_at", "nothing says that a token was used: the repeated use of a consumed token cannot be seen"));
    }
    blind
}

#[cfg(test)]
mod tests {
    use super::super::column::Kind;
    use super::*;

    fn columns(names: &[&str]) -> Vec<Column> {
        names.iter().map(|name| Column { name: (*name).into(), kind: Kind::Text }).collect()
    }

    #[test]
    fn a_raw_token_is_never_selected_even_when_named() {
        let all = columns(&["id", "token", "user_id"]);
        let map = ColumnMap { columns: [("token_hash".into(), "token".into())].into() };
        let chosen = chosen(&all, "t", &map).unwrap();
        assert_eq!(chosen.iter().map(|(ours, _)| *ours).collect::<Vec<_>>(), ["id", "user_id"]);
    }

    #[test]
    fn a_named_column_that_is_missing_is_said_with_those_there_are() {
        let map = ColumnMap { columns: [("family_id".into(), "fam".into())].into() };
        let Err(Fault::Lasting(text)) = chosen(&columns(&["id", "family"]), "t", &map) else {
            panic!("accepted");
        };
        assert_eq!(text, "t has no column fam; it has id, family");
    }
}
