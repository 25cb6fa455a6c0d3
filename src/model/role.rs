//! What somebody may do through the API; each role may do what those before it may.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Takes incidents on and closes them, decides about actions that wait, silences.
    Responder,
    /// Ends logins by hand, half-opens breakers, loads the configuration again.
    Admin,
}

super::event::names!(Role { Viewer = "viewer", Responder = "responder", Admin = "admin" });
