//! What the engine hands to the response policy: a detection with what the policy must know beside it.

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::model::{Detection, Prefix, Subject, Text, Timestamp, TokenKind};
use crate::rules::context::Context;
use crate::rules::{Ask, Finding, Rule};

/// One finding of one rule, released by the event or tick that completed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub detection: Detection,
    pub rule: Arc<Rule>,
    /// How much of the rule's response it asks for.
    pub ask: Ask,
    /// Never a revocation, whatever the rule's response says.
    pub may_revoke: bool,
    /// The event came later than the lateness: a review, not an action.
    pub late: bool,
    /// How sure it is, from 0 to 1.
    pub confidence: f64,
    /// The network of the foreign branch, where there is one.
    pub foreign_network: Option<Prefix>,
    /// About how many families were in use at the detection's client in 24 hours; 0 where it names none.
    pub families_active: u32,
    /// Whom the detection's address belongs to, with what else is known of them.
    pub presenter: Arc<Context>,
}

/// Whom a finding is about.
pub(super) struct Whose<'a> {
    pub(super) subject: Subject,
    pub(super) issuer: &'a Text,
    pub(super) tenant: Option<&'a Text>,
    pub(super) user_id: Option<&'a Text>,
    pub(super) client_id: Option<&'a Text>,
    pub(super) family_id: Option<&'a Text>,
    pub(super) session_id: Option<&'a Text>,
    pub(super) token_kind: Option<TokenKind>,
}

impl Found {
    /// A finding about somebody, under an id that was made of both.
    pub(super) fn new(
        rule: &Arc<Rule>,
        id: Text,
        whose: Whose<'_>,
        finding: Finding,
        late: bool,
    ) -> Self {
        Self {
            detection: Detection {
                id,
                rule: rule.name.clone(),
                kind: rule.detect.kind().into(),
                severity: rule.severity.min(finding.at_most),
                time: Timestamp::from_millisecond(finding.time).unwrap_or(Timestamp::UNIX_EPOCH),
                event_id: finding.event_id.unwrap_or_else(|| "".into()),
                subject: whose.subject,
                issuer: whose.issuer.clone(),
                tenant: whose.tenant.cloned(),
                user_id: whose.user_id.cloned(),
                client_id: whose.client_id.cloned(),
                family_id: whose.family_id.cloned(),
                session_id: whose.session_id.cloned(),
                token_kind: whose.token_kind,
                ip_address: finding.presenter.ip_address,
                summary: finding.summary.into(),
                evidence: finding.evidence,
            },
            rule: Arc::clone(rule),
            ask: finding.ask,
            may_revoke: finding.may_revoke,
            late,
            confidence: finding.confidence,
            foreign_network: finding.foreign_network,
            families_active: 0,
            presenter: finding.presenter,
        }
    }
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
