//! Dashboards and alerts against the metrics that the daemon declares, and against the rules that make a dashboard usable.
//!
//! A panel that asks for a metric or label which does not exist shows "no data" for ever, and nobody notices before the
//! night on which it is needed. Whether the queries return data from a real Prometheus is shown in `tests/real`.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tokenwarden::metrics::Metrics;

/// Labels that Prometheus or the scrape adds.
const ADDED_LABELS: &[&str] = &["job", "instance", "le"];
/// Metrics of the process itself that are used; the client library exports them.
const PROCESS_METRICS: &[&str] = &["process_resident_memory_bytes", "process_cpu_seconds_total"];
/// Ranges other than `$__rate_interval` that a panel may use: a headline over an hour, and the range that is shown.
const OTHER_RANGES: &[(&str, &str)] = &[("1h", "stat"), ("$__range", "bargauge")];

/// Where the pages are kept is told to Prometheus once; until then the alert says where they lie in the release.
const RUNBOOKS: &str =
    "{{ with $externalLabels.runbooks_tokenwarden }}{{ . }}{{ else }}deploy/runbooks{{ end }}";

#[test]
fn every_panel_says_what_it_shows() {
    for (dashboard, panel) in panels() {
        let title = panel["title"].as_str().unwrap();
        let shown = format!("{dashboard}: panel `{title}`");
        assert!(!title.is_empty(), "{shown}: no title");
        if panel["type"] == "row" {
            continue;
        }
        let description = panel["description"].as_str().unwrap_or_default();
        assert!(
            description.ends_with('.') && description.len() > 20,
            "{shown}: no description"
        );
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        assert!(
            unit.is_some_and(|unit| !unit.is_empty()),
            "{shown}: no unit"
        );
        assert_eq!(
            panel["datasource"]["uid"], "${datasource}",
            "{shown}: not the data source variable"
        );
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(
                target["datasource"]["uid"], "${datasource}",
                "{shown}: a target with another data source"
            );
            assert!(
                !target["legendFormat"].as_str().unwrap().is_empty(),
                "{shown}: a target without a legend"
            );
        }
    }
}

#[test]
fn panels_do_not_overlap() {
    for dashboard in dashboards() {
        let mut taken = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for panel in dashboard.1["panels"].as_array().unwrap() {
            assert!(
                ids.insert(panel["id"].as_u64().unwrap()),
                "{}: an id twice",
                dashboard.0
            );
            let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
            assert!(
                at("x") + at("w") <= 24,
                "{}: `{}` is too wide",
                dashboard.0,
                panel["title"]
            );
            for cell in (at("x")..at("x") + at("w"))
                .flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
            {
                if let Some(other) = taken.insert(cell, panel["title"].clone()) {
                    panic!("{}: `{}` lies over `{other}`", dashboard.0, panel["title"]);
                }
            }
        }
    }
}

#[test]
fn dashboards_can_be_provisioned_and_linked() {
    for (name, dashboard) in dashboards() {
        let file = name.trim_end_matches(".json");
        assert_eq!(
            dashboard["uid"],
            format!("tokenwarden-{file}"),
            "{name}: links need a fixed uid"
        );
        assert_eq!(
            dashboard["schemaVersion"], 39,
            "{name}: newer than the oldest Grafana that is meant"
        );
        assert!(
            dashboard.get("__inputs").is_none(),
            "{name}: provisioning never fills `__inputs`"
        );
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let of = |wanted: &str| {
            variables
                .iter()
                .find(|variable| variable["name"] == wanted)
                .unwrap()
        };
        assert_eq!(
            (
                of("datasource")["type"].as_str(),
                of("datasource")["query"].as_str()
            ),
            (Some("datasource"), Some("prometheus"))
        );
        for name in ["job", "instance"] {
            assert_eq!(of(name)["allValue"], ".+");
            assert_eq!(of(name)["multi"], true);
        }
    }
}

#[test]
fn every_query_selects_job_and_instance_and_a_fitting_range() {
    for (shown, kind, query) in panel_queries() {
        for selector in query.split('{').skip(1) {
            let selector = selector.split('}').next().unwrap();
            let chosen =
                selector.contains("job=~\"$job\"") && selector.contains("instance=~\"$instance\"");
            assert!(
                chosen,
                "{shown}: `{{{selector}}}` does not select job and instance"
            );
        }
        for range in query.split('[').skip(1) {
            let range = range.split(']').next().unwrap();
            let fits =
                range == "$__rate_interval" || OTHER_RANGES.contains(&(range, kind.as_str()));
            assert!(
                fits,
                "{shown}: range `{range}` misses samples at some zoom; use $__rate_interval"
            );
        }
    }
}

#[test]
fn every_query_asks_for_what_is_exported() {
    for (shown, _, query) in panel_queries() {
        check_query(&shown, &query);
    }
    let queries = rule_queries();
    assert!(queries.len() > 20);
    for (shown, query) in queries {
        check_query(&shown, &query);
    }
}

#[test]
fn a_query_for_what_is_not_exported_is_found() {
    for (query, fault) in [
        ("rate(tokenwarden_refreshs_total[5m])", "no metric"),
        (
            "sum by (user) (tokenwarden_refreshes_total)",
            "no label `user`",
        ),
        (
            "tokenwarden_refreshes_total{realm=\"a\"}",
            "no label `realm`",
        ),
        ("tokenwarden_refreshes_total_bucket", "no metric"),
    ] {
        let faults = faults(query);
        assert!(
            faults.iter().any(|each| each.contains(fault)),
            "{query}: {faults:?}"
        );
    }
    assert!(
        faults("sum by (le) (rate(tokenwarden_commit_duration_seconds_bucket{job=\"x\"}[5m]))")
            .is_empty()
    );
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let alerts: BTreeSet<String> = after("alert: ");
    let pages: BTreeSet<String> = fs::read_dir(root().join("deploy/runbooks"))
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(alerts.len() > 10);
    assert_eq!(alerts, pages);
    let linked: BTreeSet<String> = alerts
        .iter()
        .map(|alert| format!("'{RUNBOOKS}/{alert}.md'"))
        .collect();
    assert_eq!(after("runbook_url: "), linked);
    for page in pages {
        let text = fs::read_to_string(root().join(format!("deploy/runbooks/{page}.md"))).unwrap();
        for heading in [
            format!("# {page}\n"),
            "## Meaning\n".into(),
            "## Impact\n".into(),
            "## Diagnosis\n".into(),
            "## Mitigation\n".into(),
        ] {
            assert!(text.contains(&heading), "{page}: no `{}`", heading.trim());
        }
    }
}

#[test]
fn every_alert_is_tested_firing() {
    let tests = fs::read_to_string(root().join("deploy/prometheus/tests/alerts.yaml")).unwrap();
    for alert in after("alert: ") {
        let fires = tests.split("alertname: ").skip(1).any(|case| {
            let (name, rest) = case.split_once('\n').unwrap();
            name.trim() == alert && rest.trim_start().starts_with("exp_alerts:\n")
        });
        assert!(fires, "{alert}: no test in which it fires");
    }
}

fn check_query(shown: &str, query: &str) {
    let faults = faults(query);
    assert!(faults.is_empty(), "{shown}: {}", faults.join("; "));
}

/// Metrics and labels of a query that nobody exports.
fn faults(query: &str) -> Vec<String> {
    let recorded = after("record: ");
    let mut faults = Vec::new();
    let mut labels: BTreeSet<&str> = ADDED_LABELS.iter().copied().collect();
    for name in words(query, ":_")
        .filter(|word| word.contains("tokenwarden_") || word.starts_with("process_"))
    {
        if recorded.contains(name) || PROCESS_METRICS.contains(&name) {
            labels.insert("client");
        } else if let Some(declared) = declared(name) {
            labels.extend(declared);
        } else {
            faults.push(format!("no metric `{name}`"));
        }
    }
    for name in asked_labels(query).difference(&labels) {
        faults.push(format!("no label `{name}` on the metrics of this query"));
    }
    faults
}

/// Labels of a metric; a histogram is asked for by its series.
fn declared(name: &str) -> Option<&'static [&'static str]> {
    let series = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|end| name.strip_suffix(end));
    let metric = |wanted: &str| {
        Metrics::DECLARED
            .iter()
            .find(|metric| metric.name == wanted)
    };
    let found = metric(name)
        .or_else(|| metric(series?).filter(|metric| metric.kind.starts_with("Histogram")));
    found.map(|metric| metric.labels)
}

/// Names in `by (...)`, `on (...)` and before `=` inside braces.
fn asked_labels(query: &str) -> BTreeSet<&str> {
    let grouped = query
        .split(" by (")
        .skip(1)
        .chain(query.split(" on (").skip(1));
    let grouped = grouped.flat_map(|rest| words(rest.split(')').next().unwrap_or_default(), "_"));
    let selectors = query
        .split('{')
        .skip(1)
        .map(|rest| rest.split('}').next().unwrap_or_default());
    let matched = selectors
        .flat_map(|selector| selector.split(", "))
        .filter_map(|matcher| matcher.split(['=', '!']).next());
    grouped
        .chain(matched)
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect()
}

fn words<'a>(text: &'a str, also: &'static str) -> impl Iterator<Item = &'a str> {
    text.split(move |c: char| !(c.is_ascii_alphanumeric() || also.contains(c)))
        .filter(|word| !word.is_empty())
}

/// What follows a key in the rule files.
fn after(key: &str) -> BTreeSet<String> {
    let text = prometheus("alerts.yaml") + &prometheus("rules.yaml");
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines
        .filter_map(|line| line.split_once(key).map(|(_, rest)| rest.trim().to_owned()))
        .collect()
}

/// The expressions of the rule files: on the line of their key, or indented below it.
fn rule_queries() -> Vec<(String, String)> {
    let mut queries: Vec<(String, String)> = Vec::new();
    for file in ["alerts.yaml", "rules.yaml"] {
        let mut open = false;
        for (line, text) in prometheus(file).lines().enumerate() {
            if let Some((_, query)) = text.split_once("expr: ") {
                open = query == "|";
                queries.push((
                    format!("deploy/prometheus/{file}:{}", line + 1),
                    query.trim_start_matches('|').to_owned(),
                ));
            } else if open && text.starts_with("          ") {
                queries.last_mut().unwrap().1.push_str(text);
            } else {
                open = false;
            }
        }
    }
    queries
}

fn panel_queries() -> Vec<(String, String, String)> {
    let mut queries = Vec::new();
    for (dashboard, panel) in panels() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let shown = format!("{dashboard}: panel {}", panel["title"]);
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            queries.push((shown, text(&panel["type"]), text(&target["expr"])));
        }
    }
    assert!(queries.len() > 20);
    queries
}

fn panels() -> Vec<(String, Value)> {
    let each = dashboards().into_iter();
    each.flat_map(|(name, dashboard)| {
        let panels = dashboard["panels"].as_array().unwrap().clone();
        panels.into_iter().map(move |panel| (name.clone(), panel))
    })
    .collect()
}

fn dashboards() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("dashboards")).unwrap() {
        let path = entry.unwrap().path();
        let dashboard = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        found.push((
            path.file_name().unwrap().to_str().unwrap().to_owned(),
            dashboard,
        ));
    }
    assert!(!found.is_empty());
    found
}

fn prometheus(file: &str) -> String {
    fs::read_to_string(root().join("deploy/prometheus").join(file)).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
