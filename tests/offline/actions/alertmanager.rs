//! What an Alertmanager's API v2 is sent; `tests/real` has it taken by a real one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokenwarden::actions::{
    Attempt, Followed, Notification, Notifier, Revokers, Surroundings, notifier, take_memo,
};
use tokenwarden::config::{AlertmanagerReceiver, HttpAuth, Receiver, ReceiverKind, Secret};
use tokenwarden::model::{Evidence, Phase, Severity};

use super::server::{Server, reply};
use super::stories::{self, now};
use super::{detail, reason};

fn alertmanager(urls: &[&str]) -> Arc<dyn Notifier> {
    let receiver = Receiver {
        name: "alerts".into(),
        limits: tokenwarden::config::TargetLimits::default(),
        kind: ReceiverKind::Alertmanager(AlertmanagerReceiver {
            urls: urls.iter().map(|url| (*url).into()).collect(),
            auth: HttpAuth::Bearer(Secret::new("t0ken")),
            source_url: Some("https://warden.example.com/incidents/{{ incident.id }}".into()),
            lasts_at_least: Duration::from_mins(10),
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

async fn raise(alertmanager: &dyn Notifier, story: &Notification) -> Evidence {
    match alertmanager.notify(story).await {
        Attempt::Done { mut evidence, .. } => take_memo(&mut evidence).unwrap(),
        failed => panic!("{failed:?}"),
    }
}

#[tokio::test]
async fn an_alert_says_what_to_route_by_in_labels_and_who_it_is_in_annotations() {
    let server = Server::start(|_, _| reply(200, "")).await;
    let alertmanager = alertmanager(&[&server.url]);
    for (name, story) in stories::all() {
        raise(alertmanager.as_ref(), &story).await;
        let seen = server.seen().pop().unwrap();
        assert_eq!(
            (seen.method.as_str(), seen.path.as_str()),
            ("POST", "/api/v2/alerts")
        );
        assert_eq!(seen.header("authorization"), "Bearer t0ken");
        let alerts: Value = serde_json::from_str(&seen.body).unwrap();
        let labels = alerts[0]["labels"].as_object().unwrap();
        for value in labels.values() {
            let value = value.as_str().unwrap();
            assert!(!value.is_empty() && value.chars().count() <= 129, "{value}");
            assert!(!value.contains("alice"), "a label names a person");
        }
        if ["contained", "failed", "hostile"].contains(&name) {
            insta::assert_snapshot!(
                format!("alert_{name}"),
                serde_json::to_string_pretty(&alerts).unwrap()
            );
        }
    }
}

#[tokio::test]
async fn it_stays_the_same_alert_until_it_ends() {
    let server = Server::start(|_, _| reply(200, "")).await;
    let alertmanager = alertmanager(&[&server.url]);
    let story = stories::failed();
    let memo = raise(alertmanager.as_ref(), &story).await;
    let mut followed = Followed {
        incident_id: story.incident.id.clone(),
        phase: Phase::Open,
        since: now(),
        memo: memo.clone(),
        before: None,
    };
    detail(&alertmanager.follow(std::slice::from_ref(&followed)).await);
    followed.phase = Phase::Resolved;
    detail(&alertmanager.follow(std::slice::from_ref(&followed)).await);

    let mut milder = stories::failed();
    milder.incident.severity = Severity::High;
    let before = raise(alertmanager.as_ref(), &milder).await;
    followed.phase = Phase::Open;
    followed.before = Some(before);
    detail(&alertmanager.follow(&[followed]).await);

    let sent: Vec<Value> = (server.seen().iter())
        .map(|seen| serde_json::from_str(&seen.body).unwrap())
        .collect();
    assert_eq!(sent[0][0]["labels"], sent[1][0]["labels"]);
    assert_eq!(sent[1][0]["endsAt"], "2026-11-20T10:50:07Z");
    assert_eq!(sent[2][0]["endsAt"], "2026-11-20T10:20:07Z", "it is over");
    let replaced = sent[4].as_array().unwrap();
    assert_eq!(replaced.len(), 2);
    assert_eq!(replaced[0]["labels"]["severity"], "high");
    assert_eq!(
        replaced[0]["endsAt"], "2026-11-20T10:20:07Z",
        "by what is graver"
    );
    assert_eq!(replaced[1]["endsAt"], "2026-11-20T10:50:07Z");
}

#[tokio::test]
async fn one_of_a_cluster_is_enough_and_a_refusal_says_why() {
    let away = Server::start(|_, _| reply(503, "")).await;
    let there = Server::start(|_, _| reply(200, "")).await;
    let both = alertmanager(&[&away.url, &there.url]);
    detail(&both.notify(&stories::failed()).await);
    assert_eq!((away.seen().len(), there.seen().len()), (1, 1));

    let attempt = alertmanager(&[&away.url]).notify(&stories::failed()).await;
    assert!(matches!(attempt, Attempt::Retry { .. }), "{attempt:?}");
    let strict = Server::start(|_, _| reply(400, r#""bad start time for t0ken""#)).await;
    let attempt = alertmanager(&[&strict.url])
        .notify(&stories::failed())
        .await;
    assert!(matches!(attempt, Attempt::Refused { .. }), "{attempt:?}");
    assert!(
        reason(&attempt).starts_with("alertmanager alerts: ")
            && !reason(&attempt).contains("t0ken")
    );
}
