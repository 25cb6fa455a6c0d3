//! Measures by a signed webhook: what a gateway of one's own is asked, and how it is told that the time is over.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokenwarden::actions::{Attempt, Claim, Revoker, revoker};
use tokenwarden::config::{self, RevokerKind, Secret, WebhookRevoker};
use tokenwarden::model::{Action, ActionKind, Timestamp};

use super::server::{Seen, Server, reply};
use super::{action, detail, reason};

fn now() -> Timestamp {
    "2026-11-20T10:20:07Z".parse().unwrap()
}

/// One that takes all measures for an hour.
pub(crate) fn gateway(url: &str) -> Arc<dyn Revoker> {
    let settings = config::Revoker {
        name: "edge".into(),
        issuers: vec![],
        kind: RevokerKind::Webhook(WebhookRevoker {
            actions: vec![
                ActionKind::Challenge,
                ActionKind::Throttle,
                ActionKind::BlockIp,
            ],
            url: Secret::new(url),
            secret: Secret::new("key"),
            ttl: Duration::from_hours(1),
            timeout: Duration::from_secs(5),
            ca_file: None,
        }),
        limits: config::TargetLimits::default(),
    };
    revoker(&settings, true, now).unwrap()
}

fn block() -> Action {
    let mut block = action(ActionKind::BlockIp);
    block.rule = "brute-force".into();
    block.target.network = Some("198.51.100.0/24".into());
    block
}

fn is_signed(seen: &Seen) -> bool {
    let signature = seen.header("x-tokenwarden-signature");
    let (time, mac) = signature.split_once(",v1=").unwrap();
    let mut expected = Hmac::<Sha256>::new_from_slice(b"key").unwrap();
    expected.update(format!("{}.{}", time.strip_prefix("t=").unwrap(), seen.body).as_bytes());
    let hex = |byte: u8| format!("{byte:02x}");
    let bytes = expected.finalize().into_bytes();
    bytes.iter().copied().map(hex).collect::<String>() == mac
}

#[tokio::test]
async fn a_measure_says_how_long_and_its_end_says_of_what() {
    let server = Server::start(|_, _| reply(202, "")).await;
    let gateway = gateway(&server.url);
    let block = block();
    assert_eq!(gateway.claims(&block).await, Claim::Mine);
    assert_eq!(gateway.lasts(), Some(Duration::from_hours(1)));
    let done = gateway.perform(&block).await;
    assert!(detail(&done).ends_with(" answered 202, in force until 2026-11-20 11:20:07 UTC"));
    let undo = Action {
        id: "act-1-undo".into(),
        undoes: Some("act-1".into()),
        reason: "its time is over".into(),
        ..block
    };
    assert!(detail(&gateway.perform(&undo).await).ends_with(" answered 202, taken back"));

    let seen = server.seen();
    assert!(seen.iter().all(is_signed));
    let [apply, taken_back] = [0, 1].map(|n| -> Value {
        assert_eq!(seen[n].method, "POST");
        serde_json::from_str(&seen[n].body).unwrap()
    });
    let target = json!({
        "issuer": "sso", "tenant": "corp", "family_id": "fam-1", "user_id": "auth0|alice/1", "client_id": "web",
        "session_id": "session-1", "token_kind": "online", "network": "198.51.100.0/24",
    });
    assert_eq!(
        apply,
        json!({
            "version": 1, "type": "measure", "do": "apply", "id": "act-1", "action": "block_ip", "target": target,
            "rule": "brute-force", "reason": "enforce", "incident_id": "inc-1", "event_time": "2026-11-20T10:20:00Z",
            "ttl_seconds": 3600, "expires_at": "2026-11-20T11:20:07Z",
        })
    );
    assert_eq!(
        taken_back,
        json!({
            "version": 1, "type": "measure", "do": "undo", "id": "act-1-undo", "undoes": "act-1", "action": "block_ip",
            "target": target, "rule": "brute-force", "reason": "its time is over", "incident_id": "inc-1",
            "event_time": "2026-11-20T10:20:00Z",
        })
    );
    assert_eq!(seen[0].header("idempotency-key"), "act-1");
    assert_eq!(seen[1].header("idempotency-key"), "act-1-undo");
}

#[tokio::test]
async fn what_ends_a_login_is_no_measure_and_a_block_names_a_network() {
    let server = Server::start(|_, _| reply(202, "")).await;
    let gateway = gateway(&server.url);
    let revocation = action(ActionKind::RevokeFamily);
    assert_eq!(gateway.claims(&revocation).await, Claim::NotMine);
    let nowhere = gateway.perform(&action(ActionKind::BlockIp)).await;
    assert!(matches!(nowhere, Attempt::Refused { .. }));
    assert!(reason(&nowhere).contains("names no network"));
    assert!(server.seen().is_empty());
}
