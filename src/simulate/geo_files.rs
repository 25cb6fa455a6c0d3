//! Writes small GeoIP files with the layout and the number types of the vendor's.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use ipnet::IpNet;
use maxminddb_writer::Database;
use maxminddb_writer::metadata::IpVersion;
use maxminddb_writer::paths::IpAddrWithMask;
use serde::Serialize;

use super::places::Locality;
use super::places::LocalityKind::{Hosting, Ordinary, Tor, Vpn};
use crate::enrich::GeoFiles;
use crate::model::Timestamp;

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
