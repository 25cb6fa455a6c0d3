//! A day in half a minute: who lives in it, what goes wrong, and afterwards what really happened.
//!
//! Time is counted in beats (a second in the demo, less in tests), so that the same day can be played at any speed.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::app::Internet;
use super::attackers::{Attack, Planted, rob};
use super::authorization_server::AuthorizationServer;
use super::cast::Cast;
use super::people::{Habit, HonestFamily, live};
use super::truth::{TruthLog, is_of};
use crate::model::{Initiator, Timestamp};

/// What to play.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub seed: u64,
    /// A second in the demo.
    pub beat: Duration,
    /// The day, in beats. The last theft can be proved after some 20.
    pub beats: u32,
    /// How many beats longer thieves go on who have not been cut off by then: a busy machine is no slow daemon.
    pub overtime: u32,
    /// People to whom nothing odd happens.
    pub ordinary_people: u32,
    /// Each habit is somebody's this often.
    pub of_each_habit: u32,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 1,
            beat: Duration::from_secs(1),
            beats: 25,
            overtime: 120,
            ordinary_people: 20,
            of_each_habit: 2,
        }
    }
}

/// What is worth telling while it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Story {
    Oddity {
        user_id: String,
        habit: Habit,
    },
    Stolen {
        attack: Attack,
        user_id: String,
    },
    ThiefPresented {
        attack: Attack,
        user_id: String,
        accepted: bool,
    },
    OwnerRefused {
        attack: Attack,
        user_id: String,
    },
    /// A thief who held a live token has just been refused for the first time.
    ThiefCutOff {
        attack: Attack,
        user_id: String,
    },
}

/// What really happened.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub planted: Vec<Planted>,
    pub honest: Vec<HonestFamily>,
}

/// What became of one planted attack, from the server's own log.
#[derive(Debug, Clone, PartialEq)]
pub struct Fate {
    pub family_id: String,
    /// When the daemon ended the family.
    pub revoked_at: Option<Timestamp>,
    /// The thief's first refusal after that.
    pub refused_at: Option<Timestamp>,
    /// Tokens that the thief was still given after that: none, or the server is broken.
    pub accepted_after: usize,
}

impl Scenario {
    /// Plays the day against the server and gives the truth. Dropping the future ends everybody's day.
    pub async fn run(
        &self,
        server: &AuthorizationServer,
        story: mpsc::Sender<Story>,
    ) -> Result<Report> {
        let cast = Cast {
            internet: Internet::new(&server.base_url())?,
            seed: self.seed,
        };
        let pace = Pace::start(self, story);
        let truth = server.truth();
        let mut thefts = JoinSet::new();
        let mut lives = JoinSet::new();
        let mut number = 0;
        for attack in Attack::ALL {
            let (victim, thief) = (cast.victim(number, *attack), cast.thief(number, *attack));
            // One after the other, so that a reader can follow.
            let start = 60 + number * 14;
            thefts.spawn(rob(
                *attack,
                victim,
                thief,
                start,
                pace.clone(),
                truth.clone(),
            ));
            number += 1;
        }
        let odd = Habit::ODD
            .iter()
            .cycle()
            .take(Habit::ODD.len() * self.of_each_habit as usize);
        let ordinary = std::iter::repeat_n(&Habit::Ordinary, self.ordinary_people as usize);
        for habit in odd.chain(ordinary) {
            lives.spawn(live(cast.person(number, *habit), *habit, pace.clone()));
            number += 1;
        }
        let mut report = Report::default();
        while let Some(theft) = thefts.join_next().await {
            report.planted.push(theft??);
        }
        while let Some(life) = lives.join_next().await {
            report.honest.extend(life??);
        }
        report.sort();
        Ok(report)
    }
}

impl Report {
    /// Independent of who happened to be ready first.
    fn sort(&mut self) {
        let order = |attack: Attack| Attack::ALL.iter().position(|other| *other == attack);
        self.planted.sort_by_key(|planted| order(planted.attack));
        let later = self
            .planted
            .iter()
            .flat_map(|planted| planted.later_families.clone());
        self.honest.extend(later);
        self.honest
            .sort_by(|one, other| one.user_id.cmp(&other.user_id));
    }

    /// What became of one attack.
    pub fn fate(planted: &Planted, truth: &TruthLog) -> Fate {
        let family_id = truth.family_of(&planted.token_id).unwrap_or_default();
        let end = truth.end_of(&family_id);
        let revoked_at = end.and_then(|(time, by)| (by == Initiator::Tokenwarden).then_some(time));
        let by_thief_after = |accepted: bool| {
            let (thief, family_id) = (planted.thief.clone(), family_id.clone());
            move |entry: &super::Entry| {
                entry.actor.as_deref() == Some(thief.as_str())
                    && is_of(entry, &family_id)
                    && entry.accepted == accepted
                    && revoked_at.is_some_and(|revoked_at| entry.time >= revoked_at)
            }
        };
        Fate {
            refused_at: truth.first(by_thief_after(false)).map(|entry| entry.time),
            accepted_after: truth.count(by_thief_after(true)),
            revoked_at,
            family_id,
        }
    }

    /// Honest families that the daemon ended: there should be none.
    pub fn honest_revoked(&self, truth: &TruthLog) -> Vec<HonestFamily> {
        let ended: BTreeSet<String> = truth.ended_by(Initiator::Tokenwarden).into_iter().collect();
        let was_ended = |honest: &&HonestFamily| {
            truth
                .family_of(&honest.token_id)
                .is_some_and(|family_id| ended.contains(&family_id))
        };
        self.honest.iter().filter(was_ended).cloned().collect()
    }
}

/// The clock of the simulated day, and where its story is told.
#[derive(Clone)]
pub struct Pace {
    beat: Duration,
    start: Instant,
    end: Instant,
    last_end: Instant,
    story: mpsc::Sender<Story>,
}

impl Pace {
    fn start(scenario: &Scenario, story: mpsc::Sender<Story>) -> Self {
        let start = Instant::now();
        let end = start + scenario.beat * scenario.beats;
        Self {
            beat: scenario.beat,
            start,
            end,
            last_end: end + scenario.beat * scenario.overtime,
            story,
        }
    }

    /// Waits that many tenths of a beat.
    pub async fn wait(&self, tenths: u32) {
        sleep(self.beat * tenths / 10).await;
    }

    /// Waits until that many tenths of a beat after the start of the day.
    pub async fn wait_until(&self, tenths: u32) {
        sleep_until(self.start + self.beat * tenths / 10).await;
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Whether not even those who have not been stopped go on.
    pub fn is_over_for_all(&self) -> bool {
        Instant::now() >= self.last_end
    }

    /// Nobody has to listen.
    pub async fn tell(&self, story: Story) {
        drop(self.story.send(story).await);
    }
}
