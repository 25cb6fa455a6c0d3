//! What clients do wrong with their tokens: races, lost answers, sleepers, loops, broken stores.

use super::context::Context;
use super::habits::Scene;
use super::kinds::Oddity;
use super::resident::{After, Answer, Copy, Presenting, Resident, Step, Unknown, minutes};
use super::server::{App, End, HOUR, MINUTE, SECOND};
use super::stage::{Stage, hex16};
use super::truth::{Cause, Sender};
use super::whereabouts::handed_over;

impl Resident {
    pub(super) fn once(
        &mut self,
        scene: &Scene,
        at: i64,
        stamp: Option<i64>,
        stage: &mut Stage<'_>,
    ) -> Answer {
        let one = Presenting {
            held: scene.held,
            context: &scene.context,
            sender: Sender::Owner,
            cause: Cause::Oddity(scene.oddity),
            stamp,
        };
        self.present(at, &one, stage)
    }

    /// The same token twice, or three times, within a moment; the storage is shared, so that the first answer counts.
    pub(super) fn race(&mut self, scene: &Scene, stage: &mut Stage<'_>) {
        let start = match scene.oddity {
            Oddity::SameSecond => scene.at.div_euclid(SECOND) * SECOND + 100,
            _ => scene.at,
        };
        let most = if scene.oddity == Oddity::SdkRetry {
            25 * SECOND
        } else {
            800
        };
        let mut at = start;
        let first = self.once(scene, start, None, stage);
        let mut losers = 1 + u32::from(self.random.below(4) == 0);
        let mut last = first;
        while losers > 0 {
            losers -= 1;
            at = start + self.random.from_to(3, most);
            // Real servers write the loser down first now and then.
            let stamp = (self.random.below(5) == 0 && at - start < SECOND).then_some(start - 2);
            last = self.once(scene, at, stamp, stage);
        }
        self.take_over(scene.installation, first, last, at);
    }

    fn take_over(&mut self, installation: usize, first: Answer, last: Answer, at: i64) {
        use Answer::{Issued, Refused};
        self.clear(installation);
        if let Issued(held) = first {
            self.installations[installation].held = Some(held);
        }
        let noticed = matches!(last, Refused(_)) && self.random.below(10) < 7;
        if noticed && self.installations[installation].app != App::Desk {
            let silent = self.installations[installation].app == App::WebShop;
            let pause = self.random.from_to(SECOND, 8 * SECOND);
            self.plan(
                at + pause,
                Step::LogIn {
                    installation,
                    silent,
                    cause: Cause::Ordinary,
                },
            );
        } else {
            self.use_later(installation, at);
        }
    }

    pub(super) fn lose_answer(&mut self, scene: &Scene, stage: &mut Stage<'_>) {
        self.once(scene, scene.at, None, stage);
        let random = &mut self.random;
        let pause = match scene.oddity {
            Oddity::GraceRetry => random.from_to(2 * SECOND, 25 * SECOND),
            Oddity::LostAnswerHandOver => minutes(random, 1, 25),
            _ if random.below(3) == 0 => random.from_to(HOUR, 30 * HOUR),
            _ => minutes(random, 1, 20),
        };
        let elsewhere = scene.oddity == Oddity::LostAnswerHandOver;
        let stays = scene.oddity == Oddity::GraceRetry;
        let context = match (elsewhere, stays) {
            (true, _) => Some(handed_over(&self.home, &scene.context)),
            (_, true) => Some(scene.context.clone()),
            _ => None,
        };
        self.come_again(scene, scene.at + pause, context, After::GoesOn);
    }

    /// The token of the scene once more, later.
    pub(super) fn come_again(
        &mut self,
        scene: &Scene,
        at: i64,
        context: Option<Context>,
        after: After,
    ) {
        if after == After::GoesOn {
            self.clear(scene.installation);
        }
        let (held, installation, oddity) = (scene.held, scene.installation, scene.oddity);
        self.plan(
            at,
            Step::Copy(Box::new(Copy {
                held,
                installation,
                context,
                oddity,
                after,
            })),
        );
    }

    pub(super) fn retry_after_restart(&mut self, scene: &Scene, stage: &mut Stage<'_>) -> bool {
        let Some(restart) = stage.names.restarts.next(scene.at) else {
            return false;
        };
        if restart - scene.at > 10 * MINUTE {
            let before = minutes(&mut self.random, 1, 9);
            self.plan(restart - before, Step::Oddity(scene.oddity));
            return false;
        }
        self.once(scene, scene.at, None, stage);
        let after = restart + minutes(&mut self.random, 1, 15);
        self.come_again(scene, after, Some(scene.context.clone()), After::GoesOn);
        true
    }

    /// A tab goes to sleep with the token that it has, while another one goes on.
    pub(super) fn sleep(&mut self, scene: &Scene) {
        let hours = self.random.from_to(4 * HOUR, 40 * HOUR);
        let thing = self.installations[scene.installation].thing;
        let wakes = self.home.next_use(thing, scene.at, hours, &mut self.random);
        self.come_again(scene, wakes, None, After::Nothing);
    }

    pub(super) fn begin_loop(&mut self, scene: &Scene) {
        self.clear(scene.installation);
        let left = 20 + self.random.below(70);
        self.plan(
            scene.at + SECOND,
            Step::Loop {
                installation: scene.installation,
                left,
            },
        );
    }

    pub(super) fn break_store(&mut self, scene: &Scene) {
        let (gap, left) = match scene.oddity {
            Oddity::BrokenClient => (4 * SECOND, 30 + self.random.below(200)),
            Oddity::PollingClient => (20 * MINUTE, 40 + self.random.below(80)),
            _ => (10 * SECOND, 4 + self.random.below(4)),
        };
        let unknown = Unknown {
            token: hex16(self.random.number()),
            installation: scene.installation,
            oddity: scene.oddity,
            gap,
            left,
        };
        if scene.oddity == Oddity::CorruptStore {
            self.clear(scene.installation);
            self.log_in_at(scene.installation, scene.at + 3 * MINUTE);
        }
        self.plan(scene.at, Step::Unknown(Box::new(unknown)));
    }

    /// The server no longer knows its own token.
    pub(super) fn lose_family(&mut self, scene: &Scene, stage: &mut Stage<'_>) {
        let number = scene.held.family;
        self.end(End::Lost, |family| family.number == number, stage);
        self.clear(scene.installation);
        let soon = scene.at + self.random.from_to(SECOND, 5 * MINUTE);
        self.come_again(scene, soon, Some(scene.context.clone()), After::GoesOn);
    }
}
