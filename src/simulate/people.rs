//! Honest people, and the odd things that their apps do: every habit looks like one of the attacks to a careless rule.
//!
//! Each person has a random generator of their own, so that a seed gives the same lives however the requests interleave.

use std::net::IpAddr;

use anyhow::Result;

use super::app::{Answer, App};
use super::grants::token_id;
use super::random::Random;
use super::scenario::{Pace, Story};

/// What an honest person's app does beside refreshing now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    Ordinary,
    /// Two tabs refresh with the same token at the same moment; one of them is refused.
    TwoTabs,
    /// The answer with the new token is lost; the app tries again with the old one, is refused, and the user logs in again.
    LostAnswer,
    /// A laptop wakes up and presents a token that was replaced long ago by another tab.
    SleepingLaptop,
    /// An app is updated, restores an old token from its backup, and is refused.
    AppUpdate,
    /// A phone wanders between the wireless network at home and the carrier, and loses an answer on the way.
    HandOver,
    /// A laptop joins the company's VPN, which leaves for the Internet in another city.
    OfficeVpn,
    /// A retry that a buggy server honours.
    LenientRetry,
    /// An app with a bug refreshes two dozen times in a row.
    RefreshLoop,
    /// A forgotten tab goes on after the user has logged out.
    LoggedOut,
}

impl Habit {
    pub const ODD: &'static [Self] = &[
        Self::TwoTabs,
        Self::LostAnswer,
        Self::SleepingLaptop,
        Self::AppUpdate,
        Self::HandOver,
        Self::OfficeVpn,
        Self::LenientRetry,
        Self::RefreshLoop,
        Self::LoggedOut,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary refreshing",
            Self::TwoTabs => "two tabs race on one token",
            Self::LostAnswer => "lost answer, retried",
            Self::SleepingLaptop => "laptop wakes with an old token",
            Self::AppUpdate => "app update restores an old token",
            Self::HandOver => "phone between two networks",
            Self::OfficeVpn => "company VPN in another city",
            Self::LenientRetry => "retry that the server honours",
            Self::RefreshLoop => "app refreshes in a loop",
            Self::LoggedOut => "forgotten tab after logout",
        }
    }
}

/// A family that belongs to its owner alone: ending it would be a false alarm.
#[derive(Debug, Clone)]
pub struct HonestFamily {
    pub user_id: String,
    pub habit: Habit,
    /// Of the family's first token.
    pub token_id: String,
}

/// Somebody with an app.
pub(super) struct Person {
    pub user_id: String,
    pub app: App,
    /// Where the app is, in turn: one place for most.
    pub places: Vec<IpAddr>,
    pub random: Random,
    /// First tokens of the families so far.
    pub families: Vec<String>,
    requests: usize,
}

impl Person {
    pub(super) fn new(user_id: String, app: App, places: Vec<IpAddr>, random: Random) -> Self {
        Self {
            user_id,
            app,
            places,
            random,
            families: Vec::new(),
            requests: 0,
        }
    }

    /// Where this request comes from.
    fn next_place(&mut self) -> IpAddr {
        let place = self.places[self.requests % self.places.len()];
        self.requests += 1;
        place
    }

    pub(super) async fn log_in(&mut self) -> Result<String> {
        let place = self.next_place();
        let token = self.app.log_in(&self.user_id, place).await?;
        self.families.push(token_id(&token));
        Ok(token)
    }

    pub(super) async fn refresh(&mut self, token: &str) -> Result<Answer> {
        let place = self.next_place();
        self.app.refresh(token, place).await
    }

    /// Refreshes, and logs in again a little later if that was refused.
    pub(super) async fn refresh_or_log_in(&mut self, token: &str, pace: &Pace) -> Result<String> {
        match self.refresh(token).await? {
            Answer::Rotated(next) => Ok(next),
            Answer::Refused => {
                pace.wait(25).await;
                self.log_in().await
            }
        }
    }

    /// Refreshes `times` times at the pace of an app that somebody uses.
    pub(super) async fn use_app(
        &mut self,
        mut token: String,
        times: u32,
        pace: &Pace,
    ) -> Result<String> {
        for _ in 0..times {
            pace.wait(15 + self.random.below(10)).await;
            token = self.refresh_or_log_in(&token, pace).await?;
        }
        Ok(token)
    }

    /// Refreshes until the day is over.
    pub(super) async fn carry_on(&mut self, mut token: String, pace: &Pace) -> Result<()> {
        while !pace.is_over() {
            token = self.use_app(token, 1, pace).await?;
        }
        Ok(())
    }
}

/// Lives one day of an honest person.
pub(super) async fn live(
    mut person: Person,
    habit: Habit,
    pace: Pace,
) -> Result<Vec<HonestFamily>> {
    pace.wait(person.random.below(30)).await;
    let token = person.log_in().await?;
    let token = person.use_app(token, 2, &pace).await?;
    let moment = 10 + person.random.below(60);
    pace.wait(moment).await;
    if habit != Habit::Ordinary {
        pace.tell(Story::Oddity {
            user_id: person.user_id.clone(),
            habit,
        })
        .await;
    }
    let token = act_oddly(&mut person, habit, token, &pace).await?;
    person.carry_on(token, &pace).await?;
    let family = |token_id| HonestFamily {
        user_id: person.user_id.clone(),
        habit,
        token_id,
    };
    Ok(person.families.iter().cloned().map(family).collect())
}

async fn act_oddly(
    person: &mut Person,
    habit: Habit,
    token: String,
    pace: &Pace,
) -> Result<String> {
    match habit {
        Habit::Ordinary => Ok(token),
        Habit::TwoTabs => race(person, token, pace).await,
        Habit::LostAnswer | Habit::HandOver => lose_answer(person, token, pace).await,
        Habit::SleepingLaptop => wake_up(person, token, pace).await,
        Habit::AppUpdate => update(person, token, pace).await,
        Habit::OfficeVpn => join_vpn(person, token, pace).await,
        Habit::LenientRetry => retry_leniently(person, token, pace).await,
        Habit::RefreshLoop => loop_around(person, token, pace).await,
        Habit::LoggedOut => log_out(person, token, pace).await,
    }
}

async fn race(person: &mut Person, mut token: String, pace: &Pace) -> Result<String> {
    for _ in 0..2 {
        let place = person.next_place();
        let other_tab = person.app.clone();
        let (first, second) = tokio::join!(
            person.app.refresh(&token, place),
            other_tab.refresh(&token, place)
        );
        // Tabs share their storage: the loser takes over what the winner was given.
        token = match (first?, second?) {
            (Answer::Rotated(next), _) | (_, Answer::Rotated(next)) => next,
            (Answer::Refused, Answer::Refused) => person.log_in().await?,
        };
        token = person.use_app(token, 1, pace).await?;
    }
    Ok(token)
}

async fn lose_answer(person: &mut Person, token: String, pace: &Pace) -> Result<String> {
    person.refresh(&token).await?;
    pace.wait(5).await;
    person.refresh_or_log_in(&token, pace).await
}

async fn wake_up(person: &mut Person, token: String, pace: &Pace) -> Result<String> {
    let newest = person.use_app(token.clone(), 2, pace).await?;
    person.refresh(&token).await?;
    pace.wait(3).await;
    Ok(newest)
}

async fn update(person: &mut Person, token: String, pace: &Pace) -> Result<String> {
    person.use_app(token.clone(), 1, pace).await?;
    person.app.user_agent = updated(&person.app.user_agent);
    person.refresh_or_log_in(&token, pace).await
}

/// The next version of the same app, on the next version of its system.
fn updated(user_agent: &str) -> String {
    user_agent
        .replace("3.2", "3.3")
        .replace("17.4", "17.5")
        .replace("120.0", "121.0")
}

async fn join_vpn(person: &mut Person, token: String, pace: &Pace) -> Result<String> {
    let home = person.places.clone();
    person.places = vec![super::places::OFFICE_EGRESS.address(person.random.below(60))];
    let token = person.use_app(token, 2, pace).await?;
    person.places = home;
    Ok(token)
}

async fn retry_leniently(person: &mut Person, token: String, pace: &Pace) -> Result<String> {
    person.refresh(&token).await?;
    pace.wait(5).await;
    person.refresh_or_log_in(&token, pace).await
}

async fn loop_around(person: &mut Person, mut token: String, pace: &Pace) -> Result<String> {
    for _ in 0..24 {
        token = person.refresh_or_log_in(&token, pace).await?;
        pace.wait(1).await;
    }
    Ok(token)
}

async fn log_out(person: &mut Person, token: String, pace: &Pace) -> Result<String> {
    let place = person.next_place();
    person.app.revoke(&token, place).await?;
    pace.wait(5).await;
    person.refresh_or_log_in(&token, pace).await
}
