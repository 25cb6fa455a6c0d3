//! The way back: an event as one line of the canonical form, which [`canonical`](super::canonical) reads.
//!
//! Times are written as integers, of milliseconds or where that is too coarse of nanoseconds: they cost least. What the
//! contract has no member for (whether a token is offline, hashes under a previous key) is left out; kept members of others stand where
//! they stood.

use std::io::{self, Write};
use std::net::IpAddr;

use serde::Serialize;

use crate::model::{Event, Timestamp};

/// Writes the event and a line break.
pub fn encode(event: &Event, out: &mut impl Write) -> io::Result<()> {
    let Some(extra) = extra(event) else {
        serde_json::to_writer(&mut *out, &Record::of(event))?;
        return out.write_all(b"\n");
    };
    let mut line = serde_json::to_vec(&Record::of(event))?;
    line.pop();
    out.write_all(&line)?;
    writeln!(out, ",{extra}")
}

/// The same with one more member of ours; adds to what is there.
pub(super) fn encode_with(
    event: &Event,
    (name, value): (&str, &impl Serialize),
    out: &mut Vec<u8>,
) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Record::of(event))?;
    out.pop();
    write!(out, ",\"{name}\":")?;
    serde_json::to_writer(&mut *out, value)?;
    match extra(event) {
        Some(extra) => writeln!(out, ",{extra}"),
        None => out.write_all(b"}\n"),
    }
}

/// The members of others, with the brace that ends the line.
fn extra(event: &Event) -> Option<&str> {
    let extra = event.extra.as_deref()?.strip_prefix('{')?;
    (extra != "}").then_some(extra)
}

/// The members in the order of the contract.
#[derive(Serialize)]
struct Record<'a> {
    event_id: &'a str,
    time: i128,
    r#type: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    issuer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_token_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latest_generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ja4: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_thumbprint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token_ttl: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initiator: Option<&'static str>,
}

impl<'a> Record<'a> {
    fn of(event: &'a Event) -> Self {
        Self {
            event_id: &event.event_id,
            time: time(event.time),
            r#type: event.kind.as_str(),
            outcome: event.outcome.as_str(),
            reason: event.reason.map(crate::model::Reason::as_str),
            error: event.error.as_deref(),
            issuer: &event.issuer,
            tenant: event.tenant.as_deref(),
            user_id: event.user_id.as_deref(),
            client_id: event.client_id.as_deref(),
            session_id: event.session_id.as_deref(),
            family_id: event.family_id.as_deref(),
            token_id: event.token_id.as_deref(),
            new_token_id: event.new_token_id.as_deref(),
            generation: event.generation,
            latest_generation: event.latest_generation,
            ip_address: event.ip_address,
            user_agent: event.user_agent.as_deref(),
            device_id: event.device_id.as_deref(),
            ja4: event.ja4.as_deref(),
            key_thumbprint: event.key_thumbprint.as_deref(),
            scope: event.scope.as_deref(),
            access_token_ttl: event.access_token_ttl,
            initiator: event.initiator.map(crate::model::Initiator::as_str),
        }
    }
}

fn time(time: Timestamp) -> i128 {
    let nanoseconds = time.as_nanosecond();
    if nanoseconds % 1_000_000 == 0 {
        nanoseconds / 1_000_000
    } else {
        nanoseconds
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decode::{DecodeOptions, TokenKey, decoder};
    use crate::model::Text;

    fn there_and_back(record: &serde_json::Value) {
        let options = DecodeOptions {
            format: "tokenwarden".into(),
            own_accounts: Vec::new(),
            timezone: None,
            mapping: None,
            token_key: TokenKey::new(b"key"),
            previous_key: None,
        };
        let decoder = decoder(options).expect("a decoder");
        let decode = |payload: &[u8]| {
            let mut events = Vec::new();
            decoder
                .decode(payload, &Text::from("source"), &mut events)
                .expect("an event");
            events.remove(0)
        };
        let event = decode(record.to_string().as_bytes());
        let mut line = Vec::new();
        encode(&event, &mut line).expect("memory");
        assert_eq!(
            line.iter().position(|byte| *byte == b'\n'),
            Some(line.len() - 1)
        );
        assert_eq!(decode(&line), event);
    }

    #[test]
    fn every_member_comes_back() {
        there_and_back(&json!({
            "event_id": "e-7", "time": "2026-11-20T10:20:00.125001Z", "type": "refresh", "outcome": "failure",
            "reason": "reuse", "error": "said \"no\"\n", "issuer": "https://id.example", "tenant": "t1",
            "user_id": "u1", "client_id": "web", "session_id": "s1", "family_id": "f1", "token_id": "a",
            "new_token_id": "b", "generation": 3, "latest_generation": 5, "ip_address": "2001:db8::7",
            "user_agent": "Mozilla/5.0", "device_id": "d1", "ja4": "t13d", "key_thumbprint": "x5t",
            "scope": "openid email", "access_token_ttl": 300, "initiator": "admin",
        }));
    }

    #[test]
    fn what_is_not_there_stays_away_and_what_others_added_stays() {
        let bare = json!({"event_id": "e", "time": 1_795_170_000_000_i64, "type": "login", "outcome": "success"});
        there_and_back(&bare);
        let mut more = bare.clone();
        more["zone"] = json!({"a": [1, "two"]});
        there_and_back(&more);
    }
}
