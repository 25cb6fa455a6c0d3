//! A real Prometheus scrapes the `ops` listener: the page is clean, and every query of dashboards and rules finds data.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::env;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokenwarden::admin::{self, Guard, Health, Listening, Ops, Readiness, Tls};
use tokenwarden::metrics::{Known, Metrics, Names, registry, scrape};
use tokenwarden::model::Mode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// How often to look before giving up, ten times a second.
const LOOKS: usize = 600;

struct Page(Box<dyn Fn() -> String + Send + Sync>);

impl Health for Page {
    fn metrics(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Ok((self.0)()) })
    }

    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }
}

/// Every metric with every label set that is known, and growing, as in a daemon at work.
fn page() -> Page {
    let (registry, metrics) = registry().unwrap();
    metrics.prepare(&Known {
        sources: vec!["audit".into()],
        webhooks: vec!["auth0".into()],
        rules: vec!["token-reuse".into()],
        receivers: vec!["oncall".into()],
        parts: vec!["store".into()],
        names: Names::new(["web".into()], ["shop".into()]),
    });
    metrics.configured(
        "abc",
        &[("rules/token-reuse.yaml".into(), "def".into())],
        Mode::Alert,
    );
    metrics.ready.set(1);
    Page(Box::new(move || {
        work(&metrics);
        scrape(&registry).unwrap()
    }))
}

fn work(metrics: &Metrics) {
    metrics
        .refreshes_total
        .with_label_values(&["web", "shop", "success"])
        .inc_by(3);
    metrics
        .refreshes_total
        .with_label_values(&["web", "shop", "failure"])
        .inc();
    metrics
        .refresh_interval_seconds
        .with_label_values(&["web"])
        .observe(290.0);
    metrics
        .action_attempts_total
        .with_label_values(&["revoke_family", "done"])
        .inc();
    metrics
        .records_rejected_total
        .with_label_values(&["audit", "schema"])
        .inc();
    metrics
        .source_lag_records
        .with_label_values(&["audit", "0"])
        .set(3);
    metrics
        .geoip_build_timestamp_seconds
        .with_label_values(&["city"])
        .set(1.0);
    metrics.watermark_timestamp_seconds.set(1_795_000_000.0);
    for latency in [
        &metrics.detection_latency_seconds,
        &metrics.containment_latency_seconds,
    ] {
        latency.observe(0.4);
    }
    for work in [
        &metrics.engine_batch_duration_seconds,
        &metrics.commit_duration_seconds,
    ] {
        work.observe(0.002);
    }
}

struct Daemon {
    address: SocketAddr,
    cancel: CancellationToken,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn daemon() -> Daemon {
    let listening = Listening::open("ops", "127.0.0.1:0".parse().unwrap(), None)
        .await
        .unwrap();
    let (address, cancel) = (listening.address().unwrap(), CancellationToken::new());
    let ops = Ops {
        health: Arc::new(page()),
        guard: Guard::new(address, None).unwrap(),
    };
    tokio::spawn(listening.serve(admin::ops(ops), cancel.clone()));
    Daemon { address, cancel }
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn the_page_is_what_promtool_expects() {
    let daemon = daemon().await;
    let page = get(daemon.address, "/metrics").await;
    let mut promtool = Command::new(env::var("TW_PROMTOOL").unwrap())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .await
        .unwrap();
    let output = promtool.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn every_query_of_the_dashboards_is_answered_with_data() {
    let daemon = daemon().await;
    let folder = tempfile::tempdir().unwrap();
    let (address, _prometheus) = prometheus(folder.path(), daemon.address).await;
    let queries = dashboard_queries();
    assert!(queries.len() > 20);
    for (shown, query) in queries {
        let mut answer = Value::Null;
        let mut found = false;
        for _ in 0..LOOKS {
            answer = ask(address, &query).await;
            assert_eq!(answer["status"], "success", "{shown}: {query}: {answer}");
            found = answer["data"]["result"]
                .as_array()
                .is_some_and(|series| !series.is_empty());
            if found {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(found, "{shown}: no data for {query}: {answer}");
    }
    // The alerts are loaded by the same Prometheus: none is broken.
    let rules: Value = serde_json::from_str(&get(address, "/api/v1/rules").await).unwrap();
    let groups = rules["data"]["groups"].as_array().unwrap();
    let evaluated: Vec<&Value> = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    assert!(evaluated.len() > 20);
    for rule in evaluated {
        assert!(rule["health"] != "err", "{rule}");
    }
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn the_ingest_listener_speaks_tls() {
    let tls = Tls {
        certificate: path("TW_TLS_CERT"),
        key: path("TW_TLS_KEY"),
    };
    let listening = Listening::open("ingest", "127.0.0.1:0".parse().unwrap(), Some(&tls))
        .await
        .unwrap();
    let (address, cancel) = (listening.address().unwrap(), CancellationToken::new());
    let router = axum::Router::new().route("/", axum::routing::get(|| async { "secured" }));
    tokio::spawn(listening.serve(router, cancel.clone()));
    // Somebody who never speaks TLS holds nobody up.
    let _silent = TcpStream::connect(address).await.unwrap();
    let curl = Command::new("curl")
        .args(["-sS", "--max-time", "60", "--cacert"])
        .arg(path("TW_SMTP_CA"))
        .arg(format!("https://localhost:{}/", address.port()))
        .args([
            "--resolve",
            &format!("localhost:{}:127.0.0.1", address.port()),
        ])
        .output()
        .await
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&curl.stdout),
        "secured",
        "{}",
        String::from_utf8_lossy(&curl.stderr)
    );
    cancel.cancel();

    let wrong = Tls {
        certificate: path("TW_TLS_KEY"),
        key: path("TW_TLS_KEY"),
    };
    let error = Listening::open("ingest", "127.0.0.1:0".parse().unwrap(), Some(&wrong))
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("server.key"), "{error}");
}

fn path(variable: &str) -> PathBuf {
    env::var(variable).unwrap().into()
}

/// A Prometheus of its own that scrapes every second, with the shipped rules; ended when dropped.
async fn prometheus(folder: &Path, target: SocketAddr) -> (SocketAddr, Child) {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let rules = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         rule_files: [{rules}/alerts.yaml, {rules}/rules.yaml]\n\
         scrape_configs:\n  - job_name: tokenwarden\n    static_configs: [{{ targets: ['{target}'] }}]\n",
        rules = rules.display()
    );
    fs::write(folder.join("prometheus.yaml"), config).unwrap();
    let log = fs::File::create(folder.join("log")).unwrap();
    let mut child = Command::new(env::var("TW_PROMETHEUS").unwrap())
        .arg(format!(
            "--config.file={}",
            folder.join("prometheus.yaml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("data").display()
        ))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    for _ in 0..LOOKS {
        if TcpStream::connect(address).await.is_ok()
            && get(address, "/-/ready").await.contains("Ready")
        {
            return (address, child);
        }
        assert!(
            child.try_wait().unwrap().is_none(),
            "{}",
            fs::read_to_string(folder.join("log")).unwrap()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!(
        "Prometheus is not ready: {}",
        fs::read_to_string(folder.join("log")).unwrap()
    );
}

async fn ask(prometheus: SocketAddr, query: &str) -> Value {
    let encoded: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
    serde_json::from_str(&get(prometheus, &format!("/api/v1/query?query={encoded}")).await).unwrap()
}

/// The body of an answer, as HTTP/1.0 so that it is not chunked.
async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Every query of the dashboards with its variables filled in as Grafana does.
fn dashboard_queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for entry in fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("dashboards")).unwrap()
    {
        let dashboard: Value =
            serde_json::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().unwrap();
                let query = query
                    .replace("$__rate_interval", "10s")
                    .replace("$__range", "1h");
                let query = query.replace("$job", ".+").replace("$instance", ".+");
                queries.push((panel["title"].to_string(), query));
            }
        }
    }
    queries
}
