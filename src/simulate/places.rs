//! Where the simulated people and thieves are: networks from documentation addresses, and GeoIP files that locate them.
//!
//! Real GeoIP files may not be shipped, and real addresses belong to somebody. Documentation ranges (RFC 5737, RFC 3849)
//! and documentation AS numbers (RFC 5398) belong to nobody, and the daemon treats them as ordinary addresses.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

pub use super::geo_files::write_city_asn;

/// A network as the three GeoIP files describe it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Locality {
    /// In CIDR form.
    pub network: &'static str,
    pub kind: LocalityKind,
    pub city: &'static str,
    /// ISO 3166-1 alpha-2.
    pub country: &'static str,
    pub latitude: f64,
    pub longitude: f64,
    pub radius_km: u16,
    pub asn: u32,
    pub organisation: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalityKind {
    /// Nothing is said of it but where it is.
    Ordinary,
    Hosting,
    Vpn,
    Tor,
}

use LocalityKind::{Hosting, Ordinary, Tor, Vpn};

/// Shortens the tables: a city is written once.
pub(super) const fn locality(
    network: &'static str,
    kind: LocalityKind,
    (city, country, latitude, longitude): (&'static str, &'static str, f64, f64),
    (asn, organisation): (u32, &'static str),
) -> Locality {
    Locality {
        network,
        kind,
        city,
        country,
        latitude,
        longitude,
        radius_km: 20,
        asn,
        organisation,
    }
}

const NEW_YORK: (&str, &str, f64, f64) = ("New York", "US", 40.7128, -74.006);
const CABLE: (u32, &str) = (64496, "Example Cable");

pub const NEW_YORK_HOME: Locality = locality("192.0.2.0/26", Ordinary, NEW_YORK, CABLE);
pub const NEW_YORK_HOME_V6: Locality = locality("2001:db8:1::/48", Ordinary, NEW_YORK, CABLE);
pub const NEW_YORK_MOBILE: Locality = locality(
    "192.0.2.64/26",
    Ordinary,
    NEW_YORK,
    (64497, "Example Mobile"),
);
pub const CHICAGO_HOME: Locality = locality(
    "192.0.2.128/26",
    Ordinary,
    ("Chicago", "US", 41.8781, -87.6298),
    (64498, "Example Fibre"),
);
pub const LONDON_HOME: Locality = locality(
    "192.0.2.192/26",
    Ordinary,
    ("London", "GB", 51.5074, -0.1278),
    (64499, "Example Broadband"),
);
pub const FRANKFURT_HOSTING: Locality = locality(
    "198.51.100.0/26",
    Hosting,
    ("Frankfurt am Main", "DE", 50.1109, 8.6821),
    (64500, "Example Servers"),
);
pub const AMSTERDAM_VPN: Locality = locality(
    "198.51.100.64/26",
    Vpn,
    ("Amsterdam", "NL", 52.3676, 4.9041),
    (64501, "Example VPN"),
);
pub const SAO_PAULO_HOME: Locality = locality(
    "198.51.100.128/26",
    Ordinary,
    ("S\u{e3}o Paulo", "BR", -23.5505, -46.6333),
    (64502, "Example Telefonia"),
);
pub const SINGAPORE_HOSTING: Locality = locality(
    "198.51.100.192/26",
    Hosting,
    ("Singapore", "SG", 1.3521, 103.8198),
    (64503, "Example Cloud"),
);
pub const BERLIN_HOME: Locality = locality(
    "203.0.113.0/26",
    Ordinary,
    ("Berlin", "DE", 52.52, 13.405),
    (64504, "Example Netz"),
);
/// The example company leaves for the Internet in Dallas, wherever its people are.
pub const OFFICE_EGRESS: Locality = locality(
    "203.0.113.64/26",
    Ordinary,
    ("Dallas", "US", 32.7767, -96.797),
    (64505, "Example Corporation"),
);
pub const NEW_YORK_CAFE: Locality = locality(
    "203.0.113.128/26",
    Ordinary,
    NEW_YORK,
    (64506, "Example Hotspots"),
);
pub const ASHBURN_BACKEND: Locality = locality(
    "203.0.113.192/26",
    Hosting,
    ("Ashburn", "US", 39.0438, -77.4874),
    (64505, "Example Corporation"),
);
pub const ZURICH_TOR: Locality = locality(
    "198.19.255.0/24",
    Tor,
    ("Zurich", "CH", 47.3769, 8.5417),
    (64507, "Example Relays"),
);

// Homes for a whole population, each household with a /24 of its own as a family has at most one line.
pub const NEW_YORK_HOMES: Locality = locality("198.18.0.0/18", Ordinary, NEW_YORK, CABLE);
pub const CHICAGO_HOMES: Locality = Locality {
    network: "198.18.64.0/18",
    ..CHICAGO_HOME
};
pub const NEW_YORK_CARRIER: Locality = Locality {
    network: "198.18.128.0/18",
    ..NEW_YORK_MOBILE
};
pub const LONDON_HOMES: Locality = Locality {
    network: "198.18.192.0/18",
    ..LONDON_HOME
};

// Where thieves work. A /24 each, because addresses of one /24 count as one network wherever they are said to be.
pub const FRANKFURT_SERVERS: Locality = Locality {
    network: "198.19.1.0/24",
    ..FRANKFURT_HOSTING
};
pub const SINGAPORE_CLOUD: Locality = Locality {
    network: "198.19.2.0/24",
    ..SINGAPORE_HOSTING
};
pub const SAO_PAULO_LINE: Locality = Locality {
    network: "198.19.3.0/24",
    ..SAO_PAULO_HOME
};
pub const BERLIN_LINE: Locality = Locality {
    network: "198.19.4.0/24",
    ..BERLIN_HOME
};

/// Every network of the simulated world.
pub const WORLD: &[Locality] = &[
    NEW_YORK_HOME,
    NEW_YORK_HOME_V6,
    NEW_YORK_MOBILE,
    CHICAGO_HOME,
    LONDON_HOME,
    FRANKFURT_HOSTING,
    AMSTERDAM_VPN,
    SAO_PAULO_HOME,
    SINGAPORE_HOSTING,
    BERLIN_HOME,
    OFFICE_EGRESS,
    NEW_YORK_CAFE,
    ASHBURN_BACKEND,
    ZURICH_TOR,
    NEW_YORK_HOMES,
    CHICAGO_HOMES,
    NEW_YORK_CARRIER,
    LONDON_HOMES,
    FRANKFURT_SERVERS,
    SINGAPORE_CLOUD,
    SAO_PAULO_LINE,
    BERLIN_LINE,
];

impl Locality {
    /// The `n`th host of the network, around and around.
    pub fn address(&self, n: u32) -> IpAddr {
        let network = self.net();
        let hosts = 2_u32
            .saturating_pow(u32::from(network.max_prefix_len() - network.prefix_len()))
            .saturating_sub(2);
        let host = 1 + n % hosts.max(1);
        match network {
            IpNet::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4.network()) + host)),
            IpNet::V6(v6) => IpAddr::V6((u128::from(v6.network()) + u128::from(host)).into()),
        }
    }

    /// The address of the `n`th household in a network of homes.
    pub fn household(&self, n: u32) -> IpAddr {
        self.address((n << 8) + 9)
    }

    pub fn net(&self) -> IpNet {
        self.network
            .parse()
            .expect("a locality is written with a network")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stay_within_their_network() {
        for locality in WORLD {
            let network = locality.net();
            for n in [0, 1, 61, 62, 1_000_000] {
                assert!(network.contains(&locality.address(n)), "{network} {n}");
            }
        }
    }

    #[test]
    fn no_two_networks_of_the_world_overlap() {
        for (at, one) in WORLD.iter().enumerate() {
            for other in &WORLD[at + 1..] {
                assert!(!one.net().contains(&other.net()) && !other.net().contains(&one.net()));
            }
        }
    }
}
