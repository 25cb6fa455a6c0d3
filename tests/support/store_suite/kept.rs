//! What is kept for later, and for how long: the inbox, snapshots, the token key, old rows.

use std::collections::BTreeMap;
use std::time::Duration;

use tokenwarden::config::Retention;
use tokenwarden::model::{ActionKind, Commit, Decision, OwnEventKind, Position};
use tokenwarden::store::{FinishState, Snapshot, Store};

use super::{action, at, finish, lease, own_event, partition, theft};

pub(crate) async fn inbox_is_read_in_order(store: Store) {
    let hook = "hook".into();
    store
        .insert_inbox(&hook, vec![b"1".to_vec(), b"\0\xff".to_vec()], at(0))
        .await
        .unwrap();
    store
        .insert_inbox(&"other".into(), vec![b"x".to_vec()], at(0))
        .await
        .unwrap();
    store
        .insert_inbox(&hook, vec![b"4".to_vec()], at(0))
        .await
        .unwrap();
    store.insert_inbox(&hook, vec![], at(0)).await.unwrap();
    let rows = store.inbox_after(&hook, 1, 10).await.unwrap();
    let rows: Vec<(i64, &[u8])> = rows
        .iter()
        .map(|row| (row.id, row.payload.as_slice()))
        .collect();
    assert_eq!(rows, [(2, b"\0\xff".as_slice()), (4, b"4".as_slice())]);
    assert_eq!(store.inbox_after(&hook, 0, 1).await.unwrap().len(), 1);
    assert_eq!(store.newest_inbox().await.unwrap(), 4);
}

/// A reader of `id > last` must never meet an id below one that it has seen.
pub(crate) async fn concurrent_own_events_leave_no_gap(store: Store) {
    let event = own_event(
        OwnEventKind::Done,
        &action("x", ActionKind::RevokeFamily, "u1", Decision::Execute),
    );
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (store, event) = (store.clone(), event.clone());
            tokio::spawn(async move {
                for _ in 0..25 {
                    store.record_own_event(&event).await.unwrap();
                }
            })
        })
        .collect();
    let mut seen = Vec::new();
    while seen.len() < 100 {
        let after = seen.last().copied().unwrap_or(0);
        seen.extend(
            store
                .own_events_after(after, 7)
                .await
                .unwrap()
                .iter()
                .map(|row| row.id),
        );
        if writers.iter().all(tokio::task::JoinHandle::is_finished)
            && after == store.newest_own_event().await.unwrap()
        {
            break;
        }
    }
    assert_eq!(seen, (1..=100).collect::<Vec<_>>());
}

fn snapshot(fill: u8) -> Snapshot {
    let positions = BTreeMap::from([(
        partition("0"),
        Position(format!("{{\"offset\":{fill}}}").into()),
    )]);
    Snapshot {
        positions,
        detections: None,
        format: 3,
        state: vec![vec![fill; 2 * 1024 * 1024 + 17]],
    }
}

pub(crate) async fn snapshot_comes_back(store: Store) {
    assert_eq!(store.load_snapshot().await.unwrap(), None);
    let empty = Snapshot {
        positions: BTreeMap::new(),
        detections: None,
        format: 1,
        state: vec![vec![]],
    };
    for each in [empty, snapshot(1), snapshot(2)] {
        store.save_snapshot(&each, at(0)).await.unwrap();
        assert!(store.load_snapshot().await.unwrap() == Some(each));
    }
}

pub(crate) async fn two_snapshots_are_kept(store: Store) {
    for fill in 1..=4 {
        store.save_snapshot(&snapshot(fill), at(0)).await.unwrap();
    }
    assert_eq!(store.snapshots_kept().await.unwrap(), 2);
}

pub(crate) async fn found_since_a_snapshot_goes_by_order(store: Store) {
    let find = async |user: &str, time| {
        let output = theft(user);
        let commit = Commit {
            output,
            ..Commit::default()
        };
        store.commit(&commit, at(time)).await.unwrap();
    };
    let found = async || store.detections_since_snapshot().await.unwrap().len();
    find("u1", 7200).await;
    assert_eq!(found().await, 1, "all, before a state was ever saved");
    let mut state = snapshot(1);
    store.save_snapshot(&state, at(7200)).await.unwrap();
    assert_eq!(found().await, 1, "by time, with what clocks may be apart");
    state.detections = Some(store.newest_detection().await.unwrap());
    for _ in 0..2 {
        store.save_snapshot(&state, at(7200)).await.unwrap();
    }
    assert_eq!(found().await, 0);
    find("u2", 0).await;
    assert_eq!(found().await, 1, "found after the clock was set back");
}

pub(crate) async fn token_key_is_remembered(store: Store) {
    let check = async |now, before| {
        let checked = store.check_token_key(now, before).await;
        checked.map_err(|error| error.to_string())
    };
    check("one", None).await.unwrap();
    check("one", None).await.unwrap();
    let refused = check("two", None).await.unwrap_err();
    assert!(
        refused.contains("fingerprint one") && refused.contains("configured two"),
        "{refused}"
    );
    let refused = check("one", Some("zero")).await.unwrap_err();
    assert!(refused.contains("fingerprint zero"), "{refused}");
    check("two", Some("zero")).await.unwrap_err();
    // The rotation begins, and every restart within it is fine; a third key is not.
    check("two", Some("one")).await.unwrap();
    check("two", Some("one")).await.unwrap();
    check("two", Some("zero")).await.unwrap_err();
    check("three", Some("one")).await.unwrap_err();
    check("one", None).await.unwrap_err();
    // It is over, and the first key does not come back.
    check("two", None).await.unwrap();
    check("two", Some("one")).await.unwrap_err();
    check("one", None).await.unwrap_err();
    // The way back is a rotation like any other, and the next may begin before the last is over.
    check("one", Some("two")).await.unwrap();
    check("three", Some("one")).await.unwrap();
}

pub(crate) async fn retention_removes_what_is_old(store: Store) {
    const DAY: i64 = 86_400;
    let retention = Retention {
        detections: Duration::from_hours(240),
        rejects: Duration::from_hours(24),
        inbox: Duration::from_hours(24),
        ..Retention::default()
    };
    store
        .commit(
            &Commit {
                output: theft("old"),
                ..Commit::default()
            },
            at(0),
        )
        .await
        .unwrap();
    lease(&store, 1, "a").await;
    store
        .finish(&finish("revoke old", FinishState::Done), "a", at(2))
        .await
        .unwrap();
    store
        .commit(
            &Commit {
                output: theft("new"),
                ..Commit::default()
            },
            at(9 * DAY),
        )
        .await
        .unwrap();
    store
        .insert_inbox(
            &"hook".into(),
            vec![b"read".to_vec(), b"unread".to_vec()],
            at(0),
        )
        .await
        .unwrap();

    let read = [("hook".into(), 1)].into();
    let removed = store
        .retention(&retention, &read, at(11 * DAY))
        .await
        .unwrap();
    assert_eq!(
        (removed.incidents, removed.detections, removed.inbox),
        (1, 1, 1)
    );
    assert_eq!(
        removed.actions, 1,
        "the notification was never performed and stays"
    );
    assert!(
        store
            .incident("incident of old", 1)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        store
            .incident("incident of new", 1)
            .await
            .unwrap()
            .unwrap()
            .detections
            .len(),
        1
    );
    assert_eq!(
        store.inbox_after(&"hook".into(), 0, 10).await.unwrap()[0].payload,
        b"unread"
    );
}

pub(crate) async fn inbox_is_forgotten_source_by_source(store: Store) {
    const DAY: i64 = 86_400;
    let retention = Retention {
        inbox: Duration::from_hours(24),
        ..Retention::default()
    };
    for (source, day) in [
        ("busy", 0),
        ("quiet", 0),
        ("renamed", 0),
        ("busy", 0),
        ("renamed", 2),
        ("busy", 2),
    ] {
        let body = vec![source.as_bytes().to_vec()];
        store
            .insert_inbox(&source.into(), body, at(day * DAY))
            .await
            .unwrap();
    }
    // `busy` has read all of its records, `quiet` has read none yet, nobody reads `renamed` any more.
    let read = [("busy".into(), 6), ("quiet".into(), 0)].into();
    let removed = store
        .retention(&retention, &read, at(2 * DAY + 1))
        .await
        .unwrap();
    assert_eq!(removed.inbox, 3);
    for (source, left) in [("busy", vec![6]), ("quiet", vec![2]), ("renamed", vec![5])] {
        let rows = store.inbox_after(&source.into(), 0, 10).await.unwrap();
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        assert_eq!(ids, left, "{source}");
    }
}
