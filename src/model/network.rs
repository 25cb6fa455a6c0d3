//! What enrichment adds to an event: the network and place of its address, and the kind of its user agent.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Event, Text};

/// An event with what the enrichment tables knew about it when it was decoded.
#[derive(Debug, Clone, PartialEq)]
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
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::V4([a, b, c]) => write!(f, "{a}.{b}.{c}.0/24"),
            Self::V6([a, b, c, d]) => write!(
                f,
                "{}/64",
                std::net::Ipv6Addr::new(*a, *b, *c, *d, 0, 0, 0, 0)
            ),
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

/// The kind of client behind a user agent; versions are left out on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Agent {
    /// `Windows`, `Mac OSX`, `iPhone`, `Android`, `Linux`, ...
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

impl std::fmt::Display for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} on {} ({})",
            self.client_app, self.os_family, self.device
        )
    }
}

/// Mean radius of the Earth in km (IUGG); the ellipsoid differs by 0.5 %, far below GeoIP error.
const EARTH_RADIUS_KM: f64 = 6371.0088;

impl Place {
    /// Great-circle distance in km (haversine; the root's argument is clamped, else antipodes give NaN).
    pub fn distance_km(&self, other: &Self) -> f64 {
        let (lat1, lat2) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_lat = (lat2 - lat1) / 2.0;
        let half_lon = (other.longitude - self.longitude).to_radians() / 2.0;
        let a = half_lat.sin().powi(2) + lat1.cos() * lat2.cos() * half_lon.sin().powi(2);
        2.0 * EARTH_RADIUS_KM * a.sqrt().min(1.0).asin()
    }

    /// What is left of the distance when both places lie as near to each other as their radii allow.
    pub fn effective_distance_km(&self, other: &Self) -> f64 {
        (self.distance_km(other) - f64::from(self.radius_km) - f64::from(other.radius_km)).max(0.0)
    }
}
