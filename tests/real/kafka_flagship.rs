//! Fifty thousand events through a real broker, with a daemon that is killed again and again: what it finds and does is
//! what an undisturbed one finds and does, and nothing is done under two names. Then the broker's own troubles.

use std::time::Duration;

use crate::daemon::Home;
use crate::flagship_run::{RECEIVED, Run};
use crate::kafka::Topic;
use crate::keycloak_realm::env;
use crate::proxy::Proxy;
use crate::traffic::traffic;

const FAMILIES: usize = 2000;
/// Where the records come a day after their events, that is no lateness.
const OLD: &str = "\n    lateness: 30h";
const SEED: u64 = 0x70_6b_65_6e;

fn source(brokers: &str, topic: &Topic, group: &str, properties: &str) -> String {
    format!(
        "    kafka:
      brokers: [\"{brokers}\"]
      topics: [{topic}]
      group: {group}-{topic}
      properties: {{ session.timeout.ms: \"6000\"{properties} }}",
        topic = topic.name
    )
}

/// Killed while reading for the first time, while reading again, and while reading on.
async fn disturb(run: &Run) {
    for records in [1500.0, 4000.0, 500.0, 3000.0, 6000.0] {
        run.killed_after(records).await;
    }
}

fn send_all(topic: &Topic, records: &[(i32, String)]) {
    for partition in [0, 1] {
        let texts: Vec<&[u8]> = records
            .iter()
            .filter(|(to, _)| *to == partition)
            .map(|(_, text)| text.as_bytes())
            .collect();
        topic.send_at(partition, None, &texts);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_killed_daemon_finds_and_does_what_an_undisturbed_one_does() {
    let (topic, brokers) = (Topic::new(2).await, env("TW_KAFKA"));
    let traffic = traffic(FAMILIES, SEED);
    assert!(traffic.records.len() > 45_000);
    send_all(&topic, &traffic.records);
    let killed = Run::new(&source(&brokers, &topic, "killed", ""), "").await;
    disturb(&killed).await;

    let calm = Run::new(&source(&brokers, &topic, "calm", ""), "").await;
    let expected = calm.finished(&traffic).await;
    expected.assert_right(&traffic);
    killed.finished(&traffic).await.assert_same(&expected);

    let saving = source(&brokers, &topic, "saving", "");
    let saving = Run::new(&saving, ", snapshot_every: 1s").await;
    disturb(&saving).await;
    saving.finished(&traffic).await.assert_same(&expected);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_broker_that_is_away_for_a_while_costs_nothing() {
    let topic = Topic::new(2).await;
    let traffic = traffic(200, SEED);
    let (before, after) = traffic.records.split_at(traffic.records.len() / 2);
    let proxy = Proxy::before_kafka(&env("TW_KAFKA")).await;
    let run = Run::new(
        &format!("{}{OLD}", source(&proxy.address, &topic, "cut", "")),
        "",
    )
    .await;
    let mut daemon = run.home.start_ready().await;
    send_all(&topic, before);
    daemon
        .wait("the first half", async |daemon| {
            (daemon.metric(RECEIVED, "source=\"auth\"").await >= 100.0).then_some(())
        })
        .await;
    proxy.cut();
    send_all(&topic, after);
    let why = daemon
        .wait("not ready", async |daemon| {
            let (ready, why) = daemon.readiness().await;
            (!ready).then_some(why)
        })
        .await;
    assert!(why.contains("source auth: "), "{why}");
    proxy.mend();
    daemon.wait_ready().await;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand are exact")]
    let all = traffic.records.len() as f64;
    daemon
        .wait("the second half", async |daemon| {
            (daemon.metric(RECEIVED, "source=\"auth\"").await >= all).then_some(())
        })
        .await;
    let outcome = run.finish(daemon, &traffic).await;
    outcome.assert_right(&traffic);
    assert!(proxy.served() > 1, "it was the proxy that was spoken to");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_broker_with_tls_and_passwords_is_read_and_a_wrong_password_is_told() {
    let topic = Topic::new(2).await;
    let traffic = traffic(60, SEED);
    send_all(&topic, &traffic.records);
    let properties = |password: &str| {
        format!(
            ", security.protocol: SASL_SSL, sasl.mechanism: SCRAM-SHA-256, sasl.username: warden, \
             sasl.password: {password}, ssl.ca.location: \"{}\"",
            env("TW_KAFKA_CA")
        )
    };
    let brokers = env("TW_KAFKA_SASL");
    let right = source(&brokers, &topic, "right", &properties("pw"));
    let run = Run::new(&right, "").await;
    run.finished(&traffic).await.assert_right(&traffic);

    let wrong = source(&brokers, &topic, "wrong", &properties("not-the-password"));
    let home = Home::new(&format!(
        "sources:\n  - name: auth\n{wrong}\n    format: tokenwarden\nstore: {{ url: \"sqlite://t.db\" }}\n"
    ));
    let mut daemon = home.start().await;
    let why = daemon
        .wait("a reason", async |daemon| {
            let (ready, why) = daemon.readiness().await;
            assert!(!ready, "{why}");
            why.to_lowercase().contains("authentication").then_some(why)
        })
        .await;
    assert!(!why.contains("not-the-password"), "{why}");
    assert!(!daemon.log().contains("not-the-password"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!daemon.readiness().await.0);
    daemon.stop().await;
}
