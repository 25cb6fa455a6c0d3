//! What a source can tell and a rule can need: the two lists from which `check` derives which rules are blind where.

use super::event::names;

/// One kind of clue about a presentation of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Clue {
    /// Presentations that the server refused, not only those that it accepted.
    Refusals,
    TokenId,
    Generation,
    FamilyId,
    SessionId,
    UserId,
    ClientId,
    IpAddress,
    UserAgent,
    DeviceId,
    Ja4,
    KeyThumbprint,
    Scope,
    /// Where an address is; no source tells it, a lookup table does.
    City,
    /// Whether an address is the exit of a VPN or proxy; likewise.
    AnonymousIp,
}

names!(Clue {
    Refusals = "refusals",
    TokenId = "token_id",
    Generation = "generation",
    FamilyId = "family_id",
    SessionId = "session_id",
    UserId = "user_id",
    ClientId = "client_id",
    IpAddress = "ip_address",
    UserAgent = "user_agent",
    DeviceId = "device_id",
    Ja4 = "ja4",
    KeyThumbprint = "key_thumbprint",
    Scope = "scope",
    City = "geoip.city",
    AnonymousIp = "geoip.anonymous_ip",
});

impl Clue {
    /// Any of these tells something of who presented a token.
    pub const WHO: &'static [Self] = &[
        Self::IpAddress,
        Self::UserAgent,
        Self::DeviceId,
        Self::Ja4,
        Self::KeyThumbprint,
    ];

    /// Looked up, given an address.
    pub const fn is_looked_up(self) -> bool {
        matches!(self, Self::City | Self::AnonymousIp)
    }
}
