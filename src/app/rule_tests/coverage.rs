//! Which rules the tests have seen fire and seen not fire: a rule that never does one of them is not tested.

use crate::model::Text;

/// How often a rule fired in the tests of its file, and how often it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    pub rule: Text,
    /// Tests in which it fired.
    pub hits: u32,
    /// Tests in which it did not.
    pub misses: u32,
}

impl Coverage {
    /// Of these rules, before any test.
    pub fn of(rules: &[Text]) -> Vec<Self> {
        let none = |rule: &Text| Self {
            rule: rule.clone(),
            hits: 0,
            misses: 0,
        };
        rules.iter().map(none).collect()
    }

    /// Counts one test in which these rules fired.
    pub fn count(all: &mut [Self], fired: &[Text]) {
        for coverage in all {
            if fired.contains(&coverage.rule) {
                coverage.hits += 1;
            } else {
                coverage.misses += 1;
            }
        }
    }

    /// What no test has seen; absent: the rule is tested.
    pub fn lacks(&self) -> Option<&'static str> {
        match (self.hits, self.misses) {
            (0, 0) => Some("no test"),
            (0, _) => Some("no test in which it fires"),
            (_, 0) => Some("no test in which it does not fire"),
            _ => None,
        }
    }
}
