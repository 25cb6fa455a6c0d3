//! `rules:`, `overrides:`, `geoip:`, `networks:`, `clients:`, `tenants:` and `response:`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::model::{NetworkClass, SHIPPED_RULES, Text};
use crate::yaml::{Entry, Faults, Node, Place, nearest};

use super::super::{
    Budget, Client, ClientType, Clients, DeclaredNetwork, GeoIp, Response, Rotation, Tenant,
    Tenants,
};
use super::{list, mode, texts};

/// Rule files or folders of them; what is in them is read later.
pub(super) fn rule_paths(node: &Node, faults: &mut Faults) -> Option<Vec<PathBuf>> {
    node.one_or_list(faults, rule_path)
}

/// Kept even when it is not there: a list that became empty would mean the rules that come with the program.
fn rule_path(node: &Node, faults: &mut Faults) -> Option<PathBuf> {
    let path = node.path(faults)?;
    if node.as_str() == Some(SHIPPED_RULES) {
        return Some(SHIPPED_RULES.into());
    }
    if !path.exists() {
        let message = format!("there is no rule file or folder `{}`", path.display());
        faults.push(node.fault(message));
    }
    Some(path)
}

/// Which versions there are is known where rules are.
pub(super) fn rules_version(node: &Node, faults: &mut Faults) -> Option<(u32, Place)> {
    let version = node.integer(1..=u32::MAX, faults)?;
    Some((version, node.place().clone()))
}

/// By rule name; the content is checked against the rules when they are compiled.
pub(super) fn overrides(node: &Node, faults: &mut Faults) -> Option<Vec<(Text, Node)>> {
    let entries = node.mapping(faults)?.entries();
    let read = entries.into_iter().filter_map(|entry| {
        entry.node.mapping(faults)?.entries();
        Some((entry.name.clone(), entry.node.clone()))
    });
    Some(read.collect())
}

pub(super) fn geoip(node: &Node, faults: &mut Faults) -> Option<GeoIp> {
    let mut map = node.mapping(faults)?;
    let geoip = GeoIp {
        city: map.optional("city", faults, database),
        asn: map.optional("asn", faults, database),
        anonymous_ip: map.optional("anonymous_ip", faults, database),
    };
    map.finish(faults);
    Some(geoip)
}

/// Not there is no fault: an updater may be about to bring it, and the file is looked at again while running.
fn database(node: &Node, faults: &mut Faults) -> Option<PathBuf> {
    let path = node.path(faults)?;
    if !path.is_file() {
        let message = format!(
            "there is no file `{}`: rules that need it are blind until there is",
            path.display()
        );
        faults.warn(node.fault(message));
    }
    Some(path)
}

pub(super) fn networks(node: &Node, faults: &mut Faults) -> Option<Vec<DeclaredNetwork>> {
    let mut declared = Declared::default();
    node.list(faults, |node, faults| network(node, &mut declared, faults))
}

/// What was declared by the networks before, by whom.
#[derive(Default)]
struct Declared {
    cidrs: BTreeMap<IpNet, Text>,
    asns: BTreeMap<u32, Text>,
}

fn network(node: &Node, declared: &mut Declared, faults: &mut Faults) -> Option<DeclaredNetwork> {
    let mut map = node.mapping(faults)?;
    let name = map.required("name", faults, Node::text);
    let class = map.required("class", faults, |node, faults| {
        node.name(NetworkClass::ALL, NetworkClass::as_str, faults)
    });
    let owner = name.clone().unwrap_or_default();
    let cidrs = list(&mut map, "cidrs", faults, |node, faults| {
        let cidr = node.cidr(faults)?;
        once(&mut declared.cidrs, cidr, &owner, node, faults)
    });
    let asns = list(&mut map, "asns", faults, |node, faults| {
        let asn = node.integer(1..=u32::MAX, faults)?;
        once(&mut declared.asns, asn, &owner, node, faults)
    });
    if node.member("cidrs").is_none() && node.member("asns").is_none() {
        faults.push(map.fault("neither `cidrs` nor `asns` says which addresses are meant"));
    }
    map.finish(faults);
    let (name, class) = (name?, class?);
    Some(DeclaredNetwork {
        name,
        class,
        cidrs,
        asns,
    })
}

/// One address has one declared network: longest prefix first, but never two of the same length.
fn once<T: Ord + Copy + std::fmt::Display>(
    declared: &mut BTreeMap<T, Text>,
    value: T,
    owner: &Text,
    node: &Node,
    faults: &mut Faults,
) -> Option<T> {
    if let Some(first) = declared.get(&value) {
        let message = format!("{value} is declared before, by the network `{first}`");
        faults.push(node.fault(message));
        return None;
    }
    declared.insert(value, owner.clone());
    Some(value)
}

pub(super) fn clients(node: &Node, faults: &mut Faults) -> Option<Clients> {
    let mut map = node.mapping(faults)?;
    let default = map.or("default", Client::default(), faults, |node, faults| {
        client(node, &Client::default(), faults)
    });
    let entries = map.entries();
    nearly_default(&entries, faults);
    let by_id = entries
        .into_iter()
        .filter_map(|entry| Some((entry.name.clone(), client(entry.node, &default, faults)?)))
        .collect();
    Some(Clients { default, by_id })
}

/// A slip that would otherwise make a client or tenant of that name, and leave all others without their defaults.
fn nearly_default(entries: &[Entry<'_>], faults: &mut Faults) {
    for entry in entries {
        if nearest(entry.name, ["default"]).is_some() {
            let fault = entry
                .place
                .fault(format!("`{}` is taken for a name", entry.name));
            faults.warn(fault.with_hint("did you mean `default`?"));
        }
    }
}

/// `default` fills what the client leaves out.
fn client(node: &Node, default: &Client, faults: &mut Faults) -> Option<Client> {
    let mut map = node.mapping(faults)?;
    let client = Client {
        client_type: map.or("type", default.client_type, faults, |node, faults| {
            node.name(ClientType::ALL, ClientType::as_str, faults)
        }),
        rotation: map.or("rotation", default.rotation, faults, |node, faults| {
            node.name(Rotation::ALL, Rotation::as_str, faults)
        }),
        reuse_grace: map.or("reuse_grace", default.reuse_grace, faults, Node::duration),
        max_reuse: map.or("max_reuse", default.max_reuse, faults, |node, faults| {
            node.integer(0..=1_000_000, faults)
        }),
        access_token_ttl: map
            .optional("access_token_ttl", faults, Node::duration_above_zero)
            .or(default.access_token_ttl),
        refresh_token_lifetime: map
            .optional("refresh_token_lifetime", faults, Node::duration_above_zero)
            .or(default.refresh_token_lifetime),
        exempt_from: map.or("exempt_from", default.exempt_from.clone(), faults, texts),
        mode: map.optional("mode", faults, mode).or(default.mode),
    };
    map.finish(faults);
    Some(client)
}

pub(super) fn tenants(node: &Node, faults: &mut Faults) -> Option<Tenants> {
    let mut map = node.mapping(faults)?;
    let default = map.or("default", Tenant::default(), faults, |node, faults| {
        tenant(node, &Tenant::default(), faults)
    });
    let entries = map.entries();
    nearly_default(&entries, faults);
    let by_name = entries
        .into_iter()
        .filter_map(|entry| Some((entry.name.clone(), tenant(entry.node, &default, faults)?)))
        .collect();
    Some(Tenants { default, by_name })
}

fn tenant(node: &Node, default: &Tenant, faults: &mut Faults) -> Option<Tenant> {
    let mut map = node.mapping(faults)?;
    let revokes = default.credential_change_revokes;
    let tenant = Tenant {
        credential_change_revokes: map.or(
            "credential_change_revokes",
            revokes,
            faults,
            Node::boolean,
        ),
        mode: map.optional("mode", faults, mode).or(default.mode),
    };
    map.finish(faults);
    Some(tenant)
}

pub(super) fn response(node: &Node, faults: &mut Faults) -> Option<Response> {
    let default = Response::default();
    let mut map = node.mapping(faults)?;
    let response = Response {
        act_within: map.or(
            "act_within",
            default.act_within,
            faults,
            Node::duration_above_zero,
        ),
        budget: map.or("budget", default.budget, faults, budget),
        never_act_on: map.or("never_act_on", default.never_act_on, faults, texts),
        step_up: map.or("step_up", default.step_up, faults, Node::boolean),
    };
    map.finish(faults);
    Some(response)
}

/// More in ten minutes than any server ends.
const BUDGET_MAX: u32 = 1_000_000;

/// Nothing is no budget: it would look like enforcement and hold everything.
fn budget_of(node: &Node, most: u32, faults: &mut Faults) -> Option<u32> {
    let count = node.integer(0..=most, faults)?;
    if count == 0 {
        let fault = node.fault("a budget of 0 holds every action");
        faults.push(fault.with_hint(format!(
            "expected 1 to {most}; to perform nothing, set `mode: alert`"
        )));
        return None;
    }
    Some(count)
}

fn budget(node: &Node, faults: &mut Faults) -> Option<Budget> {
    let default = Budget::default();
    let mut map = node.mapping(faults)?;
    let mut count = |key, default, most| {
        map.or(key, default, faults, |node, faults| {
            budget_of(node, most, faults)
        })
    };
    let global = count("global", default.global, BUDGET_MAX);
    let budget = Budget {
        per_client: count("per_client", default.per_client, BUDGET_MAX),
        per_rule: count("per_rule", default.per_rule, BUDGET_MAX),
        // Where nothing is said, one tenant may use what all may.
        per_tenant: count("per_tenant", global, BUDGET_MAX),
        global,
        per_10000_families: count("per_10000_families", default.per_10000_families, 10_000),
    };
    let parts = [
        ("per_client", budget.per_client),
        ("per_rule", budget.per_rule),
        ("per_tenant", budget.per_tenant),
    ];
    if let Some((name, part)) = parts.into_iter().find(|(_, part)| *part > budget.global) {
        let message = format!(
            "`{name}` is {part}, and `global` holds at {}: a part has more than the whole",
            budget.global
        );
        faults.warn(map.fault(message));
    }
    map.finish(faults);
    Some(budget)
}
