//! Tables of SQLite: concurrent writers, and what a start, a restart and a fault look like.

use std::sync::Arc;
use std::time::Duration;

use tokenwarden::config::{ColumnMap, SqlCursor, SqlLayout, Start};
use tokenwarden::model::RawRecord;

use crate::source_harness::{Running, texts};
use crate::sql_suite::{
    self, Writer, behind, by_id, by_time, inspected, rows, source, starting, until_idle,
};

const INSERT: &str =
    "INSERT INTO audit (at) VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) RETURNING id";

/// A file of its own, with the table.
struct Scratch {
    _folder: tempfile::TempDir,
    url: String,
}

impl Scratch {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/audit.db", folder.path().display());
        let mut writer = Writer::open(&format!("{url}?mode=rwc")).await;
        writer.command("PRAGMA journal_mode = wal").await;
        writer
            .command("CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL)")
            .await;
        writer.command("CREATE INDEX audit_at ON audit (at)").await;
        Self {
            _folder: folder,
            url,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_id_loses_nothing() {
    let scratch = Scratch::new().await;
    sql_suite::loses_nothing(&scratch.url, by_id(), INSERT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_time_loses_nothing() {
    let scratch = Scratch::new().await;
    sql_suite::loses_nothing(&scratch.url, by_time(), INSERT).await;
}

/// A stop behind one page of many, and a row that is committed among those read before: the window is read page by page,
/// and must not move past what it has still to read because newer rows are known.
#[tokio::test(flavor = "multi_thread")]
async fn by_time_a_late_row_in_the_midst_of_a_long_window_is_read_after_a_restart() {
    let scratch = Scratch::new().await;
    let mut writer = Writer::open(&scratch.url).await;
    // 3,000 rows within a second, then one ten seconds later.
    let at = |seconds: &str| {
        format!("strftime('%Y-%m-%dT%H:%M:%fZ', 1795000000 + {seconds}, 'unixepoch')")
    };
    let many = format!(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2999) INSERT INTO audit (at) SELECT {} FROM n",
        at("i / 3000.0")
    );
    writer.command(&many).await;
    writer
        .command(&format!("INSERT INTO audit (at) VALUES ({})", at("10")))
        .await;
    let everything = source(&scratch.url, rows("audit", by_time()));
    let mut running = Running::start(everything, &Arc::default());
    let mut stopped_at = running.batch().await;
    let (partition, mut read) = (stopped_at.clone(), stopped_at.records.len());
    while read < 1500 {
        stopped_at = running.batch().await;
        read += stopped_at.records.len();
    }
    running.stop().await.unwrap();
    writer
        .command(&format!("INSERT INTO audit (at) VALUES ({})", at("0.3")))
        .await;
    let claims = behind(&partition, &stopped_at.position);
    let mut running = Running::start(source(&scratch.url, rows("audit", by_time())), &claims);
    let after = places(&mut running).await;
    assert_eq!(after.len(), 3001 - read + 1);
    assert!(after.contains(&"3002".to_owned()));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_ids_begin_again_is_read_again() {
    let scratch = Scratch::new().await;
    let empty = "DELETE FROM audit; DELETE FROM sqlite_sequence WHERE name = 'audit'";
    sql_suite::reads_on_when_ids_begin_again(&scratch.url, INSERT, empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_the_newest_rows_were_deleted_none_is_lost() {
    let scratch = Scratch::new().await;
    let mut writer = Writer::open(&scratch.url).await;
    insert_minutes_ago(&mut writer, &[60, 50, 2, 1]).await;
    let running = source(&scratch.url, rows("audit", by_id()));
    let mut running = Running::start(running, &Arc::default());
    assert_eq!(places(&mut running).await, ["1", "2", "3", "4"]);
    writer.command("DELETE FROM audit WHERE id = 4").await;
    sql_suite::suspects_a_restart(&mut running).await;
    // What was read comes again and is ignored by its event id.
    assert_eq!(places(&mut running).await, ["1", "2", "3"]);
    insert_minutes_ago(&mut writer, &[0]).await;
    assert_eq!(places(&mut running).await, ["5"]);
    running.stop().await.unwrap();
}

fn numbered(time: bool) -> SqlLayout {
    let cursor = SqlCursor::Id {
        column: "id".into(),
        time_column: time.then(|| "at".into()),
    };
    rows("audit", cursor)
}

/// Rows written so many minutes ago.
async fn insert_minutes_ago(writer: &mut Writer, minutes: &[u32]) {
    for minutes in minutes {
        let at = format!("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-{minutes} minutes')");
        writer
            .command(&format!("INSERT INTO audit (at) VALUES ({at})"))
            .await;
    }
}

/// Places that came until nothing was waiting, with `~` before the muted ones.
async fn places(running: &mut Running) -> Vec<String> {
    let batches = until_idle(running).await;
    let place =
        |record: &RawRecord| format!("{}{}", if record.muted { "~" } else { "" }, record.place);
    for batch in &batches {
        running.claims.commit(batch);
    }
    batches
        .iter()
        .flat_map(|batch| &batch.records)
        .map(place)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_up_is_muted_and_what_comes_later_is_not() {
    for cursor in [by_id(), by_time()] {
        let scratch = Scratch::new().await;
        let mut writer = Writer::open(&scratch.url).await;
        // By id a margin of older rows is read too.
        insert_minutes_ago(&mut writer, &[50, 40, 5, 4]).await;
        let by_time = matches!(cursor, SqlCursor::Time { .. });
        let source = starting(
            &scratch.url,
            rows("audit", cursor),
            Start::Latest,
            Duration::from_mins(10),
        );
        let mut running = Running::start(source, &Arc::default());
        let warm = places(&mut running).await;
        assert!(warm.ends_with(&["~3".into(), "~4".into()]), "{warm:?}");
        assert!(!by_time || warm.len() == 2, "{warm:?}");
        insert_minutes_ago(&mut writer, &[0]).await;
        assert_eq!(places(&mut running).await, ["5"]);
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_warm_up_stays_muted_after_a_restart_in_the_middle_of_it() {
    for cursor in [by_id(), by_time()] {
        let scratch = Scratch::new().await;
        let mut writer = Writer::open(&scratch.url).await;
        writer.command("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200) \
            INSERT INTO audit (at) SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (i - 1300) || ' seconds') FROM n").await;
        let layout = rows("audit", cursor);
        let source = || {
            starting(
                &scratch.url,
                layout.clone(),
                Start::Latest,
                Duration::from_hours(1),
            )
        };
        let claims = Arc::default();
        let mut running = Running::start(source(), &claims);
        let first = running.batch().await;
        assert!(first.records.len() < 1200 && claims.commit(&first));
        running.stop().await.unwrap();
        insert_minutes_ago(&mut writer, &[0]).await;

        let mut running = Running::start(source(), &claims);
        let rest = places(&mut running).await;
        assert_eq!(first.records.len() + rest.len(), 1201);
        let judged: Vec<&String> = rest
            .iter()
            .filter(|place| !place.starts_with('~'))
            .collect();
        assert_eq!(judged, ["1201"]);
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_up_to_what_was_committed_are_muted() {
    for cursor in [by_id(), by_time()] {
        let scratch = Scratch::new().await;
        let mut writer = Writer::open(&scratch.url).await;
        insert_minutes_ago(&mut writer, &[9, 8]).await;
        let layout = rows("audit", cursor);
        let mut running = Running::start(source(&scratch.url, layout.clone()), &Arc::default());
        let early = running.batch().await;
        insert_minutes_ago(&mut writer, &[7]).await;
        let late = until_idle(&mut running).await.pop().unwrap();
        running.stop().await.unwrap();
        insert_minutes_ago(&mut writer, &[6]).await;

        let claims = behind(&late, &late.position);
        claims.restore(&early);
        let mut running = Running::start(source(&scratch.url, layout), &claims);
        assert_eq!(places(&mut running).await, ["~3", "4"]);
        running.stop().await.unwrap();
    }
}

/// As after an update that cannot use the saved state.
#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_remembered_the_warm_up_is_read_again_and_muted() {
    for cursor in [by_id(), by_time()] {
        let scratch = Scratch::new().await;
        let mut writer = Writer::open(&scratch.url).await;
        let layout = rows("audit", cursor);
        let warm_up = Duration::from_mins(10);
        let source = || starting(&scratch.url, layout.clone(), Start::Earliest, warm_up);
        insert_minutes_ago(&mut writer, &[50, 40, 5, 4]).await;
        let claims = Arc::default();
        let mut running = Running::start(source(), &claims);
        assert_eq!(places(&mut running).await, ["1", "2", "3", "4"]);
        running.stop().await.unwrap();
        insert_minutes_ago(&mut writer, &[0]).await;

        claims.restore_nothing();
        let mut running = Running::start(source(), &claims);
        let read = places(&mut running).await;
        let ends = ["~3", "~4", "5"].map(String::from);
        assert!(read.ends_with(&ends) && read.len() < 6, "{read:?}");
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_time_reading_begins_at_the_end() {
    let scratch = Scratch::new().await;
    let mut writer = Writer::open(&scratch.url).await;
    insert_minutes_ago(&mut writer, &[3, 2, 1]).await;
    let source = starting(
        &scratch.url,
        numbered(false),
        Start::Latest,
        Duration::from_hours(1),
    );
    let mut running = Running::start(source, &Arc::default());
    assert!(places(&mut running).await.is_empty());
    insert_minutes_ago(&mut writer, &[0]).await;
    assert_eq!(places(&mut running).await, ["4"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_column_ends_the_source_and_says_which_there_are() {
    let scratch = Scratch::new().await;
    let cursor = SqlCursor::Id {
        column: "number".into(),
        time_column: None,
    };
    let running = Running::start(source(&scratch.url, rows("audit", cursor)), &Arc::default());
    let error = running.ended().await.unwrap_err().to_string();
    assert_eq!(
        error,
        "source audit: audit has no column number; it has id, at"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/later.db", folder.path().display());
    let mut running = Running::start(source(&url, numbered(false)), &Arc::default());
    running.reports.wait_for("the file is missing").await;
    let mut writer = Writer::open(&format!("{url}?mode=rwc")).await;
    writer.command("BEGIN; CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT); INSERT INTO audit (at) VALUES ('x'); COMMIT").await;
    assert_eq!(running.records(1).await.len(), 1);
    running.reports.wait_for("up").await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_and_a_json_column_are_read_like_a_table() {
    let scratch = Scratch::new().await;
    let mut writer = Writer::open(&scratch.url).await;
    writer
        .command("CREATE TABLE log (n INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, body TEXT)")
        .await;
    writer.command(r#"INSERT INTO log (kind, body) VALUES ('token', '{"a":1}'), ('other', '{}'), ('token', 'no json')"#).await;
    let layout = SqlLayout::Rows {
        table: "SELECT n, body FROM log WHERE kind = 'token';".into(),
        query: true,
        cursor: SqlCursor::Id {
            column: "n".into(),
            time_column: None,
        },
        json_column: Some("body".into()),
    };
    let mut running = Running::start(source(&scratch.url, layout), &Arc::default());
    assert_eq!(texts(&running.records(2).await), [r#"{"a":1}"#, "no json"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_tokens_becomes_events_and_a_restart_repeats_none() {
    let scratch = Scratch::new().await;
    let mut writer = Writer::open(&scratch.url).await;
    writer.command("CREATE TABLE refresh_tokens (id INTEGER PRIMARY KEY, user_id TEXT, token TEXT, token_hash TEXT, family_id TEXT, \
        ip_address TEXT, issued_at TEXT, expires_at TEXT, used_at TEXT, revoked INTEGER NOT NULL DEFAULT 0)").await;
    let insert = |id: u32, at: &str| {
        format!(
            "INSERT INTO refresh_tokens VALUES ({id}, 'u', 'RAW{id}', 'h{id}', 'f', '192.0.2.{id}', '{at}', '2999-01-01T00:00:00Z', NULL, 0)"
        )
    };
    writer.command(&insert(1, "2026-11-20T10:00:00Z")).await;
    let layout = SqlLayout::RefreshTokens {
        table: "refresh_tokens".into(),
        columns: ColumnMap::default(),
    };
    let claims = Arc::default();
    let mut running = Running::start(source(&scratch.url, layout.clone()), &claims);
    let mut events = running.records(1).await;
    writer.command(&format!("BEGIN; UPDATE refresh_tokens SET used_at = '2026-11-20T11:00:00Z' WHERE id = 1; {}; COMMIT", insert(2, "2026-11-20T11:00:00Z"))).await;
    events.extend(running.records(1).await);
    running.stop().await.unwrap();

    // While nobody reads: the consumed token is used again, and the family is revoked.
    writer.command("UPDATE refresh_tokens SET used_at = '2026-11-20T12:00:00Z' WHERE id = 1; UPDATE refresh_tokens SET revoked = 1").await;
    let mut running = Running::start(source(&scratch.url, layout), &claims);
    events.extend(running.records(3).await);
    assert!(places(&mut running).await.is_empty());
    running.stop().await.unwrap();

    let told: Vec<String> = events
        .iter()
        .map(|record| {
            let event: serde_json::Value = serde_json::from_slice(&record.payload).unwrap();
            assert!(
                !record.muted && !event.to_string().contains("RAW"),
                "{event}"
            );
            let member = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
            ["event_id", "type", "token_id", "new_token_id", "ip_address"]
                .map(member)
                .join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "rt:1:issued issue - h1 192.0.2.1",
            "rt:2:rotated refresh h1 h2 192.0.2.2",
            "rt:1:used:1795176000000000 refresh h1 - -",
            "rt:1:revoked:true revoke h1 - -",
            "rt:2:revoked:true revoke h2 - -",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_what_a_table_lacks() {
    let scratch = Scratch::new().await;
    let mut writer = Writer::open(&scratch.url).await;
    writer
        .command("CREATE TABLE loose (id INTEGER, at TEXT)")
        .await;
    let found = inspected(&scratch.url, rows("loose", by_id())).await;
    assert!(
        found
            .iter()
            .any(|what| what.contains("no index of loose begins with id")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|what| what.contains("no AUTOINCREMENT")),
        "{found:?}"
    );
    let found = inspected(&scratch.url, rows("audit", by_time())).await;
    assert_eq!(found, ["the tables and columns are there and can be read"]);
}
