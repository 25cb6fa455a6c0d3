//! What the real daemon tells a real Prometheus: its pages are clean, every metric is set by somebody, and every query of
//! the dashboards and of the shipped rules finds data.
//!
//! A healthy daemon with all that happens to one answers the dashboards. Alerts are about what should not be: two others
//! are brought into these states, one whose surroundings fail and one that falls behind.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tokenwarden::admin::{Listening, Tls};
use tokenwarden::metrics::Metrics;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::ailing::{Failing, Lagging, Waiting};
use crate::healthy::Healthy;
use crate::prometheus_server::{Past, Prometheus, Rule, faults_of};

/// What a daemon that runs for two minutes cannot have seen: what was yesterday.
const PAST: &[Past] = &[
    Past {
        series: "tokenwarden_records_received_total{job=\"failing\",source=\"broken\"}",
        hours_ago: 24..25,
        sum: 1000,
    },
    Past {
        series: "tokenwarden_detections_total{job=\"tokenwarden\",rule=\"token-reuse\",severity=\"critical\"}",
        hours_ago: 2..20,
        sum: 1,
    },
];

/// The alert about there being no daemon at all.
const DOWN: &str = "TokenwardenDown";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn every_query_is_answered_by_a_prometheus_that_scrapes_real_daemons() {
    let mut prometheus = Prometheus::start(PAST).await;
    let lagging = Lagging::new().await;
    prometheus.announce("lagging", &lagging.target());
    let (mut healthy, mut failing) = (Healthy::start().await, Failing::start().await);
    prometheus.announce("tokenwarden", healthy.daemon.target());
    prometheus.announce("failing", failing.daemon.target());
    let waiting = Waiting::start().await;
    prometheus.announce("waiting", waiting.daemon.target());
    for target in [
        healthy.daemon.target(),
        failing.daemon.target(),
        waiting.daemon.target(),
    ] {
        prometheus.scrapes(target).await;
    }

    let works = healthy.works_while(async {
        failing.robbed();
        prometheus.answers(dashboard_queries()).await;
        failing.robbed_where_all_is_answered();
    });
    let (lagging, ()) = tokio::join!(lagging.lags(), works);

    let rules = prometheus.rules().await;
    assert!(rules.len() > 20);
    let (down, others): (Vec<Rule>, Vec<Rule>) =
        rules.into_iter().partition(|rule| rule.name == DOWN);
    let asked = prometheus.answers(others.iter().map(question).collect());
    healthy.works_while(asked).await;
    // Which is looked for once a minute.
    let closes = failing
        .daemon
        .wait("an idle incident is closed", async |daemon| {
            let closed = daemon.metric("tokenwarden_incidents_closed_total", "");
            (closed.await > 0.0).then_some(())
        });
    healthy.works_while(closes).await;

    let pages = [
        healthy.daemon.metrics().await,
        failing.daemon.metrics().await,
        lagging.daemon.metrics().await,
        lagging.behind,
    ];
    for page in &pages {
        assert_eq!(faults_of(page).await, "");
        assert_names_nobody(page);
    }
    assert_everything_is_set(&pages);
    let (_, told) = failing.daemon.readiness().await;
    assert!(
        told.contains("rule odd: a condition had no answer"),
        "{told}"
    );
    healthy.assert_top_lists().await;
    healthy.assert_follows_changes().await;

    healthy.daemon.stop().await;
    lagging.daemon.stop().await;
    waiting.daemon.stop().await;
    failing.daemon.kill();
    assert_eq!(down.len(), 1);
    let down = down.into_iter().map(|rule| (rule.name, rule.query));
    prometheus.answers(down.collect()).await;
}

/// An alert's state may be over by the time it is asked about, so it is asked whether it ever was.
fn question(rule: &Rule) -> (String, String) {
    let query = if rule.records {
        rule.name.clone()
    } else {
        format!("count_over_time(({})[15m:1s])", rule.query)
    };
    (rule.name.clone(), query)
}

/// Each metric has a value somewhere: there is code that sets it.
fn assert_everything_is_set(pages: &[String]) {
    let is_set = |name: &str| {
        let ours = |line: &&str| {
            let rest = line
                .strip_prefix(name)
                .map(|rest| rest.trim_start_matches("_count"));
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        let mut values = pages.iter().flat_map(|page| page.lines()).filter(ours);
        values.any(|line| !line.ends_with(" 0"))
    };
    let unset: Vec<&str> = (Metrics::DECLARED.iter())
        .map(|declared| declared.name)
        .filter(|name| !is_set(name))
        .collect();
    assert!(unset.is_empty(), "{unset:?}");
}

/// No label holds a person, a token or an address; clients and tenants only those that the configuration names.
fn assert_names_nobody(page: &str) {
    let labels = page.lines().filter(|line| !line.starts_with('#'));
    let labels = labels.filter_map(|line| line.split_once('{')?.1.rsplit_once('}'));
    for (labels, _) in labels {
        for private in [" of ", "20.1.2.", "45."] {
            assert!(!labels.contains(private), "{labels}");
        }
        for (label, known) in [("client", "web"), ("tenant", "shop")] {
            for value in values(labels, label) {
                assert!(value == known || value == "other", "{labels}");
            }
        }
    }
}

fn values<'a>(labels: &'a str, label: &str) -> BTreeSet<&'a str> {
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    let ours = pairs.filter(|(name, _)| *name == label);
    ours.map(|(_, value)| value.trim_matches('"')).collect()
}

/// Every query of the dashboards with its variables filled in as Grafana does, those of marks and variables among them.
fn dashboard_queries() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let mut queries = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                queries.push((panel["title"].to_string(), target["expr"].clone()));
            }
        }
        for mark in dashboard["annotations"]["list"].as_array().unwrap() {
            queries.push((mark["name"].to_string(), mark["expr"].clone()));
        }
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            if variable["type"] == "query" {
                queries.push((variable["name"].to_string(), variable["definition"].clone()));
            }
        }
    }
    assert!(queries.len() > 20);
    let filled = |(shown, query): (String, Value)| (shown, filled_in(query.as_str().unwrap()));
    queries.into_iter().map(filled).collect()
}

fn filled_in(query: &str) -> String {
    let query = query
        .replace("$__rate_interval", "10s")
        .replace("$__range", "1h")
        .replace("$job", "tokenwarden")
        .replace("$instance", ".+");
    // A variable's values are those of a label of these series.
    match query.strip_prefix("label_values(") {
        Some(asked) => asked.rsplit_once(", ").unwrap().0.to_owned(),
        None => query,
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
