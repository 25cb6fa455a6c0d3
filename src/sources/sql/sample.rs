//! A sample of the newest events in Keycloak's table, for `check --online`: who came from which address.
//!
//! Every comparison of networks and places rests on the client's address. Behind a proxy that does not pass it on the
//! table holds the proxy's, nothing looks wrong, and no theft is ever foreign; only the rows themselves can show it.

use crate::config::{SqlLayout, SqlSource};
use crate::model::{Timestamp, limits};

use super::fault::Fault;
use super::keycloak::{Realms, TABLES};
use super::query::Query;
use super::session::Session;

/// One event of a user, as far as addresses go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    pub user_id: String,
    pub ip_address: String,
}

/// Asks for the newest events since a time, at most [`limits::SAMPLE_EVENTS_MAX`] a realm. Nothing for other layouts.
pub async fn recent_sightings(source: &SqlSource, since: Timestamp) -> Result<Option<Vec<Sighting>>, String> {
    let SqlLayout::Keycloak { schema, realms } = &source.layout else {
        return Ok(None);
    };
    let (table, time) = TABLES[0];
    let realms = Realms::new(source.database, schema.as_deref(), table, realms);
    sightings(source, &realms, time, since.as_millisecond())
        .await
        .map(Some)
        .map_err(|fault| {
            let (Fault::Waiting(reason) | Fault::Lasting(reason)) = fault;
            reason
        })
}

async fn sightings(
    source: &SqlSource,
    realms: &Realms,
    time: &str,
    since_ms: i64,
) -> Result<Vec<Sighting>, Fault> {
    let mut session = Session::open(source).await?;
    // Along the (realm, time) index, newest first, whatever the type: no other index serves.
    let newest = |query: Query| {
        query
            .push(&format!("source.{time} >= "))
            .integer(since_ms)
            .push(&format!(" ORDER BY source.{time} DESC LIMIT {}", limits::SAMPLE_EVENTS_MAX))
    };
    let select = Query::new(source.database)
        .push("SELECT source.user_id, source.ip_address FROM ")
        .once();
    let Some(query) = realms.union(&mut session, select, &newest).await? else {
        return Ok(Vec::new());
    };
    let rows = session.rows(query).await?;
    let text = |row: &[super::column::Cell], at: usize| row.get(at).and_then(super::column::Cell::text);
    Ok(rows
        .iter()
        .filter_map(|row| {
            Some(Sighting {
                user_id: text(row, 0)?,
                ip_address: text(row, 1)?,
            })
        })
        .collect())
}
