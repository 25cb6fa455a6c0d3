//! `impossible_travel`: one person, two places, too little time between.
//!
//! GeoIP error is subtracted at both ends and both ends must be located to a city or subdivision. A new place is compared
//! with the places where the person was present within the hour, and one from which it can be reached is enough: that is
//! what keeps split tunnels, dual stack and two offices quiet. Only successes count as being somewhere.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::case::{At, UserCase, UserKind, millis};
use super::super::context::{Context, TravelBounds, speed_km_per_h, too_fast};
use super::super::finding::{Ask, Finding};
use super::super::needs::Need;
use super::super::parameters::Parameters;
use super::super::short::Short as _;
use super::super::trace::Trace;
use super::super::words::{instant, place_name, span};
use super::Kind;
use crate::model::{Clue, Evidence, NetworkClass, Place, Severity, Text};

/// Parameters of an impossible-travel rule.
#[derive(Debug, Clone, PartialEq)]
pub struct ImpossibleTravel {
    pub bounds: TravelBounds,
    /// Sightings further apart say nothing.
    pub age_max: Duration,
    /// Places seen within this time before count as present.
    pub present: Duration,
    /// Places closer than this are one.
    pub cluster_km: f64,
    /// A place is the user's own when it was first seen longer ago than this.
    pub habit_after: Duration,
    pub settle: Duration,
}

impl Default for ImpossibleTravel {
    fn default() -> Self {
        Self {
            bounds: TravelBounds::default(),
            age_max: Duration::from_hours(24),
            present: Duration::from_hours(1),
            cluster_km: 50.0,
            habit_after: Duration::from_hours(24),
            settle: Duration::from_secs(2),
        }
    }
}

impl Kind for ImpossibleTravel {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        self.bounds.parameters(p);
        p.number(
            "cluster_km",
            "Places closer than this are one.",
            0.0..=40_000.0,
            &mut self.cluster_km,
        );
        p.duration(
            "habit_after",
            "Between two places that were both first seen longer ago than this nobody is asked how fast: they are the user's own.",
            &mut self.habit_after,
        );
        p.duration(
            "age_max",
            "Sightings further apart say nothing.",
            &mut self.age_max,
        );
        p.duration(
            "present",
            "Places seen within this time before count as present.",
            &mut self.present,
        );
        p.settle(&mut self.settle);
    }

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::all(&[Clue::UserId]),
            Need::all(&[Clue::IpAddress]),
            Need::all(&[Clue::City]),
            Need::part(
                &[Clue::AnonymousIp],
                "VPN exits, which then count as places",
            ),
        ]
    }
}

/// Where a user was seen; ordered by time, so that arrival does not matter. Bounded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sightings {
    recent: Vec<Sighting>,
    /// Home, office, the exit of the carrier: far longer ago than the sightings reach.
    places: Vec<KnownPlace>,
}

/// A place with when it was first and last seen, in milliseconds of event time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KnownPlace {
    place: Place,
    first: i64,
    last: i64,
}

/// Places remembered of one user; the one not seen for longest goes.
const PLACES_MAX: usize = 8;
/// Places closer than this are remembered as one.
const REMEMBERED_KM: f64 = 50.0;

/// One successful use from a located address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Event time, milliseconds.
    pub time: i64,
    pub event_id: Text,
    /// Shared with whatever else remembers it.
    pub context: Arc<Context>,
    /// Through which family, client and session.
    pub family_id: Option<Text>,
    pub client_id: Option<Text>,
    pub session_id: Option<Text>,
}

/// Sightings kept of one user: enough for several places with a few times each.
const SIGHTINGS_MAX: usize = 24;
/// A place seen again within this time of two of its sightings adds nothing between them.
const DENSE_MS: i64 = 5 * 60 * 1000;

impl Sightings {
    pub fn add(&mut self, mut sighting: Sighting) {
        self.remember(&sighting);
        let same = |s: &&Sighting| same_context(&s.context, &sighting.context);
        if let Some(same) = self.recent.iter().rev().find(same) {
            sighting.context = same.context.clone();
        }
        let at = self
            .recent
            .partition_point(|s| (s.time, &s.event_id) < (sighting.time, &sighting.event_id));
        self.recent.make_room();
        self.recent.insert(at, sighting);
        self.thin();
        if self.recent.len() > SIGHTINGS_MAX {
            self.recent.remove(0);
        }
    }

    fn remember(&mut self, sighting: &Sighting) {
        let Some(place) = sighting.context.located() else {
            return;
        };
        if let Some(known) = self.places.iter_mut().find(|known| known.is_at(place)) {
            known.first = known.first.min(sighting.time);
            known.last = known.last.max(sighting.time);
            return;
        }
        self.places.make_room();
        self.places.push(KnownPlace {
            place: place.clone(),
            first: sighting.time,
            last: sighting.time,
        });
        if self.places.len() > PLACES_MAX {
            let stalest = (0..self.places.len()).min_by_key(|&i| self.places[i].last);
            stalest.map(|stalest| self.places.swap_remove(stalest));
        }
    }

    /// Whether the place was first seen before `time`.
    fn known_since(&self, place: &Place, time: i64) -> bool {
        let mut at_place = self.places.iter().filter(|known| known.is_at(place));
        at_place.any(|known| known.first < time)
    }

    /// Of three sightings in one network within a few minutes the middle one goes.
    fn thin(&mut self) {
        let mut i = 1;
        while i + 1 < self.recent.len() {
            let (before, this, after) = (&self.recent[i - 1], &self.recent[i], &self.recent[i + 1]);
            let dense = after.time - before.time <= DENSE_MS
                && before.context.network == this.context.network
                && this.context.network == after.context.network;
            if dense {
                self.recent.remove(i);
            } else {
                i += 1;
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Sighting> {
        self.recent.iter()
    }

    pub fn last_time(&self) -> Option<i64> {
        self.recent.last().map(|s| s.time)
    }
}

impl KnownPlace {
    /// Nearly always it is the very same, and no sine is worked out.
    fn is_at(&self, place: &Place) -> bool {
        let here = |place: &Place| (place.latitude, place.longitude);
        here(&self.place) == here(place) || self.place.distance_km(place) < REMEMBERED_KM
    }
}

/// Contexts are shared, so that most often they need not be compared.
fn same_context(one: &Arc<Context>, other: &Arc<Context>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

impl UserKind for ImpossibleTravel {
    fn settle(&self) -> Duration {
        self.settle
    }

    /// Where every sighting is in the network of this one, each excuses every question that it could raise.
    fn concerns(&self, case: &UserCase<'_>, made: &Arc<Context>) -> bool {
        let mut others = case.sightings.iter().map(|s| &s.context);
        others.any(|other| !Arc::ptr_eq(other, made) && made.network_differs(other))
    }

    /// Judges the sightings made at exactly `at.time`, against those before, reading nothing later than the cut.
    fn judge(&self, case: &UserCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        let mut made = case.sightings.iter().filter(|s| s.time == at.time);
        let travelled = made.find_map(|to| self.travelled(case.sightings, to, at.cut, trace));
        travelled.map(|t| self.describe(&t)).into_iter().collect()
    }
}

/// Two sightings that one person cannot have made.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Travelled<'a> {
    from: &'a Sighting,
    to: &'a Sighting,
    distance_km: f64,
    effective_km: f64,
    speed_km_per_h: f64,
}

/// One detection a user and hour of event time.
const BUCKET_MS: i64 = 3_600_000;

impl ImpossibleTravel {
    fn travelled<'a>(
        &self,
        sightings: &'a Sightings,
        to: &'a Sighting,
        cut: i64,
        trace: &mut Trace,
    ) -> Option<Travelled<'a>> {
        let place = to.context.located()?;
        let oldest = to.time - millis(self.age_max);
        // Asked of every sighting, nearly always in vain: nothing is gathered, times are compared before places are read.
        let before = || {
            let is_before = |s: &&Sighting| (oldest..=to.time.min(cut)).contains(&s.time);
            let others = sightings.iter().filter(is_before);
            others.filter(|s| !std::ptr::eq(*s, to) && s.context.located().is_some())
        };
        let newest = before().map(|s| s.time).max()?;
        let since = (to.time - millis(self.present)).min(newest);
        let mut slowest: Option<Travelled<'a>> = None;
        for from in before().filter(|s| s.time >= since) {
            let there = from.context.located()?;
            let apart = to.time - from.time;
            if let Some(why) = self.excuse(sightings, to, from) {
                trace.note(|| {
                    let values = Evidence::new()
                        .with("from", place_name(&from.context))
                        .with("to", place_name(&to.context))
                        .with("distance_km", place.distance_km(there).round())
                        .with("apart", span(apart))
                        .with("threshold_km_per_h", self.bounds.speed_max_km_per_h);
                    (why.to_owned(), values)
                });
                return None;
            }
            let effective_km = place.effective_distance_km(there)?;
            let speed = speed_km_per_h(effective_km, apart);
            if slowest.is_none_or(|s| speed < s.speed_km_per_h) {
                slowest = Some(Travelled {
                    from,
                    to,
                    distance_km: place.distance_km(there),
                    effective_km,
                    speed_km_per_h: speed,
                });
            }
        }
        slowest
    }

    /// Why one person can have been at both, if so.
    fn excuse(
        &self,
        sightings: &Sightings,
        to: &Sighting,
        from: &Sighting,
    ) -> Option<&'static str> {
        let (place, there) = (to.context.located()?, from.context.located()?);
        if !to.context.network_differs(&from.context) {
            Some("the same network is the same place, whatever GeoIP says")
        } else if place.distance_km(there) < self.cluster_km {
            Some("the two places are one")
        } else if same_carrier(&to.context, &from.context) {
            Some("two addresses of one mobile carrier say nothing about speed")
        } else if !too_fast(place, there, to.time - from.time, &self.bounds) {
            Some("one person can travel from there in the time")
        } else if [place, there]
            .into_iter()
            .all(|p| sightings.known_since(p, to.time - millis(self.habit_after)))
        {
            Some(
                "both places have been the user's own for longer: home and the exit of an office or a carrier",
            )
        } else {
            None
        }
    }

    fn describe(&self, travelled: &Travelled<'_>) -> Finding {
        let Travelled { from, to, .. } = *travelled;
        let mobile = is_mobile(from) || is_mobile(to);
        let summary = format!(
            "One user at {} and {} later at {}: {:.0} km, {:.0} km/h (limit {} km/h)",
            place_name(&from.context),
            span(to.time - from.time),
            place_name(&to.context),
            travelled.distance_km,
            travelled.speed_km_per_h,
            self.bounds.speed_max_km_per_h,
        );
        Finding {
            about: vec![(to.time / BUCKET_MS).to_string()],
            time: to.time,
            event_id: Some(to.event_id.clone()),
            at_most: if mobile {
                Severity::Info
            } else {
                Severity::Critical
            },
            ask: if mobile { Ask::Nothing } else { Ask::Response },
            may_revoke: false,
            // A mobile carrier's addresses come out far from the phone: 0.3 of the weight of a line (detection-rules 7.1).
            confidence: if mobile { 0.3 } else { 1.0 },
            presenter: Arc::clone(&to.context),
            foreign_network: to.context.network.as_ref().map(|n| n.prefix),
            summary,
            evidence: Evidence::new()
                .with("from", end(from))
                .with("to", end(to))
                .with("distance_km", travelled.distance_km.round())
                .with("effective_distance_km", travelled.effective_km.round())
                .with("speed_km_per_h", travelled.speed_km_per_h.round())
                .with("threshold_km_per_h", self.bounds.speed_max_km_per_h),
        }
    }
}

fn is_mobile(sighting: &Sighting) -> bool {
    let network = sighting.context.network.as_ref();
    network.is_some_and(|network| network.class == Some(NetworkClass::Mobile))
}

fn end(sighting: &Sighting) -> Evidence {
    Evidence::new()
        .with("place", place_name(&sighting.context))
        .with_some(
            "ip_address",
            sighting.context.ip_address.map(|ip| ip.to_string()),
        )
        .with("time", instant(sighting.time))
}

/// A mobile carrier's addresses come out far from the phone; two of one carrier say nothing about speed.
fn same_carrier(a: &Context, b: &Context) -> bool {
    let (Some(a), Some(b)) = (&a.network, &b.network) else {
        return false;
    };
    a.class == Some(NetworkClass::Mobile) && b.class == Some(NetworkClass::Mobile) && a.asn == b.asn
}
