//! Tells from a sample of recent events whether the addresses in them are those of the users.
//!
//! Behind a proxy that does not pass the client's address on everybody comes from the proxy: then a thief looks like the
//! owner and nothing is ever foreign, without any error anywhere. Whoever turns enforcement on must know that first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::config::DeclaredNetwork;
use crate::enrich::is_internal;
use crate::model::Finding;
use crate::sources::sql::Sighting;

/// Fewer say nothing: one person at home is one address.
const USERS_MIN: usize = 5;
/// Of so many percent of the users everything comes from one address: no office is that large a part of them unless
/// it is declared.
const DOMINATES_PERCENT: usize = 80;
/// Proxies come in small numbers; more internal addresses than this are people's own.
const PROXIES_MAX: usize = 4;

const MEND: &str = "let the proxy overwrite X-Forwarded-For and start Keycloak with --proxy-headers=xforwarded; \
     keep `mode` below enforce until then; if these really are the users' own, declare them under `networks`";

/// Users by address; addresses inside declared networks are what they are said to be.
pub(super) fn judge(sightings: &[Sighting], networks: &[DeclaredNetwork]) -> Finding {
    if sightings.is_empty() {
        return Finding::advice(
            "no event of a user in the last 24 hours",
            "if people did use it, see that the realm saves events: the revoker's findings tell how",
        );
    }
    let sample = Sample::of(sightings);
    let users = sample.users.len();
    if users < USERS_MIN {
        return Finding::fine(format!(
            "{users} users in the last 24 hours: too few to tell whether the addresses are theirs"
        ));
    }
    let is_declared = |address: &IpAddr| networks.iter().any(|network| contains(network, *address));
    sample
        .one_for_all(&is_declared)
        .or_else(|| sample.internal_for_all(&is_declared))
        .unwrap_or_else(|| {
            Finding::fine(format!(
                "{users} users in the last 24 hours came from {} addresses",
                sample.by_address.len()
            ))
        })
}

struct Sample<'a> {
    users: BTreeSet<&'a str>,
    by_address: BTreeMap<IpAddr, BTreeSet<&'a str>>,
}

impl<'a> Sample<'a> {
    fn of(sightings: &'a [Sighting]) -> Self {
        let mut sample = Self {
            users: BTreeSet::new(),
            by_address: BTreeMap::new(),
        };
        for sighting in sightings {
            let Ok(address) = sighting.ip_address.parse::<IpAddr>() else {
                continue;
            };
            sample.users.insert(&sighting.user_id);
            let there = sample.by_address.entry(address.to_canonical()).or_default();
            there.insert(&sighting.user_id);
        }
        sample
    }

    fn one_for_all(&self, is_declared: &impl Fn(&IpAddr) -> bool) -> Option<Finding> {
        let (address, there) = self
            .by_address
            .iter()
            .max_by_key(|(_, there)| there.len())?;
        let percent = there.len() * 100 / self.users.len();
        (percent >= DOMINATES_PERCENT && !is_declared(address)).then(|| {
            Finding::fault(
                format!(
                    "{percent} % of {} users in the last 24 hours came from the one address {address}: \
                     it looks like a proxy's, and then nothing can be told about places and networks",
                    self.users.len()
                ),
                MEND,
            )
        })
    }

    fn internal_for_all(&self, is_declared: &impl Fn(&IpAddr) -> bool) -> Option<Finding> {
        let internal = || {
            let all = self.by_address.iter();
            all.filter(|(address, _)| is_internal(**address) && !is_declared(address))
        };
        let there: BTreeSet<&str> = internal().flat_map(|(_, users)| users).copied().collect();
        let percent = there.len() * 100 / self.users.len();
        if percent < DOMINATES_PERCENT {
            return None;
        }
        let what = format!(
            "{percent} % of {} users in the last 24 hours came from {} addresses of private ranges",
            self.users.len(),
            internal().count()
        );
        Some(if internal().count() <= PROXIES_MAX {
            Finding::fault(format!("{what}: they look like proxies"), MEND)
        } else {
            Finding::advice(
                format!("{what}: no place is known for any of them"),
                "declare the ranges under `networks`, so that they are known as yours",
            )
        })
    }
}

fn contains(network: &DeclaredNetwork, address: IpAddr) -> bool {
    network.cidrs.iter().any(|range| range.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Gravity, NetworkClass};

    fn sightings(address: impl Fn(usize) -> String, users: usize) -> Vec<Sighting> {
        (0..users * 3)
            .map(|n| Sighting {
                user_id: format!("u{}", n % users),
                ip_address: address(n % users),
            })
            .collect()
    }

    fn declared(range: &str) -> DeclaredNetwork {
        DeclaredNetwork {
            name: "office".into(),
            class: NetworkClass::Egress,
            cidrs: vec![range.parse().unwrap()],
            asns: Vec::new(),
        }
    }

    #[test]
    fn one_address_for_everybody_is_a_proxy_unless_it_is_declared() {
        let all = sightings(|_| "203.0.113.9".into(), 20);
        let found = judge(&all, &[]);
        assert_eq!(found.gravity, Gravity::Fault);
        assert!(found.what.contains("100 % of 20 users") && found.what.contains("203.0.113.9"));
        assert!(found.mend.unwrap().contains("X-Forwarded-For"));
        let office = declared("203.0.113.0/24");
        assert_eq!(judge(&all, &[office]).gravity, Gravity::Fine);
    }

    #[test]
    fn a_handful_of_internal_addresses_are_proxies_and_many_are_an_intranet() {
        let proxies = sightings(|user| format!("10.0.0.{}", user % 2), 20);
        assert_eq!(judge(&proxies, &[]).gravity, Gravity::Fault);
        let intranet = sightings(|user| format!("10.0.0.{user}"), 20);
        assert_eq!(judge(&intranet, &[]).gravity, Gravity::Advice);
        assert_eq!(
            judge(&intranet, &[declared("10.0.0.0/8")]).gravity,
            Gravity::Fine
        );
    }

    #[test]
    fn people_at_home_and_few_people_are_no_fault() {
        let home = sightings(|user| format!("198.51.100.{user}"), 20);
        assert_eq!(judge(&home, &[]).gravity, Gravity::Fine);
        let few = sightings(|_| "127.0.0.1".into(), 2);
        assert_eq!(judge(&few, &[]).gravity, Gravity::Fine);
        assert_eq!(judge(&[], &[]).gravity, Gravity::Advice);
        // A mapped address is the same as the plain one.
        let mixed = sightings(
            |user| ["203.0.113.9", "::ffff:203.0.113.9"][user % 2].into(),
            10,
        );
        assert_eq!(judge(&mixed, &[]).gravity, Gravity::Fault);
    }
}
