//! Two real daemons on one PostgreSQL: one leads, and the other takes over when it is killed, frozen, cut off or stopped. What
//! both have done together is what the traffic demands, and what one daemon does that nobody disturbs.
//!
//! How long nobody led is printed, not judged: the machine has other work.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]
#![expect(clippy::print_stdout, reason = "the time without a leader is a result")]

use std::ops::ControlFlow;
use std::process::Command;
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};
use tokenwarden::archive::{Folder, newest_first};
use tokenwarden::config::{Secret, StoreConfig};
use tokenwarden::model::{Commit, Timestamp};
use tokenwarden::store::{OpenAs, Queue, Snapshot, Store, StoreError};

use crate::daemon::{Daemon, Home, PATIENCE, http_client};
use crate::flagship_run::{Outcome, RECEIVED, Run};
use crate::kafka::Topic;
use crate::keycloak_realm::env;
use crate::kills::{Records, database, execute, table};
use crate::proxy::Proxy;
use crate::traffic::{Traffic, traffic};

const FAMILIES: usize = 200;
const SNAPSHOTS: &str = ", snapshot_every: 1s";
/// Time goes on by itself every second where nothing comes, and questions wait for two.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// As the exit code says that a run failed.
const FAILED: i32 = 3;

/// One that leads, one that stands by, and what they read.
struct Pair {
    run: Run,
    /// Nobody disturbs this one.
    calm: Run,
    records: Records,
    traffic: Traffic,
    first: Daemon,
    second: Daemon,
    store: PgConnection,
}

async fn broker() -> (Records, String, String) {
    let topic = Topic::new(2).await;
    let source = |group: &str| {
        format!(
            "    kafka: {{ brokers: [\"{}\"], topics: [{name}], group: {group}-{name} }}\n    lateness: 30h",
            env("TW_KAFKA"),
            name = topic.name
        )
    };
    let (pair, calm) = (source("pair"), source("calm"));
    (Records::Kafka(topic), pair, calm)
}

impl Pair {
    /// Half of the traffic is written, and the first daemon has read some of it.
    async fn over_a_broker() -> Self {
        let (records, source, calm) = broker().await;
        let store = database().await;
        Self::start(records, (&source, &calm), (&store, &store)).await
    }

    async fn over_a_table() -> Self {
        let (records, source) = table().await;
        let store = database().await;
        Self::start(records, (&source, &source), (&store, &store)).await
    }

    async fn start(records: Records, (source, calm): (&str, &str), stores: (&str, &str)) -> Self {
        let run = Run::into(source, stores.0, SNAPSHOTS).await;
        let calm = Run::new(calm, "").await;
        let first = run.home.start_ready().await;
        assert!(first.leads().await);
        let file = run.home.path().join("tokenwarden.yaml");
        let config = std::fs::read_to_string(file).unwrap();
        run.home.configure(&config.replace(stores.0, stores.1));
        let mut second = run.home.start().await;
        second
            .wait("it stands by", async |second| {
                let (ready, said) = second.readiness().await;
                (ready && said.starts_with("stands by") && said.contains("leads since"))
                    .then_some(())
            })
            .await;
        assert!(!second.leads().await);
        assert_leaders([&first, &second], [1.0, 0.0]).await;
        let mut pair = Self {
            run,
            calm,
            records,
            traffic: traffic(FAMILIES, 7),
            first,
            second,
            store: PgConnection::connect(stores.1).await.unwrap(),
        };
        pair.write(true).await;
        pair.first
            .wait("some is read", async |first| {
                (first.metric(RECEIVED, "source=\"auth\"").await > 1000.0).then_some(())
            })
            .await;
        pair
    }

    async fn write(&mut self, first_half: bool) {
        let (first, second) = self
            .traffic
            .records
            .split_at(self.traffic.records.len() / 2);
        let half = if first_half { first } else { second };
        self.records.write(&self.run, half).await;
    }

    /// Until the second daemon leads, and has read something.
    async fn taken_over(&mut self, since: Instant, what: &str) {
        self.second
            .wait("it takes over", async |second| {
                second.leads().await.then_some(())
            })
            .await;
        let led = since.elapsed();
        self.write(false).await;
        self.second
            .wait("it reads", async |second| {
                (second.metric(RECEIVED, "source=\"auth\"").await > 0.0).then_some(())
            })
            .await;
        let read = since.elapsed();
        println!("{what}: led after {led:.1?}, read the first new record after {read:.1?}");
    }

    /// Entries of the audit log, and in whose name partitions are read.
    async fn written(&mut self) -> (i64, Vec<String>) {
        let entries = sqlx::query_scalar("SELECT COUNT(*) FROM audit_entry");
        let owners =
            sqlx::query_scalar("SELECT DISTINCT owner FROM source_partition ORDER BY owner");
        (
            entries.fetch_one(&mut self.store).await.unwrap(),
            owners.fetch_all(&mut self.store).await.unwrap(),
        )
    }

    /// What the second daemon has done, once a question that time alone answers brings nothing more.
    async fn at_rest(&self) -> Outcome {
        let mut before = self.run.outcome(&self.second).await;
        loop {
            tokio::time::sleep(ANSWERED_WITHIN).await;
            let now = self.run.outcome(&self.second).await;
            if now == before {
                return now;
            }
            before = now;
        }
    }

    /// The second daemon comes to the end: everything was done once.
    async fn finish(self) -> Run {
        let outcome = self.run.finish(self.second, &self.traffic).await;
        outcome.assert_right(&self.traffic);
        let calm = self.calm.finished(&self.traffic).await;
        outcome.assert_same(&calm);
        self.run
    }
}

async fn assert_leaders(daemons: [&Daemon; 2], expected: [f64; 2]) {
    for (daemon, expected) in daemons.into_iter().zip(expected) {
        let leads = daemon.metric("tokenwarden_leader", "store=").await;
        assert!((leads - expected).abs() < 0.5, "{}", daemon.log());
    }
}

/// It ends by itself, as one that failed, and says who leads.
async fn ends_replaced(daemon: &mut Daemon) {
    let status = daemon.ended().await;
    let log = daemon.log();
    assert_eq!(status.code(), Some(FAILED), "{log}");
    assert!(log.contains("leads since"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn another_takes_over_from_one_that_is_killed() {
    let mut pair = Pair::over_a_broker().await;
    let since = Instant::now();
    pair.first.signal("KILL");
    pair.taken_over(since, "killed").await;
    pair.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn one_that_is_frozen_wakes_up_and_does_nothing_over_a_broker() {
    frozen(Pair::over_a_broker().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn one_that_is_frozen_wakes_up_and_does_nothing_over_a_table() {
    frozen(Pair::over_a_table().await).await;
}

async fn frozen(mut pair: Pair) {
    let since = Instant::now();
    pair.first.signal("STOP");
    pair.taken_over(since, "frozen").await;
    pair.run
        .come_to_the_end(&mut pair.second, &pair.traffic)
        .await;
    let before = pair.at_rest().await;
    let (calls, written) = (pair.run.api.calls(), pair.written().await);
    assert_eq!(written.1.len(), 1, "of the one that leads");

    pair.first.signal("CONT");
    ends_replaced(&mut pair.first).await;
    assert_eq!(pair.run.api.calls(), calls, "{}", pair.first.log());
    assert_eq!(pair.written().await, written);
    assert_eq!(pair.run.outcome(&pair.second).await, before);
    assert!(pair.second.leads().await, "{}", pair.second.log());
    pair.finish().await;
}

/// A proxy before a database, and its URL through that.
pub(crate) async fn proxied(store: &str) -> (Proxy, String) {
    let address = url::Url::parse(store).unwrap();
    let server = format!(
        "{}:{}",
        address.host_str().unwrap(),
        address.port().unwrap()
    );
    let proxy = Proxy::before(&server).await;
    let through = store.replace(&server, &proxy.address);
    (proxy, through)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn another_takes_over_from_one_that_has_lost_the_store() {
    let (records, source, calm) = broker().await;
    let store = database().await;
    let (proxy, through) = proxied(&store).await;
    let mut pair = Pair::start(records, (&source, &calm), (&through, &store)).await;

    let since = Instant::now();
    proxy.cut();
    pair.taken_over(since, "cut off").await;
    pair.first
        .wait("it says so", async |first| {
            let (ready, said) = first.readiness().await;
            (!ready && said.contains("lead: it cannot be renewed")).then_some(())
        })
        .await;
    assert_leaders([&pair.first, &pair.second], [0.0, 1.0]).await;
    pair.run
        .come_to_the_end(&mut pair.second, &pair.traffic)
        .await;
    let calls = pair.run.api.calls();
    proxy.mend();
    ends_replaced(&mut pair.first).await;
    assert_eq!(pair.run.api.calls(), calls, "{}", pair.first.log());
    pair.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn one_that_is_stopped_hands_over() {
    let mut pair = Pair::over_a_broker().await;
    let since = Instant::now();
    pair.first.signal("TERM");
    pair.taken_over(since, "told to stop").await;
    let status = pair.first.ended().await;
    assert!(status.success(), "{status}\n{}", pair.first.log());
    // And back, as in an update of one after the other.
    let third = pair.run.home.start().await;
    assert!(!third.leads().await);
    let mut second = std::mem::replace(&mut pair.second, third);
    second.signal("TERM");
    assert!(second.ended().await.success(), "{}", second.log());
    let api = pair.finish().await.api;
    let keys = api.keys("/revoke").len() + api.keys("/notify").len();
    assert_eq!(api.calls(), keys, "each was made once");
}

const WEBHOOK: &str = "http:
  ops: { listen: 127.0.0.1:0 }
  api: { listen: 127.0.0.1:0, tokens: [{ name: alice, role: admin, token_file: me.token }] }
  ingest: { listen: 127.0.0.1:0 }
sources:
  - { name: hook, webhook: { bearer: a-secret-of-some-length }, format: tokenwarden }
token_key: \"dG9rZW53YXJkZW4tdG9rZW53YXJkZW4tMzItYnl0ZXM=\"
store: { url: \"STORE\" }
";
const SECRET: &str = "a-secret-of-some-length";

async fn post(daemon: &mut Daemon, listener: &str, path: &str, body: String) -> (u16, String) {
    let url = format!("{}{path}", daemon.listener(listener).await);
    let request = http_client().post(url).bearer_auth(SECRET);
    let request = request.header("content-type", "application/json");
    let answer = request.body(body).send().await.unwrap();
    let status = answer.status().as_u16();
    assert_eq!(status == 503, answer.headers().contains_key("retry-after"));
    (status, answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn webhooks_and_decisions_are_for_the_one_that_leads() {
    let home = Home::new(&WEBHOOK.replace("STORE", &database().await));
    home.write("me.token", SECRET);
    let (mut first, mut second) = (home.start_ready().await, home.start_ready().await);
    let send =
        async |daemon: &mut Daemon| post(daemon, "ingest", "/ingest/hook", "{}".into()).await.0;
    assert_eq!(send(&mut first).await, 202);
    assert_eq!(send(&mut second).await, 503);
    let silence = serde_json::json!({
        "matchers": {"client_id": "web"}, "ends_at": now() + Duration::from_mins(30), "note": "a test"
    });
    let silence = async |daemon: &mut Daemon| {
        post(daemon, "api", "/api/v1/silences", silence.to_string()).await
    };
    let (status, said) = silence(&mut second).await;
    assert_eq!(status, 503, "{said}");
    assert!(said.contains("leads since"), "{said}");
    let (status, said) = silence(&mut first).await;
    assert!((200..300).contains(&status), "{said}");
    // It looks all the same, and takes another configuration for when it leads.
    assert!(second.list("incidents").await.is_empty());
    let (status, said) = post(&mut second, "api", "/-/reload", String::new()).await;
    assert!(
        status == 200 && said.contains("for when this daemon leads"),
        "{said}"
    );
    first.stop().await;
    second
        .wait("it takes over", async |second| {
            second.leads().await.then_some(())
        })
        .await;
    assert_eq!(send(&mut second).await, 202);
    second.stop().await;
}

const ARCHIVING: &str = "mode: observe
archive: { path: archive }
sources:
  - { name: log, file: { path: FILE, poll_every: 20ms }, format: tokenwarden, start: earliest }
token_key: \"dG9rZW53YXJkZW4tdG9rZW53YXJkZW4tMzItYnl0ZXM=\"
store: { url: \"STORE\" }
";

fn archived(home: &Home) -> String {
    let mut kept = String::new();
    let folder = Folder::new(home.path().join("archive"));
    newest_first(&folder, u64::MAX, |lines| {
        kept.push_str(lines);
        ControlFlow::Continue(())
    })
    .unwrap();
    kept
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn one_that_led_before_forgets_in_its_archive_while_it_stands_by() {
    let log = Home::new("");
    let file = log.path().join("events.jsonl").display().to_string();
    let config = ARCHIVING.replace("STORE", &database().await);
    let config = config.replace("FILE", &file);
    let login = |user: &str| {
        let event = serde_json::json!({
            "event_id": user, "time": now(), "type": "login", "outcome": "success", "user_id": user,
        });
        format!("{event}\n")
    };
    log.append("events.jsonl", &(login("alice") + &login("bob")));
    let (home, other) = (Home::new(&config), Home::new(&config));
    let mut first = home.start_ready().await;
    first
        .wait("both are archived", async |_| {
            (archived(&home).lines().count() == 2).then_some(())
        })
        .await;
    let mut second = other.start_ready().await;
    first.stop().await;
    second
        .wait("it takes over", async |second| {
            second.leads().await.then_some(())
        })
        .await;
    let mut first = home.start_ready().await;
    assert!(!first.leads().await);

    let erased = Command::new(env!("CARGO_BIN_EXE_tokenwarden"))
        .args(["erase", "--user", "alice", "-c"])
        .arg(other.path().join("tokenwarden.yaml"))
        .output()
        .unwrap();
    assert!(erased.status.success(), "{erased:?}");
    first
        .wait("alice is gone", async |_| {
            (!archived(&home).contains("alice")).then_some(())
        })
        .await;
    assert!(archived(&home).contains("bob"));
    assert!(!first.leads().await);
    first.stop().await;
    second.stop().await;
}

pub(crate) async fn open(url: &str) -> Store {
    let config = StoreConfig {
        url: Secret::new(url),
        connections_max: 4,
        snapshot_every: Duration::from_mins(1),
    };
    Store::open(&config, OpenAs::Daemon).await.unwrap()
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn whoever_is_replaced_writes_nothing_whatever_it_tries() {
    let url = database().await;
    let (one, other) = (open(&url).await, open(&url).await);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    assert_eq!(
        one.take_lead(&"one".into(), &"".into()).await.unwrap(),
        None
    );
    assert_eq!(
        one.take_lead(&"one".into(), &"".into()).await.unwrap(),
        None,
        "still"
    );
    let leader = other
        .take_lead(&"other".into(), &"".into())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&*leader.owner, "one");
    refuses(&other).await;
    one.commit(&Commit::default(), now()).await.unwrap();

    // As when its machine is frozen.
    execute(&mut connection, "UPDATE leader SET expires_at = 0").await;
    one.commit(&Commit::default(), now())
        .await
        .expect("nobody has taken over");
    one.renew_lead().await.unwrap();
    assert!(
        other
            .take_lead(&"other".into(), &"".into())
            .await
            .unwrap()
            .is_some()
    );
    execute(&mut connection, "UPDATE leader SET expires_at = 0").await;
    assert_eq!(
        other.take_lead(&"other".into(), &"".into()).await.unwrap(),
        None
    );
    refuses(&one).await;
    assert!(one.renew_lead().await.is_err());
    other.commit(&Commit::default(), now()).await.unwrap();

    other.give_up_lead().await.unwrap();
    refuses(&other).await;
    assert_eq!(
        one.take_lead(&"one again".into(), &"".into())
            .await
            .unwrap(),
        None
    );
    one.commit(&Commit::default(), now()).await.unwrap();
}

async fn refuses(store: &Store) {
    let snapshot = Snapshot {
        positions: std::collections::BTreeMap::new(),
        detections: None,
        format: 1,
        state: vec![vec![7]],
    };
    let later = now() + Duration::from_mins(1);
    let refusals = [
        store.commit(&Commit::default(), now()).await.err(),
        store.save_snapshot(&snapshot, now()).await.err(),
        (store
            .lease_due(Queue::Revocations, now(), "x", later, 9)
            .await)
            .err(),
        store.record(&[], now()).await.err(),
        store.forgotten(&[], now()).await.err(),
        store.ping().await.err(),
        (store
            .insert_inbox(&"hook".into(), vec![b"{}".to_vec()], now())
            .await)
            .err(),
    ];
    for refused in refusals {
        assert!(
            matches!(refused, Some(StoreError::NotLeading { .. })),
            "{refused:?}"
        );
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn another_waits_for_what_is_under_way_and_a_renewal_for_nobody() {
    let url = database().await;
    let (one, other) = (open(&url).await, open(&url).await);
    assert_eq!(
        one.take_lead(&"one".into(), &"".into()).await.unwrap(),
        None
    );
    let mut under_way = PgConnection::connect(&url).await.unwrap();
    let hold = "BEGIN; SELECT 1 FROM leader FOR KEY SHARE";
    execute(&mut under_way, hold).await;
    let renewed = tokio::time::timeout(PATIENCE, one.renew_lead()).await;
    renewed.expect("it waits").unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    execute(&mut connection, "UPDATE leader SET expires_at = 0").await;
    let refused = other.take_lead(&"other".into(), &"".into()).await;
    assert!(
        refused.is_err(),
        "the time-out of the statement: {refused:?}"
    );
    execute(&mut under_way, "COMMIT").await;
    assert_eq!(
        other.take_lead(&"other".into(), &"".into()).await.unwrap(),
        None
    );
}
