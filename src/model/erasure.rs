//! Who is to be forgotten.

use super::{Text, Timestamp};

/// A person as events name one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Person {
    pub user_id: Text,
}

/// That somebody asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Erasing {
    pub person: Person,
    /// A later wish about the same person is another.
    pub asked_at: Timestamp,
}
