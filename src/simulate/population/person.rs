//! Who lives in the population: what somebody owns, where they live, and when they are awake.

use crate::model::Text;

use super::agents::{Agent, AgentKind};
use super::context::Held;
use super::kinds::Oddity;
use super::map::{City, MAP, Net, OFFICES_DECLARED};
use super::server::{App, DAY, HOUR, MINUTE};
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
    pub by_fibre: bool,
    pub household: u64,
    pub has_ipv6: bool,
    pub at_hub: bool,
    pub has_relay: bool,
    pub office: Option<usize>,
    /// Minutes after midnight.
    wakes: i64,
    sleeps: i64,
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
    pub(super) fn new(seed: u64, index: u32, random: &mut Random) -> Self {
        // Who shares a tablet shares a home.
        let household = if index % 100 >= 96 {
            index / 100 * 100 + 96
        } else {
            index
        };
        let mut by_household = Random::part(!seed, household.into());
        let city: &'static City = by_household.pick(&MAP.cities);
        Self {
            city,
            by_fibre: by_household.below(2) == 0,
            household: household.into(),
            has_ipv6: by_household.below(5) == 0,
            at_hub: random.below(10) == 0,
            has_relay: random.below(20) == 0,
            office: (random.below(10) < 4).then(|| office_of(city, random)),
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

/// One of the city's own, if there is one; else wherever they work, the company's declared egress is what shows.
fn office_of(city: &City, random: &mut Random) -> usize {
    let here = |office: &Net| office.locality.city == city.cable.locality.city;
    let local = MAP.offices.iter().position(here);
    local.unwrap_or_else(|| index_of(random.below(4)) % OFFICES_DECLARED)
}

/// 1970-01-01 was a Thursday.
pub(super) fn is_weekend(day: i64) -> bool {
    matches!((day + 3).rem_euclid(7), 5 | 6)
}

pub(super) fn index_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> Home {
        Home::new(1, 0, &mut Random::new(1))
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
    fn the_weekend_is_known() {
        // 2026-03-07 was a Saturday.
        let saturday = 1_772_841_600_000_i64.div_euclid(DAY);
        assert!(is_weekend(saturday) && is_weekend(saturday + 1));
        assert!(!is_weekend(saturday + 2) && !is_weekend(saturday - 1));
    }
}
