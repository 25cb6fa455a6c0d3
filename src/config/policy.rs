//! `geoip:`, `networks:`, `clients:`, `tenants:` and `response:`: what the operator knows and allows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::model::{ClientType, Mode, NetworkClass, Rotation, Text};

/// MaxMind DB files, each optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeoIp {
    pub city: Option<PathBuf>,
    pub asn: Option<PathBuf>,
    pub anonymous_ip: Option<PathBuf>,
}

/// A network the operator knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredNetwork {
    pub name: Text,
    pub class: NetworkClass,
    pub cidrs: Vec<IpNet>,
    pub asns: Vec<u32>,
}

/// What is known of one OAuth client, with `default` already filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub client_type: ClientType,
    pub rotation: Rotation,
    /// The server's own leeway for the direct predecessor.
    pub reuse_grace: Duration,
    /// Repeats that the server allows.
    pub max_reuse: u32,
    /// Where events do not carry it.
    pub access_token_ttl: Option<Duration>,
    /// How long the server honours a family at most, however often it is refreshed; absent: not told.
    pub refresh_token_lifetime: Option<Duration>,
    /// Rules that do not apply.
    pub exempt_from: Vec<Text>,
    /// Ceiling; the lowest of all that apply wins.
    pub mode: Option<Mode>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            client_type: ClientType::Public,
            rotation: Rotation::Unknown,
            reuse_grace: Duration::from_secs(30),
            max_reuse: 0,
            access_token_ttl: None,
            refresh_token_lifetime: None,
            exempt_from: Vec::new(),
            mode: None,
        }
    }
}

/// By client id; `default` for all others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clients {
    pub default: Client,
    pub by_id: BTreeMap<Text, Client>,
}

impl Clients {
    pub fn get(&self, client_id: Option<&str>) -> &Client {
        client_id
            .and_then(|id| self.by_id.get(id))
            .unwrap_or(&self.default)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tenant {
    pub credential_change_revokes: bool,
    pub mode: Option<Mode>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tenants {
    pub default: Tenant,
    pub by_name: BTreeMap<Text, Tenant>,
}

impl Tenants {
    pub fn get(&self, tenant: Option<&str>) -> &Tenant {
        tenant
            .and_then(|name| self.by_name.get(name))
            .unwrap_or(&self.default)
    }
}

/// `response:`: how far and how fast the daemon may act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// An action whose event is older than this at delivery (wall clock) is held.
    pub act_within: Duration,
    pub budget: Budget,
    /// Users never to be acted on (break-glass accounts).
    pub never_act_on: Vec<Text>,
    /// Where ending a login had no effect twice, all sessions of its user are ended.
    pub step_up: bool,
}

impl Default for Response {
    fn default() -> Self {
        Self {
            act_within: Duration::from_mins(15),
            budget: Budget::default(),
            never_act_on: Vec::new(),
            step_up: true,
        }
    }
}

/// Actions other than `notify` per ten minutes; beyond it they are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub per_client: u32,
    pub per_rule: u32,
    pub per_tenant: u32,
    pub global: u32,
    /// Of 10,000 families in use at a client; only where more than a thousand are, since a share of few says nothing.
    pub per_10000_families: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            per_client: 20,
            per_rule: 60,
            per_tenant: 100,
            global: 100,
            per_10000_families: 100,
        }
    }
}
