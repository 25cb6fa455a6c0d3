//! What a kind of rule cannot do without: from this, and from what a source can tell, follows where a rule is blind.

use crate::model::Clue;

/// One need of a rule: any of these clues will do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    pub one_of: Vec<Clue>,
    /// What cannot be seen without; absent: anything at all.
    pub blind_to: Option<&'static str>,
}

impl Need {
    /// Without one of these the rule sees nothing.
    pub fn all(one_of: &[Clue]) -> Self {
        Self {
            one_of: one_of.to_vec(),
            blind_to: None,
        }
    }

    /// Without one of these it does not see `blind_to`.
    pub fn part(one_of: &[Clue], blind_to: &'static str) -> Self {
        Self {
            one_of: one_of.to_vec(),
            blind_to: Some(blind_to),
        }
    }
}
