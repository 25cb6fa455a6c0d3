//! What kind of application an OAuth client is, and how its server treats its tokens.

use super::event::names;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientType {
    Public,
    Confidential,
    /// Server-side: its addresses are its own, not the user's.
    Backend,
    Native,
}

names!(ClientType {
    Public = "public", Confidential = "confidential", Backend = "backend", Native = "native",
});

/// Whether the server replaces a refresh token at each use and refuses the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    Enforced,
    Off,
    Unknown,
}

names!(Rotation { Enforced = "enforced", Off = "off", Unknown = "unknown" });
