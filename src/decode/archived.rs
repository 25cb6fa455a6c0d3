//! A line of the event archive: the event in the canonical form, and beside it what was known of it when it came.
//!
//! So an archive can be replayed like any recording: what is noted beside the event is passed over by
//! [`canonical`](super::canonical), and looked up anew. It is there for people, and for programs that have no tables.

use std::borrow::Cow;
use std::io;

use serde::{Deserialize, Serialize};

use super::encode::encode_with;
use super::json::Object;
use super::{Decoder, text_of};
use crate::model::{
    Anonymity, Enriched, Event, Granularity, Network, NetworkClass, Place, Prefix, Text, TokenKind,
};

/// The member that holds it.
pub(super) const MEMBER: &str = "tokenwarden";

/// Appends the event as one line. `family_id`: the family that the engine found where the event names none.
pub fn archive(event: &Enriched, family_id: Option<&str>, out: &mut Vec<u8>) -> io::Result<()> {
    let noted = Noted::of(event, family_id);
    encode_with(&event.event, (MEMBER, &noted), out)
}

/// An event that was read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Archived {
    /// Without the agent: the user agent is there, and who wants to know parses it.
    pub event: Enriched,
    /// The family that it belonged to: the one that it names, else the one that the engine found.
    pub family_id: Option<Text>,
}

impl Archived {
    /// `None` where the line is none of an archive. `canonical`: the decoder of the canonical form.
    pub fn read(line: &str, canonical: &dyn Decoder) -> Option<Self> {
        let mut events = Vec::new();
        canonical
            .decode(line.as_bytes(), &"archive".into(), &mut events)
            .ok()?;
        let event = events.pop()?;
        let object = Object::parse(text_of(line.as_bytes()).ok()?).ok()?;
        let noted = object.get(MEMBER)?;
        let noted: Noted<'_> = serde_json::from_str(noted.raw()).ok()?;
        let named = event.family_id.clone();
        Some(Self {
            family_id: named.or(noted.family_id.as_deref().map(Into::into)),
            event: noted.beside(event),
        })
    }
}

/// What is noted, each as flat as `jq` likes it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Noted<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    family_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_kind: Option<TokenKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asn: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    organisation: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_class: Option<NetworkClass>,
    /// Name of the declared network.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    network: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "is_ordinary")]
    anonymity: Anonymity,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    internal: bool,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    country: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    city: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latitude: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    longitude: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    radius_km: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    granularity: Option<Granularity>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    os: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    app: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    automation: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "as serde asks whether to write a field"
)]
fn is_ordinary(anonymity: &Anonymity) -> bool {
    *anonymity == Anonymity::default()
}

fn borrowed(text: Option<&Text>) -> Option<Cow<'_, str>> {
    text.map(|text| Cow::Borrowed(&**text))
}

impl<'a> Noted<'a> {
    fn of(event: &'a Enriched, family_id: Option<&'a str>) -> Self {
        let mut noted = Self {
            family_id: family_id.map(Cow::Borrowed),
            token_kind: event.event.token_kind,
            ..Self::default()
        };
        if let Some(network) = &event.network {
            noted.asn = network.asn;
            noted.organisation = borrowed(network.organisation.as_ref());
            noted.network_class = network.class;
            noted.network = borrowed(network.declared.as_ref());
            noted.anonymity = network.anonymity;
            noted.internal = network.internal;
        }
        if let Some(place) = &event.place {
            noted.country = borrowed(place.country.as_ref());
            noted.city = borrowed(place.city.as_ref());
            noted.latitude = Some(place.latitude);
            noted.longitude = Some(place.longitude);
            noted.radius_km = Some(place.radius_km);
            noted.granularity = Some(place.granularity);
        }
        if let Some(agent) = &event.agent {
            noted.os = Some(Cow::Borrowed(&agent.os_family));
            noted.device = Some(agent.device.as_str());
            noted.app = Some(Cow::Borrowed(&agent.client_app));
            noted.automation = agent.automation;
        }
        noted
    }

    fn beside(self, mut event: Event) -> Enriched {
        event.token_kind = self.token_kind;
        let owned = |text: Option<Cow<'_, str>>| text.as_deref().map(Text::from);
        let network = event.ip_address.map(|address| Network {
            prefix: Prefix::of(address),
            asn: self.asn,
            organisation: owned(self.organisation),
            class: self.network_class,
            declared: owned(self.network),
            anonymity: self.anonymity,
            internal: self.internal,
        });
        let place = self.latitude.zip(self.longitude).zip(self.granularity);
        let place = place.map(|((latitude, longitude), granularity)| Place {
            latitude,
            longitude,
            radius_km: self.radius_km.unwrap_or_default(),
            granularity,
            country: owned(self.country),
            city: owned(self.city),
        });
        Enriched {
            event,
            network,
            place,
            agent: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::decode::{DecodeOptions, TokenKey, decoder};
    use crate::model::{Agent, DeviceClass};

    fn canonical() -> Box<dyn Decoder> {
        let options = DecodeOptions {
            format: "tokenwarden".into(),
            own_accounts: Vec::new(),
            timezone: None,
            mapping: None,
            token_key: TokenKey::new(b"another key than that of the daemon"),
            previous_key: None,
        };
        decoder(options).unwrap()
    }

    fn decode(record: &str) -> Event {
        let mut events = Vec::new();
        let decoder = canonical();
        decoder
            .decode(record.as_bytes(), &"idp".into(), &mut events)
            .unwrap();
        events.remove(0)
    }

    fn enriched(event: Event) -> Enriched {
        Enriched {
            network: event.ip_address.map(|address| Network {
                prefix: Prefix::of(address),
                asn: Some(64496),
                organisation: Some("Example \"Cable\"".into()),
                class: Some(NetworkClass::Hosting),
                declared: Some("office".into()),
                anonymity: Anonymity {
                    vpn: true,
                    ..Anonymity::default()
                },
                internal: false,
            }),
            place: Some(Place {
                latitude: 52.52,
                longitude: 13.4,
                radius_km: 20,
                granularity: Granularity::City,
                country: Some("DE".into()),
                city: Some("Berlin".into()),
            }),
            agent: Some(Agent {
                os_family: "Linux".into(),
                device: DeviceClass::Desktop,
                client_app: "curl".into(),
                automation: true,
            }),
            event,
        }
    }

    fn line(event: &Enriched, family_id: Option<&str>) -> String {
        let mut line = b"a line before\n".to_vec();
        archive(event, family_id, &mut line).unwrap();
        let text = String::from_utf8(line).unwrap();
        assert_eq!(text.matches('\n').count(), 2, "{text}");
        text.lines().last().unwrap().to_owned()
    }

    const RECORD: &str = r#"{"event_id":"e1","time":"2026-11-20T10:20:00.125Z","type":"refresh","outcome":"failure","reason":"reuse",
        "issuer":"idp","user_id":"u1","client_id":"web","token_id":"t1","ip_address":"198.51.100.7","user_agent":"curl/8.1","zone":{"a":1}}"#;

    #[test]
    fn what_was_known_comes_back_and_a_replay_sees_the_event_alone() {
        let mut event = enriched(decode(RECORD));
        event.event.token_kind = Some(TokenKind::Offline);
        let line = line(&event, Some("t0"));
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["tokenwarden"]["city"], "Berlin");
        assert_eq!(read["tokenwarden"]["app"], "curl");
        let back = Archived::read(&line, &*canonical()).unwrap();
        assert_eq!(back.family_id.as_deref(), Some("t0"));
        assert_eq!(decode(&line), decode(RECORD));
        event.agent = None;
        assert_eq!(back.event, event);
    }

    #[test]
    fn what_is_not_known_is_not_there() {
        let event = Enriched {
            event: decode(RECORD),
            network: None,
            place: None,
            agent: None,
        };
        assert!(line(&event, None).contains(r#""tokenwarden":{},"zone""#));
    }

    #[test]
    fn nobody_else_says_what_was_known() {
        let mut record: Value = serde_json::from_str(RECORD).unwrap();
        record["tokenwarden"] = json!({"family_id": "of somebody else", "city": "Paris"});
        record["user_agent"] = "x\u{202e}\"}\u{0}\n{\"tokenwarden\":{}}".into();
        let event = enriched(decode(&record.to_string()));
        let line = line(&event, None);
        assert!(!line.contains("somebody"), "{line}");
        let back = Archived::read(&line, &*canonical()).unwrap();
        assert_eq!((back.family_id, &back.event.event), (None, &event.event));
        for other in ["", "{}", "[]", RECORD, r#"{"tokenwarden":5}"#] {
            assert_eq!(Archived::read(other, &*canonical()), None);
        }
    }
}
