//! What is told of many incidents at once: the whole of each mail, and what a webhook gets of it.

use std::sync::Arc;
use std::time::Duration;

use tokenwarden::actions::{Notifier, Revokers, Surroundings, notifier};
use tokenwarden::config::{MailTransport, Receiver, ReceiverKind, Secret, WebhookReceiver};
use tokenwarden::model::{
    ActionKind, ActionState, AuditHead, Bulletin, ClientDay, Digest, Fates, LastRead,
    ListedIncident, Mode, News, Performed, Rejected, RuleDay, Severity, Timestamp, TooLate,
    Waiting,
};

use super::detail;
use super::mail::{Mail, email, settings};
use super::server::{Server, reply};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn bulletin(news: News) -> Bulletin {
    Bulletin {
        id: "digest-oncall-2026-11-21".into(),
        receiver: Some("oncall".into()),
        since: time("2026-11-20T07:00:00Z"),
        until: time("2026-11-21T07:00:00Z"),
        news,
    }
}

async fn mail(bulletin: &Bulletin) -> Mail {
    let folder = tempfile::tempdir().unwrap();
    let email = email(
        settings(MailTransport::Folder(folder.path().into())),
        vec![],
    );
    detail(&email.announce(bulletin).await);
    let file = folder.path().join(format!("{}-1.eml", bulletin.id));
    Mail::read(&std::fs::read_to_string(file).unwrap())
}

fn waiting(client: &str, actions: u64) -> Waiting {
    Waiting {
        client_id: Some(client.into()),
        kind: ActionKind::RevokeFamily,
        rule: "token-reuse".into(),
        actions,
        new: actions,
        oldest: time("2026-11-20T22:14:03Z"),
    }
}

fn day() -> Digest {
    let client = |name: &str, revocations: u64, fates: Fates| ClientDay {
        client_id: Some(name.into()),
        revocations,
        rules: vec![("token-reuse".into(), revocations)],
        fates,
        ..ClientDay::default()
    };
    let web = Fates {
        used_by_foreign: 2,
        closed: 1,
        silent: 1,
        ..Fates::default()
    };
    let mobile = Fates {
        used_by_own: 1,
        used_by_unknown: 1,
        unknown: 1,
        ..Fates::default()
    };
    Digest {
        mode: Mode::Observe,
        clients: vec![
            ClientDay {
                other_measures: 3,
                ..client("web", 4, web)
            },
            ClientDay {
                suspected: 2,
                ..client("mobile", 3, mobile)
            },
            ClientDay {
                client_id: Some("kiosk".into()),
                client_faults: 11,
                ..ClientDay::default()
            },
        ],
        more_clients: 1,
        rules: vec![
            RuleDay {
                rule: "token-reuse".into(),
                gravest: Severity::Critical,
                detections: 20,
            },
            RuleDay {
                rule: "refresh-velocity".into(),
                gravest: Severity::Low,
                detections: 2,
            },
        ],
        performed: vec![],
        waiting: vec![],
        review: vec![ListedIncident {
            id: "5d20c1b7a3f0".into(),
            severity: Severity::Low,
            opened_at: time("2026-11-20T11:02:45Z"),
            user_id: Some("bob".into()),
            client_id: Some("mobile".into()),
            summary: "A used token came again, from an unknown network".into(),
        }],
        review_total: 3,
        rejected: vec![Rejected {
            source: "keycloak".into(),
            reason: "syntax".into(),
            records: 2,
        }],
        sources: vec![LastRead {
            source: "keycloak".into(),
            at: time("2026-11-21T07:00:58Z"),
        }],
        audit: Some(AuditHead {
            seq: 412,
            hash: "9f".repeat(32).into(),
        }),
    }
}

fn late() -> TooLate {
    TooLate {
        held: vec![waiting("web", 39), waiting("mobile", 1)],
        incidents: vec![ListedIncident {
            id: "0f5c9a0e77aa".into(),
            severity: Severity::Critical,
            opened_at: time("2026-11-20T22:14:03Z"),
            user_id: Some("alice".into()),
            client_id: Some("web".into()),
            summary: "Refresh token rt-1 stolen".into(),
        }],
        incidents_total: 40,
        act_within_s: 900,
    }
}

#[tokio::test]
async fn a_digest_proves_what_observe_would_have_done() {
    let mail = mail(&bulletin(News::Digest(day()))).await;
    insta::assert_snapshot!("digest_headers", mail.headers);
    insta::assert_snapshot!("digest_text", mail.text);
    insta::assert_snapshot!("digest_html", mail.html);
}

#[tokio::test]
async fn a_summary_says_what_is_held_and_promises_nothing() {
    let summary = Bulletin {
        id: "too-late-1".into(),
        receiver: None,
        ..bulletin(News::TooLate(late()))
    };
    let mail = mail(&summary).await;
    let headers = mail.headers.replace("\n ", " ");
    let subject = "[tokenwarden] 40 actions of 40 incidents are held: events older than 15 min";
    assert!(
        headers.contains(&format!("Subject: {subject}\n")),
        "{headers}"
    );
    assert!(mail.header("From").contains("tokenwarden WAITS FOR YOU"));
    insta::assert_snapshot!("too_late_text", mail.text);
}

#[tokio::test]
async fn a_quiet_week_is_a_short_sign_of_life() {
    let quiet = Digest {
        mode: Mode::Observe,
        sources: day().sources,
        ..Digest::default()
    };
    assert!(!quiet.has_news());
    let mail = mail(&bulletin(News::Digest(quiet))).await;
    insta::assert_snapshot!("digest_quiet_text", mail.text);
}

/// The next step is that of the mode, and no name from outside becomes configuration.
#[tokio::test]
async fn how_to_go_on_depends_on_the_mode() {
    let go_on = async |mode: Mode, client: &str| {
        let mut digest = day();
        digest.mode = mode;
        digest.clients[0].client_id = Some(client.into());
        digest.clients.truncate(1);
        digest.waiting = vec![waiting("web", 2)];
        digest.performed = vec![Performed {
            kind: ActionKind::RevokeFamily,
            state: ActionState::Parked,
            actions: 1,
        }];
        mail(&bulletin(News::Digest(digest))).await.text
    };
    assert!(go_on(Mode::Observe, "web").await.contains("`mode: alert`"));
    assert!(
        go_on(Mode::Alert, "web")
            .await
            .contains("web: { mode: enforce }")
    );
    let hostile = go_on(Mode::Alert, "web: { mode: enforce } # ").await;
    assert!(
        hostile.contains("YOUR-FIRST-CLIENT: { mode: enforce }"),
        "{hostile}"
    );
    let enforce = go_on(Mode::Enforce, "web").await;
    assert!(
        enforce.contains("a lower `mode` than the daemon"),
        "{enforce}"
    );
    assert!(
        enforce.contains("end the login (revoke its token family): 1 FAILED"),
        "{enforce}"
    );
    assert!(enforce.contains("actions approve ID"), "{enforce}");
}

#[tokio::test]
async fn hostile_values_stay_values() {
    let hostile = "x\r\nBcc: thief@evil.example\r\n\r\n<script>alert(1)</script>\u{1b}[2J\u{202e}http://evil.example/{{ 7*6007 }}";
    let mut digest = day();
    digest.clients[0].client_id = Some(hostile.into());
    digest.clients[0].rules[0].0 = hostile.into();
    digest.rules[0].rule = hostile.into();
    digest.rejected[0].source = hostile.into();
    digest.sources[0].source = hostile.into();
    digest.waiting = vec![waiting(hostile, 1)];
    digest.review[0].summary = hostile.into();
    let mut late = late();
    late.held[0].client_id = Some(hostile.into());
    late.incidents[0].summary = hostile.into();
    late.incidents[0].user_id = Some(hostile.into());
    late.incidents[0].id = hostile.into();
    for news in [News::Digest(digest), News::TooLate(late)] {
        let mail = mail(&bulletin(news)).await;
        assert!(!mail.headers.lines().any(|line| line.starts_with("Bcc")));
        assert!(!mail.text.lines().any(|line| line.starts_with("Bcc")));
        assert!(!mail.html.contains("<script"));
        for text in [&mail.text, &mail.html] {
            assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
            assert!(!text.contains("http://evil"), "{text}");
            assert!(text.contains("7*6007") && !text.contains("42049"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_webhook_gets_the_facts_under_a_stable_id() {
    let server = Server::start(|_, _| reply(202, "")).await;
    let receiver = Receiver {
        name: "soar".into(),
        limits: tokenwarden::config::TargetLimits::default(),
        kind: ReceiverKind::Webhook(WebhookReceiver {
            url: Secret::new(&*server.url),
            secret: Some(Secret::new("key")),
            timeout: Duration::from_secs(5),
            ca_file: None,
        }),
        digest_at: None,
        fallback: None,
        per_hour_max: None,
    };
    let surroundings = Surroundings {
        now: || "2026-11-21T07:01:00Z".parse().unwrap(),
        revokers: Revokers::default(),
    };
    let webhook: Arc<dyn Notifier> = notifier(&receiver, surroundings).unwrap();
    detail(&webhook.announce(&bulletin(News::TooLate(late()))).await);
    detail(&webhook.announce(&bulletin(News::Digest(day()))).await);
    let seen = server.seen();
    let body = |n: usize| serde_json::from_str::<serde_json::Value>(&seen[n].body).unwrap();
    assert_eq!(
        seen[0].header("idempotency-key"),
        "digest-oncall-2026-11-21"
    );
    assert!(seen[0].header("x-tokenwarden-signature").starts_with("t="));
    assert_eq!(body(0)["type"], "too_late");
    assert_eq!(body(0)["too_late"]["held"][0]["actions"], 39);
    assert_eq!(body(1)["type"], "digest");
    assert_eq!(
        body(1)["digest"]["clients"][0]["fates"]["used_by_foreign"],
        2
    );
}
