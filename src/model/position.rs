//! How far a source has been read, and who may say so.

use serde::{Deserialize, Serialize};

use super::Text;

/// One independently ordered part of a source: a topic partition, a table, a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourcePartition {
    pub source: Text,
    pub partition: Text,
}

/// Where reading goes on. Opaque to all but its source; JSON, so that a person can read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position(pub Text);

/// Ownership of a partition: every commit of its position names the epoch and is refused when another owner came since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub partition: SourcePartition,
    pub epoch: u64,
    pub start: StartAt,
}

/// Where a claimed partition is to be read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartAt {
    /// Never read: the source's own `start` and `warm_up` say where.
    Fresh,
    /// `from` is what the restored state stands for; records up to `committed` have been judged already and are read muted.
    /// `anew`: nothing is remembered of what was before, so that a source that can begins by its `warm_up` earlier.
    Resume {
        from: Position,
        committed: Position,
        anew: bool,
    },
}
