//! Strangers with a copy of somebody's token, and what they do with it.
//!
//! A copy is made at a moment; who presents it first, from where and with what is the business of the attack. Thief and
//! owner then go on, each with what the server gave them, until one of them is refused for good.

use crate::model::{EventType, Reason};

use super::agents::{Agent, AgentKind};
use super::context::{Context, Held};
use super::kinds::Attack;
use super::map::{City, MAP, Net};
use super::person::{self, Installation, Thing};
use super::proof::{Reply, raid_unproved};
use super::resident::{Answer, Presenting, Resident, Step, minutes};
use super::server::{App, DAY, HOUR, MINUTE, SECOND};
use super::stage::{Fact, Stage, hex16};
use super::truth::{Cause, Presented, Sender};
use crate::simulate::random::Random;

/// A thief at work.
pub(super) struct Theft {
    attack: Attack,
    pub held: Held,
    context: Context,
    /// Milliseconds between two moves, from and to.
    gap: (i64, i64),
    /// Refreshes that the thief wants to make.
    left: u32,
    /// Refusals that the thief puts up with.
    patience: u32,
    /// What it is a part of, and at which client.
    raid: Option<(usize, App)>,
}

/// From whose clients it is stolen.
const fn victims(attack: Attack) -> &'static [App] {
    use App::{ApiGateway, BuildRobots, Desk, LegacyPortal, Mobile, Television, WebShop};
    match attack {
        Attack::HonouredDead | Attack::SameSecondFork => &[LegacyPortal],
        Attack::GraceFork
        | Attack::DeviceFarm
        | Attack::PatientOwnerGone
        | Attack::PatientOwnerBack => &[Mobile],
        Attack::UnrotatedCopy => &[Television],
        Attack::BackendLeak => &[ApiGateway],
        Attack::RobotLeak => &[BuildRobots],
        Attack::LockOut => &[WebShop, Desk],
        _ => &[WebShop, Mobile, Desk, LegacyPortal],
    }
}

impl Resident {
    /// The client of this user from which it can be stolen; of several, chance decides which.
    pub(super) fn robbable(&self, attack: Attack, variant: u64) -> Option<usize> {
        let fits = |one: &Installation| {
            victims(attack).contains(&one.app)
                && !matches!(one.thing, Thing::Tablet | Thing::PrivateWindow)
        };
        let mut found = (0..self.installations.len()).filter(|at| fits(&self.installations[*at]));
        let first = found.next()?;
        Some(if variant & 1 == 0 {
            first
        } else {
            found.next().unwrap_or(first)
        })
    }

    pub(super) fn be_attacked(
        &mut self,
        attack: Attack,
        variant: u64,
        at: i64,
        stage: &mut Stage<'_>,
    ) {
        let Some(installation) = self.robbable(attack, variant) else {
            return;
        };
        let held = self.installations[installation].held;
        let held = held.filter(|held| {
            self.family(held.family)
                .is_some_and(|family| family.end.is_none())
        });
        let scene = held.zip(self.context_of(installation, at));
        let Some((held, (context, _))) =
            scene.filter(|_| !self.is_disabled && self.theft.is_none())
        else {
            let later = minutes(&mut self.random, 20, 120);
            return self.plan(at + later, Step::Attack(attack, variant));
        };
        if at >= stage.end {
            return;
        }
        stage.truth.attacked(attack);
        let thief = thief_context(self, attack, variant, &context);
        match attack {
            Attack::Hoarding => self.be_hoarded(installation, &thief, at, stage),
            Attack::LockOut => self.be_locked_out(installation, held, (&context, thief), at, stage),
            _ => self.be_robbed((attack, installation), held, thief, at, stage),
        }
    }

    fn be_robbed(
        &mut self,
        (attack, installation): (Attack, usize),
        held: Held,
        thief: Context,
        at: i64,
        stage: &mut Stage<'_>,
    ) {
        self.copy_made(attack, held, false, at, stage);
        let next = self
            .next_use_of(installation)
            .unwrap_or(at + HOUR)
            .max(at + SECOND);
        let first = self.first_move(attack, at, next, stage);
        if attack == Attack::GuessSucceeded {
            self.be_guessed(installation, &thief, (at, first), stage);
        }
        let (gap, left) = pace(attack, &mut self.random);
        self.theft = Some(Box::new(Theft {
            attack,
            held,
            context: thief,
            gap,
            left,
            patience: 3,
            raid: None,
        }));
        self.plan(first, Step::Thief);
        if matches!(attack, Attack::PatientOwnerGone | Attack::PatientOwnerBack) {
            self.clear(installation);
            let back = self.random.from_to(2 * DAY, 6 * DAY);
            match attack {
                Attack::PatientOwnerBack => self.plan(at + back, Step::Use(installation)),
                _ => self.log_in_at(installation, at + back / 6),
            }
        }
    }

    fn copy_made(
        &mut self,
        attack: Attack,
        held: Held,
        ended: bool,
        at: i64,
        stage: &mut Stage<'_>,
    ) {
        self.list(held, stage);
        let rotates = self
            .family(held.family)
            .is_some_and(|family| family.app.setting().rotates);
        stage
            .truth
            .stolen(self.key(held.family), attack, at, (ended, rotates));
    }

    /// When the thief comes, given when the copy was made and when the owner will use the token.
    fn first_move(&mut self, attack: Attack, at: i64, next: i64, stage: &Stage<'_>) -> i64 {
        let random = &mut self.random;
        match attack {
            Attack::OwnerFirst => {
                let delay = match random.below(4) {
                    0 => random.from_to(5 * SECOND, 50 * SECOND),
                    1 => minutes(random, 2, 50),
                    2 => random.from_to(HOUR, 20 * HOUR),
                    _ => random.from_to(DAY, 4 * DAY),
                };
                next + delay
            }
            Attack::HonouredDead => {
                let restart = stage
                    .names
                    .restarts
                    .next(at + 6 * HOUR)
                    .unwrap_or(next + 12 * HOUR);
                restart + minutes(random, 1, 15)
            }
            // In what is left of the owner's second.
            Attack::SameSecondFork => {
                next + random.from_to(0, (SECOND - next.rem_euclid(SECOND)).max(1))
            }
            Attack::GraceFork => next + random.from_to(2 * SECOND, 25 * SECOND),
            // Before the owner, seconds or most of the time later.
            _ if random.below(2) == 0 => at + random.from_to(SECOND, (next - at).min(MINUTE)),
            _ => at + random.from_to((next - at) / 4, next - at),
        }
    }

    fn be_guessed(
        &self,
        installation: usize,
        thief: &Context,
        (from, to): (i64, i64),
        stage: &mut Stage<'_>,
    ) {
        let mut random = Random::part(self.seed ^ u64::from(self.index), from.unsigned_abs());
        let app = self.installations.get(installation).map(|one| one.app);
        let guesses = i64::from(6 + random.below(5));
        for guess in 0..guesses {
            let at = from + (to - from) * guess / guesses;
            stage.tell(&guess_of(
                &hex16(random.number()),
                app,
                thief,
                (at, Attack::GuessSucceeded),
            ));
        }
    }

    /// The thief's next move.
    pub(super) fn meet_thief(&mut self, at: i64, stage: &mut Stage<'_>) {
        let Some(mut theft) = self.theft.take() else {
            return;
        };
        let one = Presenting {
            held: theft.held,
            context: &theft.context,
            sender: Sender::Stranger,
            cause: Cause::Attack(theft.attack),
            stamp: None,
        };
        let answer = self.present(at, &one, stage);
        if let Some((raid, app)) = theft.raid {
            stage.truth.raided(raid, at, app, &theft.context);
        }
        let goes_on = match answer {
            Answer::Issued(held) => {
                theft.held = held;
                theft.left = theft.left.saturating_sub(1);
                theft.left > 0
            }
            Answer::Refused(_) => {
                theft.patience = theft.patience.saturating_sub(1);
                theft.patience > 0
            }
        };
        if goes_on {
            let (least, most) = theft.gap;
            let pause = self.random.from_to(least, most);
            self.plan(at + pause, Step::Thief);
            self.theft = Some(theft);
        }
    }

    /// A stranger knows the password, and collects families.
    fn be_hoarded(&mut self, installation: usize, thief: &Context, at: i64, stage: &mut Stage<'_>) {
        let source = stage.source();
        let user_id = Some(self.user_id.clone());
        let raid = stage.truth.raid(Attack::Hoarding, at, user_id, None);
        let app = self.installations[installation].app;
        let mut at = at;
        for _ in 0..(14 + self.random.below(12)) {
            let by = (Sender::Stranger, Cause::Attack(Attack::Hoarding));
            let held = self.begin_family(installation, false, by, thief, at, stage);
            self.copy_made(Attack::Hoarding, held, false, at, stage);
            stage.truth.presented(
                (self.key(held.family), Sender::Stranger),
                at,
                thief,
                Reply::Accepted,
                source,
            );
            stage.truth.raided(raid, at, app, thief);
            at += self.random.from_to(8 * SECOND, 35 * SECOND);
        }
    }

    /// The owner logs out and in again; a stranger presents what died with the first family.
    fn be_locked_out(
        &mut self,
        installation: usize,
        held: Held,
        (owner, thief): (&Context, Context),
        at: i64,
        stage: &mut Stage<'_>,
    ) {
        self.end_session(held, installation, owner, at, stage);
        self.clear(installation);
        self.log_in_at(installation, at + 5 * MINUTE);
        self.copy_made(Attack::LockOut, held, true, at, stage);
        let elsewhere = thief.net.differs(owner.net);
        let unproved = raid_unproved(Attack::LockOut, stage.source(), elsewhere);
        let user_id = Some(self.user_id.clone());
        let raid = stage.truth.raid(Attack::LockOut, at, user_id, unproved);
        let app = self.installations[installation].app;
        self.theft = Some(Box::new(Theft {
            attack: Attack::LockOut,
            held,
            context: thief,
            gap: (MINUTE, 9 * MINUTE),
            left: 1,
            patience: 15 + self.random.below(40),
            raid: Some((raid, app)),
        }));
        self.plan(at + 10 * MINUTE, Step::Thief);
    }
}

/// A presentation of a token that never was.
pub(super) fn guess_of<'a>(
    token: &crate::model::Text,
    app: Option<App>,
    context: &'a Context,
    (at, attack): (i64, Attack),
) -> Fact<'a> {
    let truth = Presented {
        sender: Sender::Stranger,
        cause: Cause::Attack(attack),
        family: None,
    };
    let mut fact = Fact::new(at, EventType::Refresh, truth);
    fact.refused = Some((Reason::UnknownToken, "Invalid refresh token"));
    fact.app = app;
    fact.presented = Some(token.clone());
    fact.context = Some(context);
    fact
}

fn pace(attack: Attack, random: &mut Random) -> ((i64, i64), u32) {
    match attack {
        Attack::Burst => ((SECOND, 3 * SECOND), 70 + random.below(50)),
        Attack::PatientOwnerGone | Attack::PatientOwnerBack => ((65 * MINUTE, 170 * MINUTE), 60),
        Attack::UnrotatedCopy => ((HOUR, 3 * HOUR), 10 + random.below(20)),
        Attack::SameSecondFork | Attack::GraceFork | Attack::DeviceFarm => {
            ((61 * MINUTE, 2 * HOUR), 8)
        }
        _ => ((5 * MINUTE, 80 * MINUTE), 3 + random.below(10)),
    }
}

/// What a thief takes over from the victim's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disguise {
    /// A tool of the thief's own.
    Nothing,
    UserAgent,
    /// The device id too.
    Everything,
}

fn thief_context(victim: &mut Resident, attack: Attack, variant: u64, owner: &Context) -> Context {
    let (net, subscriber) = thief_net(victim, attack, variant);
    let disguise = disguise(attack, &mut victim.random);
    let own_tool = *victim.random.pick(&[AgentKind::Script, AgentKind::Library]);
    let agent = match (attack, disguise) {
        (Attack::DeviceFarm, _) => Agent {
            kind: AgentKind::AppOnAndroid,
            version: 2,
        },
        (_, Disguise::Nothing) => Agent {
            kind: own_tool,
            version: 1,
        },
        _ => owner.agent,
    };
    let device = match (attack, disguise) {
        (Attack::DeviceFarm, _) => Some(format!("farm-{}", variant >> 1).into()),
        (_, Disguise::Everything) => owner.device.clone(),
        (_, Disguise::UserAgent) => Some(person::device_id(&mut victim.random)),
        (_, Disguise::Nothing) => None,
    };
    Context {
        net,
        address: net.address(subscriber, variant),
        agent,
        device,
    }
}

fn disguise(attack: Attack, random: &mut Random) -> Disguise {
    match attack {
        Attack::SameCity | Attack::Hoarding | Attack::LockOut | Attack::GuessSucceeded => {
            Disguise::Nothing
        }
        Attack::SameNetwork | Attack::DeviceFarm => Disguise::UserAgent,
        Attack::FarAway => Disguise::Everything,
        Attack::BehindVpn => *random.pick(&[Disguise::UserAgent, Disguise::Everything]),
        _ => *random.pick(&[
            Disguise::Nothing,
            Disguise::Nothing,
            Disguise::UserAgent,
            Disguise::UserAgent,
            Disguise::Everything,
        ]),
    }
}

fn thief_net(victim: &mut Resident, attack: Attack, variant: u64) -> (&'static Net, u64) {
    let home = &victim.home;
    let random = &mut victim.random;
    let number = random.number();
    let net = match attack {
        Attack::SameCity => home.neighbour_net(),
        Attack::SameNetwork => home.own_net(),
        Attack::FarAway => far_from(home, random),
        Attack::BehindVpn => random.pick(&MAP.vpns),
        Attack::DeviceFarm => return (&MAP.hosting[0], variant >> 1),
        Attack::BackendLeak | Attack::RobotLeak | Attack::Hoarding | Attack::GuessSucceeded => {
            random.pick(&MAP.hosting)
        }
        _ => match random.below(20) {
            0..=4 => home.neighbour_net(),
            5..=9 => &random.pick(&MAP.cities).cable,
            10..=16 => random.pick(&MAP.hosting),
            _ => random.pick(&MAP.vpns),
        },
    };
    (net, number)
}

fn far_from(home: &person::Home, random: &mut Random) -> &'static Net {
    let hours = |city: &City| (city.hours_ahead - home.city.hours_ahead).abs();
    let far: Vec<&'static City> = MAP.cities.iter().filter(|city| hours(city) >= 4).collect();
    &random.pick(&far).fibre
}
