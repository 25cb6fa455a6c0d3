//! The demo: an authorization server with people and thieves, and the ordinary daemon that watches it.
//!
//! The daemon is started as `run` starts it, from a configuration file on disk, and knows nothing of the simulation: it
//! sees an audit table and an admin API. What became of each theft is counted from the server's own log.

mod folder;
mod news;
mod outcome;

pub use folder::{CONFIG_FILE, EVENTS_FILE, MAIL_FOLDER};
pub use news::News;
pub use outcome::{Outcome, Theft};

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Daemon, StartError};
use crate::config::Config;
use crate::simulate::{AuthorizationServer, CLIENTS, Report, Scenario, Story};
use news::Watcher;

/// How often the store is asked what the daemon has found and done.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After the day: how often it is looked whether something is still to be done. A mail waits up to 15 s for outcomes, and
/// a busy machine takes its time.
const LOOKS_AFTERWARDS: u32 = 600;

/// A running demo.
pub struct Demo {
    folder: PathBuf,
    server: AuthorizationServer,
    daemon: Daemon,
}

impl Demo {
    /// Starts the authorization server and the daemon; everything they write is in the folder.
    pub async fn start(folder: &Path, seed: u64) -> Result<Self, StartError> {
        let server = AuthorizationServer::start(folder, seed, CLIENTS).await?;
        let file = folder::furnish(folder, &server)?;
        let config = Config::load(&file).map_err(StartError::Faults)?;
        let daemon = Daemon::start(config).await?;
        Ok(Self {
            folder: folder.to_owned(),
            server,
            daemon,
        })
    }

    /// Where the daemon's listeners are, by name.
    pub fn addresses(&self) -> &[(&'static str, SocketAddr)] {
        &self.daemon.addresses
    }

    /// Plays the day, tells what happens meanwhile, and gives what became of it.
    pub async fn play(
        &mut self,
        scenario: &Scenario,
        news: &mpsc::Sender<News>,
    ) -> anyhow::Result<Outcome> {
        let mut watcher = Watcher::new(self.daemon.store.clone());
        let (story, stories) = mpsc::channel(64);
        let day = async {
            let told = tell(stories, &mut watcher, news);
            let (report, told) = tokio::join!(scenario.run(&self.server, story), told);
            told?;
            report
        };
        let report = tokio::select! {
            report = day => report?,
            ended = self.daemon.ended() => {
                ended?;
                bail!("the daemon ended in the middle of the day")
            }
        };
        self.settle(&mut watcher, news).await?;
        folder::export_events(&self.folder, &self.server).await?;
        self.outcome(&report, &watcher).await
    }

    /// Waits until a part of the daemon ends by itself; none should.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        self.daemon.ended().await
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        let stopped = self.daemon.stop().await;
        stopped.and(self.server.stop().await)
    }

    /// Until everything that was decided has been done; bounded, since an action may be retried for long.
    async fn settle(&self, watcher: &mut Watcher, news: &mpsc::Sender<News>) -> anyhow::Result<()> {
        for _ in 0..LOOKS_AFTERWARDS {
            pass_on(watcher, news).await?;
            if !watcher.pending().await? {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        pass_on(watcher, news).await
    }

    async fn outcome(&self, report: &Report, watcher: &Watcher) -> anyhow::Result<Outcome> {
        let truth = self.server.truth();
        let mails = folder::mails(&self.folder).await?;
        Ok(Outcome::new(report, truth, watcher.suspects(), mails))
    }
}

/// Passes on what people do and what the daemon does about it, until the day is over.
async fn tell(
    mut stories: mpsc::Receiver<Story>,
    watcher: &mut Watcher,
    news: &mpsc::Sender<News>,
) -> anyhow::Result<()> {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            story = stories.recv() => match story {
                Some(story) => send(news, News::Story(story)).await,
                None => return Ok(()),
            },
            _ = looks.tick() => pass_on(watcher, news).await?,
        }
    }
}

async fn pass_on(watcher: &mut Watcher, news: &mpsc::Sender<News>) -> anyhow::Result<()> {
    for found in watcher.look().await? {
        send(news, found).await;
    }
    Ok(())
}

/// Nobody has to listen.
async fn send(news: &mpsc::Sender<News>, one: News) {
    drop(news.send(one).await);
}
