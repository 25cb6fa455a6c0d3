//! `tokenwarden run`: the daemon, in the foreground, until it is told to stop.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::pin::pin;

use anyhow::Context as _;
use clap::Args;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::{Exit, Terminal};
use crate::app::{Daemon, StartError};
use crate::config::{Config, LogFormat};
use crate::model::Mode;
use crate::telemetry::{self, LogSettings};

/// Run the daemon: SIGTERM and Ctrl-C stop it cleanly, SIGHUP loads the configuration again
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let Ok(config) = Config::load(&arguments.config) else {
        // With those of the rules: who mends a file wants to know all of it.
        return super::report(&super::check::examine(&arguments.config).faults, terminal);
    };
    telemetry::init(&log_settings(&config)).context("logging cannot be set up")?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no threads for the daemon")?;
    runtime.block_on(serve(config, terminal))
}

fn log_settings(config: &Config) -> LogSettings {
    LogSettings {
        format: match config.log.format {
            LogFormat::Text => telemetry::LogFormat::Text,
            LogFormat::Json => telemetry::LogFormat::Json,
        },
        level: config.log.level.as_str().to_owned(),
        color: std::io::stderr().is_terminal(),
    }
}

async fn serve(config: Config, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    // Heard from the first moment on: a stop during the start is a clean stop too.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hang_up = signal(SignalKind::hangup())?;
    let (mode, path) = (config.mode, config.path.display().to_string());
    let mut daemon = match Daemon::start(config).await {
        Ok(daemon) => daemon,
        Err(StartError::Faults(faults)) => return super::report(&faults, terminal),
        Err(StartError::Failed(error)) => {
            writeln!(terminal.err, "tokenwarden: cannot start: {error:#}")?;
            return Ok(Exit::Failure);
        }
    };
    announce(mode, &path, &daemon);
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let hang_ups = stream::unfold(hang_up, async |mut hang_up| {
        hang_up.recv().await.map(|()| ((), hang_up))
    });
    let reload = daemon.reloader();
    let ended = tokio::select! {
        () = reloading_until(stop, hang_ups, reload) => Ok(()),
        ended = daemon.ended() => ended,
    };
    tracing::info!("Stopping: what was read is judged and committed first");
    let stopped = daemon.stop().await;
    match ended.and(stopped) {
        Ok(()) => {
            tracing::info!("Stopped");
            Ok(Exit::Success)
        }
        Err(error) => {
            writeln!(terminal.err, "tokenwarden: {error:#}")?;
            Ok(Exit::Failure)
        }
    }
}

/// One reload may run and one wait: a later one would read the same file.
const RELOADS_MAX: usize = 2;

/// Reloads beside the wait: whatever one waits for, a stop is heard.
async fn reloading_until<T: Send + 'static>(
    stop: impl Future<Output = ()>,
    hang_ups: impl Stream<Item = ()>,
    reload: impl Fn() -> BoxFuture<'static, T>,
) {
    let (mut stop, mut hang_ups) = (pin!(stop), pin!(hang_ups));
    let mut reloads = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut stop => return,
            Some(()) = hang_ups.next() => {
                if reloads.len() < RELOADS_MAX {
                    reloads.spawn(reload());
                }
            }
            // The answer is in the log already.
            Some(_) = reloads.join_next() => {}
        }
    }
}

fn announce(mode: Mode, path: &str, daemon: &Daemon) {
    for (name, address) in &daemon.addresses {
        tracing::info!(%address, "Listener {name} is open");
    }
    if daemon.stands_by() {
        tracing::info!(
            config = path,
            "tokenwarden stands by, and takes over when nobody leads"
        );
        return;
    }
    match mode {
        Mode::Enforce => tracing::info!(config = path, "tokenwarden runs and enforces"),
        Mode::Alert => tracing::warn!(
            config = path,
            "tokenwarden runs in mode alert: people are told, nothing is revoked"
        ),
        Mode::Observe => tracing::warn!(
            config = path,
            "tokenwarden runs in mode observe: nothing is sent or revoked until `mode` is raised"
        ),
        Mode::Off => tracing::warn!(
            config = path,
            "tokenwarden runs in mode off: nothing is done"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    /// Nothing that a test waits for may take longer.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_stop_is_heard_while_a_reload_does_not_end() {
        let (begun, reloads) = (Arc::new(Notify::new()), AtomicUsize::new(0));
        let reload = || -> BoxFuture<'static, ()> {
            reloads.fetch_add(1, Ordering::Relaxed);
            let begun = Arc::clone(&begun);
            Box::pin(async move {
                begun.notify_one();
                std::future::pending::<()>().await;
            })
        };
        let stop = begun.notified();
        let hang_ups = stream::iter([(), (), ()]).chain(stream::pending());
        let waited = tokio::time::timeout(PATIENCE, reloading_until(stop, hang_ups, reload)).await;
        assert!(waited.is_ok(), "the stop was not heard");
        assert_eq!(reloads.load(Ordering::Relaxed), RELOADS_MAX);
    }
}
