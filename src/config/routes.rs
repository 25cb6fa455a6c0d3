//! `routes:`: who is told of which incidents.

use std::collections::BTreeMap;

use crate::model::{Severity, Text};
use crate::yaml::Place;

/// The first route that takes an incident decides, unless it says `continue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub matches: Matches,
    /// Names of receivers, at least one.
    pub to: Vec<Text>,
    /// The routes after it are looked at too.
    pub goes_on: bool,
    pub place: Place,
}

/// What an incident must be to be taken; what is left out takes everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matches {
    pub severity_min: Option<Severity>,
    pub tenants: Vec<Text>,
    pub clients: Vec<Text>,
    /// One of these found something; with their places, since which rules there are is known elsewhere.
    pub rules: Vec<(Text, Place)>,
    /// A rule that found something has one of these values for each of these labels.
    pub labels: BTreeMap<Text, Vec<Text>>,
}

impl Matches {
    pub fn takes_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it takes whatever the other takes.
    pub fn covers(&self, other: &Self) -> bool {
        let all = |mine: &[Text], others: &[Text]| {
            mine.is_empty() || !others.is_empty() && others.iter().all(|one| mine.contains(one))
        };
        let names = |rules: &[(Text, Place)]| -> Vec<Text> {
            rules.iter().map(|(name, _)| name.clone()).collect()
        };
        let labels = self.labels.iter().all(|(label, mine)| {
            let others = other.labels.get(label);
            others.is_some_and(|others| all(mine, others))
        });
        self.severity_min <= other.severity_min
            && all(&self.tenants, &other.tenants)
            && all(&self.clients, &other.clients)
            && all(&names(&self.rules), &names(&other.rules))
            && labels
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn rules(names: &[&str]) -> Matches {
        let place = Place::start_of(Path::new("f"));
        let named = names.iter().map(|name| ((*name).into(), place.clone()));
        Matches {
            rules: named.collect(),
            ..Matches::default()
        }
    }

    #[test]
    fn a_route_covers_what_asks_for_more() {
        let (all, one, two) = (rules(&[]), rules(&["a"]), rules(&["a", "b"]));
        assert!(all.covers(&two) && two.covers(&one) && one.covers(&one));
        assert!(!one.covers(&two) && !one.covers(&all));
        let grave = Matches {
            severity_min: Some(Severity::High),
            ..rules(&["a"])
        };
        assert!(one.covers(&grave) && !grave.covers(&one));
        let labelled = Matches {
            labels: BTreeMap::from([("team".into(), vec!["web".into()])]),
            ..Matches::default()
        };
        assert!(all.covers(&labelled) && !labelled.covers(&all) && labelled.covers(&labelled));
    }
}
