//! The rules sorted by the stage that runs them, with what the configuration says of clients.

use std::sync::Arc;

use crate::config::{Client, Clients};
use crate::model::{ClientType, Mode};
use crate::rules::case::{ClientFacts, FamilyKind, UserKind};
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
    storms: Vec<Arc<Rule>>,
    risks: Vec<Arc<Rule>>,
    clients: Clients,
}

impl Compiled {
    pub(super) fn new(rules: &RuleSet, clients: Clients) -> Self {
        let mut compiled = Self {
            families: Vec::new(),
            users: Vec::new(),
            rates: Vec::new(),
            storms: Vec::new(),
            risks: Vec::new(),
            clients,
        };
        for rule in rules.rules.iter().filter(|rule| rule.mode != Mode::Off) {
            let stage = match rule.detect.stage() {
                Stage::Family(_) => &mut compiled.families,
                Stage::User(_) => &mut compiled.users,
                Stage::Rate(_) => &mut compiled.rates,
                Stage::Storm(_) => &mut compiled.storms,
                Stage::Risk(_) => &mut compiled.risks,
            };
            stage.push(Arc::clone(rule));
        }
        compiled
    }

    /// The rules that judge families.
    pub(super) fn families(&self) -> impl Iterator<Item = (&Arc<Rule>, &dyn FamilyKind)> {
        self.families
            .iter()
            .filter_map(|rule| match rule.detect.stage() {
                Stage::Family(kind) => Some((rule, kind)),
                _ => None,
            })
    }

    /// The rules that judge users.
    pub(super) fn users(&self) -> impl Iterator<Item = (&Arc<Rule>, &dyn UserKind)> {
        self.users
            .iter()
            .filter_map(|rule| match rule.detect.stage() {
                Stage::User(kind) => Some((rule, kind)),
                _ => None,
            })
    }

    /// The rules that count refreshes.
    pub(super) fn rates(&self) -> impl Iterator<Item = (&Arc<Rule>, &Velocity)> {
        self.rates
            .iter()
            .filter_map(|rule| match rule.detect.stage() {
                Stage::Rate(kind) => Some((rule, kind)),
                _ => None,
            })
    }

    /// The rules that count reuses.
    pub(super) fn storms(&self) -> impl Iterator<Item = (&Arc<Rule>, &Storm)> {
        self.storms
            .iter()
            .filter_map(|rule| match rule.detect.stage() {
                Stage::Storm(kind) => Some((rule, kind)),
                _ => None,
            })
    }

    /// The rules that put findings together.
    pub(super) fn risks(&self) -> impl Iterator<Item = (&Arc<Rule>, &Composite)> {
        self.risks
            .iter()
            .filter_map(|rule| match rule.detect.stage() {
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
            own_addresses: matches!(
                client.client_type,
                ClientType::Backend | ClientType::Confidential
            ),
        }
    }
}
