//! A daemon whose saved state another version wrote: what people decided stays, and nobody is kept from hearing of a new theft.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::time::Duration;

use serde_json::json;
use tokenwarden::config::{Secret, StoreConfig};
use tokenwarden::model::Timestamp;
use tokenwarden::store::{OpenAs, Snapshot, Store};

use crate::daemon::{Daemon, Home};

const CONFIG: &str = "http: { ops: { listen: 127.0.0.1:0 }, api: { listen: 127.0.0.1:0, tokens: [{ name: alice, role: admin, token_file: me.token }] } }
mode: alert
clients: { default: { type: public, rotation: enforced } }
sources: [{ name: log, file: { path: events.jsonl, poll_every: 20ms }, format: tokenwarden, start: earliest }]
store: { url: 'sqlite://tokenwarden.db' }
";

/// A family of alice's: issued, refreshed, and its used token presented from elsewhere.
fn theft(family: &str) -> String {
    let event = |id: u32, kind: &str, outcome: &str, address: &str| {
        json!({
            "event_id": format!("{family}{id}"), "time": Timestamp::now().to_string(), "type": kind, "outcome": outcome,
            "issuer": "idp", "user_id": "alice", "client_id": "web", "family_id": family, "ip_address": address,
            "device_id": address,
        })
    };
    let mut lines = Vec::new();
    for (id, kind, outcome, used, issued) in [
        (0, "issue", "success", None, Some(0)),
        (1, "refresh", "success", Some(0), Some(1)),
        (2, "refresh", "failure", Some(0), None),
    ] {
        let address = if outcome == "failure" {
            "198.51.100.9"
        } else {
            "192.0.2.1"
        };
        let mut event = event(id, kind, outcome, address);
        let token = |n: Option<u32>| n.map(|n| format!("{family}-token-{n}"));
        event["token_id"] = json!(token(used));
        event["new_token_id"] = json!(token(issued));
        event["reason"] = json!((outcome == "failure").then_some("reuse"));
        let event = event.as_object_mut().unwrap();
        event.retain(|_, value| !value.is_null());
        lines.push(format!("{}\n", json!(event)));
    }
    lines.concat()
}

/// Incidents and the notices about them.
async fn told(daemon: &Daemon) -> (usize, usize) {
    let notices = daemon.list("actions").await;
    let notices = notices.iter().filter(|it| it["action"]["kind"] == "notify");
    (daemon.list("incidents").await.len(), notices.count())
}

/// One theft, of which people were told and which they closed, and silence about bob.
async fn lived(home: &Home) {
    home.write("me.token", "a-token-of-thirty-two-characters");
    home.write("events.jsonl", &theft("first"));
    let mut daemon = home.start_ready().await;
    let found = async |daemon: &Daemon| (told(daemon).await == (1, 1)).then_some(());
    daemon.wait("the theft is found", found).await;
    let id = daemon.list("incidents").await[0]["id"].clone();
    let id = id.as_str().unwrap();
    daemon.command(&[
        "incidents",
        "close",
        id,
        "--as",
        "contained",
        "--note",
        "seen",
    ]);
    let closed = async |daemon: &Daemon| {
        let incidents = daemon.list("incidents").await;
        (incidents[0]["state"] == "closed").then_some(())
    };
    daemon.wait("it is closed", closed).await;
    // What people decide is heard before the state is saved.
    tokio::time::sleep(Duration::from_secs(1)).await;
    daemon.stop().await;
}

async fn change(home: &Home, change: impl FnOnce(&mut Snapshot)) {
    let config = StoreConfig {
        url: Secret::new(format!(
            "sqlite://{}",
            home.path().join("tokenwarden.db").display()
        )),
        connections_max: 1,
        snapshot_every: Duration::from_mins(1),
    };
    let store = Store::open(&config, OpenAs::Daemon).await.unwrap();
    let mut snapshot = store.load_snapshot().await.unwrap().unwrap();
    change(&mut snapshot);
    store
        .save_snapshot(&snapshot, Timestamp::now())
        .await
        .unwrap();
    store.close().await;
}

/// Where the engine's part begins: behind the policy's and the length of that.
fn engine_at(state: &[u8]) -> usize {
    let length = state
        .first_chunk()
        .map(|length| u64::from_le_bytes(*length));
    8 + usize::try_from(length.unwrap()).unwrap()
}

/// The engine's part begins with its version.
fn another_engine(snapshot: &mut Snapshot) {
    let at = engine_at(&snapshot.state[0]);
    snapshot.state[0][at] ^= 0xff;
}

/// As it was saved before a state was written while it is made: the length of the engine's part, that part, and the policy's.
fn engine_first(snapshot: &mut Snapshot) {
    let (policy, engine) = snapshot.state[0].split_at(engine_at(&snapshot.state[0]));
    let length = (engine.len() as u64).to_le_bytes();
    let state = [&length, engine, &policy[8..]].concat();
    (snapshot.format, snapshot.state) = (2, vec![state]);
}

async fn is_told_of_another(home: &Home) -> String {
    let mut daemon = home.start_ready().await;
    home.append("events.jsonl", &theft("second"));
    let found = async |daemon: &Daemon| (told(daemon).await == (2, 2)).then_some(());
    daemon.wait("another incident and its notice", found).await;
    let log = daemon.log();
    daemon.stop().await;
    log
}

/// A used token of before the update comes back after it.
#[tokio::test]
async fn a_login_of_before_the_update_is_known_from_the_warm_up() {
    for damage in [another_engine as fn(&mut Snapshot), |snapshot| {
        snapshot.format += 1;
    }] {
        let home = Home::new(CONFIG);
        lived(&home).await;
        let lines = theft("second");
        let (ordinary, stolen) = lines.trim_end().rsplit_once('\n').unwrap();
        home.append("events.jsonl", &format!("{ordinary}\n"));
        let mut daemon = home.start_ready().await;
        let read = async |daemon: &Daemon| {
            let read = daemon.metric("tokenwarden_events_total", "").await;
            (read >= 2.0).then_some(())
        };
        daemon.wait("the login is known", read).await;
        daemon.stop().await;
        change(&home, damage).await;

        let mut daemon = home.start_ready().await;
        home.append("events.jsonl", &format!("{stolen}\n"));
        let found = async |daemon: &Daemon| (told(daemon).await == (2, 2)).then_some(());
        daemon.wait("the theft is found", found).await;
        daemon.stop().await;
    }
}

#[tokio::test]
async fn people_hear_of_a_theft_after_one_that_was_closed_before_the_update() {
    let home = Home::new(CONFIG);
    lived(&home).await;
    change(&home, another_engine).await;
    let log = is_told_of_another(&home).await;
    assert!(log.contains("made anew"), "{log}");
}

#[tokio::test]
async fn and_where_nothing_of_the_saved_state_can_be_used() {
    let home = Home::new(CONFIG);
    lived(&home).await;
    change(&home, |snapshot| snapshot.format += 1).await;
    let log = is_told_of_another(&home).await;
    assert!(log.contains("from the committed positions"), "{log}");
}

#[tokio::test]
async fn a_state_of_the_form_before_is_taken_over_in_full() {
    let home = Home::new(CONFIG);
    lived(&home).await;
    change(&home, engine_first).await;
    let log = is_told_of_another(&home).await;
    assert!(log.contains("Restored the state families=1"), "{log}");
}
