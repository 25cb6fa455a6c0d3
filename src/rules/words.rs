//! How findings call things: places, contexts, instants and spans of time, the same in every rule.

use super::context::Context;
pub use crate::model::span;
use crate::model::{Evidence, Timestamp};

/// Where a context is, as a person would say it.
pub fn place_name(context: &Context) -> String {
    let place = context
        .place
        .as_ref()
        .and_then(|p| match (&p.city, &p.country) {
            (Some(city), Some(country)) => Some(format!("{city}, {country}")),
            (Some(name), None) | (None, Some(name)) => Some(name.to_string()),
            (None, None) => None,
        });
    let declared = context
        .network
        .as_ref()
        .and_then(|n| n.declared.as_ref())
        .map(ToString::to_string);
    let address = || context.ip_address.map(|ip| ip.to_string());
    place
        .or(declared)
        .or_else(address)
        .unwrap_or_else(|| "an unknown place".to_owned())
}

/// Everything that a context tells of somebody.
pub fn who(context: &Context) -> Evidence {
    let network = context.network.as_ref();
    Evidence::new()
        .with_some("ip_address", context.ip_address.map(|ip| ip.to_string()))
        .with_some("network", network.map(|n| n.prefix.to_string()))
        .with_some("asn", network.and_then(|n| n.asn))
        .with_some(
            "organisation",
            network.and_then(|n| n.organisation.as_ref()),
        )
        .with_some("declared", network.and_then(|n| n.declared.as_ref()))
        .with_some("place", context.place.as_ref().map(|_| place_name(context)))
        .with_some("agent", context.agent.as_ref().map(ToString::to_string))
        .with_some("device_id", context.device_id.as_ref())
        .with_some("key_thumbprint", context.key_thumbprint.as_ref())
}

/// RFC 3339, for evidence.
pub fn instant(millis: i64) -> String {
    Timestamp::from_millisecond(millis)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

/// What a rule is called in a sentence: `brute-force` is `Brute force`.
pub fn title(rule: &str) -> String {
    let words = rule.replace('-', " ");
    let mut chars = words.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

/// A number of things: `1 event`, `2 events`.
pub fn counted(count: impl Into<u64>, one: &str, many: &str) -> String {
    let count = count.into();
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The beginning of a token's id: enough to recognise it.
pub fn short(token: &str) -> String {
    let head: String = token.chars().take(8).collect();
    if head.len() < token.len() {
        format!("{head}…")
    } else {
        head
    }
}
