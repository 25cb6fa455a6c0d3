//! From which network somebody asks at a time: home, street, office, hotel, or what they hide behind.

use super::context::Context;
use super::kinds::Oddity;
use super::map::{City, MAP, Net, OFFICES_DECLARED};
use super::person::{Home, Installation, Thing, index_of, is_weekend};
use super::proof;
use super::server::{DAY, HOUR};
use super::stage::mixed;
use crate::simulate::random::Random;

/// What is out of the ordinary at present.
#[derive(Debug, Clone, Default)]
pub(super) struct Away {
    pub vpn_until: i64,
    pub corporate_until: i64,
    pub train_until: i64,
    pub trip: Option<Trip>,
}

#[derive(Debug, Clone)]
pub(super) struct Trip {
    pub city: &'static City,
    pub landed: i64,
    pub leaves: i64,
    pub home: i64,
}

/// From where a thing asks at a time, and which oddity that is, if it is one. `None`: on board, without a network.
pub(super) fn whereabouts(
    home: &Home,
    away: &Away,
    installation: &Installation,
    at: i64,
    random: &mut Random,
) -> Option<(Context, Option<Oddity>)> {
    let (net, subscriber, oddity) = match installation.thing {
        Thing::Server => backend(random),
        Thing::Runner => (
            random.pick(&MAP.runners),
            random.number(),
            Some(Oddity::MovingRobot),
        ),
        thing => person_at(home, away, thing, at, random)?,
    };
    let part = mixed(subscriber ^ at.div_euclid(DAY).unsigned_abs());
    let context = Context {
        net,
        address: net.address(subscriber, part),
        agent: installation.agent,
        device: installation.device.clone(),
    };
    Some((context, oddity.or(habit_of(installation.thing))))
}

fn habit_of(thing: Thing) -> Option<Oddity> {
    match thing {
        Thing::Tablet => Some(Oddity::SharedTablet),
        Thing::PrivateWindow => Some(Oddity::Incognito),
        _ => None,
    }
}

type Where = (&'static Net, u64, Option<Oddity>);

fn backend(random: &mut Random) -> Where {
    let second = random.below(5) == 0;
    let net = &MAP.backends[usize::from(second)];
    (net, random.number(), second.then_some(Oddity::MultiEgress))
}

fn person_at(
    home: &Home,
    away: &Away,
    thing: Thing,
    at: i64,
    random: &mut Random,
) -> Option<Where> {
    let moves = thing != Thing::Television && thing != Thing::Tablet;
    if moves && let Some(trip) = away.trip.as_ref().filter(|trip| at < trip.home) {
        let on_the_ground = (trip.landed..trip.leaves).contains(&at);
        return on_the_ground
            .then(|| (&trip.city.lobby, mixed(home.household), Some(Oddity::Trip)));
    }
    if at < away.vpn_until {
        let exit = index_of(u32::try_from(home.household % 3).unwrap_or(0));
        return Some((&MAP.vpns[exit], home.household, Some(Oddity::ConsumerVpn)));
    }
    if !moves {
        return Some(at_home(home, at, random));
    }
    if at < away.train_until {
        return Some(on_the_road(home, random, Some(Oddity::TrainRide)));
    }
    Some(match thing {
        Thing::Phone => with_phone(home, at, random),
        _ => with_laptop(home, away, at, random),
    })
}

fn with_phone(home: &Home, at: i64, random: &mut Random) -> Where {
    let local = home.local(at);
    let weekday = !is_weekend(local.div_euclid(DAY));
    let hour = local.rem_euclid(DAY) / HOUR;
    let out = match hour {
        8 | 17 if weekday => 90,
        9..=16 if weekday => 60,
        _ => 15,
    };
    if random.below(100) < out {
        on_the_road(home, random, None)
    } else {
        at_home(home, at, random)
    }
}

fn with_laptop(home: &Home, away: &Away, at: i64, random: &mut Random) -> Where {
    if at < away.corporate_until {
        let office = home.office.unwrap_or(0) % OFFICES_DECLARED;
        return (
            &MAP.offices[office],
            home.household,
            Some(Oddity::CorporateVpn),
        );
    }
    let local = home.local(at);
    let hour = local.rem_euclid(DAY) / HOUR;
    match home.office {
        Some(office) if (9..17).contains(&hour) && !is_weekend(local.div_euclid(DAY)) => (
            &MAP.offices[office],
            home.household,
            Some(Oddity::OfficeNat),
        ),
        _ => at_home(home, at, random),
    }
}

/// A line at home keeps its IPv4 address for a week.
fn at_home(home: &Home, at: i64, random: &mut Random) -> Where {
    if home.has_relay && random.below(2) == 0 {
        return (&MAP.relay, random.number(), Some(Oddity::PrivateRelay));
    }
    let by_ipv6 = home.has_ipv6 && random.below(2) == 0;
    let net = match (home.by_fibre, by_ipv6) {
        (true, false) => &home.city.fibre,
        (true, true) => &home.city.fibre6,
        (false, false) => &home.city.cable,
        (false, true) => &home.city.cable6,
    };
    let lease = if by_ipv6 {
        0
    } else {
        at.div_euclid(7 * DAY).unsigned_abs()
    };
    (
        net,
        mixed(home.household ^ (lease << 32)),
        by_ipv6.then_some(Oddity::DualStack),
    )
}

/// In a carrier's network, with a few hundred ways out of it.
fn on_the_road(home: &Home, random: &mut Random, oddity: Option<Oddity>) -> Where {
    if oddity.is_some() && random.below(3) == 0 {
        return (&home.city.lobby, random.below(64).into(), oddity);
    }
    if home.at_hub && random.below(2) == 0 {
        return (
            &home.city.hub,
            random.below(512).into(),
            oddity.or(Some(Oddity::CarrierHub)),
        );
    }
    (&home.city.carrier, random.below(512).into(), oddity)
}

/// The same thing, a moment later, in the street.
pub(super) fn handed_over(home: &Home, context: &Context) -> Context {
    let net = if context.net.differs(&home.city.carrier) {
        &home.city.carrier
    } else {
        home.own_net()
    };
    Context {
        net,
        address: net.address(home.household, 1),
        ..context.clone()
    }
}

impl Trip {
    /// There and back by air, with two hours at each end of the flight.
    pub(super) fn new(home: &Home, at: i64, random: &mut Random) -> Self {
        let city: &'static City = random.pick(&MAP.cities);
        let flight = 4 * HOUR + flight(home.city, city);
        let landed = at + flight;
        let leaves = landed + random.from_to(DAY, 8 * DAY);
        Self {
            city,
            landed,
            leaves,
            home: leaves + flight,
        }
    }
}

/// At 850 km/h.
fn flight(from: &City, to: &City) -> i64 {
    let km = proof::place(&from.cable.locality).distance_km(&proof::place(&to.cable.locality));
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most half way round the Earth"
    )]
    let km = km as i64;
    km * HOUR / 850
}

#[cfg(test)]
mod tests {
    use super::super::person::installations;
    use super::*;

    #[test]
    fn a_flight_takes_its_time_and_has_no_network() {
        let home = Home::new(1, 0, &mut Random::new(1));
        let mut random = Random::new(3);
        let trips: Vec<Trip> = (0..50).map(|_| Trip::new(&home, 0, &mut random)).collect();
        for trip in trips {
            let km = proof::place(&home.city.cable.locality)
                .distance_km(&proof::place(&trip.city.cable.locality));
            #[expect(clippy::cast_precision_loss, reason = "some hours")]
            let hours = trip.landed as f64 / HOUR as f64;
            assert!(km / hours < 900.0, "{km} km in {hours} h");
            let phone = &installations(0, &mut random)[0];
            let away = Away {
                trip: Some(trip.clone()),
                ..Away::default()
            };
            assert!(whereabouts(&home, &away, phone, trip.landed - 1, &mut random).is_none());
            let (there, _) =
                whereabouts(&home, &away, phone, trip.landed, &mut random).expect("a network");
            assert_eq!(there.net.locality.city, trip.city.lobby.locality.city);
        }
    }
}
