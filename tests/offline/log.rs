//! A log that nobody takes any more: the disk is full, or the collector at the other end of the pipe is gone.
#![expect(clippy::expect_used, reason = "a step that fails fails the test")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::daemon::{Home, http_client as client};

const CONFIG: &str = "http: { ops: { listen: 127.0.0.1:0 } }
sources: [{ name: log, file: { path: events.jsonl, poll_every: 20ms }, format: tokenwarden, start: earliest }]
store: { url: 'sqlite://tokenwarden.db' }
";

const EVENT: &str = r#"{"event_id":"e1","time":"2026-11-20T08:00:00Z","type":"refresh","outcome":"success","issuer":"idp","user_id":"alice","token_id":"t1"}"#;

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_nothing() {
    let home = Home::new(CONFIG);
    home.write("events.jsonl", "");
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_tokenwarden"))
        .args(["run", "-c"])
        .arg(home.path().join("tokenwarden.yaml"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the daemon");
    let log = BufReader::new(daemon.stderr.take().expect("its log"));
    let mut lines = log.lines().map_while(Result::ok);
    let opened = lines.find(|line| line.contains("Listener ops is open"));
    let opened = opened.expect("a listener");
    let (_, address) = opened.rsplit_once("address=").expect("its address");
    drop(lines);

    // The other end of the log is closed by now. Every start says more, and so does whatever it reads.
    home.write("events.jsonl", &format!("no event\n{EVENT}\n"));
    let url = format!("http://{address}/metrics");
    let has_read = async || loop {
        let metrics = client().get(&url).send().await.expect("an answer");
        let metrics = metrics.text().await.expect("metrics");
        if metrics.contains("tokenwarden_events_total{source=\"log\"} 1") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let read = tokio::time::timeout(Duration::from_mins(1), has_read()).await;
    assert!(read.is_ok(), "{:?}", daemon.try_wait());
    let stopped = Command::new("kill").arg(daemon.id().to_string()).status();
    assert!(stopped.expect("kill").success());
    let ended = daemon.wait().expect("its end");
    assert!(ended.success(), "{ended}");
}
