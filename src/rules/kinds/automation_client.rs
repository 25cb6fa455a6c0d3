//! `automation_client`: a family that a person's browser or app used is now used by a program.
//!
//! Stolen tokens are tried out with curl, Python and the like: the user agent that a thief did not trouble to copy. Who was
//! a program from the start (a CI robot, a server that renders pages beside its browser) is not meant, nor are clients
//! with addresses of their own.
//!
//! What may revoke (DESIGN): on a changed network, if the device differs too. Here the kind of user agent differs by what
//! the rule looks for, so that the sentence would be empty if that were enough against everything else. It is read by the
//! order of signs: where both sides carry a proof key or a device id and it is the same, this is the owner's device with
//! another library, and a record; where they differ, or are not carried, the kind of user agent stands and the device is
//! another one. Without a changed network it pages and ends nothing: people do try out their own tokens at home.

use std::time::Duration;

use super::super::case::{At, FamilyCase, FamilyKind};
use super::super::context::{Context, Seen};
use super::super::device::devices;
use super::super::finding::{Ask, Finding};
use super::super::ledger::Entry;
use super::super::needs::Need;
use super::super::parameters::Parameters;
use super::super::trace::Trace;
use super::super::words::{place_name, who};
use super::Kind;
use crate::model::{Clue, Evidence, NetworkClass, Severity, Text};

/// Parameters of an automation-client rule.
#[derive(Debug, Clone, PartialEq)]
pub struct AutomationClient {
    /// Accepted presentations by browsers or apps before a program means anything.
    pub history_min: u32,
    /// Clients whose families may be used by programs.
    pub allow_clients: Vec<Text>,
    pub settle: Duration,
}

impl Default for AutomationClient {
    fn default() -> Self {
        Self {
            history_min: 2,
            allow_clients: Vec::new(),
            settle: Duration::from_secs(2),
        }
    }
}

impl Kind for AutomationClient {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.count(
            "history_min",
            "Accepted presentations by browsers or apps before a program means anything.",
            1..=60,
            &mut self.history_min,
        );
        p.texts(
            "allow_clients",
            "Clients whose families may be used by programs.",
            &mut self.allow_clients,
        );
        p.settle(&mut self.settle);
    }

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::all(&[Clue::UserAgent]),
            Need::part(
                &[Clue::IpAddress],
                "a changed network, without which it never revokes",
            ),
        ]
    }
}

impl FamilyKind for AutomationClient {
    fn settle(&self) -> Duration {
        self.settle
    }

    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        let told = |automation| {
            case.ledger
                .contexts()
                .any(|c| is_automation(c) == Some(automation))
        };
        case.ledger.varies() && !case.client.own_addresses && told(true) && told(false)
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        let mut programs = case
            .refreshes_at(at.time)
            .filter(|entry| is_automation(case.context(entry)) == Some(true));
        let found = programs.find_map(|entry| self.took_over(case, entry, trace));
        found.into_iter().collect()
    }
}

/// `None` where nothing is known of the client.
fn is_automation(context: &Context) -> Option<bool> {
    context.agent.as_ref().map(|agent| agent.automation)
}

impl AutomationClient {
    fn took_over(
        &self,
        case: &FamilyCase<'_>,
        entry: &Entry,
        trace: &mut Trace,
    ) -> Option<Finding> {
        let known: Vec<Seen<'_>> = case.accepted_before(entry.time).collect();
        if let Some(why) = self.excuse(case, entry, &known) {
            trace.note(|| {
                let values = who(case.context(entry))
                    .with("accepted_before", known.len())
                    .with("history_min", self.history_min);
                (why.to_owned(), values)
            });
            return None;
        }
        Some(Takeover::of(case, entry, &known).finding(case, entry))
    }

    fn excuse(
        &self,
        case: &FamilyCase<'_>,
        entry: &Entry,
        known: &[Seen<'_>],
    ) -> Option<&'static str> {
        let kinds = || known.iter().filter_map(|seen| is_automation(seen.context));
        if case.client.own_addresses {
            Some("the client is a server: it is a program by nature")
        } else if entry.is_of_one_of(&self.allow_clients) {
            Some("the rule allows programs for this client")
        } else if kinds().any(|automation| automation) {
            Some("a program has used this family before")
        } else if kinds().count() < self.history_min as usize {
            Some("too little history to say that a person's client used the family")
        } else {
            None
        }
    }
}

/// What changed besides the kind of client.
struct Takeover<'a> {
    /// The client that had the family.
    before: Option<&'a Context>,
    other_network: bool,
    /// Proof key or device id are the owner's.
    same_device: bool,
}

impl<'a> Takeover<'a> {
    fn of(case: &FamilyCase<'a>, entry: &Entry, known: &[Seen<'a>]) -> Self {
        let now = case.context(entry);
        let contexts = || known.iter().map(|seen| seen.context);
        Self {
            before: contexts().rfind(|known| known.agent.is_some()),
            other_network: contexts().any(|known| known.network.is_some())
                && may_be_anybodys(now)
                && contexts().all(|known| known.network.is_none() || known.network_differs(now)),
            same_device: contexts().any(|known| devices(known, now).surely_same()),
        }
    }

    fn finding(&self, case: &FamilyCase<'_>, entry: &Entry) -> Finding {
        let now = case.context(entry);
        let name = |context: &Context| context.agent.as_ref().map(ToString::to_string);
        let summary = format!(
            "A program, {}, at {} uses the token of {}{}",
            name(now).unwrap_or_default(),
            place_name(now),
            self.before.and_then(name).unwrap_or_default(),
            match (self.same_device, self.other_network) {
                (true, _) => ", with the proof key or device id of that device",
                (false, true) => ", from a network new to its login",
                (false, false) => "",
            },
        );
        let evidence = Evidence::new()
            .with_some("presented_token", entry.token_name())
            .with("network_changed", self.other_network)
            .with("same_device", self.same_device)
            .with("presenter", who(now))
            .with_some("before", self.before.map(who));
        let finding = case.finding(entry, summary, evidence);
        match (self.same_device, self.other_network) {
            (true, _) => Finding {
                at_most: Severity::Low,
                ask: Ask::Review,
                confidence: 0.3,
                ..finding
            },
            (false, false) => Finding {
                at_most: Severity::Medium,
                ..finding
            },
            (false, true) => Finding {
                may_revoke: true,
                foreign_network: now.network.as_ref().map(|network| network.prefix),
                ..finding
            },
        }
    }
}

/// Whether the network is one from which a stranger would come, and not the operator's own.
fn may_be_anybodys(context: &Context) -> bool {
    let Some(network) = &context.network else {
        return false;
    };
    let own = matches!(
        network.class,
        Some(NetworkClass::Egress | NetworkClass::Backend)
    );
    !own && !network.internal
}
