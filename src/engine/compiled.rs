//! The rules sorted by the stage that runs them, with what the configuration says of clients.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Client, Clients, Tenants};
use crate::model::{ClientType, Mode, Text};
use crate::rules::case::{ClientFacts, FamilyKind, KeyedKind, TenantFacts, UserKind, millis};
use crate::rules::kinds::Stage;
use crate::rules::kinds::composite::Composite;
use crate::rules::kinds::storm::Storm;
use crate::rules::kinds::velocity::Velocity;
use crate::rules::{Rule, RuleSet};

#[derive(Debug, Clone)]
pub(super) struct Compiled {
    families: Vec<Arc<Rule>>,
    users: Vec<Arc<Rule>>,
    rates: Vec<Arc<Rule>>,
    keyed: Vec<Arc<Rule>>,
    storms: Vec<Arc<Rule>>,
    risks: Vec<Arc<Rule>>,
    /// Settling times of each rule and its variants, each once.
    settles: HashMap<Text, Vec<i64>>,
    clients: Clients,
    tenants: Tenants,
}

impl Compiled {
    pub(super) fn new(rules: &RuleSet, clients: Clients, tenants: Tenants) -> Self {
        let mut compiled = Self {
            families: Vec::new(),
            users: Vec::new(),
            rates: Vec::new(),
            keyed: Vec::new(),
            storms: Vec::new(),
            risks: Vec::new(),
            settles: HashMap::new(),
            clients,
            tenants,
        };
        for rule in rules.rules.iter().filter(|rule| rule.mode != Mode::Off) {
            let stage = match rule.detect.stage() {
                Stage::Family(_) => &mut compiled.families,
                Stage::User(_) => &mut compiled.users,
                Stage::Rate(_) => &mut compiled.rates,
                Stage::Keyed(_) => &mut compiled.keyed,
                Stage::Storm(_) => &mut compiled.storms,
                Stage::Risk(_) => &mut compiled.risks,
            };
            stage.push(Arc::clone(rule));
            compiled.settles.insert(rule.name.clone(), settles(rule));
        }
        compiled
    }

    pub(super) fn know(&mut self, tenants: Tenants) {
        self.tenants = tenants;
    }

    /// The rules that judge families, as they are for a client in a tenant.
    pub(super) fn families<'a>(
        &'a self,
        client_id: Option<&'a str>,
        tenant: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Arc<Rule>, &'a dyn FamilyKind)> {
        variants(&self.families, client_id, tenant).filter_map(|rule| match rule.detect.stage() {
            Stage::Family(kind) => Some((rule, kind)),
            _ => None,
        })
    }

    /// The rules that judge users.
    pub(super) fn users<'a>(
        &'a self,
        client_id: Option<&'a str>,
        tenant: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Arc<Rule>, &'a dyn UserKind)> {
        variants(&self.users, client_id, tenant).filter_map(|rule| match rule.detect.stage() {
            Stage::User(kind) => Some((rule, kind)),
            _ => None,
        })
    }

    /// The rules that count refreshes.
    pub(super) fn rates<'a>(
        &'a self,
        client_id: Option<&'a str>,
        tenant: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Arc<Rule>, &'a Velocity)> {
        variants(&self.rates, client_id, tenant).filter_map(|rule| match rule.detect.stage() {
            Stage::Rate(kind) => Some((rule, kind)),
            _ => None,
        })
    }

    /// How long a question to the rule may have to wait, for whomever: which client a family belongs to may show only while
    /// it waits, and must not change when it is asked.
    pub(super) fn settles(&self, rule: &Rule) -> &[i64] {
        self.settles.get(&rule.name).map_or(&[], Vec::as_slice)
    }

    /// The same for all rules about users.
    pub(super) fn settles_of_users(&self) -> impl Iterator<Item = i64> {
        self.users
            .iter()
            .flat_map(|rule| self.settles(rule))
            .copied()
    }

    /// The generic rules.
    pub(super) fn keyed<'a>(
        &'a self,
        client_id: Option<&'a str>,
        tenant: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Arc<Rule>, &'a dyn KeyedKind)> {
        variants(&self.keyed, client_id, tenant).filter_map(|rule| match rule.detect.stage() {
            Stage::Keyed(kind) => Some((rule, kind)),
            _ => None,
        })
    }

    /// The rules that count reuses.
    pub(super) fn storms<'a>(
        &'a self,
        client_id: Option<&'a str>,
        tenant: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Arc<Rule>, &'a Storm)> {
        variants(&self.storms, client_id, tenant).filter_map(|rule| match rule.detect.stage() {
            Stage::Storm(kind) => Some((rule, kind)),
            _ => None,
        })
    }

    /// The rules that put findings together.
    pub(super) fn risks<'a>(
        &'a self,
        client_id: Option<&'a str>,
        tenant: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Arc<Rule>, &'a Composite)> {
        variants(&self.risks, client_id, tenant).filter_map(|rule| match rule.detect.stage() {
            Stage::Risk(kind) => Some((rule, kind)),
            _ => None,
        })
    }

    pub(super) fn client(&self, client_id: Option<&str>) -> &Client {
        self.clients.get(client_id)
    }

    /// Whether the rule is meant for this client at all.
    pub(super) fn applies(&self, rule: &str, client_id: Option<&str>) -> bool {
        let client = self.client(client_id);
        client.mode != Some(Mode::Off) && !client.exempt_from.iter().any(|exempt| **exempt == *rule)
    }

    /// Whether any rule about users looks at this client's events: what an exempt client does is nobody's whereabouts.
    pub(super) fn looks_at_users_of(&self, client_id: Option<&str>) -> bool {
        self.users
            .iter()
            .any(|rule| self.applies(&rule.name, client_id))
    }

    /// What rules may know of a client.
    pub(super) fn facts(&self, client_id: Option<&str>) -> ClientFacts {
        let client = self.client(client_id);
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

    pub(super) fn tenant(&self, tenant: Option<&str>) -> TenantFacts {
        TenantFacts {
            credential_change_revokes: self.tenants.get(tenant).credential_change_revokes,
        }
    }
}

fn variants<'a>(
    rules: &'a [Arc<Rule>],
    client_id: Option<&'a str>,
    tenant: Option<&'a str>,
) -> impl Iterator<Item = &'a Arc<Rule>> {
    rules
        .iter()
        .map(move |rule| rule.of(client_id, tenant))
        .filter(|rule| rule.mode != Mode::Off)
}

fn settles(rule: &Arc<Rule>) -> Vec<i64> {
    let settle = |rule: &Arc<Rule>| match rule.detect.stage() {
        Stage::Family(kind) => Some(millis(kind.settle())),
        Stage::User(kind) => Some(millis(kind.settle())),
        Stage::Rate(_) | Stage::Keyed(_) | Stage::Storm(_) | Stage::Risk(_) => None,
    };
    let all = std::iter::once(rule).chain(rule.variants.all());
    let mut settles: Vec<i64> = all.filter_map(settle).collect();
    settles.sort_unstable();
    settles.dedup();
    settles
}
