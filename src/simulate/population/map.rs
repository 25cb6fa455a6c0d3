//! The map of the population: cities with their access networks, and the networks that belong to nobody's home.
//!
//! A population needs more addresses than the documentation ranges have. IPv4 comes from 240.0.0.0/4, which RFC 1112 set
//! aside and nobody routes; IPv6 from the documentation range; AS numbers from those for private use (RFC 6996).
//!
//! GeoIP is as wrong here as it is in life: some IPv6 prefixes are said to be in another city of the same country, and
//! every carrier has a hub where a part of its customers seem to be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::IpNet;

use super::super::places::LocalityKind::{Hosting, Ordinary, Vpn};
use super::super::places::{Locality, locality};

/// The one map; the same in every run.
pub(super) static MAP: LazyLock<Map> = LazyLock::new(Map::new);

pub(super) struct Map {
    pub cities: Vec<City>,
    pub hosting: Vec<Net>,
    pub vpns: Vec<Net>,
    pub relay: Net,
    /// Declared as an egress in `world.yaml` up to `OFFICES_DECLARED`.
    pub offices: Vec<Net>,
    /// Of the back end: two ways out to the Internet.
    pub backends: Vec<Net>,
    /// Of builds; declared like a back end.
    pub runners: Vec<Net>,
}

/// Autonomous systems that `world.yaml` declares as carriers.
const CARRIERS_DECLARED: [u32; 2] = [US.carrier.0, DE.carrier.0];
/// The first of the offices; the operator knows of these only.
pub(super) const OFFICES_DECLARED: usize = 4;

#[derive(Debug)]
pub(super) struct City {
    /// Hours that clocks there are ahead of UTC. Nobody here changes to summer time.
    pub hours_ahead: i64,
    pub cable: Net,
    pub cable6: Net,
    pub fibre: Net,
    pub fibre6: Net,
    pub carrier: Net,
    /// Where the carrier's customers are sometimes said to be.
    pub hub: Net,
    /// Hotels and cafés.
    pub lobby: Net,
}

/// A network, ready to give addresses.
#[derive(Debug)]
pub(super) struct Net {
    pub locality: Locality,
    /// Its place says nothing of a person: VPN, relay, declared egress, back end, and a carrier that is known as one. A phone
    /// abroad comes out at its carrier's at home, and a phone at home at the carrier's hub: nobody who knows that a network
    /// is a carrier's can prove anything by how far it is from another.
    pub hides_person: bool,
    first: IpNet,
}

impl Net {
    fn new(locality: Locality) -> Self {
        Self {
            first: locality.net(),
            hides_person: locality.kind == Vpn || CARRIERS_DECLARED.contains(&locality.asn),
            locality,
        }
    }

    fn hiding(locality: Locality) -> Self {
        Self {
            hides_person: true,
            ..Self::new(locality)
        }
    }

    /// An address of the `n`th subscriber, around and around; of the /64 that an IPv6 subscriber keeps, the one with `part`.
    pub(super) fn address(&self, n: u64, part: u64) -> IpAddr {
        match self.first {
            IpNet::V4(net) => {
                let hosts = (1_u64 << (32 - net.prefix_len())) - 2;
                let host = u32::try_from(1 + n % hosts).unwrap_or(1);
                IpAddr::V4(Ipv4Addr::from(u32::from(net.network()) + host))
            }
            IpNet::V6(net) => {
                let subscribers = 1_u64 << (64 - net.prefix_len());
                let subscriber = u128::from(n % subscribers) << 64;
                let address = u128::from(net.network()) + subscriber + u128::from(part.max(1));
                IpAddr::V6(Ipv6Addr::from(address))
            }
        }
    }

    /// As the rules see it: by autonomous system. Every network of the map has one.
    pub(super) fn differs(&self, other: &Self) -> bool {
        self.locality.asn != other.locality.asn
    }
}

/// A name and a place.
type Spot = (&'static str, f64, f64);

struct Country {
    code: &'static str,
    cable: (u32, &'static str),
    fibre: (u32, &'static str),
    carrier: (u32, &'static str),
    hub: Spot,
    hub_network: &'static str,
}

macro_rules! country {
    ($code:literal, $n:literal, $asn:literal, $hub:expr) => {
        Country {
            code: $code,
            cable: ($asn, concat!("Example Cable ", $code)),
            fibre: ($asn + 1, concat!("Example Fibre ", $code)),
            carrier: ($asn + 2, concat!("Example Mobile ", $code)),
            hub: $hub,
            hub_network: concat!("242.", $n, ".0.0/18"),
        }
    };
}

const US: Country = country!("US", 1, 4_200_000_100, ("Atlanta", 33.749, -84.388));
const GB: Country = country!("GB", 2, 4_200_000_110, ("London", 51.5074, -0.1278));
const DE: Country = country!("DE", 3, 4_200_000_120, ("Frankfurt", 50.1109, 8.6821));
const FR: Country = country!("FR", 4, 4_200_000_130, ("Paris", 48.8566, 2.3522));
const CH: Country = country!("CH", 5, 4_200_000_140, ("Zurich", 47.3769, 8.5417));
const BR: Country = country!(
    "BR",
    6,
    4_200_000_150,
    ("Rio de Janeiro", -22.9068, -43.1729)
);
const IN: Country = country!("IN", 7, 4_200_000_160, ("Delhi", 28.6139, 77.209));
const JP: Country = country!("JP", 8, 4_200_000_170, ("Osaka", 34.6937, 135.5023));
const AU: Country = country!("AU", 9, 4_200_000_180, ("Melbourne", -37.8136, 144.9631));
const COUNTRIES: &[&Country] = &[&US, &GB, &DE, &FR, &CH, &BR, &IN, &JP, &AU];

/// A city before its networks have been parsed.
struct Plan {
    country: &'static Country,
    hours_ahead: i64,
    networks: [Locality; 6],
}

/// `v6` is where GeoIP believes the city's IPv6 prefixes to be.
macro_rules! city {
    ($n:literal, $country:ident, $hours:literal, $spot:expr) => {
        city!($n, $country, $hours, $spot, v6 $spot)
    };
    ($n:literal, $country:ident, $hours:literal, $spot:expr, v6 $v6:expr) => {
        Plan {
            country: &$country,
            hours_ahead: $hours,
            networks: [
                at(concat!("240.", $n, ".0.0/18"), $spot, &$country, $country.cable),
                at(concat!("2001:db8:1", $n, "::/48"), $v6, &$country, $country.cable),
                at(concat!("240.", $n, ".64.0/18"), $spot, &$country, $country.fibre),
                at(concat!("2001:db8:2", $n, "::/48"), $v6, &$country, $country.fibre),
                at(concat!("240.", $n, ".128.0/18"), $spot, &$country, $country.carrier),
                at(concat!("240.", $n, ".192.0/18"), $spot, &$country, (4_200_000_009, "Example Hotspots")),
            ],
        }
    };
}

const fn at(
    network: &'static str,
    (name, latitude, longitude): Spot,
    country: &Country,
    operator: (u32, &'static str),
) -> Locality {
    let place = (name, country.code, latitude, longitude);
    locality(network, Ordinary, place, operator)
}

const HOUSTON: Spot = ("Houston", 29.7604, -95.3698);
const SAN_ANTONIO: Spot = ("San Antonio", 29.4241, -98.4936);
const MUNICH: Spot = ("Munich", 48.1351, 11.582);
const NUREMBERG: Spot = ("Nuremberg", 49.4521, 11.0767);

/// Where people live. The order matters: trips go from one to another by their distance here.
const CITIES: &[Plan] = &[
    city!(10, US, -5, ("New York", 40.7128, -74.006)),
    city!(11, US, -6, ("Chicago", 41.8781, -87.6298)),
    city!(12, US, -6, HOUSTON, v6 SAN_ANTONIO),
    city!(13, US, -5, ("Miami", 25.7617, -80.1918)),
    city!(14, US, -7, ("Denver", 39.7392, -104.9903)),
    city!(15, US, -8, ("Los Angeles", 34.0522, -118.2437)),
    city!(16, US, -8, ("Seattle", 47.6062, -122.3321)),
    city!(17, GB, 0, ("London", 51.5074, -0.1278)),
    city!(18, GB, 0, ("Manchester", 53.4808, -2.2426)),
    city!(19, DE, 1, ("Berlin", 52.52, 13.405)),
    city!(20, DE, 1, ("Hamburg", 53.5511, 9.9937)),
    city!(21, DE, 1, MUNICH, v6 NUREMBERG),
    city!(22, FR, 1, ("Paris", 48.8566, 2.3522)),
    city!(23, FR, 1, ("Mulhouse", 47.7508, 7.3359)),
    city!(24, CH, 1, ("Basel", 47.5596, 7.5886)),
    city!(25, BR, -3, ("S\u{e3}o Paulo", -23.5505, -46.6333)),
    city!(26, IN, 5, ("Mumbai", 19.076, 72.8777)),
    city!(27, JP, 9, ("Tokyo", 35.6762, 139.6503)),
    city!(28, AU, 10, ("Sydney", -33.8688, 151.2093)),
];

const HOSTING: &[Locality] = &[
    locality(
        "241.1.0.0/20",
        Hosting,
        ("Frankfurt", "DE", 50.1109, 8.6821),
        (4_200_000_201, "Example Servers"),
    ),
    locality(
        "241.2.0.0/20",
        Hosting,
        ("Singapore", "SG", 1.3521, 103.8198),
        (4_200_000_202, "Example Cloud"),
    ),
    locality(
        "241.3.0.0/20",
        Hosting,
        ("Portland", "US", 45.5152, -122.6784),
        (4_200_000_203, "Example Machines"),
    ),
    locality(
        "241.4.0.0/20",
        Hosting,
        ("Warsaw", "PL", 52.2297, 21.0122),
        (4_200_000_204, "Example Hosts"),
    ),
];

const VPNS: &[Locality] = &[
    locality(
        "241.20.0.0/24",
        Vpn,
        ("Amsterdam", "NL", 52.3676, 4.9041),
        (4_200_000_211, "Example VPN"),
    ),
    locality(
        "241.21.0.0/24",
        Vpn,
        ("Stockholm", "SE", 59.3293, 18.0686),
        (4_200_000_212, "Example Tunnels"),
    ),
    locality(
        "241.22.0.0/24",
        Vpn,
        ("New York", "US", 40.7128, -74.006),
        (4_200_000_213, "Example Veil"),
    ),
];

const RELAY: Locality = locality(
    "241.30.0.0/22",
    Ordinary,
    ("Dallas", "US", 32.7767, -96.797),
    (4_200_000_221, "Example Relay"),
);

const OFFICES: &[Locality] = &[
    locality(
        "241.40.0.0/29",
        Ordinary,
        ("Dallas", "US", 32.7767, -96.797),
        (4_200_000_231, "Example Corporation"),
    ),
    locality(
        "241.41.0.0/29",
        Ordinary,
        ("Frankfurt", "DE", 50.1109, 8.6821),
        (4_200_000_232, "Example Werke"),
    ),
    locality(
        "241.42.0.0/29",
        Ordinary,
        ("London", "GB", 51.5074, -0.1278),
        (4_200_000_233, "Example Holdings"),
    ),
    locality(
        "241.43.0.0/29",
        Ordinary,
        ("New York", "US", 40.7128, -74.006),
        (4_200_000_234, "Example Partners"),
    ),
    locality(
        "241.44.0.0/29",
        Ordinary,
        ("Chicago", "US", 41.8781, -87.6298),
        (4_200_000_235, "Example Works"),
    ),
    locality(
        "241.45.0.0/29",
        Ordinary,
        ("Berlin", "DE", 52.52, 13.405),
        (4_200_000_236, "Example Amt"),
    ),
];

const ASHBURN: (&str, &str, f64, f64) = ("Ashburn", "US", 39.0438, -77.4874);
const DUBLIN: (&str, &str, f64, f64) = ("Dublin", "IE", 53.3498, -6.2603);

const BACKENDS: &[Locality] = &[
    locality(
        "241.60.0.0/28",
        Hosting,
        ASHBURN,
        (4_200_000_241, "Example Corporation Servers"),
    ),
    locality(
        "241.61.0.0/28",
        Hosting,
        DUBLIN,
        (4_200_000_242, "Example Corporation Servers EU"),
    ),
];

const RUNNERS: &[Locality] = &[
    locality(
        "241.70.0.0/22",
        Hosting,
        ASHBURN,
        (4_200_000_251, "Example Builds"),
    ),
    locality(
        "241.71.0.0/22",
        Hosting,
        DUBLIN,
        (4_200_000_252, "Example Builds EU"),
    ),
];

impl Map {
    fn new() -> Self {
        let nets = |list: &[Locality]| list.iter().copied().map(Net::new).collect::<Vec<_>>();
        let mut offices = nets(OFFICES);
        for office in offices.iter_mut().take(OFFICES_DECLARED) {
            office.hides_person = true;
        }
        Self {
            cities: CITIES.iter().map(City::new).collect(),
            hosting: nets(HOSTING),
            vpns: nets(VPNS),
            relay: Net::hiding(RELAY),
            offices,
            backends: BACKENDS.iter().copied().map(Net::hiding).collect(),
            runners: RUNNERS.iter().copied().map(Net::hiding).collect(),
        }
    }
}

impl City {
    fn new(plan: &Plan) -> Self {
        let [cable, cable6, fibre, fibre6, carrier, lobby] = plan.networks.map(Net::new);
        Self {
            hours_ahead: plan.hours_ahead,
            hub: Net::new(hub(plan.country)),
            cable,
            cable6,
            fibre,
            fibre6,
            carrier,
            lobby,
        }
    }
}

fn hub(country: &Country) -> Locality {
    at(country.hub_network, country.hub, country, country.carrier)
}

/// Every network of the population, for the GeoIP files.
pub fn localities() -> Vec<Locality> {
    let tables = [HOSTING, VPNS, &[RELAY], OFFICES, BACKENDS, RUNNERS];
    let cities = CITIES.iter().flat_map(|city| city.networks);
    let hubs = COUNTRIES.iter().map(|country| hub(country));
    let others = tables.into_iter().flatten().copied();
    cities.chain(hubs).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_networks_of_the_map_overlap_each_other_or_the_demo() {
        let all: Vec<Locality> = localities()
            .into_iter()
            .chain(super::super::super::places::WORLD.iter().copied())
            .collect();
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                let (one, other) = (one.net(), other.net());
                assert!(
                    !one.contains(&other) && !other.contains(&one),
                    "{one} {other}"
                );
            }
        }
    }

    #[test]
    fn addresses_stay_in_their_network_and_are_ordinary_ones() {
        for city in &MAP.cities {
            for net in [&city.cable, &city.cable6, &city.carrier, &city.lobby] {
                for n in [0, 1, 70_000, u64::MAX] {
                    let address = net.address(n, 7);
                    assert!(net.first.contains(&address), "{address}");
                    assert!(!crate::enrich::is_internal(address), "{address}");
                }
            }
        }
        assert_eq!(MAP.offices[0].address(6, 0), MAP.offices[0].address(0, 0));
    }

    #[test]
    fn a_subscriber_keeps_a_prefix_of_his_own() {
        let net = &MAP.cities[0].cable6;
        let prefix = crate::model::Prefix::of;
        assert_eq!(prefix(net.address(5, 1)), prefix(net.address(5, 2)));
        assert_ne!(prefix(net.address(5, 1)), prefix(net.address(6, 1)));
    }
}
