//! Where the simulated people and thieves are: networks from documentation addresses, and GeoIP files that locate them.
//!
//! Real GeoIP files may not be shipped, and real addresses belong to somebody. Documentation ranges (RFC 5737, RFC 3849)
//! and documentation AS numbers (RFC 5398) belong to nobody, and the daemon treats them as ordinary addresses.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use ipnet::IpNet;
use maxminddb_writer::Database;
use maxminddb_writer::metadata::IpVersion;
use maxminddb_writer::paths::IpAddrWithMask;
use serde::Serialize;

use crate::enrich::GeoFiles;
use crate::model::Timestamp;

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

/// Shortens the table below: a city is written once.
const fn locality(
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
    "198.18.7.0/24",
    Tor,
    ("Zurich", "CH", 47.3769, 8.5417),
    (64507, "Example Relays"),
);

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

    pub fn net(&self) -> IpNet {
        self.network
            .parse()
            .expect("a locality is written with a network")
    }
}

/// Writes `city.mmdb`, `asn.mmdb` and `anonymous-ip.mmdb` into `folder`. A longer prefix stands within a shorter one.
pub fn write_city_asn(
    folder: &Path,
    localities: &[Locality],
    built: Timestamp,
) -> Result<GeoFiles> {
    let mut ordered = localities.to_vec();
    ordered.sort_by_key(|locality| locality.net().prefix_len());
    let write =
        |name: &str, database_type: &str, record: fn(&Locality, &mut Database) -> Inserted| {
            let path = folder.join(name);
            write_table(&path, database_type, built, &ordered, record)
                .with_context(|| format!("write the GeoIP file {}", path.display()))?;
            anyhow::Ok(path)
        };
    Ok(GeoFiles {
        city: Some(write("city.mmdb", "GeoLite2-City", city_record)?),
        asn: Some(write("asn.mmdb", "GeoLite2-ASN", asn_record)?),
        anonymous_ip: Some(write(
            "anonymous-ip.mmdb",
            "GeoIP2-Anonymous-IP",
            anonymous_record,
        )?),
    })
}

type Inserted = Result<(), maxminddb_writer::Error>;

fn write_table(
    path: &Path,
    database_type: &str,
    built: Timestamp,
    localities: &[Locality],
    record: fn(&Locality, &mut Database) -> Inserted,
) -> Result<()> {
    let mut database = Database::default();
    database.metadata.ip_version = IpVersion::V6;
    // The crate's defaults are zero: readers refuse format 0, and a file from 1970 would look stale.
    database.metadata.binary_format_major_version = 2;
    database.metadata.build_epoch = u64::try_from(built.as_second()).unwrap_or(0);
    database.metadata.languages = vec!["en".to_owned()];
    database_type.clone_into(&mut database.metadata.database_type);
    for locality in localities {
        record(locality, &mut database)
            .map_err(|error| anyhow!("{}: {error}", locality.network))?;
    }
    let file = BufWriter::new(File::create(path)?);
    let mut written = database
        .write_to(file)
        .map_err(|error| anyhow!("{error}"))?;
    Ok(written.flush()?)
}

fn insert(locality: &Locality, database: &mut Database, value: impl Serialize) -> Inserted {
    let record = database.insert_value(value)?;
    database.insert_node(tree_path(locality.net()), record);
    Ok(())
}

/// In a tree of IPv6 addresses, IPv4 lives below `::/96`.
fn tree_path(network: IpNet) -> IpAddrWithMask {
    match network {
        IpNet::V4(v4) => {
            let address = IpAddr::V6(v4.network().to_ipv6_compatible());
            IpAddrWithMask::new(address, 96 + v4.prefix_len())
        }
        IpNet::V6(v6) => IpAddrWithMask::new(IpAddr::V6(v6.network()), v6.prefix_len()),
    }
}

fn city_record(locality: &Locality, database: &mut Database) -> Inserted {
    let record = CityRecord {
        city: Named {
            names: Names { en: locality.city },
        },
        country: Country {
            iso_code: locality.country,
        },
        location: Location {
            latitude: locality.latitude,
            longitude: locality.longitude,
            accuracy_radius: locality.radius_km,
        },
    };
    insert(locality, database, record)
}

fn asn_record(locality: &Locality, database: &mut Database) -> Inserted {
    let record = AsnRecord {
        autonomous_system_number: locality.asn,
        autonomous_system_organization: locality.organisation,
    };
    insert(locality, database, record)
}

/// As in the vendor's file, `is_anonymous` stands beside every other flag, and an ordinary network has no record.
fn anonymous_record(locality: &Locality, database: &mut Database) -> Inserted {
    match locality.kind {
        Ordinary => Ok(()),
        Hosting => insert(
            locality,
            database,
            HostingRecord {
                is_anonymous: true,
                is_hosting_provider: true,
            },
        ),
        Vpn => insert(
            locality,
            database,
            VpnRecord {
                is_anonymous: true,
                is_anonymous_vpn: true,
                is_hosting_provider: true,
            },
        ),
        Tor => insert(
            locality,
            database,
            TorRecord {
                is_anonymous: true,
                is_tor_exit_node: true,
            },
        ),
    }
}

// The integer types below are those of the vendor's files; readers are strict about them.

#[derive(Serialize)]
struct CityRecord {
    city: Named,
    country: Country,
    location: Location,
}

#[derive(Serialize)]
struct Named {
    names: Names,
}

#[derive(Serialize)]
struct Names {
    en: &'static str,
}

#[derive(Serialize)]
struct Country {
    iso_code: &'static str,
}

#[derive(Serialize)]
struct Location {
    latitude: f64,
    longitude: f64,
    accuracy_radius: u16,
}

#[derive(Serialize)]
struct AsnRecord {
    autonomous_system_number: u32,
    autonomous_system_organization: &'static str,
}

#[derive(Serialize)]
struct HostingRecord {
    is_anonymous: bool,
    is_hosting_provider: bool,
}

#[derive(Serialize)]
struct VpnRecord {
    is_anonymous: bool,
    is_anonymous_vpn: bool,
    is_hosting_provider: bool,
}

#[derive(Serialize)]
struct TorRecord {
    is_anonymous: bool,
    is_tor_exit_node: bool,
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
