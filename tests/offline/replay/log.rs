//! A small canonical log, written line by line.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokenwarden::model::Timestamp;

use super::Desk;

/// From whom a request comes, as far as the source carries it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who {
    pub(super) address: &'static str,
    pub(super) agent: Option<&'static str>,
    pub(super) device: Option<&'static str>,
    pub(super) key: Option<&'static str>,
    pub(super) client: &'static str,
}

pub(super) const NEW_YORK: &str = "192.0.2.10";
pub(super) const NEW_YORK_CAFE: &str = "203.0.113.130";
pub(super) const FRANKFURT: &str = "198.51.100.20";
pub(super) const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
pub(super) const NEWER_BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/132.0.0.0 Safari/537.36";
pub(super) const LIBRARY: &str = "python-requests/2.32.3";

/// Somebody at home, known by the address only.
pub(super) const HOME: Who = at(NEW_YORK);

pub(super) const fn at(address: &'static str) -> Who {
    Who {
        address,
        agent: None,
        device: None,
        key: None,
        client: "web",
    }
}

/// Lines with times in seconds after the beginning.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    lines: Vec<Value>,
    user: Option<String>,
}

pub(super) const MINUTE: f64 = 60.0;

impl Log {
    pub(super) fn of(user: &str) -> Self {
        Self {
            lines: Vec::new(),
            user: Some(user.to_owned()),
        }
    }

    /// Any event; `members` replace what would be there.
    pub(super) fn event(mut self, seconds: f64, who: Who, members: Value) -> Self {
        let time = instant(seconds);
        let mut line = json!({
            "event_id": format!("e{}-{}", self.lines.len(), self.user.as_deref().unwrap_or("")), "time": time, "type": "refresh",
            "outcome": "success", "client_id": who.client, "session_id": self.user.as_ref().map(|u| format!("session of {u}")),
            "ip_address": who.address, "user_agent": who.agent, "device_id": who.device, "key_thumbprint": who.key,
        });
        let into = line.as_object_mut().unwrap();
        into.retain(|_, value| !value.is_null());
        for (name, value) in members.as_object().unwrap() {
            into.insert(name.clone(), value.clone());
        }
        self.lines.push(line);
        self
    }

    pub(super) fn issue(self, seconds: f64, who: Who, token: &str) -> Self {
        let user = self.user.clone();
        self.event(
            seconds,
            who,
            json!({"type": "issue", "new_token_id": token, "user_id": user}),
        )
    }

    pub(super) fn refresh(self, seconds: f64, who: Who, token: &str, issued: &str) -> Self {
        let user = self.user.clone();
        self.event(
            seconds,
            who,
            json!({"token_id": token, "new_token_id": issued, "user_id": user}),
        )
    }

    pub(super) fn refused(self, seconds: f64, who: Who, token: &str, reason: &str) -> Self {
        self.event(
            seconds,
            who,
            json!({"outcome": "failure", "reason": reason, "token_id": token}),
        )
    }

    /// Somebody who has refreshed twice at home: `t2` is the newest.
    pub(super) fn begun(user: &str, who: Who) -> Self {
        let token = |n: u32| format!("{user}-t{n}");
        Self::of(user)
            .issue(0.0, who, &token(0))
            .refresh(10.0 * MINUTE, who, &token(0), &token(1))
            .refresh(20.0 * MINUTE, who, &token(1), &token(2))
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        self.lines.extend(other.lines);
        self
    }

    /// In order of time, as a server writes them.
    pub(super) fn sorted(mut self) -> Self {
        self.lines
            .sort_by(|a, b| a["time"].as_str().cmp(&b["time"].as_str()));
        self
    }

    pub(super) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    pub(super) fn write(&self, desk: &Desk) -> PathBuf {
        desk.write("log.jsonl", self.text())
    }
}

pub(super) fn instant(seconds: f64) -> String {
    let millis = 1_795_000_000_000 + (seconds * 1000.0).round() as i64;
    format!("{:.3}", Timestamp::from_millisecond(millis).unwrap())
}
