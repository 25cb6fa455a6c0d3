//! `concurrent_places`: two networks take turns in one family, and no one device can be in both.
//!
//! One pair of places is a journey; A, B, A, B within the hour is two holders, if it cannot be one device that moves to and
//! fro. What sets them apart is either the *device* (proof key, device id, kind of user agent: the strongest sign that both
//! carry decides), or, where the device says nothing, the *distance*.
//!
//! Only a device that differs may revoke. Distance alone is one fact about addresses, and honest people make it: a phone
//! that is abroad alternates between the hotel and its carrier at home, a desktop switches an undeclared VPN on and off.
//! So by distance it is listed for review, and pages only where the turns are more than a person takes and the device is
//! not one that is carried about. A declared carrier explains any distance. Networks that the operator runs, and relays,
//! take no part; VPNs, proxies and Tor are nowhere, but they hide nobody whose device differs.
//!
//! To the composite risk it is a fact about places alone: that the device differs is what `device_change` finds of the same
//! presentations, and a finding by distance knows nothing of devices.
//!
//! What waits for late facts: a presentation of one device from both networks, and the family's first presentations (a
//! server that renders pages beside its browser shares the token with it from the start).

use std::sync::Arc;
use std::time::Duration;

use super::super::case::{At, FamilyCase, FamilyKind, millis};
use super::super::context::{Basis, Context, TravelBounds, too_fast};
use super::super::device::{Devices, devices};
use super::super::finding::{Ask, Finding};
use super::super::ledger::Entry;
use super::super::needs::Need;
use super::super::parameters::Parameters;
use super::super::trace::Trace;
use super::super::words::{instant, place_name, span, who};
use super::Kind;
use crate::model::{Clue, DeviceClass, Evidence, Network, NetworkClass, Rotation, Severity, Value};

/// Parameters of a concurrent-places rule.
#[derive(Debug, Clone, PartialEq)]
pub struct ConcurrentPlaces {
    /// Within this time the networks must alternate.
    pub window: Duration,
    /// The same where the server does not rotate: two holders never get in each other's way, and each comes only when its
    /// access token runs out, so that an hour shows no turns.
    pub window_unrotated: Duration,
    /// Returns to a network left before: A, B, A, B are two.
    pub returns_min: u32,
    /// Returns, each too fast for a person, from which distance alone pages.
    pub returns_by_distance: u32,
    pub bounds: TravelBounds,
    pub settle: Duration,
}

impl Default for ConcurrentPlaces {
    fn default() -> Self {
        Self {
            window: Duration::from_hours(1),
            window_unrotated: Duration::from_hours(24),
            returns_min: 2,
            returns_by_distance: 4,
            bounds: TravelBounds::default(),
            settle: Duration::from_secs(2),
        }
    }
}

impl Kind for ConcurrentPlaces {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.duration(
            "window",
            "Within this time the networks must alternate.",
            &mut self.window,
        );
        p.duration(
            "window_unrotated",
            "The same for clients with `rotation: off`, whose holders come only when their access token runs out.",
            &mut self.window_unrotated,
        );
        p.count(
            "returns_min",
            "Returns to a network left before: A, B, A, B are two.",
            1..=60,
            &mut self.returns_min,
        );
        p.count(
            "returns_by_distance",
            "Returns, each too fast for a person, from which distance alone pages.",
            1..=60,
            &mut self.returns_by_distance,
        );
        self.bounds.parameters(p);
        p.settle(&mut self.settle);
    }

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::all(&[Clue::IpAddress]),
            Need::part(
                &[Clue::KeyThumbprint, Clue::DeviceId, Clue::UserAgent],
                "two devices, without which it never revokes",
            ),
            Need::part(&[Clue::City], "two places that are far apart"),
        ]
    }
}

impl FamilyKind for ConcurrentPlaces {
    fn settle(&self) -> Duration {
        self.settle
    }

    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        let mut contexts = case.ledger.contexts().filter(|c| takes_part(c));
        let first = contexts.next();
        !case.client.own_addresses
            && case.ledger.varies()
            && first.is_some_and(|first| contexts.any(|c| c.network_differs(first)))
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        let Some(last) = case.refreshes_at(at.time).last() else {
            return Vec::new();
        };
        if case.client.own_addresses {
            let why = "the client is a server: its addresses are its own";
            trace.note(|| (why.to_owned(), Evidence::new()));
            return Vec::new();
        }
        if !takes_part(case.context(last)) {
            let why = "a network of the operator's, or a relay, takes no part";
            trace.note(|| (why.to_owned(), who(case.context(last))));
            return Vec::new();
        }
        let seen = self.seen(case, last);
        let mut tried: Vec<&Context> = Vec::new();
        // A ledger keeps each context once.
        let mut contexts: Vec<&Arc<Context>> = Vec::new();
        for context in seen.iter().rev().map(|entry| case.context(entry)) {
            if !contexts.iter().any(|known| Arc::ptr_eq(known, context)) {
                contexts.push(context);
            }
        }
        for other in contexts {
            let is_new = tried.iter().all(|known| known.network_differs(other));
            if !is_new || !other.network_differs(case.context(last)) {
                continue;
            }
            tried.push(other);
            let turns = Turns::between(case, &seen, other, last);
            if let Some(finding) = self.weigh(case, &turns, trace) {
                return vec![finding];
            }
        }
        if tried.is_empty() {
            let why = "one network within the window";
            trace.note(|| (why.to_owned(), who(case.context(last))));
        }
        Vec::new()
    }
}

/// One finding a family and day of event time, however long they take turns.
const BUCKET_MS: i64 = 24 * 3_600_000;

/// What sets the two apart. Of one family and day each is a finding of its own: the weaker one can be complete first.
#[derive(Debug, Clone, Copy)]
enum Weight {
    /// May revoke.
    Device(Basis),
    Distance,
    /// Distance, for longer than any person's turns.
    Lasting,
}

impl Weight {
    const fn name(self) -> &'static str {
        match self {
            Self::Device(_) => "device",
            Self::Distance => "distance",
            Self::Lasting => "lasting distance",
        }
    }
}

/// Networks that the operator runs are not a person's, and a relay is everybody's.
fn takes_part(context: &Context) -> bool {
    context.network.as_ref().is_some_and(|network| {
        let excluded = matches!(
            network.class,
            Some(NetworkClass::Egress | NetworkClass::Backend | NetworkClass::Relay)
        );
        !excluded && !network.internal
    })
}

/// The presentations of two networks, in order of time.
struct Turns<'a> {
    /// With whether it came from the other network than the last.
    entries: Vec<(&'a Entry, bool)>,
    here: Vec<&'a Arc<Context>>,
    there: Vec<&'a Arc<Context>>,
}

impl<'a> Turns<'a> {
    fn between(case: &FamilyCase<'a>, seen: &[&'a Entry], other: &Context, last: &Entry) -> Self {
        let last = case.context(last);
        let mut turns = Self {
            entries: Vec::with_capacity(seen.len()),
            here: Vec::new(),
            there: Vec::new(),
        };
        for entry in seen.iter().copied() {
            let context = case.context(entry);
            let among = |side: &[&Arc<Context>]| side.iter().any(|it| Arc::ptr_eq(it, context));
            let there = if among(&turns.here) {
                false
            } else if among(&turns.there) {
                true
            } else {
                let differs = |from: &Context| context.network_differs(from);
                match (differs(last), differs(other)) {
                    (true, false) => turns.there.push(context),
                    (false, true) => turns.here.push(context),
                    _ => continue,
                }
                among(&turns.there)
            };
            turns.entries.push((entry, there));
        }
        turns
    }

    /// Moves from one network to the other.
    fn moves(&self) -> impl Iterator<Item = (&'a Entry, &'a Entry)> {
        let pairs = self.entries.windows(2);
        pairs
            .filter(|pair| pair[0].1 != pair[1].1)
            .map(|pair| (pair[0].0, pair[1].0))
    }

    /// How every device there stands to every device here: different only if all of them are.
    fn devices(&self) -> Devices {
        let pairs = self
            .here
            .iter()
            .flat_map(|here| self.there.iter().map(move |there| (here, there)));
        let mut told = pairs.map(|(here, there)| devices(here, there));
        let first = told.next().unwrap_or(Devices::Unknown);
        told.fold(first, |all, next| match (all, next) {
            (Devices::Different(_), other) | (other, Devices::Different(_)) => other,
            (same, _) if same.surely_same() => same,
            (_, other) => other,
        })
    }
}

impl ConcurrentPlaces {
    fn window_of(&self, case: &FamilyCase<'_>) -> Duration {
        match case.client.rotation {
            Rotation::Off => self.window_unrotated,
            Rotation::Enforced | Rotation::Unknown => self.window,
        }
    }

    /// Accepted presentations within the window that ends with `last`.
    fn seen<'a>(&self, case: &FamilyCase<'a>, last: &Entry) -> Vec<&'a Entry> {
        let entries = case.ledger.entries();
        let since = last.time.saturating_sub(millis(self.window_of(case)));
        let entries = &entries[..entries.partition_point(|e| e.time <= last.time)];
        let accepted = entries
            .iter()
            .filter(|e| e.time >= since && e.answer.accepted());
        accepted.filter(|e| takes_part(case.context(e))).collect()
    }

    fn weigh(
        &self,
        case: &FamilyCase<'_>,
        turns: &Turns<'_>,
        trace: &mut Trace,
    ) -> Option<Finding> {
        let returns = turns.moves().count().saturating_sub(1);
        let note = |trace: &mut Trace, why: &str| {
            trace.note(|| (why.to_owned(), self.values(case, turns, returns)));
        };
        if returns < self.returns_min as usize {
            note(trace, "the networks do not alternate often enough");
            return None;
        }
        match turns.devices() {
            Devices::Different(basis) if shared_from_the_start(case, turns) => {
                let why = format!("both had the family from its start ({})", basis.as_str());
                note(trace, &why);
                None
            }
            Devices::Different(basis) => Some(self.by_device(case, turns, returns, basis)),
            // The proof key does not leave its device; a device id can be copied with the token.
            Devices::Same(Basis::Key) => {
                note(
                    trace,
                    "one device, by its proof key, moves between two networks",
                );
                None
            }
            _ => self.by_distance(case, turns, trace),
        }
    }

    fn by_device(
        &self,
        case: &FamilyCase<'_>,
        turns: &Turns<'_>,
        returns: usize,
        basis: Basis,
    ) -> Finding {
        let finding = self.describe(case, turns, returns, Weight::Device(basis));
        Finding {
            may_revoke: true,
            foreign_network: newer(case, turns)
                .network
                .as_ref()
                .map(|network| network.prefix),
            presenter: Arc::clone(newer(case, turns)),
            ..finding
        }
    }

    fn by_distance(
        &self,
        case: &FamilyCase<'_>,
        turns: &Turns<'_>,
        trace: &mut Trace,
    ) -> Option<Finding> {
        let place = |entry| case.context(entry).located();
        let fast = turns.moves().filter(|(from, to)| {
            let apart = to.time - from.time;
            let places = place(from).zip(place(to));
            places.is_some_and(|(from, to)| too_fast(from, to, apart, &self.bounds))
        });
        let returns = fast.count().saturating_sub(1);
        let why = if returns < self.returns_min as usize {
            Some("the same kind of device, as far as is known, in places that one person can be in")
        } else if turns.contexts().any(|c| is_carriers(c)) {
            Some(
                "a carrier's addresses come out far from the phone that moves between it and another network",
            )
        } else {
            None
        };
        if let Some(why) = why {
            trace.note(|| (why.to_owned(), self.values(case, turns, returns)));
            return None;
        }
        let lasts = returns >= self.returns_by_distance as usize && turns.are_of_no_phone();
        Some(if lasts {
            Finding {
                confidence: 0.8,
                ..self.describe(case, turns, returns, Weight::Lasting)
            }
        } else {
            Finding {
                at_most: Severity::Low,
                ask: Ask::Review,
                confidence: 0.5,
                ..self.describe(case, turns, returns, Weight::Distance)
            }
        })
    }

    fn values(&self, case: &FamilyCase<'_>, turns: &Turns<'_>, returns: usize) -> Evidence {
        let side = |contexts: &[&Arc<Context>]| {
            let contexts = contexts.iter().map(|context| Value::Map(who(context)));
            contexts.collect::<Vec<_>>()
        };
        Evidence::new()
            .with("returns", returns)
            .with("returns_min", self.returns_min)
            .with("window", span(millis(self.window_of(case))))
            .with("here", side(&turns.here))
            .with("there", side(&turns.there))
    }

    fn describe(
        &self,
        case: &FamilyCase<'_>,
        turns: &Turns<'_>,
        returns: usize,
        weight: Weight,
    ) -> Finding {
        let ((first, _), (last, _)) = (turns.entries[0], turns.entries[turns.entries.len() - 1]);
        let (here, there) = (turns.here[0], turns.there[0]);
        let what = match weight {
            Weight::Device(basis) => basis.as_str(),
            Weight::Distance | Weight::Lasting => "place cannot be reached in the time",
        };
        let told_apart = match weight {
            Weight::Device(basis) => format!("told apart by {}", basis.as_str()),
            Weight::Distance | Weight::Lasting => "too far apart to be one person".to_owned(),
        };
        let summary = format!(
            "Two holders of one login take turns within {}: {}, {told_apart}",
            span(last.time - first.time),
            both(there, here),
        );
        let turns_taken: Vec<Value> = turns
            .moves()
            .map(|(_, to)| {
                Value::Text(format!("{} {}", instant(to.time), place_name(case.context(to))).into())
            })
            .collect();
        let evidence = self
            .values(case, turns, returns)
            .with("basis", what)
            .with("turns", turns_taken)
            .with("newer", who(newer(case, turns)));
        let finding = case.finding(last, summary, evidence);
        let day = (last.time / BUCKET_MS).to_string();
        Finding {
            about: vec![weight.name().to_owned(), case.id.to_string(), day],
            ..finding
        }
    }
}

impl<'a> Turns<'a> {
    /// A phone between a line and a hub of a carrier that nobody declared takes such turns all day. It is none where every
    /// user agent says so, or, where none is told, where one of the two networks is rented to servers.
    fn are_of_no_phone(&self) -> bool {
        let rented = |side: &[&Arc<Context>]| {
            let networks = side.iter().filter_map(|context| context.network.as_ref());
            networks.into_iter().all(Network::is_rented)
        };
        let told = self.contexts().all(|context| context.agent.is_some());
        let carried = self.contexts().any(|context| is_carried(context));
        !carried && (told || rented(&self.here) || rented(&self.there))
    }

    fn contexts(&self) -> impl Iterator<Item = &'a Arc<Context>> {
        self.here.iter().chain(&self.there).copied()
    }
}

/// Of the two sides the one that the family has known for less time.
/// Both sides of the turns; in one place they are told apart by their addresses.
fn both(there: &Context, here: &Context) -> String {
    let (one, other) = (place_name(there), place_name(here));
    if one != other {
        return format!("{one} and {other}");
    }
    match (there.ip_address, here.ip_address) {
        (Some(there), Some(here)) if there.to_string() != one => {
            format!("{there} and {here}, both at {one}")
        }
        _ => format!("both at {one}"),
    }
}

fn newer<'a>(case: &FamilyCase<'a>, turns: &Turns<'a>) -> &'a Arc<Context> {
    let first = |side: &[&Arc<Context>]| {
        let entries = case.ledger.entries().iter();
        let of_side = |e: &&Entry| side.iter().any(|c| Arc::ptr_eq(c, case.context(e)));
        entries
            .filter(|e| e.answer.accepted())
            .find(of_side)
            .map(|e| e.time)
    };
    if first(&turns.here) > first(&turns.there) {
        turns.here[0]
    } else {
        turns.there[0]
    }
}

/// The first two presentations of the family are one of each device.
fn shared_from_the_start(case: &FamilyCase<'_>, turns: &Turns<'_>) -> bool {
    let accepted = case.ledger.entries().iter().filter(|e| e.answer.accepted());
    let first: Vec<&Arc<Context>> = accepted.take(2).map(|e| case.context(e)).collect();
    let is_of = |side: &[&Arc<Context>]| {
        let same = |context: &&Arc<Context>| matches!(devices(context, side[0]), Devices::Same(_));
        first.iter().any(same)
    };
    is_of(&turns.here) && is_of(&turns.there)
}

fn is_carriers(context: &Context) -> bool {
    let network = context.network.as_ref();
    network.is_some_and(|network| network.class == Some(NetworkClass::Mobile))
}

/// A phone or tablet. `Darwin` is an iPhone, an iPad or a Mac.
fn is_carried(context: &Context) -> bool {
    context.agent.as_ref().is_some_and(|agent| {
        matches!(agent.device, DeviceClass::Phone | DeviceClass::Tablet)
            || matches!(&*agent.os_family, "iOS" | "Android" | "Darwin")
    })
}
