//! Networks that nobody blocks: those that the operator declared as shared by people who did nothing.

use ipnet::IpNet;

use crate::model::{NetworkClass, Text};

use super::DeclaredNetwork;

/// Declared networks other than those of rented servers and Tor, by their addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shared(Vec<(IpNet, Text, NetworkClass)>);

impl Shared {
    pub fn of(declared: &[DeclaredNetwork]) -> Self {
        let shared = declared.iter().filter(|it| is_shared(it.class));
        let networks = shared.flat_map(|it| {
            let cidrs = it.cidrs.iter();
            cidrs.map(|cidr| (*cidr, it.name.clone(), it.class))
        });
        Self(networks.collect())
    }

    /// Why a network is not to be blocked, if so: a part of it is declared, or its addresses are known to be of such a class.
    pub fn why_not(&self, network: &str, class: Option<NetworkClass>) -> Option<Text> {
        let network: IpNet = match network.parse() {
            Ok(network) => network,
            Err(_) => return Some(format!("{network} is no network that could be blocked").into()),
        };
        let overlaps = |cidr: &IpNet| cidr.contains(&network) || network.contains(cidr);
        let declared = self.0.iter().find(|(cidr, ..)| overlaps(cidr));
        let said = declared.map(|(_, name, class)| {
            format!("{name} is declared as {class}, and what many share is never blocked")
        });
        let of_class = class.filter(|class| is_shared(*class));
        said.or_else(|| Some(format!("a network of class {} is never blocked", of_class?)))
            .map(Into::into)
    }
}

/// Whether people who know nothing of each other, or servers of one's own, are behind its addresses.
const fn is_shared(class: NetworkClass) -> bool {
    match class {
        NetworkClass::Egress
        | NetworkClass::Backend
        | NetworkClass::Relay
        | NetworkClass::Satellite
        | NetworkClass::Mobile
        | NetworkClass::Campus => true,
        NetworkClass::Hosting | NetworkClass::Tor => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        let declared = |name: &str, class, cidr: &str| DeclaredNetwork {
            name: name.into(),
            class,
            cidrs: vec![cidr.parse().unwrap()],
            asns: Vec::new(),
        };
        Shared::of(&[
            declared("vpn", NetworkClass::Egress, "203.0.113.64/26"),
            declared("campus", NetworkClass::Campus, "2001:db8::/32"),
            declared("farm", NetworkClass::Hosting, "198.51.100.0/24"),
        ])
    }

    #[test]
    fn what_holds_a_part_of_a_declared_network_is_never_blocked() {
        let why = |network| shared().why_not(network, None).map(|why| why.to_string());
        let of_vpn = "vpn is declared as egress, and what many share is never blocked";
        assert_eq!(why("203.0.113.0/24").as_deref(), Some(of_vpn));
        assert!(why("2001:db8:1:2::/64").is_some());
        assert_eq!(why("203.0.114.0/24"), None);
        assert_eq!(why("198.51.100.0/24"), None, "servers are");
        assert!(why("web").is_some_and(|why| why.contains("no network")));
    }

    #[test]
    fn a_carrier_that_is_declared_by_its_number_is_known_by_its_class() {
        let why = shared().why_not("192.0.2.0/24", Some(NetworkClass::Mobile));
        assert!(why.is_some_and(|why| why.contains("mobile")));
        assert!(
            shared()
                .why_not("192.0.2.0/24", Some(NetworkClass::Tor))
                .is_none()
        );
    }
}
