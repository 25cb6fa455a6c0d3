//! Notices: when people are told about an incident, and when once more.
//!
//! Once, when something of it may be told; what was only observed has told nobody. Once more when a revocation has to
//! wait for a person who was told of none that waits: the page before said that it is being taken care of.

use serde::{Deserialize, Serialize};

use crate::model::limits;

/// What people were told of one incident.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notices {
    /// They would have been told, had the mode allowed it.
    observed: bool,
    told: bool,
    /// Event time at which they were last told that a revocation waits.
    waiting_told_at: Option<i64>,
    /// How often they were told so in a notice of its own.
    repeats: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    Observed,
    First,
    /// A revocation waits; the first such notice, the second, ...
    Waiting(u32),
}

impl Notices {
    /// Whether the incident's mail thread has begun.
    pub(super) const fn begun(&self) -> bool {
        self.told
    }

    /// The notice that is due after a finding, if one is; it counts as given.
    pub(super) fn next(&mut self, allowed: bool, waits: bool, time: i64) -> Option<Notice> {
        if !allowed {
            let first = !self.told && !self.observed;
            self.observed = true;
            return first.then_some(Notice::Observed);
        }
        let again = waits && self.forgotten(time);
        if again {
            self.waiting_told_at = Some(time);
        }
        if !self.told {
            self.told = true;
            return Some(Notice::First);
        }
        if again {
            self.repeats += 1;
        }
        again.then_some(Notice::Waiting(self.repeats))
    }

    /// Whether nobody was told lately that a revocation waits.
    fn forgotten(&self, time: i64) -> bool {
        let every = i64::try_from(limits::WAITING_NOTICE_EVERY.as_millis()).unwrap_or(i64::MAX);
        self.waiting_told_at
            .is_none_or(|at| time.saturating_sub(at) >= every)
    }
}

impl Notice {
    /// What sets its id apart from the incident's other notices: the store keeps one row of an id.
    pub(super) fn variant(self) -> String {
        match self {
            Self::Observed => super::OBSERVED.to_owned(),
            Self::First => String::new(),
            Self::Waiting(nth) => format!("waiting {nth}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_page_that_tells_of_what_waits_needs_no_second() {
        let mut notices = Notices::default();
        assert_eq!(notices.next(true, true, 0), Some(Notice::First));
        assert_eq!(notices.next(true, true, HOUR), None);
        assert_eq!(notices.next(true, true, 4 * HOUR), Some(Notice::Waiting(1)));
        assert_eq!(
            notices.next(true, true, 3 * HOUR),
            None,
            "an event that came late"
        );
        assert_eq!(notices.next(true, false, 9 * HOUR), None, "nothing waits");
        assert_eq!(notices.next(true, true, 9 * HOUR), Some(Notice::Waiting(2)));
    }

    #[test]
    fn what_is_observed_is_noted_once_and_takes_nothing_away() {
        let mut notices = Notices::default();
        assert_eq!(notices.next(false, false, 0), Some(Notice::Observed));
        assert_eq!(notices.next(false, false, 1), None);
        assert!(!notices.begun());
        assert_eq!(notices.next(true, false, 2), Some(Notice::First));
        assert_eq!(notices.next(false, false, 3), None);
    }
}
