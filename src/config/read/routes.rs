//! `routes:`: each says which incidents it takes (`match`) and who is told (`to`).
//!
//! What a route takes must be something that the routes before it leave, and every incident must come to somebody: a
//! route that nothing reaches and an incident that reaches nobody look alike until the night when it counts.

use std::collections::BTreeMap;

use crate::model::limits::{ROUTE_VALUES_MAX, ROUTES_MAX};
use crate::model::{Severity, Text};
use crate::yaml::{Fault, Faults, Map, Node, Place, nearest};

use super::super::{Config, Matches, ReceiverKind, Route};
use super::across::{name_of, parts};
use super::{some, texts};

pub(super) fn routes(node: &Node, faults: &mut Faults) -> Option<Vec<Route>> {
    let routes = node.list(faults, route)?;
    if node.items().len() > ROUTES_MAX {
        faults.push(node.fault(format!("more than {ROUTES_MAX} routes")));
    }
    Some(routes)
}

fn route(node: &Node, faults: &mut Faults) -> Option<Route> {
    let mut map = node.mapping(faults)?;
    let matches = map.or("match", Matches::default(), faults, matches);
    let to = map.required("to", faults, |node, faults| some(node, faults, Node::text));
    let goes_on = map.or("continue", false, faults, Node::boolean);
    map.finish(faults);
    Some(Route {
        matches,
        to: to?,
        goes_on,
        place: node.place().clone(),
    })
}

fn matches(node: &Node, faults: &mut Faults) -> Option<Matches> {
    let mut map = node.mapping(faults)?;
    let matches = Matches {
        severity_min: map.optional("severity_min", faults, |node, faults| {
            node.name(Severity::ALL, Severity::as_str, faults)
        }),
        tenants: values(&mut map, "tenant", faults),
        clients: values(&mut map, "client_id", faults),
        rules: rules(&mut map, faults),
        labels: map.or("label", BTreeMap::new(), faults, labels),
    };
    map.finish(faults);
    Some(matches)
}

fn values(map: &mut Map<'_>, key: &'static str, faults: &mut Faults) -> Vec<Text> {
    map.or(key, Vec::new(), faults, bounded)
}

fn bounded(node: &Node, faults: &mut Faults) -> Option<Vec<Text>> {
    if node.items().len() > ROUTE_VALUES_MAX {
        faults.push(node.fault(format!("more than {ROUTE_VALUES_MAX} values")));
        return None;
    }
    some(node, faults, Node::text)
}

fn rules(map: &mut Map<'_>, faults: &mut Faults) -> Vec<(Text, Place)> {
    let Some(node) = map.get("rule") else {
        return Vec::new();
    };
    let named = texts(node, faults).unwrap_or_default();
    let nodes = node.items().iter();
    let placed = nodes.filter_map(|node| Some((node.as_str()?.into(), node.place().clone())));
    placed.filter(|(name, _)| named.contains(name)).collect()
}

fn labels(node: &Node, faults: &mut Faults) -> Option<BTreeMap<Text, Vec<Text>>> {
    let entries = node.mapping(faults)?.entries().into_iter();
    let read = entries.filter_map(|entry| Some((entry.name.clone(), bounded(entry.node, faults)?)));
    Some(read.collect())
}

/// What the routes and the receivers show together.
pub(super) fn check(root: &Node, config: &Config, faults: &mut Faults) {
    known_fallbacks(root, config, faults);
    let Some(node) = root
        .member("routes")
        .filter(|node| !node.items().is_empty())
    else {
        return;
    };
    known_receivers(root, node, faults);
    used_receivers(root, config, faults);
    reachable(config, faults);
    if !config.routes.iter().any(|route| route.matches.takes_all()) {
        let fault = node.fault("incidents that no route takes would reach nobody");
        faults.push(fault.with_hint("end the list with a route without `match`, for all others"));
    }
    only_pages(config, faults);
    near_names(node, config, faults);
}

fn known_receivers(root: &Node, routes: &Node, faults: &mut Faults) {
    let to = routes.items().iter().filter_map(|route| route.member("to"));
    for node in to.flat_map(Node::items) {
        known(root, node, faults);
    }
}

fn known(root: &Node, node: &Node, faults: &mut Faults) {
    let receivers = parts(root, "receivers").iter();
    let names = || receivers.clone().filter_map(|it| name_of(it)?.as_str());
    let Some(name) = node
        .as_str()
        .filter(|name| names().all(|known| known != *name))
    else {
        return;
    };
    let fault = node.fault(format!("there is no receiver `{name}`"));
    let hint = match nearest(name, names()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("receivers: {}", names().collect::<Vec<_>>().join(", ")),
    };
    faults.push(fault.with_hint(hint));
}

fn known_fallbacks(root: &Node, config: &Config, faults: &mut Faults) {
    for receiver in parts(root, "receivers") {
        let (Some(name), Some(fallback)) = (name_of(receiver), receiver.member("fallback")) else {
            continue;
        };
        known(root, fallback, faults);
        if name.as_str() == fallback.as_str() {
            faults.push(fallback.fault("a receiver cannot stand in for itself"));
        } else if config.routes.is_empty() {
            let fault =
                fallback.fault("without `routes` every receiver is told everything already");
            faults.warn(fault.with_hint("add `routes`, or remove this line"));
        }
    }
}

fn used_receivers(root: &Node, config: &Config, faults: &mut Faults) {
    let routed = |name: &Text| config.routes.iter().any(|route| route.to.contains(name));
    let stands_in = |name: &Text| {
        let mut fallbacks = config
            .receivers
            .iter()
            .filter_map(|it| it.fallback.as_ref());
        fallbacks.any(|fallback| fallback == name)
    };
    for node in parts(root, "receivers") {
        let named = name_of(node).and_then(Node::as_str).unwrap_or_default();
        let receiver = config.receivers.iter().find(|it| *it.name == *named);
        // A digest goes to whom it is set at, whatever the routes are; but somebody must have meant it.
        let meant = |digest_at: Option<_>| digest_at.is_some() && node.member("digest").is_some();
        let Some(receiver) = receiver.filter(|it| !meant(it.digest_at)) else {
            continue;
        };
        if !routed(&receiver.name) && !stands_in(&receiver.name) {
            let fault = node.fault(format!("no route leads to the receiver `{named}`"));
            faults.push(
                fault.with_hint("name it under `to` of a route or as a `fallback`, or remove it"),
            );
        }
    }
}

/// A route that takes nothing but what the ones before it have taken.
fn reachable(config: &Config, faults: &mut Faults) {
    for (n, route) in config.routes.iter().enumerate() {
        let mut before = config
            .routes
            .iter()
            .take(n)
            .filter(|before| !before.goes_on);
        if let Some(first) = before.find(|before| before.matches.covers(&route.matches)) {
            let line = first.place.line;
            let message = format!(
                "this route matches nothing: the one in line {line} takes all that it could"
            );
            let hint = "put it before that one, or give that one `continue: true`";
            faults.push(route.place.fault(message).with_hint(hint));
        }
    }
}

/// Whoever is only paged is never told of what was ended without a person.
fn only_pages(config: &Config, faults: &mut Faults) {
    let pages = |name: &Text| {
        let receiver = config.receivers.iter().find(|it| it.name == *name);
        receiver.is_some_and(|it| matches!(it.kind, ReceiverKind::PagerDuty(_)))
    };
    for route in &config.routes {
        if !route.goes_on && !route.to.is_empty() && route.to.iter().all(pages) {
            let fault = route.place.fault("incidents that are contained at once page nobody, so this route tells nobody of them");
            faults.warn(fault.with_hint("name a receiver of mails or of Slack beside it"));
        }
    }
}

/// Servers have more clients and tenants than a file names, so a strange one is a fault only when it is nearly one of them.
fn near_names(routes: &Node, config: &Config, faults: &mut Faults) {
    let clients: Vec<&str> = config.clients.by_id.keys().map(AsRef::as_ref).collect();
    let tenants: Vec<&str> = config.tenants.by_name.keys().map(AsRef::as_ref).collect();
    for matches in routes
        .items()
        .iter()
        .filter_map(|route| route.member("match"))
    {
        for (key, names) in [("client_id", &clients), ("tenant", &tenants)] {
            for node in matches.member(key).map_or(&[][..], Node::items) {
                let Some(name) = node.as_str().filter(|name| !names.contains(name)) else {
                    continue;
                };
                if let Some(meant) = nearest(name, names.iter().copied()) {
                    let fault = node.fault(format!("`{name}` stands nowhere else in this file"));
                    faults.warn(fault.with_hint(format!("did you mean `{meant}`?")));
                }
            }
        }
    }
}

impl Config {
    /// Routes that can match nothing, because there is no such rule, or none with such labels.
    pub fn routes_to_nothing(
        &self,
        rules: &BTreeMap<Text, BTreeMap<Text, Vec<Text>>>,
    ) -> Vec<Fault> {
        let names: Vec<&str> = rules.keys().map(AsRef::as_ref).collect();
        let mut faults = Vec::new();
        for route in &self.routes {
            let wanted = &route.matches.rules;
            for (name, place) in wanted.iter().filter(|(name, _)| !names.contains(&&**name)) {
                let fault = place.fault(format!("there is no rule `{name}`"));
                faults.push(match nearest(name, names.iter().copied()) {
                    Some(meant) => fault.with_hint(format!("did you mean `{meant}`?")),
                    None => fault.with_hint("`tokenwarden rules list` names them"),
                });
            }
            let candidates =
                |name: &Text| wanted.is_empty() || wanted.iter().any(|(it, _)| it == name);
            let mut candidates = rules.iter().filter(|(name, _)| candidates(name)).peekable();
            let is_known = candidates.peek().is_some();
            let wanted = &route.matches.labels;
            if is_known && !candidates.any(|(_, labels)| has_labels(wanted, labels)) {
                let fault = route
                    .place
                    .fault("this route matches nothing: no rule that it is for has such labels");
                faults.push(
                    fault.with_hint("`tokenwarden rules show NAME` tells the labels of a rule"),
                );
            }
        }
        faults
    }
}

/// Whether a rule's labels have one of the values wanted for each label.
fn has_labels(wanted: &BTreeMap<Text, Vec<Text>>, labels: &BTreeMap<Text, Vec<Text>>) -> bool {
    wanted.iter().all(|(label, values)| {
        let has = labels.get(label);
        has.is_some_and(|has| has.iter().any(|value| values.contains(value)))
    })
}
