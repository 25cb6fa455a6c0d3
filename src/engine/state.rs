//! Everything the engine remembers, so that one snapshot takes it all.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Held;
use super::account::User;
use super::active::Active;
use super::digest;
use super::family::Family;
use super::keyed::{Aside, Keyed, Thefts};
use super::rate::Rate;
use super::rename::Renamed;
use super::repeats::Repeats;
use super::resolve::Resolve;
use super::risk::{ClientReuses, Risk};
use super::table::{Aged, Table};
use super::time::EngineTime;
use crate::config::StateLimits;
use crate::model::limits;
use crate::rules::case::Measure;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) time: EngineTime,
    pub(super) repeats: Repeats,
    pub(super) renamed: Renamed,
    pub(super) resolve: Resolve,
    pub(super) families: Table<Box<Family>>,
    pub(super) users: Table<Box<User>>,
    pub(super) networks: Table<Rate>,
    pub(super) clients: Table<Rate>,
    /// Families in use, by client.
    pub(super) active: Table<Active>,
    /// Families, sessions and users that a person or this daemon ended.
    pub(super) ended: Table<Ended>,
    pub(super) reuses: Table<ClientReuses>,
    pub(super) risks: Table<Box<Risk>>,
    /// Of the generic rules.
    pub(super) keyed: Table<Box<Keyed>>,
    pub(super) aside: Aside,
    pub(super) thefts: Table<Thefts>,
    /// Users and sessions, with the families that belong to them.
    pub(super) members: Table<Members>,
    pub(super) questions: Questions,
    /// Event time at which old state was last swept out.
    pub(super) swept_at: i64,
    /// What is decided counts as done, because nobody performs it.
    pub(super) nothing_performed: bool,
}

/// Questions that wait, in order of the event time at which they are asked again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Questions {
    waiting: BTreeSet<(i64, Waiting)>,
    /// Answered before their time, for want of room.
    hurried: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Waiting {
    Family(u64),
    User(u64),
}

/// When something was ended, in milliseconds since 1970.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Ended {
    /// By people, oldest first; bounded. A user who is enabled again can be disabled again.
    pub(super) by_people: Vec<i64>,
    /// By this daemon, oldest first; bounded.
    pub(super) by_us: Vec<i64>,
    /// What was done, oldest first; bounded. Narrower than the ends above: these accuse, those excuse.
    pub(super) measures: Vec<Measure>,
    pub(super) last_seen: i64,
}

/// Families of one user or session.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Members {
    /// Keys, in order of arrival; bounded, the newest stay.
    pub(super) families: Vec<u64>,
    pub(super) last_seen: i64,
}

/// Families of one user or session that are asked again about what was done to them: kiosks and test users have more.
const MEMBER_FAMILIES_MAX: usize = 64;

/// Ends remembered of one family, session or user, of each kind; the newest stay.
const ENDS_MAX: usize = 8;

impl Ended {
    pub(super) fn add(&mut self, time: i64, ours: bool) {
        let times = if ours {
            &mut self.by_us
        } else {
            &mut self.by_people
        };
        if let Err(at) = times.binary_search(&time) {
            times.insert(at, time);
        }
        if times.len() > ENDS_MAX {
            times.remove(0);
        }
        self.last_seen = self.last_seen.max(time);
    }

    /// Files a measure, among those of its kind; `false` when it was known.
    pub(super) fn take(&mut self, measure: Measure) -> bool {
        if self.measures.contains(&measure) {
            return false;
        }
        let order = |m: &Measure| (m.time, m.taken, m.reach, m.session);
        let (time, taken) = (measure.time, measure.taken);
        let at = self
            .measures
            .partition_point(|m| order(m) <= order(&measure));
        self.measures.insert(at, measure);
        let alike = |m: &&Measure| m.taken == taken;
        if self.measures.iter().filter(alike).count() > ENDS_MAX
            && let Some(oldest) = self.measures.iter().position(|m| m.taken == taken)
        {
            self.measures.remove(oldest);
        }
        self.last_seen = self.last_seen.max(time);
        true
    }

    /// Takes over what was filed under another key for the same family.
    pub(super) fn absorb(&mut self, other: Self) {
        for (times, ours) in [(other.by_people, false), (other.by_us, true)] {
            for time in times {
                self.add(time, ours);
            }
        }
        for measure in other.measures {
            self.take(measure);
        }
        self.last_seen = self.last_seen.max(other.last_seen);
    }
}

impl Members {
    pub(super) fn add(&mut self, family: u64, time: i64) {
        self.last_seen = self.last_seen.max(time);
        if self.families.contains(&family) {
            return;
        }
        if self.families.len() == MEMBER_FAMILIES_MAX {
            self.families.remove(0);
        }
        self.families.push(family);
    }
}

impl Aged for Members {
    fn last_seen(&self) -> i64 {
        self.last_seen
    }
}

impl Aged for Ended {
    fn last_seen(&self) -> i64 {
        self.last_seen
    }
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            time: EngineTime::default(),
            repeats: Repeats::default(),
            renamed: Renamed::new(),
            resolve: Resolve::new(),
            families: Table::new(limits::FAMILIES_MAX),
            users: Table::new(limits::USERS_MAX),
            networks: Table::new(limits::NETWORKS_MAX),
            clients: Table::new(limits::CLIENTS_MAX),
            active: Table::new(limits::CLIENTS_MAX),
            ended: Table::new(limits::ENDED_MAX),
            reuses: Table::new(limits::CLIENTS_MAX),
            risks: Table::new(limits::RISKS_MAX),
            keyed: Table::new(limits::KEYED_MAX),
            aside: Aside::default(),
            thefts: Table::new(limits::THEFTS_MAX),
            members: Table::new(limits::USERS_MAX * limits::MEMBERS_PER_USER),
            questions: Questions::default(),
            swept_at: 0,
            nothing_performed: false,
        }
    }

    /// Other bounds, for what is to come.
    pub(super) fn cap(&mut self, limits: &StateLimits) {
        self.families.cap(limits.families_max);
        self.resolve.cap(limits.families_max);
        self.renamed.cap(limits.families_max);
        self.users.cap(limits.users_max);
        self.members
            .cap(limits.users_max * limits::MEMBERS_PER_USER);
        self.networks.cap(limits.networks_max);
    }

    /// Whether no table may grow.
    pub(super) fn hold(&mut self, held: bool) {
        self.renamed.hold(held);
        self.resolve.hold(held);
        self.families.hold(held);
        self.users.hold(held);
        self.networks.hold(held);
        self.clients.hold(held);
        self.active.hold(held);
        self.ended.hold(held);
        self.reuses.hold(held);
        self.risks.hold(held);
        self.keyed.hold(held);
        self.thefts.hold(held);
        self.members.hold(held);
    }

    /// Engine time in milliseconds; the beginning of time before anything was seen.
    pub(super) fn now(&self) -> i64 {
        self.time.now().unwrap_or(i64::MIN)
    }

    /// Each part with its entries, the bytes of its saved form and its digest.
    pub(super) fn held(&self) -> Vec<Held> {
        fn held<T: Serialize>(what: &'static str, entries: usize, part: &T, digest: u128) -> Held {
            // Plain data: there is nothing in it whose size could not be told.
            let bytes = postcard::experimental::serialized_size(part).unwrap_or_default();
            Held {
                what,
                entries,
                bytes,
                digest,
            }
        }
        fn table<V>(what: &'static str, table: &Table<V>) -> Held
        where
            V: Aged + Serialize + DeserializeOwned,
        {
            held(what, table.len(), table, digest::of_table(table))
        }
        let (resolve, renamed, repeats) = (&self.resolve, &self.renamed, &self.repeats);
        let (aside, questions) = (&self.aside, &self.questions);
        vec![
            table("families", &self.families),
            held("tokens", resolve.tokens(), resolve, resolve.digest()),
            table("users", &self.users),
            table("networks", &self.networks),
            table("clients", &self.clients),
            table("clients in use", &self.active),
            table("ended", &self.ended),
            table("families of users and sessions", &self.members),
            table("keys of generic rules", &self.keyed),
            table("risks", &self.risks),
            table("reuses by client", &self.reuses),
            table("thefts by user", &self.thefts),
            held("events put aside", aside.len(), aside, aside.digest()),
            held(
                "questions that wait",
                questions.len(),
                questions,
                digest::of(&questions.waiting),
            ),
            held("event ids", repeats.len(), repeats, repeats.digest()),
            held(
                "tokens under an older key",
                renamed.len(),
                renamed,
                renamed.digest(),
            ),
        ]
    }

    pub(super) fn wait(&mut self, until: i64, waiting: Waiting) {
        self.questions.waiting.insert((until, waiting));
    }

    /// Takes the next question whose time has come.
    pub(super) fn due(&mut self) -> Option<(i64, Waiting)> {
        let now = self.now();
        self.questions.take(now, limits::QUESTIONS_MAX)
    }
}

impl Questions {
    /// The first one whose time has come. Of too many the oldest is answered from what is known so far: an answer that a
    /// late fact might have changed is better than none.
    fn take(&mut self, now: i64, questions_max: usize) -> Option<(i64, Waiting)> {
        let first = *self.waiting.first()?;
        let is_hurried = first.0 > now && self.waiting.len() > questions_max;
        self.hurried += u64::from(is_hurried);
        (first.0 <= now || is_hurried).then(|| {
            self.waiting.remove(&first);
            first
        })
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn hurried(&self) -> u64 {
        self.hurried
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_questions_the_oldest_is_answered_early_and_counted() {
        let mut questions = Questions::default();
        for n in [5, 3, 4] {
            questions.waiting.insert((n, Waiting::User(0)));
        }
        assert_eq!(questions.take(0, 3), None);
        assert_eq!(questions.take(0, 2), Some((3, Waiting::User(0))));
        assert_eq!((questions.take(0, 2), questions.hurried()), (None, 1));
        assert_eq!(questions.take(4, 2), Some((4, Waiting::User(0))));
        assert_eq!((questions.len(), questions.hurried()), (1, 1));
    }
}
