//! From the configured layout to what is read: names checked against the database, one part per partition.

use crate::config::{Database, SqlCursor, SqlLayout, SqlSource};
use crate::model::{Clue, Text};

use super::by_id::{ById, IdLayout};
use super::by_time::{ByTime, TimeLayout};
use super::fault::Fault;
use super::keycloak::{Realms, TABLES};
use super::query::quoted;
use super::reader::{Part, Reader};
use super::refresh_tokens::{self, RefreshTokens};
use super::session::Session;

/// What rows of a ready layout can tell at best; `None` where only the records themselves say.
pub fn clues(layout: &SqlLayout) -> Option<Vec<Clue>> {
    match layout {
        SqlLayout::RefreshTokens { .. } => Some(refresh_tokens::clues()),
        SqlLayout::Keycloak { .. } | SqlLayout::Rows { .. } => None,
    }
}

/// Names of the partitions, in the order of [`parts`].
pub(super) fn partitions(layout: &SqlLayout) -> Vec<Text> {
    match layout {
        SqlLayout::Keycloak { .. } => TABLES.iter().map(|(table, _)| (*table).into()).collect(),
        SqlLayout::Rows { query: true, .. } => vec!["query".into()],
        SqlLayout::RefreshTokens { table, .. } | SqlLayout::Rows { table, .. } => {
            vec![table.clone()]
        }
    }
}

/// Opens each part: its tables and columns are there and may be read.
pub(super) async fn parts(session: &mut Session, source: &SqlSource) -> Result<Vec<Part>, Fault> {
    let names = partitions(&source.layout);
    let readers = match &source.layout {
        SqlLayout::Keycloak { schema, realms } => {
            keycloak(session, schema.as_deref(), realms).await?
        }
        SqlLayout::Rows {
            table,
            query,
            cursor,
            json_column,
        } => {
            let from = from(source.database, table, *query);
            vec![rows(session, table, from, *query, cursor, json_column.as_deref()).await?]
        }
        SqlLayout::RefreshTokens { table, columns } => {
            let reader = RefreshTokens::open(session, table, columns).await?;
            vec![Reader::Tokens(Box::new(reader))]
        }
    };
    Ok(names
        .into_iter()
        .zip(readers)
        .map(|(name, reader)| Part { name, reader })
        .collect())
}

async fn keycloak(
    session: &mut Session,
    schema: Option<&str>,
    wanted: &[Text],
) -> Result<Vec<Reader>, Fault> {
    let mut readers = Vec::new();
    for (table, time_column) in TABLES {
        let realms = Realms::new(session.database(), schema, table, wanted);
        let missing = realms.missing(session).await?;
        if !missing.is_empty() && missing.len() == wanted.len() {
            return Err(Fault::Waiting(format!(
                "there is no realm {}",
                missing.join(", ")
            )));
        }
        if !missing.is_empty() {
            tracing::warn!(
                realms = missing.join(", "),
                "Realms named in the configuration are not there"
            );
        }
        let reader = ByTime::open_keycloak(session, realms, time_column).await?;
        readers.push(Reader::ByTime(Box::new(reader)));
    }
    Ok(readers)
}

async fn rows(
    session: &mut Session,
    table: &str,
    from: String,
    is_query: bool,
    cursor: &SqlCursor,
    json_column: Option<&str>,
) -> Result<Reader, Fault> {
    Ok(match cursor {
        SqlCursor::Id {
            column,
            time_column,
        } => {
            let layout = IdLayout {
                table,
                from,
                is_query,
                id_column: column,
                time_column: time_column.as_deref(),
                json_column,
            };
            Reader::ById(Box::new(ById::open(session, &layout).await?))
        }
        SqlCursor::Time {
            column,
            id_column,
            overlap,
        } => {
            let layout = TimeLayout {
                table,
                from,
                time_column: column,
                id_column,
                json_column,
                overlap: *overlap,
            };
            Reader::ByTime(Box::new(ByTime::open(session, &layout).await?))
        }
    })
}

fn from(database: Database, table: &str, is_query: bool) -> String {
    if is_query {
        format!("({})", table.trim().trim_end_matches(';'))
    } else {
        quoted(database, table)
    }
}
