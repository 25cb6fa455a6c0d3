//! A Prometheus of its own that scrapes every second, with the shipped rules, and promtool.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokenwarden::model::Timestamp;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::daemon::{PATIENCE, http_client};
use crate::keycloak_realm::env;

const LOOK_EVERY: Duration = Duration::from_millis(200);
const MINUTE_S: i64 = 60;

/// Ended when dropped.
pub(crate) struct Prometheus {
    folder: tempfile::TempDir,
    url: String,
    child: Child,
    http: reqwest::Client,
    targets: Vec<Value>,
}

/// A series of the past: growing evenly from nothing to a sum, within so many hours ago.
pub(crate) struct Past {
    pub(crate) series: &'static str,
    pub(crate) hours_ago: std::ops::Range<i64>,
    pub(crate) sum: i64,
}

impl Prometheus {
    /// With a past that it did not see, and nothing to scrape yet.
    pub(crate) async fn start(past: &[Past]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        remember(folder.path(), past).await;
        let address = free_address();
        fs::write(folder.path().join("targets.json"), "[]").unwrap();
        fs::write(folder.path().join("prometheus.yaml"), config()).unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let log = fs::File::create(file("log")).unwrap();
        let child = Command::new(env("TW_PROMETHEUS"))
            .arg(format!("--config.file={}", file("prometheus.yaml")))
            .arg(format!("--storage.tsdb.path={}", file("data")))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut prometheus = Self {
            folder,
            url: format!("http://{address}"),
            child,
            http: http_client(),
            targets: Vec::new(),
        };
        prometheus.wait_ready().await;
        prometheus
    }

    async fn wait_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let ready = format!("{}/-/ready", self.url);
        while !matches!(self.http.get(&ready).send().await, Ok(answer) if answer.status().is_success())
        {
            let ended = self.child.try_wait().unwrap();
            let in_vain = ended.is_some() || Instant::now() > deadline;
            assert!(!in_vain, "Prometheus is not ready:\n{}", self.log());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Scrapes this address from now on, whether or not somebody is there.
    pub(crate) fn announce(&mut self, job: &str, target: &str) {
        let group = serde_json::json!({ "targets": [target], "labels": { "job": job } });
        self.targets.push(group);
        let targets = serde_json::to_string(&self.targets).unwrap();
        // Put in its place whole: Prometheus may look at any time.
        let new = self.folder.path().join("targets.new");
        fs::write(&new, targets).unwrap();
        fs::rename(&new, self.folder.path().join("targets.json")).unwrap();
    }

    /// Waits until this address has been scraped.
    pub(crate) async fn scrapes(&self, target: &str) {
        let up = format!("up{{instance=\"{target}\"}} == 1");
        self.answers(vec![(format!("scrape of {target}"), up)])
            .await;
    }

    /// Asks until every query has been answered with a number; fails naming those that never were.
    pub(crate) async fn answers(&self, mut queries: Vec<(String, String)>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut unanswered = Vec::new();
            for (shown, query) in queries {
                if !has_number(&self.ask(&shown, &query).await) {
                    unanswered.push((shown, query));
                }
            }
            if unanswered.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "no data for {unanswered:#?}\n{}",
                self.log()
            );
            queries = unanswered;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn ask(&self, shown: &str, query: &str) -> Value {
        let encoded: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}")).await;
        assert_eq!(answer["status"], "success", "{shown}: {query}: {answer}");
        answer
    }

    /// Every shipped rule as Prometheus has read it: name, expression, and whether it records.
    pub(crate) async fn rules(&self) -> Vec<Rule> {
        let answer = self.get("/api/v1/rules").await;
        let groups = answer["data"]["groups"].as_array().unwrap();
        let rules = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap());
        rules
            .map(|rule| {
                assert!(rule["health"] != "err", "{rule}");
                Rule {
                    name: rule["name"].as_str().unwrap().to_owned(),
                    query: rule["query"].as_str().unwrap().to_owned(),
                    records: rule["type"] == "recording",
                }
            })
            .collect()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await;
        answer.unwrap().json().await.unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) query: String,
    pub(crate) records: bool,
}

/// A quotient of nothing by nothing is no data.
fn has_number(answer: &Value) -> bool {
    let series = answer["data"]["result"].as_array().unwrap();
    let value = |series: &Value| series["value"][1].as_str().unwrap().parse::<f64>().unwrap();
    series.iter().any(|series| value(series).is_finite())
}

pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn config() -> String {
    let rules = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         rule_files: [{rules}/alerts.yaml, {rules}/rules.yaml]\n\
         scrape_configs:\n  - job_name: tokenwarden\n    file_sd_configs: [{{ files: [targets.json] }}]\n",
        rules = rules.display()
    )
}

/// Writes what happened before as blocks of its database.
async fn remember(folder: &Path, past: &[Past]) {
    let now = Timestamp::now().as_second();
    let mut text = String::new();
    for Past {
        series,
        hours_ago,
        sum,
    } in past
    {
        let name = series.split('{').next().unwrap().trim_end_matches("_total");
        writeln!(text, "# TYPE {name} counter").unwrap();
        let (begin, end) = (now - hours_ago.end * 3600, now - hours_ago.start * 3600);
        for time in (begin..=end).step_by(usize::try_from(MINUTE_S).unwrap()) {
            let value = sum * (time - begin) / (end - begin);
            writeln!(text, "{series} {value} {time}").unwrap();
        }
    }
    text.push_str("# EOF\n");
    let (written, data) = (folder.join("past"), folder.join("data"));
    fs::write(&written, text).unwrap();
    fs::create_dir(&data).unwrap();
    let output = Command::new(env("TW_PROMTOOL"))
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&written, &data])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// What `promtool check metrics` says about a page: nothing when it is clean.
pub(crate) async fn faults_of(page: &str) -> String {
    let mut promtool = Command::new(env("TW_PROMTOOL"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(page.as_bytes()).await.unwrap();
    drop(input);
    let output = promtool.wait_with_output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    if output.status.success() {
        said
    } else {
        format!("{}: {said}", output.status)
    }
}
