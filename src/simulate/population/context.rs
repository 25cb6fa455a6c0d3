//! Where a request comes from and what sends it.

use std::net::IpAddr;

use crate::model::Text;

use super::agents::Agent;
use super::map::Net;

#[derive(Debug, Clone)]
pub(super) struct Context {
    pub net: &'static Net,
    pub address: IpAddr,
    pub agent: Agent,
    pub device: Option<Text>,
}

/// A token as whoever holds it knows it: its family of this user, and its number in the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub family: u32,
    pub serial: u32,
}
