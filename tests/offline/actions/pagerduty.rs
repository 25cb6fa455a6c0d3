//! What PagerDuty's Events API v2 is sent.
//!
//! PagerDuty itself cannot be had here: an HTTP server records the requests, and answers as its documentation says (202
//! with `status: success` and the key; 400 `invalid event`, 429). Events are held against the documented shape: required
//! members, severities, and the limits of key, summary and size.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokenwarden::actions::{
    Attempt, Followed, Following, Notifier, Revokers, Surroundings, notifier, take_memo,
};
use tokenwarden::config::{PagerDutyReceiver, Receiver, ReceiverKind, Secret};
use tokenwarden::model::{Evidence, Phase};

use super::server::{Seen, Server, reply};
use super::stories::{self, now};
use super::{detail, reason};

const KEY: &str = "r0utingk3y0123456789abcdef012345";
const TAKEN: &str = r#"{"status":"success","message":"Event processed","dedup_key":"k"}"#;

fn pagerduty(server: &Server) -> Arc<dyn Notifier> {
    let receiver = Receiver {
        name: "pager".into(),
        limits: tokenwarden::config::TargetLimits::default(),
        kind: ReceiverKind::PagerDuty(PagerDutyReceiver {
            routing_key: Secret::new(KEY),
            url: format!("{}/v2/enqueue", server.url).into(),
            links: BTreeMap::from([(
                "Incident".into(),
                "https://warden.example.com/incidents/{{ incident.id }}".into(),
            )]),
            timeout: Duration::from_secs(5),
            ca_file: None,
        }),
        digest_at: None,
        fallback: None,
        per_hour_max: None,
    };
    let surroundings = Surroundings {
        now,
        revokers: Revokers::default(),
    };
    notifier(&receiver, surroundings).unwrap()
}

fn event(seen: &Seen) -> Value {
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str()),
        ("POST", "/v2/enqueue")
    );
    assert_eq!(seen.header("content-type"), "application/json");
    let mut event: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(event["routing_key"], KEY);
    event["routing_key"] = "ROUTING KEY".into();
    assert!(
        event["dedup_key"]
            .as_str()
            .is_some_and(|key| key.len() <= 255)
    );
    event
}

#[tokio::test]
async fn every_story_is_an_event_of_the_documented_shape() {
    let server = Server::start(|_, _| reply(202, TAKEN)).await;
    let pagerduty = pagerduty(&server);
    for (name, story) in stories::all()
        .into_iter()
        .chain([("huge", stories::huge())])
    {
        let before = server.seen().len();
        let attempt = pagerduty.notify(&story).await;
        // Contained before anybody was told: no page.
        if ["contained", "graver"].contains(&name) {
            assert_eq!(detail(&attempt), "contained: nobody is paged");
            assert_eq!(server.seen().len(), before);
            continue;
        }
        let seen = server.seen().pop().unwrap();
        let event = event(&seen);
        assert!(seen.body.len() <= 512 * 1024);
        assert_eq!(event["event_action"], "trigger");
        assert_eq!(event["dedup_key"], *story.incident.id);
        let payload = &event["payload"];
        assert!(payload["summary"].as_str().unwrap().chars().count() <= 1024);
        let severities = ["critical", "error", "warning", "info"];
        assert!(severities.contains(&payload["severity"].as_str().unwrap()));
        assert!(
            payload["source"]
                .as_str()
                .is_some_and(|source| !source.is_empty())
        );
        if name != "huge" {
            insta::assert_snapshot!(
                format!("pagerduty_{name}"),
                serde_json::to_string_pretty(&event).unwrap()
            );
        }
    }
}

#[tokio::test]
async fn what_was_told_is_acknowledged_and_resolved_by_the_same_key() {
    let server = Server::start(|_, _| reply(202, TAKEN)).await;
    let pagerduty = pagerduty(&server);
    let story = stories::failed();
    let Attempt::Done { mut evidence, .. } = pagerduty.notify(&story).await else {
        panic!("taken");
    };
    let memo = take_memo(&mut evidence).unwrap();
    let following = pagerduty.following();
    assert_eq!(
        following,
        Some(Following::default()),
        "changes only, and the end once"
    );
    for phase in [Phase::Open, Phase::Acknowledged, Phase::Resolved] {
        let followed = Followed {
            incident_id: story.incident.id.clone(),
            phase,
            since: now(),
            memo: memo.clone(),
            before: None,
        };
        detail(&pagerduty.follow(&[followed]).await);
    }
    let told: Vec<String> = server
        .seen()
        .iter()
        .map(|seen| event(seen)["event_action"].to_string())
        .collect();
    assert_eq!(told, ["\"trigger\"", "\"acknowledge\"", "\"resolve\""]);
    let keys: Vec<Value> = server
        .seen()
        .iter()
        .map(|seen| event(seen)["dedup_key"].clone())
        .collect();
    assert!(
        keys.iter().all(|key| *key == *story.incident.id),
        "{keys:?}"
    );
}

#[tokio::test]
async fn what_is_not_followed_leaves_nothing_to_remember() {
    let server = Server::start(|_, _| reply(202, TAKEN)).await;
    let Attempt::Done { mut evidence, .. } = pagerduty(&server).notify(&stories::contained()).await
    else {
        panic!("done");
    };
    assert_eq!(take_memo(&mut evidence), None);
    assert_eq!(evidence, Evidence::new().with("paged", false));
}

#[tokio::test]
async fn refusals_name_the_receiver_and_never_the_key() {
    let quoting = format!(r#"{{"status":"invalid event","errors":["bad routing_key {KEY}"]}}"#);
    for (status, body, again) in [
        (400, quoting.as_str(), false),
        (202, "<html>hello</html>", false),
        (200, r#"{"status":"unknown"}"#, false),
        (429, "too many", true),
        (503, "", true),
    ] {
        let body = body.to_owned();
        let server = Server::start(move |_, _| reply(status, &body)).await;
        let attempt = pagerduty(&server).notify(&stories::failed()).await;
        assert_eq!(
            matches!(attempt, Attempt::Retry { .. }),
            again,
            "{status}: {attempt:?}"
        );
        let said = reason(&attempt);
        assert!(said.starts_with("pagerduty pager: "), "{said}");
        assert!(!said.to_lowercase().contains(KEY), "{said}");
    }
}
