//! Actions on their way: leases, lanes, attempts, ends.

use tokenwarden::config::Budget;
use tokenwarden::model::{ActionKind, ActionState, Commit, Decision, OwnEvent, OwnEventKind};
use tokenwarden::store::{AttemptResult, Finish, FinishState, Queue, Store, StoreError};

use super::{action, actions, at, end, finish, lease, own_event, released, revoke, state, theft};

pub(crate) async fn decision_gives_the_first_state(store: Store) {
    let all = Decision::ALL.iter().map(|decision| {
        action(
            decision.as_str(),
            ActionKind::RevokeFamily,
            decision.as_str(),
            *decision,
        )
    });
    store.commit(&actions(all.collect()), at(0)).await.unwrap();
    let mut states = Vec::new();
    for decision in Decision::ALL {
        states.push(state(&store, decision.as_str()).await);
    }
    assert_eq!(
        states,
        [
            ActionState::Ready,
            ActionState::Suppressed,
            ActionState::Held,
            ActionState::Suppressed
        ]
    );
    assert_eq!(
        lease(&store, 1, "a").await,
        ["execute"],
        "O4: observe performs nothing"
    );
}

pub(crate) async fn lease_is_exclusive_until_it_ends(store: Store) {
    revoke(&store, &["u1"]).await;
    assert_eq!(
        store.next_due(Queue::Revocations).await.unwrap(),
        Some(at(0))
    );
    assert_eq!(lease(&store, 1, "a").await, ["revoke u1"]);
    assert_eq!(
        store.next_due(Queue::Revocations).await.unwrap(),
        Some(at(31))
    );
    assert!(lease(&store, 30, "b").await.is_empty());
    store
        .renew_lease(&"revoke u1".into(), "a", at(50))
        .await
        .unwrap();
    assert!(lease(&store, 31, "b").await.is_empty());
    assert_eq!(lease(&store, 50, "b").await, ["revoke u1"]);
    let late = store.renew_lease(&"revoke u1".into(), "a", at(90)).await;
    assert!(
        matches!(late, Err(StoreError::LeaseLost { .. })),
        "{late:?}"
    );
}

pub(crate) async fn one_of_a_lane_at_a_time(store: Store) {
    let same_user = [
        action("first", ActionKind::RevokeFamily, "u1", Decision::Execute),
        action("second", ActionKind::RevokeUser, "u1", Decision::Execute),
        action("other", ActionKind::RevokeFamily, "u2", Decision::Execute),
    ];
    store
        .commit(&actions(same_user.into()), at(0))
        .await
        .unwrap();
    assert_eq!(lease(&store, 1, "a").await, ["first", "other"]);
    assert!(lease(&store, 2, "b").await.is_empty());
    store
        .finish(&finish("first", FinishState::Done), "a", at(3))
        .await
        .unwrap();
    assert_eq!(lease(&store, 4, "b").await, ["second"]);
}

pub(crate) async fn waiting_retry_does_not_block_its_lane(store: Store) {
    let same_user = [
        action("first", ActionKind::RevokeFamily, "u1", Decision::Execute),
        action("second", ActionKind::RevokeUser, "u1", Decision::Execute),
    ];
    store
        .commit(&actions(same_user.into()), at(0))
        .await
        .unwrap();
    lease(&store, 1, "a").await;
    store
        .finish(&finish("first", FinishState::RetryAt(at(60))), "a", at(2))
        .await
        .unwrap();
    assert_eq!(lease(&store, 3, "a").await, ["second"]);
    assert_eq!(
        lease(&store, 60, "a").await,
        ["first"],
        "due again, and the older one"
    );
}

pub(crate) async fn budget_forgets_what_a_clock_ahead_began(store: Store) {
    revoke(&store, &["u1", "u2"]).await;
    let (ahead, back) = (7200, 0);
    let leased = store
        .lease_due(Queue::Revocations, at(ahead), "a", at(ahead + 30), 10)
        .await
        .unwrap();
    let budget = Budget {
        per_client: 1,
        ..Budget::default()
    };
    let begin = async |which: usize, now| {
        let leased = &leased[which];
        let attempted = own_event(OwnEventKind::Attempted, &leased.action);
        let (performer, until) = ("keycloak".into(), at(now + 30));
        store
            .begin_within(
                Some(&budget),
                leased,
                &performer,
                &attempted,
                at(now),
                until,
            )
            .await
            .unwrap()
    };
    begin(0, ahead).await.unwrap();
    let used_up = begin(1, ahead).await.unwrap_err();
    assert!(used_up.contains("for this client"), "{used_up}");
    begin(1, back).await.unwrap();
}

pub(crate) async fn attempt_and_end_tell_the_engine(store: Store) {
    revoke(&store, &["u1"]).await;
    let leased = store
        .lease_due(Queue::Revocations, at(1), "a", at(31), 10)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(
        (leased.attempts, leased.approved, leased.ready_since),
        (0, false, at(0))
    );
    let id = leased.action.id.clone();
    let attempted = own_event(OwnEventKind::Attempted, &leased.action);
    for expected in [1, 1] {
        let attempts = store
            .begin_within(None, &leased, &"keycloak".into(), &attempted, at(1), at(31))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(attempts.len(), 1);
        assert_eq!(
            store.own_events_after(0, 10).await.unwrap().len(),
            expected,
            "only the first attempt is told"
        );
        store
            .end_attempt(&end(attempts[0], AttemptResult::Retry), at(2))
            .await
            .unwrap();
    }
    let attempt = store
        .begin_within(None, &leased, &"keycloak".into(), &attempted, at(1), at(31))
        .await
        .unwrap()
        .unwrap()[0];
    let done = own_event(OwnEventKind::Done, &leased.action);
    let finish = Finish {
        ends: vec![end(attempt, AttemptResult::Done)],
        own_event: Some(done.clone()),
        ..finish(&id, FinishState::Done)
    };
    store.finish(&finish, "a", at(3)).await.unwrap();

    let told: Vec<OwnEvent> = store
        .own_events_after(0, 10)
        .await
        .unwrap()
        .iter()
        .map(|row| serde_json::from_slice(&row.payload).unwrap())
        .collect();
    assert_eq!(told, [attempted, done]);
    let record = store.action(&id).await.unwrap().unwrap();
    assert_eq!(
        (record.state, record.attempts, record.outcome.as_deref()),
        (ActionState::Done, 3, Some("answered"))
    );
    assert_eq!(record.finished_at, Some(at(3)));
    assert!(lease(&store, 100, "a").await.is_empty());
}

pub(crate) async fn end_after_a_lost_lease_is_refused(store: Store) {
    revoke(&store, &["u1"]).await;
    lease(&store, 1, "a").await;
    lease(&store, 40, "b").await;
    let late = Finish {
        own_event: Some(own_event(
            OwnEventKind::Done,
            &action("x", ActionKind::RevokeFamily, "u1", Decision::Execute),
        )),
        ..finish("revoke u1", FinishState::Parked)
    };
    let refused = store.finish(&late, "a", at(41)).await;
    assert!(
        matches!(refused, Err(StoreError::LeaseLost { .. })),
        "{refused:?}"
    );
    assert!(store.own_events_after(0, 10).await.unwrap().is_empty());
    store
        .finish(&finish("revoke u1", FinishState::Done), "b", at(42))
        .await
        .unwrap();
    assert_eq!(state(&store, "revoke u1").await, ActionState::Done);
}

pub(crate) async fn receivers_done_are_remembered(store: Store) {
    let id = "notify u1".into();
    store
        .commit(
            &Commit {
                output: theft("u1"),
                ..Commit::default()
            },
            at(0),
        )
        .await
        .unwrap();
    lease(&store, 1, "a").await;
    let attempts = store
        .begin_attempt(
            &id,
            "a",
            &["on-call".into(), "siem".into()],
            None,
            at(1),
            at(31),
        )
        .await
        .unwrap();
    store
        .end_attempt(&end(attempts[0], AttemptResult::Done), at(2))
        .await
        .unwrap();
    lease(&store, 40, "b").await;
    store
        .begin_attempt(&id, "b", &["siem".into()], None, at(40), at(70))
        .await
        .unwrap();
    let leased = store
        .lease_due(Queue::Notifications, at(80), "c", at(90), 1)
        .await
        .unwrap()
        .remove(0);
    let settled = store.settled(&leased).await.unwrap();
    let [settled] = &*settled else {
        panic!("{settled:?}")
    };
    assert_eq!(
        (&*settled.performer, settled.result),
        ("on-call", AttemptResult::Done)
    );
    assert_eq!(settled.detail, end(attempts[0], AttemptResult::Done).detail);
}

pub(crate) async fn final_action_wakes_the_notification(store: Store) {
    store
        .commit(
            &Commit {
                output: theft("u1"),
                ..Commit::default()
            },
            at(0),
        )
        .await
        .unwrap();
    store
        .lease_due(Queue::Revocations, at(1), "a", at(31), 1)
        .await
        .unwrap();
    let notify = store
        .lease_due(Queue::Notifications, at(1), "a", at(31), 1)
        .await
        .unwrap()
        .remove(0);
    assert!(store.outcome_pending("incident of u1").await.unwrap());
    store.await_outcome(&notify, at(16), at(1)).await.unwrap();
    assert!(lease(&store, 2, "a").await.is_empty());
    store
        .finish(&finish("revoke u1", FinishState::Done), "a", at(3))
        .await
        .unwrap();
    assert!(!store.outcome_pending("incident of u1").await.unwrap());
    assert_eq!(lease(&store, 3, "a").await, ["notify u1"]);
}

/// Between the look at the other actions and the decision to wait, the last of them may have ended.
pub(crate) async fn outcome_in_the_meantime_wakes_too(store: Store) {
    store
        .commit(
            &Commit {
                output: theft("u1"),
                ..Commit::default()
            },
            at(0),
        )
        .await
        .unwrap();
    store
        .lease_due(Queue::Revocations, at(1), "a", at(31), 1)
        .await
        .unwrap();
    let notify = store
        .lease_due(Queue::Notifications, at(1), "a", at(31), 1)
        .await
        .unwrap()
        .remove(0);
    store
        .finish(&finish("revoke u1", FinishState::Parked), "a", at(2))
        .await
        .unwrap();
    store.await_outcome(&notify, at(16), at(2)).await.unwrap();
    assert_eq!(lease(&store, 2, "a").await, ["notify u1"]);
}

pub(crate) async fn released_action_is_due_again(store: Store) {
    let held = action("held", ActionKind::RevokeFamily, "u1", Decision::Hold);
    store.commit(&actions(vec![held]), at(0)).await.unwrap();
    assert!(lease(&store, 1, "a").await.is_empty());
    assert!(released(&store, "held", at(2)).await);
    let leased = store
        .lease_due(Queue::Revocations, at(2), "a", at(30), 10)
        .await
        .unwrap();
    assert!(leased[0].approved);
    assert!(
        !released(&store, "held", at(3)).await,
        "it is being performed"
    );
}
