//! The odd things that honest people, their apps and the server's operators do: how often, and which is which.
//!
//! What each of them is stands in `retries` (tokens), `changes` (devices and places) and `accounts` (logins and operators).

use super::context::{Context, Held};
use super::kinds::Oddity;
use super::resident::{Resident, Step, minutes};
use super::server::App;
use super::stage::Stage;

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
pub(super) struct Scene {
    pub oddity: Oddity,
    pub installation: usize,
    pub held: Held,
    pub context: Context,
    pub at: i64,
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
}
