//! Addresses that many users share: what the operator should declare, so that place and rate mean something again.
//!
//! A suggestion, never a fact: a phishing relay and a credential stuffer have many users at one address as well. So
//! whoever reads it is told to look first, and what is already known to hide people is left out.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::distinct::Distinct;
use super::heavy::Heavy;
use crate::model::limits::{SHARED_USERS_MIN, SUMMARY_ADDRESSES_MAX};
use crate::model::{Enriched, Network, NetworkClass, Prefix, Text};

/// Addresses named in one suggestion.
const NAMED_MAX: usize = 10;

pub(super) struct Shared {
    addresses: Heavy<IpAddr, Address>,
}

#[derive(Debug, Clone, Default)]
struct Address {
    users: Distinct,
    network: Option<Network>,
    client: Option<Text>,
    several_clients: bool,
}

/// Addresses of one network that serve many users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// The busiest of them.
    pub addresses: Vec<IpAddr>,
    /// How many there are.
    pub count: u64,
    /// How many different users, nobody twice.
    pub users: u64,
    pub users_exact: bool,
    pub refreshes: u64,
    pub organisation: Option<Text>,
    pub advice: Advice,
}

/// What such addresses most likely are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Private addresses: the server records its own proxy and not its clients.
    ForwardClients,
    /// Servers that refresh for the users of one client.
    Backend(Text),
    /// A way out that an organisation, a carrier or a school shares.
    Egress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Internal,
    Asn(u32),
    Prefix(Prefix),
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            addresses: Heavy::new(SUMMARY_ADDRESSES_MAX),
        }
    }

    /// One refresh.
    pub(super) fn add(&mut self, event: &Enriched) {
        let Some(address) = event.event.ip_address else {
            return;
        };
        let about = self.addresses.add(&address);
        if about.network.is_none() {
            about.network.clone_from(&event.network);
        }
        if let Some(user) = &event.event.user_id {
            about.users.add(user);
        }
        match (&about.client, &event.event.client_id) {
            (None, client) => about.client.clone_from(client),
            (Some(one), Some(other)) => about.several_clients |= one != other,
            _ => {}
        }
    }

    /// Most users first.
    pub(super) fn declarations(&self) -> Vec<Declaration> {
        let mut groups: BTreeMap<Group, Vec<(IpAddr, u64, &Address)>> = BTreeMap::new();
        for (address, refreshes, about) in self.addresses.ranked() {
            if about.users.count() < SHARED_USERS_MIN {
                continue;
            }
            if let Some(group) = group(*address, about) {
                groups
                    .entry(group)
                    .or_default()
                    .push((*address, refreshes, about));
            }
        }
        let mut found: Vec<Declaration> = groups
            .into_iter()
            .filter_map(|(group, members)| declaration(group, &members))
            .collect();
        found.sort_by(|a, b| {
            b.users
                .cmp(&a.users)
                .then_with(|| a.addresses.cmp(&b.addresses))
        });
        found
    }
}

/// What is declared, and what is known to hide where people are, needs no declaration.
fn group(address: IpAddr, about: &Address) -> Option<Group> {
    let prefix = Prefix::of(address);
    let Some(network) = &about.network else {
        return Some(Group::Prefix(prefix));
    };
    let known = network.declared.is_some()
        || network.anonymity.hides_place()
        || matches!(
            network.class,
            Some(NetworkClass::Tor | NetworkClass::Relay | NetworkClass::Satellite)
        );
    if known {
        return None;
    }
    if network.internal {
        return Some(Group::Internal);
    }
    Some(network.asn.map_or(Group::Prefix(prefix), Group::Asn))
}

fn declaration(group: Group, members: &[(IpAddr, u64, &Address)]) -> Option<Declaration> {
    let (_, _, first) = members.first()?;
    let mut users = Distinct::default();
    for (_, _, about) in members {
        users.join(&about.users);
    }
    let organisation = first
        .network
        .as_ref()
        .and_then(|network| network.organisation.clone());
    Some(Declaration {
        addresses: members.iter().take(NAMED_MAX).map(|(a, ..)| *a).collect(),
        count: members.len() as u64,
        users: users.count(),
        users_exact: users.is_exact(),
        refreshes: members.iter().map(|(_, refreshes, _)| refreshes).sum(),
        organisation,
        advice: advice(group, members),
    })
}

fn advice(group: Group, members: &[(IpAddr, u64, &Address)]) -> Advice {
    if group == Group::Internal {
        return Advice::ForwardClients;
    }
    let hosting = |about: &Address| {
        about.network.as_ref().is_some_and(|network| {
            network.anonymity.hosting || network.class == Some(NetworkClass::Hosting)
        })
    };
    let client = members
        .first()
        .and_then(|(_, _, about)| about.client.clone());
    let of_one_client = members
        .iter()
        .all(|(_, _, about)| !about.several_clients && about.client == client);
    match client {
        Some(client) if of_one_client && members.iter().all(|(_, _, it)| hosting(it)) => {
            Advice::Backend(client)
        }
        _ => Advice::Egress,
    }
}
