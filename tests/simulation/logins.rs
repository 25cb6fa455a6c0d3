//! Who is logged in: what the authorization server believes, and what its events show of it.
//!
//! A server may answer that a login has ended that lives on, tell of an end or not, and tokens are used by people and thieves
//! whatever was answered. What is asked of the engine's memory in the daemon is asked here.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokenwarden::delivery::Memory;
use tokenwarden::model::{Action, ActionKind, Afterwards, Target, Text, Timestamp, Use, limits};

#[derive(Debug, Default)]
struct Login {
    user: Text,
    ended: bool,
    /// Uses that were accepted, refusals of a token that had been good, and ends that events told of.
    accepted: Vec<Timestamp>,
    refused: Vec<Timestamp>,
    told: Vec<Timestamp>,
}

/// By family.
#[derive(Default)]
pub(crate) struct Logins(Mutex<BTreeMap<Text, Login>>);

impl Logins {
    pub(crate) fn begin(&self, family: &Text, user: &Text) {
        let mut all = self.0.lock().expect("logins");
        let login = all.entry(family.clone()).or_default();
        login.user = user.clone();
    }

    pub(crate) fn families(&self) -> Vec<Text> {
        self.0.lock().expect("logins").keys().cloned().collect()
    }

    /// The server ends what it is asked to end.
    pub(crate) fn end(&self, action: &Action, is_told: bool, now: Timestamp) {
        let mut all = self.0.lock().expect("logins");
        for (family, login) in all.iter_mut() {
            if concerns(&action.target, action.kind, family, login) {
                login.ended = true;
                login.told.extend(is_told.then_some(now));
            }
        }
    }

    /// Somebody presents the newest token of a login.
    pub(crate) fn present(&self, family: &Text, now: Timestamp) {
        let mut all = self.0.lock().expect("logins");
        let login = all.get_mut(family).expect("a login");
        if login.ended {
            login.refused.push(now);
        } else {
            login.accepted.push(now);
        }
    }

    /// How often each login was used by now.
    pub(crate) fn uses(&self) -> BTreeMap<Text, usize> {
        let all = self.0.lock().expect("logins");
        let uses = all
            .iter()
            .map(|(family, it)| (family.clone(), it.accepted.len()));
        uses.collect()
    }

    /// The first use of what an action was answered to have ended, within so long where that counts, as the clock shows it; not
    /// one of those before.
    pub(crate) fn lived_on(
        &self,
        action: &Action,
        answered_at: Timestamp,
        within: Option<Duration>,
        before: &BTreeMap<Text, usize>,
    ) -> Option<Timestamp> {
        let in_force = answered_at + limits::REVOCATION_PROPAGATES;
        let until = within.map_or(Timestamp::MAX, |within| answered_at + within);
        let all = self.0.lock().expect("logins");
        let concerned = (all.iter())
            .filter(|(family, login)| concerns(&action.target, action.kind, family, login));
        let uses = concerned.flat_map(|(family, login)| {
            let before = before.get(family).copied().unwrap_or(0);
            login.accepted.iter().skip(before)
        });
        uses.copied()
            .filter(|at| *at > in_force && *at < until)
            .min()
    }

    /// What happened to the logins that an action is about.
    pub(crate) fn story(&self, action: &Action) -> String {
        let all = self.0.lock().expect("logins");
        let concerned = (all.iter())
            .filter(|(family, login)| concerns(&action.target, action.kind, family, login));
        format!("{:?}", concerned.collect::<Vec<_>>())
    }

    /// Whether events told of an end, and whether a token was refused, from then on.
    pub(crate) fn shown(&self, action: &Action, since: Timestamp) -> (bool, bool) {
        let all = self.0.lock().expect("logins");
        let concerned = (all.iter())
            .filter(|(family, login)| concerns(&action.target, action.kind, family, login));
        concerned.fold((false, false), |(told, refused), (_, login)| {
            let is_later = |at: &Timestamp| *at >= since;
            (
                told || login.told.iter().any(is_later),
                refused || login.refused.iter().any(is_later),
            )
        })
    }

    fn afterwards(&self, target: &Target, since: Timestamp) -> Afterwards {
        let all = self.0.lock().expect("logins");
        let mut seen = Afterwards::default();
        let kind = match target.family_id {
            Some(_) => ActionKind::RevokeFamily,
            None => ActionKind::RevokeUser,
        };
        for (_, login) in all.iter().filter(|(f, l)| concerns(target, kind, f, l)) {
            let since = |at: &&Timestamp| **at >= since;
            let uses = login.accepted.iter().filter(since).map(|at| Use {
                time: *at,
                network: Some("198.51.100.0/24".into()),
            });
            seen.lived_on.extend(uses);
            seen.dead |= login.refused.iter().any(|at| since(&at));
            seen.end_told |= login.told.iter().any(|at| since(&at));
        }
        seen.accepted = seen.lived_on.clone();
        seen
    }
}

fn concerns(target: &Target, kind: ActionKind, family: &Text, login: &Login) -> bool {
    match kind {
        ActionKind::RevokeFamily => target.family_id.as_ref() == Some(family),
        _ => target.user_id.as_ref() == Some(&login.user),
    }
}

impl Memory for Logins {
    fn afterwards(
        &self,
        questions: Vec<(Target, Timestamp)>,
    ) -> BoxFuture<'_, Vec<Option<Afterwards>>> {
        let answers = questions
            .iter()
            .map(|(target, since)| Some(self.afterwards(target, *since)))
            .collect();
        Box::pin(std::future::ready(answers))
    }
}
