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
pub(super) const REMEMBERED_MAX: usize = 64;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Storms {
    /// By client or network: who was found lately.
    seen: Ageing<Text, VecDeque<Seen>>,
    evicted: u64,
}

/// When somebody was found last, who, and whether in a storm: then so is what is found of him while it lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen(i64, Text, #[serde(default)] bool);

impl Storms {
    /// Files a person (a family where no user is known) under a client or network; whether that is a storm now.
    pub(super) fn joins(&mut self, place: &Text, person: &Text, time: i64) -> bool {
        let old = time.saturating_sub(WINDOW_MS);
        while self.seen.pop_until(old).is_some() {}
        let people = self.seen.touch(place, time, VecDeque::new);
        people.retain(|Seen(at, ..)| *at > old);
        let known = people.iter().position(|Seen(_, known, _)| known == person);
        let at = known.unwrap_or_else(|| {
            people.push_back(Seen(time, person.clone(), false));
            people.len() - 1
        });
        let Seen(last, _, joins) = &mut people[at];
        *last = time.max(*last);
        *joins |= at + 1 >= PEOPLE;
        let joins = *joins;
        if people.len() > REMEMBERED_MAX {
            people.pop_front();
        }
        while self.seen.len() > limits::STORM_PLACES_MAX {
            self.seen.pop_oldest();
            self.evicted += 1;
        }
        joins
    }

    /// Forgets people by the end of their names.
    pub(super) fn forget(&mut self, end: &str) {
        for people in self.seen.values_mut() {
            people.retain(|Seen(_, person, _)| !person.ends_with(end));
        }
    }

    /// People found at a client or network lately.
    pub(super) fn people(&self, place: &Text, time: i64) -> usize {
        let lately = |Seen(at, ..): &&Seen| *at > time.saturating_sub(WINDOW_MS);
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
        assert!(!joins("d", 2 * WINDOW_MS), "the others are long ago");
    }

    #[test]
    fn who_has_joined_stays_in_while_found_every_few_minutes() {
        let (mut storms, web): (Storms, Text) = (Storms::default(), "web".into());
        let mut joins = |n: i64, time| storms.joins(&web, &format!("u{n}").into(), time);
        let minute = WINDOW_MS / 10;
        for n in 0..30 {
            assert_eq!(joins(n, n * minute / 3), n >= 3);
        }
        for again in 1..10 {
            assert!(joins(25, 9 * minute + again * 9 * minute), "{again}");
        }
        assert!(!joins(25, 300 * minute), "the storm is over");
    }
}
