//! `state:`: how much the engine may remember.

use crate::model::limits;

/// Beyond these the oldest goes, by event time, and is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateLimits {
    /// Their tokens and other names follow.
    pub families_max: usize,
    /// The lists of their families and sessions follow.
    pub users_max: usize,
    /// Address prefixes.
    pub networks_max: usize,
    /// Memory of the process in bytes, beyond which no table grows; absent: only their own bounds count.
    pub memory_max: Option<u64>,
}

impl Default for StateLimits {
    fn default() -> Self {
        Self {
            families_max: limits::FAMILIES_MAX,
            users_max: limits::USERS_MAX,
            networks_max: limits::NETWORKS_MAX,
            memory_max: None,
        }
    }
}
