//! What enrichment adds to an event: the network and place of its address, and the kind of its user agent.
//!
//! Also the few questions that rules ask of them (how far apart, does this address say where a person is, is that
//! another kind of client), so that every rule gives the same answer.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Event, Text};

/// An event with what the enrichment tables knew about it when it was decoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enriched {
    pub event: Event,
    pub network: Option<Network>,
    /// Only where the tables locate the address to a city or a subdivision.
    pub place: Option<Place>,
    pub agent: Option<Agent>,
}

/// The network an address belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub prefix: Prefix,
    pub asn: Option<u32>,
    pub organisation: Option<Text>,
    /// Declared by the operator, or from the anonymous-IP table; absent means an ordinary access network as far as is known.
    pub class: Option<NetworkClass>,
    /// Name of the declared network, when the operator declared it.
    pub declared: Option<Text>,
    pub anonymity: Anonymity,
    /// Not routable on the Internet (RFC 1918, RFC 4193, loopback, link-local, shared address space): never has a place.
    pub internal: bool,
}

impl Network {
    /// Whether its addresses are rented to servers: no phone comes out there, wherever its carrier has hubs.
    pub fn is_rented(&self) -> bool {
        self.anonymity.hosting || self.class == Some(NetworkClass::Hosting)
    }

    /// Whether the place of this address says where the person is. A hosting address does: whoever uses it is not at home.
    pub fn locates_person(&self) -> bool {
        let displaced = matches!(
            self.class,
            Some(
                NetworkClass::Egress
                    | NetworkClass::Backend
                    | NetworkClass::Relay
                    | NetworkClass::Satellite
                    | NetworkClass::Tor
            )
        );
        !displaced && !self.internal && !self.anonymity.hides_place()
    }
}

/// The part of an address that one subscriber keeps: /24 of IPv4, /64 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Prefix {
    V4([u8; 3]),
    V6([u16; 4]),
}

impl Prefix {
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::V4([a, b, c]) => write!(formatter, "{a}.{b}.{c}.0/24"),
            Self::V6(segments) => {
                let [a, b, c, d] = *segments;
                let network = std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0);
                write!(formatter, "{network}/64")
            }
        }
    }
}

/// What the operator declares about a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkClass {
    /// Where an organisation's people leave for the Internet: VPN concentrator, secure web gateway.
    Egress,
    /// Servers that refresh on behalf of users.
    Backend,
    /// Privacy relay such as iCloud Private Relay.
    Relay,
    Satellite,
    Mobile,
    Hosting,
    Tor,
    Campus,
}

super::event::names!(NetworkClass {
    Egress = "egress", Backend = "backend", Relay = "relay", Satellite = "satellite",
    Mobile = "mobile", Hosting = "hosting", Tor = "tor", Campus = "campus",
});

/// Flags of the anonymous-IP table. `is_anonymous` alone is not kept: it is set on hosting addresses too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent flags of the MaxMind record"
)]
pub struct Anonymity {
    pub vpn: bool,
    pub proxy: bool,
    pub tor: bool,
    pub hosting: bool,
}

impl Anonymity {
    /// The address belongs to a service that people use from somewhere else.
    pub fn hides_place(self) -> bool {
        self.vpn || self.proxy || self.tor
    }
}

/// A place on Earth, as exact as the GeoIP table claims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Degrees, north positive.
    pub latitude: f64,
    /// Degrees, east positive.
    pub longitude: f64,
    /// Kilometres within which the device is with 67 % confidence (MaxMind `accuracy_radius`).
    pub radius_km: u16,
    pub granularity: Granularity,
    /// ISO 3166-1 alpha-2.
    pub country: Option<Text>,
    pub city: Option<Text>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    City,
    Subdivision,
    /// A centroid: names a country, gives no speed.
    Country,
}

/// Mean radius of the Earth (IUGG). The error against the ellipsoid is below 0.5 %, far below that of any GeoIP table.
const EARTH_RADIUS_KM: f64 = 6371.0088;

impl Place {
    /// Great-circle distance in kilometres between the two centres.
    pub fn distance_km(&self, other: &Self) -> f64 {
        let (from, to) = (self.latitude.to_radians(), other.latitude.to_radians());
        let north = (to - from) / 2.0;
        let east = (other.longitude - self.longitude).to_radians() / 2.0;
        let half_chord = north.sin().powi(2) + from.cos() * to.cos() * east.sin().powi(2);
        // Rounding takes antipodes above 1, where the arc sine is not a number.
        2.0 * EARTH_RADIUS_KM * half_chord.sqrt().clamp(0.0, 1.0).asin()
    }

    /// The distance that is left if both ends are as near to each other as their radii allow;
    /// `None` where one of them names only a country and so has no distance to anything.
    pub fn effective_distance_km(&self, other: &Self) -> Option<f64> {
        if self.granularity == Granularity::Country || other.granularity == Granularity::Country {
            return None;
        }
        let radii = f64::from(self.radius_km) + f64::from(other.radius_km);
        Some((self.distance_km(other) - radii).max(0.0))
    }
}

/// The kind of client behind a user agent; versions are left out on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Agent {
    /// `Windows`, `macOS`, `iOS`, `Android`, `Linux`, ...; `Other` where the user agent does not say.
    pub os_family: Text,
    pub device: DeviceClass,
    /// `Chrome`, `Firefox`, `python-requests`, the name of an app, ...
    pub client_app: Text,
    /// A library or tool, not something a person holds (curl, python-requests, Go-http-client, ...).
    pub automation: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceClass {
    Desktop,
    Phone,
    Tablet,
    Other,
}

super::event::names!(DeviceClass { Desktop = "desktop", Phone = "phone", Tablet = "tablet", Other = "other" });

impl Agent {
    /// Whether the two cannot be one installation of one client.
    ///
    /// A tablet that asks for desktop pages looks like a desktop computer (Safari on iPad does so by default, Chrome on
    /// Android on demand), so those pairs are not told apart.
    pub fn is_another_kind_than(&self, other: &Self) -> bool {
        self != other && !self.may_be_tablet_of(other) && !other.may_be_tablet_of(self)
    }

    fn may_be_tablet_of(&self, desktop: &Self) -> bool {
        let desktop_os = match self.os_family.as_ref() {
            "iOS" => "macOS",
            "Android" => "Linux",
            _ => return false,
        };
        self.device == DeviceClass::Tablet
            && desktop.device == DeviceClass::Desktop
            && desktop.os_family.as_ref() == desktop_os
            && self.client_app == desktop.client_app
    }
}

impl std::fmt::Display for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.client_app)?;
        // What the user agent does not say is no name of a system or device.
        if &*self.os_family != "Other" {
            write!(f, " on {}", self.os_family)?;
        }
        if self.device != DeviceClass::Other {
            write!(f, " ({})", self.device)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(latitude: f64, longitude: f64, radius_km: u16) -> Place {
        Place {
            latitude,
            longitude,
            radius_km,
            granularity: Granularity::City,
            country: None,
            city: None,
        }
    }

    #[test]
    fn distance_is_that_of_the_atlas() {
        let new_york = place(40.7128, -74.006, 20);
        let frankfurt = place(50.1109, 8.6821, 20);
        let there = new_york.distance_km(&frankfurt);
        assert!((there - 6203.0).abs() < 5.0, "{there}");
        assert!((there - frankfurt.distance_km(&new_york)).abs() < 1e-9);
        let effective = new_york.effective_distance_km(&frankfurt);
        assert!(effective.is_some_and(|km| (km - (there - 40.0)).abs() < 1e-9));
    }

    #[test]
    fn distance_at_the_edges_is_a_number() {
        let half_way_round = std::f64::consts::PI * EARTH_RADIUS_KM;
        for (latitude, longitude) in [(0.0, 0.0), (90.0, 0.0), (13.7, 100.5), (-33.9, 151.2)] {
            let here = place(latitude, longitude, 0);
            let antipode = place(-latitude, longitude - 180.0, 0);
            assert!(here.distance_km(&here) < 1e-9);
            assert!((here.distance_km(&antipode) - half_way_round).abs() < 0.01);
        }
        let fiji = place(-17.0, 179.9, 0).distance_km(&place(-17.0, -179.9, 0));
        assert!(fiji < 30.0, "the date line is no distance: {fiji}");
    }

    #[test]
    fn radii_never_make_a_distance_negative_and_countries_have_none() {
        let near = place(40.7, -74.0, 100);
        assert_eq!(
            near.effective_distance_km(&place(40.8, -74.1, 100)),
            Some(0.0)
        );
        let mut country = place(37.751, -97.822, 1000);
        country.granularity = Granularity::Country;
        assert_eq!(near.effective_distance_km(&country), None);
        assert_eq!(country.effective_distance_km(&near), None);
    }

    #[test]
    fn a_tablet_in_desktop_mode_is_not_another_client() {
        let agent = |os: &str, device, app: &str| Agent {
            os_family: os.into(),
            device,
            client_app: app.into(),
            automation: false,
        };
        let mac = agent("macOS", DeviceClass::Desktop, "Safari");
        let ipad = agent("iOS", DeviceClass::Tablet, "Safari");
        assert!(!mac.is_another_kind_than(&ipad) && !ipad.is_another_kind_than(&mac));
        assert!(!mac.is_another_kind_than(&mac));
        assert!(mac.is_another_kind_than(&agent("iOS", DeviceClass::Phone, "Safari")));
        assert!(mac.is_another_kind_than(&agent("iOS", DeviceClass::Tablet, "Chrome")));
        assert!(mac.is_another_kind_than(&agent("Windows", DeviceClass::Desktop, "Safari")));
    }

    #[test]
    fn hosting_locates_and_whatever_hides_does_not() {
        let network = |class, anonymity| Network {
            prefix: Prefix::V4([198, 51, 100]),
            asn: None,
            organisation: None,
            class,
            declared: None,
            anonymity,
            internal: false,
        };
        let vpn = Anonymity {
            vpn: true,
            hosting: true,
            ..Anonymity::default()
        };
        assert!(network(Some(NetworkClass::Hosting), Anonymity::default()).locates_person());
        assert!(network(Some(NetworkClass::Mobile), Anonymity::default()).locates_person());
        assert!(!network(Some(NetworkClass::Hosting), vpn).locates_person());
        assert!(!network(Some(NetworkClass::Egress), Anonymity::default()).locates_person());
    }
}
