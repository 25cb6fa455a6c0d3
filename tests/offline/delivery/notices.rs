//! Notifications: when they go out, to whom, and what they may not delay.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokenwarden::model::{ActionKind, ActionState, Commit, Incident, IncidentState};
use tokio::sync::Semaphore;

use crate::store_suite::{at, incident, released, theft};

use super::{Bench, Script, Step, a_while, refused, retry, until};

#[tokio::test]
async fn mail_waits_for_the_outcome_and_says_it() {
    let gate = Arc::new(Semaphore::new(0));
    let keycloak = Script::new("keycloak", [Step::Gate(gate.clone())]);
    let mail = Script::new("on-call", []);
    let bench = Bench::new(&[&keycloak], &[&mail]).await;
    bench
        .commit(&Commit {
            output: theft("u1"),
            ..Commit::default()
        })
        .await;
    until("the revocation", async || !keycloak.calls().is_empty()).await;
    a_while().await;
    assert!(mail.calls().is_empty());
    gate.add_permits(1);
    let record = bench.until_state("notify u1", ActionState::Done).await;
    assert_eq!(
        (record.attempts, record.outcome.as_deref()),
        (1, Some("told on-call (204 No Content)"))
    );
    let notification = mail.notifications.lock().unwrap().remove(0);
    assert_eq!(notification.actions.len(), 1);
    assert_eq!(notification.actions[0].state, ActionState::Done);
    let contained = Incident {
        state: IncidentState::Contained,
        ..incident("u1", tokenwarden::model::Severity::Critical)
    };
    assert_eq!(notification.incident, contained);
    assert_eq!(
        (
            notification.detections.len(),
            notification.rules.len(),
            notification.specimen
        ),
        (1, 1, false)
    );
}

#[tokio::test]
async fn mail_waits_no_longer_than_fifteen_seconds() {
    let keycloak = Script::new("keycloak", [retry(Some(Duration::from_mins(5)))]);
    let mail = Script::new("on-call", []);
    let bench = Bench::new(&[&keycloak], &[&mail]).await;
    bench
        .commit(&Commit {
            output: theft("u1"),
            ..Commit::default()
        })
        .await;
    until("the failed try", async || {
        bench.record("revoke u1").await.outcome.is_some()
    })
    .await;
    bench.advance(14);
    a_while().await;
    assert!(mail.calls().is_empty());
    bench.advance(1);
    bench.until_state("notify u1", ActionState::Done).await;
    assert_eq!(
        mail.notifications.lock().unwrap()[0].actions[0].state,
        ActionState::Ready
    );
}

#[tokio::test]
async fn each_receiver_is_told_once() {
    let (mail, siem) = (
        Script::new("on-call", []),
        Script::new("siem", [retry(None), Step::Hang]),
    );
    let bench = Bench::new(&[], &[&mail, &siem]).await;
    bench
        .commit(&Commit {
            output: theft("u1"),
            ..Commit::default()
        })
        .await;
    until("both failures", async || {
        bench.advance(1);
        siem.calls().len() == 3
    })
    .await;
    let record = bench.until_state("notify u1", ActionState::Done).await;
    assert_eq!(
        record.outcome.as_deref(),
        Some("told on-call (204 No Content), siem (204 No Content)")
    );
    assert_eq!(mail.calls(), ["notify u1"]);
}

#[tokio::test]
async fn receiver_that_refuses_silences_nobody() {
    let (dead, mail) = (
        Script::new("dead", [refused("550 no such user")]),
        Script::new("on-call", [retry(None)]),
    );
    let bench = Bench::new(&[], &[&dead, &mail]).await;
    bench
        .commit(&Commit {
            output: theft("u1"),
            ..Commit::default()
        })
        .await;
    until("the first round", async || {
        bench.record("notify u1").await.outcome.is_some()
    })
    .await;
    bench.advance(1);
    let record = bench.until_state("notify u1", ActionState::Parked).await;
    assert_eq!(
        record.outcome.as_deref(),
        Some("told on-call (204 No Content), but refused by dead (550 no such user)")
    );
    assert_eq!((dead.calls().len(), mail.calls().len()), (1, 2));

    bench.advance(60);
    let now = at(bench.clock.load(Ordering::SeqCst));
    assert!(released(&bench.store, "notify u1", now).await);
    bench.until_state("notify u1", ActionState::Done).await;
    assert_eq!(
        (dead.calls().len(), mail.calls().len()),
        (2, 2),
        "only the one that refused is asked again"
    );
}

#[tokio::test]
async fn nobody_looks_back_for_a_notice_that_another_has_said() {
    let keycloak = Script::new("keycloak", [retry(Some(Duration::from_mins(5)))]);
    let mail = Script::new("on-call", []);
    let bench = Bench::new(&[&keycloak], &[&mail]).await;
    let mut output = theft("u1");
    output.detections[0].family_id = Some("family of u1".into());
    let mut again = output.clone();
    again.actions.retain(|it| it.kind == ActionKind::Notify);
    again.actions[0].id = "again".into();
    for output in [output, again] {
        let commit = Commit {
            output,
            ..Commit::default()
        };
        bench.commit(&commit).await;
        until("the failed try", async || {
            bench.record("revoke u1").await.outcome.is_some()
        })
        .await;
        bench.advance(10);
    }
    bench.until_state("notify u1", ActionState::Done).await;
    assert_eq!(bench.events.stories.load(Ordering::SeqCst), 1);
    bench.advance(10);
    let again = (bench.until_state("again", ActionState::Suppressed)).await;
    assert_eq!(
        again.outcome.as_deref(),
        Some("the notice notify u1 has said it")
    );
    assert_eq!(bench.events.stories.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn mail_server_that_hangs_delays_no_revocation() {
    let keycloak = Script::new("keycloak", []);
    let never = Arc::new(Semaphore::new(0));
    let mail = Script::new("on-call", (0..20).map(|_| Step::Gate(never.clone())));
    let bench = Bench::new(&[&keycloak], &[&mail]).await;
    for n in 0..20 {
        bench
            .commit(&Commit {
                output: theft(&format!("u{n}")),
                ..Commit::default()
            })
            .await;
    }
    for n in 0..20 {
        bench
            .until_state(&format!("revoke u{n}"), ActionState::Done)
            .await;
    }
}
