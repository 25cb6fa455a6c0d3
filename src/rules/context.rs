//! The context of a presentation: what is known of who presented a token, compared field by field.
//!
//! A missing value is unknown, never different; a field that a source never carries is left out. The proof key decides
//! first, then the device id, then the rest together. Why not a similarity score: the person who is woken must be able
//! to follow why a branch was called foreign.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::parameters::Parameters;
use crate::model::{Agent, Enriched, Network, NetworkClass, Place, Text, names};

/// From whom one presentation came, as far as the source carries it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Context {
    pub key_thumbprint: Option<Text>,
    pub device_id: Option<Text>,
    pub agent: Option<Agent>,
    pub ja4: Option<Text>,
    pub ip_address: Option<IpAddr>,
    pub network: Option<Network>,
    pub place: Option<Place>,
}

/// How a context stands to those known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Own,
    Unknown,
    Foreign,
}

names!(Standing { Own = "own", Unknown = "unknown", Foreign = "foreign" });

/// Which field decided, for the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    Key,
    Device,
    Agent,
    Travel,
    Network,
    Fingerprint,
    /// Nothing is known to compare with.
    NoHistory,
    /// Every field carried is known.
    AllKnown,
}

impl Basis {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "proof key",
            Self::Device => "device id",
            Self::Agent => "kind of client",
            Self::Travel => "place cannot be reached in the time",
            Self::Network => "network",
            Self::Fingerprint => "TLS fingerprint",
            Self::NoHistory => "no history",
            Self::AllKnown => "all fields known",
        }
    }
}

/// A context together with when it was seen, in milliseconds of event time.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    pub context: &'a Context,
    pub time: i64,
}

/// Bounds of the travel test: source DESIGN (impossible travel), detection-rules 7.1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TravelBounds {
    /// Faster than an airliner with a tail wind.
    pub speed_max_km_per_h: f64,
    /// Below this, GeoIP error explains everything.
    pub distance_min_km: f64,
}

impl Default for TravelBounds {
    fn default() -> Self {
        Self {
            speed_max_km_per_h: 1000.0,
            distance_min_km: 500.0,
        }
    }
}

impl TravelBounds {
    pub fn parameters(&mut self, p: &mut dyn Parameters) {
        p.number(
            "speed_max_km_per_h",
            "Faster than this nobody travels: an airliner with a tail wind.",
            0.0..=40_000.0,
            &mut self.speed_max_km_per_h,
        );
        p.number(
            "distance_min_km",
            "Below this distance GeoIP error explains everything.",
            0.0..=40_000.0,
            &mut self.distance_min_km,
        );
    }
}

/// Two sightings further apart in time say nothing about speed.
const TRAVEL_AGE_MAX_MS: i64 = 24 * 3600 * 1000;
/// Places seen within this time all count as present; one reachable among them is enough.
const PRESENT_MS: i64 = 3600 * 1000;

impl Context {
    pub fn of(event: &Enriched) -> Self {
        Self {
            key_thumbprint: event.event.key_thumbprint.clone(),
            device_id: event.event.device_id.clone(),
            agent: event.agent.clone(),
            ja4: event.event.ja4.clone(),
            ip_address: event.event.ip_address,
            network: event.network.clone(),
            place: event.place.clone(),
        }
    }

    /// Whether it is that of the event.
    pub fn is_of(&self, event: &Enriched) -> bool {
        self.ip_address == event.event.ip_address
            && self.device_id == event.event.device_id
            && self.key_thumbprint == event.event.key_thumbprint
            && self.ja4 == event.event.ja4
            && self.agent == event.agent
            && self.network == event.network
            && self.place == event.place
    }

    /// Whether the place of this context says where a person is: not behind a VPN, relay, satellite, egress or back end.
    pub fn located(&self) -> Option<&Place> {
        let place = self.place.as_ref()?;
        let exact = place.granularity != crate::model::Granularity::Country;
        (exact && self.network.as_ref()?.locates_person()).then_some(place)
    }

    /// Whether two contexts differ in no field that both carry. Nothing at all is the same only as nothing at all.
    pub fn same_as(&self, other: &Self) -> bool {
        if self.is_blank() != other.is_blank() {
            return false;
        }
        agrees(self.key_thumbprint.as_ref(), other.key_thumbprint.as_ref())
            && agrees(self.device_id.as_ref(), other.device_id.as_ref())
            && !matches!((&self.agent, &other.agent), (Some(a), Some(b)) if a.is_another_kind_than(b))
            && !self.network_differs(other)
    }

    fn is_blank(&self) -> bool {
        self.key_thumbprint.is_none()
            && self.device_id.is_none()
            && self.agent.is_none()
            && self.network.is_none()
    }

    /// Networks differ by declared name or ASN, else by /24 or /64; IPv4 against IPv6 of unknown ASN never differ.
    pub fn network_differs(&self, other: &Self) -> bool {
        let (Some(a), Some(b)) = (&self.network, &other.network) else {
            return false;
        };
        networks_differ(a, b)
    }
}

/// Whether a field does not tell two contexts apart: one lacks it, or both carry the same.
fn agrees<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
    a.is_none() || b.is_none() || a == b
}

fn networks_differ(a: &Network, b: &Network) -> bool {
    use crate::model::Prefix;
    if a.declared.is_some() && a.declared == b.declared {
        return false;
    }
    match (a.asn, b.asn) {
        (Some(a), Some(b)) => a != b,
        _ => match (a.prefix, b.prefix) {
            (Prefix::V4(a), Prefix::V4(b)) => a != b,
            (Prefix::V6(a), Prefix::V6(b)) => a != b,
            _ => false,
        },
    }
}

/// How `presenter` stands to the contexts known of a family.
pub fn standing(
    presenter: Seen<'_>,
    known: &[Seen<'_>],
    bounds: &TravelBounds,
) -> (Standing, Basis) {
    let context = presenter.context;
    if known.is_empty() {
        return (Standing::Unknown, Basis::NoHistory);
    }
    if let Some(matches) = matches_any(context.key_thumbprint.as_ref(), known, |k| {
        k.key_thumbprint.as_ref()
    }) {
        return (
            if matches {
                Standing::Own
            } else {
                Standing::Foreign
            },
            Basis::Key,
        );
    }
    let other_kind = is_another_kind(context, known);
    let travelled = cannot_have_travelled(presenter, known, bounds);
    if let Some(matches) = matches_any(context.device_id.as_ref(), known, |k| k.device_id.as_ref())
    {
        return match (matches, other_kind, travelled) {
            (false, ..) => (Standing::Foreign, Basis::Device),
            (true, true, _) => (Standing::Unknown, Basis::Agent),
            (true, false, true) => (Standing::Unknown, Basis::Travel),
            (true, false, false) => (Standing::Own, Basis::Device),
        };
    }
    if other_kind {
        return (Standing::Foreign, Basis::Agent);
    }
    if travelled {
        return (Standing::Foreign, Basis::Travel);
    }
    every_field_known(context, known)
}

/// Whether nothing but its device id sets a presenter apart: it is of the same kind, with a TLS fingerprint and in a network of the
/// family's, and the family was never bound to a key.
pub fn is_apart_by_device_alone(presenter: Seen<'_>, known: &[Seen<'_>]) -> bool {
    let context = presenter.context;
    let is_another = |matches: Option<bool>| matches == Some(false);
    let is_bound = known
        .iter()
        .any(|seen| seen.context.key_thumbprint.is_some());
    is_another(matches_any(context.device_id.as_ref(), known, |k| {
        k.device_id.as_ref()
    })) && !is_another(matches_any(context.ja4.as_ref(), known, |k| k.ja4.as_ref()))
        && !is_bound
        && !is_another_kind(context, known)
        && is_in_network_of(context, known)
}

fn is_in_network_of(context: &Context, known: &[Seen<'_>]) -> bool {
    let Some(mine) = &context.network else {
        return false;
    };
    let mut networks = known
        .iter()
        .filter_map(|seen| seen.context.network.as_ref());
    networks.any(|known| !networks_differ(mine, known))
}

/// Whether the user agent is of another kind than every one known; `false` where one side carries none.
fn is_another_kind(context: &Context, known: &[Seen<'_>]) -> bool {
    let Some(agent) = &context.agent else {
        return false;
    };
    let mut agents = known
        .iter()
        .filter_map(|seen| seen.context.agent.as_ref())
        .peekable();
    agents.peek().is_some() && agents.all(|known| agent.is_another_kind_than(known))
}

/// `None` where the presenter or all known contexts lack the field.
fn matches_any<'a, T: PartialEq + 'a>(
    value: Option<&T>,
    known: &[Seen<'a>],
    field: impl Fn(&'a Context) -> Option<&'a T>,
) -> Option<bool> {
    let value = value?;
    let mut carried = known
        .iter()
        .filter_map(|seen| field(seen.context))
        .peekable();
    carried.peek()?;
    Some(carried.any(|k| k == value))
}

fn every_field_known(context: &Context, known: &[Seen<'_>]) -> (Standing, Basis) {
    if matches_any(context.ja4.as_ref(), known, |k| k.ja4.as_ref()) == Some(false) {
        return (Standing::Unknown, Basis::Fingerprint);
    }
    // A field that the presenter carries and no known context does is new to the family: it cannot be called known.
    if context.device_id.is_some() || context.key_thumbprint.is_some() {
        return (Standing::Unknown, Basis::Device);
    }
    if context.agent.is_some() && known.iter().all(|k| k.context.agent.is_none()) {
        return (Standing::Unknown, Basis::Agent);
    }
    if context.network.is_none() {
        return if context.agent.is_some() {
            (Standing::Own, Basis::AllKnown)
        } else {
            (Standing::Unknown, Basis::NoHistory)
        };
    }
    if is_in_network_of(context, known) {
        (Standing::Own, Basis::AllKnown)
    } else {
        (Standing::Unknown, Basis::Network)
    }
}

/// Where somebody is beyond doubt: a mobile carrier's addresses come out at a hub that may be a thousand kilometres away.
fn surely_located(context: &Context) -> Option<&Place> {
    let mobile = context
        .network
        .as_ref()
        .is_some_and(|network| network.class == Some(NetworkClass::Mobile));
    context.located().filter(|_| !mobile)
}

/// Whether one person cannot have come from any known place to the presenter's in the time between.
///
/// A network that the family has used before, at any age, is nobody else's by its distance: a phone abroad comes out at its
/// carrier's at home, and one at home at a hub a thousand kilometres away, by turns with the line that it is on.
fn cannot_have_travelled(presenter: Seen<'_>, known: &[Seen<'_>], bounds: &TravelBounds) -> bool {
    let Some(place) = surely_located(presenter.context) else {
        return false;
    };
    if is_in_network_of(presenter.context, known) {
        return false;
    }
    let apart = |seen: &Seen<'_>| (presenter.time - seen.time).abs();
    let located: Vec<(&Seen<'_>, &Place)> = known
        .iter()
        .filter(|seen| apart(seen) <= TRAVEL_AGE_MAX_MS)
        .filter_map(|seen| surely_located(seen.context).map(|place| (seen, place)))
        .collect();
    let Some(nearest) = located.iter().map(|(seen, _)| apart(seen)).min() else {
        return false;
    };
    let present = nearest.max(PRESENT_MS);
    located
        .iter()
        .filter(|(seen, _)| apart(seen) <= present)
        .all(|(seen, from)| too_fast(place, from, apart(seen), bounds))
}

/// Whether two presentations are further apart than one person travels, by places that are beyond doubt.
pub fn cannot_be_one(a: Seen<'_>, b: Seen<'_>, bounds: &TravelBounds) -> bool {
    let places = surely_located(a.context).zip(surely_located(b.context));
    a.context.network_differs(b.context)
        && (a.time - b.time).abs() <= TRAVEL_AGE_MAX_MS
        && places
            .is_some_and(|(here, there)| too_fast(here, there, (a.time - b.time).abs(), bounds))
}

/// Whether the way between two places takes longer than the time between, GeoIP error subtracted at both ends.
pub fn too_fast(a: &Place, b: &Place, apart_ms: i64, bounds: &TravelBounds) -> bool {
    a.effective_distance_km(b).is_some_and(|distance| {
        distance >= bounds.distance_min_km
            && speed_km_per_h(distance, apart_ms) > bounds.speed_max_km_per_h
    })
}

/// Speed over a distance; less than a second counts as a second, so that it stays a number.
pub fn speed_km_per_h(distance_km: f64, apart_ms: i64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a day in milliseconds is far below 2^52"
    )]
    let hours = apart_ms.abs().max(1000) as f64 / 3_600_000.0;
    distance_km / hours
}
