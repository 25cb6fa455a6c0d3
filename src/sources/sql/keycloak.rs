//! Keycloak's `event_entity` and `admin_event_entity`: two partitions, realm by realm along their (realm, time) index.
//!
//! The realms are asked for in the same snapshot as their events, so a realm that is created while we run is read from
//! its first event. Without the realm in the condition no index would serve, and a large table would be scanned per poll.

use crate::config::Database;

use super::fault::Fault;
use super::query::{Query, quoted};
use super::session::Session;

/// The partitions: table, and its column of times in ms.
pub(super) const TABLES: [(&str, &str); 2] = [
    ("event_entity", "event_time"),
    ("admin_event_entity", "admin_event_time"),
];

/// The table's name as it stands in the database: in upper case on MySQL, where names can be sensitive to it.
pub(super) fn named(database: Database, schema: Option<&str>, table: &str) -> String {
    let table = if database == Database::Mysql {
        table.to_uppercase()
    } else {
        table.to_owned()
    };
    match schema {
        Some(schema) => format!("{schema}.{table}"),
        None => table,
    }
}

/// A table of events, and the realms whose events are read.
#[derive(Debug, Clone)]
pub(super) struct Realms {
    /// Quoted.
    events: String,
    /// Quoted.
    names: String,
    /// Names or ids; none means all.
    wanted: Vec<String>,
}

impl Realms {
    pub(super) fn new(
        database: Database,
        schema: Option<&str>,
        table: &str,
        wanted: &[crate::model::Text],
    ) -> Self {
        let within = |table: &str| quoted(database, &named(database, schema, table));
        Self {
            events: within(table),
            names: within("realm"),
            wanted: wanted.iter().map(ToString::to_string).collect(),
        }
    }

    pub(super) fn table(&self) -> &str {
        &self.events
    }

    /// Completes a statement that ends in FROM with the events of each realm, each realm bounded by `part`.
    /// Nothing when there is no realm.
    pub(super) async fn union(
        &self,
        session: &mut Session,
        query: Query,
        part: &(dyn Fn(Query) -> Query + Sync),
    ) -> Result<Option<Query>, Fault> {
        if session.database() == Database::Postgres {
            let query = self.chosen(query.push("(")).push(&format!(
                ") AS realms CROSS JOIN LATERAL (SELECT source.* FROM {} AS source WHERE source.realm_id = realms.wanted_realm AND ",
                self.events
            ));
            return Ok(Some(part(query).push(") AS source")));
        }
        let realms = session
            .rows(self.chosen(Query::new(session.database())))
            .await?;
        let ids: Vec<String> = realms
            .iter()
            .filter_map(|row| row.first()?.text())
            .collect();
        if ids.is_empty() {
            return Ok(None);
        }
        let mut query = query.push("(");
        for (at, id) in ids.iter().enumerate() {
            let union = if at == 0 { "(" } else { " UNION ALL (" };
            let select = format!(
                "{union}SELECT source.* FROM {} AS source WHERE source.realm_id = ",
                self.events
            );
            query = part(query.push(&select).text(id).push(" AND ")).push(")");
        }
        Ok(Some(query.push(") AS source")))
    }

    /// Those of the wanted realms that are not there.
    pub(super) async fn missing(&self, session: &mut Session) -> Result<Vec<String>, Fault> {
        let database = session.database();
        let sql = format!("SELECT id, name FROM {}", self.names);
        let there = session.rows(Query::new(database).push(&sql)).await?;
        let known = |wanted: &&String| {
            there
                .iter()
                .any(|row| row.iter().any(|cell| cell.text().as_ref() == Some(wanted)))
        };
        Ok(self
            .wanted
            .iter()
            .filter(|wanted| !known(wanted))
            .cloned()
            .collect())
    }

    fn chosen(&self, query: Query) -> Query {
        let query = query.push(&format!("SELECT id AS wanted_realm FROM {}", self.names));
        if self.wanted.is_empty() {
            return query;
        }
        let names = || self.wanted.iter().map(String::as_str);
        query
            .push(" WHERE name IN (")
            .texts(names())
            .push(") OR id IN (")
            .texts(names())
            .push(")")
    }
}
