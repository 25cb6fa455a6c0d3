//! What became of each theft and of everybody honest, by the authorization server's own log.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use crate::model::{Text, Timestamp};
use crate::simulate::{Attack, HonestFamily, Planted, Report, TruthLog};

/// The end of the story.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub thefts: Vec<Theft>,
    /// Honest people, and the families they had.
    pub people: usize,
    pub families: usize,
    /// Honest families that the daemon ended.
    pub honest_revoked: Vec<HonestFamily>,
    pub mails: usize,
}

/// One planted attack.
#[derive(Debug, Clone)]
pub struct Theft {
    pub attack: Attack,
    pub user_id: String,
    /// The daemon calls the family stolen.
    pub is_found: bool,
    /// From the moment when the two holders could be told apart to the end of the family.
    pub revoked_after: Option<SignedDuration>,
    /// From the same moment to the first refresh that the thief was refused because of it.
    pub refused_after: Option<SignedDuration>,
    /// Tokens that the thief was given after the revocation.
    pub accepted_after: usize,
    /// Honest people who do what looks like this attack, and how many of them lost a family.
    pub twins: usize,
    pub twins_revoked: usize,
}

impl Outcome {
    pub(super) fn new(
        report: &Report,
        truth: &TruthLog,
        suspects: &BTreeSet<Text>,
        mails: usize,
    ) -> Self {
        let honest_revoked = report.honest_revoked(truth);
        let theft = |planted: &Planted| {
            let fate = Report::fate(planted, truth);
            let after = |time: Timestamp| time.duration_since(planted.provable_at);
            Theft {
                attack: planted.attack,
                user_id: planted.user_id.clone(),
                is_found: suspects.contains(fate.family_id.as_str()),
                revoked_after: fate.revoked_at.map(after),
                refused_after: fate.refused_at.map(after),
                accepted_after: fate.accepted_after,
                twins: people(twins(&report.honest, planted.attack)),
                twins_revoked: people(twins(&honest_revoked, planted.attack)),
            }
        };
        Self {
            thefts: report.planted.iter().map(theft).collect(),
            people: people(report.honest.iter()),
            families: report.honest.len(),
            honest_revoked,
            mails,
        }
    }

    /// Every theft was found and ended, and nobody honest was touched.
    pub fn is_good(&self) -> bool {
        self.missed() == 0 && self.honest_revoked.is_empty() && !self.thefts.is_empty()
    }

    pub fn missed(&self) -> usize {
        self.thefts.iter().filter(|theft| !theft.is_over()).count()
    }
}

impl Theft {
    /// Found, revoked, and the thief got nothing any more.
    pub fn is_over(&self) -> bool {
        self.is_found
            && self.revoked_after.is_some()
            && self.refused_after.is_some()
            && self.accepted_after == 0
    }
}

fn twins(honest: &[HonestFamily], attack: Attack) -> impl Iterator<Item = &HonestFamily> {
    honest
        .iter()
        .filter(move |family| family.habit == attack.twin())
}

fn people<'a>(families: impl Iterator<Item = &'a HonestFamily>) -> usize {
    let people: BTreeSet<&str> = families.map(|family| family.user_id.as_str()).collect();
    people.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theft() -> Theft {
        Theft {
            attack: Attack::ThiefFirst,
            user_id: "anna".to_owned(),
            is_found: true,
            revoked_after: Some(SignedDuration::from_secs(2)),
            refused_after: Some(SignedDuration::from_secs(3)),
            accepted_after: 0,
            twins: 2,
            twins_revoked: 0,
        }
    }

    fn outcome(thefts: Vec<Theft>) -> Outcome {
        Outcome {
            thefts,
            people: 2,
            families: 3,
            honest_revoked: Vec::new(),
            mails: 1,
        }
    }

    #[test]
    fn good_means_every_theft_is_over_and_nobody_else_is_touched() {
        assert!(outcome(vec![theft()]).is_good());
        assert!(!outcome(Vec::new()).is_good());
        let mut wronged = outcome(vec![theft()]);
        wronged.honest_revoked.push(HonestFamily {
            user_id: "ben".to_owned(),
            habit: Attack::ThiefFirst.twin(),
            token_id: "t".to_owned(),
        });
        assert!(!wronged.is_good());
    }

    #[test]
    fn each_missing_part_of_the_proof_is_a_miss() {
        let broken: [fn(&mut Theft); 4] = [
            |theft| theft.is_found = false,
            |theft| theft.revoked_after = None,
            |theft| theft.refused_after = None,
            |theft| theft.accepted_after = 1,
        ];
        for breaks in broken {
            let mut one = theft();
            breaks(&mut one);
            let outcome = outcome(vec![theft(), one]);
            assert_eq!((outcome.missed(), outcome.is_good()), (1, false));
        }
    }
}
