//! Told once more: when what was under way fails, and while something waits that nobody has taken on. Else never.

use std::sync::Arc;
use std::time::Duration;

use tokenwarden::actions::Remark;
use tokenwarden::model::{Action, ActionState, Commit, Decision, IncidentState};

use crate::store_suite::theft;

use super::{Bench, Script, a_while, refused, retry, until};

const HOUR: i64 = 3600;

async fn commit(bench: &Bench, decision: Decision, state: IncidentState) {
    let mut output = theft("u1");
    output.actions[0].decision = decision;
    output.incidents[0].state = state;
    let commit = Commit {
        output,
        ..Commit::default()
    };
    bench.commit(&commit).await;
}

fn told(script: &Arc<Script>) -> usize {
    script.calls().len()
}

fn remarks(script: &Script, nth: usize) -> Vec<Remark> {
    script.notifications.lock().unwrap()[nth].remarks.clone()
}

#[tokio::test]
async fn a_contained_incident_is_one_mail() {
    let (keycloak, mail) = (Script::new("keycloak", []), Script::new("mail", []));
    let bench = Bench::new(&[&keycloak], &[&mail]).await;
    commit(&bench, Decision::Execute, IncidentState::Open).await;
    bench.until_state("notify u1", ActionState::Done).await;
    for _ in 0..5 {
        bench.advance(5 * HOUR);
        a_while().await;
    }
    assert_eq!(told(&mail), 1);
    assert_eq!(remarks(&mail, 0), []);
}

#[tokio::test]
async fn what_was_under_way_and_fails_is_told_at_once() {
    let wait = Some(Duration::from_secs(60));
    let keycloak = Script::new(
        "keycloak",
        [retry(wait), refused("403 lacks `manage-users`")],
    );
    let mail = Script::new("mail", []);
    let bench = Bench::new(&[&keycloak], &[&mail]).await;
    commit(&bench, Decision::Execute, IncidentState::Open).await;
    until("the failed try", async || {
        bench.record("revoke u1").await.outcome.is_some()
    })
    .await;
    bench.advance(15);
    bench.until_state("notify u1", ActionState::Done).await;
    assert_eq!(
        mail.notifications.lock().unwrap()[0].actions[0].state,
        ActionState::Ready
    );
    bench.advance(60);
    bench.until_state("revoke u1", ActionState::Parked).await;
    until("the second mail", async || told(&mail) == 2).await;
    bench.until_noted().await;
    assert_eq!(remarks(&mail, 1), [Remark::Needed]);
    let second = mail.notifications.lock().unwrap()[1].clone();
    assert_eq!(
        second
            .actions
            .iter()
            .filter(|it| it.state == ActionState::Parked)
            .count(),
        1
    );
    bench.advance(HOUR);
    a_while().await;
    assert_eq!(told(&mail), 2);
}

/// Of two revocations one has failed when people are told, and the other one fails after somebody has taken it on.
#[tokio::test]
async fn what_fails_after_another_failure_was_told_is_told_too_but_not_each_at_once() {
    let wait = Some(Duration::from_mins(5));
    let lacks = || refused("403 lacks `manage-users`");
    let keycloak = Script::new("keycloak", [lacks(), retry(wait), lacks()]);
    let mail = Script::new("mail", []);
    let bench = Bench::new(&[&keycloak], &[&mail]).await;
    let mut output = theft("u1");
    output.incidents[0].state = IncidentState::Acknowledged;
    let other = theft("u2").actions.remove(0);
    output.actions.push(Action {
        incident_id: output.actions[0].incident_id.clone(),
        ..other
    });
    let commit = Commit {
        output,
        ..Commit::default()
    };
    bench.commit(&commit).await;
    until("both tries", async || keycloak.calls().len() == 2).await;
    bench.advance(15);
    bench.until_state("notify u1", ActionState::Done).await;
    bench.advance(300);
    until("the last try", async || keycloak.calls().len() == 3).await;
    for action in ["revoke u1", "revoke u2"] {
        bench.until_state(action, ActionState::Parked).await;
    }
    a_while().await;
    assert_eq!(told(&mail), 1, "a failure was told five minutes ago");
    bench.advance(600);
    until("the second mail", async || told(&mail) == 2).await;
    assert_eq!(remarks(&mail, 1), [Remark::Needed]);
    bench.until_noted().await;
    bench.advance(HOUR);
    a_while().await;
    assert_eq!(told(&mail), 2);
}

#[tokio::test]
async fn what_waits_is_told_again_every_four_hours_for_a_day() {
    let mail = Script::new("mail", []);
    let bench = Bench::new(&[], &[&mail]).await;
    commit(&bench, Decision::Hold, IncidentState::Open).await;
    bench.until_state("notify u1", ActionState::Done).await;
    bench.advance(4 * HOUR - 1);
    a_while().await;
    assert_eq!(told(&mail), 1, "it said so itself");
    bench.advance(1);
    until("the second mail", async || told(&mail) == 2).await;
    assert_eq!(remarks(&mail, 1), [Remark::Again]);
    for turn in 3..=7 {
        bench.until_noted().await;
        bench.advance(4 * HOUR);
        until("one more", async || told(&mail) == turn).await;
    }
    bench.until_noted().await;
    bench.advance(4 * HOUR);
    a_while().await;
    assert_eq!(told(&mail), 7, "after a day the digest lists it");
}

#[tokio::test]
async fn who_has_taken_it_on_is_left_alone() {
    let mail = Script::new("mail", []);
    let bench = Bench::new(&[], &[&mail]).await;
    commit(&bench, Decision::Hold, IncidentState::Acknowledged).await;
    bench.until_state("notify u1", ActionState::Done).await;
    bench.advance(5 * HOUR);
    a_while().await;
    assert_eq!(told(&mail), 1);
}
