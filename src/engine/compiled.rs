//! The rules sorted by the stage that runs them, with what the configuration says of clients.

use std::sync::Arc;

use crate::config::{Client, Clients, Rotation};
use crate::model::Mode;
use crate::rules::kinds::Detect;
use crate::rules::kinds::device_change::DeviceChange;
use crate::rules::kinds::impossible_travel::ImpossibleTravel;
use crate::rules::kinds::reuse::{self, Leeway, Reuse};
use crate::rules::kinds::velocity::Velocity;
use crate::rules::{Rule, RuleSet};

#[derive(Debug, Clone)]
pub(super) struct Compiled {
    pub(super) reuse: Vec<(Arc<Rule>, Reuse)>,
    pub(super) travel: Vec<(Arc<Rule>, ImpossibleTravel)>,
    pub(super) velocity: Vec<(Arc<Rule>, Velocity)>,
    pub(super) device: Vec<(Arc<Rule>, DeviceChange)>,
    clients: Clients,
}

impl Compiled {
    pub(super) fn new(rules: &RuleSet, clients: Clients) -> Self {
        let mut compiled = Self {
            reuse: Vec::new(),
            travel: Vec::new(),
            velocity: Vec::new(),
            device: Vec::new(),
            clients,
        };
        for rule in rules.rules.iter().filter(|rule| rule.mode != Mode::Off) {
            let rule = rule.clone();
            match rule.detect.clone() {
                Detect::Reuse(kind) => compiled.reuse.push((rule, kind)),
                Detect::ImpossibleTravel(kind) => compiled.travel.push((rule, kind)),
                Detect::Velocity(kind) => compiled.velocity.push((rule, kind)),
                Detect::DeviceChange(kind) => compiled.device.push((rule, kind)),
            }
        }
        compiled
    }

    pub(super) fn client(&self, client_id: Option<&str>) -> &Client {
        self.clients.get(client_id)
    }

    /// Whether the rule is meant for this client at all.
    pub(super) fn applies(&self, rule: &str, client_id: Option<&str>) -> bool {
        let client = self.client(client_id);
        client.mode != Some(Mode::Off) && !client.exempt_from.iter().any(|exempt| **exempt == *rule)
    }

    /// Whether any travel rule looks at this client's events: what an exempt client does is nobody's whereabouts.
    pub(super) fn travel_applies(&self, client_id: Option<&str>) -> bool {
        self.travel
            .iter()
            .any(|(rule, _)| self.applies(&rule.name, client_id))
    }

    pub(super) fn leeway(&self, client_id: Option<&str>) -> Leeway {
        let client = self.client(client_id);
        Leeway {
            rotation: match client.rotation {
                Rotation::Enforced => reuse::Rotation::Enforced,
                Rotation::Off => reuse::Rotation::Off,
                Rotation::Unknown => reuse::Rotation::Unknown,
            },
            grace: client.reuse_grace,
            max_reuse: client.max_reuse,
        }
    }
}
