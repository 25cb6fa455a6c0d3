//! Attackers without a token: they guess tokens, or try passwords at many users.

use crate::model::{EventType, Reason};

use super::agents::{Agent, AgentKind};
use super::context::Context;
use super::kinds::Attack;
use super::map::{MAP, Net};
use super::proof::raid_unproved;
use super::server::{App, MINUTE, SECOND};
use super::stage::{Fact, Stage, hex16};
use super::thieves::guess_of;
use super::truth::{Cause, Presented, Sender};
use crate::simulate::random::Random;

pub(super) struct Prowler {
    attack: Attack,
    random: Random,
    /// When it tries next.
    pub due: i64,
    left: u32,
    gap: (i64, i64),
    net: &'static Net,
    subscriber: u64,
    raid: Option<usize>,
}

impl Prowler {
    pub(super) fn new(attack: Attack, at: i64, mut random: Random) -> Self {
        let (gap, left) = match attack {
            Attack::SlowBruteForce => ((18 * MINUTE, 23 * MINUTE), 60 + random.below(100)),
            Attack::DistributedBruteForce => ((300, 900), 700 + random.below(500)),
            Attack::Stuffing => ((300, 2 * SECOND), 200 + random.below(300)),
            _ => ((80, 900), 300 + random.below(700)),
        };
        Self {
            attack,
            due: at,
            left,
            gap,
            net: random.pick(&MAP.hosting),
            subscriber: random.number(),
            random,
            raid: None,
        }
    }

    pub(super) fn live(&mut self, until: i64, stage: &mut Stage<'_>) {
        while self.due < until.min(stage.end) {
            self.attempt(stage);
            self.left -= 1;
            let pause = self.random.from_to(self.gap.0, self.gap.1);
            self.due = if self.left == 0 {
                i64::MAX
            } else {
                self.due + pause
            };
        }
    }

    fn attempt(&mut self, stage: &mut Stage<'_>) {
        let at = self.due;
        let context = self.context();
        let raid = *self.raid.get_or_insert_with(|| {
            stage.truth.attacked(self.attack);
            let unproved = raid_unproved(self.attack, stage.source(), true);
            stage.truth.raid(self.attack, at, None, unproved)
        });
        if self.attack == Attack::Stuffing {
            stage.truth.raided(raid, at, App::WebShop, &context);
            return self.try_password(&context, stage);
        }
        let app = *self.random.pick(&[App::WebShop, App::Mobile]);
        stage.truth.raided(raid, at, app, &context);
        let token = hex16(self.random.number());
        stage.tell(&guess_of(&token, Some(app), &context, (at, self.attack)));
    }

    fn try_password(&mut self, context: &Context, stage: &mut Stage<'_>) {
        let user_id = format!("user-{}", self.random.below(stage.settings.users)).into();
        let truth = Presented {
            sender: Sender::Stranger,
            cause: Cause::Attack(self.attack),
            family: None,
        };
        let mut fact = Fact::new(self.due, EventType::Login, truth);
        fact.refused = Some((Reason::Other, "invalid_user_credentials"));
        fact.user_id = Some(&user_id);
        fact.app = Some(App::WebShop);
        fact.context = Some(context);
        stage.tell(&fact);
    }

    fn context(&mut self) -> Context {
        if self.attack == Attack::DistributedBruteForce {
            let city = self.random.pick(&MAP.cities);
            self.net = *self.random.pick(&[&city.cable, &city.fibre, &city.carrier]);
            self.subscriber = self.random.number();
        }
        Context {
            net: self.net,
            address: self.net.address(self.subscriber, 1),
            agent: Agent {
                kind: AgentKind::Script,
                version: 2,
            },
            device: None,
        }
    }
}
