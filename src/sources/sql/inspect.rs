//! What `check --online` asks a database: may we read, can we write (we should not), is there an index, is the clock right.

use crate::config::{Database, SqlCursor, SqlLayout, SqlSource};
use crate::model::{Finding, Timestamp};

use super::fault::Fault;
use super::keycloak::{Realms, TABLES, named};
use super::query::{Query, quoted};
use super::reader::Reader;
use super::refresh_tokens::blind;
use super::session::Session;
use super::{grace, layout};

/// A clock this far off spoils the comparison of events from several sources.
const CLOCK_OFF_S: i64 = 5;

/// Asks the database of a source. Never fails: what does not work is a finding.
pub async fn inspect(source: &SqlSource, now: Timestamp) -> Vec<Finding> {
    let mut session = match Session::open(source).await {
        Ok(session) => session,
        Err(fault) => return vec![unreadable("the database cannot be opened", &fault)],
    };
    let mut findings = match layout::parts(&mut session, source).await {
        Ok(parts) => {
            let mut findings = vec![Finding::fine("the tables and columns are there and can be read")];
            findings.extend(parts.iter().flat_map(|part| blindness(&part.reader)));
            findings
        }
        Err(fault) => return vec![unreadable("the tables cannot be read", &fault)],
    };
    for ask in [Ask::Clock, Ask::Privileges, Ask::Indexes, Ask::Particulars] {
        match ask.answer(&mut session, source, now).await {
            Ok(found) => findings.extend(found),
            Err(fault) => findings.push(unreadable("the database did not answer a question", &fault)),
        }
    }
    findings
}

fn unreadable(what: &str, fault: &Fault) -> Finding {
    let (Fault::Waiting(reason) | Fault::Lasting(reason)) = fault;
    Finding::fault(format!("{what}: {reason}"), "mend what it says, then check again")
}

fn blindness(reader: &Reader) -> Vec<Finding> {
    let Reader::Tokens(tokens) = reader else {
        return Vec::new();
    };
    let names = tokens.names();
    let one = |(column, what): (&str, &str)| Finding::advice(what, format!("add a column {column}, or name it under `columns:`"));
    blind(&names).into_iter().map(one).collect()
}

enum Ask {
    Clock,
    Privileges,
    Indexes,
    Particulars,
}

impl Ask {
    async fn answer(&self, session: &mut Session, source: &SqlSource, now: Timestamp) -> Result<Vec<Finding>, Fault> {
        match self {
            Self::Clock => clock(session, now).await,
            Self::Privileges => privileges(session, source).await,
            Self::Indexes => indexes(session, source).await,
            Self::Particulars => particulars(session, source).await,
        }
    }
}

async fn clock(session: &mut Session, now: Timestamp) -> Result<Vec<Finding>, Fault> {
    let there_us = session.begin().await?.now_us;
    session.end().await?;
    let ahead_s = (there_us - now.as_microsecond()) / 1_000_000;
    Ok(if ahead_s.abs() < CLOCK_OFF_S {
        Vec::new()
    } else {
        vec![Finding::fault(
            format!("the database's clock differs by {ahead_s} s from this machine's"),
            "let both follow a time server",
        )]
    })
}

/// Tables read directly, and for each the column that an index should begin with.
fn tables(source: &SqlSource) -> Vec<(String, Option<String>)> {
    match &source.layout {
        SqlLayout::Keycloak { schema, .. } => TABLES
            .iter()
            .map(|(table, _)| (named(source.database, schema.as_deref(), table), Some("realm_id".to_owned())))
            .collect(),
        SqlLayout::RefreshTokens { table, .. } => vec![(table.to_string(), None)],
        SqlLayout::Rows { query: true, .. } => Vec::new(),
        SqlLayout::Rows { table, cursor, .. } => {
            let (SqlCursor::Id { column, .. } | SqlCursor::Time { column, .. }) = cursor;
            vec![(table.to_string(), Some(column.to_string()))]
        }
    }
}

async fn privileges(session: &mut Session, source: &SqlSource) -> Result<Vec<Finding>, Fault> {
    match source.database {
        Database::Postgres => privileges_postgres(session, source).await,
        Database::Mysql => privileges_mysql(session).await,
        // The file's permissions are those of the process; the connection is opened read-only.
        Database::Sqlite => Ok(Vec::new()),
    }
}

async fn privileges_postgres(session: &mut Session, source: &SqlSource) -> Result<Vec<Finding>, Fault> {
    let mut findings = Vec::new();
    for (table, _) in tables(source) {
        let query = Query::new(Database::Postgres)
            .push("SELECT current_user::text WHERE has_table_privilege(")
            .text(&quoted(Database::Postgres, &table))
            .push(", 'INSERT, UPDATE, DELETE, TRUNCATE')");
        let account = session.one(query).await?.and_then(|cell| cell.text());
        findings.extend(account.map(|account| {
            Finding::fault(
                format!("the account {account} can write to {table}: whoever gets its password can change the evidence"),
                format!("use an account that has nothing but SELECT: GRANT SELECT ON {table} TO tokenwarden_reader"),
            )
        }));
    }
    Ok(findings)
}

async fn privileges_mysql(session: &mut Session) -> Result<Vec<Finding>, Fault> {
    const WRITING: [&str; 6] = ["ALL PRIVILEGES", "INSERT", "UPDATE", "DELETE", "DROP", "ALTER"];
    let grants = session.rows(Query::new(Database::Mysql).push("SHOW GRANTS").once()).await?;
    let grants = grants.iter().filter_map(|row| row.first()?.text());
    let writes = |grant: &String| {
        let (what, _) = grant.split_once(" ON ").unwrap_or((grant, ""));
        WRITING.iter().any(|writing| what.contains(writing))
    };
    Ok(grants.filter(writes).map(|grant| {
        // A grant can hold the hash of the password.
        let shown = grant.split(" IDENTIFIED").next().unwrap_or_default().to_owned();
        Finding::fault(
            format!("the account can write ({shown}): whoever gets its password can change the evidence"),
            "use an account that has nothing but SELECT on the tables, and PROCESS",
        )
    }).collect())
}

async fn indexes(session: &mut Session, source: &SqlSource) -> Result<Vec<Finding>, Fault> {
    let mut findings = Vec::new();
    for (table, column) in tables(source) {
        let Some(column) = column else { continue };
        let found = session.one(index(source.database, &table, &column)).await?;
        if found.is_none() {
            findings.push(Finding::fault(
                format!("no index of {table} begins with {column}: every poll reads the whole table"),
                format!("CREATE INDEX ON {table} ({column})"),
            ));
        }
    }
    Ok(findings)
}

/// Gives a row when an index begins with the column.
fn index(database: Database, table: &str, column: &str) -> Query {
    let query = Query::new(database);
    match database {
        Database::Postgres => query
            .push("SELECT '1' FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] WHERE i.indrelid = ")
            .text(&quoted(database, table))
            .push("::regclass AND a.attname = ")
            .text(column)
            .push(" UNION ALL SELECT '1' FROM pg_class WHERE relkind IN ('v', 'm', 'f') AND oid = ")
            .text(&quoted(database, table))
            .push("::regclass LIMIT 1"),
        Database::Mysql => {
            let (schema, table) = table.split_once('.').map_or((None, table), |(schema, table)| (Some(schema), table));
            let query = query.push("SELECT '1' FROM information_schema.statistics WHERE seq_in_index = 1 AND table_schema = ");
            let query = match schema {
                Some(schema) => query.text(schema),
                None => query.push("DATABASE()"),
            };
            query.push(" AND table_name = ").text(table).push(" AND column_name = ").text(column).push(" LIMIT 1")
        }
        Database::Sqlite => query
            .push("SELECT 1 FROM pragma_table_info(")
            .text(table)
            .push(") WHERE pk = 1 AND lower(name) = lower(")
            .text(column)
            .push(") UNION ALL SELECT 1 FROM pragma_index_list(")
            .text(table)
            .push(") AS list, pragma_index_info(list.name) AS part WHERE part.seqno = 0 AND lower(part.name) = lower(")
            .text(column)
            .push(") LIMIT 1"),
    }
}

async fn particulars(session: &mut Session, source: &SqlSource) -> Result<Vec<Finding>, Fault> {
    let mut findings = Vec::new();
    if source.database == Database::Mysql && !session.sees_transactions {
        findings.push(Finding::advice(
            "the account may not see running transactions: rows of transactions longer than a minute can be missed",
            "GRANT PROCESS ON *.* TO the account",
        ));
    }
    match &source.layout {
        SqlLayout::Keycloak { schema, realms } => {
            let (table, _) = TABLES[0];
            let missing = Realms::new(source.database, schema.as_deref(), table, realms).missing(session).await?;
            findings.extend(missing.into_iter().map(|realm| {
                Finding::fault(format!("there is no realm {realm}"), "write its name (or id) as Keycloak shows it")
            }));
        }
        SqlLayout::Rows { table, query: false, cursor: SqlCursor::Id { column, .. }, .. } => {
            findings.extend(grace::late_ids(session, table, column).await?.map(|late| Finding::advice(late.what, late.mend)));
        }
        SqlLayout::Rows { .. } | SqlLayout::RefreshTokens { .. } => {}
    }
    Ok(findings)
}
