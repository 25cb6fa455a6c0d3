//! The generic kinds: they pick events by a condition, keep them apart by a key, and remember a little of each key.
//!
//! `threshold` counts events, `distinct` values, `sequence` asks for one thing after the other, and `first_seen` for what a
//! key never had. All of them judge windows that end at an event of the set that is remembered, in event time: the
//! verdict is the same whatever order the events came in.

pub mod distinct;
pub mod first_seen;
mod hits;
pub mod sequence;
pub mod threshold;
mod windows;

use serde::{Deserialize, Serialize};

pub use first_seen::Known;
pub use hits::{Completion, Hits};
pub use windows::Busiest;

use super::super::case::KeyedCase;
use super::super::expr::Expression;
use super::super::fields::KeyField;
use super::super::finding::{Ask, Finding};
use super::super::needs::Need;
use super::super::parameters::Parameters;
use crate::model::{Clue, Enriched, Evidence, Severity};

/// Everything remembered of one key of one rule; bounded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    pub hits: Hits,
    pub busiest: Busiest,
    pub known: Known,
    /// Periods since 1970 of which a finding was made: one of each is enough.
    pub fired: Vec<i64>,
}

/// Periods remembered in which a finding was made: the present one, and what may still come late.
const FIRED_MAX: usize = 8;
const HOUR_MS: i64 = 3_600_000;

impl Memory {
    fn has_fired(&mut self, period: i64) {
        self.fired.push(period);
        if self.fired.len() > FIRED_MAX {
            self.fired.remove(0);
        }
    }
}

/// A rule speaks once an hour of one key, or once in its window where that is longer.
fn period_of(time: i64, within: i64) -> i64 {
    time.div_euclid(within.max(HOUR_MS))
}

/// The key and the condition of a rule with one of each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pick {
    pub when: Option<Expression>,
    pub by: Vec<KeyField>,
}

impl Pick {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.condition("when", "Which events count.", &mut self.when);
        p.key(
            "by",
            "What keeps the counts apart: one field, or several together.",
            &mut self.by,
        );
    }
}

/// Whether an answer hangs on facts: an event that excuses may come a little later.
fn reads_facts(condition: Option<&Expression>) -> bool {
    condition.is_some_and(Expression::reads_facts)
}

/// Without what its key and its values are made of a rule sees nothing; without another field that it reads, less.
fn needs<'a>(
    keys: impl IntoIterator<Item = KeyField>,
    conditions: impl IntoIterator<Item = &'a Option<Expression>>,
) -> Vec<Need> {
    let mut all: Vec<Clue> = keys
        .into_iter()
        .filter_map(|key| key.field().clue)
        .collect();
    let read: Vec<Clue> = conditions
        .into_iter()
        .flatten()
        .flat_map(Expression::clues)
        .collect();
    // Who asks why something was refused is about refusals.
    all.extend(read.iter().filter(|clue| **clue == Clue::Refusals));
    all.sort_unstable();
    all.dedup();
    let mut part = read;
    part.retain(|clue| !all.contains(clue));
    part.sort_unstable();
    part.dedup();
    let sees_nothing = all.into_iter().map(|clue| Need::all(&[clue]));
    let sees_less = part
        .into_iter()
        .map(|clue| Need::part(&[clue], told_by(clue)));
    sees_nothing.chain(sees_less).collect()
}

/// What a condition can hardly tell without the clue.
const fn told_by(clue: Clue) -> &'static str {
    match clue {
        Clue::AnonymousIp => "hosting, VPN, proxy and Tor networks that are not declared",
        Clue::IpAddress => "kinds of network",
        Clue::City => "places",
        Clue::UserAgent => "kinds of client",
        Clue::DeviceId | Clue::KeyThumbprint => "devices",
        Clue::Ja4 => "TLS fingerprints",
        Clue::ClientId => "kinds of application",
        _ => "part of what its condition asks for",
    }
}

/// The values of several fields, as a person reads them: `network 198.51.100.0/24`.
pub fn key_text(by: &[KeyField], event: &Enriched) -> String {
    let part = |field: &KeyField| {
        let value = field.of(event);
        format!("{} {}", noun(*field).0, value.as_deref().unwrap_or("-"))
    };
    let parts: Vec<String> = by.iter().map(part).collect();
    parts.join(", ")
}

fn key_evidence(by: &[KeyField], case: &KeyedCase<'_>) -> Evidence {
    by.iter().fold(Evidence::new(), |evidence, field| {
        evidence.with_some(field.name(), field.of(case.event).as_deref())
    })
}

/// What one value of a field is called, and several.
fn noun(field: KeyField) -> (&'static str, &'static str) {
    match field.name() {
        "event.token_id" => ("token", "tokens"),
        "event.new_token_id" => ("new token", "new tokens"),
        "event.family_id" => ("token family", "token families"),
        "event.user_id" => ("user", "users"),
        "event.client_id" => ("client", "clients"),
        "event.session_id" => ("session", "sessions"),
        "event.device_id" => ("device", "devices"),
        "event.ja4" => ("TLS fingerprint", "TLS fingerprints"),
        "event.ip_address" => ("address", "addresses"),
        "event.issuer" => ("server", "servers"),
        "event.tenant" => ("tenant", "tenants"),
        "network.prefix" => ("network", "networks"),
        "network.asn" => ("autonomous system", "autonomous systems"),
        "place.country" => ("country", "countries"),
        "place.city" => ("city", "cities"),
        name => (name, name),
    }
}

/// A value as it is remembered.
fn hash(value: impl AsRef<[u8]>) -> u64 {
    xxhash_rust::xxh3::xxh3_64(value.as_ref())
}

/// What all findings of these kinds have in common: counts prove nothing about who holds a family's tokens (S3, S4).
fn finding(case: &KeyedCase<'_>, time: i64, summary: String, evidence: Evidence) -> Finding {
    Finding {
        about: Vec::new(),
        time,
        event_id: None,
        at_most: Severity::Critical,
        ask: Ask::Response,
        may_revoke: false,
        confidence: 1.0,
        presenter: case.presenter.clone(),
        foreign_network: None,
        summary,
        evidence,
    }
}
