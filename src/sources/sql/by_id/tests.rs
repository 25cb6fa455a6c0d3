//! A long backlog with few and with many holes, on SQLite, at times that the test chooses.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::*;
use crate::config::{Secret, SqlCursor, SqlLayout, SqlSource};
use crate::model::{StartAt, Timestamp};

const NOW_MS: i64 = 1_795_000_000_000;

/// So many rows, the ids of which are so far apart.
async fn table(path: &Path, rows: u32, apart: u32) {
    let options = SqliteConnectOptions::new().filename(path);
    let mut connection = options.create_if_missing(true).connect().await.unwrap();
    let fill = format!(
        "CREATE TABLE audit (id INTEGER PRIMARY KEY, event TEXT NOT NULL);
         WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {rows})
         INSERT INTO audit SELECT n * {apart}, '{{}}' FROM n"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(fill))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

async fn opened(path: &Path) -> (Session, ById) {
    let source = SqlSource {
        database: Database::Sqlite,
        url: Secret::new(format!("sqlite:{}", path.display())),
        layout: SqlLayout::Rows {
            table: "audit".into(),
            query: false,
            cursor: SqlCursor::Id {
                column: "id".into(),
                time_column: None,
            },
            json_column: Some("event".into()),
        },
        poll_every: Duration::from_secs(1),
        statement_timeout: Duration::from_secs(10),
    };
    let mut session = Session::open(&source).await.unwrap();
    let layout = IdLayout {
        table: "audit",
        from: "audit".into(),
        is_query: false,
        id_column: "id",
        time_column: None,
        json_column: Some("event"),
    };
    let mut reader = ById::open(&mut session, &layout).await.unwrap();
    let begin = Begin {
        at: StartAt::Fresh,
        start: Start::Earliest,
        warm_up: Duration::ZERO,
        now: Timestamp::from_millisecond(NOW_MS).unwrap(),
    };
    reader.begin(&mut session, &begin).await.unwrap();
    // As of a server whose transactions do not commit in the order of their ids.
    reader.grace = limits::SQL_GAP_GRACE;
    (session, reader)
}

/// Rows that come at one moment, until no page brings more; and whether the last one says that it waits.
async fn read_at(session: &mut Session, reader: &mut ById, now_ms: i64) -> (usize, bool) {
    let mut rows = 0;
    loop {
        let page = reader.poll(session, now_ms).await.unwrap();
        rows += page.records.len();
        if !page.more {
            return (rows, page.is_stale);
        }
    }
}

#[tokio::test]
async fn a_long_backlog_without_holes_is_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    table(&path, 12_000, 1).await;
    let (mut session, mut reader) = opened(&path).await;
    assert_eq!(
        read_at(&mut session, &mut reader, NOW_MS).await,
        (12_000, false)
    );
}

#[tokio::test]
async fn before_many_holes_of_a_long_backlog_are_passed_they_have_settled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    table(&path, 12_000, 2).await;
    let (mut session, mut reader) = opened(&path).await;
    let (first, waits) = read_at(&mut session, &mut reader, NOW_MS).await;
    assert!(waits && (1000..2000).contains(&first), "{first}");
    let later = NOW_MS + ms(limits::SQL_GAP_GRACE) + 1;
    let (rest, waits) = read_at(&mut session, &mut reader, later).await;
    assert_eq!((first + rest, waits), (12_000, false));
}
