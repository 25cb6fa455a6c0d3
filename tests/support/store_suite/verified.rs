//! Revocations that were answered: done when it is shown, tried again when the login lives on.

use tokenwarden::model::{
    Action, ActionKind, ActionState, Decision, IncidentState, NoEffect, ShownBy, Use,
};
use tokenwarden::store::{Consequence, FinishState, Queue, Store, Watched};

use super::{action, actions, at, finish, lease, own_event, state, theft};
use tokenwarden::model::{Commit, OwnEventKind};

/// One theft whose revocation was answered at 3.
async fn answered(store: &Store) -> Watched {
    let commit = Commit {
        output: theft("u1"),
        ..Commit::default()
    };
    store.commit(&commit, at(0)).await.unwrap();
    again(store, 3).await
}

/// The revocation is performed and answered.
async fn again(store: &Store, now: i64) -> Watched {
    let leased = store
        .lease_due(Queue::Revocations, at(now), "a", at(now + 30), 10)
        .await
        .unwrap();
    let event = own_event(OwnEventKind::Attempted, &leased[0].action);
    store
        .begin_within(
            None,
            &leased[0],
            &"kc".into(),
            &event,
            at(now),
            at(now + 30),
        )
        .await
        .unwrap()
        .unwrap();
    store
        .finish(&finish("revoke u1", FinishState::Answered), "a", at(now))
        .await
        .unwrap();
    let mut watched = store.answered_since(at(now), at(now), 10).await.unwrap();
    assert_eq!(watched.len(), 1);
    watched.remove(0)
}

fn used(second: i64) -> Use {
    Use {
        time: at(second),
        network: Some("198.51.100.0/24".into()),
    }
}

async fn incident_state(store: &Store) -> IncidentState {
    let found = store.incident("incident of u1", 0).await.unwrap().unwrap();
    found.incident.state
}

pub(crate) async fn answered_is_done_when_shown(store: Store) {
    let watched = answered(&store).await;
    assert!(watched.is_open);
    assert_eq!((watched.answered_at, watched.no_effects), (at(3), 0));
    assert_eq!(state(&store, "revoke u1").await, ActionState::Answered);
    assert_eq!(incident_state(&store).await, IncidentState::Open);
    assert_eq!(store.gauges().await.unwrap().unverified, 1);

    assert!(
        store
            .verified(&watched, ShownBy::Refusal, at(9))
            .await
            .unwrap()
    );
    let record = store.action("revoke u1").await.unwrap().unwrap();
    assert_eq!(record.state, ActionState::Done);
    let shown = record.verified.unwrap();
    assert_eq!((shown.at, shown.by), (at(9), ShownBy::Refusal));
    assert_eq!(
        record.outcome.as_deref(),
        Some("answered; verified: a token that would have been good was refused")
    );
    assert_eq!(incident_state(&store).await, IncidentState::Contained);
    assert!(
        !store
            .verified(&watched, ShownBy::Event, at(9))
            .await
            .unwrap(),
        "once"
    );
    let rows = store.own_events_after(0, 10).await.unwrap();
    let told = String::from_utf8(rows.last().unwrap().payload.clone()).unwrap();
    assert!(told.contains("\"verified\""), "{told}");
    let watched = store.answered_since(at(0), at(0), 10).await.unwrap();
    assert!(!watched[0].is_open, "it is still watched");
}

pub(crate) async fn no_effect_is_retried_then_given_up(store: Store) {
    let first = answered(&store).await;
    store.verified(&first, ShownBy::Event, at(4)).await.unwrap();
    let consequence = store
        .had_no_effect(&first, &used(20), at(21))
        .await
        .unwrap();
    assert_eq!(consequence, Some(Consequence::Retried));
    assert_eq!(incident_state(&store).await, IncidentState::Open);
    let record = store.action("revoke u1").await.unwrap().unwrap();
    assert_eq!(
        (record.state, record.attempts, record.verified),
        (ActionState::Ready, 0, None)
    );
    assert_eq!(
        record.action.event_time,
        at(20),
        "its age is that of the use"
    );
    let outcome = record.outcome.unwrap();
    assert!(
        outcome.contains("was used from 198.51.100.0/24"),
        "{outcome}"
    );
    assert_eq!(
        store
            .had_no_effect(&first, &used(20), at(22))
            .await
            .unwrap(),
        None,
        "once"
    );

    let second = again(&store, 30).await;
    assert_eq!(second.no_effects, 1);
    let events = store.own_events_after(0, 100).await.unwrap();
    let consequence = store
        .had_no_effect(&second, &used(50), at(51))
        .await
        .unwrap();
    assert_eq!(consequence, Some(Consequence::GivenUp));
    assert_eq!(state(&store, "revoke u1").await, ActionState::Parked);
    let after = events.last().unwrap().id;
    let told = store.own_events_after(after, 10).await.unwrap();
    let told: NoEffect = serde_json::from_slice(&told[0].payload).unwrap();
    assert_eq!(&*told.no_effect.id, "revoke u1");
    assert_eq!(told.used_at, at(50));

    let left = |now| store.left_to_do(at(0), 10, at(now));
    assert!(left(60).await.unwrap().is_empty(), "the policy may do more");
    assert_eq!(left(90).await.unwrap().len(), 1);
}

pub(crate) async fn wider_revocation_settles_the_narrower(store: Store) {
    let first = answered(&store).await;
    store
        .had_no_effect(&first, &used(20), at(21))
        .await
        .unwrap();
    let second = again(&store, 30).await;
    store
        .had_no_effect(&second, &used(50), at(51))
        .await
        .unwrap();
    let wider = |id: &str, user| Action {
        incident_id: "incident of u1".into(),
        ..action(id, ActionKind::RevokeUser, user, Decision::Execute)
    };
    let all = vec![wider("all of u2", "u2"), wider("all of u1", "u1")];
    store.commit(&actions(all), at(52)).await.unwrap();
    lease(&store, 52, "a").await;
    let end = |id| finish(id, FinishState::Done);
    store.finish(&end("all of u2"), "a", at(53)).await.unwrap();
    assert_eq!(
        state(&store, "revoke u1").await,
        ActionState::Parked,
        "another user"
    );
    store.finish(&end("all of u1"), "a", at(54)).await.unwrap();
    let record = store.action("revoke u1").await.unwrap().unwrap();
    assert_eq!(record.state, ActionState::Suppressed);
    assert!(
        record
            .outcome
            .unwrap()
            .contains("all of the user's sessions were ended")
    );
    assert_eq!(incident_state(&store).await, IncidentState::Contained);
}
