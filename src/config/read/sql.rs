//! `sql:` of a source: a database, and a layout that says what its rows are.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Text;
use crate::yaml::{Faults, Map, Node};

use super::super::{ColumnMap, Database, SqlCursor, SqlLayout, SqlSource, StoreConfig};
use super::{secret, texts};

const POLL_DEFAULT: Duration = Duration::from_secs(1);
/// Far above what an indexed read of a batch takes, far below what a person at that database would notice.
const STATEMENT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Rows of a real Keycloak appear up to 200 ms out of order; a busy application's transactions last seconds.
const OVERLAP_DEFAULT: Duration = Duration::from_secs(30);

pub(super) fn sql(node: &Node, faults: &mut Faults) -> Option<SqlSource> {
    let mut map = node.mapping(faults)?;
    let url = secret::required_placed(&mut map, "url", faults);
    let database = url.as_ref().and_then(|(url, node)| {
        let database = database(url.expose());
        if database.is_none() {
            // Nothing of it is shown: it holds a password.
            let message = "expected a URL that starts with postgres://, mysql:// or sqlite://";
            let hint = "postgres://USER:PASSWORD@HOST:5432/DATABASE; in a password write @ as %40, / as %2F, # as %23";
            faults.push(node.fault(message).with_hint(hint));
        }
        database
    });
    let layout = map.required("layout", faults, layout);
    let poll_every = map.or(
        "poll_every",
        POLL_DEFAULT,
        faults,
        Node::duration_above_zero,
    );
    let statement_timeout = map.or(
        "statement_timeout",
        STATEMENT_TIMEOUT_DEFAULT,
        faults,
        Node::duration_above_zero,
    );
    map.finish(faults);
    let ((url, node), database) = (url?, database?);
    let url = match database {
        Database::Sqlite => StoreConfig::resolve_sqlite(&url, &node.place().file),
        Database::Postgres | Database::Mysql => url,
    };
    Some(SqlSource {
        database,
        url,
        layout: layout?,
        poll_every,
        statement_timeout,
    })
}

fn database(url: &str) -> Option<Database> {
    if url.starts_with("sqlite:") {
        Some(Database::Sqlite)
    } else if is_server(url, &["postgres", "postgresql"]) {
        Some(Database::Postgres)
    } else if is_server(url, &["mysql", "mariadb"]) {
        Some(Database::Mysql)
    } else {
        None
    }
}

/// A URL of a database server; without a host it is a local socket, which the query part names.
pub(super) fn is_server(url: &str, schemes: &[&str]) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| schemes.contains(&scheme)) && url::Url::parse(url).is_ok()
}

fn layout(node: &Node, faults: &mut Faults) -> Option<SqlLayout> {
    let mut map = node.mapping(faults)?;
    let kind = map.one_kind(&["keycloak", "refresh_tokens", "table", "query"], faults);
    let layout = kind.and_then(|(kind, node)| match kind {
        "keycloak" => keycloak(node, faults),
        "refresh_tokens" => refresh_tokens(node, faults),
        "table" => rows(node, "name", faults),
        _ => rows(node, "sql", faults),
    });
    map.finish(faults);
    layout
}

fn keycloak(node: &Node, faults: &mut Faults) -> Option<SqlLayout> {
    let mut map = node.mapping(faults)?;
    let schema = map.optional("schema", faults, identifier);
    let realms = map.or("realms", Vec::new(), faults, texts);
    map.finish(faults);
    Some(SqlLayout::Keycloak { schema, realms })
}

fn refresh_tokens(node: &Node, faults: &mut Faults) -> Option<SqlLayout> {
    let mut map = node.mapping(faults)?;
    let table = map.or("table", "refresh_tokens".into(), faults, identifier);
    let columns = map.or("columns", BTreeMap::new(), faults, columns);
    map.finish(faults);
    Some(SqlLayout::RefreshTokens {
        table,
        columns: ColumnMap { columns },
    })
}

fn columns(node: &Node, faults: &mut Faults) -> Option<BTreeMap<Text, Text>> {
    const OURS: [&str; 16] = [
        "id",
        "user_id",
        "token_hash",
        "family_id",
        "device_id",
        "ip_address",
        "user_agent",
        "issued_at",
        "expires_at",
        "used_at",
        "revoked_at",
        "used",
        "revoked",
        "last_used_at",
        "refresh_count",
        "client_id",
    ];
    let mut map = node.mapping(faults)?;
    let mut columns = BTreeMap::new();
    for ours in OURS {
        let theirs = map.optional(ours, faults, identifier);
        columns.extend(theirs.map(|theirs| (ours.into(), theirs)));
    }
    map.finish(faults);
    Some(columns)
}

/// `table: { name: ..., cursor: ... }` or `query: { sql: ..., cursor: ... }`.
fn rows(node: &Node, key: &'static str, faults: &mut Faults) -> Option<SqlLayout> {
    let mut map = node.mapping(faults)?;
    let query = key == "sql";
    let table = map.required(key, faults, if query { select } else { identifier });
    let cursor = map.required("cursor", faults, cursor);
    let json_column = map.optional("json_column", faults, identifier);
    map.finish(faults);
    Some(SqlLayout::Rows {
        table: table?,
        query,
        cursor: cursor?,
        json_column,
    })
}

fn cursor(node: &Node, faults: &mut Faults) -> Option<SqlCursor> {
    let mut map = node.mapping(faults)?;
    let cursor = match map.one_kind(&["id", "time"], faults) {
        Some(("id", node)) => id_cursor(node, faults),
        Some((_, node)) => time_cursor(node, faults),
        None => None,
    };
    map.finish(faults);
    cursor
}

/// `id: event_no`, or `id: { column: event_no, time_column: happened_at }`.
fn id_cursor(node: &Node, faults: &mut Faults) -> Option<SqlCursor> {
    if node.as_str().is_some() {
        let column = identifier(node, faults)?;
        return Some(SqlCursor::Id {
            column,
            time_column: None,
        });
    }
    let mut map = node.mapping(faults)?;
    let column = map.required("column", faults, identifier);
    let time_column = map.optional("time_column", faults, identifier);
    map.finish(faults);
    Some(SqlCursor::Id {
        column: column?,
        time_column,
    })
}

fn time_cursor(node: &Node, faults: &mut Faults) -> Option<SqlCursor> {
    let mut map: Map<'_> = node.mapping(faults)?;
    let column = map.required("column", faults, identifier);
    let id_column = map.required("id_column", faults, identifier);
    let overlap = map.or(
        "overlap",
        OVERLAP_DEFAULT,
        faults,
        Node::duration_above_zero,
    );
    map.finish(faults);
    Some(SqlCursor::Time {
        column: column?,
        id_column: id_column?,
        overlap,
    })
}

/// The name of a table or column. It is quoted when used; a name with a quote in it is a mistake or worse.
fn identifier(node: &Node, faults: &mut Faults) -> Option<Text> {
    const IDENTIFIER_CHARS_MAX: usize = 200;
    let name = node.text(faults)?;
    let odd = |c: char| c.is_control() || matches!(c, '"' | '\'' | '`' | ';' | '\\');
    if name.chars().any(odd) || name.chars().count() > IDENTIFIER_CHARS_MAX {
        faults.push(node.fault("expected the name of a table or column, without quotes"));
        return None;
    }
    Some(name)
}

/// A query that stands inside another one.
fn select(node: &Node, faults: &mut Faults) -> Option<Text> {
    let query = node.text(faults)?;
    let query = query.trim().trim_end_matches(';').trim_end();
    let first = query.split_whitespace().next().unwrap_or_default();
    if !first.eq_ignore_ascii_case("select") && !first.eq_ignore_ascii_case("with") {
        faults.push(node.fault("expected a query that begins with SELECT or WITH"));
        return None;
    }
    Some(query.into())
}
