//! What each kind of rule cannot do without. A new kind says here what it reads; nothing else decides where it is blind.

use super::kinds::Detect;
use super::kinds::velocity::By;
use crate::model::Clue;

/// One need of a rule: any of these clues will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    pub one_of: &'static [Clue],
    /// What cannot be seen without; absent: anything at all.
    pub blind_to: Option<&'static str>,
}

const fn all(one_of: &'static [Clue]) -> Need {
    Need {
        one_of,
        blind_to: None,
    }
}

const fn part(one_of: &'static [Clue], blind_to: &'static str) -> Need {
    Need {
        one_of,
        blind_to: Some(blind_to),
    }
}

const REUSE: &[Need] = &[
    all(&[Clue::TokenId, Clue::Generation]),
    part(&[Clue::Refusals], "replays that the server refused"),
    part(
        &[
            Clue::IpAddress,
            Clue::UserAgent,
            Clue::DeviceId,
            Clue::Ja4,
            Clue::KeyThumbprint,
        ],
        "who presented a token, so that a theft is rarely proved",
    ),
    part(
        &[Clue::City],
        "two holders by places that no one person can reach in the time",
    ),
];
const IMPOSSIBLE_TRAVEL: &[Need] = &[
    all(&[Clue::UserId]),
    all(&[Clue::IpAddress]),
    all(&[Clue::City]),
    part(
        &[Clue::AnonymousIp],
        "VPN exits, which then count as places",
    ),
];
const DEVICE_CHANGE: &[Need] = &[
    all(&[Clue::UserAgent]),
    part(
        &[Clue::Ja4],
        "another TLS fingerprint behind the same user agent",
    ),
];

const FAMILY: &[Need] = &[all(&[Clue::FamilyId, Clue::TokenId, Clue::SessionId])];
const USER: &[Need] = &[all(&[Clue::UserId])];
const NETWORK: &[Need] = &[all(&[Clue::IpAddress])];
const CLIENT: &[Need] = &[all(&[Clue::ClientId])];

impl Detect {
    /// What the rule must be told to see anything, and what to see everything.
    pub const fn needs(&self) -> &'static [Need] {
        match self {
            Self::Reuse(_) => REUSE,
            Self::ImpossibleTravel(_) => IMPOSSIBLE_TRAVEL,
            Self::DeviceChange(_) => DEVICE_CHANGE,
            Self::Velocity(velocity) => match velocity.by {
                By::Family => FAMILY,
                By::User => USER,
                By::Network => NETWORK,
                By::Client => CLIENT,
            },
        }
    }
}
