//! Who is told of what: the routes and receivers of the configuration, as pure questions.
//!
//! Without routes every receiver is told of everything. With them the first that takes an incident decides; the
//! configuration makes sure that one takes all, so that nothing comes to nobody.

use std::collections::{BTreeMap, BTreeSet};

use crate::actions::Notification;
use crate::config::{Matches, Receiver, Route};
use crate::model::limits::MESSAGES_KEPT_ONE_IN;
use crate::model::{Severity, Text};

/// Labels with their values, by rule.
pub type RuleLabels = BTreeMap<Text, BTreeMap<Text, Vec<Text>>>;

#[derive(Debug, Clone, Default)]
pub struct Routes {
    list: Vec<Route>,
    receivers: BTreeMap<Text, Behind>,
    labels: RuleLabels,
}

/// What is set at one receiver.
#[derive(Debug, Clone, Default)]
struct Behind {
    fallback: Option<Text>,
    per_hour_max: Option<u32>,
}

impl Routes {
    pub fn new(routes: &[Route], receivers: &[Receiver], labels: RuleLabels) -> Self {
        let behind = |receiver: &Receiver| {
            let behind = Behind {
                fallback: receiver.fallback.clone(),
                per_hour_max: receiver.per_hour_max,
            };
            (receiver.name.clone(), behind)
        };
        Self {
            list: routes.to_vec(),
            receivers: receivers.iter().map(behind).collect(),
            labels,
        }
    }

    /// Who is told of an incident, each once; `all` are told where there are no routes.
    pub(super) fn of(&self, notification: &Notification, all: &[Text]) -> Vec<Text> {
        let rules: BTreeSet<&Text> = (notification.detections.iter())
            .map(|detection| &detection.rule)
            .chain([&notification.action.rule])
            .collect();
        self.leading(all, |matches| self.takes(matches, notification, &rules))
    }

    /// Who is told of many incidents at once: those behind the routes for all that no other takes.
    pub(super) fn of_many(&self, all: &[Text]) -> Vec<Text> {
        self.leading(all, Matches::takes_all)
    }

    fn leading(&self, all: &[Text], takes: impl Fn(&Matches) -> bool) -> Vec<Text> {
        if self.list.is_empty() {
            return all.to_vec();
        }
        let mut told: Vec<Text> = Vec::new();
        for route in self.list.iter().filter(|route| takes(&route.matches)) {
            told.extend(route.to.iter().filter(|name| all.contains(name)).cloned());
            if !route.goes_on {
                break;
            }
        }
        let mut seen = BTreeSet::new();
        told.retain(|name| seen.insert(name.clone()));
        told
    }

    fn takes(
        &self,
        matches: &Matches,
        notification: &Notification,
        rules: &BTreeSet<&Text>,
    ) -> bool {
        let (incident, target) = (&notification.incident, &notification.action.target);
        let client = incident.client_id.as_ref().or(target.client_id.as_ref());
        let is_named = |rule: &Text| {
            matches.rules.is_empty() || matches.rules.iter().any(|(name, _)| name == rule)
        };
        matches
            .severity_min
            .is_none_or(|least| incident.severity >= least)
            && is_among(&matches.tenants, incident.tenant.as_ref())
            && is_among(&matches.clients, client)
            && rules
                .iter()
                .any(|rule| is_named(rule) && self.has_labels(rule, &matches.labels))
    }

    fn has_labels(&self, rule: &Text, wanted: &BTreeMap<Text, Vec<Text>>) -> bool {
        let labels = self.labels.get(rule);
        wanted.iter().all(|(label, values)| {
            let has = labels.and_then(|labels| labels.get(label));
            has.is_some_and(|has| has.iter().any(|value| values.contains(value)))
        })
    }

    pub(super) fn fallback(&self, receiver: &Text) -> Option<&Text> {
        self.receivers.get(receiver)?.fallback.as_ref()
    }

    pub(super) fn per_hour_max(&self, receiver: &Text) -> Option<u32> {
        self.receivers.get(receiver)?.per_hour_max
    }

    /// How many messages within the hour leave room for one more of this severity; absent: any number.
    pub(super) fn room(&self, receiver: &Text, severity: Severity) -> Option<u64> {
        let most = self.per_hour_max(receiver)?;
        let kept = match severity {
            Severity::Critical => 0,
            _ => most / MESSAGES_KEPT_ONE_IN,
        };
        Some(u64::from(most - kept))
    }
}

fn is_among(names: &[Text], name: Option<&Text>) -> bool {
    names.is_empty() || name.is_some_and(|name| names.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::specimen;
    use crate::model::Timestamp;
    use crate::yaml::Place;

    fn route(matches: Matches, to: &[&str]) -> Route {
        Route {
            matches,
            to: to.iter().map(|name| (*name).into()).collect(),
            goes_on: false,
            place: Place::start_of("f".as_ref()),
        }
    }

    fn told(routes: &[Route], labels: RuleLabels) -> String {
        let all: Vec<Text> = ["page", "mail", "chat"].map(Text::from).to_vec();
        let theft = specimen("n", Timestamp::UNIX_EPOCH);
        Routes::new(routes, &[], labels).of(&theft, &all).join(" ")
    }

    fn tenant(name: &str) -> Matches {
        Matches {
            tenants: vec![name.into()],
            ..Matches::default()
        }
    }

    #[test]
    fn without_routes_all_are_told_and_with_them_the_first_that_takes_it_decides() {
        assert_eq!(told(&[], RuleLabels::new()), "page mail chat");
        let last = route(Matches::default(), &["chat"]);
        let mine = route(tenant("example"), &["page", "mail", "page"]);
        let other = route(tenant("elsewhere"), &["page"]);
        let routes = [other, mine.clone(), last.clone()];
        assert_eq!(told(&routes, RuleLabels::new()), "page mail");
        let on = Route {
            goes_on: true,
            ..mine
        };
        assert_eq!(told(&[on, last], RuleLabels::new()), "page mail chat");
    }

    #[test]
    fn labels_are_those_of_the_rules_that_found_something() {
        let labelled = Matches {
            labels: BTreeMap::from([("team".into(), vec!["web".into(), "app".into()])]),
            ..Matches::default()
        };
        let routes = [
            route(labelled, &["page"]),
            route(Matches::default(), &["chat"]),
        ];
        let of = |rule: &str, team: &str| -> RuleLabels {
            let labels = BTreeMap::from([("team".into(), vec![team.into()])]);
            BTreeMap::from([(rule.into(), labels)])
        };
        assert_eq!(told(&routes, of("token-reuse", "app")), "page");
        assert_eq!(told(&routes, of("token-reuse", "back")), "chat");
        assert_eq!(told(&routes, of("lifetime", "app")), "chat");
    }

    #[test]
    fn a_part_of_the_hour_is_kept_for_critical_incidents() {
        let receivers = BTreeMap::from([(
            "mail".into(),
            Behind {
                fallback: None,
                per_hour_max: Some(8),
            },
        )]);
        let routes = Routes {
            receivers,
            ..Routes::default()
        };
        let mail = "mail".into();
        assert_eq!(routes.room(&mail, Severity::Critical), Some(8));
        assert_eq!(routes.room(&mail, Severity::High), Some(6));
        assert_eq!(routes.room(&"chat".into(), Severity::High), None);
    }
}
