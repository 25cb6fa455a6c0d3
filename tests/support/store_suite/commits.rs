//! Claims of partitions and commits under them: once, whole, or not at all.

use std::collections::BTreeMap;

use tokenwarden::model::{
    ActionState, Canary, Commit, Incident, IncidentState, Member, Output, Position, Reject,
    RejectReason, Severity, StartAt, Timestamp,
};
use tokenwarden::store::{DetectionFilter, FinishState, IncidentFilter, Queue, Store, StoreError};

use super::{
    ALL, at, claim, detection, finish, incident, lease, partition, progress, state, theft,
};

pub(crate) async fn first_claim_is_fresh(store: Store) {
    let claims = store
        .claim(
            &[partition("1"), partition("0")],
            "a",
            &BTreeMap::new(),
            at(0),
        )
        .await
        .unwrap();
    let starts: Vec<_> = claims
        .iter()
        .map(|claim| {
            (
                claim.partition.partition.as_ref(),
                claim.epoch,
                &claim.start,
            )
        })
        .collect();
    assert_eq!(
        starts,
        [("0", 1, &StartAt::Fresh), ("1", 1, &StartAt::Fresh)]
    );
}

pub(crate) async fn claim_resumes_from_the_snapshot(store: Store) {
    let first = claim(&store, "a").await;
    let commit = Commit {
        positions: vec![progress(&first, "5"), progress(&first, "9")],
        ..Commit::default()
    };
    store.commit(&commit, at(1)).await.unwrap();

    let without = claim(&store, "a").await;
    let committed = Position("9".into());
    assert_eq!(
        without.start,
        StartAt::Resume {
            from: committed.clone(),
            committed: committed.clone(),
            anew: false,
        }
    );
    let restored = BTreeMap::from([(partition("0"), Position("4".into()))]);
    let with = store
        .claim(&[partition("0")], "a", &restored, at(2))
        .await
        .unwrap();
    assert_eq!(
        with[0].start,
        StartAt::Resume {
            from: Position("4".into()),
            committed,
            anew: false,
        }
    );
    assert_eq!(with[0].epoch, 3);
}

pub(crate) async fn former_owner_is_fenced(store: Store) {
    let old = claim(&store, "a").await;
    let new = claim(&store, "b").await;
    let stale = Commit {
        positions: vec![progress(&old, "7")],
        ..Commit::default()
    };
    let refused = store.commit(&stale, at(1)).await;
    assert!(
        matches!(refused, Err(StoreError::Fenced { ref partition, ref owner }) if &*partition.partition == "0" && &**owner == "b"),
        "{refused:?}"
    );
    let fresh = Commit {
        positions: vec![progress(&new, "7")],
        ..Commit::default()
    };
    store.commit(&fresh, at(1)).await.unwrap();
}

pub(crate) async fn fenced_commit_leaves_nothing(store: Store) {
    let old = claim(&store, "a").await;
    let other = store
        .claim(&[partition("00")], "a", &BTreeMap::new(), at(0))
        .await
        .unwrap();
    claim(&store, "b").await;
    let commit = Commit {
        positions: vec![progress(&other[0], "3"), progress(&old, "7")],
        output: theft("u1"),
        canary: Some(canary("a", 1)),
        ..Commit::default()
    };
    assert!(store.commit(&commit, at(1)).await.is_err());
    assert_eq!(passed(&store, "a").await, [None, None]);
    assert_eq!(store.positions().await.unwrap(), BTreeMap::new());
    assert!(
        store
            .detections(&DetectionFilter::default(), ALL)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(lease(&store, 1, "a").await.is_empty());
}

fn canary(sender: &str, sent_at: i64) -> Canary {
    Canary {
        sender: sender.into(),
        sent_at: at(sent_at),
    }
}

/// What comes out of a look of each half of the outbox.
async fn passed(store: &Store, sender: &str) -> [Option<Timestamp>; 2] {
    let sender = sender.into();
    let first = store.pass_canary(Queue::Revocations, &sender).await;
    let second = store.pass_canary(Queue::Notifications, &sender).await;
    [first.unwrap(), second.unwrap()]
}

pub(crate) async fn canary_passes_both_queues(store: Store) {
    let sends = async |sender, sent_at| {
        let commit = Commit {
            canary: Some(canary(sender, sent_at)),
            ..Commit::default()
        };
        store.commit(&commit, at(sent_at)).await.unwrap();
    };
    sends("a", 1).await;
    let early = store.pass_canary(Queue::Notifications, &"a".into()).await;
    assert_eq!(early.unwrap(), None, "the revocations come first");
    assert_eq!(passed(&store, "b").await, [None, None], "it is not b's");
    assert_eq!(passed(&store, "a").await, [None, Some(at(1))]);
    assert_eq!(passed(&store, "a").await, [None, None], "it is out");

    sends("a", 2).await;
    sends("b", 3).await;
    assert_eq!(
        passed(&store, "a").await,
        [None, None],
        "b's took its place"
    );
    assert_eq!(passed(&store, "b").await, [None, Some(at(3))]);
}

pub(crate) async fn repeated_commit_changes_nothing(store: Store) {
    let owner = claim(&store, "a").await;
    let commit = Commit {
        positions: vec![progress(&owner, "7")],
        output: theft("u1"),
        ..Commit::default()
    };
    let first = store.commit(&commit, at(1)).await.unwrap();
    assert_eq!((first.detections_new, first.actions_new), (1, 2));
    assert_eq!(lease(&store, 1, "a").await.len(), 2);
    store
        .finish(&finish("revoke u1", FinishState::Done), "a", at(2))
        .await
        .unwrap();

    let again = store.commit(&commit, at(3)).await.unwrap();
    assert_eq!((again.detections_new, again.actions_new), (0, 0));
    assert_eq!(state(&store, "revoke u1").await, ActionState::Done);
    let found = store.incident("incident of u1", 10).await.unwrap().unwrap();
    assert_eq!((found.detections.len(), found.actions.len()), (1, 2));
}

pub(crate) async fn large_commit_is_whole(store: Store) {
    let users: Vec<String> = (0..1063).map(|n| format!("u{n}")).collect();
    let mut output = Output::default();
    for user in &users {
        let one = theft(user);
        output.detections.extend(one.detections);
        output.incidents.extend(one.incidents);
        output.actions.extend(one.actions);
    }
    let reject = Reject {
        source: "events".into(),
        partition: "0".into(),
        place: "42".into(),
        reason: RejectReason::Syntax,
        message: "expected a JSON object".into(),
        payload: "{".into(),
    };
    let commit = Commit {
        positions: vec![],
        output,
        rejects: vec![reject; 60],
        ..Commit::default()
    };
    let report = store.commit(&commit, at(1)).await.unwrap();
    assert_eq!((report.detections_new, report.actions_new), (1063, 2126));
    for user in ["u0", "u49", "u50", "u1062"] {
        let found = store
            .incident(&format!("incident of {user}"), 10)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            found.detections[0],
            detection(&format!("detection of {user}"), user, Severity::Critical)
        );
    }
}

pub(crate) async fn incident_grows(store: Store) {
    store
        .commit(
            &Commit {
                output: theft("u1"),
                ..Commit::default()
            },
            at(1),
        )
        .await
        .unwrap();
    let grown = Incident {
        detections: 2,
        ..incident("u1", Severity::Critical)
    };
    let output = Output {
        detections: vec![detection("another", "u1", Severity::Low)],
        incidents: vec![grown.clone()],
        members: vec![Member {
            incident_id: grown.id.clone(),
            detection_id: "another".into(),
        }],
        ..Output::default()
    };
    store
        .commit(
            &Commit {
                output,
                ..Commit::default()
            },
            at(2),
        )
        .await
        .unwrap();
    let found = store.incident(&grown.id, 10).await.unwrap().unwrap();
    assert_eq!(found.incident, grown);
    assert_eq!(found.detections.len(), 2);
    let open = IncidentFilter {
        state: Some(IncidentState::Open),
        ..IncidentFilter::default()
    };
    assert_eq!(store.incidents(&open, ALL).await.unwrap().items, [grown]);
}

/// A client chooses its user agent, and a provider's user id may be anything; PostgreSQL's text takes no U+0000.
pub(crate) async fn null_characters_are_survived(store: Store) {
    let mut output = theft("u\0one");
    output.detections[0].summary = "\0".into();
    let reject = Reject {
        source: "events".into(),
        partition: "0".into(),
        place: "\0".into(),
        reason: RejectReason::Syntax,
        message: "\0".into(),
        payload: "\0".into(),
    };
    store
        .commit(
            &Commit {
                output,
                rejects: vec![reject],
                ..Commit::default()
            },
            at(1),
        )
        .await
        .unwrap();
    let found = store
        .detections(&DetectionFilter::default(), ALL)
        .await
        .unwrap();
    assert_eq!(found.items[0].summary.as_ref(), "\0");
}
