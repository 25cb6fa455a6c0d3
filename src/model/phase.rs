//! How an incident stands for a system that knows incidents as states and not as messages.

use serde::{Deserialize, Serialize};

use super::IncidentState;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Open,
    /// Somebody has taken it on.
    Acknowledged,
    /// Closed, or contained with nothing left to be done.
    Resolved,
}

super::event::names!(Phase { Open = "open", Acknowledged = "acknowledged", Resolved = "resolved" });

/// What is stored of an incident that its phase hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    pub state: IncidentState,
    /// Actions that are under way or wait for a person.
    pub waiting: u64,
    /// Logins and more that were ended.
    pub ended: u64,
    /// What had to end and has not.
    pub failed: u64,
}

impl Stand {
    pub const fn phase(self) -> Phase {
        let left = self.waiting + self.failed;
        match self.state {
            IncidentState::Closed => Phase::Resolved,
            IncidentState::Contained if self.waiting == 0 => Phase::Resolved,
            _ if self.ended > 0 && left == 0 => Phase::Resolved,
            IncidentState::Acknowledged => Phase::Acknowledged,
            IncidentState::Open | IncidentState::Contained => Phase::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use IncidentState::{Acknowledged, Closed, Contained, Open};

    #[test]
    fn it_is_over_when_closed_or_when_all_that_had_to_end_has() {
        let phase = |state, waiting, ended, failed| {
            Stand {
                state,
                waiting,
                ended,
                failed,
            }
            .phase()
        };
        assert_eq!(phase(Open, 0, 0, 0), Phase::Open, "nothing had to end");
        assert_eq!(phase(Open, 0, 1, 0), Phase::Resolved);
        assert_eq!(phase(Open, 1, 1, 0), Phase::Open);
        assert_eq!(phase(Open, 0, 1, 1), Phase::Open, "one is still alive");
        assert_eq!(phase(Contained, 0, 0, 0), Phase::Resolved);
        assert_eq!(
            phase(Contained, 1, 5, 0),
            Phase::Open,
            "there is more since"
        );
        assert_eq!(phase(Acknowledged, 1, 0, 1), Phase::Acknowledged);
        assert_eq!(phase(Acknowledged, 0, 1, 0), Phase::Resolved);
        assert_eq!(phase(Closed, 3, 0, 3), Phase::Resolved, "a person says so");
    }
}
