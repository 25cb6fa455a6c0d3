//! The thread that prepares batches while the loop judges those before them: decoding costs as much as judging does.
//!
//! One thread and two channels, so that batches come out in the order in which they went in. A bounded number of them is
//! ready at any time: when the loop takes none, for a store that is away, the thread waits, and the sources with it.
//!
//! Other forms and tables hold for the batches prepared after they came. What is ready by then, or held back, was read
//! under the former ones and stays as it is: raw records would have to be kept beside what they say to change that.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::prepare::{Prepared, Preparer};
use crate::decode::Decoder;
use crate::enrich::Tables;
use crate::model::{RawBatch, Text, limits};

/// The loop's end.
pub(super) struct Preparing {
    prepared: mpsc::Receiver<Prepared>,
    means: watch::Sender<Means>,
    thread: Option<JoinHandle<()>>,
}

/// What is to replace what it works with.
#[derive(Default)]
struct Means {
    forms: Option<HashMap<Text, Arc<dyn Decoder>>>,
    tables: Option<Arc<Tables>>,
}

/// The thread's end.
struct Stage {
    preparer: Preparer,
    batches: mpsc::Receiver<RawBatch>,
    means: watch::Receiver<Means>,
    prepared: mpsc::Sender<Prepared>,
}

impl Preparing {
    /// Begins to prepare what the sources send. When it is cancelled nothing more may be sent, and what was is prepared.
    pub(super) fn start(
        preparer: Preparer,
        batches: mpsc::Receiver<RawBatch>,
        cancel: CancellationToken,
    ) -> std::io::Result<Self> {
        let (sender, prepared) = mpsc::channel(limits::PREPARED_WAITING_MAX);
        let (means, replaced) = watch::channel(Means::default());
        let stage = Stage {
            preparer,
            batches,
            means: replaced,
            prepared: sender,
        };
        let handle = tokio::runtime::Handle::current();
        let thread = std::thread::Builder::new()
            .name("decode".to_owned())
            .spawn(move || handle.block_on(stage.run(&cancel)))?;
        Ok(Self {
            prepared,
            means,
            thread: Some(thread),
        })
    }

    /// The next batch; nothing when the sources have ended, or are to.
    pub(super) async fn next(&mut self) -> Option<Prepared> {
        let next = self.prepared.recv().await;
        // A thread that broke had more to say; the loop breaks with it.
        if next.is_none()
            && let Some(thread) = self.thread.take()
            && let Err(broken) = thread.join()
        {
            std::panic::resume_unwind(broken);
        }
        next
    }

    pub(super) fn replace_forms(&self, forms: HashMap<Text, Arc<dyn Decoder>>) {
        self.means.send_modify(|means| means.forms = Some(forms));
    }

    pub(super) fn replace_tables(&self, tables: Arc<Tables>) {
        self.means.send_modify(|means| means.tables = Some(tables));
    }
}

impl Stage {
    async fn run(mut self, cancel: &CancellationToken) {
        while let Some(batch) = self.next(cancel).await {
            self.adopt();
            let prepared = self.preparer.prepare(&batch);
            if self.prepared.send(prepared).await.is_err() {
                // The loop is gone: there is nobody to prepare for.
                return;
            }
        }
    }

    async fn next(&mut self, cancel: &CancellationToken) -> Option<RawBatch> {
        tokio::select! {
            biased;
            () = self.prepared.closed() => return None,
            () = cancel.cancelled(), if !self.batches.is_closed() => self.batches.close(),
            batch = self.batches.recv() => return batch,
        }
        self.batches.recv().await
    }

    fn adopt(&mut self) {
        if self.means.has_changed().unwrap_or_default() {
            let means = self.means.borrow_and_update();
            if let Some(forms) = &means.forms {
                self.preparer.replace_forms(forms.clone());
            }
            if let Some(tables) = &means.tables {
                self.preparer.replace_tables(Arc::clone(tables));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::prepare::What;
    use super::*;
    use crate::decode::Rejected;
    use crate::model::{
        Event, EventType, Outcome, Position, RawRecord, SourcePartition, Timestamp,
    };

    /// Gives each event the record for an id, with a mark.
    struct Marks(&'static str);

    impl Decoder for Marks {
        fn decode(
            &self,
            payload: &[u8],
            issuer: &Text,
            events: &mut Vec<Event>,
        ) -> Result<(), Rejected> {
            let id = format!("{}{}", self.0, String::from_utf8_lossy(payload));
            assert!(!id.contains("broken"), "a decoder with a fault");
            let time = Timestamp::UNIX_EPOCH;
            events.push(Event::new(
                id,
                time,
                EventType::Login,
                Outcome::Success,
                issuer.clone(),
            ));
            Ok(())
        }

        fn redact(&self, _: &[u8]) -> Text {
            "".into()
        }
    }

    fn forms(mark: &'static str) -> HashMap<Text, Arc<dyn Decoder>> {
        HashMap::from([("s".into(), Arc::new(Marks(mark)) as Arc<dyn Decoder>)])
    }

    fn start(cancel: &CancellationToken) -> (mpsc::Sender<RawBatch>, Preparing) {
        let (sender, batches) = mpsc::channel(limits::BATCHES_WAITING_MAX);
        let preparer = Preparer::new(forms(""), Arc::default());
        let preparing = Preparing::start(preparer, batches, cancel.clone()).unwrap();
        (sender, preparing)
    }

    fn batch(id: &str) -> RawBatch {
        let record = RawRecord {
            place: "".into(),
            payload: id.as_bytes().to_vec(),
            muted: false,
        };
        RawBatch {
            partition: SourcePartition {
                source: "s".into(),
                partition: "0".into(),
            },
            shard: 0,
            epoch: 1,
            records: vec![record],
            position: Position(id.into()),
            tick: None,
            ended: false,
            arrived_at: None,
        }
    }

    async fn next(preparing: &mut Preparing) -> Option<Text> {
        let batch = preparing.next().await?;
        match &batch.items[..] {
            [item] => match &item.what {
                What::Event(event) => Some(event.event.event_id.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    #[tokio::test]
    async fn what_was_sent_before_the_end_comes_out_in_order_and_nothing_is_taken_after_it() {
        let cancel = CancellationToken::new();
        let (sender, mut preparing) = start(&cancel);
        for id in 0..20 {
            if id >= 10 {
                assert_eq!(
                    next(&mut preparing).await,
                    Some((id - 10).to_string().into())
                );
            }
            sender.send(batch(&id.to_string())).await.unwrap();
        }
        cancel.cancel();
        sender.closed().await;
        assert!(sender.send(batch("late")).await.is_err());
        for id in 10..20 {
            assert_eq!(next(&mut preparing).await, Some(id.to_string().into()));
        }
        assert_eq!(next(&mut preparing).await, None);
    }

    #[tokio::test]
    async fn other_forms_hold_for_what_is_prepared_after_them() {
        let (sender, mut preparing) = start(&CancellationToken::new());
        sender.send(batch("a")).await.unwrap();
        assert_eq!(next(&mut preparing).await.as_deref(), Some("a"));
        preparing.replace_forms(forms("new "));
        sender.send(batch("b")).await.unwrap();
        assert_eq!(next(&mut preparing).await.as_deref(), Some("new b"));
    }

    #[tokio::test]
    #[should_panic(expected = "a decoder with a fault")]
    async fn a_thread_that_breaks_takes_the_loop_along_and_is_no_end_of_the_sources() {
        let (sender, mut preparing) = start(&CancellationToken::new());
        sender.send(batch("broken")).await.unwrap();
        next(&mut preparing).await;
    }
}
