//! A population: thousands of users, the clients they use, the servers' ways, and thieves among them, over weeks.
//!
//! Beside the demo's world, which lives in real time over real HTTP, this one is a pure function of its settings: an
//! iterator of canonical events in order of event time, each with the truth beside it. Memory grows with the users and
//! not with the events: each user is a small state machine, and only the events of the next few minutes exist at a time. A single queue of all users would do the same, but visit users in an order that no cache likes.
//!
//! ```text
//! settings --> plan (who is robbed, what is odd, when) --> residents, prowlers --> stage (five minutes) --> moments
//! ```
//!
//! Nothing here knows the rules. What an observer could prove is defined in `proof`, by events and contexts alone.

mod accounts;
mod agents;
mod changes;
mod context;
mod files;
mod habits;
mod kinds;
mod life;
mod map;
mod person;
mod plan;
mod proof;
mod prowler;
mod resident;
mod retries;
mod server;
mod settings;
mod stage;
mod thieves;
mod truth;
mod whereabouts;

pub use files::{Folder, WORLD_CONFIG, Written};
pub use kinds::{Attack, Oddity};
pub use map::localities;
pub use proof::{Proof, Unproved};
pub use settings::{Settings, Source};
pub use truth::{Cause, FamilyKey, FamilyTruth, Moment, Presented, Raid, Sender, Truth};

use std::fmt::Write as _;

use prowler::Prowler;
use resident::Resident;
use server::{DAY, MINUTE};
use stage::{Names, Stage};

/// Lived at a time: long enough to visit a user rarely, short enough for the events to fit into a cache.
const WINDOW: i64 = 5 * MINUTE;

/// The events of a population, in order of time.
pub struct Population {
    settings: Settings,
    names: Names,
    residents: Vec<Resident>,
    /// Of each resident, beside each other: most have nothing to do in most windows.
    due: Vec<i64>,
    prowlers: Vec<Prowler>,
    truth: Truth,
    clock: i64,
    end: i64,
    /// Of this window, in the order of telling; taken out in the order of time.
    told: Vec<Option<Moment>>,
    /// What is still to be given out: times and places in `told`, the first one last.
    order: Vec<(i64, usize)>,
    event_id: String,
}

impl Population {
    /// # Panics
    ///
    /// If the settings have a [fault](Settings::fault).
    pub fn new(settings: Settings) -> Self {
        assert_eq!(settings.fault(), None, "settings that can be simulated");
        let start = settings.start.as_millisecond();
        let end = start + i64::from(settings.days) * DAY;
        let names = Names::new(plan::restarts(&settings, (start, end)));
        let mut residents: Vec<Resident> = (0..settings.users)
            .map(|index| {
                let mut resident = Resident::new(settings.seed, index);
                resident.move_in(start);
                resident
            })
            .collect();
        let prowlers = plan::plant(&settings, (start, end), &mut residents);
        Self {
            due: residents.iter().map(Resident::due).collect(),
            settings,
            names,
            residents,
            prowlers,
            truth: Truth::default(),
            clock: start,
            end,
            told: Vec::new(),
            order: Vec::new(),
            event_id: String::new(),
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How much of the time has been lived, from 0 to 1.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a year in milliseconds is far below 2^52"
    )]
    pub fn progress(&self) -> f64 {
        let start = self.settings.start.as_millisecond();
        (self.clock - start) as f64 / (self.end - start) as f64
    }

    /// What is known by now; complete when the iterator has ended.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// The truth, once the iterator has ended.
    pub fn into_truth(self) -> Truth {
        self.truth
    }

    fn live_window(&mut self) {
        let until = self.clock + WINDOW;
        self.keep_ahead();
        let mut stage = Stage {
            settings: &self.settings,
            names: &self.names,
            from: self.clock,
            end: self.end,
            told: &mut self.told,
            truth: &mut self.truth,
        };
        for (resident, due) in self.residents.iter_mut().zip(&mut self.due) {
            if *due < until {
                resident.live(until, &mut stage);
                *due = resident.due();
            }
        }
        for prowler in self
            .prowlers
            .iter_mut()
            .filter(|prowler| prowler.due < until)
        {
            prowler.live(until, &mut stage);
        }
        self.clock = until;
        self.sort(until);
        if self.clock >= self.end {
            self.truth.close();
        }
    }

    /// What was told in the last window of a later one.
    fn keep_ahead(&mut self) {
        self.told.retain(Option::is_some);
    }

    /// Moments are large: their places are sorted, and each is moved once.
    fn sort(&mut self, until: i64) {
        self.order.clear();
        for (place, moment) in self.told.iter().enumerate() {
            let at = moment
                .as_ref()
                .map_or(i64::MAX, |moment| moment.event.time.as_millisecond());
            if at < until {
                self.order.push((at, place));
            }
        }
        self.order.sort_unstable_by(|one, other| other.cmp(one));
    }

    fn numbered(&mut self, mut moment: Moment) -> Moment {
        self.truth.events += 1;
        self.event_id.clear();
        // Writing into a string cannot fail.
        let _written = write!(self.event_id, "e-{}", self.truth.events);
        moment.event.event_id = self.event_id.as_str().into();
        moment
    }
}

impl Iterator for Population {
    type Item = Moment;

    fn next(&mut self) -> Option<Moment> {
        loop {
            if let Some((_, place)) = self.order.pop() {
                let moment = self.told.get_mut(place)?.take()?;
                return Some(self.numbered(moment));
            }
            if self.clock >= self.end {
                return None;
            }
            self.live_window();
        }
    }
}
