//! Whether a target is well enough to be asked: open after faults of several actions in a row, tried by one, closed by an
//! answer. Pure: the time is an argument.
//!
//! Faults are counted by action, not by try: one that a server chokes on fails again and again, and says nothing of the
//! others. A refusal is an answer. A target that asks to be left alone for a while is, at once.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::limits::{
    CIRCUIT_FAULTS, CIRCUIT_PAUSE_FIRST, CIRCUIT_PAUSE_MAX, RETRY_AFTER_MAX,
};
use crate::model::{Text, Timestamp};

use super::worker::later;

#[derive(Debug, Clone, Default)]
pub(super) struct Circuit {
    state: State,
    /// Actions that failed since the last answer.
    failed: BTreeSet<Text>,
    /// How often it opened since the last answer.
    opened: u32,
    why: Text,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Timestamp,
    },
    /// One try is under way; the others wait for what it tells.
    Trying,
}

/// How long a target is left alone, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) until: Timestamp,
    pub(super) why: Text,
}

impl Circuit {
    pub(super) fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// Whether the target may be asked now. When its pause is over, the first who asks makes the try.
    pub(super) fn admit(&mut self, now: Timestamp) -> Result<(), Rest> {
        let until = match self.state {
            State::Closed => return Ok(()),
            // A clock that was set back must not leave it alone for longer than was meant.
            State::Open { until } => until.min(later(now, RETRY_AFTER_MAX)),
            State::Trying => later(now, CIRCUIT_PAUSE_FIRST),
        };
        if self.state != State::Trying && now >= until {
            self.state = State::Trying;
            return Ok(());
        }
        Err(Rest {
            until,
            why: self.why.clone(),
        })
    }

    /// It has answered, though perhaps with a refusal.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// It has failed at an action, and perhaps asked to be left alone.
    pub(super) fn failed(
        &mut self,
        action: &Text,
        why: &Text,
        asked: Option<Duration>,
        now: Timestamp,
    ) {
        if let State::Open { .. } = self.state {
            // Begun before it opened: that is known already.
            return;
        }
        self.failed.insert(action.clone());
        let was_tried = self.state == State::Trying;
        let pause = match asked {
            Some(asked) => asked.min(RETRY_AFTER_MAX),
            None if was_tried || self.failed.len() >= CIRCUIT_FAULTS => self.pause(),
            None => return,
        };
        self.opened = self.opened.saturating_add(1);
        self.why = why.clone();
        self.state = State::Open {
            until: later(now, pause),
        };
    }

    /// The try told nothing: the next who asks makes another.
    pub(super) fn abandoned(&mut self, now: Timestamp) {
        if self.state == State::Trying {
            self.state = State::Open { until: now };
        }
    }

    fn pause(&self) -> Duration {
        let doublings = self.opened.min(16);
        let pause = CIRCUIT_PAUSE_FIRST.saturating_mul(1 << doublings);
        pause.min(CIRCUIT_PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        later(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    fn fail(circuit: &mut Circuit, action: &str, second: u64) {
        circuit.failed(&action.into(), &"503".into(), None, at(second));
    }

    fn opened() -> Circuit {
        let mut circuit = Circuit::default();
        for action in ["a", "b", "c"] {
            fail(&mut circuit, action, 0);
        }
        circuit
    }

    #[test]
    fn several_actions_open_it_and_one_that_fails_again_and_again_does_not() {
        let mut circuit = Circuit::default();
        for _ in 0..50 {
            fail(&mut circuit, "poison", 0);
            fail(&mut circuit, "other", 0);
        }
        assert_eq!(circuit.admit(at(0)), Ok(()));
        fail(&mut circuit, "third", 0);
        let rest = circuit.admit(at(0)).unwrap_err();
        assert_eq!((rest.until, &*rest.why), (at(5), "503"));
    }

    #[test]
    fn an_answer_in_between_begins_the_count_anew() {
        let mut circuit = Circuit::default();
        for action in ["a", "b", "c", "d"] {
            fail(&mut circuit, action, 0);
            circuit.answered();
        }
        assert!(!circuit.is_open());
    }

    #[test]
    fn one_tries_and_the_others_wait_for_what_it_tells() {
        let mut circuit = opened();
        assert!(circuit.admit(at(4)).is_err());
        assert_eq!(circuit.admit(at(5)), Ok(()));
        assert!(circuit.admit(at(5)).is_err() && circuit.is_open());
        fail(&mut circuit, "a", 6);
        assert_eq!(
            circuit.admit(at(6)).unwrap_err().until,
            at(16),
            "twice as long"
        );
        assert_eq!(circuit.admit(at(16)), Ok(()));
        circuit.answered();
        assert_eq!((circuit.admit(at(16)), circuit.is_open()), (Ok(()), false));
    }

    #[test]
    fn pauses_grow_up_to_a_minute() {
        let mut circuit = opened();
        let mut now = at(5);
        for _ in 0..20 {
            assert_eq!(circuit.admit(now), Ok(()));
            circuit.failed(&"a".into(), &"503".into(), None, now);
            now = circuit.admit(now).unwrap_err().until;
        }
        assert_eq!(circuit.pause(), CIRCUIT_PAUSE_MAX);
    }

    #[test]
    fn a_try_that_tells_nothing_is_made_again() {
        let mut circuit = opened();
        assert_eq!(circuit.admit(at(5)), Ok(()));
        circuit.abandoned(at(7));
        assert_eq!(circuit.admit(at(7)), Ok(()));
    }

    #[test]
    fn who_asks_to_be_left_alone_is_at_once_but_not_for_days() {
        let mut circuit = Circuit::default();
        let asked = Some(Duration::from_mins(2));
        circuit.failed(&"a".into(), &"429".into(), asked, at(0));
        assert_eq!(circuit.admit(at(119)).unwrap_err().until, at(120));
        assert_eq!(circuit.admit(at(120)), Ok(()));
        let asked = Some(Duration::from_hours(48));
        circuit.failed(&"a".into(), &"429".into(), asked, at(120));
        assert_eq!(circuit.admit(at(121)).unwrap_err().until, at(120 + 900));
        let back = circuit.admit(at(1)).unwrap_err().until;
        assert_eq!(back, at(1 + 900), "the clock was set back");
    }
}
