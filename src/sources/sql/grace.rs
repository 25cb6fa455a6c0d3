//! How long a missing id is waited for: what the database, the account and the table's own definition tell about ids that come
//! later than their order says.

use std::time::Duration;

use crate::config::Database;
use crate::model::limits;

use super::by_id::IdLayout;
use super::fault::Fault;
use super::query::{Query, quoted};
use super::session::Session;

/// How long a gap waits at least.
pub(super) async fn grace(session: &mut Session, layout: &IdLayout<'_>) -> Result<Duration, Fault> {
    let table = layout.table;
    let late = if layout.is_query {
        None
    } else {
        late_ids(session, table, layout.id_column).await?
    };
    if let Some(late) = &late {
        tracing::warn!(table, mend = late.mend, "Ids of this table need care: {}", late.what);
    }
    if session.database() == Database::Sqlite {
        // Ids commit in order: what is missing was rolled back or deleted.
        return Ok(Duration::ZERO);
    }
    if session.database() == Database::Mysql && !session.sees_transactions {
        tracing::warn!(
            table,
            "The account may not see running transactions (PROCESS privilege): rows of transactions longer than a minute can be missed"
        );
        return Ok(limits::SQL_GAP_GRACE_BLIND);
    }
    let is_cached = late.is_some() && session.database() == Database::Postgres;
    Ok(if is_cached { limits::SQL_GAP_GRACE_CACHED } else { limits::SQL_GAP_GRACE })
}

/// Why ids of a table may come later, or another time, than their order says.
pub(super) struct LateIds {
    pub(super) what: String,
    pub(super) mend: String,
}

/// PostgreSQL: a sequence with CACHE > 1. SQLite: no AUTOINCREMENT.
pub(super) async fn late_ids(session: &mut Session, table: &str, id_column: &str) -> Result<Option<LateIds>, Fault> {
    let database = session.database();
    match database {
        Database::Mysql => Ok(None),
        Database::Postgres => {
            let cache = Query::new(database)
                .push("SELECT seqcache::text FROM pg_sequence WHERE seqrelid = pg_get_serial_sequence(")
                .text(&quoted(database, table))
                .push(", ")
                .text(id_column)
                .push(")::regclass AND seqcache > 1");
            let cache = session.one(cache).await?.and_then(|cell| cell.integer());
            Ok(cache.map(|cache| LateIds {
                what: format!("the sequence of {table}.{id_column} has CACHE {cache}: a connection may use an id long after it was drawn"),
                mend: "ALTER SEQUENCE ... CACHE 1".into(),
            }))
        }
        Database::Sqlite => {
            let keyword = Query::new(database)
                .push("SELECT 1 FROM sqlite_master WHERE type IN ('table', 'view') AND name = ")
                .text(table)
                .push(" AND (type = 'view' OR upper(sql) LIKE '%AUTOINCREMENT%')");
            let is_safe = session.one(keyword).await?.is_some();
            Ok((!is_safe).then(|| LateIds {
                what: format!("{table}.{id_column} is no AUTOINCREMENT: after the newest row is deleted its id comes again and is not read"),
                mend: format!("declare {id_column} INTEGER PRIMARY KEY AUTOINCREMENT"),
            }))
        }
    }
}
