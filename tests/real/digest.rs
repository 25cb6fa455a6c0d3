//! The daily digest by the real binary and a real mail server, with a kill in between.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokenwarden::config::{Secret, StoreConfig};
use tokenwarden::model::{Bulletin, Commit, Decision, Digest, Evidence, News, Output};
use tokenwarden::store::{OpenAs, Store};

use crate::daemon::Home;
use crate::keycloak_realm::env;
use crate::mail::{mailbox, unique};
use crate::store_suite::theft;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn config(to: &str, digest: &str) -> String {
    let address = env("TW_SMTP");
    let (host, port) = address.rsplit_once(':').unwrap();
    let ca = env("TW_SMTP_CA");
    format!(
        "mode: observe
clients: {{ default: {{ type: public, rotation: enforced }} }}
sources:
  - name: auth
    file: {{ path: events.jsonl, poll_every: 100ms }}
    format: tokenwarden
    start: earliest
receivers:
  - name: oncall
    email:
      to: [{to}@example.com]
      from: tokenwarden@example.com
      smtp: {{ host: {host}, port: {port}, tls: starttls, username: warden, password: pw, ca_file: \"{ca}\" }}
    digest: {digest}
store: {{ url: \"sqlite://tokenwarden.db\" }}
"
    )
}

/// A theft that `observe` kept back.
fn kept_back(proved_at: Timestamp) -> Output {
    let mut output = theft("u1");
    output.actions.truncate(1);
    let action = &mut output.actions[0];
    (action.decision, action.event_time) = (Decision::Observe, proved_at);
    action.target.issuer = "auth".into();
    action.target.family_id = Some("f-u1".into());
    let branch = Evidence::new().with("network", "198.51.100.0/24");
    output.detections[0].evidence = Evidence::new().with("foreign_branch", branch);
    output
}

/// The thief refreshes once more after the proof.
fn events(proved_at: Timestamp) -> String {
    let event = |n: i64, kind: &str, token: Option<&str>| {
        json!({
            "event_id": format!("e{n}"), "time": (proved_at + MINUTE * i32::try_from(n).unwrap()).to_string(),
            "type": kind, "outcome": "success", "user_id": "u1", "client_id": "web", "family_id": "f-u1",
            "token_id": token, "new_token_id": format!("t{n}"), "ip_address": "198.51.100.20",
        })
    };
    let issue = event(-5, "issue", None);
    format!("{issue}\n{}\n", event(5, "refresh", Some("t-5")))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_digest_arrives_with_what_became_of_it_and_not_again_after_a_kill() {
    let oncall = unique("oncall");
    let home = Home::new(&config(&oncall, "off"));
    let now = Timestamp::now();
    // Two minutes ago: the day has ended, and what belongs to it is settled.
    let until = Timestamp::from_second((now.as_second() / 60 - 2) * 60).unwrap();
    let proved_at = until - MINUTE * 60;
    home.write("events.jsonl", &events(proved_at));
    // Reads the events, and remembers them for the run that makes the digest.
    let mut daemon = home.start_ready().await;
    daemon
        .wait("the events are read", async |daemon| {
            let read = daemon
                .metric("tokenwarden_records_received_total", "source=\"auth\"")
                .await;
            (read >= 2.0).then_some(())
        })
        .await;
    daemon.stop().await;

    let store = StoreConfig {
        url: Secret::new(format!("sqlite://{}/tokenwarden.db", home.path().display())),
        connections_max: 1,
        snapshot_every: Duration::from_mins(1),
    };
    let store = Store::open(&store, OpenAs::Daemon).await.unwrap();
    let mark = Bulletin {
        id: "digest-oncall-before".into(),
        receiver: Some("oncall".into()),
        since: until - MINUTE * 1440,
        until: until - MINUTE * 1440,
        news: News::Digest(Digest::default()),
    };
    assert!(store.put_digest(&mark, false, now).await.unwrap());
    let commit = Commit {
        output: kept_back(proved_at),
        ..Commit::default()
    };
    store.commit(&commit, proved_at + MINUTE).await.unwrap();
    store.close().await;
    drop(store);

    home.configure(&config(&oncall, &until.strftime("%H:%M").to_string()));
    daemon = home.start_ready().await;
    let mail = mailbox(&oncall, 1).await.remove(0);
    let mail = mail.replace("=\n", "");
    let day = until.strftime("%Y-%m-%d");
    for said in [
        format!("Message-ID: <digest-oncall-{day}@example.com>"),
        "tokenwarden DIGEST".to_owned(),
        "- web: 1 revocation (token-reuse 1)".to_owned(),
        "1 used again from the thief's network".to_owned(),
        "`mode: alert`".to_owned(),
        "text/html".to_owned(),
    ] {
        assert!(mail.contains(&said), "{said}: {mail}");
    }
    // One that is killed before the answer is on record may send the same mail again, under the same id.
    let done = daemon
        .wait("the digest's end is known", async |daemon| {
            let actions = daemon.list("actions").await;
            let digest = actions
                .into_iter()
                .find(|record| record["action"]["rule"] == "digest")?;
            (digest["state"] == "done").then_some(digest)
        })
        .await;
    assert!(done["outcome"].as_str().unwrap().contains("told oncall"));
    daemon.kill();
    let daemon = home.start_ready().await;
    // Longer than it takes to look again.
    tokio::time::sleep(Duration::from_secs(3)).await;
    mailbox(&oncall, 1).await;
    daemon.stop().await;
}
