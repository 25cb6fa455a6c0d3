//! Who lives in the population: what somebody owns, where it is at what time, and how they live.

use crate::model::Text;

use super::agents::{Agent, AgentKind};
use super::context::{Context, Held};
use super::kinds::Oddity;
use super::map::{City, MAP, Net, OFFICES_DECLARED};
use super::proof;
use super::server::{App, DAY, HOUR, MINUTE};
use super::stage::mixed;
use crate::simulate::random::Random;

/// One client of one user, and the token it holds.
#[derive(Debug, Clone)]
pub(super) struct Installation {
    pub app: App,
    pub thing: Thing,
    pub agent: Agent,
    pub device: Option<Text>,
    /// Absent until somebody has logged in.
    pub held: Option<Held>,
    /// Of the next use, once.
    pub oddity: Option<Oddity>,
}

/// What a client runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thing {
    Phone,
    Laptop,
    PrivateWindow,
    Television,
    Tablet,
    Server,
    Runner,
}

/// Where somebody lives and works.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of a household"
)]
pub(super) struct Home {
    pub city: &'static City,
    by_fibre: bool,
    household: u64,
    has_ipv6: bool,
    at_hub: bool,
    has_relay: bool,
    office: Option<usize>,
    /// Minutes after midnight.
    wakes: i64,
    sleeps: i64,
}

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

/// How a hundred neighbours live: the number is how many of them, in this order.
const NEIGHBOURS: [(u32, &[(App, Thing)]); 9] = [
    (
        46,
        &[(App::Mobile, Thing::Phone), (App::WebShop, Thing::Laptop)],
    ),
    (18, &[(App::Mobile, Thing::Phone)]),
    (10, &[(App::WebShop, Thing::Laptop)]),
    (7, &[(App::LegacyPortal, Thing::Laptop)]),
    (5, &[(App::Desk, Thing::Laptop)]),
    (
        3,
        &[
            (App::Television, Thing::Television),
            (App::Mobile, Thing::Phone),
        ],
    ),
    (4, &[(App::ApiGateway, Thing::Server)]),
    (1, &[(App::BuildRobots, Thing::Runner)]),
    (2, &[(App::WebShop, Thing::PrivateWindow)]),
];
/// The rest of the hundred share one tablet.
const TABLET: &[(App, Thing)] = &[(App::Mobile, Thing::Tablet)];

pub(super) fn installations(index: u32, random: &mut Random) -> Vec<Installation> {
    let mut place = index % 100;
    for (count, things) in NEIGHBOURS {
        if place < count {
            return things
                .iter()
                .map(|(app, thing)| install(index, *app, *thing, random))
                .collect();
        }
        place -= count;
    }
    TABLET
        .iter()
        .map(|(app, thing)| install(index, *app, *thing, random))
        .collect()
}

fn install(index: u32, app: App, thing: Thing, random: &mut Random) -> Installation {
    let kinds: &[AgentKind] = match thing {
        Thing::Phone => &[AgentKind::AppOnIphone, AgentKind::AppOnAndroid],
        Thing::Laptop | Thing::PrivateWindow => &[
            AgentKind::ChromeOnWindows,
            AgentKind::EdgeOnWindows,
            AgentKind::FirefoxOnLinux,
            AgentKind::SafariOnMac,
        ],
        Thing::Television => &[AgentKind::Television],
        Thing::Tablet => &[AgentKind::AppOnTablet],
        Thing::Server => &[AgentKind::Server],
        Thing::Runner => &[AgentKind::Robot],
    };
    let kind = *random.pick(kinds);
    let version = u8::try_from(random.below(4)).unwrap_or(0);
    let device = match thing {
        Thing::Server | Thing::Runner => None,
        Thing::Tablet => Some(format!("tablet-{}", index / 100).into()),
        _ => Some(device_id(random)),
    };
    Installation {
        app,
        thing,
        agent: Agent { kind, version },
        device,
        held: None,
        oddity: None,
    }
}

pub(super) fn device_id(random: &mut Random) -> Text {
    super::stage::hex16(random.number())
}

impl Home {
    pub(super) fn new(index: u32, random: &mut Random) -> Self {
        // Who shares a tablet shares a home.
        let household = if index % 100 >= 96 {
            index / 100 * 100 + 96
        } else {
            index
        };
        let mut by_household = Random::part(household.into(), 0x00C1_7E5A);
        Self {
            city: by_household.pick(&MAP.cities),
            by_fibre: by_household.below(2) == 0,
            household: household.into(),
            has_ipv6: by_household.below(5) == 0,
            at_hub: random.below(10) == 0,
            has_relay: random.below(20) == 0,
            office: (random.below(10) < 4).then(|| index_of(random.below(6))),
            wakes: 6 * 60 + i64::from(random.below(150)),
            sleeps: 22 * 60 + i64::from(random.below(110)),
        }
    }

    pub(super) fn local(&self, at: i64) -> i64 {
        at + self.city.hours_ahead * HOUR
    }

    /// The other operator of the city.
    pub(super) fn neighbour_net(&self) -> &'static Net {
        if self.by_fibre {
            &self.city.cable
        } else {
            &self.city.fibre
        }
    }

    pub(super) fn own_net(&self) -> &'static Net {
        if self.by_fibre {
            &self.city.fibre
        } else {
            &self.city.cable
        }
    }

    /// Minutes after midnight between which a thing is used on a day; the number of the day tells the weekend.
    fn hours_of(&self, thing: Thing, day: i64) -> (i64, i64) {
        match thing {
            Thing::Phone | Thing::Tablet | Thing::Server => (self.wakes, self.sleeps),
            Thing::Laptop | Thing::PrivateWindow if is_weekend(day) => (11 * 60, 20 * 60),
            Thing::Laptop | Thing::PrivateWindow => (8 * 60 + 30, 18 * 60 + 30),
            Thing::Television => (17 * 60, self.sleeps),
            Thing::Runner => (0, 24 * 60),
        }
    }

    /// When a thing is used next, `gap` after `at` at the earliest.
    pub(super) fn next_use(&self, thing: Thing, at: i64, gap: i64, random: &mut Random) -> i64 {
        let local = self.local(at + gap);
        let day = local.div_euclid(DAY);
        let minute = local.rem_euclid(DAY) / MINUTE;
        let (from, to) = self.hours_of(thing, day);
        if (from..to).contains(&minute) {
            return at + gap;
        }
        let day = if minute >= to { day + 1 } else { day };
        let (from, _) = self.hours_of(thing, day);
        let late = random.from_to(0, 50 * MINUTE);
        day * DAY + from * MINUTE + late - self.city.hours_ahead * HOUR
    }

    /// A moment of the day in which somebody is awake.
    pub(super) fn some_time_of_day(&self, at: i64, random: &mut Random) -> i64 {
        let day = self.local(at).div_euclid(DAY);
        let minute = random.from_to(9 * 60 + 30, 18 * 60);
        day * DAY + minute * MINUTE + random.from_to(0, MINUTE) - self.city.hours_ahead * HOUR
    }
}

/// 1970-01-01 was a Thursday.
fn is_weekend(day: i64) -> bool {
    matches!((day + 3).rem_euclid(7), 5 | 6)
}

fn index_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(0)
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
    use super::*;

    fn home() -> Home {
        Home::new(0, &mut Random::new(1))
    }

    #[test]
    fn a_hundred_neighbours_have_everything_that_there_is() {
        let mut random = Random::new(1);
        let all: Vec<Installation> = (0..100)
            .flat_map(|index| installations(index, &mut random))
            .collect();
        for app in App::ALL {
            assert!(all.iter().any(|one| one.app == app), "{app:?}");
        }
        let tablets: Vec<_> = all
            .iter()
            .filter(|one| one.thing == Thing::Tablet)
            .collect();
        assert_eq!(tablets.len(), 4);
        assert!(tablets.iter().all(|one| one.device == tablets[0].device));
    }

    #[test]
    fn nobody_uses_anything_asleep() {
        let (home, mut random) = (home(), Random::new(2));
        for n in 0..2000 {
            let next = home.next_use(Thing::Phone, n * 37 * MINUTE, HOUR, &mut random);
            let minute = home.local(next).rem_euclid(DAY) / MINUTE;
            assert!((home.wakes..home.sleeps).contains(&minute), "{minute}");
            assert!(next >= n * 37 * MINUTE + HOUR - 1);
        }
    }

    #[test]
    fn a_flight_takes_its_time_and_has_no_network() {
        let home = home();
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

    #[test]
    fn the_weekend_is_known() {
        // 2026-03-07 was a Saturday.
        let saturday = 1_772_841_600_000_i64.div_euclid(DAY);
        assert!(is_weekend(saturday) && is_weekend(saturday + 1));
        assert!(!is_weekend(saturday + 2) && !is_weekend(saturday - 1));
    }
}
