//! What is looked at once more before an action is performed: budgets by wall time, the mode, people never to be acted on,
//! and whether it was done meanwhile.

use tokenwarden::config::Budget;
use tokenwarden::model::{ActionKind, ActionState, Commit, Decision, Output};

use crate::store_suite::{action, actions, released};

use super::{Bench, Script, at};

/// Decided over hours of event time, and come to be performed within a minute.
#[tokio::test]
async fn a_backlog_does_not_go_beyond_what_ten_minutes_of_wall_time_may_bear() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    bench.change(|performers| {
        performers.budget = Budget {
            per_client: 5,
            ..Budget::default()
        };
    });
    let of = |n: u32| {
        action(
            &format!("revoke u{n}"),
            ActionKind::RevokeFamily,
            &format!("u{n}"),
            Decision::Execute,
        )
    };
    bench.commit(&actions((0..12).map(of).collect())).await;
    for n in 0..12 {
        bench.until_over(&format!("revoke u{n}")).await;
    }
    assert_eq!(keycloak.calls().len(), 5, "whatever runs side by side");
    let mut held = Vec::new();
    for n in 0..12 {
        let record = bench.record(&format!("revoke u{n}")).await;
        if record.state == ActionState::Held {
            assert!(
                record
                    .outcome
                    .unwrap()
                    .contains("5 actions in 10 min of wall time for this client")
            );
            held.push(record.action.id);
        }
    }
    assert_eq!(held.len(), 7);

    assert!(released(&bench.store, &held[0], at(0)).await);
    bench.until_state(&held[0], ActionState::Done).await;
    bench.advance(11 * 60);
    let id = bench.revoke("later").await;
    bench.until_state(&id, ActionState::Done).await;
}

#[tokio::test]
async fn what_was_decided_before_the_mode_was_lowered_is_not_performed() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    bench.change(|performers| performers.performs_nothing = true);
    let id = bench.revoke("u1").await;
    let record = bench.until_state(&id, ActionState::Suppressed).await;
    assert!(record.outcome.unwrap().contains("below enforce"));
    assert!(keycloak.calls().is_empty());
}

#[tokio::test]
async fn nobody_approves_what_is_never_to_be_done() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    bench.change(|performers| performers.never_act_on = vec!["root".into()]);
    let held = action("held", ActionKind::RevokeUser, "root", Decision::Hold);
    bench.commit(&actions(vec![held])).await;
    assert!(released(&bench.store, "held", at(0)).await);
    bench.until_state("held", ActionState::Suppressed).await;
    assert!(keycloak.calls().is_empty());
}

#[tokio::test]
async fn an_approved_action_is_not_done_twice() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    let held = action("held", ActionKind::RevokeFamily, "u1", Decision::Hold);
    bench.commit(&actions(vec![held])).await;
    let id = bench.revoke("u1").await;
    bench.until_state(&id, ActionState::Done).await;
    assert!(released(&bench.store, "held", at(0)).await);
    let record = bench.until_state("held", ActionState::Suppressed).await;
    assert!(record.outcome.unwrap().contains("done already"));
    assert_eq!(keycloak.calls().len(), 1);
}

/// Two tenants of one server may each have a user of that name.
#[tokio::test]
async fn what_was_done_in_another_tenant_was_not_done_here() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    let held = action("held", ActionKind::RevokeFamily, "u1", Decision::Hold);
    let mut elsewhere = action("all", ActionKind::RevokeUser, "u1", Decision::Execute);
    elsewhere.target.tenant = Some("b".into());
    bench.commit(&actions(vec![held, elsewhere])).await;
    bench.until_state("all", ActionState::Done).await;
    assert!(released(&bench.store, "held", at(0)).await);
    bench.until_state("held", ActionState::Done).await;
    assert_eq!(keycloak.calls(), ["all", "held"]);
}

/// Nothing waits for what is offered; it is done when somebody wants it, and of whom nobody may be, not even then.
#[tokio::test]
async fn what_is_offered_is_done_when_a_person_approves_it_and_not_before() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    bench.change(|performers| performers.never_act_on = vec!["root".into()]);
    let offer = |id, user| action(id, ActionKind::RevokeUser, user, Decision::Hold);
    let commit = Commit {
        output: Output {
            offers: vec![offer("all of u1", "u1"), offer("all of root", "root")],
            ..Output::default()
        },
        ..Commit::default()
    };
    bench.commit(&commit).await;
    let id = bench.revoke("u2").await;
    bench.until_state(&id, ActionState::Done).await;
    assert_eq!(keycloak.calls(), ["revoke u2"], "what is offered stays");
    assert_eq!(bench.record("all of u1").await.state, ActionState::Offered);

    for id in ["all of u1", "all of root"] {
        assert!(released(&bench.store, id, at(0)).await);
    }
    bench.until_state("all of u1", ActionState::Done).await;
    bench
        .until_state("all of root", ActionState::Suppressed)
        .await;
    assert_eq!(keycloak.calls(), ["revoke u2", "all of u1"]);
}
