//! The ordinary steps of a life: a client is used, its token refreshed; somebody logs in; a day is planned.

use crate::model::EventType;

use super::context::{Context, Held};
use super::habits::{NATURAL, apps};
use super::kinds::Oddity;
use super::person::{Installation, Thing};
use super::resident::{After, Answer, Copy, Presenting, Resident, Step, Unknown, minutes};
use super::server::{ACCESS_TOKEN_TTL, App, DAY, End, HOUR, MINUTE, SECOND};
use super::stage::{Fact, Stage, token_id};
use super::truth::{Cause, Presented, Sender};
use crate::model::Reason;

const ACCESS_TOKEN_MS: i64 = ACCESS_TOKEN_TTL as i64 * SECOND;

impl Resident {
    /// Moves in before the log begins: half of the clients have been logged in long ago.
    pub(super) fn move_in(&mut self, start: i64) {
        for installation in 0..self.installations.len() {
            let thing = self.installations[installation].thing;
            if self.random.below(2) == 0 {
                self.inherit(installation, start - HOUR);
            }
            let first = self.random.from_to(0, 6 * HOUR);
            let first = self.home.next_use(thing, start, first, &mut self.random);
            self.plan(first, Step::Use(installation));
        }
        self.plan(start, Step::Plan);
    }

    pub(super) fn step(&mut self, at: i64, step: Step, stage: &mut Stage<'_>) {
        match step {
            Step::Plan => self.plan_day(at, stage),
            Step::Use(installation) => self.use_it(installation, at, stage),
            Step::LogIn {
                installation,
                silent,
                cause,
            } => self.log_in(installation, silent, cause, at, stage),
            Step::Copy(copy) => self.present_copy(&copy, at, stage),
            Step::Oddity(oddity) => self.be_odd(oddity, at, stage),
            Step::Loop { installation, left } => self.loop_on(installation, left, at, stage),
            Step::Unknown(unknown) => self.present_unknown(*unknown, at, stage),
            Step::Enable => self.enable(at, stage),
            Step::Attack(attack, variant) => self.be_attacked(attack, variant, at, stage),
            Step::Thief => self.meet_thief(at, stage),
        }
    }

    /// What will be out of the ordinary today, beside what was planted.
    fn plan_day(&mut self, at: i64, stage: &Stage<'_>) {
        for (oddity, in_a_million) in NATURAL {
            let today = self
                .random
                .happens(in_a_million.saturating_mul(stage.settings.oddities));
            if today && self.able_to(*oddity).is_some() {
                let when = self.home.some_time_of_day(at, &mut self.random);
                // West of Greenwich that hour may be past: not all of it happens at midnight.
                let when = if when < at { when + DAY } else { when };
                self.plan(when, Step::Oddity(*oddity));
            }
        }
        self.plan(at + DAY, Step::Plan);
    }

    /// The first client of this user with which it can happen.
    pub(super) fn able_to(&self, oddity: Oddity) -> Option<usize> {
        let fits =
            |one: &Installation| apps(oddity).contains(&one.app) && one.thing != Thing::Tablet;
        self.installations.iter().position(fits)
    }

    fn use_it(&mut self, installation: usize, at: i64, stage: &mut Stage<'_>) {
        let is_private = self.installations[installation].thing == Thing::PrivateWindow;
        let forgets = is_private && self.random.below(10) < 6;
        let held = self.installations[installation].held;
        let Some(held) = held.filter(|_| !forgets) else {
            let cause = if is_private {
                Cause::Oddity(Oddity::Incognito)
            } else {
                Cause::Ordinary
            };
            return self.log_in(installation, false, cause, at, stage);
        };
        let Some((context, oddity)) = self.context_of(installation, at) else {
            return self.use_later(installation, at);
        };
        let cause = self.installations[installation].oddity.take().or(oddity);
        self.refresh(installation, held, &context, cause, at, stage);
    }

    /// Refreshes what an installation holds, and plans what it does with the answer.
    pub(super) fn refresh(
        &mut self,
        installation: usize,
        held: Held,
        context: &Context,
        oddity: Option<Oddity>,
        at: i64,
        stage: &mut Stage<'_>,
    ) {
        let cause = oddity.map_or(Cause::Ordinary, Cause::Oddity);
        if let Some(habit) = oddity.filter(|oddity| oddity.is_habit()) {
            stage.truth.happened(habit);
        }
        let one = Presenting {
            held,
            context,
            sender: Sender::Owner,
            cause,
            stamp: None,
        };
        let answer = self.present(at, &one, stage);
        self.go_on(installation, answer, at);
    }

    fn go_on(&mut self, installation: usize, answer: Answer, at: i64) {
        match answer {
            Answer::Issued(held) => {
                self.installations[installation].held = Some(held);
                self.use_later(installation, at);
            }
            Answer::Refused(reason) => {
                // The browser's session outlives the reaction of the server: no password is asked for.
                let silent = matches!(reason, Reason::Reuse | Reason::SessionEnded);
                let silent = silent && self.installations[installation].app == App::WebShop;
                let pause = self.random.from_to(2 * SECOND, 2 * MINUTE);
                self.plan(
                    at + pause,
                    Step::LogIn {
                        installation,
                        silent,
                        cause: Cause::Ordinary,
                    },
                );
            }
        }
    }

    pub(super) fn use_later(&mut self, installation: usize, at: i64) {
        let thing = self.installations[installation].thing;
        let most = match thing {
            Thing::Phone | Thing::Tablet | Thing::Runner => 180,
            Thing::Server => 120,
            _ => 60,
        };
        let gap = ACCESS_TOKEN_MS + minutes(&mut self.random, 0, most);
        let mut next = self.home.next_use(thing, at, gap, &mut self.random);
        if at < self.away.train_until && thing == Thing::Phone {
            // Apps ask anew whenever the network comes back.
            next = at + minutes(&mut self.random, 4, 15);
        }
        self.plan(next, Step::Use(installation));
    }

    fn log_in(
        &mut self,
        installation: usize,
        silent: bool,
        cause: Cause,
        at: i64,
        stage: &mut Stage<'_>,
    ) {
        let context = self.context_of(installation, at);
        let (Some((context, _)), false) = (context, self.is_disabled) else {
            let later = minutes(&mut self.random, 60, 300);
            return self.plan(
                at + later,
                Step::LogIn {
                    installation,
                    silent,
                    cause,
                },
            );
        };
        let held = self.begin_family(
            installation,
            silent,
            (Sender::Owner, cause),
            &context,
            at,
            stage,
        );
        self.installations[installation].held = Some(held);
        self.use_later(installation, at);
    }

    /// A login, and the first token a moment later.
    pub(super) fn begin_family(
        &mut self,
        installation: usize,
        silent: bool,
        (sender, cause): (Sender, Cause),
        context: &Context,
        at: i64,
        stage: &mut Stage<'_>,
    ) -> Held {
        let old = self.installations[installation].held.filter(|_| silent);
        let session_of = old
            .map(|held| held.family)
            .filter(|number| self.session_lives(*number));
        let number = self.new_family(installation, session_of, 0, at);
        if cause == Cause::Oddity(Oddity::Incognito) {
            stage.truth.happened(Oddity::Incognito);
        }
        let key = self.key(number);
        let truth = Presented {
            sender,
            cause,
            family: Some(key),
        };
        let issued_after = self.random.from_to(40, 900);
        let Some(family) = self.families.last() else {
            return Held {
                family: number,
                serial: 0,
            };
        };
        let base = |at, kind| {
            let mut fact = Fact::new(at, kind, truth).about(family);
            fact.user_id = Some(&self.user_id);
            fact.context = Some(context);
            fact
        };
        stage.tell(&base(at, EventType::Login));
        let mut issue = base(at + issued_after, EventType::Issue);
        issue.issued = Some(token_id(self.seed, key, 0));
        stage.tell(&issue);
        Held {
            family: number,
            serial: 0,
        }
    }

    fn session_lives(&mut self, number: u32) -> bool {
        self.family(number)
            .is_some_and(|family| matches!(family.end, None | Some(End::Reuse)))
    }

    fn present_copy(&mut self, copy: &Copy, at: i64, stage: &mut Stage<'_>) {
        let context = copy
            .context
            .clone()
            .or_else(|| Some(self.context_of(copy.installation, at)?.0));
        let Some(context) = context else {
            return match copy.after {
                After::GoesOn => self.use_later(copy.installation, at),
                After::Nothing => {}
            };
        };
        let cause = Cause::Oddity(copy.oddity);
        let one = Presenting {
            held: copy.held,
            context: &context,
            sender: Sender::Owner,
            cause,
            stamp: None,
        };
        let answer = self.present(at, &one, stage);
        if copy.after == After::GoesOn {
            self.go_on(copy.installation, answer, at);
        }
    }

    fn loop_on(&mut self, installation: usize, left: u32, at: i64, stage: &mut Stage<'_>) {
        let held = self.installations[installation].held;
        let (Some(held), Some((context, _))) = (held, self.context_of(installation, at)) else {
            return self.use_later(installation, at);
        };
        let cause = Cause::Oddity(Oddity::RefreshLoop);
        let one = Presenting {
            held,
            context: &context,
            sender: Sender::Owner,
            cause,
            stamp: None,
        };
        match self.present(at, &one, stage) {
            Answer::Issued(held) if left > 0 => {
                self.installations[installation].held = Some(held);
                let pause = self.random.from_to(SECOND, 6 * SECOND);
                self.plan(
                    at + pause,
                    Step::Loop {
                        installation,
                        left: left - 1,
                    },
                );
            }
            answer => self.go_on(installation, answer, at),
        }
    }

    fn present_unknown(&mut self, mut unknown: Unknown, at: i64, stage: &mut Stage<'_>) {
        let Some((context, _)) = self.context_of(unknown.installation, at) else {
            return;
        };
        let app = self.installations[unknown.installation].app;
        let truth = Presented {
            sender: Sender::Owner,
            cause: Cause::Oddity(unknown.oddity),
            family: None,
        };
        let mut fact = Fact::new(at, EventType::Refresh, truth);
        fact.refused = Some((Reason::UnknownToken, "Invalid refresh token"));
        fact.app = Some(app);
        fact.presented = Some(unknown.token.clone());
        fact.context = Some(&context);
        stage.tell(&fact);
        if unknown.left > 0 {
            unknown.left -= 1;
            if unknown.oddity == Oddity::CorruptStore {
                unknown.token = super::stage::hex16(self.random.number());
            }
            let jitter = self.random.from_to(0, SECOND);
            self.plan(at + unknown.gap + jitter, Step::Unknown(Box::new(unknown)));
        }
    }

    fn enable(&mut self, at: i64, stage: &mut Stage<'_>) {
        self.is_disabled = false;
        for family in &mut self.families {
            if family.end == Some(End::Disabled) {
                family.end = None;
            }
        }
        self.operate(EventType::UserEnable, Oddity::UserDisabled, at, stage);
    }
}
