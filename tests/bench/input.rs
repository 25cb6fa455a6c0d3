//! Records in the canonical form, as an authorization server with many families writes them: some 450 bytes, 14 members.
//!
//! Everything a record says is a function of its family and generation, so that a million families need no memory here
//! and the memory measured is the engine's alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::ops::Range;

use tokenwarden::model::Timestamp;
use tokenwarden::simulate::places::{Locality, LocalityKind};

/// Pause between two refreshes of one family: the lifetime of its access tokens.
const REFRESH_EVERY_MS: i64 = 300_000;
/// One refresh in so many gets its answer lost: the client presents the same token again and is refused.
const RETRY_ONE_IN: u64 = 2_000;
/// One refresh in so many is followed by somebody else who presents the same token from another place.
const THEFT_ONE_IN: u64 = 50_000;

/// One presentation of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Presentation {
    pub(crate) time_ms: i64,
    pub(crate) family: u32,
    /// How often the family was refreshed before.
    pub(crate) generation: u32,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Issue,
    Refresh,
    Retry,
    /// By somebody else; refused.
    Theft,
    /// The same, and the server takes the used token.
    Honoured,
}

impl Kind {
    fn is_a_thief_s(self) -> bool {
        matches!(self, Self::Theft | Self::Honoured)
    }
}

/// An endless stream in order of time: families begin one after the other within one refresh interval.
pub(crate) struct Traffic {
    waiting: BinaryHeap<Reverse<Presentation>>,
}

impl Traffic {
    pub(crate) fn new(families: Range<u32>, start: Timestamp) -> Self {
        let (first, count) = (families.start, i64::from(families.end - families.start));
        let issue = |family: u32| {
            Reverse(Presentation {
                time_ms: start.as_millisecond()
                    + i64::from(family - first) * REFRESH_EVERY_MS / count,
                family,
                generation: 0,
                kind: Kind::Issue,
            })
        };
        Self {
            waiting: families.map(issue).collect(),
        }
    }
}

impl Iterator for Traffic {
    type Item = Presentation;

    fn next(&mut self) -> Option<Presentation> {
        let Reverse(now) = self.waiting.pop()?;
        let after = |ms, generation, kind| {
            Reverse(Presentation {
                time_ms: now.time_ms + ms,
                generation,
                kind,
                ..now
            })
        };
        let chance = mixed(&[7, u64::from(now.family), u64::from(now.generation)]);
        match now.kind {
            Kind::Issue => self.waiting.push(after(jitter(chance), 0, Kind::Refresh)),
            Kind::Refresh => {
                let next = now.generation + 1;
                self.waiting
                    .push(after(jitter(chance), next, Kind::Refresh));
                if chance.is_multiple_of(THEFT_ONE_IN) {
                    self.waiting
                        .push(after(60_000, now.generation, Kind::Theft));
                } else if chance.is_multiple_of(RETRY_ONE_IN) {
                    self.waiting.push(after(1_000, now.generation, Kind::Retry));
                }
            }
            Kind::Retry | Kind::Theft | Kind::Honoured => {}
        }
        Some(now)
    }
}

/// Clients refresh some seconds before their access token expires.
fn jitter(chance: u64) -> i64 {
    REFRESH_EVERY_MS - i64::try_from(chance % 30_000).unwrap_or(0)
}

const CLIENTS: [&str; 4] = ["mobile-app", "web-shop", "partner-portal", "desktop-sync"];

const AGENTS: [&str; 8] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
    "ShopApp/5.12 (iPhone; iOS 18.1) CFNetwork/1568.200.51 Darwin/24.1.0",
    "ShopApp/5.12 (Android 15; Pixel 9) okhttp/4.12.0",
    "DesktopSync/2.4 (Windows 11)",
];

/// Five families belong to four users.
fn user_number(family: u32) -> u64 {
    u64::from(family) * 4 / 5
}

/// The user id in the records of a family.
pub(crate) fn user_of(family: u32) -> String {
    id(&[2, user_number(family)])
}

/// The client of a family, as its records name it.
pub(crate) fn client_of(family: u32) -> &'static str {
    one_of(&CLIENTS, u64::from(family))
}

/// Appends the record to `line`, without an end of line.
pub(crate) fn write_record(p: &Presentation, line: &mut String) -> std::fmt::Result {
    let generation = u64::from(p.generation);
    let family = u64::from(p.family);
    let (kind, outcome, issued) = match p.kind {
        Kind::Issue => ("issue", "success", 0),
        Kind::Refresh => ("refresh", "success", generation + 1),
        Kind::Retry | Kind::Theft => ("refresh", "failure", 0),
        Kind::Honoured => ("refresh", "success", generation + 1000),
    };
    let time = Timestamp::from_millisecond(p.time_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    write!(
        line,
        r#"{{"event_id":"{}","time":"{time}","type":"{kind}","outcome":"{outcome}","issuer":"https://id.example.com/shop","user_id":"{}","client_id":"{}","session_id":"{}","ip_address":"{}","user_agent":"{}","scope":"openid email""#,
        id(&[1, family, generation, p.kind as u64]),
        user_of(p.family),
        client_of(p.family),
        id(&[3, family]),
        address_of(p),
        one_of(
            &AGENTS,
            if p.kind.is_a_thief_s() {
                family + 2
            } else {
                family
            }
        ),
    )?;
    if p.kind != Kind::Issue {
        write!(line, r#","token_id":"{}""#, short_id(family, generation))?;
    }
    if outcome == "failure" {
        line.push_str(r#","reason":"reuse","error":"invalid_grant"}"#);
        return Ok(());
    }
    let issued = short_id(family, issued);
    write!(
        line,
        r#","new_token_id":"{issued}","access_token_ttl":300}}"#
    )
}

/// Nine in ten are at home behind IPv6 in one of eight cities; the others roam in a range that no table locates.
pub(crate) fn address_of(p: &Presentation) -> std::net::IpAddr {
    let user = user_number(p.family);
    let place = mixed(&[4, user]);
    if p.kind.is_a_thief_s() {
        let host = u32::try_from(place % 250).unwrap_or(0);
        return std::net::Ipv4Addr::from(0xcb00_7101 + host).into();
    }
    if place.is_multiple_of(10) {
        let roaming = mixed(&[5, user, u64::from(p.generation) / 8]) % 0x1_ffff;
        return std::net::Ipv4Addr::from(0xc612_0000 + u32::try_from(roaming).unwrap_or(0)).into();
    }
    let segment = |shift: u32| u16::try_from((place >> shift) & 0xffff).unwrap_or(0);
    let city = 0x10 + segment(32) % 8;
    std::net::Ipv6Addr::new(0x2001, 0xdb8, city, segment(8), 0, 0, segment(24), 7).into()
}

/// Where the addresses are; thieves sit in a data centre.
pub(crate) fn localities() -> Vec<Locality> {
    const CITIES: [(&str, &str, &str, f64, f64); 8] = [
        ("2001:db8:10::/48", "New York", "US", 40.71, -74.0),
        ("2001:db8:11::/48", "London", "GB", 51.5, -0.13),
        ("2001:db8:12::/48", "Berlin", "DE", 52.52, 13.4),
        ("2001:db8:13::/48", "Tokyo", "JP", 35.68, 139.69),
        ("2001:db8:14::/48", "Nairobi", "KE", -1.29, 36.82),
        ("2001:db8:15::/48", "Lima", "PE", -12.05, -77.04),
        ("2001:db8:16::/48", "Oslo", "NO", 59.91, 10.75),
        ("2001:db8:17::/48", "Sydney", "AU", -33.87, 151.21),
    ];
    let homes = CITIES
        .iter()
        .map(|&(network, city, country, latitude, longitude)| Locality {
            network,
            kind: LocalityKind::Ordinary,
            city,
            country,
            latitude,
            longitude,
            radius_km: 20,
            asn: 64496,
            organisation: "Example Cable",
        });
    let servers = Locality {
        network: "203.0.113.0/24",
        kind: LocalityKind::Hosting,
        city: "Frankfurt am Main",
        country: "DE",
        latitude: 50.11,
        longitude: 8.68,
        radius_km: 20,
        asn: 64500,
        organisation: "Example Servers",
    };
    homes.chain([servers]).collect()
}

fn one_of<'a>(choices: &[&'a str], n: u64) -> &'a str {
    choices[usize::try_from(n).unwrap_or(0) % choices.len()]
}

/// In the form of a UUID, as sessions, users and events are named.
fn id(of: &[u64]) -> String {
    let (high, low) = (mixed(of), mixed(&[mixed(of), 11]));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

/// Token ids: 22 characters, as 128 bits in base64url take.
fn short_id(family: u64, generation: u64) -> String {
    let hash = mixed(&[6, family, generation]);
    format!("{hash:016x}{:06x}", mixed(&[hash]) & 0xff_ffff)
}

/// SplitMix64 over a few numbers.
fn mixed(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |state, number| {
        let mut x = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    })
}
