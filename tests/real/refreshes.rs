//! What an authorization server writes within a moment, in the canonical format: honest refreshes, refused ones, records
//! that are none, and thefts. Always about now, so that it can go on for as long as a test looks.

use serde_json::{Value, json};
use tokenwarden::model::{Reason, Timestamp};

/// Home of the honest, and where thieves sit.
const OWN: &str = "20.1.2.10";
const WINDOWS: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
const LINUX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0";

/// One family of refresh tokens.
pub(crate) struct Family<'a> {
    pub(crate) name: String,
    pub(crate) client: &'a str,
    pub(crate) tenant: &'a str,
    /// Of the authorization server, where there are several.
    pub(crate) issuer: Option<&'a str>,
    /// Seconds that all of it lies back.
    pub(crate) ago: i64,
}

impl<'a> Family<'a> {
    pub(crate) fn new(name: impl Into<String>, client: &'a str, tenant: &'a str) -> Self {
        Self {
            name: name.into(),
            client,
            tenant,
            issuer: None,
            ago: 0,
        }
    }

    /// Two refreshes, the second from another device.
    pub(crate) fn honest(&self) -> Vec<Value> {
        let mut second = self.refresh("t1", Ok("t2"), 5);
        second["user_agent"] = json!(LINUX);
        vec![self.issued(), self.refresh("t0", Ok("t1"), 20), second]
    }

    /// A refresh that the server refuses.
    pub(crate) fn refused(&self, reason: Reason) -> Vec<Value> {
        vec![self.issued(), self.refresh("t0", Err(reason), 5)]
    }

    /// The token is used by its owner, and then by somebody else from the network of that number.
    pub(crate) fn stolen(&self, network: usize) -> Vec<Value> {
        let mut theft = self.refresh("t0", Err(Reason::Reuse), 0);
        theft["device_id"] = json!(format!("thief of {}", self.name));
        theft["ip_address"] = json!(format!("45.{}.{}.7", network / 200, network % 200));
        vec![self.issued(), self.refresh("t0", Ok("t1"), 20), theft]
    }

    /// After the theft the owner's token is used, so many seconds from now.
    pub(crate) fn used_in(&self, seconds: i64) -> Value {
        self.refresh("t1", Ok("t2"), -seconds)
    }

    /// The same, refused.
    pub(crate) fn refused_in(&self, seconds: i64) -> Value {
        self.refresh("t1", Err(Reason::SessionEnded), -seconds)
    }

    fn issued(&self) -> Value {
        let mut event = self.event("issue", "t0", 40);
        event["new_token_id"] = self.token("t0");
        event
    }

    fn refresh(&self, token: &str, answer: Result<&str, Reason>, ago: i64) -> Value {
        let mut event = self.event("refresh", token, ago);
        event["token_id"] = self.token(token);
        match answer {
            Ok(next) => event["new_token_id"] = self.token(next),
            Err(reason) => {
                event["outcome"] = json!("failure");
                event["reason"] = json!(reason.as_str());
            }
        }
        event
    }

    fn event(&self, kind: &str, token: &str, ago: i64) -> Value {
        let now = Timestamp::now().as_millisecond();
        let name = &self.name;
        let mut event = json!({
            "event_id": format!("{name} {kind} {token} {ago}"),
            "time": now - (self.ago + ago) * 1000,
            "type": kind,
            "outcome": "success",
            "tenant": self.tenant,
            "user_id": format!("user of {name}"),
            "client_id": self.client,
            "session_id": format!("session of {name}"),
            "family_id": format!("family of {name}"),
            "ip_address": OWN,
            "user_agent": WINDOWS,
            "device_id": format!("device of {name}"),
        });
        if let Some(issuer) = self.issuer {
            event["issuer"] = json!(issuer);
        }
        event
    }

    fn token(&self, token: &str) -> Value {
        json!(format!("{} {token}", self.name))
    }
}

/// As lines of a log.
pub(crate) fn lines(events: impl IntoIterator<Item = Value>) -> String {
    let lines = events.into_iter().map(|event| format!("{event}\n"));
    lines.collect()
}
