//! What `check --online` asks of the store: can it be opened as a reader, or is it for the first start to make.

use crate::config::StoreConfig;
use crate::model::Finding;

use super::{OpenAs, OpenError, Store};

impl Store {
    /// Opens the store beside a daemon that may be running on it, changes nothing, and closes it again.
    pub async fn inspect(config: &StoreConfig) -> Vec<Finding> {
        match Self::open(config, OpenAs::Reader).await {
            Ok(store) => {
                let name = store.name().to_owned();
                store.close().await;
                vec![Finding::fine(format!(
                    "{name} can be read, its schema is current"
                ))]
            }
            Err(error) => vec![finding(&error)],
        }
    }
}

fn finding(error: &OpenError) -> Finding {
    match error {
        OpenError::Missing { store } => Finding::fine(format!(
            "{store} does not exist yet; the first start makes it"
        )),
        OpenError::TooOld {
            store, found: 0, ..
        } => Finding::fine(format!("{store} is empty; the first start fills it")),
        OpenError::TooOld { .. } => Finding::advice(
            without_prefix(error),
            "a start of this version brings it up to date, after a backup",
        ),
        OpenError::Failed { .. } | OpenError::Url { .. } => Finding::fault(
            without_prefix(error),
            "check `store.url`, the network and the rights of the account",
        ),
        OpenError::TooNew { .. }
        | OpenError::TokenKey { .. }
        | OpenError::PreviousTokenKey { .. }
        | OpenError::InUse { .. } => {
            Finding::fault(without_prefix(error), "do what it says, then check again")
        }
    }
}

/// Whoever shows the finding says already that it is about the store.
fn without_prefix(error: &OpenError) -> String {
    let text = error.to_string();
    let short = text
        .strip_prefix("store: ")
        .or_else(|| text.strip_prefix("store "));
    short.unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Secret;
    use crate::model::Gravity;

    fn config(url: &str) -> StoreConfig {
        StoreConfig {
            url: Secret::new(url),
            connections_max: 2,
            snapshot_every: Duration::from_mins(1),
        }
    }

    #[tokio::test]
    async fn a_store_that_the_first_start_will_make_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("new.db").display());
        let before = Store::inspect(&config(&url)).await;
        assert_eq!(before[0].gravity, Gravity::Fine, "{before:?}");
        assert!(before[0].what.contains("does not exist yet"), "{before:?}");
        assert_eq!(
            std::fs::read_dir(&folder).unwrap().count(),
            0,
            "it only looked"
        );
        let daemon = Store::open(&config(&url), OpenAs::Daemon).await.unwrap();
        let beside = Store::inspect(&config(&url)).await;
        assert!(beside[0].what.contains("can be read"), "{beside:?}");
        daemon.close().await;
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_a_fault_without_its_password() {
        let found = Store::inspect(&config("postgres://warden:hunter2@127.0.0.1:9/tw")).await;
        assert_eq!(found[0].gravity, Gravity::Fault);
        assert!(
            found[0].what.starts_with("postgres://127.0.0.1:9/tw: "),
            "{found:?}"
        );
        assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
    }
}
