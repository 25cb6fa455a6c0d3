//! Pages people about an incident through PagerDuty's Events API v2.
//!
//! The incident's id is the key by which PagerDuty folds what belongs together, so one incident is one there too: it is
//! triggered, acknowledged when somebody has taken it on here, and resolved when it is contained or closed. What was
//! contained before anybody was told wakes nobody.

use futures_util::future::BoxFuture;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use crate::config::{self, Secret};
use crate::model::{Bulletin, Evidence, Phase, Severity, Text, Timestamp, limits};

use super::client::Client;
use super::email::bulletin::letter;
use super::follow::{Followed, Following, MEMO};
use super::links::Links;
use super::report::{Finding as Found, Report};
use super::words::Standing;
use super::{Attempt, Finding, Notification, Notifier, Surroundings, clean};
use clean::cut;

pub(super) struct PagerDuty {
    name: Text,
    routing_key: Secret,
    url: Url,
    links: Links,
    client: Client,
    surroundings: Surroundings,
}

impl PagerDuty {
    pub(super) fn new(
        receiver: &config::Receiver,
        settings: &config::PagerDutyReceiver,
        surroundings: Surroundings,
    ) -> Result<Self, String> {
        Ok(Self {
            name: receiver.name.clone(),
            routing_key: settings.routing_key.clone(),
            url: Url::parse(&settings.url).map_err(|error| format!("url: {error}"))?,
            links: Links::new(&settings.links)?,
            client: Client::new(settings.timeout, settings.ca_file.as_deref())?,
            surroundings,
        })
    }

    async fn trigger(&self, notification: &Notification) -> Attempt {
        let asked = self.surroundings.ask(notification).await;
        let mut report = Report::of(notification, &asked);
        // What is not verified is watched, and pages if the login lives on.
        if matches!(report.standing, Standing::Contained | Standing::Answered) {
            return Attempt::Done {
                detail: "contained: nobody is paged".into(),
                evidence: Evidence::new().with("paged", false),
            };
        }
        report.links.extend(self.links.of(notification));
        let event = trigger(notification, &report);
        let memo = Evidence::new().with("dedup_key", &*notification.incident.id);
        self.send(&event, Evidence::new().with(MEMO, memo)).await
    }

    /// Something new that belongs to no incident; a person ends it there.
    async fn announce(&self, bulletin: &Bulletin) -> Attempt {
        let letter = letter(bulletin);
        let summary = format!("{}: {}", letter.state, letter.headline);
        let event = json!({
            "event_action": "trigger",
            "dedup_key": key(&bulletin.id),
            "client": CLIENT,
            "payload": {
                "summary": cut(&summary, limits::PAGERDUTY_SUMMARY_CHARS_MAX),
                "source": CLIENT,
                "severity": severity(Severity::Medium),
                "timestamp": bulletin.until.to_string(),
                "custom_details": { "text": cut(&letter.text(), limits::MAIL_PARAGRAPH_CHARS_MAX) },
            },
        });
        self.send(&event, Evidence::new()).await
    }

    async fn tell_states(&self, followed: &[Followed]) -> Attempt {
        for one in followed {
            let action = match one.phase {
                // It was triggered when it was told.
                Phase::Open => continue,
                Phase::Acknowledged => "acknowledge",
                Phase::Resolved => "resolve",
            };
            let event = json!({ "event_action": action, "dedup_key": key(&one.incident_id) });
            match self.send(&event, Evidence::new()).await {
                Attempt::Done { .. } => {}
                failed => return failed,
            }
        }
        Attempt::Done {
            detail: "told how its incidents stand".into(),
            evidence: Evidence::new(),
        }
    }

    async fn send(&self, event: &Value, evidence: Evidence) -> Attempt {
        let mut event = event.clone();
        event["routing_key"] = self.routing_key.expose().into();
        let request = self.client.request(Method::POST, self.url.clone());
        let secrets = [&self.routing_key];
        let sent = self
            .client
            .send_hiding(request.json(&event), &secrets)
            .await;
        let what = format!("pagerduty {}", self.name);
        match sent {
            Ok(answer) if answer.succeeded() && answer.json().is_some_and(|it| is_taken(&it)) => {
                Attempt::Done {
                    detail: format!("{} has taken it", answer.host).into(),
                    evidence: evidence.with("status", i64::from(answer.status)),
                }
            }
            Ok(answer) if answer.succeeded() => {
                answer.refusal(&format!("{what}: expected `status: success`"))
            }
            Ok(answer) => answer.failure(&what),
            Err(attempt) => attempt,
        }
    }
}

impl Notifier for PagerDuty {
    fn name(&self) -> &Text {
        &self.name
    }

    fn notify<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt> {
        Box::pin(self.trigger(notification))
    }

    fn announce<'a>(&'a self, bulletin: &'a Bulletin) -> BoxFuture<'a, Attempt> {
        Box::pin(self.announce(bulletin))
    }

    fn following(&self) -> Option<Following> {
        Some(Following::default())
    }

    fn follow<'a>(&'a self, followed: &'a [Followed]) -> BoxFuture<'a, Attempt> {
        Box::pin(self.tell_states(followed))
    }

    fn inspect(&self) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(self.client.inspect(&self.url, self.surroundings.now))
    }
}

const CLIENT: &str = "tokenwarden";

/// Keys are at most 255 characters; ours are hashes.
fn key(id: &str) -> String {
    id.chars().take(255).collect()
}

fn is_taken(answer: &Value) -> bool {
    answer["status"] == "success"
}

fn trigger(notification: &Notification, report: &Report) -> Value {
    let (incident, target) = (&notification.incident, &notification.action.target);
    let source = match &target.tenant {
        Some(tenant) => format!("{}/{tenant}", target.issuer),
        None => target.issuer.to_string(),
    };
    let summary = format!("{}: {}", report.state, report.headline);
    let links: Vec<Value> = (report.links.iter())
        .map(|link| json!({ "href": link.url, "text": link.name }))
        .collect();
    let mut event = json!({
        "event_action": "trigger",
        "dedup_key": key(&incident.id),
        "client": CLIENT,
        "links": links,
        "payload": {
            "summary": cut(&summary, limits::PAGERDUTY_SUMMARY_CHARS_MAX),
            "source": clean::value(&source),
            "severity": severity(incident.severity),
            "timestamp": Timestamp::to_string(&incident.opened_at),
            "component": incident.client_id.as_deref().map(clean::value),
            "group": incident.tenant.as_deref().map(clean::value),
            "class": clean::value(&notification.action.rule),
            "custom_details": details(report),
        },
    });
    // Too large an event is refused as a whole; what is left says where to look.
    if event.to_string().len() > limits::PAGERDUTY_EVENT_BYTES_MAX / 2 {
        event["payload"]["custom_details"]["why"] = "too much for one event".into();
    }
    event
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "info",
    }
}

fn details(report: &Report) -> Value {
    let to_do: Vec<String> = (report.to_do.iter())
        .map(|task| match &task.command {
            Some(command) => format!("{} {command}", task.text),
            None => task.text.clone(),
        })
        .collect();
    let who: serde_json::Map<String, Value> = (report.who.iter())
        .map(|row| (row.name.clone(), row.value.as_str().into()))
        .collect();
    json!({
        "state": report.state,
        "remarks": report.remarks,
        "meaning": report.meaning,
        "what_has_been_done": report.done,
        "what_to_do_now": to_do,
        "who": who,
        "why": report.findings.iter().map(why).collect::<Vec<_>>(),
        "more_detections": report.more,
        "explain": report.explain,
        "incident": report.incident_id,
        "specimen": report.is_specimen,
    })
}

fn why(found: &Found) -> Value {
    let facts: serde_json::Map<String, Value> = (found.facts.iter())
        .map(|row| (row.name.clone(), row.value.as_str().into()))
        .collect();
    json!({
        "rule": found.rule,
        "severity": found.severity,
        "time": found.time,
        "facts": facts,
        "tables": found.tables,
    })
}
