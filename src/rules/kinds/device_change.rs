//! `device_change`: a family's kind of device or client changes.
//!
//! Compares parsed tuples (client application, OS family, device class), never version strings: an update is not another
//! device, and a tablet that asks for desktop pages is none either. A change alone proves nothing (a webview beside the
//! system browser), so that it is recorded and adds to what other rules know; most where a native app has become another
//! operating system. A missing user agent is unknown, not different.
//!
//! A TLS fingerprint changes with every other update, and so only corroborates: alone it is a mere record. A change to a
//! program is one fact with what `automation_client` finds: both are of the class `device`, which counts it once.

use std::time::Duration;

use super::super::case::{At, FamilyCase, FamilyKind};
use super::super::context::Context;
use super::super::finding::{Ask, Finding};
use super::super::ledger::Entry;
use super::super::needs::Need;
use super::super::parameters::Parameters;
use super::super::trace::Trace;
use super::super::words::who;
use super::Kind;
use crate::model::{Agent, Clue, Evidence, Severity, Text};

/// Parameters of a device-change rule.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceChange {
    /// Accepted presentations with a user agent before a change means anything.
    pub history_min: u32,
    /// Clients that show a webview beside the system browser.
    pub webview_clients: Vec<Text>,
    pub settle: Duration,
}

impl Default for DeviceChange {
    fn default() -> Self {
        Self {
            history_min: 2,
            webview_clients: Vec::new(),
            settle: Duration::from_secs(2),
        }
    }
}

impl Kind for DeviceChange {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.count(
            "history_min",
            "Accepted presentations with a user agent before a change means anything.",
            1..=60,
            &mut self.history_min,
        );
        p.texts(
            "webview_clients",
            "Clients that show a webview beside the system browser: another application on the same operating system is no change.",
            &mut self.webview_clients,
        );
        p.settle(&mut self.settle);
    }

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::all(&[Clue::UserAgent]),
            Need::part(
                &[Clue::Ja4],
                "another TLS fingerprint behind the same user agent",
            ),
        ]
    }
}

impl FamilyKind for DeviceChange {
    fn settle(&self) -> Duration {
        self.settle
    }

    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        case.ledger.varies() && has_agents(case)
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        let change = case
            .refreshes_at(at.time)
            .find_map(|entry| self.change(case, entry, trace));
        change
            .map(|change| describe(case, &change))
            .into_iter()
            .collect()
    }
}

/// More than one kind of client or fingerprint: something to compare.
fn has_agents(case: &FamilyCase<'_>) -> bool {
    let mut contexts = case.ledger.contexts();
    let Some(first) = contexts.find(|c| c.agent.is_some()) else {
        return false;
    };
    contexts.any(|c| c.agent.is_some() && (c.agent != first.agent || c.ja4 != first.ja4))
}

struct Change<'a> {
    entry: &'a Entry,
    from: &'a Agent,
    to: &'a Agent,
    what: What,
    /// The TLS fingerprint is new too; `None` where one side carries none.
    other_fingerprint: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// A native app on another operating system.
    OsOfNative,
    Kind,
    /// The same claimed client.
    FingerprintOnly,
}

impl What {
    const fn as_str(self) -> &'static str {
        match self {
            Self::OsOfNative => "operating system of a native app",
            Self::Kind => "kind of client",
            Self::FingerprintOnly => "TLS fingerprint",
        }
    }

    /// As a share of the weight of the first (0.7): another kind of client 0.5.
    const fn confidence(self) -> f64 {
        match self {
            Self::OsOfNative => 1.0,
            Self::Kind => 5.0 / 7.0,
            Self::FingerprintOnly => 0.3,
        }
    }
}

impl DeviceChange {
    /// Compares a presentation with the accepted ones before it.
    fn change<'a>(
        &self,
        case: &FamilyCase<'a>,
        entry: &'a Entry,
        trace: &mut Trace,
    ) -> Option<Change<'a>> {
        let context: &Context = case.context(entry);
        let to = context.agent.as_ref()?;
        let before = case.accepted_before(entry.time);
        let agents = before
            .clone()
            .filter_map(|seen| seen.context.agent.as_ref());
        let history = agents.clone().count();
        let prints: Vec<&Text> = before
            .filter_map(|seen| seen.context.ja4.as_ref())
            .collect();
        let ja4 = context.ja4.as_ref().filter(|_| !prints.is_empty());
        let other_fingerprint = ja4.map(|ja4| !prints.contains(&ja4));
        let what = if history < self.history_min as usize {
            Err("too little history to call anything a change")
        } else if agents.clone().all(|known| known.is_another_kind_than(to)) {
            self.kind_of_change(case, entry, agents.clone(), to)
        } else if other_fingerprint == Some(true) {
            Ok(What::FingerprintOnly)
        } else {
            Err("this kind of client is known of the family; a version is no kind")
        };
        match what {
            Ok(what) => Some(Change {
                entry,
                from: agents.last()?,
                to,
                what,
                other_fingerprint,
            }),
            Err(why) => {
                trace.note(|| {
                    let values = Evidence::new()
                        .with("agent", to.to_string())
                        .with("history", history)
                        .with("history_min", self.history_min)
                        .with_some("ja4", context.ja4.as_ref());
                    (why.to_owned(), values)
                });
                None
            }
        }
    }

    fn kind_of_change<'a>(
        &self,
        case: &FamilyCase<'_>,
        entry: &Entry,
        mut known: impl Iterator<Item = &'a Agent>,
        to: &Agent,
    ) -> Result<What, &'static str> {
        let same_system = known.any(|agent| may_be_one_system(agent, to));
        let shows_webviews = entry.is_of_one_of(&self.webview_clients) && !to.automation;
        match (same_system, shows_webviews) {
            (true, true) => Err("the rule lists the client: a webview beside the system browser"),
            (false, _) if case.client.native => Ok(What::OsOfNative),
            _ => Ok(What::Kind),
        }
    }
}

/// Whether two user agents can be of one operating system. The library of Apple's systems names none of them, and an app may
/// not say at all.
fn may_be_one_system(a: &Agent, b: &Agent) -> bool {
    let apple = |os: &str| matches!(os, "iOS" | "macOS");
    let (a, b) = (&*a.os_family, &*b.os_family);
    a == b
        || a == "Other"
        || b == "Other"
        || (a == "Darwin" && apple(b))
        || (b == "Darwin" && apple(a))
}

fn describe(case: &FamilyCase<'_>, change: &Change<'_>) -> Finding {
    let Change {
        entry,
        from,
        to,
        what,
        other_fingerprint,
    } = *change;
    let name = entry.token_name().unwrap_or_else(|| case.id.clone());
    let summary = format!("Another {} in one login: {to} after {from}", what.as_str());
    let evidence = Evidence::new()
        .with("from", from.to_string())
        .with("to", to.to_string())
        .with("fingerprint_only", what == What::FingerprintOnly)
        .with_some("other_fingerprint", other_fingerprint)
        .with("presented_token", name)
        .with("presenter", who(case.context(entry)));
    let finding = Finding {
        confidence: what.confidence(),
        ..case.finding(entry, summary, evidence)
    };
    if what != What::FingerprintOnly {
        return finding;
    }
    Finding {
        at_most: Severity::Info,
        ask: Ask::Nothing,
        ..finding
    }
}
