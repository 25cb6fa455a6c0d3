//! Who is attacked when, and to whom the odd things happen that look like it.
//!
//! Drawn before the first day, so that the count of each kind is what was asked for whatever the users do. A population
//! too small to have anybody that an attack fits goes without it.

use std::collections::HashSet;

use super::kinds::{Attack, Oddity};
use super::prowler::Prowler;
use super::resident::{Resident, Step};
use super::server::{DAY, HOUR, MINUTE, Restarts};
use super::settings::Settings;
use crate::simulate::random::Random;

/// Users of one device farm.
const FARM_USERS: u32 = 6;
/// Clients of one mass expiry, where there are so many users.
const MASS_EXPIRY_CLIENTS: u32 = 60;
/// Picks at random before the users are asked one by one.
const PICKS_MAX: u32 = 200;

/// Plants attacks, and as many of each oddity, among the residents, and gives the attackers that need none.
pub(super) fn plant(
    settings: &Settings,
    span: (i64, i64),
    residents: &mut [Resident],
) -> Vec<Prowler> {
    let mut planter = Planter {
        random: Random::part(settings.seed, u64::MAX - 1),
        span: calm(span),
        residents,
        taken: HashSet::new(),
        prowlers: Vec::new(),
    };
    let count = count(settings);
    for attack in Attack::ALL {
        for n in 0..count {
            planter.attack(*attack, n);
        }
    }
    for oddity in Oddity::ALL.iter().filter(|oddity| !oddity.is_habit()) {
        for _ in 0..count * settings.oddities {
            planter.oddity(*oddity);
        }
    }
    planter.prowlers
}

/// Attacks of each kind.
fn count(settings: &Settings) -> u32 {
    if settings.attacks == 0 {
        return 0;
    }
    let user_days = u64::from(settings.users) * u64::from(settings.days);
    let count = user_days * u64::from(settings.attacks) / (10_000 * 7);
    u32::try_from(count).unwrap_or(u32::MAX).max(1)
}

/// The time between the first days, in which everybody has to become known, and the last, in which things must end.
fn calm((start, end): (i64, i64)) -> (i64, i64) {
    let span = end - start;
    (
        start + (span / 4).min(2 * DAY),
        end - (span / 3).min(4 * DAY),
    )
}

/// When the server is started again: every few days, and at least once.
pub(super) fn restarts(settings: &Settings, (start, end): (i64, i64)) -> Restarts {
    let mut random = Random::part(settings.seed, u64::MAX - 2);
    let every = ((end - start) / 4).min(5 * DAY);
    let mut times = Vec::new();
    let mut at = start + every;
    while at < end {
        times.push(at + random.from_to(-every / 5, every / 5));
        at += every;
    }
    Restarts(times)
}

struct Planter<'a> {
    random: Random,
    span: (i64, i64),
    residents: &'a mut [Resident],
    /// Nobody is robbed twice while there are others.
    taken: HashSet<usize>,
    prowlers: Vec<Prowler>,
}

impl Planter<'_> {
    fn some_time(&mut self) -> i64 {
        let (from, to) = self.span;
        self.random.from_to(from, to)
    }

    fn attack(&mut self, attack: Attack, n: u32) {
        match attack {
            Attack::BruteForce
            | Attack::DistributedBruteForce
            | Attack::SlowBruteForce
            | Attack::Stuffing => {
                let at = self.some_time();
                let random = Random::new(self.random.number());
                self.prowlers.push(Prowler::new(attack, at, random));
            }
            Attack::DeviceFarm => {
                let at = self.some_time();
                for _ in 0..FARM_USERS {
                    let later = self.random.from_to(0, 5 * HOUR);
                    self.rob(attack, u64::from(n) << 1, at + later);
                }
            }
            _ => {
                let at = self.some_time();
                let variant = self.random.number();
                self.rob(attack, variant, at);
            }
        }
    }

    fn rob(&mut self, attack: Attack, variant: u64, at: i64) {
        let Some(victim) = self.somebody(|one| one.robbable(attack, variant).is_some()) else {
            return;
        };
        self.taken.insert(victim);
        let resident = &mut self.residents[victim];
        let at = resident
            .home
            .some_time_of_day(at, &mut self.random)
            .max(self.span.0);
        resident.plan(at, Step::Attack(attack, variant));
    }

    fn oddity(&mut self, oddity: Oddity) {
        let at = self.some_time();
        if oddity == Oddity::MassExpiry {
            let users = u32::try_from(self.residents.len()).unwrap_or(u32::MAX);
            for _ in 0..MASS_EXPIRY_CLIENTS.min(users / 4) {
                let within = self.random.from_to(0, 5 * MINUTE);
                self.befall(oddity, at + within, false);
            }
            return;
        }
        self.befall(oddity, at, true);
    }

    fn befall(&mut self, oddity: Oddity, at: i64, by_day: bool) {
        let Some(one) = self.somebody(|one| one.able_to(oddity).is_some()) else {
            return;
        };
        let resident = &mut self.residents[one];
        let by_day = by_day.then(|| {
            resident
                .home
                .some_time_of_day(at, &mut self.random)
                .max(self.span.0)
        });
        resident.plan(by_day.unwrap_or(at), Step::Oddity(oddity));
    }

    fn somebody(&mut self, fits: impl Fn(&Resident) -> bool) -> Option<usize> {
        let users = u32::try_from(self.residents.len()).unwrap_or(u32::MAX);
        for _ in 0..PICKS_MAX {
            let one = usize::try_from(self.random.below(users)).unwrap_or(0);
            if !self.taken.contains(&one) && fits(&self.residents[one]) {
                return Some(one);
            }
        }
        let free = |one: &usize| !self.taken.contains(one) && fits(&self.residents[*one]);
        let all = 0..self.residents.len();
        all.clone()
            .find(free)
            .or_else(|| all.clone().find(|one| fits(&self.residents[*one])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_what_was_asked_for_and_at_least_one() {
        let of = |users, days, attacks| {
            count(&Settings {
                users,
                days,
                attacks,
                ..Settings::default()
            })
        };
        assert_eq!(of(100_000, 30, 2), 85);
        assert_eq!(of(100, 1, 2), 1);
        assert_eq!(of(100_000, 30, 0), 0);
    }

    #[test]
    fn restarts_are_in_order_and_within_the_log() {
        for days in [1, 7, 30] {
            let end = i64::from(days) * DAY;
            let times = restarts(
                &Settings {
                    days,
                    ..Settings::default()
                },
                (0, end),
            )
            .0;
            assert!(times.len() >= 3, "{days}: {times:?}");
            assert!(
                times.is_sorted() && times.iter().all(|at| (0..end).contains(at)),
                "{times:?}"
            );
        }
    }
}
