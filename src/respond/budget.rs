//! Budgets: how many actions a client, a rule, a tenant and the whole daemon may perform in ten minutes of event time.
//!
//! No published product has such a bound; the numbers are proposals and configurable. A held action consumes nothing.
//! Of a client with more than a thousand families in use, a share of them is the bound where that is less.
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
    #[serde(default)]
    tenants: BTreeMap<Text, VecDeque<i64>>,
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
    pub(super) tenant: &'a Text,
    /// Families in use at the client.
    pub(super) families: u32,
    /// Its breaker counts what is tried, in place of the client's budget.
    pub(super) on_trial: bool,
}

/// Who bears an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bearer {
    /// The budgets of all.
    All,
    /// The person's own account.
    Person,
}

/// Which budget is used up; the narrowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exhausted {
    Person(u32),
    Client(u32),
    Share { limit: u32, families: u32 },
    Rule(u32),
    Tenant(u32),
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
            Self::Share { limit, families } => format!(
                "budget used up: {limit} actions in 10 min for this client, its share of {families} families in use"
            ),
            Self::Rule(limit) => format!("budget used up: {limit} actions in 10 min for this rule"),
            Self::Tenant(limit) => {
                format!("budget used up: {limit} actions in 10 min for this tenant")
            }
            Self::Global(limit) => format!("budget used up: {limit} actions in 10 min in all"),
        }
    }
}

/// How many actions in ten minutes a client with so many families in use may bear.
pub(super) fn client_limit(budget: Budget, families: u32) -> Exhausted {
    if families <= limits::SHARE_FAMILIES_MIN {
        return Exhausted::Client(budget.per_client);
    }
    let share = u64::from(families) * u64::from(budget.per_10000_families) / 10_000;
    match u32::try_from(share).unwrap_or(u32::MAX).max(1) {
        limit if limit < budget.per_client => Exhausted::Share { limit, families },
        _ => Exhausted::Client(budget.per_client),
    }
}

impl Exhausted {
    /// Whether it is the client's own, so that nothing more should be ended there.
    pub(super) const fn of_client(self) -> Option<u32> {
        match self {
            Self::Client(limit) | Self::Share { limit, .. } => Some(limit),
            Self::Person(_) | Self::Rule(_) | Self::Tenant(_) | Self::Global(_) => None,
        }
    }
}

impl Spent {
    /// Forgets people by the end of their names.
    pub(super) fn forget_person(&mut self, end: &str) {
        self.people.retain(|person, _| !person.ends_with(end));
    }

    /// Spends one action if the budget that has to bear it allows it.
    pub(super) fn spend(
        &mut self,
        budget: Budget,
        charge: Charge<'_>,
        time: i64,
    ) -> Result<(), Exhausted> {
        let bearer = self.room(budget, charge, time)?;
        self.take(bearer, charge, time);
        Ok(())
    }

    /// Who would bear one action more, or which budget is used up.
    pub(super) fn room(
        &mut self,
        budget: Budget,
        charge: Charge<'_>,
        time: i64,
    ) -> Result<Bearer, Exhausted> {
        self.forget(time);
        if let Some(account) = self.people.get(charge.person)
            && account.shared.len() >= limits::ACTIONS_SHARED_PER_PERSON
        {
            if account.shared.len() + account.own.len() >= budget.per_client as usize {
                return Err(Exhausted::Person(budget.per_client));
            }
            return Ok(Bearer::Person);
        }
        self.room_shared(budget, charge)
    }

    fn room_shared(&self, budget: Budget, charge: Charge<'_>) -> Result<Bearer, Exhausted> {
        let count = |of: Option<&VecDeque<i64>>| of.map_or(0, VecDeque::len);
        let of_client = client_limit(budget, charge.families);
        let limit = of_client.of_client().unwrap_or(budget.per_client);
        if !charge.on_trial && count(self.clients.get(charge.client)) >= limit as usize {
            return Err(of_client);
        }
        if count(self.rules.get(charge.rule)) >= budget.per_rule as usize {
            return Err(Exhausted::Rule(budget.per_rule));
        }
        if count(self.tenants.get(charge.tenant)) >= budget.per_tenant as usize {
            return Err(Exhausted::Tenant(budget.per_tenant));
        }
        if self.all.len() >= budget.global as usize {
            return Err(Exhausted::Global(budget.global));
        }
        Ok(Bearer::All)
    }

    /// Charges an action for which there is room.
    pub(super) fn take(&mut self, bearer: Bearer, charge: Charge<'_>, time: i64) {
        let account = self.people.entry(charge.person.clone()).or_default();
        if bearer == Bearer::Person {
            account.own.push_back(time);
            return;
        }
        account.shared.push_back(time);
        for (spent, name) in [
            (&mut self.clients, charge.client),
            (&mut self.rules, charge.rule),
            (&mut self.tenants, charge.tenant),
        ] {
            spent.entry(name.clone()).or_default().push_back(time);
        }
        self.all.push_back(time);
    }

    fn forget(&mut self, time: i64) {
        let old = |spent: &i64| *spent <= time - WINDOW_MS;
        self.all.retain(|t| !old(t));
        for spent in [&mut self.clients, &mut self.rules, &mut self.tenants] {
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
            tenant: &"shop".into(),
            families: 0,
            on_trial: false,
        };
        spent.spend(budget, charge, time)
    }

    #[test]
    fn a_share_binds_only_where_many_families_are_in_use() {
        let budget = Budget::default();
        let limit = |families| client_limit(budget, families);
        assert_eq!(limit(1000), Exhausted::Client(20), "too few for a share");
        let share = |limit, families| Exhausted::Share { limit, families };
        assert_eq!(limit(1001), share(10, 1001));
        assert_eq!(limit(1999), share(19, 1999));
        assert_eq!(limit(5000), Exhausted::Client(20));
        assert!(limit(1500).reason().contains("share of 1500 families"));
    }

    #[test]
    fn a_tenant_has_a_budget_of_its_own() {
        let budget = Budget {
            per_tenant: 2,
            ..Budget::default()
        };
        let mut spent = Spent::default();
        let mut next = |person: &str, client: &str| spend(&mut spent, budget, person, client, 0);
        assert_eq!((next("a", "web"), next("b", "app")), (Ok(()), Ok(())));
        assert_eq!(next("c", "pay"), Err(Exhausted::Tenant(2)));
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
            ..Budget::default()
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
