//! Budgets: how many actions a client, a rule and the whole daemon may perform in ten minutes of event time.
//!
//! No published product has such a bound; the numbers are proposals and configurable. A held action consumes nothing.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::config::Budget;
use crate::model::Text;

const WINDOW_MS: i64 = 10 * 60 * 1000;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spent {
    clients: BTreeMap<Text, VecDeque<i64>>,
    rules: BTreeMap<Text, VecDeque<i64>>,
    all: VecDeque<i64>,
}

/// Which budget is used up; the narrowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exhausted {
    Client(u32),
    Rule(u32),
    Global(u32),
}

impl Exhausted {
    pub(super) fn reason(self) -> String {
        match self {
            Self::Client(limit) => {
                format!("budget used up: {limit} actions in 10 min for this client")
            }
            Self::Rule(limit) => format!("budget used up: {limit} actions in 10 min for this rule"),
            Self::Global(limit) => format!("budget used up: {limit} actions in 10 min in all"),
        }
    }
}

impl Spent {
    /// Spends one action if every budget allows it.
    pub(super) fn spend(
        &mut self,
        budget: Budget,
        client: &Text,
        rule: &Text,
        time: i64,
    ) -> Result<(), Exhausted> {
        self.forget(time);
        let count = |of: Option<&VecDeque<i64>>| of.map_or(0, VecDeque::len);
        if count(self.clients.get(client)) >= budget.per_client as usize {
            return Err(Exhausted::Client(budget.per_client));
        }
        if count(self.rules.get(rule)) >= budget.per_rule as usize {
            return Err(Exhausted::Rule(budget.per_rule));
        }
        if self.all.len() >= budget.global as usize {
            return Err(Exhausted::Global(budget.global));
        }
        self.clients
            .entry(client.clone())
            .or_default()
            .push_back(time);
        self.rules.entry(rule.clone()).or_default().push_back(time);
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twenty_first_action_for_a_client_is_held_and_ten_minutes_later_there_is_room() {
        let mut spent = Spent::default();
        let budget = Budget::default();
        let (web, app, rule): (Text, Text, Text) =
            ("web".into(), "app".into(), "token-reuse".into());
        for i in 0..20 {
            assert_eq!(spent.spend(budget, &web, &rule, i), Ok(()));
        }
        assert_eq!(
            spent.spend(budget, &web, &rule, 20),
            Err(Exhausted::Client(20))
        );
        assert_eq!(
            spent.spend(budget, &app, &rule, 20),
            Ok(()),
            "another client is not held back"
        );
        assert_eq!(spent.spend(budget, &web, &rule, WINDOW_MS + 20), Ok(()));
    }

    #[test]
    fn what_is_held_consumes_nothing() {
        let mut spent = Spent::default();
        let budget = Budget {
            per_client: 1,
            per_rule: 9,
            global: 9,
        };
        let (web, rule): (Text, Text) = ("web".into(), "r".into());
        assert_eq!(spent.spend(budget, &web, &rule, 0), Ok(()));
        for i in 1..100 {
            assert!(spent.spend(budget, &web, &rule, i).is_err());
        }
        assert_eq!(spent.all.len(), 1);
    }
}
