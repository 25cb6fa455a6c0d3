//! `overrides:` of the configuration: what an operator changes about a rule without editing its file.
//!
//! ```yaml
//! overrides:
//!   refresh-velocity:
//!     limit_min: 20                                        # parameters stand beside the mode
//!     clients: { ci-robot: { limit_min: 500, mode: alert } }
//! ```
//!
//! Under `clients` and `tenants` an entry named `default` fills what the others leave out. A client's word stands above its
//! tenant's, and of modes the lowest wins.

use std::sync::Arc;

use super::rule::SetBy;
use super::suppress::Asked;
use super::variants::Variants;
use super::{Rule, RuleSet, exception, spec, suppress};
use crate::model::{Mode, Text, limits};
use crate::yaml::{Fault, Faults, Map, Node, nearest};

/// Puts the files' rules together and applies the overrides.
pub(super) fn compile(
    files: Vec<Rule>,
    overrides: &[(Text, Node)],
    faults: &mut Faults,
) -> RuleSet {
    let mut rules: Vec<Rule> = Vec::new();
    for rule in files {
        if rules.iter().any(|known| known.name == rule.name) {
            let place = &rule.written.place;
            faults.push(
                place
                    .fault(format!("rule `{}` stands in two places", rule.name))
                    .with_hint("give one of them another name"),
            );
            continue;
        }
        rules.push(rule);
    }
    for (name, node) in overrides {
        match rules.iter_mut().find(|rule| rule.name == *name) {
            Some(rule) => override_rule(rule, node, faults),
            None => faults.push(unknown_rule(name, node, &rules)),
        }
    }
    RuleSet {
        rules: rules.into_iter().map(Arc::new).collect(),
        ..RuleSet::default()
    }
}

fn override_rule(rule: &mut Rule, node: &Node, faults: &mut Faults) {
    let Some(mut map) = node.mapping(faults) else {
        return;
    };
    change(rule, &mut map, faults);
    if let Some(more) = map.optional("exceptions", faults, exception::read_all) {
        rule.exceptions.extend(more.into_iter().map(Arc::new));
    }
    let clients = map.get("clients");
    let tenants = map.get("tenants");
    map.finish(faults);
    for (place, key, _) in node.members() {
        rule.written
            .keys
            .insert(key.clone(), (SetBy::Override, place.clone()));
    }
    let clients = clients.and_then(|node| Changes::read(node, rule, faults));
    let tenants = tenants.and_then(|node| Changes::read(node, rule, faults));
    if clients.is_some() || tenants.is_some() {
        let (clients, tenants) = (clients.unwrap_or_default(), tenants.unwrap_or_default());
        rule.variants = variants(rule, &clients, &tenants, node, faults);
    }
}

/// What may be changed about a rule, for everybody or for some.
fn change(rule: &mut Rule, map: &mut Map<'_>, faults: &mut Faults) {
    set(&mut rule.mode, map.optional("mode", faults, spec::mode));
    set(
        &mut rule.severity,
        map.optional("severity", faults, spec::severity),
    );
    set(
        &mut rule.response,
        map.optional("response", faults, spec::actions),
    );
    set(
        &mut rule.offer,
        map.optional("offer", faults, spec::actions),
    );
    let suppress = map.optional("suppress", faults, suppress::read);
    set(&mut rule.suppress, suppress.map(Asked::once));
    set(&mut rule.risk, map.optional("risk", faults, spec::risk));
    spec::parameters(&mut rule.detect, map, faults);
}

fn set<T>(value: &mut T, written: Option<T>) {
    if let Some(written) = written {
        *value = written;
    }
}

/// What an override says of clients, or of tenants.
#[derive(Default)]
struct Changes<'a> {
    default: Option<&'a Node>,
    named: Vec<(&'a Text, &'a Node)>,
}

impl<'a> Changes<'a> {
    /// Reads each entry once on a copy of the rule, for its faults.
    fn read(node: &'a Node, rule: &Rule, faults: &mut Faults) -> Option<Self> {
        let mut map = node.mapping(faults)?;
        let default = map.get("default");
        let entries = map.entries();
        map.finish(faults);
        for entry in &entries {
            if nearest(entry.name, ["default"]).is_some() {
                let fault = entry
                    .place
                    .fault(format!("`{}` is taken for a name", entry.name));
                faults.warn(fault.with_hint("did you mean `default`?"));
            }
        }
        let before = faults.len();
        for node in default.into_iter().chain(entries.iter().map(|e| e.node)) {
            apply(&mut rule.clone(), node, faults);
        }
        (faults.len() == before).then(|| Self {
            default,
            named: entries.iter().map(|e| (e.name, e.node)).collect(),
        })
    }

    fn names(&self) -> Vec<Text> {
        self.named.iter().map(|(name, _)| (*name).clone()).collect()
    }

    /// Applies what stands for a name, over what `default` fills in. The mode can only become lower.
    fn apply(&self, rule: &mut Rule, name: Option<&Text>) {
        let ceiling = std::mem::replace(&mut rule.mode, Mode::Enforce);
        let of_name = name.and_then(|name| self.named.iter().find(|(known, _)| *known == name));
        let nodes = self
            .default
            .into_iter()
            .chain(of_name.map(|(_, node)| *node));
        for node in nodes {
            // Their faults have been told.
            apply(rule, node, &mut Faults::default());
        }
        rule.mode = rule.mode.min(ceiling);
    }
}

fn apply(rule: &mut Rule, node: &Node, faults: &mut Faults) {
    let Some(mut map) = node.mapping(faults) else {
        return;
    };
    change(rule, &mut map, faults);
    map.finish(faults);
    for (place, key, _) in node.members() {
        let set = (SetBy::Override, place.clone());
        rule.written.keys.insert(key.clone(), set);
    }
}

fn variants(
    rule: &Rule,
    clients: &Changes<'_>,
    tenants: &Changes<'_>,
    node: &Node,
    faults: &mut Faults,
) -> Variants {
    let count = (clients.named.len() + 1).saturating_mul(tenants.named.len() + 1);
    if count > limits::VARIANTS_MAX {
        let most = limits::VARIANTS_MAX;
        let fault = node.fault(format!(
            "clients by tenants make {count} variants, most are {most}"
        ));
        faults.push(fault.with_hint("name tenants or clients, not many of both"));
        return Variants::default();
    }
    Variants::new(&clients.names(), &tenants.names(), |client, tenant| {
        let mut variant = rule.clone();
        tenants.apply(&mut variant, tenant);
        clients.apply(&mut variant, client);
        variant
    })
}

fn unknown_rule(name: &Text, node: &Node, rules: &[Rule]) -> Fault {
    let fault = node.fault(format!("there is no rule `{name}`"));
    match nearest(name, rules.iter().map(|rule| &*rule.name)) {
        Some(near) => fault.with_hint(format!("did you mean `{near}`?")),
        None => fault.with_hint("overrides go by the names in the rule files"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parameters::Describer, parse};
    use super::*;

    const RULE: &str = "version: 1\nrules:\n- name: fast\n  description: d\n  severity: medium\n  detect: { velocity: { limit_min: 10 } }\n";

    fn overridden(text: &str) -> Result<Arc<Rule>, String> {
        let node = Node::parse(text, "c.yaml".as_ref(), &mut Faults::default()).unwrap();
        let set = parse(&[("r.yaml".as_ref(), RULE)], &[("fast".into(), node)]);
        set.map(|set| Arc::clone(&set.rules[0])).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            faults.join("\n")
        })
    }

    fn value(rule: &Rule, key: &str) -> String {
        let mut describer = Describer::default();
        rule.detect.clone().parameters(&mut describer);
        let mut parameters = describer.parameters.into_iter();
        parameters.find(|it| it.key == key).unwrap().value
    }

    #[test]
    fn a_default_fills_what_a_client_leaves_out_and_a_client_stands_above_its_tenant() {
        let rule = overridden(
            "limit_min: 20\n\
             clients: { default: { gross: 70 }, ci: { limit_min: 500 }, app: { gross: 80 } }\n\
             tenants: { acme: { limit_min: 30, gross: 90 } }\n",
        )
        .unwrap();
        let of = |client, tenant| {
            let rule = rule.of(client, tenant);
            (value(rule, "limit_min"), value(rule, "gross"))
        };
        let is = |limit: &str, gross: &str| (limit.to_owned(), gross.to_owned());
        assert_eq!(of(None, None), is("20", "70"));
        assert_eq!(of(Some("other"), Some("other")), is("20", "70"));
        assert_eq!(of(Some("ci"), None), is("500", "70"));
        assert_eq!(of(Some("app"), None), is("20", "80"));
        assert_eq!(of(None, Some("acme")), is("30", "70"));
        assert_eq!(of(Some("ci"), Some("acme")), is("500", "70"));
        assert_eq!(&*rule.of(Some("ci"), None).name, "fast");
    }

    #[test]
    fn the_lowest_mode_wins_whoever_says_it() {
        let rule = overridden(
            "mode: alert\nclients: { a: { mode: enforce }, b: { mode: off } }\ntenants: { t: { mode: observe } }\n",
        )
        .unwrap();
        assert_eq!(rule.of(Some("a"), None).mode, Mode::Alert);
        assert_eq!(rule.of(Some("b"), None).mode, Mode::Off);
        assert_eq!(rule.of(Some("a"), Some("t")).mode, Mode::Observe);
        assert_eq!(rule.of(Some("b"), Some("t")).mode, Mode::Off);
    }

    #[test]
    fn every_fault_of_every_client_is_told_once_and_with_its_place() {
        let faults = overridden(
            "clients:\n  default: { limit_min: x }\n  ci: { limit_mim: 5 }\ntenants: { a: { mode: on }, b: {} }\n",
        )
        .unwrap_err();
        assert_eq!(
            faults
                .lines()
                .filter(|line| line.starts_with("c.yaml"))
                .count(),
            3,
            "{faults}"
        );
        for part in [
            "c.yaml:2:25",
            "c.yaml:3:9: unknown key `limit_mim`\n  hint: did you mean `limit_min`?",
            "c.yaml:4:23",
        ] {
            assert!(faults.contains(part), "{faults}");
        }
    }

    #[test]
    fn no_parameter_of_any_kind_has_the_name_of_another_key() {
        let taken = [
            "mode",
            "severity",
            "response",
            "offer",
            "suppress",
            "risk",
            "exceptions",
            "clients",
            "tenants",
            "labels",
            "since",
        ];
        for kind in super::super::kinds::Detect::KINDS {
            let mut describer = Describer::default();
            let mut detect = super::super::kinds::Detect::default_of(kind).unwrap();
            detect.parameters(&mut describer);
            let clash = describer
                .parameters
                .iter()
                .find(|it| taken.contains(&it.key));
            assert!(clash.is_none(), "{kind}: {clash:?}");
        }
    }
}
