//! Tables of SQLite: concurrent writers, and what a start, a restart and a fault look like.

use crate::sql_suite::{self, Writer, by_id, by_time};

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
