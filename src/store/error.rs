//! What can go wrong with the store, told apart by what the caller does about it.

use crate::model::{SourcePartition, Text};

/// Why an operation did not happen. Nothing of it is in the store, except after a lost answer to a commit.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else has claimed the partition since: drop the state and stop reading it.
    #[error(
        "partition {} of source {} has another owner since: nothing was written",
        partition.partition, partition.source
    )]
    Fenced {
        partition: SourcePartition,
        /// Who has.
        owner: Text,
    },
    /// Another daemon leads on this store, and ours stands by or was replaced.
    #[error("this daemon does not lead on the store, and has written nothing: {leader}")]
    NotLeading {
        /// Who does, as a sentence.
        leader: Text,
    },
    /// The lease ran out and another worker took the action: leave it to that one.
    #[error("the lease on action {action_id} is no longer ours: its end was not recorded")]
    LeaseLost { action_id: Text },
    /// Waiting may mend it: no connection, disk full, server shutting down.
    #[error("the store cannot be used now: {0}")]
    Unavailable(String),
    /// Waiting does not mend it: a fault of ours, or of the data in the store.
    #[error("the store refused: {0}")]
    Other(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_passing(&error) {
            Self::Unavailable(error.to_string())
        } else {
            Self::Other(error.to_string())
        }
    }
}

impl StoreError {
    /// A row that this version cannot read: names the table and the row.
    pub(super) fn unreadable(table: &str, row: &str, error: &dyn std::fmt::Display) -> Self {
        Self::Other(format!("{table} {row} cannot be read: {error}"))
    }
}

/// Why the store could not be opened: what, where, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "store: `{url}` is not understood; expected sqlite:///path/to/file.db or postgres://user@host/database"
    )]
    Url { url: String },
    #[error(
        "store {store} is in use by another daemon (it holds {lock}); stop that one, or give this one a store of its own"
    )]
    InUse { store: String, lock: String },
    #[error(
        "store {store} does not exist; start the daemon once to create it, or mend `store.url`"
    )]
    Missing { store: String },
    #[error(
        "store {store} was written by a newer version: reading it needs schema {needed}, this binary knows {known}; \
         install the newer version, or restore the backup made before the upgrade"
    )]
    TooNew {
        store: String,
        needed: i64,
        known: i64,
    },
    #[error(
        "store {store} has schema {found}, this binary needs {known}; start the daemon once to bring it up to date"
    )]
    TooOld {
        store: String,
        found: i64,
        known: i64,
    },
    #[error(
        "store {store} was filled with another token key (fingerprint {found}, configured {configured}): its hashes \
         would match nothing; put the old key back, or name it as the previous key to change over"
    )]
    TokenKey {
        store: String,
        found: String,
        configured: String,
    },
    #[error(
        "store {store}: the previous token key (fingerprint {configured}) is not the one that the present key followed, \
         or its rotation is over; remove `token_key_previous_file`"
    )]
    PreviousTokenKey { store: String, configured: String },
    #[error("store {store}: {what} failed: {why}")]
    Failed {
        store: String,
        what: &'static str,
        why: String,
    },
}

impl OpenError {
    /// An adapter for `map_err`: which step on which store.
    pub(super) fn failed<E: std::fmt::Display>(
        store: &str,
        what: &'static str,
    ) -> impl FnOnce(E) -> Self {
        let store = store.to_owned();
        move |error| Self::Failed {
            store,
            what,
            why: error.to_string(),
        }
    }
}

fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code_is_passing(&code)),
        // An answer cut short, as by a proxy whose server is away.
        sqlx::Error::Protocol(_)
        | sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// SQLSTATE has five characters; SQLite's extended result codes are small numbers, with the primary code in the low byte.
fn code_is_passing(code: &str) -> bool {
    // Connection, transaction rollback, resources, operator intervention, system, a server that became read-only, and a
    // transaction that said nothing for too long.
    const POSTGRES: [&str; 7] = ["08", "40", "53", "57", "58", "25006", "25P03"];
    // PERM, BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN.
    const SQLITE: [u32; 7] = [3, 5, 6, 8, 10, 13, 14];
    match code.parse::<u32>() {
        Ok(number) if code.len() < 5 => SQLITE.contains(&(number & 0xff)),
        _ => POSTGRES.iter().any(|class| code.starts_with(class)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_waiting_mends() {
        let cut_short = "unexpected response from SSLRequest: 0x00".to_owned();
        assert!(is_passing(&sqlx::Error::Protocol(cut_short)));
        assert!(!is_passing(&sqlx::Error::RowNotFound));
        for passing in [
            "5", "13", "778", "57P01", "53100", "40001", "25006", "25P03", "08006",
        ] {
            assert!(code_is_passing(passing), "{passing}");
        }
        for lasting in ["1", "19", "2067", "23505", "42P01", "25001"] {
            assert!(!code_is_passing(lasting), "{lasting}");
        }
    }
}
