//! The followed file: rotation, truncation, restart, partial lines.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokenwarden::config::{FileSource, Start};
use tokenwarden::model::{Timestamp, limits};
use tokenwarden::sources::file::FileTail;

use crate::source_harness::{MemoryClaims, Running, texts};

struct Log {
    folder: TempDir,
    claims: Arc<MemoryClaims>,
}

impl Log {
    fn new(text: &str) -> Self {
        let log = Self {
            folder: TempDir::new().unwrap(),
            claims: Arc::default(),
        };
        log.append(text);
        log
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("events.log")
    }

    fn append(&self, text: &str) {
        append(&self.path(), text);
    }

    /// As logrotate does it: the old ones move up, the writer makes a new file.
    fn rotate(&self) {
        let numbered = |number: u32| self.folder.path().join(format!("events.log.{number}"));
        if numbered(1).exists() {
            fs::rename(numbered(1), numbered(2)).unwrap();
        }
        fs::rename(self.path(), numbered(1)).unwrap();
    }

    fn follow(&self, start: Start, warm_up: Duration) -> Running {
        let file = FileSource {
            path: self.path(),
            poll_every: Duration::from_millis(20),
        };
        let source = FileTail::new("log".into(), file, start, warm_up);
        Running::start(source, &self.claims)
    }

    fn read_all(&self) -> Running {
        self.follow(Start::Earliest, Duration::ZERO)
    }
}

fn append(path: &Path, text: &str) {
    let mut file = fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn follows_a_growing_file_and_ticks_at_its_end() {
    let log = Log::new("one\ntwo\n");
    let mut running = log.read_all();
    assert_eq!(texts(&running.records(2).await), ["one", "two"]);
    running.tick().await;
    log.append("three\n");
    let records = running.records(1).await;
    assert_eq!(
        (texts(&records), &*records[0].place),
        (vec!["three".into()], "byte 8")
    );
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_partial_line_waits_for_its_newline_even_over_a_restart() {
    let log = Log::new("one\ntw");
    let mut running = log.read_all();
    assert_eq!(texts(&running.records(1).await), ["one"]);
    running.tick().await;
    running.stop().await.unwrap();
    log.append("o\n");
    let mut running = log.read_all();
    assert_eq!(texts(&running.records(1).await), ["two"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn latest_reads_the_file_muted_to_warm_up() {
    let log = Log::new("old\n");
    let mut running = log.follow(Start::Latest, Duration::from_hours(24));
    assert_eq!(texts(&running.records(1).await), ["~old"]);
    log.append("new\n");
    assert_eq!(texts(&running.records(1).await), ["new"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn latest_without_warm_up_begins_with_the_next_whole_line() {
    let log = Log::new("old\nhalf");
    let mut running = log.follow(Start::Latest, Duration::ZERO);
    running.tick().await;
    log.append(" a line\nnew\n");
    assert_eq!(texts(&running.records(1).await), ["new"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn the_old_file_is_finished_before_the_new_one_is_begun() {
    let log = Log::new("one\n");
    let mut running = log.read_all();
    assert_eq!(texts(&running.records(1).await), ["one"]);
    log.rotate();
    append(
        &log.folder.path().join("events.log.1"),
        "two\nthree without end",
    );
    log.append("four\n");
    let records = running.records(3).await;
    assert_eq!(texts(&records), ["two", "three without end", "four"]);
    log.rotate();
    log.append("five\n");
    assert_eq!(texts(&running.records(1).await), ["five"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_rotated_while_we_were_away_is_read_first() {
    let log = Log::new("one\n");
    let mut running = log.read_all();
    running.records(1).await;
    running.stop().await.unwrap();
    log.append("two\n");
    log.rotate();
    log.append("three\n");
    log.rotate();
    log.append("four\n");
    let mut running = log.read_all();
    assert_eq!(texts(&running.records(3).await), ["two", "three", "four"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_truncated_file_is_read_from_its_beginning() {
    let log = Log::new("one\ntwo\n");
    let mut running = log.read_all();
    running.records(2).await;
    fs::write(log.path(), "new\n").unwrap();
    assert_eq!(texts(&running.records(1).await), ["new"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_file_that_was_written_anew_while_we_were_away_is_read_from_its_beginning() {
    let log = Log::new("one\ntwo\n");
    let mut running = log.read_all();
    running.records(2).await;
    running.stop().await.unwrap();
    fs::write(log.path(), "a longer first line\nsecond\n").unwrap();
    let mut running = log.read_all();
    let records = running.records(2).await;
    assert_eq!(texts(&records), ["a longer first line", "second"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_missing_file_is_reported_and_read_when_it_comes() {
    let log = Log::new("");
    fs::remove_file(log.path()).unwrap();
    let mut running = log.follow(Start::Latest, Duration::ZERO);
    let report = running.reports.wait_for("down").await;
    assert!(report.contains("events.log: No such file"), "{report}");
    log.append("all of it is new\n");
    assert_eq!(texts(&running.records(1).await), ["all of it is new"]);
    assert_eq!(running.reports.all().last().unwrap(), "up");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_endless_line_does_not_stop_the_others() {
    let log = Log::new(&"x".repeat(3 * limits::RECORD_BYTES_MAX));
    log.append("\nnext\n");
    let mut running = log.read_all();
    let records = running.records(2).await;
    assert_eq!(records[0].payload.len(), limits::RECORD_BYTES_MAX + 1);
    assert_eq!(records[1].payload, b"next");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_in_the_middle_of_the_warm_up_goes_on_with_it() {
    let log = Log::new(&"old line\n".repeat(limits::BATCH_RECORDS_MAX * 12));
    let mut running = log.follow(Start::Latest, Duration::from_hours(1));
    let first = running.batch().await;
    assert!(running.claims.commit(&first));
    running.stop().await.unwrap();
    log.append("new line\n");
    let mut running = log.follow(Start::Latest, Duration::from_hours(1));
    let left = limits::BATCH_RECORDS_MAX * 12 - first.records.len() + 1;
    let records = running.records(left).await;
    let judged: Vec<String> = texts(&records)
        .into_iter()
        .filter(|it| !it.starts_with('~'))
        .collect();
    assert_eq!(judged, ["new line"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_file_cannot_start_at_a_time() {
    let log = Log::new("one\n");
    let running = log.follow(Start::At(Timestamp::UNIX_EPOCH), Duration::ZERO);
    let error = running.ended().await.unwrap_err();
    assert!(error.0.contains("write `earliest`"), "{error}");
}

#[tokio::test]
async fn nothing_is_read_before_the_store_has_said_from_where() {
    let log = Log::new("one\n");
    log.claims.fail_next();
    let mut running = log.read_all();
    assert_eq!(texts(&running.records(1).await), ["one"]);
    assert_eq!(running.reports.all(), ["down: the store is away", "up"]);
    running.stop().await.unwrap();
}
