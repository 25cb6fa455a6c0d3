//! A PostgreSQL whose host vanishes without a word, and another that takes its address: connections that there were never answer, and
//! new ones do.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};
use tokenwarden::model::{Commit, limits};
use tokenwarden::store::{Queue, Store};
use tokio::time::timeout;

use crate::daemon::PATIENCE;
use crate::kills::{database, execute};
use crate::standby::{now, open, proxied};
use crate::store_suite::theft;

async fn take(store: &Store) {
    let taken = store.take_lead(&"one".into(), &"".into()).await;
    assert_eq!(taken.unwrap(), None);
}

/// As a daemon does.
async fn is_renewed(store: &Store) -> bool {
    match timeout(limits::LEAD_TIMEOUT, store.renew_lead()).await {
        Ok(renewed) => renewed.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn the_lead_goes_on_over_another_connection() {
    let (proxy, url) = proxied(&database().await).await;
    let store = open(&url).await;
    take(&store).await;
    store.commit(&Commit::default(), now()).await.unwrap();
    proxy.silence();
    assert!(!is_renewed(&store).await, "the question is lost");
    assert!(is_renewed(&store).await, "and no other");
    let committed = timeout(PATIENCE, store.commit(&Commit::default(), now())).await;
    committed.expect("it does not wait for TCP").unwrap();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn what_was_given_up_keeps_no_place_among_the_connections() {
    let direct = database().await;
    let (proxy, url) = proxied(&direct).await;
    let store = open(&url).await;
    take(&store).await;
    let mut other = PgConnection::connect(&direct).await.unwrap();
    execute(&mut other, "BEGIN; SELECT 1 FROM leader FOR UPDATE").await;
    // As many as there may be connections, each with a question under way.
    let second = Duration::from_secs(1);
    let stuck = (0..4).map(|_| async {
        let committed = timeout(second, store.commit(&Commit::default(), now())).await;
        assert!(committed.is_err(), "the term is held");
    });
    let silence = async {
        tokio::time::sleep(second / 2).await;
        proxy.silence();
    };
    tokio::join!(futures_util::future::join_all(stuck), silence);
    execute(&mut other, "COMMIT").await;
    store.commit(&Commit::default(), now()).await.unwrap();
    let begun = Instant::now();
    store.close().await;
    assert!(begun.elapsed() < PATIENCE);
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn what_was_leased_is_free_also_where_the_lead_is_heard_of_late() {
    let store = open(&database().await).await;
    take(&store).await;
    let commit = Commit {
        output: theft("u1"),
        ..Commit::default()
    };
    store.commit(&commit, now()).await.unwrap();
    let later = now() + Duration::from_mins(1);
    let lease = async || {
        let leased = store.lease_due(Queue::Revocations, now(), "before", later, 9);
        leased.await.unwrap().len()
    };
    assert_eq!(lease().await, 1);
    assert_eq!(lease().await, 0);
    // Its answer was lost the first time.
    take(&store).await;
    assert_eq!(lease().await, 1);
}
