//! What the daemon as a whole tells to the audit log: start and stop, reloads, and who was refused at the API.
//!
//! Decisions and what became of them are told in the store itself, in the transaction that makes them durable.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::loaded::Loaded;
use crate::clock;
use crate::model::limits::{REFUSALS_TOLD_EVERY, REFUSED_ADDRESSES_MAX};
use crate::model::{AuditKind, AuditNote, Text, Timestamp};
use crate::store::{Store, StoreError};

/// Nobody waits longer for the log than this; what cannot be told is not done, where it can be left.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes one entry; the reason why not is for a person.
pub(super) async fn tell(store: &Store, note: AuditNote) -> Result<(), String> {
    let told = record(store, note).await;
    told.map_err(|error| format!("the audit log cannot be written: {error}"))
}

/// The same, for who has to know whether waiting may mend it.
pub(super) async fn record(store: &Store, note: AuditNote) -> Result<(), StoreError> {
    let told = tokio::time::timeout(PATIENCE, store.record(&[note], clock::now())).await;
    told.unwrap_or_else(|_| Err(StoreError::Unavailable("no answer in time".to_owned())))
}

/// A start or a reload: what is in force from now on.
pub(super) fn in_force(what: AuditKind, who: &str, loaded: &Loaded) -> AuditNote {
    let config = &loaded.config;
    AuditNote::of(what, who)
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("mode", config.mode.as_str())
        .with("rules", loaded.rules.rules.len())
        .with("configuration", config.path.display().to_string())
        .with("sha256", &*config.sha256)
}

/// Requests without the right to them. Anybody can make as many as he likes, so they are told together: the first at
/// once, then at most one entry a minute.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    requests: u64,
    from: BTreeSet<IpAddr>,
    told: Option<Timestamp>,
}

impl Refusals {
    pub(super) fn count(&self, peer: Option<IpAddr>) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.requests += 1;
        if counted.from.len() < REFUSED_ADDRESSES_MAX {
            counted.from.extend(peer);
        }
    }

    /// What is to be told now; it counts as told.
    pub(super) fn due(&self, now: Timestamp) -> Option<AuditNote> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately =
            |told: Timestamp| now.duration_since(told).unsigned_abs() < REFUSALS_TOLD_EVERY;
        if counted.requests == 0 || counted.told.is_some_and(lately) {
            return None;
        }
        let requests = std::mem::take(&mut counted.requests);
        let from = std::mem::take(&mut counted.from);
        counted.told = Some(now);
        let from: Vec<String> = from.iter().map(ToString::to_string).collect();
        let from: Text = from.join(", ").into();
        Some(
            AuditNote::of(AuditKind::LoginRefused, "unknown")
                .with("listener", "api")
                .with("requests", requests)
                .about("addresses", Some(&from)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;

    #[test]
    fn a_flood_of_refusals_is_one_entry_a_minute() {
        let refusals = Refusals::default();
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let peer: IpAddr = "198.51.100.7".parse().unwrap();
        assert_eq!(refusals.due(at(0)), None);
        refusals.count(Some(peer));
        assert!(refusals.due(at(0)).is_some(), "the first one at once");
        for n in 0..1000_u32 {
            refusals.count(Some(IpAddr::from(n.to_be_bytes())));
        }
        assert_eq!(refusals.due(at(59)), None);
        let told = refusals.due(at(60)).unwrap();
        assert_eq!(told.open.get("requests"), Some(&Value::Integer(1000)));
        let personal = told.personal.unwrap();
        let Some(Value::Text(from)) = personal.get("addresses") else {
            panic!("{personal:?}");
        };
        assert_eq!(from.split(", ").count(), REFUSED_ADDRESSES_MAX);
        assert_eq!(refusals.due(at(200)), None);
    }
}
