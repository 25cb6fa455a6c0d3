//! Budgets: how many actions a client, a rule and the whole daemon may perform in ten minutes of event time.
//!
//! No published product has such a bound; the numbers are proposals and configurable. A held action consumes nothing.
//! One person's actions are charged to all only up to a few, then to that person alone: else somebody who attacks his own
//! sessions would use up what others' revocations need. Ending one person's sessions cannot become an outage.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::config::Budget;
use crate::model::{Text, limits};

const WINDOW_MS: i64 = 10 * 60 * 1000;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spent {
    clients: BTreeMap<Text, VecDeque<i64>>,
    rules: BTreeMap<Text, VecDeque<i64>>,
    all: VecDeque<i64>,
    people: BTreeMap<Text, Account>,
}

/// Spent on one person (a family where no user is known). Nobody has one who was not charged to all within the last two
/// windows, so the budgets bound the number of accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    /// Charged to all.
    shared: VecDeque<i64>,
    /// Charged to nobody else.
    own: VecDeque<i64>,
}

/// Who an action is charged to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Charge<'a> {
    pub(super) person: &'a Text,
    pub(super) client: &'a Text,
    pub(super) rule: &'a Text,
}

/// Which budget is used up; the narrowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exhausted {
    Person(u32),
    Client(u32),
    Rule(u32),
    Global(u32),
}

impl Exhausted {
    pub(super) fn reason(self) -> String {
        match self {
            Self::Person(limit) => {
                format!("budget used up: {limit} actions in 10 min for this user")
            }
            Self::Client(limit) => {
                format!("budget used up: {limit} actions in 10 min for this client")
            }
            Self::Rule(limit) => format!("budget used up: {limit} actions in 10 min for this rule"),
            Self::Global(limit) => format!("budget used up: {limit} actions in 10 min in all"),
        }
    }
}

impl Spent {
    /// Spends one action if the budget that has to bear it allows it.
    pub(super) fn spend(
        &mut self,
        budget: Budget,
        charge: Charge<'_>,
        time: i64,
    ) -> Result<(), Exhausted> {
        self.forget(time);
        if let Some(account) = self.people.get_mut(charge.person)
            && account.shared.len() >= limits::ACTIONS_SHARED_PER_PERSON
        {
            if account.shared.len() + account.own.len() >= budget.per_client as usize {
                return Err(Exhausted::Person(budget.per_client));
            }
            account.own.push_back(time);
            return Ok(());
        }
        self.spend_shared(budget, charge, time)
    }

    fn spend_shared(
        &mut self,
        budget: Budget,
        charge: Charge<'_>,
        time: i64,
    ) -> Result<(), Exhausted> {
        let count = |of: Option<&VecDeque<i64>>| of.map_or(0, VecDeque::len);
        if count(self.clients.get(charge.client)) >= budget.per_client as usize {
            return Err(Exhausted::Client(budget.per_client));
        }
        if count(self.rules.get(charge.rule)) >= budget.per_rule as usize {
            return Err(Exhausted::Rule(budget.per_rule));
        }
        if self.all.len() >= budget.global as usize {
            return Err(Exhausted::Global(budget.global));
        }
        let account = self.people.entry(charge.person.clone()).or_default();
        account.shared.push_back(time);
        for (spent, name) in [
            (&mut self.clients, charge.client),
            (&mut self.rules, charge.rule),
        ] {
            spent.entry(name.clone()).or_default().push_back(time);
        }
        self.all.push_back(time);
        Ok(())
    }

    fn forget(&mut self, time: i64) {
        let old = |spent: &i64| *spent <= time - WINDOW_MS;
        self.all.retain(|t| !old(t));
        for spent in [&mut self.clients, &mut self.rules] {
            spent.retain(|_, times| {
                times.retain(|t| !old(t));
                !times.is_empty()
            });
        }
        self.people.retain(|_, account| {
            account.shared.retain(|t| !old(t));
            account.own.retain(|t| !old(t));
            !(account.shared.is_empty() && account.own.is_empty())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "token-reuse";

    fn spend(
        spent: &mut Spent,
        budget: Budget,
        person: &str,
        client: &str,
        time: i64,
    ) -> Result<(), Exhausted> {
        let charge = Charge {
            person: &person.into(),
            client: &client.into(),
            rule: &RULE.into(),
        };
        spent.spend(budget, charge, time)
    }

    #[test]
    fn the_twenty_first_action_for_a_client_is_held_and_ten_minutes_later_there_is_room() {
        let (mut spent, budget) = (Spent::default(), Budget::default());
        for i in 0..20 {
            assert_eq!(
                spend(&mut spent, budget, &format!("u{i}"), "web", i),
                Ok(())
            );
        }
        let mut next = |client, time| spend(&mut spent, budget, "next", client, time);
        assert_eq!(next("web", 20), Err(Exhausted::Client(20)));
        assert_eq!(next("app", 20), Ok(()), "another client is not held back");
        assert_eq!(next("web", WINDOW_MS + 20), Ok(()));
    }

    #[test]
    fn what_is_held_consumes_nothing() {
        let mut spent = Spent::default();
        let budget = Budget {
            per_client: 1,
            per_rule: 9,
            global: 9,
        };
        assert_eq!(spend(&mut spent, budget, "u", "web", 0), Ok(()));
        for i in 1..100 {
            assert!(spend(&mut spent, budget, &format!("u{i}"), "web", i).is_err());
        }
        assert_eq!((spent.all.len(), spent.people.len()), (1, 1));
    }

    #[test]
    fn one_person_takes_three_from_all_and_no_more_than_a_client_s_in_sum() {
        let (mut spent, budget) = (Spent::default(), Budget::default());
        let mut mallory = |time| spend(&mut spent, budget, "mallory", "web", time);
        assert!((0..20).all(|i| mallory(i).is_ok()));
        assert_eq!(mallory(20), Err(Exhausted::Person(20)));
        assert_eq!(spent.all.len(), limits::ACTIONS_SHARED_PER_PERSON);
        for i in 0..17 {
            let other = spend(&mut spent, budget, &format!("u{i}"), "web", 30);
            assert_eq!(other, Ok(()));
        }
        assert!(spend(&mut spent, budget, "u17", "web", 30).is_err());
        assert_eq!(
            spend(&mut spent, budget, "mallory", "web", WINDOW_MS + 30),
            Ok(()),
            "all is forgotten"
        );
        assert_eq!((spent.all.len(), spent.people.len()), (1, 1));
    }
}
