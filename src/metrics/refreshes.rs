//! Counts what people and apps do: refreshes by outcome, reason, client, country, their intervals and device changes.
//!
//! Adds up in plain memory and publishes once per batch. The interval and the device change need the refresh before;
//! a bounded table of their own remembers it, so that the engine's state need not leave the engine for a graph.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher as _};

use crate::model::limits::METRIC_CHAINS_MAX;
use crate::model::{Enriched, EventType, Outcome, Reason};

use super::{Metrics, Names};

pub(super) const UNKNOWN_COUNTRY: &str = "unknown";

/// One accepted use, or a refused one for each reason.
const CLASSES: usize = 1 + Reason::ALL.len();

/// What has been counted since it was last published.
#[derive(Debug, Clone)]
pub struct Refreshes {
    names: Names,
    /// By client, tenant and class, all flat.
    counts: Vec<u64>,
    /// Client and seconds.
    intervals: Vec<(usize, f64)>,
    device_changes: Vec<u64>,
    countries: BTreeMap<[u8; 2], u64>,
    chains: Chains,
}

impl Refreshes {
    pub fn new(names: Names) -> Self {
        let (clients, tenants) = (names.clients().all().len(), names.tenants().all().len());
        Self {
            names,
            counts: vec![0; clients * tenants * CLASSES],
            intervals: Vec::new(),
            device_changes: vec![0; clients],
            countries: BTreeMap::new(),
            chains: Chains::default(),
        }
    }

    /// Other names after a reload; what is remembered of sessions stays.
    pub fn rename(&mut self, names: Names) {
        let chains = std::mem::take(&mut self.chains);
        *self = Self {
            chains,
            ..Self::new(names)
        };
    }

    /// Takes one event. A muted one (read again) is remembered but not counted.
    pub fn observe(&mut self, event: &Enriched, muted: bool) {
        if event.event.kind != EventType::Refresh {
            return;
        }
        let client = self.names.clients().index(event.event.client_id.as_deref());
        let since = event
            .event
            .succeeded()
            .then(|| self.chains.refreshed(event))
            .flatten();
        if muted {
            return;
        }
        let slot = self.slot(client, event);
        self.counts[slot] += 1;
        *self.countries.entry(country(event)).or_default() += 1;
        if let Some(since) = since {
            self.intervals.push((client, since.seconds));
            self.device_changes[client] += u64::from(since.other_device);
        }
    }

    fn slot(&self, client: usize, event: &Enriched) -> usize {
        let tenant = self.names.tenants().index(event.event.tenant.as_deref());
        let class = match event.event.outcome {
            Outcome::Success => 0,
            Outcome::Failure => 1 + reason_index(event.event.reason.unwrap_or(Reason::Other)),
        };
        (client * self.names.tenants().all().len() + tenant) * CLASSES + class
    }

    /// Adds everything counted to the metrics, and starts again from nothing.
    pub fn publish(&mut self, metrics: &Metrics) {
        let (clients, tenants) = (self.names.clients().all(), self.names.tenants().all());
        for (slot, count) in self
            .counts
            .iter_mut()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            let (client, tenant) = (
                &*clients[slot / CLASSES / tenants.len()],
                &*tenants[slot / CLASSES % tenants.len()],
            );
            let count = std::mem::take(count);
            let outcome = match slot % CLASSES {
                0 => Outcome::Success,
                class => {
                    let reason = Reason::ALL[class - 1].as_str();
                    metrics
                        .refresh_failures_total
                        .with_label_values(&[client, tenant, reason])
                        .inc_by(count);
                    Outcome::Failure
                }
            };
            metrics
                .refreshes_total
                .with_label_values(&[client, tenant, outcome.as_str()])
                .inc_by(count);
        }
        for (client, seconds) in self.intervals.drain(..) {
            metrics
                .refresh_interval_seconds
                .with_label_values(&[&*clients[client]])
                .observe(seconds);
        }
        for (client, count) in self
            .device_changes
            .iter_mut()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            metrics
                .device_changes_total
                .with_label_values(&[&*clients[client]])
                .inc_by(std::mem::take(count));
        }
        for (code, count) in std::mem::take(&mut self.countries) {
            let country = std::str::from_utf8(&code)
                .ok()
                .filter(|code| *code != "--")
                .unwrap_or(UNKNOWN_COUNTRY);
            metrics
                .refreshes_by_country_total
                .with_label_values(&[country])
                .inc_by(count);
        }
    }
}

fn reason_index(reason: Reason) -> usize {
    Reason::ALL
        .iter()
        .position(|each| *each == reason)
        .unwrap_or(Reason::ALL.len() - 1)
}

/// Two capital letters, or `--`: a broken table must not make labels.
fn country(event: &Enriched) -> [u8; 2] {
    let code = event
        .place
        .as_ref()
        .and_then(|place| place.country.as_deref());
    match code.map(str::as_bytes) {
        Some(&[a, b]) if a.is_ascii_uppercase() && b.is_ascii_uppercase() => [a, b],
        _ => *b"--",
    }
}

/// The last refresh of each session or family. Two halves: when the newer one is full the older one is forgotten, which
/// is a bound without a list of what was used when.
#[derive(Debug, Clone, Default)]
struct Chains {
    newer: HashMap<u64, Last>,
    older: HashMap<u64, Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    time_ms: i64,
    device: Option<u64>,
}

struct Since {
    seconds: f64,
    other_device: bool,
}

impl Chains {
    /// Remembers an accepted refresh; answers what lies between it and the one before.
    fn refreshed(&mut self, event: &Enriched) -> Option<Since> {
        let key = chain(event)?;
        let last = self
            .newer
            .get(&key)
            .or_else(|| self.older.get(&key))
            .copied();
        let time_ms = event.event.time.as_millisecond();
        if last.is_some_and(|last| time_ms < last.time_ms) {
            return None;
        }
        let device = event.agent.as_ref().map(hash);
        if self.newer.len() >= METRIC_CHAINS_MAX / 2 && !self.newer.contains_key(&key) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(
            key,
            Last {
                time_ms,
                device: device.or(last.and_then(|last| last.device)),
            },
        );
        last.map(|last| Since {
            seconds: milliseconds_apart(last.time_ms, time_ms),
            other_device: device.is_some() && last.device.is_some() && device != last.device,
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds between two events fit 53 bits"
)]
fn milliseconds_apart(from: i64, to: i64) -> f64 {
    to.saturating_sub(from) as f64 / 1000.0
}

fn chain(event: &Enriched) -> Option<u64> {
    let event = &event.event;
    let within = event
        .family_id
        .as_ref()
        .or(event.session_id.as_ref())
        .or(event.user_id.as_ref())?;
    Some(hash(&(
        &event.issuer,
        &event.tenant,
        &event.client_id,
        within,
    )))
}

fn hash(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{registry, scrape};
    use crate::model::{Agent, DeviceClass, Event, Granularity, Place};

    fn refresh(second: i64, outcome: Outcome) -> Enriched {
        let time = crate::model::Timestamp::from_second(1_795_000_000 + second).unwrap();
        let mut event = Event::new(
            format!("e{second}"),
            time,
            EventType::Refresh,
            outcome,
            "idp",
        );
        event.client_id = Some("web".into());
        event.session_id = Some("s1".into());
        Enriched {
            event,
            network: None,
            place: None,
            agent: None,
        }
    }

    fn on(mut event: Enriched, os_family: &str) -> Enriched {
        event.agent = Some(Agent {
            os_family: os_family.into(),
            device: DeviceClass::Desktop,
            client_app: "Chrome".into(),
            automation: false,
        });
        event
    }

    fn published(events: &[(Enriched, bool)]) -> String {
        let (registry, metrics) = registry().unwrap();
        let mut refreshes = Refreshes::new(Names::new(["web".into()], []));
        for (event, muted) in events {
            refreshes.observe(event, *muted);
        }
        refreshes.publish(&metrics);
        refreshes.publish(&metrics);
        scrape(&registry).unwrap()
    }

    fn has(text: &str, line: &str) {
        assert!(
            text.lines().any(|each| each == line),
            "no line {line} in\n{text}"
        );
    }

    #[test]
    fn counts_by_outcome_and_reason_and_publishes_once() {
        let mut refused = refresh(1, Outcome::Failure);
        refused.event.reason = Some(Reason::Expired);
        let text = published(&[
            (refresh(0, Outcome::Success), false),
            (refused.clone(), false),
            (refused, true),
            (refresh(3, Outcome::Failure), false),
        ]);
        has(
            &text,
            "tokenwarden_refreshes_total{client=\"web\",outcome=\"success\",tenant=\"other\"} 1",
        );
        has(
            &text,
            "tokenwarden_refreshes_total{client=\"web\",outcome=\"failure\",tenant=\"other\"} 2",
        );
        has(
            &text,
            "tokenwarden_refresh_failures_total{client=\"web\",reason=\"expired\",tenant=\"other\"} 1",
        );
        has(
            &text,
            "tokenwarden_refresh_failures_total{client=\"web\",reason=\"other\",tenant=\"other\"} 1",
        );
        has(
            &text,
            "tokenwarden_refreshes_by_country_total{country=\"unknown\"} 3",
        );
    }

    #[test]
    fn measures_from_an_event_that_was_only_read_again() {
        let text = published(&[
            (refresh(0, Outcome::Success), true),
            (refresh(300, Outcome::Success), false),
            (refresh(200, Outcome::Success), false),
            (refresh(900, Outcome::Success), false),
        ]);
        has(
            &text,
            "tokenwarden_refresh_interval_seconds_sum{client=\"web\"} 900",
        );
        has(
            &text,
            "tokenwarden_refresh_interval_seconds_count{client=\"web\"} 2",
        );
    }

    #[test]
    fn a_device_changes_only_when_both_are_known_and_differ() {
        let text = published(&[
            (on(refresh(0, Outcome::Success), "Windows"), false),
            (refresh(10, Outcome::Success), false),
            (on(refresh(20, Outcome::Success), "Windows"), false),
            (on(refresh(30, Outcome::Success), "Linux"), false),
        ]);
        has(&text, "tokenwarden_device_changes_total{client=\"web\"} 1");
    }

    #[test]
    fn only_real_codes_become_countries() {
        let with = |second: i64, country: &str| {
            let mut event = refresh(second, Outcome::Success);
            event.place = Some(Place {
                latitude: 0.0,
                longitude: 0.0,
                radius_km: 1,
                granularity: Granularity::City,
                country: Some(country.into()),
                city: None,
            });
            event
        };
        let text = published(&[
            (with(0, "DE"), false),
            (with(1, "de"), false),
            (with(2, "Deutschland"), false),
        ]);
        has(
            &text,
            "tokenwarden_refreshes_by_country_total{country=\"DE\"} 1",
        );
        has(
            &text,
            "tokenwarden_refreshes_by_country_total{country=\"unknown\"} 2",
        );
        assert_eq!(
            text.matches("tokenwarden_refreshes_by_country_total{")
                .count(),
            2
        );
    }

    #[test]
    fn forgets_the_oldest_sessions_first() {
        let mut chains = Chains::default();
        let in_session = |n: usize| {
            let mut event = refresh(0, Outcome::Success);
            event.event.session_id = Some(format!("s{n}").into());
            event
        };
        for n in 0..2 * METRIC_CHAINS_MAX {
            assert!(chains.refreshed(&in_session(n)).is_none());
        }
        assert!(chains.newer.len() + chains.older.len() <= METRIC_CHAINS_MAX);
        assert!(
            chains
                .refreshed(&in_session(2 * METRIC_CHAINS_MAX - 1))
                .is_some()
        );
        assert!(chains.refreshed(&in_session(0)).is_none());
    }
}
