//! The odd things that honest people, their apps and the server's operators do.

use crate::model::{EventType, Initiator, Reason};

use super::context::{Context, Held};
use super::kinds::Oddity;
use super::person::{self, Trip};
use super::resident::{After, Copy, Presenting, Resident, Step, Unknown, minutes};
use super::server::{App, DAY, End, HOUR, MINUTE, SECOND};
use super::stage::{Fact, Stage, hex16};
use super::truth::{Cause, Presented, Sender};

/// How often each happens by itself: times in a million days of a user that it can happen to.
///
/// Together some four or five refused reuses in a hundred user-days, as where such things were counted in practice.
pub(super) const NATURAL: &[(Oddity, u32)] = &[
    (Oddity::TwoTabs, 24_000),
    (Oddity::SdkRetry, 10_000),
    (Oddity::LostAnswer, 12_000),
    (Oddity::LostAnswerHandOver, 3_000),
    (Oddity::SleepingLaptop, 6_000),
    (Oddity::TrainRide, 10_000),
    (Oddity::NewPhone, 400),
    (Oddity::OldPhone, 200),
    (Oddity::Update, 40_000),
    (Oddity::ConsumerVpn, 6_000),
    (Oddity::CorporateVpn, 40_000),
    (Oddity::Trip, 4_000),
    (Oddity::ForgottenTab, 4_000),
    (Oddity::PasswordChange, 1_000),
    (Oddity::UserDisabled, 100),
    (Oddity::OperatorRevoked, 200),
    (Oddity::Holiday, 1_500),
    (Oddity::RefreshLoop, 50),
    (Oddity::GraceRetry, 8_000),
    (Oddity::RestartRetry, 1_500),
    (Oddity::SameSecond, 6_000),
    (Oddity::TravellingStick, 2_000),
    (Oddity::BrokenClient, 50),
    (Oddity::PollingClient, 20),
    (Oddity::CorruptStore, 50),
    (Oddity::MistypedPassword, 5_000),
];

/// With which clients it can happen; a habit is nobody's decision.
pub(super) const fn apps(oddity: Oddity) -> &'static [App] {
    use App::{ApiGateway, Desk, LegacyPortal, Mobile, Television, WebShop};
    match oddity {
        Oddity::TwoTabs => &[WebShop, Desk, ApiGateway],
        Oddity::SdkRetry | Oddity::SleepingLaptop | Oddity::CorporateVpn => {
            &[WebShop, Desk, LegacyPortal]
        }
        Oddity::LostAnswer => &[WebShop, Mobile, Desk],
        Oddity::LostAnswerHandOver
        | Oddity::TrainRide
        | Oddity::NewPhone
        | Oddity::OldPhone
        | Oddity::GraceRetry => &[Mobile],
        Oddity::ForgottenTab => &[WebShop, Desk],
        Oddity::RestartRetry | Oddity::SameSecond => &[LegacyPortal],
        Oddity::TravellingStick => &[Television],
        Oddity::Update
        | Oddity::RefreshLoop
        | Oddity::ConsumerVpn
        | Oddity::Trip
        | Oddity::PasswordChange
        | Oddity::UserDisabled
        | Oddity::OperatorRevoked
        | Oddity::Holiday
        | Oddity::BrokenClient
        | Oddity::PollingClient
        | Oddity::CorruptStore
        | Oddity::MassExpiry
        | Oddity::MistypedPassword => &[WebShop, Mobile, Desk, LegacyPortal],
        Oddity::OfficeNat
        | Oddity::CarrierHub
        | Oddity::DualStack
        | Oddity::PrivateRelay
        | Oddity::SharedTablet
        | Oddity::Incognito
        | Oddity::MultiEgress
        | Oddity::MovingRobot => &[],
    }
}

/// What most oddities begin with: a client that holds a token, and where it is.
struct Scene {
    oddity: Oddity,
    installation: usize,
    held: Held,
    context: Context,
    at: i64,
}

impl Resident {
    pub(super) fn be_odd(&mut self, oddity: Oddity, at: i64, stage: &mut Stage<'_>) {
        let Some(installation) = self.able_to(oddity) else {
            return;
        };
        let held = self.installations[installation].held;
        let scene = held.zip(self.context_of(installation, at));
        let Some((held, (context, _))) = scene.filter(|_| !self.is_disabled) else {
            // Not logged in yet, on board, or disabled.
            let later = minutes(&mut self.random, 60, 240);
            return self.plan(at + later, Step::Oddity(oddity));
        };
        if at >= stage.end {
            return;
        }
        let scene = Scene {
            oddity,
            installation,
            held,
            context,
            at,
        };
        if self.act(&scene, stage) {
            stage.truth.happened(oddity);
            self.odd(held, oddity, stage);
        }
    }

    /// False where the moment was not the right one and another has been planned.
    fn act(&mut self, scene: &Scene, stage: &mut Stage<'_>) -> bool {
        match scene.oddity {
            Oddity::TwoTabs | Oddity::SdkRetry | Oddity::SameSecond => self.race(scene, stage),
            Oddity::LostAnswer | Oddity::LostAnswerHandOver | Oddity::GraceRetry => {
                self.lose_answer(scene, stage);
            }
            Oddity::RestartRetry => return self.retry_after_restart(scene, stage),
            Oddity::SleepingLaptop => self.sleep(scene),
            Oddity::NewPhone | Oddity::OldPhone => self.change_phone(scene),
            Oddity::Update => self.update(scene),
            Oddity::TrainRide | Oddity::ConsumerVpn | Oddity::CorporateVpn | Oddity::Trip => {
                self.move_about(scene);
            }
            Oddity::TravellingStick | Oddity::Holiday => self.go_away(scene),
            Oddity::ForgottenTab => self.log_out(scene, stage),
            Oddity::PasswordChange => self.change_password(scene, stage),
            Oddity::UserDisabled | Oddity::OperatorRevoked => self.suffer_operator(scene, stage),
            Oddity::RefreshLoop => self.begin_loop(scene),
            Oddity::BrokenClient | Oddity::PollingClient | Oddity::CorruptStore => {
                self.break_store(scene);
            }
            Oddity::MassExpiry => self.lose_family(scene, stage),
            Oddity::MistypedPassword => self.mistype(scene, stage),
            _ => {}
        }
        true
    }

    fn once(
        &mut self,
        scene: &Scene,
        at: i64,
        stamp: Option<i64>,
        stage: &mut Stage<'_>,
    ) -> super::resident::Answer {
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
    fn race(&mut self, scene: &Scene, stage: &mut Stage<'_>) {
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

    fn take_over(
        &mut self,
        installation: usize,
        first: super::resident::Answer,
        last: super::resident::Answer,
        at: i64,
    ) {
        use super::resident::Answer::{Issued, Refused};
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

    fn lose_answer(&mut self, scene: &Scene, stage: &mut Stage<'_>) {
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
            (true, _) => Some(person::handed_over(&self.home, &scene.context)),
            (_, true) => Some(scene.context.clone()),
            _ => None,
        };
        self.come_again(scene, scene.at + pause, context, After::GoesOn);
    }

    /// The token of the scene once more, later.
    fn come_again(&mut self, scene: &Scene, at: i64, context: Option<Context>, after: After) {
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

    fn retry_after_restart(&mut self, scene: &Scene, stage: &mut Stage<'_>) -> bool {
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
    fn sleep(&mut self, scene: &Scene) {
        let hours = self.random.from_to(4 * HOUR, 40 * HOUR);
        let thing = self.installations[scene.installation].thing;
        let wakes = self.home.next_use(thing, scene.at, hours, &mut self.random);
        self.come_again(scene, wakes, None, After::Nothing);
    }

    fn change_phone(&mut self, scene: &Scene) {
        let keeps_device_id = scene.oddity == Oddity::OldPhone || self.random.below(5) > 0;
        let new_id = person::device_id(&mut self.random);
        let phone = &mut self.installations[scene.installation];
        phone.agent = phone.agent.updated();
        phone.oddity = Some(scene.oddity);
        if !keeps_device_id {
            phone.device = Some(new_id);
        }
        if scene.oddity == Oddity::OldPhone {
            let net = self.home.own_net();
            let drawer = Context {
                net,
                address: net.address(u64::from(self.index), 1),
                ..scene.context.clone()
            };
            let days = self.random.from_to(6 * HOUR, 8 * DAY);
            self.come_again(scene, scene.at + days, Some(drawer), After::Nothing);
        }
    }

    fn update(&mut self, scene: &Scene) {
        let one = &mut self.installations[scene.installation];
        one.agent = one.agent.updated();
        one.oddity = Some(Oddity::Update);
    }

    fn move_about(&mut self, scene: &Scene) {
        let (at, random) = (scene.at, &mut self.random);
        match scene.oddity {
            Oddity::TrainRide => {
                self.away.train_until = at + minutes(random, 50, 150);
                self.clear(scene.installation);
                self.plan(at + MINUTE, Step::Use(scene.installation));
            }
            Oddity::ConsumerVpn => self.away.vpn_until = at + random.from_to(2 * HOUR, 9 * HOUR),
            Oddity::CorporateVpn => self.away.corporate_until = at + 9 * HOUR,
            _ => self.away.trip = Some(Trip::new(&self.home, at, random)),
        }
    }

    /// Nothing is heard for days or weeks; of a television, from a holiday flat in another city meanwhile.
    fn go_away(&mut self, scene: &Scene) {
        if scene.oddity == Oddity::TravellingStick {
            let trip = Trip::new(&self.home, scene.at, &mut self.random);
            let there = Context {
                net: &trip.city.lobby,
                address: trip.city.lobby.address(u64::from(self.index), 1),
                ..scene.context.clone()
            };
            for evening in 0..3 {
                let at = trip.landed + evening * 20 * HOUR + HOUR;
                if at < trip.leaves {
                    self.come_again(scene, at, Some(there.clone()), After::Nothing);
                }
            }
            self.clear(scene.installation);
            return self.plan(trip.home + HOUR, Step::Use(scene.installation));
        }
        let weeks = self.random.from_to(8 * DAY, 45 * DAY);
        for installation in 0..self.installations.len() {
            self.clear(installation);
            let thing = self.installations[installation].thing;
            let back = self.home.next_use(thing, scene.at, weeks, &mut self.random);
            self.plan(back, Step::Use(installation));
        }
    }

    fn log_out(&mut self, scene: &Scene, stage: &mut Stage<'_>) {
        self.end_session(
            scene.held,
            scene.installation,
            &scene.context,
            scene.at,
            stage,
        );
        let tries = 1 + self.random.below(5);
        for _ in 0..tries {
            let at = scene.at + self.random.from_to(20 * SECOND, 5 * HOUR);
            self.come_again(scene, at, Some(scene.context.clone()), After::Nothing);
        }
        self.clear(scene.installation);
        let back = self.random.from_to(HOUR, 20 * HOUR);
        self.log_in_at(scene.installation, scene.at + back);
    }

    pub(super) fn log_in_at(&mut self, installation: usize, at: i64) {
        self.plan(
            at,
            Step::LogIn {
                installation,
                silent: false,
                cause: Cause::Ordinary,
            },
        );
    }

    /// The user logs out of the session of a family.
    pub(super) fn end_session(
        &mut self,
        held: Held,
        installation: usize,
        context: &Context,
        at: i64,
        stage: &mut Stage<'_>,
    ) {
        let key = self.key(held.family);
        let Some(family) = self
            .families
            .iter()
            .find(|family| family.number == held.family)
        else {
            return;
        };
        let session = family.session;
        let truth = Presented {
            sender: Sender::Owner,
            cause: Cause::Ordinary,
            family: Some(key),
        };
        let mut fact = Fact::new(at, EventType::Logout, truth).about(family);
        fact.user_id = Some(&self.user_id);
        fact.context = Some(context);
        fact.initiator = Some(Initiator::User);
        stage.tell(&fact);
        self.end(End::Logout, |family| family.session == session, stage);
        self.installations[installation].held = None;
    }

    fn change_password(&mut self, scene: &Scene, stage: &mut Stage<'_>) {
        let truth = Presented {
            sender: Sender::Owner,
            cause: Cause::Oddity(scene.oddity),
            family: None,
        };
        let mut fact = Fact::new(scene.at, EventType::CredentialChange, truth);
        fact.user_id = Some(&self.user_id);
        fact.context = Some(&scene.context);
        fact.initiator = Some(Initiator::User);
        stage.tell(&fact);
        self.end(End::Logout, |_| true, stage);
        self.clear(scene.installation);
        self.log_in_at(scene.installation, scene.at + 20 * SECOND);
    }

    fn suffer_operator(&mut self, scene: &Scene, stage: &mut Stage<'_>) {
        if scene.oddity == Oddity::UserDisabled {
            self.is_disabled = true;
            self.operate(EventType::UserDisable, scene.oddity, scene.at, stage);
            self.end(End::Disabled, |_| true, stage);
            let back = scene.at + self.random.from_to(2 * HOUR, 50 * HOUR);
            return self.plan(back, Step::Enable);
        }
        let (key, number) = (self.key(scene.held.family), scene.held.family);
        let Some(family) = self.families.iter().find(|family| family.number == number) else {
            return;
        };
        let truth = Presented {
            sender: Sender::Operator,
            cause: Cause::Oddity(scene.oddity),
            family: Some(key),
        };
        let mut fact = Fact::new(scene.at, EventType::Revoke, truth).about(family);
        fact.user_id = Some(&self.user_id);
        fact.initiator = Some(Initiator::Admin);
        stage.tell(&fact);
        self.end(End::Revoked, |family| family.number == number, stage);
    }

    /// An operator does something to the user.
    pub(super) fn operate(
        &mut self,
        kind: EventType,
        oddity: Oddity,
        at: i64,
        stage: &mut Stage<'_>,
    ) {
        let truth = Presented {
            sender: Sender::Operator,
            cause: Cause::Oddity(oddity),
            family: None,
        };
        let mut fact = Fact::new(at, kind, truth);
        fact.user_id = Some(&self.user_id);
        fact.initiator = Some(Initiator::Admin);
        stage.tell(&fact);
    }

    fn begin_loop(&mut self, scene: &Scene) {
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

    fn break_store(&mut self, scene: &Scene) {
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
    fn lose_family(&mut self, scene: &Scene, stage: &mut Stage<'_>) {
        let number = scene.held.family;
        self.end(End::Lost, |family| family.number == number, stage);
        self.clear(scene.installation);
        let soon = scene.at + self.random.from_to(SECOND, 5 * MINUTE);
        self.come_again(scene, soon, Some(scene.context.clone()), After::GoesOn);
    }

    fn mistype(&mut self, scene: &Scene, stage: &mut Stage<'_>) {
        let mut at = scene.at;
        for _ in 0..=self.random.below(4) {
            let truth = Presented {
                sender: Sender::Owner,
                cause: Cause::Oddity(scene.oddity),
                family: None,
            };
            stage.tell(&self.failed_login(at, scene.installation, &scene.context, truth));
            at += self.random.from_to(5 * SECOND, 25 * SECOND);
        }
        self.clear(scene.installation);
        self.log_in_at(scene.installation, at);
    }

    pub(super) fn failed_login<'a>(
        &'a self,
        at: i64,
        installation: usize,
        context: &'a Context,
        truth: Presented,
    ) -> Fact<'a> {
        let mut fact = Fact::new(at, EventType::Login, truth);
        fact.refused = Some((Reason::Other, "invalid_user_credentials"));
        fact.user_id = Some(&self.user_id);
        fact.app = self.installations.get(installation).map(|one| one.app);
        fact.context = Some(context);
        fact
    }
}
