//! `reuse`: tells a stolen refresh token from a retrying client. One table decides.
//!
//! The verdict is written over the *set* of presentations known of a family, never over their order of arrival, and
//! never over who came second: the branch whose context is foreign to the family's history is the thief's. The
//! provider's reason text is a hint only; every row below stands when it says nothing. Source of the table: RFC 9700
//! section 4.14.2 names the defence, the rows come from what real servers and clients were recorded doing.
//!
//! | presented | answer | context | verdict |
//! |---|---|---|---|
//! | consumed, gap 1, within grace or 30 min with its successor unused | accepted | own | retry or race |
//! | the same | accepted | unknown / foreign | suspected / theft |
//! | consumed, gap 2 or more, or gap 1 beyond grace whose successor was used | accepted | any | theft |
//! | consumed, gap 1 after 30 min, successor unused | accepted | not foreign / foreign | suspected / theft |
//! | consumed | refused | all own, or all of one context | client fault |
//! | consumed | refused | one of these foreign | theft |
//! | consumed | refused | none foreign, one unknown | suspected |
//! | two successors of one token, each presented later | accepted | foreign to each other / unknown / own | theft / suspected / retry |
//! | live token | any | another client, another key | theft |
//! | unknown, expired, revoked, malformed | refused | any | nothing: a dead token must not log a victim out |
//!
//! *Suspected* becomes theft when two holders are proved (see the file `holders`).

mod dispute;
mod holders;
mod view;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::context::{Basis, TravelBounds};
use super::super::ledger::{Ledger, TokenHash};
use crate::model::Text;
use view::View;

/// Parameters of a reuse rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Reuse {
    /// How long a question waits, in event time, for a fact that may still come: rows of real servers stand up to
    /// 200 ms out of order, so that two seconds are ten times what was seen.
    pub settle: Duration,
    /// A lost answer is retried when a laptop wakes: 5 minutes were too short in practice, 30 cover it.
    pub lost_response: Duration,
    /// Within this time the networks of two holders must alternate.
    pub proof_window: Duration,
    /// From how many client faults of one family within a day they are worth an alert.
    pub fault_repeats: usize,
    pub travel: TravelBounds,
}

impl Default for Reuse {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(2),
            lost_response: Duration::from_mins(30),
            proof_window: Duration::from_mins(10),
            fault_repeats: 3,
            travel: TravelBounds::default(),
        }
    }
}

/// What the configuration says about the client, as far as this kind reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leeway {
    pub rotation: Rotation,
    pub grace: Duration,
    pub max_reuse: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    Enforced,
    Off,
    Unknown,
}

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
pub struct Finding {
    pub verdict: Verdict,
    /// The disputed token; absent where the source names none.
    pub token: Option<Text>,
    /// The same: names are forgotten, and with them no finding may become another.
    pub token_hash: Option<TokenHash>,
    /// Which row of the table, in words for the evidence.
    pub row: Row,
    /// Index of the entry that completed the proof.
    pub completed: usize,
    /// Index of the entry that presented the disputed token again.
    pub presented: usize,
    /// Index of an entry of the foreign branch, where the contexts tell.
    pub thief: Option<usize>,
    /// Index of an entry of the family's own branch.
    pub owner: Option<usize>,
    pub basis: Basis,
    /// Generations between the presented and the newest issued.
    pub gap: u64,
    /// False where rotation is not known to be enforced and the server accepted: never a revocation.
    pub may_revoke: bool,
    /// Disputed tokens of this family with the same verdict within a day, this one included.
    pub repeats: usize,
}

/// The row of the table that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    AcceptedInGrace,
    AcceptedDead,
    AcceptedLate,
    Refused,
    Fork,
    OtherClient,
    OtherKey,
    TwoHolders,
}

impl Row {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AcceptedInGrace => "consumed token accepted again within its grace",
            Self::AcceptedDead => "the server honoured a dead token",
            Self::AcceptedLate => "consumed token accepted again after its grace, successor unused",
            Self::Refused => "consumed token presented again and refused",
            Self::Fork => "two successors of one token are both in use",
            Self::OtherClient => "token presented by another client",
            Self::OtherKey => "token presented with another proof key",
            Self::TwoHolders => "two networks hold tokens of one family at the same time",
        }
    }

    /// Whether the server's acceptance is part of the proof: with unknown rotation that is no offence.
    const fn rests_on_acceptance(self) -> bool {
        matches!(
            self,
            Self::AcceptedInGrace | Self::AcceptedDead | Self::AcceptedLate | Self::Fork
        )
    }
}

/// When the family, its session or its user was ended, in milliseconds of event time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends {
    /// By its user or an operator. What lives on afterwards was not ended.
    pub by_people: Vec<i64>,
    /// By this daemon. What is refused afterwards is its doing, unless the family lived on: then it had no effect.
    pub by_us: Vec<i64>,
    /// Nothing is performed (`replay`): what was decided counts as done, whatever the log shows afterwards.
    pub assumed: bool,
}

/// How much of the table may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Now: only rows that no fact still to come can excuse.
    Certain,
    /// Everything, over the entries up to this event time (milliseconds).
    Settled(i64),
}

impl Reuse {
    /// Judges every disputed token of the family.
    ///
    /// What is refused after one of the `ends` is its aftermath.
    pub fn judge(
        &self,
        ledger: &Ledger,
        leeway: &Leeway,
        ends: &Ends,
        scope: Scope,
    ) -> Vec<Finding> {
        let view = View::new(self, ledger, leeway, ends, scope);
        let mut findings = dispute::mismatches(&view);
        if leeway.rotation != Rotation::Off {
            findings.extend(dispute::disputes(&view));
        }
        for finding in &mut findings {
            finding.may_revoke =
                leeway.rotation == Rotation::Enforced || !finding.row.rests_on_acceptance();
        }
        let mut gravest = keep_gravest(findings);
        let alike: Vec<usize> = gravest
            .iter()
            .map(|f| {
                let day_before = |g: &&Finding| {
                    let apart = view.entry(f.presented).time - view.entry(g.presented).time;
                    g.verdict == f.verdict && (0..=view::HORIZON_MS).contains(&apart)
                };
                gravest.iter().filter(day_before).count()
            })
            .collect();
        for (finding, repeats) in gravest.iter_mut().zip(alike) {
            finding.repeats = repeats;
        }
        gravest
    }
}

/// One finding a token: the gravest, one that may revoke before one that may not, and then the first that was complete.
fn keep_gravest(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|a, b| {
        a.token_hash
            .cmp(&b.token_hash)
            .then(b.verdict.cmp(&a.verdict))
            .then(b.may_revoke.cmp(&a.may_revoke))
            .then(a.completed.cmp(&b.completed))
    });
    findings.dedup_by(|later, first| later.token_hash == first.token_hash);
    findings.sort_by_key(|f| f.completed);
    findings
}
