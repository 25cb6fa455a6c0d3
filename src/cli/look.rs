//! What the commands share that only look into the store, beside a daemon that may be running.

use std::path::Path;

use anyhow::Context as _;

use super::{Exit, Terminal, report};
use crate::config::Config;
use crate::store::{OpenAs, OpenError, Store};

/// Looks into the store that a configuration names; where there is none yet, that is the answer.
pub(super) fn with_store(
    config: &Path,
    terminal: &mut Terminal<'_>,
    look: impl AsyncFnOnce(&Config, &Store, &mut Terminal<'_>) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let config = match Config::load(config) {
        Ok(config) => config,
        Err(faults) => return report(&faults, terminal),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime for the store")?;
    runtime.block_on(async {
        let store = match Store::open(&config.store, OpenAs::Reader).await {
            Ok(store) => store,
            Err(error @ OpenError::Missing { .. }) => {
                writeln!(terminal.err, "tokenwarden: {error}")?;
                return Ok(Exit::Negative);
            }
            Err(error) => return Err(error.into()),
        };
        let done = look(&config, &store, terminal).await;
        store.close().await;
        done
    })
}
