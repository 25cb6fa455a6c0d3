//! The networks an operator declared, found by longest prefix or by autonomous system, and which addresses are internal.
//!
//! Few networks, many lookups: prefixes are grouped by length and searched from the longest down, each group by bisection.
//! A tree would answer in fewer steps, but a configuration holds a handful of lengths.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::model::{NetworkClass, Text};

/// A network that the operator knows, by addresses or by autonomous system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredRange {
    pub name: Text,
    pub class: NetworkClass,
    pub cidrs: Vec<IpNet>,
    pub asns: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declaration {
    pub name: Text,
    pub class: NetworkClass,
}

#[derive(Debug, Default)]
pub(super) struct DeclaredRanges {
    declarations: Vec<Declaration>,
    v4: Levels,
    v6: Levels,
    by_asn: HashMap<u32, usize>,
}

/// Networks by prefix length, each group sorted; the number is the index of the declaration.
type Levels = BTreeMap<u8, Vec<(IpNet, usize)>>;

impl DeclaredRanges {
    /// Where two declarations name the same network, the first one stands.
    pub(super) fn new(ranges: &[DeclaredRange]) -> Self {
        let mut found = Self::default();
        for (index, range) in ranges.iter().enumerate() {
            found.declarations.push(Declaration {
                name: range.name.clone(),
                class: range.class,
            });
            for cidr in &range.cidrs {
                found.add(canonical(*cidr), index);
            }
            for asn in &range.asns {
                found.by_asn.entry(*asn).or_insert(index);
            }
        }
        for level in found.v4.values_mut().chain(found.v6.values_mut()) {
            level.sort_unstable();
            level.dedup_by_key(|(network, _)| *network);
        }
        found
    }

    fn add(&mut self, cidr: IpNet, index: usize) {
        let levels = match cidr {
            IpNet::V4(_) => &mut self.v4,
            IpNet::V6(_) => &mut self.v6,
        };
        levels
            .entry(cidr.prefix_len())
            .or_default()
            .push((cidr, index));
    }

    /// Addresses are more exact than autonomous systems, and longer prefixes more exact than shorter ones.
    pub(super) fn find(&self, address: IpAddr, asn: Option<u32>) -> Option<&Declaration> {
        let levels = match address {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        let by_address = levels
            .iter()
            .rev()
            .find_map(|(length, level)| find_in(level, address, *length));
        let index = by_address.or_else(|| self.by_asn.get(&asn?).copied())?;
        self.declarations.get(index)
    }
}

fn find_in(level: &[(IpNet, usize)], address: IpAddr, length: u8) -> Option<usize> {
    let wanted = IpNet::new(address, length).ok()?.trunc();
    let at = level
        .binary_search_by_key(&wanted, |(network, _)| *network)
        .ok()?;
    level.get(at).map(|(_, index)| *index)
}

/// Host bits cleared, and an IPv4-mapped network as the IPv4 network that its addresses are looked up in.
fn canonical(cidr: IpNet) -> IpNet {
    let mapped = match (cidr.addr(), cidr.prefix_len().checked_sub(96)) {
        (IpAddr::V6(v6), Some(length)) => v6.to_ipv4_mapped().zip(Some(length)),
        _ => None,
    };
    let v4 = mapped.and_then(|(v4, length)| Ipv4Net::new(v4, length).ok());
    v4.map_or(cidr, IpNet::V4).trunc()
}

/// Whether an address is one that the Internet does not route: it belongs to no place and says nothing about a person.
///
/// Documentation and benchmark ranges are not among them: tests and trial set-ups use them as ordinary addresses.
pub fn is_internal(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_internal_v4(v4),
        IpAddr::V6(v6) => is_internal_v6(v6),
    }
}

fn is_internal_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let shared = first == 100 && (64..128).contains(&second);
    shared
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_unspecified()
}

fn is_internal_v6(address: Ipv6Addr) -> bool {
    address.is_unique_local()
        || address.is_loopback()
        || address.is_unicast_link_local()
        || address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(name: &str, cidrs: &[&str], asns: &[u32]) -> DeclaredRange {
        let parse = |cidr: &&str| cidr.parse().expect("a network");
        DeclaredRange {
            name: name.into(),
            class: NetworkClass::Egress,
            cidrs: cidrs.iter().map(parse).collect(),
            asns: asns.to_vec(),
        }
    }

    fn name_of(ranges: &[DeclaredRange], address: &str, asn: Option<u32>) -> Option<String> {
        let address = address.parse().expect("an address");
        let ranges = DeclaredRanges::new(ranges);
        ranges
            .find(address, asn)
            .map(|found| found.name.to_string())
    }

    #[test]
    fn the_longest_prefix_wins_whatever_the_order() {
        let ranges = [
            range("any", &["0.0.0.0/0"], &[]),
            range("desk", &["203.0.113.70/32"], &[]),
            range("office", &["203.0.113.99/26", "2001:db8:1::/48"], &[]),
            range("again", &["203.0.113.64/26"], &[]),
        ];
        let name = |address| name_of(&ranges, address, None);
        assert_eq!(name("203.0.113.70").as_deref(), Some("desk"));
        assert_eq!(name("203.0.113.127").as_deref(), Some("office"));
        assert_eq!(name("203.0.113.128").as_deref(), Some("any"));
        assert_eq!(name("2001:db8:1:ff::1").as_deref(), Some("office"));
        assert_eq!(
            name("2001:db8:2::1"),
            None,
            "an IPv4 default network holds no IPv6 address"
        );
    }

    #[test]
    fn an_autonomous_system_is_the_last_resort() {
        let ranges = [
            range("carrier", &[], &[64497]),
            range("office", &["::ffff:192.0.2.0/120"], &[]),
        ];
        assert_eq!(
            name_of(&ranges, "192.0.2.9", Some(64497)).as_deref(),
            Some("office")
        );
        assert_eq!(
            name_of(&ranges, "192.0.3.9", Some(64497)).as_deref(),
            Some("carrier")
        );
        assert_eq!(name_of(&ranges, "192.0.3.9", Some(64498)), None);
        assert_eq!(name_of(&ranges, "192.0.3.9", None), None);
    }

    #[test]
    fn internal_addresses_end_where_their_ranges_end() {
        let internal = [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.1.1",
            "100.64.0.0",
            "100.127.255.255",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ];
        let ordinary = [
            "172.32.0.1",
            "100.63.255.255",
            "100.128.0.0",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "198.18.0.1",
            "198.19.255.255",
            "2001:db8::1",
            "::ffff:192.0.2.1",
        ];
        let is_internal = |address: &&str| is_internal(address.parse().expect("an address"));
        assert!(internal.iter().all(is_internal));
        assert!(!ordinary.iter().any(is_internal));
    }
}
