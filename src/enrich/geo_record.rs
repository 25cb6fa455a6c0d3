//! The members of MaxMind DB records that rules use, and what they mean here.
//!
//! Vendors that copy the layout differ in number types (some write coordinates as 32-bit floats, or radii as 32-bit
//! integers), and the reader is strict about them, so numbers are taken in any form.

use std::fmt;

use serde::Deserialize as DeriveDeserialize;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::geo::Asn;
use crate::model::{Anonymity, Granularity, Place, Text, limits};

/// Assumed where the table gives a city or subdivision and no radius.
const RADIUS_UNKNOWN_KM: u16 = 100;
/// A subdivision less exact than this is as good as a country: it gives no speed.
const SUBDIVISION_RADIUS_MAX_KM: u16 = 200;

#[derive(DeriveDeserialize)]
pub(super) struct CityRecord<'a> {
    #[serde(borrow, default)]
    city: Named<'a>,
    #[serde(borrow, default)]
    country: Country<'a>,
    #[serde(default)]
    subdivisions: Vec<Subdivision>,
    #[serde(default)]
    location: Location,
}

#[derive(Default, DeriveDeserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    names: Names<'a>,
    geoname_id: Option<Number>,
}

#[derive(Default, DeriveDeserialize)]
struct Names<'a> {
    #[serde(borrow)]
    en: Option<&'a str>,
}

#[derive(Default, DeriveDeserialize)]
struct Country<'a> {
    #[serde(borrow)]
    iso_code: Option<&'a str>,
}

/// Only its presence matters.
#[derive(DeriveDeserialize)]
struct Subdivision {}

#[derive(Default, DeriveDeserialize)]
struct Location {
    latitude: Option<Number>,
    longitude: Option<Number>,
    accuracy_radius: Option<Number>,
}

impl CityRecord<'_> {
    /// `None` for a record that locates nothing: neither coordinates nor a country, or coordinates that cannot be meant.
    pub(super) fn into_place(self) -> Option<Place> {
        let country = self.country.iso_code.map(name);
        let Some((latitude, longitude)) = self.location.coordinates() else {
            return self.location.is_absent().then(|| country_only(country))?;
        };
        let radius_km = self.location.radius_km();
        let granularity = self.granularity(radius_km.unwrap_or(RADIUS_UNKNOWN_KM));
        Some(Place {
            latitude,
            longitude,
            radius_km: radius_km.unwrap_or(RADIUS_UNKNOWN_KM),
            granularity,
            country,
            city: self.city.names.en.map(name),
        })
    }

    fn granularity(&self, radius_km: u16) -> Granularity {
        if self.city.names.en.is_some() || self.city.geoname_id.is_some() {
            Granularity::City
        } else if !self.subdivisions.is_empty() && radius_km <= SUBDIVISION_RADIUS_MAX_KM {
            Granularity::Subdivision
        } else {
            Granularity::Country
        }
    }
}

/// A table of countries has no coordinates; the country is worth keeping, and nothing measures from it.
fn country_only(country: Option<Text>) -> Option<Place> {
    country.is_some().then_some(Place {
        latitude: 0.0,
        longitude: 0.0,
        radius_km: 0,
        granularity: Granularity::Country,
        country,
        city: None,
    })
}

impl Location {
    fn is_absent(&self) -> bool {
        self.latitude.is_none() && self.longitude.is_none()
    }

    /// 0,0 is what broken records say; nobody refreshes a token in the Gulf of Guinea.
    fn coordinates(&self) -> Option<(f64, f64)> {
        let (latitude, longitude) = (self.latitude?.0, self.longitude?.0);
        let null_island = latitude.abs() < 1e-6 && longitude.abs() < 1e-6;
        let on_earth = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
        (on_earth && !null_island).then_some((latitude, longitude))
    }

    fn radius_km(&self) -> Option<u16> {
        let radius = self.accuracy_radius?.0;
        (radius >= 0.0).then(|| saturating_u16(radius))
    }
}

#[derive(DeriveDeserialize)]
pub(super) struct AsnRecord<'a> {
    autonomous_system_number: Option<Number>,
    #[serde(borrow)]
    autonomous_system_organization: Option<&'a str>,
}

impl AsnRecord<'_> {
    pub(super) fn into_asn(self) -> Option<Asn> {
        let number = saturating_u32(self.autonomous_system_number?.0);
        // AS 0 means "not routed" (RFC 7607).
        (number != 0).then(|| Asn {
            number,
            organisation: self.autonomous_system_organization.map(name),
        })
    }
}

/// `is_anonymous` is left out on purpose: it is set on hosting addresses too.
#[derive(DeriveDeserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the members of the vendor's record"
)]
pub(super) struct AnonymousRecord {
    #[serde(default)]
    is_anonymous_vpn: bool,
    #[serde(default)]
    is_hosting_provider: bool,
    #[serde(default)]
    is_public_proxy: bool,
    #[serde(default)]
    is_residential_proxy: bool,
    #[serde(default)]
    is_tor_exit_node: bool,
}

impl AnonymousRecord {
    pub(super) fn into_anonymity(self) -> Anonymity {
        Anonymity {
            vpn: self.is_anonymous_vpn,
            proxy: self.is_public_proxy || self.is_residential_proxy,
            tor: self.is_tor_exit_node,
            hosting: self.is_hosting_provider,
        }
    }
}

/// Names come from files that somebody downloads: bounded, and free of what would break a line of a log.
fn name(text: &str) -> Text {
    let end = text.floor_char_boundary(limits::NAME_BYTES_MAX);
    let bounded = text.get(..end).unwrap_or_default();
    bounded
        .chars()
        .filter(|c| !c.is_control())
        .collect::<String>()
        .into()
}

/// A number in whatever form the table has it.
#[derive(Clone, Copy)]
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
        Ok(Number(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
        u32::try_from(number)
            .map(|number| Number(f64::from(number)))
            .map_err(|_| E::custom("number too large"))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
        i32::try_from(number)
            .map(|number| Number(f64::from(number)))
            .map_err(|_| E::custom("number too large"))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, which is what is wanted of a number that is too large"
)]
fn saturating_u16(number: f64) -> u16 {
    number as u16
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates; every 32-bit integer is exact in a double"
)]
fn saturating_u32(number: f64) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn place(record: &Value) -> Option<Place> {
        let text = record.to_string();
        let record: CityRecord<'_> = serde_json::from_str(&text).expect("a record");
        record.into_place()
    }

    #[test]
    fn granularity_follows_the_most_exact_name() {
        let location = json!({"latitude": 40.7, "longitude": -74, "accuracy_radius": 20});
        let granularity = |record| place(&record).map(|place| place.granularity);
        let city = json!({"city": {"names": {"en": "New York"}}, "location": location});
        assert_eq!(granularity(city), Some(Granularity::City));
        let subdivision = json!({"subdivisions": [{"iso_code": "NY"}], "location": location});
        assert_eq!(granularity(subdivision), Some(Granularity::Subdivision));
        let country = json!({"country": {"iso_code": "US"}, "location": location});
        assert_eq!(granularity(country), Some(Granularity::Country));
        let vague = json!({"subdivisions": [{}],
            "location": {"latitude": 64.0, "longitude": -150.0, "accuracy_radius": 1000}});
        assert_eq!(granularity(vague), Some(Granularity::Country));
    }

    #[test]
    fn null_island_and_nonsense_are_no_place_and_a_bare_country_is_kept() {
        let at = |latitude: f64, longitude: f64| {
            place(
                &json!({"city": {"names": {"en": "X"}}, "country": {"iso_code": "XX"},
                "location": {"latitude": latitude, "longitude": longitude}}),
            )
        };
        assert_eq!(at(0.0, 0.0), None);
        assert_eq!(at(91.0, 0.0), None);
        assert_eq!(at(0.0, -181.0), None);
        assert_eq!(
            at(0.0, 9.0).map(|place| place.radius_km),
            Some(RADIUS_UNKNOWN_KM)
        );
        let country = place(&json!({"country": {"iso_code": "DE"}})).expect("a place");
        assert_eq!(country.country.as_deref(), Some("DE"));
        assert_eq!(country.granularity, Granularity::Country);
        assert_eq!(place(&json!({})), None);
    }

    #[test]
    fn only_vpn_proxy_and_tor_hide_a_place() {
        let hides = |member: &str| {
            let text = json!({ "is_anonymous": true, member: true }).to_string();
            let record: AnonymousRecord = serde_json::from_str(&text).expect("a record");
            record.into_anonymity().hides_place()
        };
        assert!(!hides("is_hosting_provider"));
        assert!(!hides("is_anonymous"));
        for member in [
            "is_anonymous_vpn",
            "is_public_proxy",
            "is_residential_proxy",
            "is_tor_exit_node",
        ] {
            assert!(hides(member), "{member}");
        }
    }

    #[test]
    fn the_unrouted_system_is_no_system() {
        let parse = |text| serde_json::from_str::<AsnRecord<'_>>(text).ok()?.into_asn();
        assert!(parse(r#"{"autonomous_system_number": 0}"#).is_none());
        assert!(parse("{}").is_none());
        let asn = parse(
            r#"{"autonomous_system_number": 4200000000, "autonomous_system_organization": "AB"}"#,
        );
        assert_eq!(asn.map(|asn| asn.number), Some(4_200_000_000));
    }
}
