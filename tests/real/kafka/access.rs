//! Getting at the broker: TLS and passwords, and what is told where they or another setting are refused.

use super::*;

fn encrypted(topic: &Topic, password: &str, ca: &str) -> Kafka {
    let properties = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.username", "warden"),
        ("sasl.password", password),
        ("ssl.ca.location", ca),
    ];
    let properties = properties
        .into_iter()
        .filter(|(_, value)| !value.is_empty());
    let cluster = KafkaSource {
        brokers: variable("TW_KAFKA_SASL").into(),
        topics: vec![topic.name.as_str().into()],
        group: format!("group-{}", topic.name).into(),
        properties: properties
            .map(|(name, value)| (name.into(), Secret::new(value)))
            .collect(),
    };
    Kafka::new("events".into(), cluster, Start::Earliest, DAY)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn reads_over_tls_with_a_password() {
    let topic = Topic::new(1).await;
    topic.send(0, "sealed");
    let source = encrypted(&topic, "pw", &variable("TW_KAFKA_CA"));
    let mut running = Running::start(source, &topic.claims);
    assert_eq!(texts(&running.records(1).await), ["sealed"]);
    running.reports.wait_for("up").await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_refused_password_is_told_with_the_broker_and_without_the_password() {
    let topic = Topic::new(1).await;
    let source = encrypted(&topic, "hunter2", &variable("TW_KAFKA_CA"));
    let running = Running::start(source, &topic.claims);
    let report = running.reports.wait_for("down").await;
    assert!(report.contains(&variable("TW_KAFKA_SASL")), "{report}");
    assert!(report.contains("invalid credentials"), "{report}");
    assert!(
        running
            .reports
            .all()
            .iter()
            .all(|it| !it.contains("hunter2"))
    );
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_certificate_that_nobody_trusts_is_told() {
    let topic = Topic::new(1).await;
    let running = Running::start(encrypted(&topic, "pw", ""), &topic.claims);
    let report = running.reports.wait_for("down").await;
    assert!(report.contains(&variable("TW_KAFKA_SASL")), "{report}");
    assert!(report.to_lowercase().contains("certificate"), "{report}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_setting_that_the_client_does_not_take_ends_the_source() {
    let topic = Topic::new(1).await;
    for (name, value, why) in [
        (
            "enable.auto.commit",
            "true",
            "positions are kept in the store",
        ),
        ("no.such.setting", "1", "no.such.setting"),
        ("ssl.ca.location", "/no/such/file", "ssl.ca.location"),
    ] {
        let properties = [(name, value), ("security.protocol", "SSL")];
        let source = topic.source(Start::Earliest, DAY, &properties);
        let error = Running::start(source, &topic.claims)
            .ended()
            .await
            .unwrap_err();
        assert!(error.0.contains(why), "{error}");
    }
}
