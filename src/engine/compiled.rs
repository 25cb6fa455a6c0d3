//! The rules with what the configuration says of clients and tenants: which plan an event is judged by.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::key::Key;
use super::plan::{Plan, Planned};
use crate::config::{Client, Clients, Tenants};
use crate::model::{ClientType, Mode, Text};
use crate::rules::case::{ClientFacts, TenantFacts, millis};
use crate::rules::fields::Facts;
use crate::rules::kinds::Stage;
use crate::rules::{Rule, RuleSet};

#[derive(Debug, Clone)]
pub(super) struct Compiled {
    rules: Vec<Arc<Rule>>,
    /// Settling times of the rules about users, for whomever.
    settles_of_users: Vec<i64>,
    clients: Clients,
    tenants: Tenants,
    /// Clients and tenants for which anything is different, from 1; 0 stands for all others.
    client_numbers: HashMap<Text, usize>,
    tenant_numbers: HashMap<Text, usize>,
    /// By client, then by tenant; made when the first event of such a pair comes.
    plans: Vec<OnceLock<Box<Plan>>>,
}

impl Compiled {
    pub(super) fn new(rules: &RuleSet, clients: Clients, tenants: Tenants) -> Self {
        let named_clients = rules.rules.iter().flat_map(|rule| rule.variants.clients());
        let named_tenants = rules.rules.iter().flat_map(|rule| rule.variants.tenants());
        let client_numbers = numbers(named_clients.chain(clients.by_id.keys()));
        let tenant_numbers = numbers(named_tenants);
        let plans = (client_numbers.len() + 1) * (tenant_numbers.len() + 1);
        let of_users = |rule: &&Arc<Rule>| matches!(rule.detect.stage(), Stage::User(_));
        let on = rules.rules.iter().filter(|rule| rule.mode != Mode::Off);
        Self {
            settles_of_users: on.clone().filter(of_users).flat_map(settles).collect(),
            rules: on.cloned().collect(),
            clients,
            tenants,
            client_numbers,
            tenant_numbers,
            plans: vec![OnceLock::new(); plans],
        }
    }

    pub(super) fn know(&mut self, tenants: Tenants) {
        self.tenants = tenants;
    }

    pub(super) fn mode_of(&self, rule: &str) -> Option<Mode> {
        let mut rules = self.rules.iter();
        rules.find(|it| *it.name == *rule).map(|it| it.mode)
    }

    /// The rules as they are for a client in a tenant.
    pub(super) fn plan(&self, client_id: Option<&str>, tenant: Option<&str>) -> &Plan {
        let number = |of: &HashMap<Text, usize>, name: Option<&str>| {
            name.and_then(|name| of.get(name)).copied().unwrap_or(0)
        };
        let row = number(&self.client_numbers, client_id) * (self.tenant_numbers.len() + 1);
        let at = row + number(&self.tenant_numbers, tenant);
        self.plans[at].get_or_init(|| Box::new(self.make_plan(client_id, tenant)))
    }

    fn make_plan(&self, client_id: Option<&str>, tenant: Option<&str>) -> Plan {
        let client = self.clients.get(client_id);
        let planned = self.rules.iter().map(|rule| Planned {
            rule: Arc::clone(rule.of(client_id, tenant)),
            key: Key::new(&rule.name),
            settles: settles(rule).into(),
            applies: self.applies(&rule.name, client_id),
        });
        let of_client = Facts {
            client_type: Some(client.client_type),
            rotation: Some(client.rotation),
            ..Facts::default()
        };
        Plan::new(planned, facts_of(client), of_client)
    }

    /// The same for all rules about users.
    pub(super) fn settles_of_users(&self) -> impl Iterator<Item = i64> {
        self.settles_of_users.iter().copied()
    }

    /// Whether the rule is meant for this client at all.
    pub(super) fn applies(&self, rule: &str, client_id: Option<&str>) -> bool {
        let client = self.clients.get(client_id);
        client.mode != Some(Mode::Off) && !client.exempt_from.iter().any(|exempt| **exempt == *rule)
    }

    pub(super) fn tenant(&self, tenant: Option<&str>) -> TenantFacts {
        TenantFacts {
            credential_change_revokes: self.tenants.get(tenant).credential_change_revokes,
        }
    }
}

fn numbers<'a>(names: impl Iterator<Item = &'a Text>) -> HashMap<Text, usize> {
    let mut numbers = HashMap::new();
    for name in names {
        let next = numbers.len() + 1;
        numbers.entry(name.clone()).or_insert(next);
    }
    numbers
}

/// What rules may know of a client.
fn facts_of(client: &Client) -> ClientFacts {
    ClientFacts {
        rotation: client.rotation,
        grace: client.reuse_grace,
        max_reuse: client.max_reuse,
        access_token_ttl: client.access_token_ttl,
        refresh_token_lifetime: client.refresh_token_lifetime,
        own_addresses: matches!(
            client.client_type,
            ClientType::Backend | ClientType::Confidential
        ),
        native: client.client_type == ClientType::Native,
    }
}

fn settles(rule: &Arc<Rule>) -> Vec<i64> {
    let settle = |rule: &Arc<Rule>| match rule.detect.stage() {
        Stage::Family(kind) => Some(millis(kind.settle())),
        Stage::User(kind) => Some(millis(kind.settle())),
        Stage::Rate(_) | Stage::Keyed(_) | Stage::Storm(_) | Stage::Risk(_) => None,
    };
    let all = std::iter::once(rule).chain(rule.variants.all());
    let mut times: Vec<i64> = all.filter_map(settle).collect();
    times.sort_unstable();
    times.dedup();
    times
}
