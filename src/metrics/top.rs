//! Who refreshes most: users, addresses, clients and families by number of refreshes in the last hour.
//!
//! These must never become labels, as there are millions of them. Kept instead: for every five minutes the few names
//! that are frequent, by the summary of Misra and Gries. Its counts may be too low by a known amount, never too high,
//! and whoever is frequent is among them, in memory that does not grow with the number of names.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::limits::TOP_NAMES_MAX;
use crate::model::{Enriched, EventType, Text, Timestamp, names};

const STRETCH_MS: i64 = 5 * 60_000;
const STRETCHES: i64 = 12;

/// The longest time one can ask for.
pub const WINDOW_MAX: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    User,
    Ip,
    Client,
    Family,
}

names!(By { User = "user", Ip = "ip", Client = "client", Family = "family" });

/// A name with how often it was seen: at least `refreshes`, at most `refreshes + missed_max` of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranked {
    pub name: Text,
    pub refreshes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopList {
    pub ranked: Vec<Ranked>,
    /// How much too low each count may be.
    pub missed_max: u64,
}

/// The lists, in event time; what is more than an hour older than the newest event has no place any more.
#[derive(Debug, Clone, Default)]
pub struct Top {
    /// Oldest first, without holes.
    stretches: VecDeque<Stretch>,
    /// Which stretch of time the last one is.
    newest: i64,
}

#[derive(Debug, Clone, Default)]
struct Stretch([Frequent; By::ALL.len()]);

impl Top {
    pub fn observe(&mut self, event: &Enriched) {
        if event.event.kind != EventType::Refresh {
            return;
        }
        let Some(stretch) = self.stretch(event.event.time) else {
            return;
        };
        let event = &event.event;
        let text = |text: &Option<Text>| text.clone().map(Name::Text);
        let names = [
            text(&event.user_id),
            event.ip_address.map(Name::Address),
            text(&event.client_id),
            text(&event.family_id).or_else(|| text(&event.session_id)),
        ];
        for (frequent, name) in stretch.0.iter_mut().zip(names) {
            if let Some(name) = name {
                frequent.add(name);
            }
        }
    }

    fn stretch(&mut self, time: Timestamp) -> Option<&mut Stretch> {
        let number = time.as_millisecond().div_euclid(STRETCH_MS);
        if self.stretches.is_empty() || number > self.newest {
            let new = if self.stretches.is_empty() {
                1
            } else {
                (number - self.newest).min(STRETCHES)
            };
            self.stretches.extend((0..new).map(|_| Stretch::default()));
            let excess = self
                .stretches
                .len()
                .saturating_sub(usize::try_from(STRETCHES).unwrap_or(usize::MAX));
            self.stretches.drain(..excess);
            self.newest = number;
        }
        let back = usize::try_from(self.newest - number).ok()?;
        let at = self.stretches.len().checked_sub(back + 1)?;
        self.stretches.get_mut(at)
    }

    /// The most frequent names of the newest stretches that make up the window, most frequent first.
    pub fn list(&self, by: By, window: Duration, limit: usize) -> TopList {
        let stretches = window
            .as_millis()
            .div_ceil(STRETCH_MS.unsigned_abs().into())
            .max(1);
        let stretches = usize::try_from(stretches).unwrap_or(usize::MAX);
        let mut sums: HashMap<&Name, u64> = HashMap::new();
        let mut missed_max = 0;
        for stretch in self.stretches.iter().rev().take(stretches) {
            let frequent = &stretch.0[by as usize];
            missed_max += frequent.missed_max;
            for (name, count) in &frequent.counts {
                *sums.entry(name).or_default() += count;
            }
        }
        let mut ranked: Vec<Ranked> = sums
            .into_iter()
            .map(|(name, refreshes)| Ranked {
                name: name.to_text(),
                refreshes,
            })
            .collect();
        ranked.sort_by(|a, b| {
            b.refreshes
                .cmp(&a.refreshes)
                .then_with(|| a.name.cmp(&b.name))
        });
        ranked.truncate(limit);
        TopList { ranked, missed_max }
    }
}

/// Kept as it comes: to write every address out would cost more than to count it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    Text(Text),
    Address(IpAddr),
}

impl Name {
    fn to_text(&self) -> Text {
        match self {
            Self::Text(text) => text.clone(),
            Self::Address(address) => address.to_string().into(),
        }
    }
}

/// Misra and Gries: when there are twice too many names, all counts are lowered by that of the first one too many.
#[derive(Debug, Clone, Default)]
struct Frequent {
    counts: HashMap<Name, u64>,
    missed_max: u64,
}

impl Frequent {
    fn add(&mut self, name: Name) {
        *self.counts.entry(name).or_default() += 1;
        if self.counts.len() > 2 * TOP_NAMES_MAX {
            self.forget_the_rare();
        }
    }

    fn forget_the_rare(&mut self) {
        let mut counts: Vec<u64> = self.counts.values().copied().collect();
        let (_, first_too_many, _) = counts.select_nth_unstable_by(TOP_NAMES_MAX, |a, b| b.cmp(a));
        let lowered = *first_too_many;
        self.counts.retain(|_, count| {
            *count = count.saturating_sub(lowered);
            *count > 0
        });
        self.missed_max += lowered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Event, Outcome};

    fn refresh(user: &str, second: i64) -> Enriched {
        let time = Timestamp::from_second(1_795_000_200 + second).unwrap();
        let mut event = Event::new("e", time, EventType::Refresh, Outcome::Success, "idp");
        event.user_id = Some(user.into());
        Enriched {
            event,
            network: None,
            place: None,
            agent: None,
        }
    }

    fn listed(top: &Top, minutes: u64) -> Vec<(String, u64)> {
        let list = top.list(By::User, Duration::from_mins(minutes), 3);
        list.ranked
            .iter()
            .map(|ranked| (ranked.name.to_string(), ranked.refreshes))
            .collect()
    }

    #[test]
    fn ranks_within_the_window_of_event_time() {
        let mut top = Top::default();
        for (user, second) in [
            ("a", 0),
            ("a", 1),
            ("a", 2),
            ("b", 1500),
            ("b", 1501),
            ("c", 3000),
            ("b", 1502),
            ("b", 1503),
        ] {
            top.observe(&refresh(user, second));
        }
        assert_eq!(
            listed(&top, 60),
            [("b".into(), 4), ("a".into(), 3), ("c".into(), 1)]
        );
        assert_eq!(listed(&top, 5), [("c".into(), 1)]);
        top.observe(&refresh("d", 3 * 3600));
        assert_eq!(listed(&top, 60), [("d".into(), 1)]);
        top.observe(&refresh("a", 0));
        assert_eq!(
            listed(&top, 60),
            [("d".into(), 1)],
            "what is too old has no place"
        );
    }

    #[test]
    fn finds_the_frequent_among_any_number_of_rare_names() {
        let mut top = Top::default();
        for turn in 0..20_000 {
            top.observe(&refresh(&format!("rare-{turn}"), 10));
            if turn % 100 == 0 {
                top.observe(&refresh("busy", 10));
            }
        }
        let list = top.list(By::User, WINDOW_MAX, 1);
        assert_eq!(&*list.ranked[0].name, "busy");
        assert!(
            list.ranked[0].refreshes <= 200 && list.ranked[0].refreshes + list.missed_max >= 200,
            "{list:?}"
        );
        assert!(
            top.stretches
                .iter()
                .all(|stretch| stretch.0[0].counts.len() <= 2 * TOP_NAMES_MAX)
        );
    }
}
