//! Notices: when people are told about an incident.
//!
//! Once, when something of it may be told; what was only observed has told nobody.

use serde::{Deserialize, Serialize};

/// What people were told of one incident.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notices {
    /// They would have been told, had the mode allowed it.
    observed: bool,
    told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    Observed,
    First,
}

impl Notices {
    /// Whether the incident's mail thread has begun.
    pub(super) const fn begun(&self) -> bool {
        self.told
    }

    /// The notice that is due after a finding, if one is; it counts as given.
    pub(super) fn next(&mut self, allowed: bool) -> Option<Notice> {
        let first = !self.told && (allowed || !self.observed);
        self.told |= allowed;
        self.observed |= !allowed;
        let notice = if allowed {
            Notice::First
        } else {
            Notice::Observed
        };
        first.then_some(notice)
    }
}

impl Notice {
    /// What sets its id apart from the incident's other notices: the store keeps one row of an id.
    pub(super) const fn variant(self) -> &'static str {
        match self {
            Self::Observed => super::OBSERVED,
            Self::First => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_observed_is_noted_once_and_takes_nothing_away() {
        let mut notices = Notices::default();
        assert_eq!(notices.next(false), Some(Notice::Observed));
        assert_eq!(notices.next(false), None);
        assert!(!notices.begun());
        assert_eq!(notices.next(true), Some(Notice::First));
        assert_eq!(notices.next(true), None);
        assert_eq!(notices.next(false), None);
    }
}
