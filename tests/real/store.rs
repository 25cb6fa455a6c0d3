//! The store on PostgreSQL: the common suite, each test in a database of its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokenwarden::config::{Secret, StoreConfig};
use tokenwarden::store::{OpenAs, Store, StoreError};

use crate::store_suite::{at, store_suite};

store_suite!(crate::store::open, #[ignore = "needs real servers: tests/run"]);

static NEXT: AtomicU32 = AtomicU32::new(0);

fn server() -> String {
    std::env::var("TW_POSTGRES_URL").expect("TW_POSTGRES_URL: URL of a PostgreSQL superuser")
}

async fn new_database() -> String {
    let name = format!(
        "store_{}_{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let mut connection = PgConnection::connect(&server()).await.expect("the server");
    let create = format!("CREATE DATABASE {name} TEMPLATE template0");
    sqlx::query(AssertSqlSafe(create))
        .execute(&mut connection)
        .await
        .expect("a new database");
    name
}

async fn open_database(name: &str) -> Store {
    open_at(&server(), name).await
}

async fn open_at(server: &str, name: &str) -> Store {
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    let config = StoreConfig {
        url: Secret::new(format!("{base}/{name}")),
        connections_max: 4,
        snapshot_every: Duration::from_mins(1),
    };
    Store::open(&config, OpenAs::Daemon)
        .await
        .expect("a store in it")
}

async fn open() -> (Store, ()) {
    (open_database(&new_database().await).await, ())
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn two_daemons_never_lease_the_same_action() {
    let name = new_database().await;
    let (one, two) = (open_database(&name).await, open_database(&name).await);
    let users: Vec<String> = (0..40).map(|n| format!("u{n}")).collect();
    let revocations = users.iter().map(|user| {
        let (kind, decision) = (
            tokenwarden::model::ActionKind::RevokeFamily,
            tokenwarden::model::Decision::Execute,
        );
        crate::store_suite::action(user, kind, user, decision)
    });
    one.commit(&crate::store_suite::actions(revocations.collect()), at(0))
        .await
        .unwrap();
    let (mut leased, mut idle) = (Vec::new(), 0);
    while idle < 2 {
        let (a, b) = tokio::join!(
            one.lease_due(
                tokenwarden::store::Queue::Revocations,
                at(1),
                "a",
                at(31),
                3
            ),
            two.lease_due(
                tokenwarden::store::Queue::Revocations,
                at(1),
                "b",
                at(31),
                3
            )
        );
        let batch: Vec<_> = a
            .unwrap()
            .into_iter()
            .chain(b.unwrap())
            .map(|each| each.action.id)
            .collect();
        idle = if batch.is_empty() { idle + 1 } else { 0 };
        leased.extend(batch);
    }
    leased.sort();
    let mut once = leased.clone();
    once.dedup();
    assert_eq!((leased.len(), once.len()), (40, 40));
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn unfinished_snapshots_go_at_a_start_when_nobody_can_be_writing_them() {
    let name = new_database().await;
    let store = open_database(&name).await;
    let (base, _) = server()
        .rsplit_once('/')
        .map(|(base, name)| (base.to_owned(), name.to_owned()))
        .unwrap();
    let mut connection = PgConnection::connect(&format!("{base}/{name}"))
        .await
        .unwrap();
    for minutes in [0, 50, 70] {
        let insert = format!(
            "WITH head AS (INSERT INTO snapshot (created_at, format, positions, complete)
                VALUES ((extract(epoch FROM now()) * 1000)::bigint - {minutes} * 60000, 1, '[]', 0) RETURNING id)
             SELECT id FROM head"
        );
        let id: i64 = sqlx::query_scalar(AssertSqlSafe(insert))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let chunk =
            format!("INSERT INTO snapshot_chunk (snapshot_id, number, body) VALUES ({id}, 0, 'x')");
        sqlx::query(AssertSqlSafe(chunk))
            .execute(&mut connection)
            .await
            .unwrap();
    }
    assert_eq!(store.snapshots_kept().await.unwrap(), 3);
    let other = open_database(&name).await;
    assert_eq!(other.snapshots_kept().await.unwrap(), 2);
    let chunks: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM snapshot_chunk")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(chunks, 2);
}

/// Passes connections on to the server, until it is told to cut them all.
struct Wire {
    port: u16,
    up: tokio::sync::watch::Sender<bool>,
}

impl Wire {
    async fn to(address: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let port = listener.local_addr().expect("its number").port();
        let (up, state) = tokio::sync::watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, address.clone(), state.clone()));
            }
        });
        Self { port, up }
    }
}

async fn pass_on(
    mut client: tokio::net::TcpStream,
    address: String,
    mut up: tokio::sync::watch::Receiver<bool>,
) {
    if !*up.borrow() {
        return;
    }
    let mut server = tokio::net::TcpStream::connect(address)
        .await
        .expect("the server");
    tokio::select! {
        _ = up.wait_for(|up| !up) => {}
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
    }
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn lost_connection_is_passing() {
    let name = new_database().await;
    let url = server();
    let authority = url
        .split('@')
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .expect("user@host:port");
    let wire = Wire::to(authority.to_owned()).await;
    let through = url.replace(authority, &format!("127.0.0.1:{}", wire.port));
    let store = open_at(&through, &name).await;

    store.ping().await.unwrap();
    wire.up.send(false).unwrap();
    let refused = store.ping().await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    wire.up.send(true).unwrap();
    store
        .ping()
        .await
        .expect("it works again as soon as the server answers");
}
