//! Sample events: every expression is evaluated over them when it is read, so that what always fails is found there.

use std::net::{IpAddr, Ipv4Addr};

use super::super::context::Standing;
use super::super::fields::Facts;
use crate::model::{
    Agent, Anonymity, ClientType, DeviceClass, Enriched, Event, EventType, Granularity, Initiator,
    Network, NetworkClass, Outcome, Place, Prefix, Reason, Rotation, Timestamp, TokenKind,
};

/// An event that tells everything, and one that tells only what it must.
pub(in crate::rules) fn samples() -> [(Enriched, Facts); 2] {
    [full(), bare()]
}

/// Every member has a value, also those that no one event has together.
pub(in crate::rules) fn full() -> (Enriched, Facts) {
    let address = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
    let enriched = Enriched {
        event: event(address),
        network: Some(network(address)),
        place: Some(place()),
        agent: Some(Agent {
            os_family: "Windows".into(),
            device: DeviceClass::Desktop,
            client_app: "Firefox".into(),
            automation: false,
        }),
    };
    let facts = Facts {
        token_known: true,
        family_known: true,
        context: Some(Standing::Own),
        device: Some(Standing::Own),
        network_known: true,
        disputed: false,
        generation_gap: Some(1),
        client_type: Some(ClientType::Public),
        rotation: Some(Rotation::Enforced),
    };
    (enriched, facts)
}

/// Only the required members, before anything is known.
pub(in crate::rules) fn bare() -> (Enriched, Facts) {
    let enriched = Enriched {
        event: Event::new(
            "e-1",
            Timestamp::UNIX_EPOCH,
            EventType::Refresh,
            Outcome::Failure,
            "main",
        ),
        network: None,
        place: None,
        agent: None,
    };
    (enriched, Facts::default())
}

fn event(address: IpAddr) -> Event {
    Event {
        reason: Some(Reason::Other),
        error: Some("invalid_grant".into()),
        tenant: Some("acme".into()),
        user_id: Some("u1".into()),
        client_id: Some("web".into()),
        session_id: Some("s1".into()),
        family_id: Some("f1".into()),
        token_id: Some("t1".into()),
        new_token_id: Some("t2".into()),
        generation: Some(3),
        latest_generation: Some(4),
        ip_address: Some(address),
        user_agent: Some("Mozilla/5.0 (Windows NT 10.0; rv:140.0) Firefox/140.0".into()),
        device_id: Some("d1".into()),
        ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".into()),
        key_thumbprint: Some("k1".into()),
        scope: Some("openid offline_access".into()),
        access_token_ttl: Some(300),
        initiator: Some(Initiator::User),
        token_kind: Some(TokenKind::Offline),
        ..Event::new(
            "e-1",
            Timestamp::UNIX_EPOCH,
            EventType::Refresh,
            Outcome::Success,
            "main",
        )
    }
}

fn network(address: IpAddr) -> Network {
    Network {
        prefix: Prefix::of(address),
        asn: Some(64497),
        organisation: Some("Example Networks".into()),
        class: Some(NetworkClass::Hosting),
        declared: Some("servers".into()),
        anonymity: Anonymity::default(),
        internal: false,
    }
}

fn place() -> Place {
    Place {
        latitude: 52.52,
        longitude: 13.4,
        radius_km: 20,
        granularity: Granularity::City,
        country: Some("DE".into()),
        city: Some("Berlin".into()),
    }
}
