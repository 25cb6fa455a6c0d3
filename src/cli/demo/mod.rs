//! `tokenwarden demo`: thieves at work at a simulated authorization server, and the daemon that ends them.
//!
//! Starts, tells, sums up, stops. What happens is the business of `app::demo`; how it is said stands in `tell`.

mod tell;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::{Exit, Terminal};
use crate::app::StartError;
use crate::app::demo::{Demo, Outcome};
use crate::clock;
use crate::simulate::Scenario;
use crate::telemetry::{self, LogFormat, LogSettings};
use tell::Teller;

/// See it work: a simulated authorization server, honest people, six thieves, and the daemon that stops them
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Who lives, who is robbed and from where; another one each time unless given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// End after the summary; otherwise the daemon goes on until Ctrl-C, so that you can look around
    #[arg(long)]
    exit: bool,
    /// Where everything is written: a new or empty folder; one of its own in the temporary folder unless given
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Short enough to be typed.
const SEEDS: u64 = 1_000_000;

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let now = clock::now().as_millisecond().unsigned_abs();
    let folder = match &arguments.folder {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("tokenwarden-demo-{now}")),
    };
    if let Err(error) = make(&folder, arguments.folder.is_some()) {
        writeln!(
            terminal.err,
            "tokenwarden: the folder {} cannot be used: {error}",
            folder.display()
        )?;
        return Ok(Exit::Unusable);
    }
    log_warnings();
    let show = Show {
        seed: arguments.seed.unwrap_or(now % SEEDS),
        ends: arguments.exit,
        folder,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no threads for the demo")?;
    runtime.block_on(show.run(terminal))
}

/// Nothing of the user's is ever overwritten; and a service token will lie here.
fn make(folder: &Path, may_exist: bool) -> io::Result<()> {
    let made = DirBuilder::new()
        .recursive(may_exist)
        .mode(0o700)
        .create(folder);
    made?;
    if folder.read_dir()?.next().is_some() {
        return Err(io::Error::other(
            "it is not empty; name a new or an empty one",
        ));
    }
    Ok(())
}

fn log_warnings() {
    let settings = LogSettings {
        format: LogFormat::Text,
        level: "warn".to_owned(),
        color: wants_color(&io::stderr()),
    };
    // Whoever runs several commands in one process has set it up already.
    drop(telemetry::init(&settings));
}

/// <https://no-color.org>: any value but an empty one means no.
fn wants_color(stream: &impl io::IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused
}

struct Show {
    seed: u64,
    ends: bool,
    folder: PathBuf,
}

/// Ctrl-C, or a polite kill.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

impl Show {
    async fn run(&self, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
        let mut stop = Stop::listen()?;
        let mut demo = match Demo::start(&self.folder, self.seed).await {
            Ok(demo) => demo,
            Err(StartError::Faults(faults)) => return super::report(&faults, terminal),
            Err(StartError::Failed(error)) => return Err(error.context("the demo cannot start")),
        };
        let shown = self.show(&mut demo, &mut stop, terminal).await;
        let stopped = demo.stop().await;
        let exit = shown?;
        stopped?;
        Ok(exit)
    }

    async fn show(
        &self,
        demo: &mut Demo,
        stop: &mut Stop,
        terminal: &mut Terminal<'_>,
    ) -> anyhow::Result<Exit> {
        let mut teller = Teller::new(terminal.out, wants_color(&io::stdout()));
        let scenario = Scenario {
            seed: self.seed,
            ..Scenario::default()
        };
        teller.opens(&scenario, &self.folder, demo.addresses())?;
        let outcome = tokio::select! {
            outcome = play(demo, &scenario, &mut teller) => outcome?,
            () = stop.asked() => {
                teller.broken_off()?;
                return Ok(Exit::Negative);
            }
        };
        teller.sums_up(&outcome)?;
        teller.points_out(&self.folder, demo.addresses(), self.ends)?;
        if !self.ends {
            tokio::select! {
                ended = demo.ended() => ended?,
                () = stop.asked() => {}
            }
        }
        Ok(if outcome.is_good() {
            Exit::Success
        } else {
            Exit::Negative
        })
    }
}

/// Plays the day and tells it at the same time.
async fn play(
    demo: &mut Demo,
    scenario: &Scenario,
    teller: &mut Teller<'_>,
) -> anyhow::Result<Outcome> {
    let (sender, mut news) = mpsc::channel(64);
    let playing = async move { demo.play(scenario, &sender).await };
    let telling = async {
        while let Some(one) = news.recv().await {
            teller.tells(&one)?;
        }
        Ok(())
    };
    let (outcome, ()) = tokio::try_join!(playing, telling)?;
    Ok(outcome)
}
