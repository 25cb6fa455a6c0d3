//! How many families each client has in use, for budgets that are a share of them.
//!
//! A family is counted once a day, by its first accepted event of it, so that the hot path pays one comparison. The
//! answer is the fuller of today and yesterday: about what was active in 24 hours, and exact enough for a share. Refusals do not count: anybody with dead tokens could make a client look large.

use serde::{Deserialize, Serialize};

use super::table::{Aged, Table};

const DAY_MS: i64 = 24 * 3_600_000;

/// Families in use at one client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Active {
    /// Days since 1970.
    day: i64,
    today: u32,
    yesterday: u32,
}

impl Aged for Active {
    fn last_seen(&self) -> i64 {
        self.day.saturating_mul(DAY_MS)
    }
}

pub(super) const fn day_of(time: i64) -> i64 {
    time.div_euclid(DAY_MS)
}

impl Active {
    fn add(&mut self, day: i64) {
        if day > self.day {
            self.yesterday = if day == self.day + 1 { self.today } else { 0 };
            self.today = 0;
            self.day = day;
        }
        // What comes late counts for the newest day: better than nowhere.
        self.today = self.today.saturating_add(1);
    }

    fn at(&self, day: i64) -> u32 {
        match day - self.day {
            ..=0 => self.today.max(self.yesterday),
            1 => self.today,
            _ => 0,
        }
    }
}

/// A family of the client was accepted for the first time on this day.
pub(super) fn seen(clients: &mut Table<Active>, client: u64, day: i64) {
    clients.get_or_insert_with(client, Active::default).add(day);
}

/// Families of the client in use at an event time.
pub(super) fn at(clients: &Table<Active>, client: u64, time: i64) -> u32 {
    let known = clients.get(client);
    known.map_or(0, |active| active.at(day_of(time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuller_of_two_days_counts_and_older_ones_do_not() {
        let mut clients = Table::new(1000);
        for (day, families) in [(10, 1500), (11, 3)] {
            (0..families).for_each(|_| seen(&mut clients, 1, day));
        }
        let active = |day| at(&clients, 1, day * DAY_MS + 5);
        assert_eq!((active(11), active(12), active(13)), (1500, 3, 0));
        assert_eq!(at(&clients, 2, 11 * DAY_MS), 0, "another client");
    }

    #[test]
    fn what_comes_late_is_not_lost_and_moves_no_day() {
        let mut clients = Table::new(1000);
        for day in [10, 11, 10] {
            seen(&mut clients, 1, day);
        }
        assert_eq!(at(&clients, 1, 11 * DAY_MS), 2);
    }
}
