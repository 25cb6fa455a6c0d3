//! The store on SQLite: the common suite, and what only a file can show.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokenwarden::config::{Secret, StoreConfig};
use tokenwarden::model::{Commit, Position, Progress};
use tokenwarden::store::{OpenAs, OpenError, Queue, Snapshot, Store};

use crate::store_suite::{at, partition, store_suite, theft};

store_suite!(crate::store::open);

fn config(folder: &Path) -> StoreConfig {
    StoreConfig {
        url: Secret::new(format!("sqlite://{}/warden.db", folder.display())),
        connections_max: 4,
        snapshot_every: Duration::from_mins(1),
    }
}

pub(crate) async fn open() -> (Store, TempDir) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let store = open_in(folder.path()).await;
    (store, folder)
}

async fn open_in(folder: &Path) -> Store {
    Store::open(&config(folder), OpenAs::Daemon)
        .await
        .expect("a store in it")
}

/// Another connection to the same file, past the store.
async fn tamper(folder: &Path, statement: &'static str) {
    use sqlx::Connection;
    let url = format!("sqlite://{}/warden.db", folder.display());
    let mut connection = sqlx::SqliteConnection::connect(&url)
        .await
        .expect("the store's file");
    let changed = sqlx::query(statement)
        .execute(&mut connection)
        .await
        .expect("a statement that works");
    assert!(changed.rows_affected() > 0, "{statement} changed nothing");
}

#[tokio::test]
async fn second_daemon_is_refused_and_readers_are_not() {
    let (store, folder) = open().await;
    let refused = Store::open(&config(folder.path()), OpenAs::Daemon)
        .await
        .err()
        .expect("a refusal");
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains("warden.db.lock"), "{refused}");

    let reader = Store::open(&config(folder.path()), OpenAs::Reader)
        .await
        .unwrap();
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
    assert!(
        reader
            .incident("incident of u1", 1)
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        reader
            .commit(
                &Commit {
                    output: theft("u2"),
                    ..Commit::default()
                },
                at(0)
            )
            .await
            .is_err()
    );

    drop(store);
    open_in(folder.path()).await;
}

#[tokio::test]
async fn reader_does_not_create_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Store::open(&config(folder.path()), OpenAs::Reader)
        .await
        .err()
        .expect("a refusal");
    assert!(matches!(refused, OpenError::Missing { .. }), "{refused}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn store_that_needs_a_newer_reader_is_refused() {
    let (store, folder) = open().await;
    store.close().await;
    drop(store);
    tamper(
        folder.path(),
        "UPDATE meta SET value = '99' WHERE name = 'minimum_reader'",
    )
    .await;
    for open_as in [OpenAs::Daemon, OpenAs::Reader] {
        let refused = Store::open(&config(folder.path()), open_as)
            .await
            .err()
            .expect("a refusal");
        assert!(
            matches!(refused, OpenError::TooNew { needed: 99, .. }),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn committed_work_survives_and_unfinished_work_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_in(folder.path()).await;
    let claim = store
        .claim(&[partition("0")], "a", &BTreeMap::new(), at(0))
        .await
        .unwrap()
        .remove(0);
    let progress = |position: &str| Progress {
        partition: partition("0"),
        epoch: claim.epoch,
        position: Position(position.into()),
    };
    store
        .commit(
            &Commit {
                positions: vec![progress("1")],
                output: theft("u1"),
                ..Commit::default()
            },
            at(0),
        )
        .await
        .unwrap();
    // Dropped in the middle, as a crash would.
    let cut_off = Commit {
        positions: vec![progress("2")],
        output: theft("u2"),
        ..Commit::default()
    };
    tokio::select! {
        biased;
        () = async { for _ in 0..3 { tokio::task::yield_now().await } } => {}
        _ = store.commit(&cut_off, at(0)) => {}
    }
    drop(store);

    let store = open_in(folder.path()).await;
    assert!(store.incident("incident of u1", 1).await.unwrap().is_some());
    let second = store.incident("incident of u2", 1).await.unwrap().is_some();
    let position = store
        .positions()
        .await
        .unwrap()
        .remove(&partition("0"))
        .unwrap();
    let expected = if second { "2" } else { "1" };
    assert_eq!(
        position.0.as_ref(),
        expected,
        "a position never goes without its findings"
    );
}

#[tokio::test]
async fn leases_of_a_dead_daemon_are_free_at_once() {
    let (store, folder) = open().await;
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
    drop(store);
    for _ in 0..2 {
        let store = open_in(folder.path()).await;
        let leased = store
            .lease_due(Queue::Revocations, at(1), "a", at(31), 1)
            .await
            .unwrap();
        assert_eq!(leased.len(), 1);
        assert!(
            store
                .lease_due(Queue::Revocations, at(1), "a", at(31), 1)
                .await
                .unwrap()
                .is_empty()
        );
    }
}

#[tokio::test]
async fn damaged_snapshot_falls_back_to_the_older_one() {
    let (store, folder) = open().await;
    for fill in [1, 2] {
        let snapshot = Snapshot {
            positions: BTreeMap::new(),
            detections: None,
            format: 1,
            state: vec![vec![fill; 100]],
        };
        store.save_snapshot(&snapshot, at(0)).await.unwrap();
    }
    tamper(
        folder.path(),
        "UPDATE snapshot_chunk SET body = x'00' WHERE snapshot_id = 2",
    )
    .await;
    assert_eq!(
        store.load_snapshot().await.unwrap().unwrap().state,
        [[1; 100]]
    );
    tamper(
        folder.path(),
        "DELETE FROM snapshot_chunk WHERE snapshot_id = 1",
    )
    .await;
    assert_eq!(store.load_snapshot().await.unwrap(), None);
}

#[tokio::test]
async fn unfinished_snapshot_is_not_used_and_goes_when_it_is_old() {
    let (store, folder) = open().await;
    let snapshot = |fill| Snapshot {
        positions: BTreeMap::new(),
        detections: None,
        format: 1,
        state: vec![vec![fill; 100]],
    };
    store.save_snapshot(&snapshot(1), at(0)).await.unwrap();
    store.save_snapshot(&snapshot(2), at(0)).await.unwrap();
    tamper(
        folder.path(),
        "UPDATE snapshot SET complete = 0 WHERE id = 2",
    )
    .await;
    assert_eq!(store.load_snapshot().await.unwrap(), Some(snapshot(1)));
    store.save_snapshot(&snapshot(3), at(60)).await.unwrap();
    assert_eq!(store.load_snapshot().await.unwrap(), Some(snapshot(3)));
    let kept = store.snapshots_kept().await.unwrap();
    assert_eq!(kept, 3, "another daemon may be writing it");
    store.save_snapshot(&snapshot(4), at(7200)).await.unwrap();
    assert_eq!(store.snapshots_kept().await.unwrap(), 2);
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (store, folder) = open().await;
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
    let mut seen = 0;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "{:?}",
            file.file_name()
        );
        seen += 1;
    }
    assert!(seen >= 3, "database, journal and lock");
}
