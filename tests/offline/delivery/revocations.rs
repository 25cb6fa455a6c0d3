//! Revocations: tried until they work, are refused or are no longer wanted; and the loop that performs them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokenwarden::actions::Revokers;
use tokenwarden::model::limits::DELIVERY_LANES;
use tokenwarden::model::{ActionKind, ActionState, Decision, OwnEventKind};
use tokio::sync::Semaphore;

use crate::store_suite::{action, actions, at, released};

use super::{Bench, Script, Step, a_while, refused, retry, until};

#[tokio::test]
async fn done_at_the_first_try_is_told_to_all() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    bench.advance(7);
    let id = bench.revoke("u1").await;
    let record = bench.until_state(&id, ActionState::Done).await;
    assert_eq!(
        (record.attempts, record.outcome.as_deref()),
        (1, Some("204 No Content"))
    );
    assert_eq!(
        bench.own_events().await,
        [OwnEventKind::Attempted, OwnEventKind::Done]
    );
    assert_eq!(
        bench.counts(),
        [
            "revoke_family by keycloak: Done",
            "revoke_family done after 7 s"
        ]
    );
}

#[tokio::test]
async fn tries_again_until_it_works() {
    let keycloak = Script::new(
        "keycloak",
        [retry(None), retry(Some(Duration::from_secs(100)))],
    );
    let bench = Bench::new(&[&keycloak], &[]).await;
    let id = bench.revoke("u1").await;
    until("the first try", async || {
        bench.record(&id).await.outcome.is_some()
    })
    .await;
    bench.advance(1);
    until("the second try", async || {
        keycloak.calls().len() == 2 && bench.record(&id).await.state == ActionState::Ready
    })
    .await;
    bench.advance(99);
    a_while().await;
    assert_eq!(keycloak.calls().len(), 2, "the server asked for 100 s");
    bench.advance(1);
    assert_eq!(bench.until_state(&id, ActionState::Done).await.attempts, 3);
    assert_eq!(
        bench.own_events().await,
        [OwnEventKind::Attempted, OwnEventKind::Done]
    );
}

#[tokio::test]
async fn no_answer_is_a_failed_try_and_is_repeated_with_the_same_id() {
    let keycloak = Script::new("keycloak", [Step::Hang]);
    let bench = Bench::new(&[&keycloak], &[]).await;
    let id = bench.revoke("u1").await;
    until("the time-out", async || {
        bench.record(&id).await.outcome.is_some()
    })
    .await;
    let outcome = bench.record(&id).await.outcome.unwrap_or_default();
    assert!(outcome.contains("may have worked"), "{outcome}");
    bench.advance(1);
    bench.until_state(&id, ActionState::Done).await;
    assert_eq!(keycloak.calls(), ["revoke u1", "revoke u1"]);
}

#[tokio::test]
async fn crash_during_a_try_repeats_it_after_the_lease() {
    let keycloak = Script::new("keycloak", [Step::Gate(Arc::new(Semaphore::new(0)))]);
    let mut bench = Bench::new(&[&keycloak], &[]).await;
    let id = bench.revoke("u1").await;
    until("the call", async || !keycloak.calls().is_empty()).await;
    bench.crash().await;
    bench.start("two");
    a_while().await;
    assert_eq!(keycloak.calls().len(), 1, "the lease still runs");
    bench.advance(31);
    assert_eq!(bench.until_state(&id, ActionState::Done).await.attempts, 2);
    assert_eq!(keycloak.calls(), ["revoke u1", "revoke u1"]);
    assert_eq!(
        bench.own_events().await,
        [OwnEventKind::Attempted, OwnEventKind::Done]
    );
}

#[tokio::test]
async fn fault_in_an_adapter_ends_its_try_only() {
    let keycloak = Script::new("keycloak", [Step::Panic]);
    let bench = Bench::new(&[&keycloak], &[]).await;
    let first = bench.revoke("u1").await;
    until("the fault", async || !keycloak.calls().is_empty()).await;
    let second = bench.revoke("u2").await;
    bench.until_state(&second, ActionState::Done).await;
    bench.advance(31);
    bench.until_state(&first, ActionState::Done).await;
}

#[tokio::test]
async fn refused_for_good_is_parked_and_not_repeated() {
    let keycloak = Script::new(
        "keycloak",
        [refused("403: the service account lacks `manage-users`")],
    );
    let bench = Bench::new(&[&keycloak], &[]).await;
    let id = bench.revoke("u1").await;
    let record = bench.until_state(&id, ActionState::Parked).await;
    assert_eq!(
        record.outcome.as_deref(),
        Some("403: the service account lacks `manage-users`")
    );
    bench.advance(600);
    a_while().await;
    assert_eq!(keycloak.calls().len(), 1);
    assert_eq!(
        bench.own_events().await,
        [OwnEventKind::Attempted, OwnEventKind::Parked]
    );
}

#[tokio::test]
async fn given_up_at_the_deadline() {
    let keycloak = Script::new("keycloak", (0..100).map(|_| retry(None)));
    let bench = Bench::new(&[&keycloak], &[]).await;
    let id = bench.revoke("u1").await;
    until("the end", async || {
        bench.advance(20);
        bench.record(&id).await.state == ActionState::Parked
    })
    .await;
    let outcome = bench.record(&id).await.outcome.unwrap_or_default();
    assert!(outcome.starts_with("given up after"), "{outcome}");
    assert_eq!(bench.own_events().await.last(), Some(&OwnEventKind::Parked));
}

#[tokio::test]
async fn nobody_to_perform_it_says_how_to_mend() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    let mut lock = action("lock", ActionKind::LockUser, "u1", Decision::Execute);
    let mut elsewhere = action(
        "elsewhere",
        ActionKind::RevokeFamily,
        "u2",
        Decision::Execute,
    );
    elsewhere.target.issuer = "other".into();
    lock.target.issuer = "events".into();
    bench.commit(&actions(vec![lock, elsewhere])).await;
    for (id, named) in [("lock", "lock_user"), ("elsewhere", "issuer other")] {
        let outcome = bench
            .until_state(id, ActionState::Parked)
            .await
            .outcome
            .unwrap_or_default();
        assert!(
            outcome.contains(named) && outcome.contains("`revokers`"),
            "{outcome}"
        );
    }
    assert!(keycloak.calls().is_empty());
}

#[tokio::test]
async fn too_old_is_held_until_a_person_lets_it_go() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    bench.advance(15 * 60 + 1);
    let id = bench.revoke("u1").await;
    let record = bench.until_state(&id, ActionState::Held).await;
    assert!(
        record
            .outcome
            .as_deref()
            .is_some_and(|why| why.contains("act_within")),
        "{record:?}"
    );
    assert!(keycloak.calls().is_empty() && bench.own_events().await.is_empty());
    assert!(released(&bench.store, &id, at(15 * 60 + 1)).await);
    bench.until_state(&id, ActionState::Done).await;
}

/// A server that does not do what the configuration says makes every verdict about it doubtful.
#[tokio::test]
async fn a_revoker_in_contradiction_does_nothing_until_a_person_says_so() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    bench.withheld.replace(BTreeMap::from([(
        "keycloak".into(),
        "it does not rotate".into(),
    )]));
    let id = bench.revoke("u1").await;
    let record = bench.until_state(&id, ActionState::Held).await;
    assert_eq!(record.outcome.as_deref(), Some("it does not rotate"));
    assert!(keycloak.calls().is_empty());
    assert!(released(&bench.store, &id, at(0)).await);
    bench.until_state(&id, ActionState::Done).await;
    bench.withheld.replace(BTreeMap::new());
    let later = bench.revoke("u2").await;
    bench.until_state(&later, ActionState::Done).await;
}

#[tokio::test]
async fn actions_on_one_user_go_one_after_the_other() {
    let keycloak = Script::new("keycloak", []);
    let bench = Bench::new(&[&keycloak], &[]).await;
    let ids: Vec<String> = (0..12).map(|n| format!("action {n:02}")).collect();
    let all = ids
        .iter()
        .map(|id| action(id, ActionKind::RevokeFamily, "u1", Decision::Execute));
    bench.commit(&actions(all.collect())).await;
    bench.until_state("action 11", ActionState::Done).await;
    assert_eq!(keycloak.calls(), ids);
    assert_eq!(keycloak.running_most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn actions_on_several_users_go_side_by_side_within_the_bound() {
    const MANY: usize = DELIVERY_LANES + 8;
    let bound = i64::try_from(DELIVERY_LANES).expect("a few");
    let gate = Arc::new(Semaphore::new(0));
    let keycloak = Script::new("keycloak", (0..MANY).map(|_| Step::Gate(gate.clone())));
    let mut bench = Bench::new(&[&keycloak], &[]).await;
    bench.change(|performers| performers.budget.per_client = 100);
    // None may end before the last of them has begun, however busy the machine is.
    bench.crash().await;
    bench.timeout = Duration::from_mins(10);
    bench.start("patient");
    let all = (0..MANY).map(|n| {
        action(
            &format!("{n}"),
            ActionKind::RevokeFamily,
            &format!("u{n}"),
            Decision::Execute,
        )
    });
    bench.commit(&actions(all.collect())).await;
    until("a full house", async || {
        keycloak.calls().len() == DELIVERY_LANES
    })
    .await;
    gate.add_permits(MANY);
    until("all done", async || {
        bench.store.gauges().await.unwrap().pending.is_empty()
    })
    .await;
    let mut calls = keycloak.calls();
    calls.sort();
    calls.dedup();
    assert_eq!(calls.len(), MANY);
    assert_eq!(keycloak.running_most.load(Ordering::SeqCst), bound);
}

#[tokio::test]
async fn stop_lets_running_tries_end_and_starts_no_more() {
    let gate = Arc::new(Semaphore::new(0));
    let keycloak = Script::new("keycloak", [Step::Gate(gate.clone())]);
    let mut bench = Bench::new(&[&keycloak], &[]).await;
    let first = bench.revoke("u1").await;
    until("the call", async || !keycloak.calls().is_empty()).await;
    bench.cancel.cancel();
    a_while().await;
    let second = bench.revoke("u2").await;
    gate.add_permits(1);
    bench.stop().await;
    assert_eq!(bench.record(&first).await.state, ActionState::Done);
    assert_eq!(bench.record(&second).await.state, ActionState::Ready);
}

#[tokio::test]
async fn new_performers_serve_from_the_next_action_on() {
    let bench = Bench::new(&[], &[]).await;
    let id = bench.revoke("u1").await;
    bench.until_state(&id, ActionState::Parked).await;
    let keycloak = Script::new("keycloak", []);
    let revokers = Revokers::from_list(vec![keycloak.clone()]);
    bench.change(|performers| performers.revokers = revokers);
    assert!(released(&bench.store, &id, at(0)).await);
    bench.until_state(&id, ActionState::Done).await;
}
