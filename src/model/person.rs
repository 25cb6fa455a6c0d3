//! What people decided: approvals, silences, verdicts. Kept among our own events, so that the state rebuilt after a
//! restart knows of them too.

use serde::{Deserialize, Serialize};

use super::{Action, BreakerClient, Detection, Subject, Text, Timestamp};

/// Who says something, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// The name of the API's token.
    pub who: Text,
    pub why: Text,
}

/// A row of the table of our own doings that a person caused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PersonEvent {
    /// Wall time.
    pub time: Timestamp,
    #[serde(flatten)]
    pub by: By,
    pub did: Deed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// A held or offered action may be performed.
    Approved {
        action_id: Text,
        incident_id: Text,
    },
    /// A held or offered action is not to be performed.
    Refused {
        action_id: Text,
        incident_id: Text,
    },
    /// An action that was given up is tried again.
    Retried {
        action_id: Text,
        incident_id: Text,
    },
    /// A measure is taken back before its time.
    Undone {
        action_id: Text,
        incident_id: Text,
    },
    /// An action was asked for by hand.
    Asked {
        action: Box<Action>,
    },
    Silenced {
        silence: Silence,
    },
    SilenceEnded {
        silence_id: Text,
    },
    Acknowledged {
        incident_id: Text,
        subject: Subject,
    },
    Closed {
        incident_id: Text,
        subject: Subject,
        resolution: Resolution,
    },
    /// Some actions are let through at a client whose breaker is open.
    BreakerHalfOpened {
        client: BreakerClient,
    },
}

/// How an incident ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// It was an attack, and it is over.
    Contained,
    /// It was what it looks like, and nobody minds.
    Benign,
    /// The rule was wrong.
    FalsePositive,
    /// Nobody said anything for a day; everything was done that was to be done.
    Lapsed,
}

super::event::names!(Resolution {
    Contained = "contained", Benign = "benign", FalsePositive = "false_positive", Lapsed = "lapsed",
});

impl Resolution {
    /// Those that a person may give.
    pub const GIVEN: &'static [Self] = &[Self::Contained, Self::Benign, Self::FalsePositive];
}

/// Whom nobody is told about for a while. Only notices are silenced: a theft is cut off all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    pub id: Text,
    pub matchers: Matchers,
    pub author: Text,
    pub comment: Text,
    /// Wall time.
    pub created_at: Timestamp,
    /// What happens from this event time on is told again.
    pub ends_at: Timestamp,
}

/// Members of a detection; those that are named must all be as they are here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matchers {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_id: Option<Text>,
}

impl Matchers {
    /// One that names nothing would silence everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn fit(&self, detection: &Detection) -> bool {
        let fits = |wanted: &Option<Text>, is: Option<&Text>| {
            wanted.as_ref().is_none_or(|wanted| Some(wanted) == is)
        };
        fits(&self.rule, Some(&detection.rule))
            && fits(&self.issuer, Some(&detection.issuer))
            && fits(&self.tenant, detection.tenant.as_ref())
            && fits(&self.client_id, detection.client_id.as_ref())
            && fits(&self.user_id, detection.user_id.as_ref())
            && fits(&self.family_id, detection.family_id.as_ref())
    }
}

impl Silence {
    pub fn covers(&self, detection: &Detection) -> bool {
        detection.time < self.ends_at && self.matchers.fit(detection)
    }
}
