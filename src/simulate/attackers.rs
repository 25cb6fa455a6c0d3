//! Thieves. Each attack has an honest twin among the habits of `people` that looks much like it.
//!
//! A thief copies a refresh token out of the victim's app and uses it from elsewhere. The server alone never ends the
//! thief's branch: whoever holds the newest token lives on until somebody who compares both holders ends the family.

use std::net::IpAddr;

use anyhow::Result;

use super::app::{Answer, App};
use super::people::{Habit, HonestFamily, Person};
use super::scenario::{Pace, Story};
use super::truth::TruthLog;
use crate::model::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attack {
    /// The owner was faster: the stolen token is refused, from another country and another program.
    LateReplay,
    /// The thief was faster and holds the newest token; the owner is the one who is refused.
    ThiefFirst,
    /// The same, from the victim's own city, by a script.
    LocalScript,
    /// The server has a bug and honours a token that was replaced twice.
    HonouredTwice,
    /// The thief copies the user agent too; only the distance tells the two apart.
    FarAway,
    /// The thief refreshes as fast as the server answers.
    Burst,
}

impl Attack {
    pub const ALL: &'static [Self] = &[
        Self::LateReplay,
        Self::ThiefFirst,
        Self::LocalScript,
        Self::HonouredTwice,
        Self::FarAway,
        Self::Burst,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LateReplay => "stolen token replayed after its owner",
            Self::ThiefFirst => "thief first, owner refused",
            Self::LocalScript => "script in the same city",
            Self::HonouredTwice => "server honours a consumed token",
            Self::FarAway => "same browser, impossible distance",
            Self::Burst => "thief refreshes in a burst",
        }
    }

    /// The honest habit that looks like it.
    pub const fn twin(self) -> Habit {
        match self {
            Self::LateReplay => Habit::TwoTabs,
            Self::ThiefFirst => Habit::LostAnswer,
            Self::LocalScript => Habit::AppUpdate,
            Self::HonouredTwice => Habit::LenientRetry,
            Self::FarAway => Habit::OfficeVpn,
            Self::Burst => Habit::RefreshLoop,
        }
    }

    /// Refreshes that the thief makes at once after the first one.
    const fn burst(self) -> u32 {
        match self {
            Self::Burst => 70,
            _ => 0,
        }
    }
}

/// A theft as it really happened.
#[derive(Debug, Clone)]
pub struct Planted {
    pub attack: Attack,
    pub user_id: String,
    pub client_id: &'static str,
    /// Of the stolen family's first token.
    pub token_id: String,
    /// As the thief is called in the truth log.
    pub thief: String,
    pub stolen_at: Timestamp,
    /// When the request was answered from which on the two holders can be told apart.
    pub provable_at: Timestamp,
    /// What the victim did afterwards, in families of their own.
    pub later_families: Vec<HonestFamily>,
}

/// Where and with what the thief works.
pub(super) struct Thief {
    pub app: App,
    pub place: IpAddr,
}

struct Theft {
    attack: Attack,
    victim: Person,
    thief: Thief,
    pace: Pace,
    truth: TruthLog,
    stolen_at: Timestamp,
}

/// Plays a day with a theft after `start` tenths of a beat.
pub(super) async fn rob(
    attack: Attack,
    mut victim: Person,
    thief: Thief,
    start: u32,
    pace: Pace,
    truth: TruthLog,
) -> Result<Planted> {
    pace.wait(victim.random.below(10)).await;
    let token = victim.log_in().await?;
    // The owner's ways must be known before somebody else's can be strange.
    let token = victim.use_app(token, 2, &pace).await?;
    pace.wait_until(start).await;
    let token = victim.refresh_or_log_in(&token, &pace).await?;
    let theft = Theft {
        attack,
        victim,
        thief,
        pace,
        truth,
        stolen_at: crate::clock::now(),
    };
    theft
        .tell(|attack, user_id| Story::Stolen { attack, user_id })
        .await;
    match attack {
        Attack::LateReplay => theft.owner_first(token).await,
        Attack::HonouredTwice => theft.honoured_twice(token).await,
        Attack::ThiefFirst | Attack::LocalScript | Attack::FarAway | Attack::Burst => {
            theft.thief_first(token).await
        }
    }
}

impl Theft {
    async fn owner_first(mut self, stolen: String) -> Result<Planted> {
        let newest = self.victim.use_app(stolen.clone(), 1, &self.pace).await?;
        self.pace.wait(12).await;
        self.thief_presents(&stolen).await?;
        let provable_at = crate::clock::now();
        let branch = Branch::dead(stolen);
        self.finish(branch, Some(newest), provable_at).await
    }

    async fn honoured_twice(mut self, stolen: String) -> Result<Planted> {
        let newest = self.victim.use_app(stolen.clone(), 2, &self.pace).await?;
        self.pace.wait(12).await;
        let branch = self.thief_presents(&stolen).await?;
        let provable_at = crate::clock::now();
        let branch = branch.map_or_else(|| Branch::dead(stolen), Branch::alive);
        self.finish(branch, Some(newest), provable_at).await
    }

    async fn thief_first(mut self, stolen: String) -> Result<Planted> {
        let presented = self.thief_presents(&stolen).await?;
        let mut branch = presented.map_or_else(|| Branch::dead(stolen.clone()), Branch::alive);
        for _ in 0..self.attack.burst() {
            branch.refresh(&self.thief).await?;
        }
        self.pace.wait(12).await;
        // The owner's app still holds the stolen token.
        let answer = self.victim.refresh(&stolen).await?;
        let provable_at = crate::clock::now();
        if answer == Answer::Refused {
            self.tell(|attack, user_id| Story::OwnerRefused { attack, user_id })
                .await;
        }
        self.finish(branch, None, provable_at).await
    }

    /// The family that was robbed: the newest one the victim has at the time of the theft.
    fn first_family(&self) -> String {
        self.victim.families.last().cloned().unwrap_or_default()
    }

    /// Both go on until the day is over; an owner without a token logs in again after a while.
    async fn finish(
        self,
        branch: Branch,
        own: Option<String>,
        provable_at: Timestamp,
    ) -> Result<Planted> {
        let family = self.first_family();
        let Self {
            attack,
            mut victim,
            thief,
            pace,
            truth,
            stolen_at,
        } = self;
        let is_ended = || {
            let family = truth.family_of(&family);
            family.is_some_and(|family| truth.end_of(&family).is_some())
        };
        let thief_name = thief.app.actor.clone();
        let story = Story::ThiefCutOff {
            attack,
            user_id: victim.user_id.clone(),
        };
        let owner = async {
            let own = if let Some(own) = own {
                own
            } else {
                pace.wait(30).await;
                victim.log_in().await?
            };
            victim.carry_on(own, &pace).await
        };
        let (owner_done, thief_done) = tokio::join!(
            owner,
            carry_on_stealing(&thief, branch, &pace, is_ended, story)
        );
        owner_done.and(thief_done)?;
        let later = victim.families.iter().filter(|id| **id != family).cloned();
        let user_id = victim.user_id.clone();
        let honest = |token_id| HonestFamily {
            user_id: user_id.clone(),
            habit: Habit::Ordinary,
            token_id,
        };
        Ok(Planted {
            attack,
            client_id: victim.app.client_id,
            later_families: later.map(honest).collect(),
            user_id,
            token_id: family,
            thief: thief_name,
            stolen_at,
            provable_at,
        })
    }

    async fn thief_presents(&self, token: &str) -> Result<Option<String>> {
        let answer = self.thief.app.refresh(token, self.thief.place).await?;
        let accepted = answer != Answer::Refused;
        self.tell(|attack, user_id| Story::ThiefPresented {
            attack,
            user_id,
            accepted,
        })
        .await;
        Ok(match answer {
            Answer::Rotated(next) => Some(next),
            Answer::Refused => None,
        })
    }

    async fn tell(&self, story: impl FnOnce(Attack, String) -> Story) {
        self.pace
            .tell(story(self.attack, self.victim.user_id.clone()))
            .await;
    }
}

/// What the thief holds.
struct Branch {
    token: String,
    /// The server has taken a token of it before.
    was_alive: bool,
}

impl Branch {
    const fn dead(token: String) -> Self {
        Self {
            token,
            was_alive: false,
        }
    }

    const fn alive(token: String) -> Self {
        Self {
            token,
            was_alive: true,
        }
    }

    /// Whether the server gave a new token.
    async fn refresh(&mut self, thief: &Thief) -> Result<bool> {
        match thief.app.refresh(&self.token, thief.place).await? {
            Answer::Rotated(next) => {
                *self = Self::alive(next);
                Ok(true)
            }
            Answer::Refused => Ok(false),
        }
    }
}

/// The thief tries again and again, at least once after the end of the family; tells when a branch that was alive is
/// refused.
async fn carry_on_stealing(
    thief: &Thief,
    mut branch: Branch,
    pace: &Pace,
    is_ended: impl Fn() -> bool,
    cut_off: Story,
) -> Result<()> {
    let mut untold = Some(cut_off);
    loop {
        pace.wait(8).await;
        let was_ended = is_ended();
        let is_refused = !branch.refresh(thief).await?;
        if is_refused
            && branch.was_alive
            && let Some(story) = untold.take()
        {
            pace.tell(story).await;
        }
        if pace.is_over() && (was_ended || pace.is_over_for_all()) {
            return Ok(());
        }
    }
}

/// The name of a thief in the truth log.
pub(super) fn thief_name(attack: Attack) -> String {
    format!("thief: {}", attack.as_str())
}
