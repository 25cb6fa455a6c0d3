//! What was judged about one disputed token, by which row of the table.

use serde::{Deserialize, Serialize};

use super::super::super::context::Basis;
use super::super::super::ledger::TokenHash;
use crate::model::Text;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The server refused an honest client; recorded.
    ClientFault,
    /// Listed for review; never a page, never a revocation.
    Suspected,
    Theft,
}

impl Verdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientFault => "client_fault",
            Self::Suspected => "suspected",
            Self::Theft => "theft",
        }
    }
}

/// What is to be said about one disputed token.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    /// The disputed token; absent where the source names none.
    pub(super) token: Option<Text>,
    /// The same: names are forgotten, and with them no finding may become another.
    pub(super) token_hash: Option<TokenHash>,
    pub(super) row: Row,
    /// Index of the entry that completed the proof.
    pub(super) completed: usize,
    /// Index of the entry that presented the disputed token again.
    pub(super) presented: usize,
    /// Index of an entry of the foreign branch, where the contexts tell.
    pub(super) thief: Option<usize>,
    /// Index of an entry of the family's own branch.
    pub(super) owner: Option<usize>,
    pub(super) basis: Basis,
    /// False where rotation is not known to be enforced and the server accepted: never a revocation.
    pub(super) may_revoke: bool,
    /// The new device that it is about.
    pub(super) device: Option<Text>,
    /// Disputed tokens of this family with the same verdict within a day, this one included.
    pub(super) repeats: usize,
}

impl Judgement {
    /// Whether it may end the family.
    pub(super) fn revokes(&self) -> bool {
        self.may_revoke && self.row != Row::OtherDevice
    }

    /// What tells it from others of the family.
    pub(super) fn about(&self, family: &Text) -> [String; 3] {
        let token = self
            .token_hash
            .map_or_else(|| family.to_string(), |hash| hash.to_string());
        // What may revoke is not the same finding as what may not: the weaker one can be complete first.
        let weight = match &self.device {
            Some(device) => format!("new device {device}"),
            None if self.revokes() => String::new(),
            None => "may not revoke".to_owned(),
        };
        [self.verdict.as_str().to_owned(), weight, token]
    }
}

/// The row of the table that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    AcceptedInGrace,
    AcceptedDead,
    AcceptedLate,
    Refused,
    NewDevice,
    Fork,
    OtherClient,
    OtherKey,
    OtherDevice,
    TwoHolders,
}

impl Row {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::AcceptedInGrace => "consumed token accepted again within its grace",
            Self::AcceptedDead => "the server honoured a dead token",
            Self::AcceptedLate => "consumed token accepted again after its grace, successor unused",
            Self::Refused => "consumed token presented again and refused",
            Self::NewDevice => {
                "consumed token presented again and refused, on a device on which its user then logged in"
            }
            Self::Fork => "two successors of one token are both in use",
            Self::OtherClient => "token presented by another client",
            Self::OtherKey => "token presented with another proof key",
            Self::OtherDevice => "token presented from another device",
            Self::TwoHolders => "two networks hold tokens of one family at the same time",
        }
    }

    /// The same for the sentence that wakes somebody.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::AcceptedInGrace => "a token that had just been replaced was accepted again",
            Self::AcceptedDead => "the server accepted a token that had long been replaced",
            Self::AcceptedLate => "a replaced token was accepted again, its successor never used",
            Self::Refused => "a replaced token was presented again and refused",
            Self::NewDevice => {
                "a replaced token was presented again and refused on another device, and there the user logged in"
            }
            Self::Fork => "two successors of one token are both in use",
            Self::OtherClient => "it was presented by another client",
            Self::OtherKey => "it was presented with another proof key",
            Self::OtherDevice => "it was presented from another device",
            Self::TwoHolders => "two networks use tokens of one login at the same time",
        }
    }

    /// Whether the server's acceptance is part of the proof: with unknown rotation that is no offence.
    pub(super) const fn rests_on_acceptance(self) -> bool {
        matches!(
            self,
            Self::AcceptedInGrace | Self::AcceptedDead | Self::AcceptedLate | Self::Fork
        )
    }
}

/// One judgement a token: the gravest, one that may revoke before one that may not, and then the first that was complete.
pub(super) fn keep_gravest(mut judgements: Vec<Judgement>) -> Vec<Judgement> {
    judgements.sort_by(|a, b| {
        a.token_hash
            .cmp(&b.token_hash)
            .then(b.verdict.cmp(&a.verdict))
            .then(b.may_revoke.cmp(&a.may_revoke))
            .then(a.completed.cmp(&b.completed))
    });
    judgements.dedup_by(|later, first| later.token_hash == first.token_hash);
    judgements.sort_by_key(|judgement| judgement.completed);
    judgements
}
