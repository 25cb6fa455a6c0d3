//! Everything the engine remembers, so that one snapshot takes it all.

use serde::{Deserialize, Serialize};

use super::account::User;
use super::active::Active;
use super::family::Family;
use super::keyed::{Aside, Keyed, Thefts};
use super::parts::Round;
use super::queue::Queue;
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

#[derive(Debug, Clone)]
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
    /// The newest slot of time in which old state was swept out.
    pub(super) swept: i64,
    /// What is decided counts as done, because nobody performs it.
    pub(super) nothing_performed: bool,
    /// The round of saving that is under way.
    pub(super) round: Option<Round>,
}

/// Questions, by the event time at which they are asked again.
type Questions = Queue<(i64, Waiting), ()>;

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
            swept: 0,
            nothing_performed: false,
            round: None,
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

    /// Engine time in milliseconds; the beginning of time before anything was seen.
    pub(super) fn now(&self) -> i64 {
        self.time.now().unwrap_or(i64::MIN)
    }

    pub(super) fn wait(&mut self, until: i64, waiting: Waiting) {
        self.questions.insert((until, waiting), ());
    }

    /// Takes the next question whose time has come.
    pub(super) fn due(&mut self) -> Option<(i64, Waiting)> {
        let now = self.now();
        let due = |(until, _): &(i64, Waiting)| *until;
        let asked = self.questions.take(now, limits::QUESTIONS_MAX, due);
        asked.map(|(question, ())| question)
    }
}
