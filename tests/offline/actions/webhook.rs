//! The webhook receiver's side of the contract: what arrives, and that its signature can be checked.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokenwarden::actions::{Attempt, Revokers, Surroundings, notifier, specimen};
use tokenwarden::config::{Receiver, ReceiverKind, Secret, WebhookReceiver};
use tokenwarden::model::Timestamp;

use super::reason;
use super::server::{Server, reply};

fn now() -> Timestamp {
    "2026-11-20T10:20:07Z".parse().unwrap()
}

async fn post(url: &str) -> Attempt {
    let receiver = Receiver {
        name: "soar".into(),
        limits: tokenwarden::config::TargetLimits::default(),
        kind: ReceiverKind::Webhook(WebhookReceiver {
            url: Secret::new(url),
            secret: Some(Secret::new("key")),
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
    let webhook = notifier(&receiver, surroundings).unwrap();
    webhook.notify(&specimen("n1", now())).await
}

#[tokio::test]
async fn the_body_is_signed_and_carries_a_stable_id() {
    let server = Server::start(|_, _| reply(202, "")).await;
    for _ in 0..2 {
        assert!(matches!(post(&server.url).await, Attempt::Done { .. }));
    }
    let seen = server.seen();
    assert_eq!(seen[0].body, seen[1].body);
    let signature = seen[0].header("x-tokenwarden-signature");
    let (time, mac) = signature.split_once(",v1=").unwrap();
    let signed = format!("{}.{}", time.strip_prefix("t=").unwrap(), seen[0].body);
    let mut expected = Hmac::<Sha256>::new_from_slice(b"key").unwrap();
    expected.update(signed.as_bytes());
    let sent: Vec<u8> = (0..mac.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&mac[at..at + 2], 16).unwrap())
        .collect();
    expected.verify_slice(&sent).unwrap();

    let body: serde_json::Value = serde_json::from_str(&seen[0].body).unwrap();
    assert_eq!(body["id"], "n1");
    assert_eq!(seen[0].header("idempotency-key"), "n1");
    assert_eq!(body["specimen"], true);
    assert_eq!(body["detections"][0]["evidence"]["verdict"], "theft");
    assert_eq!(body["actions"][0]["state"], "done");
}

#[tokio::test]
async fn failures_say_which_receiver_and_never_the_address() {
    let server = Server::start(|_, _| reply(503, "busy").with("retry-after", "5")).await;
    let attempt = post(&format!("{}/services/T0/s3cret", server.url)).await;
    let Attempt::Retry { after, .. } = &attempt else {
        panic!("503 is worth another try");
    };
    assert_eq!(*after, Some(Duration::from_secs(5)));
    assert!(reason(&attempt).starts_with("webhook soar: "));
    assert!(!reason(&attempt).contains("s3cret"));
}

/// Servers quote in an error what they were asked for, as it came, decoded, or escaped for JSON.
#[tokio::test]
async fn an_answer_that_quotes_the_address_gives_nothing_away() {
    let path = "/hooks/K3y-aa%2Bbb%2Fcc/T0?token=que%20ry1&sig=zz9zz";
    for answer in [
        format!("Cannot POST {path}"),
        format!("{{\"path\":\"{path}\"}}"),
        format!("{{\"path\":\"{}\"}}", path.replace('/', "\\/")),
        "no K3y-aa+bb/cc for que ry1, K3Y-AA%2bBB%2fcc".to_owned(),
        r#"{"hook":"K3y-aa+bb\/cc","sig":"zz9zz"}"#.to_owned(),
        format!("{}{path}", "x".repeat(190)),
        format!("NO {}", path.to_uppercase()),
    ] {
        let server = Server::start(move |_, _| reply(404, &answer)).await;
        let attempt = post(&format!("{}{path}", server.url)).await;
        let text = reason(&attempt).to_ascii_lowercase();
        assert!(text.contains("answered 404: "), "{text}");
        for secret in [
            "k3y",
            "aa+bb",
            "aa%2bb",
            "que ry1",
            "que%20ry1",
            "zz9",
            "t0",
        ] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}
