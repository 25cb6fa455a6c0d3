//! What people do: rulings about actions, incidents taken on and closed, silences; each told as an event of its own.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use tokenwarden::model::{
    ActionKind, ActionState, Commit, Decision, Deed, IncidentState, Matchers, Output, PersonEvent,
    Resolution, Severity, Silence,
};
use tokenwarden::store::{Finish, FinishState, Queue, Ruling, Store, Taken};

use super::{action, actions, at, by_alice, finish, incident, lease, theft};

/// What was told of people, in order.
async fn told(store: &Store) -> Vec<PersonEvent> {
    let rows = store.own_events_after(0, 100).await.unwrap();
    let event = |row: &tokenwarden::store::Row| serde_json::from_slice(&row.payload).ok();
    rows.iter().filter_map(event).collect()
}

async fn state_of(store: &Store, id: &str) -> ActionState {
    store.action(id).await.unwrap().unwrap().state
}

async fn hold(store: &Store, id: &str) {
    let held = action(id, ActionKind::RevokeFamily, "u1", Decision::Hold);
    store.commit(&actions(vec![held]), at(0)).await.unwrap();
}

async fn stolen(store: &Store, user: &str) {
    let commit = Commit {
        output: theft(user),
        ..Commit::default()
    };
    store.commit(&commit, at(1)).await.unwrap();
}

async fn incident_state(store: &Store, user: &str) -> IncidentState {
    let id = incident(user, Severity::Critical).id;
    store
        .incident(&id, 0)
        .await
        .unwrap()
        .unwrap()
        .incident
        .state
}

pub(crate) async fn approved_action_goes_on(store: Store) {
    hold(&store, "held").await;
    let approve = async |id: &str| {
        let by = by_alice();
        store
            .rule_on(id, Ruling::Approve, &by, at(5))
            .await
            .unwrap()
    };
    assert_eq!(approve("nothing").await, Taken::Missing);
    assert_eq!(approve("held").await, Taken::Done(()));
    assert!(matches!(approve("held").await, Taken::Conflict(why) if why.contains("ready")));
    assert_eq!(lease(&store, 5, "a").await, ["held"]);
    let told = told(&store).await;
    assert_eq!((told.len(), told[0].time), (1, at(5)));
    assert_eq!(told[0].by, by_alice());
    assert!(matches!(&told[0].did, Deed::Approved { action_id, .. } if &**action_id == "held"));
}

pub(crate) async fn refused_action_ends(store: Store) {
    hold(&store, "held").await;
    let refuse = async || {
        let by = by_alice();
        store
            .rule_on("held", Ruling::Refuse, &by, at(5))
            .await
            .unwrap()
    };
    assert_eq!(refuse().await, Taken::Done(()));
    let record = store.action("held").await.unwrap().unwrap();
    assert_eq!(record.state, ActionState::Suppressed);
    assert_eq!(record.outcome.as_deref(), Some("refused by alice: seen"));
    assert!(matches!(refuse().await, Taken::Conflict(_)));
    assert_eq!(told(&store).await.len(), 1, "what was not done is not told");
}

pub(crate) async fn measure_is_taken_back_once(store: Store) {
    let block = |id: &str| action(id, ActionKind::BlockIp, id, Decision::Execute);
    let commit = actions(vec![block("one"), block("two")]);
    store.commit(&commit, at(0)).await.unwrap();
    let by = by_alice();
    let early = store.take_back("one", &by, at(1)).await.unwrap();
    assert!(matches!(early, Taken::Conflict(_)), "it does not hold yet");
    let leased = store
        .lease_due(Queue::Revocations, at(1), "a", at(100), 10)
        .await
        .unwrap();
    for leased in &leased {
        let done = Finish {
            undo_at: Some(at(3600)),
            ..finish(&leased.action.id, FinishState::Done)
        };
        store.finish(&done, &leased.lease, at(2)).await.unwrap();
    }
    assert_eq!(store.take_back_due(at(3599), 10).await.unwrap(), 0);
    let taken = store.take_back("one", &by, at(5)).await.unwrap();
    assert_eq!(taken, Taken::Done(()));
    assert_eq!(store.take_back_due(at(3600), 10).await.unwrap(), 1);
    assert_eq!(store.take_back_due(at(9000), 10).await.unwrap(), 0);
    for id in ["one", "two"] {
        let undo = store.action(&format!("{id}-undo")).await.unwrap().unwrap();
        assert_eq!(undo.state, ActionState::Ready);
        assert_eq!(undo.action.undoes.as_deref(), Some(id));
    }
    let again = store.take_back("two", &by, at(9001)).await.unwrap();
    assert!(matches!(again, Taken::Conflict(_)));
    let missing = store.take_back("none", &by, at(9001)).await.unwrap();
    assert_eq!(missing, Taken::Missing);
}

pub(crate) async fn undecided_action_is_over_after_its_time(store: Store) {
    hold(&store, "held").await;
    let output = Output {
        offers: vec![action(
            "offered",
            ActionKind::LockUser,
            "u2",
            Decision::Hold,
        )],
        ..Output::default()
    };
    let commit = Commit {
        output,
        ..Commit::default()
    };
    store.commit(&commit, at(100)).await.unwrap();
    assert!(lease(&store, 200, "a").await.is_empty());
    assert_eq!(store.expire_held(at(-1), at(3600)).await.unwrap(), []);
    let over = store.expire_held(at(50), at(3650)).await.unwrap();
    assert_eq!(over, [(ActionKind::RevokeFamily, ActionState::Expired)]);
    let over = store.expire_held(at(100), at(3700)).await.unwrap();
    assert_eq!(over, [(ActionKind::LockUser, ActionState::Suppressed)]);
    let by = by_alice();
    let late = store.rule_on("held", Ruling::Approve, &by, at(3700)).await;
    assert!(matches!(late.unwrap(), Taken::Conflict(why) if why.contains("expired")));
}

pub(crate) async fn incident_is_taken_on_and_closed(store: Store) {
    stolen(&store, "u1").await;
    let id = incident("u1", Severity::Critical).id;
    let by = by_alice();
    assert_eq!(
        store.acknowledge("nothing", &by, at(2)).await.unwrap(),
        Taken::Missing
    );
    assert_eq!(
        store.acknowledge(&id, &by, at(2)).await.unwrap(),
        Taken::Done(())
    );
    stolen(&store, "u1").await;
    assert_eq!(
        incident_state(&store, "u1").await,
        IncidentState::Acknowledged,
        "it grows as it is"
    );

    let close = async || {
        let closed = store
            .close_incident(&id, Resolution::Benign, &by, at(3))
            .await;
        closed.unwrap()
    };
    assert!(matches!(close().await, Taken::Done(closed) if &*closed.rule == "token-reuse"));
    assert!(matches!(close().await, Taken::Conflict(_)));
    stolen(&store, "u1").await;
    let closed = store.incident(&id, 0).await.unwrap().unwrap().incident;
    assert_eq!(closed.state, IncidentState::Closed);
    assert_eq!(
        (closed.resolution, closed.closed_at),
        (Some(Resolution::Benign), Some(at(3)))
    );
    let deeds: Vec<Deed> = told(&store)
        .await
        .into_iter()
        .map(|event| event.did)
        .collect();
    assert!(
        matches!(
            &deeds[..],
            [
                Deed::Acknowledged { .. },
                Deed::Closed {
                    resolution: Resolution::Benign,
                    ..
                }
            ]
        ),
        "{deeds:?}"
    );
}

pub(crate) async fn incident_is_contained_until_there_is_more(store: Store) {
    stolen(&store, "u1").await;
    lease(&store, 2, "a").await;
    let done = finish("revoke u1", FinishState::Done);
    store.finish(&done, "a", at(3)).await.unwrap();
    assert_eq!(incident_state(&store, "u1").await, IncidentState::Contained);
    stolen(&store, "u1").await;
    assert_eq!(
        incident_state(&store, "u1").await,
        IncidentState::Contained,
        "nothing new"
    );
    let more = action(
        "revoke more",
        ActionKind::RevokeFamily,
        "u1",
        Decision::Hold,
    );
    store.commit(&actions(vec![more]), at(4)).await.unwrap();
    assert_eq!(incident_state(&store, "u1").await, IncidentState::Open);
}

pub(crate) async fn idle_incident_is_found(store: Store) {
    stolen(&store, "u1").await;
    let idle = async |since: i64| store.idle_incidents(at(since), 10).await.unwrap();
    assert!(idle(100).await.is_empty(), "there is something to do");
    lease(&store, 2, "a").await;
    for id in ["revoke u1", "notify u1"] {
        let done = finish(id, FinishState::Done);
        store.finish(&done, "a", at(3)).await.unwrap();
    }
    assert!(idle(0).await.is_empty(), "not yet");
    let id = incident("u1", Severity::Critical).id;
    assert_eq!(idle(100).await, [(id, IncidentState::Contained)]);
}

pub(crate) async fn silence_is_kept_until_it_ends(store: Store) {
    let silence = Silence {
        id: "s1".into(),
        matchers: Matchers {
            client_id: Some("web".into()),
            ..Matchers::default()
        },
        author: "alice".into(),
        comment: "a load test".into(),
        created_at: at(0),
        ends_at: at(100),
    };
    store.silence(&silence, &by_alice()).await.unwrap();
    assert_eq!(store.silences(at(99), 10).await.unwrap(), [silence.clone()]);
    assert!(store.silences(at(100), 10).await.unwrap().is_empty());
    let by = by_alice();
    assert_eq!(
        store.end_silence("s1", &by, at(50)).await.unwrap(),
        Taken::Done(())
    );
    assert!(matches!(
        store.end_silence("s1", &by, at(60)).await.unwrap(),
        Taken::Conflict(_)
    ));
    assert_eq!(
        store.silence_of("s1").await.unwrap().unwrap().ends_at,
        at(50)
    );
    let deeds: Vec<Deed> = told(&store)
        .await
        .into_iter()
        .map(|event| event.did)
        .collect();
    let silence_id = silence.id.clone();
    assert_eq!(
        deeds,
        [
            Deed::Silenced { silence },
            Deed::SilenceEnded { silence_id }
        ]
    );
}

pub(crate) async fn action_by_hand_goes_the_same_way(store: Store) {
    let asked = action("asked", ActionKind::RevokeUser, "u9", Decision::Execute);
    let of = incident("u9", Severity::Info);
    store
        .ask_for(&asked, &of, &by_alice(), at(7))
        .await
        .unwrap();
    assert_eq!(state_of(&store, "asked").await, ActionState::Ready);
    assert_eq!(lease(&store, 7, "a").await, ["asked"]);
    let told = told(&store).await;
    assert!(matches!(&told[0].did, Deed::Asked { action } if **action == asked));
    assert_eq!(incident_state(&store, "u9").await, IncidentState::Open);
}
