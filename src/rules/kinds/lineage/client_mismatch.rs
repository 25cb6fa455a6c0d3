//! `client_mismatch`: a token presented by another client than the one it was issued to.
//!
//! Refresh tokens are bound to their client (RFC 6749 section 6): whoever presents one through another client has copied
//! it, and a server that accepts it has a fault. Clients that are known to share tokens are declared as aliases.

use std::time::Duration;

use super::super::super::case::{At, FamilyCase, FamilyKind};
use super::super::super::finding::Finding;
use super::super::super::needs::Need;
use super::super::super::parameters::Parameters;
use super::super::super::trace::Trace;
use super::super::Kind;
use super::mismatch;
use super::verdict::Row;
use crate::model::{Clue, Text};

/// Parameters of a client-mismatch rule.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientMismatch {
    pub settle: Duration,
    /// Client ids that mean one client: a rename, one app under two ids.
    pub aliases: Vec<Text>,
}

impl Default for ClientMismatch {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(2),
            aliases: Vec::new(),
        }
    }
}

impl Kind for ClientMismatch {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.settle(&mut self.settle);
        p.texts(
            "aliases",
            "Client ids that mean one client: a rename, one app under two ids.",
            &mut self.aliases,
        );
    }

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::all(&[Clue::ClientId]),
            Need::all(&[Clue::TokenId, Clue::FamilyId]),
        ]
    }
}

impl FamilyKind for ClientMismatch {
    fn settle(&self) -> Duration {
        self.settle
    }

    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        case.ledger.disputed()
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        mismatch::judge(case, at, self.settle, trace, |view, first, index| {
            let (first, entry) = (view.entry(first), view.entry(index));
            let aliased = entry.is_of_one_of(&self.aliases) && first.is_of_one_of(&self.aliases);
            (entry.other_client(first) && !aliased).then_some(Row::OtherClient)
        })
    }
}
