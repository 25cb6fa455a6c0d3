//! Notices: when people are told about an incident, and when once more.
//!
//! Once, when something of it may be told; what was only observed has told nobody. Once more when it becomes graver than
//! what was told: a mail about many refreshes says nothing of the theft that follows. And once more when a revocation has
//! to wait for a person who was told of none that waits: the page before said that it is being taken care of.

use serde::{Deserialize, Serialize};

use crate::model::{Severity, limits};

/// What people were told of one incident.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notices {
    /// They would have been told, had the mode allowed it.
    observed: bool,
    /// The gravest that they were told of.
    told: Option<Severity>,
    /// Event time at which they were last told that a revocation waits.
    waiting_told_at: Option<i64>,
    /// How often they were told so in a notice of its own.
    repeats: u32,
    /// Somebody has taken the incident on: nobody is reminded of it.
    #[serde(default)]
    acknowledged: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    Observed,
    First,
    /// It has become as grave as this.
    Graver(Severity),
    /// A revocation waits; the first such notice, the second, ...
    Waiting(u32),
}

impl Notices {
    /// Whether the incident's mail thread has begun.
    pub(super) const fn begun(&self) -> bool {
        self.told.is_some()
    }

    pub(super) const fn acknowledged(&mut self) {
        self.acknowledged = true;
    }

    /// The notice that is due after a finding, if one is; it counts as given.
    pub(super) fn next(
        &mut self,
        allowed: bool,
        severity: Severity,
        waits: bool,
        time: i64,
    ) -> Option<Notice> {
        if !allowed {
            let first = !self.begun() && !self.observed;
            self.observed = true;
            return first.then_some(Notice::Observed);
        }
        let again = waits && !self.acknowledged && self.forgotten(time);
        if again {
            self.waiting_told_at = Some(time);
        }
        match self
            .told
            .replace(self.told.map_or(severity, |told| told.max(severity)))
        {
            None => return Some(Notice::First),
            Some(told) if told < severity => return Some(Notice::Graver(severity)),
            Some(_) => {}
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
            Self::Graver(severity) => severity.as_str().to_owned(),
            Self::Waiting(nth) => format!("waiting {nth}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Severity::{Critical, Medium};

    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_page_that_tells_of_what_waits_needs_no_second() {
        let mut notices = Notices::default();
        assert_eq!(notices.next(true, Critical, true, 0), Some(Notice::First));
        assert_eq!(notices.next(true, Critical, true, HOUR), None);
        assert_eq!(
            notices.next(true, Critical, true, 4 * HOUR),
            Some(Notice::Waiting(1))
        );
        assert_eq!(
            notices.next(true, Critical, true, 3 * HOUR),
            None,
            "an event that came late"
        );
        assert_eq!(
            notices.next(true, Critical, false, 9 * HOUR),
            None,
            "nothing waits"
        );
        assert_eq!(
            notices.next(true, Critical, true, 9 * HOUR),
            Some(Notice::Waiting(2))
        );
    }

    #[test]
    fn who_has_taken_it_on_is_not_reminded_but_told_when_it_becomes_graver() {
        let mut notices = Notices::default();
        assert_eq!(notices.next(true, Medium, true, 0), Some(Notice::First));
        notices.acknowledged();
        assert_eq!(notices.next(true, Medium, true, 9 * HOUR), None);
        let graver = notices.next(true, Critical, true, 9 * HOUR);
        assert_eq!(graver, Some(Notice::Graver(Critical)));
    }

    #[test]
    fn what_becomes_graver_is_told_again_and_what_becomes_milder_is_not() {
        let mut notices = Notices::default();
        let mut next = |severity| notices.next(true, severity, false, 0);
        assert_eq!(next(Medium), Some(Notice::First));
        assert_eq!(next(Critical), Some(Notice::Graver(Critical)));
        assert_eq!((next(Medium), next(Critical)), (None, None));
    }

    #[test]
    fn what_is_observed_is_noted_once_and_takes_nothing_away() {
        let mut notices = Notices::default();
        assert_eq!(
            notices.next(false, Critical, false, 0),
            Some(Notice::Observed)
        );
        assert_eq!(notices.next(false, Critical, false, 1), None);
        assert!(!notices.begun());
        assert_eq!(notices.next(true, Critical, false, 2), Some(Notice::First));
        assert_eq!(notices.next(false, Critical, false, 3), None);
    }
}
