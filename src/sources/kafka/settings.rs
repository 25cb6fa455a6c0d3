//! From the configuration to the properties of librdkafka.
//!
//! The user's properties win over our defaults, except those on which our promises rest: positions live in the store,
//! a loss by retention is never skipped silently, and the end of a partition is known.

use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;

use crate::config::{KafkaSource, Secret};
use crate::model::Text;

/// Ours, where the user says nothing else.
const DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "tokenwarden"),
    // The default of 1000 lets the fetcher idle for a second whenever the queue was full: a factor of five to ten.
    ("fetch.queue.backoff.ms", "10"),
    ("fetch.wait.max.ms", "100"),
    ("queued.min.messages", "100000"),
    ("queued.max.messages.kbytes", "32768"),
    // The stall limit: a reader whose batches nobody takes for this long loses its partitions to another member.
    ("max.poll.interval.ms", "120000"),
    // A topic or partition that is created later is found within this time.
    ("topic.metadata.refresh.interval.ms", "30000"),
    // At the default (about ten seconds at worst) a broker that is back stays unread that long.
    ("reconnect.backoff.max.ms", "2000"),
];

/// Ours where the classic group protocol is used; the broker decides them in the other (`group.protocol=consumer`).
const CLASSIC_DEFAULTS: &[(&str, &str)] = &[
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("session.timeout.ms", "45000"),
];

/// What the rest of this folder relies on.
const FIXED: &[(&str, &str, &str)] = &[
    (
        "enable.auto.commit",
        "false",
        "positions are kept in the store",
    ),
    (
        "enable.auto.offset.store",
        "false",
        "positions are kept in the store",
    ),
    (
        "auto.offset.reset",
        "error",
        "records deleted before they were read must be reported, not skipped; use `start` to say where to begin",
    ),
    (
        "enable.partition.eof",
        "true",
        "time stands still without it",
    ),
];

/// Why a property of the user cannot be passed through.
pub fn property_fault(name: &str) -> Option<String> {
    let why = match name {
        "bootstrap.servers" | "metadata.broker.list" => "write `brokers` instead",
        "group.id" => "write `group` instead",
        "auto.commit.enable" => "positions are kept in the store",
        "auto.commit.interval.ms" => "nothing is committed to the broker",
        _ => FIXED.iter().find(|(fixed, _, _)| *fixed == name)?.2,
    };
    Some(format!("property `{name}` cannot be set: {why}"))
}

/// The properties of the consumer of one topic, or every property that cannot be passed through.
pub(super) fn client_config(kafka: &KafkaSource, topic: &str) -> Result<ClientConfig, String> {
    let faults: Vec<String> = kafka
        .properties
        .keys()
        .filter_map(|name| property_fault(name))
        .collect();
    if !faults.is_empty() {
        return Err(faults.join("; "));
    }
    let mut config = ClientConfig::new();
    let classic = if broker_assigns(kafka) {
        &[]
    } else {
        CLASSIC_DEFAULTS
    };
    for (name, value) in DEFAULTS.iter().chain(classic) {
        config.set(*name, *value);
    }
    for (name, value) in &kafka.properties {
        config.set(name.as_ref(), value.expose());
    }
    for (name, value, _) in FIXED {
        config.set(*name, *value);
    }
    // Two members of a group must not share a static id, and each topic has a member.
    if let Some(id) = kafka.properties.get("group.instance.id")
        && kafka.topics.len() > 1
    {
        config.set("group.instance.id", format!("{}-{topic}", id.expose()));
    }
    config.set("bootstrap.servers", kafka.brokers.as_ref());
    config.set("group.id", kafka.group.as_ref());
    Ok(config)
}

/// Gives the source a static id in its group, unless it has one: whoever joins under it takes the place of the one before at
/// once, instead of when its session has timed out. Of the daemons on one store one reads at a time, hence the store's id in
/// it. The broker's own protocol keeps the place for the one before, so there nothing is gained.
pub fn be_one_member(kafka: &mut KafkaSource, source: &Text, store_id: &Text) {
    let broker_assigns = broker_assigns(kafka);
    let id = || Secret::new(format!("tokenwarden-{source}-{store_id}"));
    if !broker_assigns {
        let id_of_group = "group.instance.id".into();
        kafka.properties.entry(id_of_group).or_insert_with(id);
    }
}

fn broker_assigns(kafka: &KafkaSource) -> bool {
    let protocol = kafka.properties.get("group.protocol");
    protocol.is_some_and(|protocol| protocol.expose() == "consumer")
}

/// What of a source's properties cannot be passed through, or librdkafka does not take: by property, or none where only
/// all of them together are at fault. Nothing is asked of a broker.
pub fn faults(kafka: &KafkaSource) -> Vec<(Option<Text>, String)> {
    let mut faults = Vec::new();
    for (name, value) in &kafka.properties {
        let mut alone = ClientConfig::new();
        alone.set(name.as_ref(), value.expose());
        let refused = || {
            let error = alone.create_native_config().err()?;
            Some(creation_fault(&error))
        };
        let fault = property_fault(name).or_else(refused);
        faults.extend(fault.map(|fault| (Some(name.clone()), fault)));
    }
    let topic = kafka.topics.first().map_or("", |topic| topic);
    if let (true, Ok(mut config)) = (faults.is_empty(), client_config(kafka, topic)) {
        config.remove("bootstrap.servers");
        let made = config.create::<BaseConsumer>();
        faults.extend(made.err().map(|error| (None, creation_fault(&error))));
    }
    faults
}

/// What librdkafka says about a configuration that it does not take, without the value, which may be a secret.
pub(super) fn creation_fault(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, description, name, value) => {
            let description = if value.is_empty() {
                description.clone()
            } else {
                description.replace(value, "…")
            };
            format!("Kafka property `{name}`: {description}")
        }
        KafkaError::ClientCreation(description) => {
            format!("the Kafka client cannot be made: {description}")
        }
        other => format!("the Kafka client cannot be made: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn kafka(properties: &[(&str, &str)]) -> KafkaSource {
        KafkaSource {
            brokers: "localhost:1".into(),
            topics: vec!["a".into(), "b".into()],
            group: "warden".into(),
            properties: properties
                .iter()
                .map(|(name, value)| ((*name).into(), Secret::new(*value)))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn the_users_properties_win_over_the_defaults() {
        let config = client_config(&kafka(&[("fetch.wait.max.ms", "7")]), "a").unwrap();
        assert_eq!(config.get("fetch.wait.max.ms"), Some("7"));
        assert_eq!(config.get("fetch.queue.backoff.ms"), Some("10"));
        assert_eq!(config.get("group.id"), Some("warden"));
    }

    #[test]
    fn what_our_promises_rest_on_is_refused_all_at_once() {
        let fault = client_config(
            &kafka(&[("auto.offset.reset", "latest"), ("group.id", "x")]),
            "a",
        )
        .unwrap_err();
        insta::assert_snapshot!(fault, @"property `auto.offset.reset` cannot be set: records deleted before they were read must be reported, not skipped; use `start` to say where to begin; property `group.id` cannot be set: write `group` instead");
    }

    #[test]
    fn each_topic_has_a_static_id_of_its_own() {
        let config = client_config(&kafka(&[("group.instance.id", "m1")]), "b").unwrap();
        assert_eq!(config.get("group.instance.id"), Some("m1-b"));
    }

    #[test]
    fn one_member_takes_the_place_of_the_one_before() {
        let id = |properties: &[(&str, &str)]| {
            let mut kafka = kafka(properties);
            be_one_member(&mut kafka, &"events".into(), &"5f3a".into());
            let config = client_config(&kafka, "b").unwrap();
            config.get("group.instance.id").map(str::to_owned)
        };
        assert_eq!(id(&[]).as_deref(), Some("tokenwarden-events-5f3a-b"));
        assert_eq!(id(&[("group.instance.id", "m1")]).as_deref(), Some("m1-b"));
        assert_eq!(id(&[("group.protocol", "consumer")]), None);
    }

    #[test]
    fn the_broker_assigns_under_the_newer_protocol() {
        let config = client_config(&kafka(&[("group.protocol", "consumer")]), "a").unwrap();
        assert_eq!(config.get("partition.assignment.strategy"), None);
        config
            .create::<rdkafka::consumer::BaseConsumer>()
            .expect("librdkafka takes these together");
    }

    #[test]
    fn a_refused_value_is_not_shown() {
        let config = client_config(&kafka(&[("security.protocol", "hunter2")]), "a").unwrap();
        let Err(error) = config.create::<rdkafka::consumer::BaseConsumer>() else {
            panic!("librdkafka took a security protocol that does not exist");
        };
        let fault = creation_fault(&error);
        assert!(fault.contains("security.protocol"), "{fault}");
        assert!(!fault.contains("hunter2"), "{fault}");
    }
}
