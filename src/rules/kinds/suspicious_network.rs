//! `suspicious_network`: a family moves from ordinary networks to a rented server, Tor, or an anonymous proxy or VPN.
//!
//! Thieves hide, and so do honest people: a consumer VPN is switched on, a desktop is moved to a cloud. So it is a record
//! that adds to what other rules know, never a page by itself, and never a revocation: an address is one fact. A network
//! that the family has used before is known, and so is a *way of hiding*: who came through one VPN before may come through
//! another. What the operator declared as its own (egress, back ends) is ordinary.

use std::time::Duration;

use super::super::case::{At, FamilyCase, FamilyKind};
use super::super::context::{Context, Seen};
use super::super::finding::{Ask, Finding};
use super::super::ledger::Entry;
use super::super::needs::Need;
use super::super::parameters::Parameters;
use super::super::trace::Trace;
use super::super::words::{place_name, who};
use super::Kind;
use crate::model::{Clue, Evidence, Network, NetworkClass, Severity, Text};

/// Parameters of a suspicious-network rule.
#[derive(Debug, Clone, PartialEq)]
pub struct SuspiciousNetwork {
    /// Accepted presentations from ordinary networks before a move means anything.
    pub history_min: u32,
    /// Autonomous systems that are ordinary here: the provider of cloud desktops.
    pub asns: Vec<Text>,
    /// Declared networks, by name, that are ordinary here whatever their class.
    pub networks: Vec<Text>,
    pub settle: Duration,
}

impl Default for SuspiciousNetwork {
    fn default() -> Self {
        Self {
            history_min: 2,
            asns: Vec::new(),
            networks: Vec::new(),
            settle: Duration::from_secs(2),
        }
    }
}

impl Kind for SuspiciousNetwork {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.count(
            "history_min",
            "Accepted presentations from ordinary networks before a move means anything.",
            1..=60,
            &mut self.history_min,
        );
        p.texts(
            "asns",
            "Autonomous systems that are ordinary here, such as the provider of cloud desktops: numbers, with or without `AS`.",
            &mut self.asns,
        );
        p.texts(
            "networks",
            "Declared networks, by name, that are ordinary here whatever their class.",
            &mut self.networks,
        );
        p.settle(&mut self.settle);
    }

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::all(&[Clue::IpAddress]),
            Need::part(
                &[Clue::AnonymousIp],
                "networks that are not declared as `hosting`, `tor` or `relay`",
            ),
        ]
    }
}

/// A way of being somewhere else than one seems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hiding {
    Tor,
    Proxy,
    Vpn,
    Hosting,
    Relay,
}

impl Hiding {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Tor => "Tor",
            Self::Proxy => "an anonymous proxy",
            Self::Vpn => "an anonymous VPN",
            Self::Hosting => "a rented server",
            Self::Relay => "a privacy relay",
        }
    }

    /// As a share of the weight of Tor (0.6): servers, proxies and VPNs 0.5, a relay that the maker of the phone runs 0.05.
    const fn confidence(self) -> f64 {
        match self {
            Self::Tor => 1.0,
            Self::Proxy | Self::Vpn | Self::Hosting => 5.0 / 6.0,
            Self::Relay => 1.0 / 12.0,
        }
    }
}

impl FamilyKind for SuspiciousNetwork {
    fn settle(&self) -> Duration {
        self.settle
    }

    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        case.ledger.varies()
            && !case.client.own_addresses
            && case
                .ledger
                .contexts()
                .any(|c| c.network.as_ref().is_some_and(|n| class_of(n).is_some()))
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        let moved = case
            .refreshes_at(at.time)
            .find_map(|entry| self.moved(case, entry, trace));
        moved.into_iter().collect()
    }
}

impl SuspiciousNetwork {
    fn moved(&self, case: &FamilyCase<'_>, entry: &Entry, trace: &mut Trace) -> Option<Finding> {
        let now = case.context(entry);
        let hiding = self.hiding(now, trace)?;
        let known: Vec<Seen<'_>> = case.accepted_before(entry.time).collect();
        if let Some(why) = self.excuse(case, now, hiding, &known) {
            trace.note(|| {
                let values = who(now)
                    .with("kind", hiding.as_str())
                    .with("accepted_before", known.len())
                    .with("history_min", self.history_min);
                (why.to_owned(), values)
            });
            return None;
        }
        let before = known.iter().map(|seen| seen.context);
        let before = before.rev().find(|c| c.network.is_some());
        let summary = format!(
            "A login moved{} to {} at {}",
            before.map_or_else(String::new, |c| format!(" from {}", place_name(c))),
            hiding.as_str(),
            place_name(now),
        );
        let evidence = Evidence::new()
            .with("kind", hiding.as_str())
            .with_some("presented_token", entry.token_name())
            .with("presenter", who(now))
            .with_some("before", before.map(who));
        let (at_most, ask) = match hiding {
            Hiding::Relay => (Severity::Info, Ask::Nothing),
            _ => (Severity::Low, Ask::Response),
        };
        Some(Finding {
            at_most,
            ask,
            confidence: hiding.confidence(),
            ..case.finding(entry, summary, evidence)
        })
    }

    /// What kind of hiding the network is for, but for those that the rule lists.
    fn hiding(&self, context: &Context, trace: &mut Trace) -> Option<Hiding> {
        let network = context.network.as_ref()?;
        let class = class_of(network);
        let listed = self.lists(network);
        let why = match (class, listed) {
            (None, _) => "an ordinary network, as far as is known",
            (_, true) => "the rule lists the network as ordinary",
            (hiding, false) => return hiding,
        };
        trace.note(|| (why.to_owned(), who(context)));
        None
    }

    fn lists(&self, network: &Network) -> bool {
        let number = |asn: &Text| asn.trim_start_matches(['A', 'S', 'a', 's']).parse().ok();
        let by_asn =
            network.asn.is_some() && self.asns.iter().any(|asn| number(asn) == network.asn);
        by_asn
            || network
                .declared
                .as_ref()
                .is_some_and(|name| self.networks.contains(name))
    }

    fn excuse(
        &self,
        case: &FamilyCase<'_>,
        now: &Context,
        hiding: Hiding,
        known: &[Seen<'_>],
    ) -> Option<&'static str> {
        let networks = || {
            known
                .iter()
                .filter_map(|seen| seen.context.network.as_ref())
        };
        let ordinary = |n: &&Network| class_of(n).is_none() || self.lists(n);
        let same =
            |seen: &Seen<'_>| seen.context.network.is_some() && !seen.context.network_differs(now);
        // A rented server is a place; another one is another place. The others are a habit.
        let habit = hiding != Hiding::Hosting && networks().any(|n| class_of(n) == Some(hiding));
        if case.client.own_addresses {
            Some("the client is a server: its addresses are its own")
        } else if known.iter().any(same) {
            Some("the family has used this network before")
        } else if habit {
            Some("the family has hidden in this way before")
        } else if networks().filter(ordinary).count() < self.history_min as usize {
            Some("too little history in ordinary networks to call it a move")
        } else {
            None
        }
    }
}

/// What the network is for. What the operator declared is what it says; of the others the lookup tables tell.
fn class_of(network: &Network) -> Option<Hiding> {
    let by_class = match network.class {
        Some(NetworkClass::Tor) => Some(Hiding::Tor),
        Some(NetworkClass::Hosting) => Some(Hiding::Hosting),
        Some(NetworkClass::Relay) => Some(Hiding::Relay),
        _ => None,
    };
    if network.declared.is_some() || network.internal {
        return by_class;
    }
    let flags = network.anonymity;
    let by_flag = [
        (flags.tor, Hiding::Tor),
        (flags.proxy, Hiding::Proxy),
        (flags.vpn, Hiding::Vpn),
        (flags.hosting, Hiding::Hosting),
    ];
    let flagged = by_flag
        .into_iter()
        .find_map(|(is, hiding)| is.then_some(hiding));
    flagged.or(by_class)
}
