//! What an incoming webhook of Slack is sent.
//!
//! Slack itself cannot be had here: an HTTP server records the requests, and answers as Slack's documentation says (200
//! with the body `ok`; 400 `invalid_payload`, 404 `no_service`, 429 with `Retry-After`). Blocks are held against the
//! documented limits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokenwarden::actions::{Attempt, Notifier, Revokers, Surroundings, notifier};
use tokenwarden::config::{Receiver, ReceiverKind, Secret, SlackReceiver};
use tokenwarden::model::{Bulletin, More, News};

use super::server::{Server, reply};
use super::stories::{self, now};
use super::{detail, reason};

const PATH: &str = "/services/T0AAAAAA/B0BBBBBB/s3cretPart";

fn slack(server: &Server) -> Arc<dyn Notifier> {
    let receiver = Receiver {
        name: "chat".into(),
        limits: tokenwarden::config::TargetLimits::default(),
        kind: ReceiverKind::Slack(SlackReceiver {
            url: Secret::new(format!("{}{PATH}", server.url)),
            links: BTreeMap::from([(
                "User | at <Keycloak>".into(),
                "https://sso.example.com/users/{{ target.user_id }}?a=1&b=2".into(),
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

/// Every text of the blocks.
fn texts(message: &Value) -> Vec<String> {
    match message {
        Value::Object(members) => {
            let own = members.get("text").and_then(Value::as_str);
            let inner = members.values().flat_map(texts);
            own.map(str::to_owned).into_iter().chain(inner).collect()
        }
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn every_story_is_a_message_within_slacks_limits() {
    let server = Server::start(|_, _| reply(200, "ok")).await;
    let slack = slack(&server);
    for (name, story) in stories::all() {
        assert!(detail(&slack.notify(&story).await).ends_with("has taken it"));
        let seen = server.seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", PATH));
        assert_eq!(seen.header("content-type"), "application/json");
        let message: Value = serde_json::from_str(&seen.body).unwrap();
        insta::assert_snapshot!(
            format!("slack_{name}"),
            serde_json::to_string_pretty(&message).unwrap()
        );
    }
    detail(&slack.notify(&stories::huge()).await);
    let message: Value = serde_json::from_str(&server.seen().pop().unwrap().body).unwrap();
    let blocks = message["blocks"].as_array().unwrap();
    assert!(blocks.len() <= 50, "{}", blocks.len());
    for block in blocks {
        let long = |value: &Value| value["text"].as_str().unwrap().chars().count();
        if let Some(text) = block.get("text") {
            assert!(long(text) <= 3000);
        }
        let fields = block.get("fields").and_then(Value::as_array);
        let fields = fields.into_iter().flatten();
        assert!(fields.clone().count() <= 10 && fields.clone().all(|it| long(it) <= 2000));
    }
}

/// Whether no text with markup finds links and mentions by itself.
fn verbatim(value: &Value) -> bool {
    match value {
        Value::Object(it) if it.get("type") == Some(&"mrkdwn".into()) => {
            it.get("verbatim") == Some(&true.into())
        }
        Value::Object(it) => it.values().all(verbatim),
        Value::Array(it) => it.iter().all(verbatim),
        _ => true,
    }
}

#[tokio::test]
async fn hostile_values_are_text() {
    let server = Server::start(|_, _| reply(200, "ok")).await;
    slack(&server).notify(&stories::hostile()).await;
    let message: Value = serde_json::from_str(&server.seen()[0].body).unwrap();
    for text in texts(&message) {
        assert!(!text.contains("<!") && !text.contains("<script"), "{text}");
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{202e}'),
            "{text}"
        );
        assert!(!text.contains("http://evil"), "{text}");
        // Ours are links only; a bar inside would end the address.
        let ours = |at: usize| {
            let link = &text[at..];
            link.starts_with("<https://sso.example.com/")
                || link.starts_with("<https://wiki.example.com/")
        };
        assert!(text.match_indices('<').all(|(at, _)| ours(at)), "{text}");
        assert_eq!(text.matches("```").count() % 2, 0, "{text}");
    }
    assert!(
        verbatim(&message),
        "else Slack makes links and mentions of words"
    );
}

#[tokio::test]
async fn what_is_no_yes_is_none() {
    for (status, body, again) in [
        (400, "invalid_payload", false),
        (404, "no_service", false),
        (410, "channel_is_archived", false),
        (200, "<html>Welcome to the proxy</html>", false),
        (429, "rate_limited", true),
        (500, "rollup_error", true),
    ] {
        let server = Server::start(move |_, _| reply(status, body).with("retry-after", "30")).await;
        let attempt = slack(&server).notify(&stories::contained()).await;
        let is_retry = matches!(&attempt, Attempt::Retry { after, .. } if status != 429 || *after == Some(Duration::from_secs(30)));
        assert_eq!(is_retry, again, "{status}: {attempt:?}");
        let said = reason(&attempt);
        assert!(
            said.starts_with("slack chat: ") && !said.contains("s3cret"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_summary_is_a_message_too() {
    let server = Server::start(|_, _| reply(200, "ok")).await;
    let bulletin = Bulletin {
        id: "more-chat-1".into(),
        receiver: Some("chat".into()),
        since: "2026-11-20T09:00:00Z".parse().unwrap(),
        until: now(),
        news: News::More(More {
            incidents: vec![],
            incidents_total: 17,
            per_hour_max: Some(60),
        }),
    };
    detail(&slack(&server).announce(&bulletin).await);
    let message: Value = serde_json::from_str(&server.seen()[0].body).unwrap();
    let expected = "MORE: 17 more incidents, not told one by one: 60 messages an hour are sent";
    assert_eq!(message["text"], expected);
}
