//! Logouts, passwords, and what operators do to users.

use crate::model::{EventType, Initiator, Reason};

use super::context::{Context, Held};
use super::habits::Scene;
use super::kinds::Oddity;
use super::resident::{After, Resident, Step};
use super::server::{End, HOUR, SECOND};
use super::stage::{Fact, Stage};
use super::truth::{Cause, Presented, Sender};

impl Resident {
    pub(super) fn log_out(&mut self, scene: &Scene, stage: &mut Stage<'_>) {
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

    pub(super) fn change_password(&mut self, scene: &Scene, stage: &mut Stage<'_>) {
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

    pub(super) fn suffer_operator(&mut self, scene: &Scene, stage: &mut Stage<'_>) {
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

    pub(super) fn mistype(&mut self, scene: &Scene, stage: &mut Stage<'_>) {
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
