//! What `check --online` finds at a server, a database or a broker: facts, faults, and what mends them.

/// One thing found at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub gravity: Gravity,
    /// A sentence for a person.
    pub what: String,
    /// What mends it: a command where there is one.
    pub mend: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// As it should be.
    Fine,
    /// Works, could be better.
    Advice,
    /// Something will not work.
    Fault,
    /// The server and the configuration say different things: revocations at this server wait until it is mended.
    Contradiction,
}

impl Finding {
    pub fn fine(what: impl Into<String>) -> Self {
        Self::new(Gravity::Fine, what, None)
    }

    pub fn advice(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Gravity::Advice, what, Some(mend.into()))
    }

    pub fn fault(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Gravity::Fault, what, Some(mend.into()))
    }

    pub fn contradiction(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Gravity::Contradiction, what, Some(mend.into()))
    }

    fn new(gravity: Gravity, what: impl Into<String>, mend: Option<String>) -> Self {
        Self {
            gravity,
            what: what.into(),
            mend,
        }
    }
}
