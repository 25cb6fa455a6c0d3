//! One user as a small state machine: what is held, what the server keeps of it, and what comes next.
//!
//! The agenda holds a few steps ahead; each step tells what it does and puts the next one there. What a step does stands
//! in `life` (the ordinary), `habits` (the odd) and `thieves`. Users never touch each other, so that what one of them does
//! depends on the seed and the number of the user alone.

use crate::model::{EventType, Text};

use super::context::{Context, Held};
use super::kinds::{Attack, Oddity};
use super::person::{self, Home, Installation};
use super::proof::Reply;
use super::server::{End, Family, MINUTE, Verdict};
use super::stage::{Fact, Stage, hex16, mixed, token_id};
use super::thieves::Theft;
use super::truth::{Cause, FamilyKey, FamilyTruth, Presented, Sender};
use super::whereabouts::{Away, whereabouts};
use crate::model::Reason;
use crate::simulate::random::Random;

pub(super) struct Resident {
    pub index: u32,
    pub seed: u64,
    pub user_id: Text,
    pub random: Random,
    pub home: Home,
    pub away: Away,
    pub installations: Vec<Installation>,
    pub families: Vec<Family>,
    families_so_far: u32,
    sessions_so_far: u32,
    agenda: Vec<(i64, Step)>,
    pub theft: Option<Box<Theft>>,
    /// Present while an operator has disabled the user.
    pub is_disabled: bool,
}

/// Families of one user that the server remembers. Beyond, the oldest that nobody holds a token of is forgotten.
const FAMILIES_MAX: usize = 24;

/// What comes next in somebody's life.
pub(super) enum Step {
    /// The day is planned, a little after midnight UTC.
    Plan,
    Use(usize),
    LogIn {
        installation: usize,
        silent: bool,
        cause: Cause,
    },
    Copy(Box<Copy>),
    Oddity(Oddity),
    /// A loop of refreshes goes on.
    Loop {
        installation: usize,
        left: u32,
    },
    /// An unknown token is presented again.
    Unknown(Box<Unknown>),
    Enable,
    Attack(Attack, u64),
    Thief,
}

/// A copy of a token that is not the one its installation holds: a tab's, a retry's, that of a phone in a drawer.
pub(super) struct Copy {
    pub held: Held,
    pub installation: usize,
    /// Where it comes from; wherever its installation is then, if absent.
    pub context: Option<Context>,
    pub oddity: Oddity,
    pub after: After,
}

/// What its holder makes of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Nobody waits for it.
    Nothing,
    /// It is the installation's: it goes on with the new token, or logs in.
    GoesOn,
}

/// Presentations of tokens that never were.
pub(super) struct Unknown {
    pub token: Text,
    pub installation: usize,
    pub oddity: Oddity,
    pub gap: i64,
    pub left: u32,
}

/// One presentation of a token.
pub(super) struct Presenting<'a> {
    pub held: Held,
    pub context: &'a Context,
    pub sender: Sender,
    pub cause: Cause,
    /// When the server writes it down, where that is not when it decided: real servers have the loser of a race first.
    pub stamp: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Issued(Held),
    Refused(Reason),
}

impl Resident {
    pub(super) fn new(seed: u64, index: u32) -> Self {
        let mut random = Random::part(seed, u64::from(index) + 1);
        let home = Home::new(seed, index, &mut random);
        let installations = person::installations(index, &mut random);
        Self {
            index,
            seed,
            user_id: format!("user-{index}").into(),
            home,
            installations,
            random,
            away: Away::default(),
            families: Vec::new(),
            families_so_far: 0,
            sessions_so_far: 0,
            agenda: Vec::new(),
            theft: None,
            is_disabled: false,
        }
    }

    /// When the next step is due.
    pub(super) fn due(&self) -> i64 {
        self.agenda
            .iter()
            .map(|(at, _)| *at)
            .min()
            .unwrap_or(i64::MAX)
    }

    /// Lives up to a time.
    pub(super) fn live(&mut self, until: i64, stage: &mut Stage<'_>) {
        while let Some((at, step)) = self.take_due(until) {
            self.step(at, step, stage);
        }
    }

    /// Of steps at the same time, the one that was planned first.
    fn take_due(&mut self, until: i64) -> Option<(i64, Step)> {
        let times = self.agenda.iter().map(|(at, _)| *at).enumerate();
        let (first, at) = times.min_by_key(|(_, at)| *at)?;
        (at < until).then(|| self.agenda.remove(first))
    }

    pub(super) fn plan(&mut self, at: i64, step: Step) {
        self.agenda.push((at, step));
    }

    /// When an installation is to be used next.
    pub(super) fn next_use_of(&self, installation: usize) -> Option<i64> {
        let uses = self
            .agenda
            .iter()
            .filter(|(_, step)| is_use_of(step, installation));
        uses.map(|(at, _)| *at).min()
    }

    /// Takes what was planned for an installation off the agenda: somebody else decides what comes next.
    pub(super) fn clear(&mut self, installation: usize) {
        self.agenda
            .retain(|(_, step)| !is_use_of(step, installation));
    }

    pub(super) fn context_of(
        &mut self,
        installation: usize,
        at: i64,
    ) -> Option<(Context, Option<Oddity>)> {
        let one = self.installations.get(installation)?;
        whereabouts(&self.home, &self.away, one, at, &mut self.random)
    }

    pub(super) fn key(&self, number: u32) -> FamilyKey {
        FamilyKey {
            user: self.index,
            number,
        }
    }

    pub(super) fn family(&mut self, number: u32) -> Option<&mut Family> {
        self.families
            .iter_mut()
            .find(|family| family.number == number)
    }

    /// A family that began before the log: nobody saw its login.
    pub(super) fn inherit(&mut self, installation: usize, at: i64) {
        let serial = self.random.below(200);
        let number = self.new_family(installation, None, serial, at);
        self.installations[installation].held = Some(Held {
            family: number,
            serial,
        });
    }

    /// A new family with its first token; in the session of an older one if that is given.
    pub(super) fn new_family(
        &mut self,
        installation: usize,
        session_of: Option<u32>,
        serial: u32,
        at: i64,
    ) -> u32 {
        let number = self.families_so_far;
        self.families_so_far += 1;
        let old = session_of
            .and_then(|number| self.family(number))
            .map(|old| (old.session, old.session_id.clone()));
        let (session, session_id) = old.unwrap_or_else(|| self.new_session());
        let id = hex16(mixed(
            self.seed ^ mixed((u64::from(self.index) << 32) | u64::from(number)),
        ));
        let app = self.installations[installation].app;
        self.forget_families();
        let ids = (format!("f-{id}").into(), session, session_id);
        self.families
            .push(Family::new(number, app, ids, serial, at));
        number
    }

    fn new_session(&mut self) -> (u32, Text) {
        let session = self.sessions_so_far;
        self.sessions_so_far += 1;
        let number = (u64::from(self.index) << 32) | u64::from(session);
        (
            session,
            format!("s-{}", hex16(mixed(!self.seed ^ mixed(number)))).into(),
        )
    }

    fn forget_families(&mut self) {
        if self.families.len() < FAMILIES_MAX {
            return;
        }
        let installations = &self.installations;
        let theft = self.theft.as_ref().map(|theft| theft.held.family);
        let is_held = |number: u32| {
            let by_owner = installations
                .iter()
                .filter_map(|one| one.held)
                .any(|held| held.family == number);
            by_owner || theft == Some(number)
        };
        if let Some(oldest) = self
            .families
            .iter()
            .position(|family| !is_held(family.number))
        {
            self.families.remove(oldest);
        }
    }

    /// A token is presented, and the answer written down.
    pub(super) fn present(
        &mut self,
        at: i64,
        one: &Presenting<'_>,
        stage: &mut Stage<'_>,
    ) -> Answer {
        let key = self.key(one.held.family);
        let truth = Presented {
            sender: one.sender,
            cause: one.cause,
            family: Some(key),
        };
        let mut fact = Fact::new(one.stamp.unwrap_or(at), EventType::Refresh, truth);
        fact.presented = Some(token_id(self.seed, key, one.held.serial));
        fact.context = Some(one.context);
        fact.user_id = Some(&self.user_id);
        let Some(place) = self
            .families
            .iter()
            .position(|family| family.number == one.held.family)
        else {
            fact.refused = Some((Reason::Expired, "Token is not active"));
            stage.tell(&fact);
            return Answer::Refused(Reason::Expired);
        };
        let was_alive = self.families[place].end.is_none();
        let verdict = self.families[place].present(one.held.serial, at, &stage.names.restarts);
        let family = &self.families[place];
        let mut reply = Reply::Refused;
        let answer = match verdict {
            Verdict::Accepted { issued, dead } => {
                reply = if dead {
                    Reply::HonouredDead
                } else {
                    Reply::Accepted
                };
                let serial = issued.unwrap_or(one.held.serial);
                fact.issued = issued.map(|serial| token_id(self.seed, key, serial));
                Answer::Issued(Held { serial, ..one.held })
            }
            Verdict::Refused(reason, text) => {
                fact.refused = Some((reason, text));
                Answer::Refused(reason)
            }
        };
        stage.tell(&fact.about(family));
        if family.listed && at < stage.end {
            let source = stage.source();
            let truth = &mut *stage.truth;
            truth.presented((key, one.sender), at, one.context, reply, source);
            // By the owner's own race, if no stranger has come by now.
            if was_alive && family.end.is_some() {
                truth.ended(key);
            }
        }
        answer
    }

    /// From now on there is something to be said about the family of this token.
    pub(super) fn list(&mut self, held: Held, stage: &mut Stage<'_>) {
        let (seed, user_id, key) = (self.seed, self.user_id.clone(), self.key(held.family));
        let Some(family) = self.family(held.family) else {
            return;
        };
        if family.listed {
            return;
        }
        family.listed = true;
        stage.truth.list(FamilyTruth {
            key,
            family_id: family.id.clone(),
            first_token: token_id(seed, key, family.first_serial),
            user_id,
            client_id: family.app.setting().client_id,
            attack: None,
            stolen_at: None,
            first_stranger: None,
            proved: None,
            unproved: None,
            oddities: Vec::new(),
            dead_token_honoured: None,
        });
    }

    /// The owner does something odd with this token.
    pub(super) fn odd(&mut self, held: Held, oddity: Oddity, stage: &mut Stage<'_>) {
        self.list(held, stage);
        stage.truth.odd(self.key(held.family), oddity);
    }

    /// Ends families for a reason that is no dispute about a token.
    pub(super) fn end(&mut self, end: End, which: impl Fn(&Family) -> bool, stage: &mut Stage<'_>) {
        let index = self.index;
        for family in self
            .families
            .iter_mut()
            .filter(|family| family.end.is_none() && which(family))
        {
            family.end = Some(end);
            if family.listed {
                stage.truth.ended(FamilyKey {
                    user: index,
                    number: family.number,
                });
            }
        }
    }
}

fn is_use_of(step: &Step, wanted: usize) -> bool {
    match step {
        Step::Use(installation)
        | Step::LogIn { installation, .. }
        | Step::Loop { installation, .. } => *installation == wanted,
        Step::Copy(copy) => copy.installation == wanted && copy.after == After::GoesOn,
        _ => false,
    }
}

/// A pause of some minutes.
pub(super) fn minutes(random: &mut Random, least: i64, most: i64) -> i64 {
    random.from_to(least * MINUTE, most * MINUTE)
}
