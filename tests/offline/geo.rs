//! GeoIP files as they are on a disk: right, missing, broken, replaced while the daemon runs.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::net::IpAddr;
use std::path::Path;

use tokenwarden::enrich::{DeclaredRange, GeoFiles, GeoTable, Records, Tables, TablesParams};
use tokenwarden::model::{Granularity, Network, NetworkClass, Place, Timestamp};
use tokenwarden::simulate::places::{self, Locality};

const BUILT: i64 = 1_770_000_000;

fn written(folder: &Path, localities: &[Locality]) -> TablesParams {
    let built = Timestamp::from_second(BUILT).unwrap();
    let files = places::write_city_asn(folder, localities, built).unwrap();
    TablesParams {
        files,
        networks: Vec::new(),
    }
}

fn locate(tables: &Tables, address: &str) -> (Network, Option<Place>) {
    tables.locate(address.parse::<IpAddr>().unwrap(), &mut Records::default())
}

#[test]
fn files_locate_documentation_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let (tables, warnings) = Tables::load(&written(folder.path(), places::WORLD));
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(tables.blind(), []);
    assert_eq!(tables.built().len(), 3);
    assert!(
        tables
            .built()
            .iter()
            .all(|(_, built)| i64::try_from(built.as_secs()) == Ok(BUILT))
    );

    let (network, place) = locate(&tables, "::ffff:192.0.2.7");
    let place = place.unwrap();
    assert_eq!((network.asn, network.class), (Some(64496), None));
    assert_eq!(network.organisation.as_deref(), Some("Example Cable"));
    assert_eq!(
        (place.city.as_deref(), place.country.as_deref()),
        (Some("New York"), Some("US"))
    );
    assert_eq!(
        (place.granularity, place.radius_km),
        (Granularity::City, 20)
    );

    let (v6, v6_place) = locate(&tables, "2001:db8:1:2::3");
    assert_eq!((v6.asn, v6_place), (Some(64496), Some(place)));

    let (hosting, place) = locate(&tables, "198.51.100.10");
    assert_eq!(hosting.class, Some(NetworkClass::Hosting));
    assert!(hosting.locates_person() && place.is_some());
    assert!(
        !locate(&tables, "198.51.100.70").0.locates_person(),
        "a VPN"
    );
    assert_eq!(
        locate(&tables, "198.19.255.1").0.class,
        Some(NetworkClass::Tor)
    );
    assert_eq!(locate(&tables, "203.0.114.1").1, None);
}

#[test]
fn every_locality_answers_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (tables, _) = Tables::load(&written(folder.path(), places::WORLD));
    let mut known = Records::default();
    for locality in places::WORLD {
        let (network, place) = tables.locate(locality.address(40), &mut known);
        assert_eq!(network.asn, Some(locality.asn), "{}", locality.network);
        assert_eq!(place.unwrap().city.as_deref(), Some(locality.city));
    }
}

#[test]
fn a_longer_prefix_stands_within_a_shorter_one_whatever_the_order() {
    let wide = Locality {
        network: "198.18.0.0/15",
        ..places::BERLIN_HOME
    };
    let narrow = Locality {
        network: "198.18.7.64/26",
        ..places::LONDON_HOME
    };
    for localities in [[wide, narrow], [narrow, wide]] {
        let folder = tempfile::tempdir().unwrap();
        let (tables, _) = Tables::load(&written(folder.path(), &localities));
        let city = |address| {
            locate(&tables, address)
                .1
                .unwrap()
                .city
                .unwrap()
                .to_string()
        };
        assert_eq!(city("198.18.7.65"), "London");
        assert_eq!(city("198.18.7.1"), "Berlin");
        assert_eq!(city("198.19.200.1"), "Berlin");
    }
}

#[test]
fn internal_addresses_have_no_place_even_if_the_file_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let everywhere = Locality {
        network: "0.0.0.0/0",
        ..places::FRANKFURT_HOSTING
    };
    let (tables, _) = Tables::load(&written(folder.path(), &[everywhere]));
    for address in [
        "10.1.2.3",
        "192.168.0.9",
        "100.64.1.1",
        "127.0.0.1",
        "fe80::1",
        "fd00::7",
    ] {
        let (network, place) = locate(&tables, address);
        assert!(network.internal && !network.locates_person(), "{address}");
        assert_eq!(
            (network.asn, network.class, place),
            (None, None, None),
            "{address}"
        );
    }
    assert!(!locate(&tables, "100.128.0.1").0.internal);
    assert!(locate(&tables, "100.128.0.1").1.is_some());
}

#[test]
fn what_the_operator_declares_outranks_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut params = written(folder.path(), places::WORLD);
    let declared = |name: &str, class, cidr: &str, asns: &[u32]| DeclaredRange {
        name: name.into(),
        class,
        cidrs: cidr.parse().into_iter().collect(),
        asns: asns.to_vec(),
    };
    params.networks = vec![
        declared("carrier", NetworkClass::Mobile, "", &[64497]),
        declared("gateway", NetworkClass::Backend, "203.0.113.200/32", &[]),
    ];
    let (tables, _) = Tables::load(&params);
    let class = |address| locate(&tables, address).0.class;
    assert_eq!(class("192.0.2.70"), Some(NetworkClass::Mobile));
    assert_eq!(class("203.0.113.200"), Some(NetworkClass::Backend));
    assert_eq!(class("203.0.113.201"), Some(NetworkClass::Hosting));
}

#[test]
fn missing_broken_and_mistaken_files_are_warnings_and_blindness() {
    let folder = tempfile::tempdir().unwrap();
    let good = written(folder.path(), places::WORLD).files;
    let broken = folder.path().join("broken.mmdb");
    std::fs::write(&broken, b"<html>404 not found</html>").unwrap();
    let files = GeoFiles {
        city: Some(broken),
        asn: Some(folder.path().join("missing.mmdb")),
        anonymous_ip: None,
    };
    let (tables, warnings) = Tables::load(&TablesParams {
        files,
        ..TablesParams::default()
    });
    assert_eq!(
        tables.blind(),
        [GeoTable::City, GeoTable::Asn, GeoTable::AnonymousIp]
    );
    assert_eq!(
        warnings.len(),
        2,
        "what is not configured is no fault: {warnings:?}"
    );
    assert!(warnings[0].starts_with("geoip.city: ") && warnings[0].contains("broken.mmdb"));
    assert!(warnings[1].starts_with("geoip.asn: ") && warnings[1].contains("missing.mmdb"));
    assert_eq!(locate(&tables, "192.0.2.7").1, None);

    let swapped = GeoFiles {
        city: good.city.clone(),
        asn: good.city,
        anonymous_ip: good.asn,
    };
    let (tables, warnings) = Tables::load(&TablesParams {
        files: swapped,
        ..TablesParams::default()
    });
    assert_eq!(
        warnings.len(),
        2,
        "a file of another type is a fault: {warnings:?}"
    );
    assert_eq!(tables.blind(), [GeoTable::Asn, GeoTable::AnonymousIp]);
}

#[test]
fn a_file_is_noticed_when_it_changes_and_kept_when_it_breaks() {
    let folder = tempfile::tempdir().unwrap();
    let params = written(folder.path(), &[places::BERLIN_HOME]);
    let (tables, _) = Tables::load(&params);
    assert!(!tables.changed());

    written(folder.path(), places::WORLD);
    assert!(tables.changed(), "another size");
    let (tables, warnings) = tables.reload(&params);
    assert!(warnings.is_empty() && !tables.changed());
    assert!(locate(&tables, "192.0.2.7").1.is_some());

    let city = params.files.city.clone().unwrap();
    std::fs::write(&city, b"half a download").unwrap();
    assert!(tables.changed());
    let (tables, warnings) = tables.reload(&params);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("stays in use"), "{warnings:?}");
    assert!(locate(&tables, "192.0.2.7").1.is_some());
    assert!(!tables.changed(), "a warning once, not at every look");

    std::fs::remove_file(&city).unwrap();
    assert!(tables.changed());
}

#[test]
fn a_missing_file_is_found_when_it_appears() {
    let folder = tempfile::tempdir().unwrap();
    let params = TablesParams {
        files: GeoFiles {
            city: Some(folder.path().join("city.mmdb")),
            ..GeoFiles::default()
        },
        ..TablesParams::default()
    };
    let (tables, warnings) = Tables::load(&params);
    assert_eq!(warnings.len(), 1);
    written(folder.path(), places::WORLD);
    assert!(tables.changed());
    let (tables, warnings) = tables.reload(&params);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(tables.blind(), [GeoTable::Asn, GeoTable::AnonymousIp]);
}
