//! Revokers whose actions wait for a person, because their server and the configuration contradict each other.
//!
//! A verdict rests on what the configuration says about the server: where a realm does not rotate tokens as declared,
//! each ordinary refresh looks like a theft. Whoever compares the two says so here, and the delivery holds what such a
//! revoker would do; it goes on when the contradiction is gone, and what was held by then stays with the person.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::model::Text;

/// Shared between who compares and who delivers.
#[derive(Debug, Clone, Default)]
pub struct Withheld(Arc<RwLock<BTreeMap<Text, Text>>>);

impl Withheld {
    /// Replaces what was known, by name of the revoker.
    pub fn replace(&self, reasons: BTreeMap<Text, Text>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = reasons;
    }

    pub fn reason(&self, revoker: &Text) -> Option<Text> {
        let reasons = self.0.read().unwrap_or_else(PoisonError::into_inner);
        reasons.get(revoker).cloned()
    }
}
