//! Hands what was taken to the event archive, which a thread of its own writes, and has each commit wait until it is written.
//!
//! The engine's thread gives its events away, which it would otherwise drop, and asks for their families; they are encoded and
//! compressed elsewhere. It waits before a commit only, for what is left to do by then. Where the archive is slower than the
//! engine the sources wait, as with the store.
//!
//! Detection goes on without the archive: where the disk is full or hangs, events are left out, counted, and told. To stop
//! judging for that was the other way; a full disk would then be a way past the daemon.

use std::borrow::Cow;
use std::io;

use serde::Deserialize;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::worker::Seen;
use crate::archive::Writer;
use crate::decode::archive;
use crate::model::{Timestamp, limits};

/// Filled by `app`: how the archive is doing.
pub trait ArchiveReport: Send + Sync {
    /// So many events were written, in so many bytes; it works.
    fn written(&self, events: u64, bytes: u64);
    /// So many events are missing in the archive.
    fn lost(&self, events: u64);
    /// Why it cannot be written.
    fn fails(&self, why: &str);
}

/// The end of the archive that the ingest loop holds. Nothing, where there is no archive.
#[derive(Default)]
pub struct Archiving(Option<Sender>);

/// What asks the archive's thread for something besides.
#[derive(Clone)]
pub struct ArchiveControl(mpsc::WeakSender<Job>);

/// The archive's thread, once it runs.
pub struct Scribe {
    writer: Writer,
    jobs: mpsc::Receiver<Job>,
    report: Box<dyn ArchiveReport>,
    now: fn() -> Timestamp,
    lines: Vec<u8>,
    events: u64,
    syncing: Option<JoinHandle<io::Result<()>>>,
}

enum Job {
    Events(Vec<Seen>),
    /// Answered when everything before it is written, or given up.
    Settle(oneshot::Sender<()>),
    /// ... and the file has ended.
    EndFile(oneshot::Sender<()>),
}

/// Whether the archive keeps up.
enum State {
    Keeps,
    /// It is not waited for any more: there was not even room to ask whether it has caught up.
    Hangs,
    Asked(oneshot::Receiver<()>),
}

struct Sender {
    jobs: mpsc::Sender<Job>,
    /// Those for which there was no room: the commit waits for them.
    waiting: Vec<Vec<Seen>>,
    is_settled: bool,
    state: State,
    report: Box<dyn ArchiveReport>,
}

impl Archiving {
    /// With a thread's other end.
    pub fn new(
        writer: Writer,
        report: impl ArchiveReport + Clone + 'static,
        now: fn() -> Timestamp,
    ) -> (Self, ArchiveControl, Scribe) {
        let (sender, jobs) = mpsc::channel(limits::ARCHIVE_BATCHES_WAITING_MAX);
        // The thread ends when the ingest loop has, whoever could still ask something.
        let control = ArchiveControl(sender.downgrade());
        let scribe = Scribe {
            writer,
            jobs,
            report: Box::new(report.clone()),
            now,
            lines: Vec::new(),
            events: 0,
            syncing: None,
        };
        let sender = Sender {
            jobs: sender,
            waiting: Vec::new(),
            is_settled: true,
            state: State::Keeps,
            report: Box::new(report),
        };
        (Self(Some(sender)), control, scribe)
    }

    /// Takes the events of a batch; what was read before is in the archive already, or from before its beginning.
    pub fn take(&mut self, seen: &mut Vec<Seen>) {
        let Some(sender) = &mut self.0 else {
            return seen.clear();
        };
        let mut new = std::mem::take(seen);
        new.retain(|seen| !seen.muted);
        if !new.is_empty() {
            sender.take(new);
        }
    }

    /// Everything taken so far is written: what is committed now can be found in the archive.
    pub async fn settled(&mut self) {
        if let Some(sender) = &mut self.0 {
            sender.settled().await;
        }
    }
}

impl Sender {
    fn take(&mut self, events: Vec<Seen>) {
        self.is_settled = false;
        if !self.waiting.is_empty() {
            return self.waiting.push(events);
        }
        match self.jobs.try_send(Job::Events(events)) {
            Err(TrySendError::Full(Job::Events(events))) if matches!(self.state, State::Keeps) => {
                self.waiting.push(events);
            }
            Err(TrySendError::Full(job) | TrySendError::Closed(job)) => self.lose(&[job]),
            Ok(()) => {}
        }
    }

    async fn settled(&mut self) {
        if self.is_settled || self.is_hanging() {
            return;
        }
        self.is_settled = true;
        let (done, mut settled) = oneshot::channel();
        let mut asked = false;
        let jobs = self.jobs.clone();
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        let all = async {
            // A thread that has ended takes nothing, and the daemon ends.
            while let Ok(room) = jobs.reserve().await {
                let Some(events) = waiting.next() else {
                    room.send(Job::Settle(done));
                    asked = true;
                    break;
                };
                room.send(Job::Events(events));
            }
            (&mut settled).await.ok();
        };
        if timeout(limits::ARCHIVE_WAIT_MAX, all).await.is_err() {
            let left: Vec<Job> = waiting.map(Job::Events).collect();
            self.lose(&left);
            self.report
                .fails("the disk does not answer; detection does not wait for it");
            self.state = if asked {
                State::Asked(settled)
            } else {
                State::Hangs
            };
        }
    }

    /// Asks a thread that hung whether it has caught up.
    fn is_hanging(&mut self) -> bool {
        if matches!(self.state, State::Hangs) {
            let (done, settled) = oneshot::channel();
            if self.jobs.try_send(Job::Settle(done)).is_ok() {
                self.state = State::Asked(settled);
            }
            return true;
        }
        let State::Asked(settled) = &mut self.state else {
            return false;
        };
        if matches!(settled.try_recv(), Err(TryRecvError::Empty)) {
            return true;
        }
        self.state = State::Keeps;
        false
    }

    fn lose(&self, jobs: &[Job]) {
        let events = |job: &Job| match job {
            Job::Events(events) => events.len() as u64,
            Job::Settle(_) | Job::EndFile(_) => 0,
        };
        self.report.lost(jobs.iter().map(events).sum());
    }
}

impl ArchiveControl {
    /// Ends the file that is being written, so that it may be rewritten like all before it.
    pub async fn end_file(&self) {
        let (done, ended) = oneshot::channel();
        if let Some(jobs) = self.0.upgrade()
            && jobs.send(Job::EndFile(done)).await.is_ok()
        {
            ended.await.ok();
        }
    }
}

impl Scribe {
    /// Writes until nobody can send any more.
    pub async fn run(mut self) {
        let every = limits::ARCHIVE_SYNC_EVERY;
        let mut due = Instant::now() + every;
        loop {
            // Nothing may come for a while, and what has come must reach the disk all the same.
            match timeout(
                due.saturating_duration_since(Instant::now()),
                self.jobs.recv(),
            )
            .await
            {
                Ok(Some(job)) => self.job(job),
                Ok(None) => break,
                Err(_) => {}
            }
            if Instant::now() >= due {
                self.sync().await;
                due = Instant::now() + every;
            }
        }
        self.end_file();
    }

    fn job(&mut self, job: Job) {
        match job {
            Job::Events(events) => {
                for seen in &events {
                    self.add(seen);
                }
            }
            Job::Settle(done) => {
                self.write();
                // Who asked may have given up waiting.
                done.send(()).ok();
            }
            Job::EndFile(done) => {
                self.end_file();
                done.send(()).ok();
            }
        }
    }

    fn add(&mut self, seen: &Seen) {
        let event = &seen.event.event;
        if self.writer.holds(key(&event.issuer, &event.event_id)) {
            return;
        }
        let before = self.lines.len();
        match archive(&seen.event, seen.family_id.as_deref(), &mut self.lines) {
            Ok(()) => self.events += 1,
            // Memory takes every write, and every event is JSON.
            Err(_) => self.lines.truncate(before),
        }
        if self.lines.len() >= limits::ARCHIVE_FRAME_BYTES {
            self.write();
        }
    }

    fn write(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        match self.writer.write(&self.lines, (self.now)()) {
            Ok(bytes) => self.report.written(self.events, bytes),
            Err(error) => {
                self.report.lost(self.events);
                self.report.fails(&error.to_string());
            }
        }
        self.lines.clear();
        self.events = 0;
    }

    /// Beside the writing, for which commits wait.
    async fn sync(&mut self) {
        if let Some(syncing) = self.syncing.take_if(|it| it.is_finished())
            && let Ok(Err(error)) = syncing.await
        {
            self.report.fails(&error.to_string());
        }
        if self.syncing.is_none()
            && let Some(file) = self.writer.unsynced()
        {
            self.syncing = Some(tokio::task::spawn_blocking(move || file.sync_data()));
        }
    }

    fn end_file(&mut self) {
        self.write();
        if let Err(error) = self.writer.end_file() {
            self.report.fails(&error.to_string());
        }
    }
}

/// By which an event is known again.
fn key(issuer: &str, event_id: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(format!("{issuer}\u{1f}{event_id}").as_bytes())
}

/// The same of a line of the archive.
pub fn archived_key(line: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Ids<'a> {
        #[serde(borrow)]
        event_id: Cow<'a, str>,
        #[serde(borrow)]
        issuer: Cow<'a, str>,
    }
    let ids: Ids<'_> = serde_json::from_str(line).ok()?;
    Some(key(&ids.issuer, &ids.event_id))
}
