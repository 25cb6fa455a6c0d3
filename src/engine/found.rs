//! What the engine hands to the response policy: a detection with what the policy must know beside it.

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::model::{Detection, Prefix, Text};
use crate::rules::Rule;

/// One finding of one rule, released by the event or tick that completed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub detection: Detection,
    pub rule: Arc<Rule>,
    /// Whether the finding is the rule's gravest: only then does the rule's whole response apply.
    pub grave: bool,
    /// Never a revocation, whatever the rule's response says.
    pub may_revoke: bool,
    /// The event came later than the lateness: a review, not an action.
    pub late: bool,
    /// The network of the foreign branch, where there is one.
    pub foreign_network: Option<Prefix>,
}

/// An id that is a function of what happened: 128 bits of a SHA-256 over parts with their lengths, in hex.
pub fn stable_id(parts: &[&str]) -> Text {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let digest = hasher.finalize();
    let mut id = String::with_capacity(32);
    for byte in &digest[..16] {
        // Writing into a string cannot fail.
        let _infallible = write!(id, "{byte:02x}");
    }
    id.into()
}
