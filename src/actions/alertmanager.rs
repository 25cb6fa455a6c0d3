//! Raises an alert at a Prometheus Alertmanager (API v2) for each incident, and ends it when the incident has ended.
//!
//! Alertmanager knows an alert by its labels and keeps none over a restart, so each is sent again every minute until it is
//! over. Labels say what to route by and hold no person; who it is about stands in the annotations. Labels that change
//! (it has become graver, it is contained) are another alert there: the one before is ended with it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config;
use crate::model::{Bulletin, Evidence, Phase, Severity, Text, Timestamp, limits};

use super::auth::Auth;
use super::client::Client;
use super::email::bulletin::letter;
use super::follow::{Followed, Following, MEMO};
use super::report::Report;
use super::template::{Names, Place, Template, values_of_notification};
use super::words::Standing;
use super::{Attempt, Finding, Notification, Notifier, Surroundings, clean};
use clean::cut;

pub(super) struct Alertmanager {
    name: Text,
    /// Of the alerts, at each of the cluster.
    urls: Vec<Url>,
    source_url: Option<Template>,
    lasts_at_least: Duration,
    client: Client,
    auth: Auth,
    surroundings: Surroundings,
}

/// As the API takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    #[serde(
        rename = "generatorURL",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    generator_url: Option<String>,
}

impl Alertmanager {
    pub(super) fn new(
        receiver: &config::Receiver,
        settings: &config::AlertmanagerReceiver,
        surroundings: Surroundings,
    ) -> Result<Self, String> {
        let client = Client::new(settings.timeout, settings.ca_file.as_deref())?;
        let url = |base: &Text| {
            Url::parse(&format!("{}/api/v2/alerts", base.trim_end_matches('/')))
                .map_err(|error| format!("url: {error}"))
        };
        let source_url = settings.source_url.as_deref();
        let template = |url| Template::new("source_url", url, Place::Url, Names::OfLink);
        Ok(Self {
            name: receiver.name.clone(),
            urls: settings.urls.iter().map(url).collect::<Result<_, _>>()?,
            source_url: source_url.map(template).transpose()?,
            lasts_at_least: settings.lasts_at_least,
            auth: Auth::new(&client, &settings.auth)?,
            client,
            surroundings,
        })
    }

    async fn raise(&self, notification: &Notification) -> Attempt {
        let asked = self.surroundings.ask(notification).await;
        let report = Report::of(notification, &asked);
        let alert = self.alert(notification, &report);
        let memo = Evidence::new().with("alert", json(&alert));
        match self.post(&[alert]).await {
            Attempt::Done { detail, evidence } => Attempt::Done {
                detail,
                evidence: evidence.with(MEMO, memo),
            },
            failed => failed,
        }
    }

    fn alert(&self, notification: &Notification, report: &Report) -> Alert {
        let values = values_of_notification(notification);
        let source = (self.source_url.as_ref()).and_then(|url| url.render(&values).ok());
        Alert {
            labels: labels(notification, report),
            annotations: annotations(report),
            starts_at: notification.incident.opened_at,
            ends_at: self.until(),
            generator_url: source.map(|url| clean::line(&url)),
        }
    }

    /// Ends by itself: nobody will say when news are old.
    async fn announce(&self, bulletin: &Bulletin) -> Attempt {
        let letter = letter(bulletin);
        let text = letter.text();
        let label = |text: &str| cut(text, limits::ALERT_LABEL_CHARS_MAX);
        let alert = Alert {
            labels: of([
                ("alertname", "TokenwardenSummary".to_owned()),
                ("severity", Severity::Medium.to_string()),
                ("summary_id", label(&bulletin.id)),
            ]),
            annotations: of([
                ("summary", format!("{}: {}", letter.state, letter.headline)),
                (
                    "description",
                    cut(&text, limits::ALERT_ANNOTATION_CHARS_MAX),
                ),
            ]),
            starts_at: bulletin.until,
            ends_at: self.until(),
            generator_url: None,
        };
        self.post(&[alert]).await
    }

    async fn tell_states(&self, followed: &[Followed]) -> Attempt {
        let alerts: Vec<Alert> = followed.iter().flat_map(|one| self.states(one)).collect();
        self.post(&alerts).await
    }

    /// The alert as it stands, and the end of the one that it has replaced.
    fn states(&self, followed: &Followed) -> Vec<Alert> {
        let told = |memo: &Evidence| -> Option<Alert> {
            match memo.get("alert")? {
                crate::model::Value::Text(text) => serde_json::from_str(text).ok(),
                _ => None,
            }
        };
        let Some(mut alert) = told(&followed.memo) else {
            return Vec::new();
        };
        alert.ends_at = match followed.phase {
            Phase::Resolved => followed.since,
            Phase::Open | Phase::Acknowledged => self.until(),
        };
        let before = followed.before.as_ref().and_then(told);
        let replaced = before.filter(|before| before.labels != alert.labels);
        let replaced = replaced.map(|before| Alert {
            ends_at: (self.surroundings.now)(),
            ..before
        });
        replaced.into_iter().chain([alert]).collect()
    }

    fn until(&self) -> Timestamp {
        let now = (self.surroundings.now)();
        now.checked_add(limits::ALERT_LASTS).unwrap_or(now)
    }

    /// To all of the cluster; one that has taken it tells people, and the others hear it with the next turn.
    async fn post(&self, alerts: &[Alert]) -> Attempt {
        let calls = self.urls.iter().map(|url| self.post_to(url, alerts));
        let mut answers = join_all(calls).await;
        let done = |answer: &Attempt| matches!(answer, Attempt::Done { .. });
        match answers.iter().position(done) {
            Some(first) => answers.swap_remove(first),
            None => answers.pop().unwrap_or(Attempt::Refused {
                reason: "no address".into(),
            }),
        }
    }

    async fn post_to(&self, url: &Url, alerts: &[Alert]) -> Attempt {
        let build = |client: &Client| client.request(Method::POST, url.clone()).json(alerts);
        match self.auth.send(&self.client, build).await {
            Ok(answer) if answer.succeeded() => Attempt::Done {
                detail: format!("{} has taken it", answer.host).into(),
                evidence: Evidence::new().with("status", i64::from(answer.status)),
            },
            Ok(answer) => answer.failure(&format!("alertmanager {}", self.name)),
            Err(attempt) => attempt,
        }
    }

    async fn look(&self) -> Vec<Finding> {
        if let Some(fault) = self.auth.inspect().await {
            return vec![fault];
        }
        join_all(self.urls.iter().map(|url| self.look_at(url))).await
    }

    async fn look_at(&self, alerts: &Url) -> Finding {
        let mut status = alerts.clone();
        status.set_path(&alerts.path().replace("/alerts", "/status"));
        let build = |client: &Client| client.request(Method::GET, status.clone());
        let hint = "check the address (without /api), `auth`, the network and `ca_file`";
        match self.auth.send(&self.client, build).await {
            Ok(answer) => match answer.json().map(|it| it["versionInfo"]["version"].clone()) {
                Some(Value::String(version)) if answer.succeeded() => {
                    let version = clean::value(&version);
                    Finding::fine(format!("{} is Alertmanager {version}", answer.host))
                }
                _ => Finding::fault(answer.failure("its status").reason(), hint),
            },
            Err(attempt) => Finding::fault(attempt.reason(), hint),
        }
    }
}

impl Notifier for Alertmanager {
    fn name(&self) -> &Text {
        &self.name
    }

    fn notify<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt> {
        Box::pin(self.raise(notification))
    }

    fn announce<'a>(&'a self, bulletin: &'a Bulletin) -> BoxFuture<'a, Attempt> {
        Box::pin(self.announce(bulletin))
    }

    fn following(&self) -> Option<Following> {
        Some(Following {
            again_every: Some(limits::ALERT_AGAIN_EVERY),
            lasts_at_least: self.lasts_at_least,
            ended_for: limits::ALERT_ENDED_FOR,
        })
    }

    fn follow<'a>(&'a self, followed: &'a [Followed]) -> BoxFuture<'a, Attempt> {
        Box::pin(self.tell_states(followed))
    }

    fn inspect(&self) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(self.look())
    }
}

fn labels(notification: &Notification, report: &Report) -> BTreeMap<String, String> {
    let incident = &notification.incident;
    let label = |text: &str| cut(&clean::value(text), limits::ALERT_LABEL_CHARS_MAX);
    let name = if report.is_specimen {
        "TokenwardenSpecimen"
    } else {
        "TokenwardenIncident"
    };
    let state = match report.standing {
        Standing::Contained => "contained",
        Standing::Answered => "answered",
        _ => "open",
    };
    let mut labels = of([
        ("alertname", name.to_owned()),
        ("severity", incident.severity.to_string()),
        ("state", state.to_owned()),
        ("incident", label(&incident.id)),
        ("issuer", label(&incident.issuer)),
    ]);
    let known = [
        ("tenant", &incident.tenant),
        ("client", &incident.client_id),
    ];
    let known = known.into_iter().filter_map(|(name, of)| {
        let value = label(of.as_deref()?);
        Some((name.to_owned(), value)).filter(|(_, value)| !value.is_empty())
    });
    labels.extend(known);
    labels
}

fn annotations(report: &Report) -> BTreeMap<String, String> {
    let to_do = report.to_do.iter().flat_map(|task| {
        let command = task
            .command
            .as_ref()
            .map(|command| format!("    {command}"));
        std::iter::once(format!("- {}", task.text)).chain(command)
    });
    let done = report.done.iter().map(|deed| format!("- {deed}"));
    let remarks = report.remarks.iter().cloned();
    let lines: Vec<String> = remarks
        .chain(std::iter::once("What has been done:".to_owned()))
        .chain(done)
        .chain(std::iter::once("What to do now:".to_owned()))
        .chain(to_do)
        .collect();
    let text = |text: &str| cut(text, limits::ALERT_ANNOTATION_CHARS_MAX);
    let rules: Vec<&str> = report.findings.iter().map(|it| it.rule.as_str()).collect();
    let mut annotations = of([
        (
            "summary",
            text(&format!("{}: {}", report.state, report.headline)),
        ),
        ("meaning", text(&report.meaning)),
        ("description", text(&lines.join("\n"))),
        ("rules", text(&rules.join(", "))),
        ("explain", report.explain.clone().unwrap_or_default()),
    ]);
    if let Some(runbook) = report.links.first() {
        annotations.insert("runbook_url".to_owned(), runbook.url.clone());
    }
    annotations.retain(|_, value| !value.is_empty());
    annotations
}

fn of<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    let pairs = pairs.into_iter();
    pairs
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn json(alert: &Alert) -> String {
    serde_json::to_string(alert).unwrap_or_default()
}
