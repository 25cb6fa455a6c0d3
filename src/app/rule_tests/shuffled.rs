//! Rules about families give the same whatever the order of arrival (E5), over the events of their own tests.
//!
//! Two partitions run ahead of each other as far as they like, and rows stand out of order within each. What is found must
//! be what is found in order: the same rule, the same severity, the same leave to revoke, under the same id.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Runner, Suite, Test, suites};
use crate::app::parts;
use crate::enrich::Enricher;
use crate::model::{Enriched, Input, Timestamp, limits};
use crate::simulate::Random;

const RULES: &[&str] = &[
    "scope-widening",
    "concurrent-places",
    "suspicious-network",
    "automation-client",
    "early-refresh",
    "device-change",
];
/// Deliveries tried of each test.
const ROUNDS: u64 = 12;

#[test]
fn what_a_rule_finds_is_the_same_in_any_order_of_arrival() {
    let mut runner = Runner::default();
    let folder = runner.geo_folder().unwrap();
    for suite in shipped() {
        for test in &suite.tests {
            let events = enriched(test, &folder);
            let expected = found(test, events.iter().map(|e| (0, e)));
            for seed in 0..ROUNDS {
                let got = found(test, shuffled(&events, &mut Random::new(seed)).into_iter());
                assert_eq!(
                    got,
                    expected,
                    "{}: {}, {seed}",
                    suite.file.display(),
                    test.name
                );
            }
        }
    }
}

fn shipped() -> Vec<Suite> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let files: Vec<PathBuf> = RULES
        .iter()
        .map(|r| folder.join(format!("{r}.yaml")))
        .collect();
    suites(&files).unwrap()
}

fn enriched(test: &Test, folder: &Path) -> Vec<Enriched> {
    let mut config = test.config.clone();
    if test.simulated_places {
        config.geoip.city = Some(folder.join("city.mmdb"));
        config.geoip.asn = Some(folder.join("asn.mmdb"));
        config.geoip.anonymous_ip = Some(folder.join("anonymous-ip.mmdb"));
    }
    let mut enricher = Enricher::new(parts::tables(&config).0);
    test.events
        .iter()
        .map(|event| enricher.enrich(event.clone()))
        .collect()
}

/// Rows of one partition stand so much out of order; partitions as much as they like.
fn shuffled<'e>(events: &'e [Enriched], random: &mut Random) -> Vec<(u32, &'e Enriched)> {
    let disorder = u32::try_from(limits::DISORDER_MAX_MS).unwrap();
    let mut queues: [Vec<(i64, &Enriched)>; 2] = [Vec::new(), Vec::new()];
    for event in events {
        let arrival = event.event.time.as_millisecond() + i64::from(random.below(disorder));
        queues[random.below(2) as usize].push((arrival, event));
    }
    for queue in &mut queues {
        queue.sort_by_key(|(arrival, _)| std::cmp::Reverse(*arrival));
    }
    let mut delivery = Vec::new();
    while queues.iter().any(|queue| !queue.is_empty()) {
        let turn = random.below(2);
        let next = queues[turn as usize].pop();
        delivery.extend(next.map(|(_, event)| (turn, event)));
    }
    delivery
}

fn found<'e>(test: &Test, delivery: impl Iterator<Item = (u32, &'e Enriched)>) -> BTreeSet<String> {
    let mut engine = parts::engine(&test.config, &test.rules);
    let mut found = Vec::new();
    // Else the first partition would set the time alone until the second is heard of.
    for partition in [0, 1] {
        let time = Timestamp::UNIX_EPOCH;
        engine.apply(&Input::Tick { partition, time }, &mut found);
    }
    for (partition, event) in delivery {
        let arrived_at = Some(event.event.time);
        let event = Box::new(event.clone());
        let input = Input::Event {
            partition,
            event,
            muted: false,
            arrived_at,
        };
        engine.apply(&input, &mut found);
    }
    for partition in [0, 1] {
        engine.apply(&Input::Ended { partition }, &mut found);
    }
    let said = found.iter().map(|f| {
        let detection = &f.detection;
        let (id, severity) = (&detection.id, detection.severity);
        format!(
            "{} {severity} {:?} {} {id}",
            detection.rule, f.ask, f.may_revoke
        )
    });
    said.collect()
}
