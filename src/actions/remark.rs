//! What one receiver must know besides the incident: whom it stands in for, and what it was not told.

use crate::model::{Text, limits};

use super::clean;

/// Said once, before everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// What the notification before called under way has failed.
    Needed,
    /// It still waits, and nobody has taken it on.
    Again,
    /// A login was used after the server had answered twice that it was ended; and what follows from it.
    LivesOn { why: Text },
    /// Another receiver has not taken it.
    InPlaceOf { receiver: Text, why: Text },
    /// Incidents that were held back since it had too many messages.
    HeldBack { incidents: u64 },
    /// One more message of this kind would be too many within the hour.
    LastForNow { per_hour_max: u32 },
}

impl Remark {
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Needed => "What was under way has not worked: a person is needed.".to_owned(),
            Self::Again => {
                "Told again: something is left to do, and nobody has acknowledged it.".to_owned()
            }
            Self::LivesOn { why } => format!(
                "A login lives on although the server answered that it was ended: {}.",
                clean::value(why)
            ),
            Self::InPlaceOf { receiver, why } => {
                let why = clean::cut(&clean::value(why), limits::EXCERPT_CHARS_MAX);
                format!("You get this because the receiver {receiver} has not taken it: {why}")
            }
            Self::HeldBack { incidents: 1 } => {
                "1 more incident was not told by itself; a summary follows.".to_owned()
            }
            Self::HeldBack { incidents } => {
                format!("{incidents} more incidents were not told one by one; a summary follows.")
            }
            Self::LastForNow { per_hour_max } => format!(
                "This receiver takes {per_hour_max} messages an hour and has had its share: what comes next is summed up. All of it: /api/v1/incidents"
            ),
        }
    }
}
