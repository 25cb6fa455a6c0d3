//! Storms: many people of one client, or seen from one foreign network, within ten minutes are one incident.
//!
//! A client release with a bug, a failing server or a leaked token dump looks like hundreds of thefts; the person on
//! call gets one page with a count, not hundreds. Each family keeps its own revocation, within the budget. People are
//! counted, not families: else one account with many sessions could make a storm in which others go unnoticed.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::model::{Text, limits};

use super::ageing::Ageing;

const WINDOW_MS: i64 = 10 * 60 * 1000;
/// From this many people on, they are one storm.
const PEOPLE: usize = 4;
/// People remembered of one client or network; a storm has begun long before.
const REMEMBERED_MAX: usize = 64;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Storms {
    /// By client or network: when who was found.
    seen: Ageing<Text, VecDeque<(i64, Text)>>,
    evicted: u64,
}

impl Storms {
    /// Files a person (a family where no user is known) under a client or network; whether that is a storm now.
    pub(super) fn joins(&mut self, place: &Text, person: &Text, time: i64) -> bool {
        let old = time.saturating_sub(WINDOW_MS);
        while self.seen.pop_until(old).is_some() {}
        let people = self.seen.touch(place, time, VecDeque::new);
        people.retain(|(at, _)| *at > old);
        if !people.iter().any(|(_, known)| known == person) {
            people.push_back((time, person.clone()));
        }
        if people.len() > REMEMBERED_MAX {
            people.pop_front();
        }
        let position = people.iter().position(|(_, known)| known == person);
        let joins = position.is_some_and(|at| at + 1 >= PEOPLE);
        while self.seen.len() > limits::STORM_PLACES_MAX {
            self.seen.pop_oldest();
            self.evicted += 1;
        }
        joins
    }

    /// Forgets people by the end of their names.
    pub(super) fn forget(&mut self, end: &str) {
        for people in self.seen.values_mut() {
            people.retain(|(_, person)| !person.ends_with(end));
        }
    }

    /// People found at a client or network lately.
    pub(super) fn people(&self, place: &Text, time: i64) -> usize {
        let lately = |(at, _): &&(i64, Text)| *at > time.saturating_sub(WINDOW_MS);
        let seen = self.seen.get(place);
        seen.map_or(0, |people| people.iter().filter(lately).count())
    }

    /// Clients and networks forgotten before their time.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_person_in_ten_minutes_joins_and_one_person_s_families_count_once() {
        let (mut storms, web): (Storms, Text) = (Storms::default(), "web".into());
        let mut joins = |person: &str, time| storms.joins(&web, &person.into(), time);
        assert!((0..20).all(|n| !joins("mallory", n)));
        assert!(!joins("a", 20) && !joins("b", 21));
        assert!(joins("c", 22));
        assert!(!joins("a", 23), "the first ones have pages of their own");
        assert!(!joins("d", WINDOW_MS + 22), "the others are long ago");
    }
}
