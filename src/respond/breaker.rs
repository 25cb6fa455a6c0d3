//! Breaker: where a client's budget is used up, or a storm of reuse begins, nothing more is ended there by itself.
//!
//! So many thefts at one client are seldom thefts: a release with a bug, a server that lost its memory, or somebody who
//! wants the victims locked out. Detection goes on, actions are held, and other clients keep their protection.
//!
//! It opens for a client of one tenant. It is half open when a person says so, or when it has been quiet for ten minutes:
//! then half of the client's budget is tried. If that is used up it opens again; if not, it closes half an hour later.
//! Quiet means that fewer than half of the budget was wanted, one person counted a few times at most: else one account
//! that goes on to attack itself would keep the breaker open for everybody.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::model::{BreakerClient, BreakerReport, BreakerState, Text, Timestamp, limits};

use super::ageing::Ageing;

/// As long as a budget's window.
const QUIET_MS: i64 = 10 * 60 * 1000;
const TRIAL_MS: i64 = 30 * 60 * 1000;
/// Wanted actions remembered of one breaker; half of a budget beyond it counts as this.
const WANTED_MAX: usize = 512;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Breakers {
    of: Ageing<Text, Breaker>,
    evicted: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Breaker {
    client: BreakerClient,
    state: BreakerState,
    /// Event time at which it came into this state.
    since: i64,
    why: Text,
    /// What was wanted lately: when, and for whom.
    wanted: VecDeque<(i64, Text)>,
    /// Held since it opened.
    held: u64,
    /// Performed since it is half open.
    tried: u32,
}

/// What a breaker says about an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gate {
    /// There is none: the budgets decide.
    Closed,
    /// One of those that are tried; the client's budget is not asked.
    Trial,
    /// Held, and why.
    Held(Text),
}

impl Breakers {
    /// Whether an action for this person may go on at a client whose budget is `limit`. Takes note that it was wanted.
    pub(super) fn admits(&mut self, client: &Text, person: &Text, limit: u32, time: i64) -> Gate {
        let Some(breaker) = self.of.get_mut(client) else {
            return Gate::Closed;
        };
        let Some(state) = breaker.state_at(limit, time) else {
            self.of.remove(client);
            return Gate::Closed;
        };
        if state != breaker.state {
            breaker.enter(state, time);
        }
        breaker.note(person, time);
        match state {
            BreakerState::HalfOpen => Gate::Trial,
            BreakerState::Open => {
                breaker.held += 1;
                Gate::Held(breaker.reason())
            }
        }
    }

    /// One of those that are tried is to be performed. `false` when they are used up: then it has opened again.
    pub(super) fn try_one(&mut self, client: &Text, limit: u32, time: i64) -> bool {
        let Some(breaker) = self.of.get_mut(client) else {
            return true;
        };
        if breaker.tried < half_of(limit) {
            breaker.tried += 1;
            return true;
        }
        breaker.why = format!(
            "half of its budget, {}, was used up on trial",
            breaker.tried
        )
        .into();
        breaker.enter(BreakerState::Open, time);
        breaker.held = 1;
        false
    }

    /// Opens the client's breaker; `false` when it was open.
    pub(super) fn open(
        &mut self,
        client: &BreakerClient,
        why: Text,
        limit: u32,
        time: i64,
    ) -> bool {
        let key = client.key();
        let known = self.of.get(&key);
        if known.and_then(|breaker| breaker.state_at(limit, time)) == Some(BreakerState::Open) {
            return false;
        }
        self.of.remove(&key);
        self.of
            .touch(&key, time, || Breaker::new(client.clone(), why, time));
        while self.of.len() > limits::BREAKERS_MAX && self.of.pop_oldest().is_some() {
            self.evicted += 1;
        }
        true
    }

    /// The action that opened it is held too.
    pub(super) fn hold(&mut self, client: &Text, person: &Text, time: i64) {
        if let Some(breaker) = self.of.get_mut(client) {
            breaker.note(person, time);
            breaker.held += 1;
        }
    }

    /// A person lets some through; `false` when there is nothing open.
    pub(super) fn half_open(&mut self, client: &Text, time: i64) -> bool {
        let breaker = self.of.get_mut(client);
        let Some(breaker) = breaker.filter(|it| it.state == BreakerState::Open) else {
            return false;
        };
        breaker.enter(BreakerState::HalfOpen, time.max(breaker.since));
        true
    }

    /// Those that are not closed at an event time. `limit`: the budget of a client.
    pub(super) fn report(&self, limit: u32, time: i64) -> Vec<BreakerReport> {
        let report = |(_, breaker): (&Text, &Breaker)| {
            let state = breaker.state_at(limit, time)?;
            Some(breaker.report(state))
        };
        self.of.iter().filter_map(report).collect()
    }

    /// Forgets people by the end of their names.
    pub(super) fn forget(&mut self, end: &str) {
        for breaker in self.of.values_mut() {
            breaker.wanted.retain(|(_, person)| !person.ends_with(end));
        }
    }

    /// Breakers forgotten before their time, because there were too many.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }
}

fn half_of(limit: u32) -> u32 {
    limit.div_ceil(2)
}

impl Breaker {
    fn new(client: BreakerClient, why: Text, time: i64) -> Self {
        Self {
            client,
            state: BreakerState::Open,
            since: time,
            why,
            wanted: VecDeque::new(),
            held: 0,
            tried: 0,
        }
    }

    fn enter(&mut self, state: BreakerState, time: i64) {
        (self.state, self.since, self.tried) = (state, time, 0);
    }

    /// Of one person no more than is counted: who asks again and again makes nobody else forgotten.
    fn note(&mut self, person: &Text, time: i64) {
        let newest_first = (0..self.wanted.len()).rev();
        let mut of_person = newest_first.filter(|at| self.wanted[*at].1 == *person);
        if let Some(oldest) = of_person.nth(limits::ACTIONS_SHARED_PER_PERSON - 1) {
            self.wanted.remove(oldest);
        }
        self.wanted.push_back((time, person.clone()));
        if self.wanted.len() > WANTED_MAX {
            self.wanted.pop_front();
        }
    }

    /// What has become of it by this time; `None` when it has closed.
    fn state_at(&self, limit: u32, time: i64) -> Option<BreakerState> {
        let lasted = time.saturating_sub(self.since);
        match self.state {
            BreakerState::HalfOpen => (lasted < TRIAL_MS).then_some(BreakerState::HalfOpen),
            BreakerState::Open if lasted < QUIET_MS || !self.is_quiet(limit, time) => {
                Some(BreakerState::Open)
            }
            // Nobody has asked since it became quiet: its trial is over without one.
            BreakerState::Open => {
                let idle = time.saturating_sub(self.newest().max(self.since));
                (idle < QUIET_MS + TRIAL_MS).then_some(BreakerState::HalfOpen)
            }
        }
    }

    fn newest(&self) -> i64 {
        let times = self.wanted.iter().map(|(at, _)| *at);
        times.max().unwrap_or(i64::MIN)
    }

    fn is_quiet(&self, limit: u32, time: i64) -> bool {
        let since = time.saturating_sub(QUIET_MS);
        let mut people: BTreeMap<&Text, usize> = BTreeMap::new();
        for (_, person) in self.wanted.iter().filter(|(at, _)| *at > since) {
            *people.entry(person).or_default() += 1;
        }
        let counted = |times: &usize| (*times).min(limits::ACTIONS_SHARED_PER_PERSON);
        let wanted: usize = people.values().map(counted).sum();
        wanted < (half_of(limit) as usize).min(WANTED_MAX / 2)
    }

    fn reason(&self) -> Text {
        let client = &self.client.client_id;
        format!("the breaker of client {client} is open: {}", self.why).into()
    }

    fn report(&self, state: BreakerState) -> BreakerReport {
        BreakerReport {
            client: self.client.clone(),
            state,
            since: Timestamp::from_millisecond(self.since).unwrap_or(Timestamp::UNIX_EPOCH),
            why: self.why.clone(),
            held: self.held,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const LIMIT: u32 = 20;

    fn web() -> BreakerClient {
        BreakerClient {
            issuer: "idp".into(),
            tenant: None,
            client_id: "web".into(),
        }
    }

    fn opened() -> (Breakers, Text) {
        let mut breakers = Breakers::default();
        assert!(breakers.open(&web(), "its budget is used up".into(), LIMIT, 0));
        (breakers, web().key())
    }

    fn state(breakers: &Breakers, time: i64) -> Option<BreakerState> {
        let report = breakers.report(LIMIT, time);
        report.first().map(|breaker| breaker.state)
    }

    #[test]
    fn left_alone_it_is_half_open_after_ten_minutes_and_closes_half_an_hour_later() {
        let (breakers, _) = opened();
        assert_eq!(state(&breakers, 10 * MINUTE - 1), Some(BreakerState::Open));
        assert_eq!(state(&breakers, 10 * MINUTE), Some(BreakerState::HalfOpen));
        assert_eq!(state(&breakers, 40 * MINUTE), None);
    }

    #[test]
    fn as_long_as_many_ask_it_stays_open_and_one_account_cannot_keep_it_so() {
        let (mut breakers, key) = opened();
        for n in 0..60 {
            let gate = breakers.admits(&key, &format!("u{n}").into(), LIMIT, n * MINUTE / 2);
            assert!(matches!(gate, Gate::Held(_)), "{n}: {gate:?}");
        }
        let (mut breakers, key) = opened();
        let mallory: Text = "mallory".into();
        let mut gates = (0..60).map(|n| breakers.admits(&key, &mallory, LIMIT, n * MINUTE / 2));
        let first = gates.position(|gate| gate == Gate::Trial);
        assert_eq!(first, Some(20), "after ten minutes");
    }

    #[test]
    fn on_trial_half_of_the_budget_goes_through_and_then_it_opens_again() {
        let (mut breakers, key) = opened();
        let time = 11 * MINUTE;
        for n in 0..10 {
            let person: Text = format!("u{n}").into();
            assert_eq!(breakers.admits(&key, &person, LIMIT, time), Gate::Trial);
            assert!(breakers.try_one(&key, LIMIT, time));
        }
        assert!(!breakers.try_one(&key, LIMIT, time));
        let gate = breakers.admits(&key, &"u".into(), LIMIT, time + 1);
        assert!(matches!(gate, Gate::Held(why) if why.contains("on trial")));
        assert_eq!(breakers.report(LIMIT, time + 1)[0].held, 2);
    }

    #[test]
    fn a_person_half_opens_it_at_once_and_nothing_that_is_closed() {
        let (mut breakers, key) = opened();
        assert!(breakers.half_open(&key, 5));
        assert_eq!(state(&breakers, 5), Some(BreakerState::HalfOpen));
        assert!(!breakers.half_open(&key, 6), "it is");
        assert!(!breakers.half_open(&"idp/-/app".into(), 6));
    }

    #[test]
    fn a_second_cause_changes_nothing_and_a_storm_during_the_trial_opens_it_again() {
        let (mut breakers, _) = opened();
        assert!(!breakers.open(&web(), "a storm".into(), LIMIT, MINUTE));
        assert!(breakers.open(&web(), "a storm".into(), LIMIT, 11 * MINUTE));
        assert_eq!(state(&breakers, 12 * MINUTE), Some(BreakerState::Open));
    }
}
