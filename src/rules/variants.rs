//! One rule with other parameters for some clients and tenants.
//!
//! Every variant is compiled when the rules are read, so that an event costs two look-ups, and nothing at all with rules
//! that have none. A variant keeps the rule's name, and so its detections keep their ids. Why not a parameter that holds a
//! map: each kind would have to know of clients, and every parameter of every kind could then be asked in two ways.

use std::collections::HashMap;
use std::sync::Arc;

use super::Rule;
use crate::model::Text;

/// The rule as it is for each client and tenant that is named, and for all others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Variants {
    /// From 1; 0 stands for all others.
    clients: HashMap<Text, usize>,
    tenants: HashMap<Text, usize>,
    /// By client, then by tenant. Empty: there are no variants.
    rules: Vec<Arc<Rule>>,
}

impl Variants {
    /// Makes every variant with `make`, which is handed the names of a client and a tenant; `None` is any other.
    pub(super) fn new(
        clients: &[Text],
        tenants: &[Text],
        mut make: impl FnMut(Option<&Text>, Option<&Text>) -> Rule,
    ) -> Self {
        let named = |names: &[Text]| names.iter().cloned().zip(1..).collect();
        let mut rules = Vec::with_capacity((clients.len() + 1) * (tenants.len() + 1));
        for client in std::iter::once(None).chain(clients.iter().map(Some)) {
            for tenant in std::iter::once(None).chain(tenants.iter().map(Some)) {
                rules.push(Arc::new(make(client, tenant)));
            }
        }
        Self {
            clients: named(clients),
            tenants: named(tenants),
            rules,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Every variant, once.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter()
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Rule> {
        self.rules.iter_mut().map(Arc::make_mut)
    }

    /// The rule as it is where neither client nor tenant is named, if there are variants.
    pub fn others(&self) -> Option<&Arc<Rule>> {
        self.rules.first()
    }

    /// Clients named.
    pub fn clients(&self) -> impl Iterator<Item = &Text> {
        self.clients.keys()
    }

    /// Tenants named.
    pub fn tenants(&self) -> impl Iterator<Item = &Text> {
        self.tenants.keys()
    }

    /// Clients named, with the rule as it is for them where no tenant says otherwise.
    pub fn by_client(&self) -> Vec<(&Text, &Arc<Rule>)> {
        let mut found: Vec<_> = self
            .clients
            .keys()
            .filter_map(|name| Some((name, self.get(Some(name), None)?)))
            .collect();
        found.sort_by_key(|(name, _)| *name);
        found
    }

    /// Tenants named, with the rule as it is in them where no client says otherwise.
    pub fn by_tenant(&self) -> Vec<(&Text, &Arc<Rule>)> {
        let mut found: Vec<_> = self
            .tenants
            .keys()
            .filter_map(|name| Some((name, self.get(None, Some(name))?)))
            .collect();
        found.sort_by_key(|(name, _)| *name);
        found
    }

    fn get(&self, client: Option<&str>, tenant: Option<&str>) -> Option<&Arc<Rule>> {
        let index = |of: &HashMap<Text, usize>, name: Option<&str>| {
            name.and_then(|name| of.get(name)).copied().unwrap_or(0)
        };
        let row = index(&self.clients, client) * (self.tenants.len() + 1);
        self.rules.get(row + index(&self.tenants, tenant))
    }
}

impl Rule {
    /// The rule as it is for a client in a tenant.
    pub fn of<'a>(
        self: &'a Arc<Self>,
        client: Option<&str>,
        tenant: Option<&str>,
    ) -> &'a Arc<Self> {
        self.variants.get(client, tenant).unwrap_or(self)
    }
}
