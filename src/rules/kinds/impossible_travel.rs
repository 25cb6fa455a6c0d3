//! `impossible_travel`: one person, two places, too little time between.
//!
//! GeoIP error is subtracted at both ends and both ends must be located to a city or subdivision. A new place is compared
//! with the places where the person was present within the hour, and one from which it can be reached is enough: that is
//! what keeps split tunnels, dual stack and two offices quiet. Only successes count as being somewhere.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::context::{Context, TravelBounds, speed_km_per_h, too_fast};
use crate::model::{NetworkClass, Text};

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
    pub settle: Duration,
}

impl Default for ImpossibleTravel {
    fn default() -> Self {
        Self {
            bounds: TravelBounds::default(),
            age_max: Duration::from_hours(24),
            present: Duration::from_hours(1),
            cluster_km: 50.0,
            settle: Duration::from_secs(2),
        }
    }
}

/// Where a user was seen; ordered by time, so that arrival does not matter. Bounded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sightings(Vec<Sighting>);

/// One successful use from a located address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Event time, milliseconds.
    pub time: i64,
    pub event_id: Text,
    /// Shared with whatever else remembers it.
    pub context: Arc<Context>,
}

/// Sightings kept of one user: enough for several places with a few times each.
const SIGHTINGS_MAX: usize = 24;
/// A place seen again within this time of two of its sightings adds nothing between them.
const DENSE_MS: i64 = 5 * 60 * 1000;

/// Two sightings that one person cannot have made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding<'a> {
    pub from: &'a Sighting,
    pub to: &'a Sighting,
    pub distance_km: f64,
    pub effective_km: f64,
    pub speed_km_per_h: f64,
}

impl Sightings {
    pub fn add(&mut self, mut sighting: Sighting) {
        if let Some(same) = self.0.iter().rev().find(|s| s.context == sighting.context) {
            sighting.context = same.context.clone();
        }
        let at = self
            .0
            .partition_point(|s| (s.time, &s.event_id) < (sighting.time, &sighting.event_id));
        self.0.insert(at, sighting);
        self.thin();
        if self.0.len() > SIGHTINGS_MAX {
            self.0.remove(0);
        }
    }

    /// Of three sightings in one network within a few minutes the middle one goes.
    fn thin(&mut self) {
        let mut i = 1;
        while i + 1 < self.0.len() {
            let (before, this, after) = (&self.0[i - 1], &self.0[i], &self.0[i + 1]);
            let dense = after.time - before.time <= DENSE_MS
                && before.context.network == this.context.network
                && this.context.network == after.context.network;
            if dense {
                self.0.remove(i);
            } else {
                i += 1;
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Sighting> {
        self.0.iter()
    }

    pub fn last_time(&self) -> Option<i64> {
        self.0.last().map(|s| s.time)
    }
}

impl ImpossibleTravel {
    /// Judges the sightings made at exactly `time`, against those before, reading nothing later than `cut`.
    pub fn judge<'a>(&self, sightings: &'a Sightings, time: i64, cut: i64) -> Option<Finding<'a>> {
        let visible: Vec<&Sighting> = sightings.iter().filter(|s| s.time <= cut).collect();
        visible
            .iter()
            .filter(|s| s.time == time)
            .find_map(|to| self.judge_one(&visible, to))
    }

    fn judge_one<'a>(&self, visible: &[&'a Sighting], to: &'a Sighting) -> Option<Finding<'a>> {
        let place = to.context.located()?;
        let before: Vec<&'a Sighting> = visible
            .iter()
            .copied()
            .filter(|s| s.time <= to.time && !std::ptr::eq(*s, to) && s.context.located().is_some())
            .filter(|s| to.time - s.time <= millis(self.age_max))
            .collect();
        let newest = before.iter().map(|s| s.time).max()?;
        let since = (to.time - millis(self.present)).min(newest);
        let mut slowest: Option<Finding<'a>> = None;
        for from in before.into_iter().filter(|s| s.time >= since) {
            let there = from.context.located()?;
            let apart = to.time - from.time;
            let reachable = !too_fast(place, there, apart, &self.bounds)
                || place.distance_km(there) < self.cluster_km
                || !to.context.network_differs(&from.context)
                || same_carrier(&to.context, &from.context);
            if reachable {
                return None;
            }
            let effective_km = place.effective_distance_km(there)?;
            let speed = speed_km_per_h(effective_km, apart);
            if slowest.is_none_or(|s| speed < s.speed_km_per_h) {
                slowest = Some(Finding {
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
}

/// A mobile carrier's addresses come out far from the phone; two of one carrier say nothing about speed.
fn same_carrier(a: &Context, b: &Context) -> bool {
    let (Some(a), Some(b)) = (&a.network, &b.network) else {
        return false;
    };
    a.class == Some(NetworkClass::Mobile) && b.class == Some(NetworkClass::Mobile) && a.asn == b.asn
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
