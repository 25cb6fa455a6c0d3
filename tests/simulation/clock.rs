//! Time that passes only when the world says so, and only when all that could happen at that time has happened.
//!
//! The loop under test sleeps and looks at its clock through its options; so it waits for no real time, and a day of it takes
//! as long as what it does on that day. Nothing is left to do when no task can run and nobody uses the store: then
//! everybody waits for time to pass, or for a server that is slow.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokenwarden::model::Timestamp;
use tokenwarden::store::Store;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

/// The simulated machine's clocks: wall time, which may jump, and the time that has passed, by which sleepers wake.
#[derive(Default)]
pub(crate) struct Clock {
    wall: AtomicI64,
    sleepers: Mutex<Sleepers>,
}

#[derive(Default)]
struct Sleepers {
    passed: Duration,
    last: u64,
    /// By when they wake.
    asleep: BTreeMap<(Duration, u64), Waker>,
}

impl Clock {
    pub(crate) fn set(&self, millis: i64) {
        self.wall.store(millis, Ordering::SeqCst);
    }

    /// The wall clock is set; no time passes.
    pub(crate) fn ahead(&self, by: Duration) {
        self.wall.fetch_add(millis(by), Ordering::SeqCst);
    }

    pub(crate) fn back(&self, by: Duration) {
        self.wall.fetch_sub(millis(by), Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.wall.load(Ordering::SeqCst)).expect("a time")
    }

    /// As the loop sees it: no two looks show the same.
    pub(crate) fn look(&self) -> Timestamp {
        self.wall.fetch_add(1, Ordering::SeqCst);
        self.now()
    }

    /// Time passes at once: whoever is to wake meanwhile wakes now.
    pub(crate) fn elapse(&self, by: Duration) {
        self.wall.fetch_add(millis(by), Ordering::SeqCst);
        let mut sleepers = self.sleepers.lock().expect("sleepers");
        sleepers.passed += by;
        let until = (sleepers.passed, u64::MAX);
        let still = sleepers.asleep.split_off(&until);
        let awake = std::mem::replace(&mut sleepers.asleep, still);
        drop(sleepers);
        awake.into_values().for_each(Waker::wake);
    }

    /// How long until the next wakes.
    pub(crate) fn next(&self) -> Option<Duration> {
        let sleepers = self.sleepers.lock().expect("sleepers");
        let ((until, _), _) = sleepers.asleep.first_key_value()?;
        Some(until.saturating_sub(sleepers.passed))
    }

    /// Since the world began, whatever the wall clock showed.
    pub(crate) fn passed(&self) -> Duration {
        self.sleepers.lock().expect("sleepers").passed
    }

    pub(crate) fn sleep(self: &Arc<Self>, duration: Duration) -> BoxFuture<'static, ()> {
        let clock = Arc::clone(self);
        let mut place: Option<Place> = None;
        Box::pin(poll_fn(move |context| {
            let mut sleepers = clock.sleepers.lock().expect("sleepers");
            let key = place.get_or_insert_with(|| {
                sleepers.last += 1;
                let key = (sleepers.passed + duration, sleepers.last);
                Place(Arc::clone(&clock), key)
            });
            let key = key.1;
            if sleepers.passed >= key.0 {
                return Poll::Ready(());
            }
            sleepers.asleep.insert(key, context.waker().clone());
            Poll::Pending
        }))
    }
}

/// Who is dropped asleep wakes never.
struct Place(Arc<Clock>, (Duration, u64));

impl Drop for Place {
    fn drop(&mut self) {
        self.0
            .sleepers
            .lock()
            .expect("sleepers")
            .asleep
            .remove(&self.1);
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).expect("days")
}

/// Tells when nothing is left to do.
#[derive(Default)]
pub(crate) struct Rest {
    wanted: AtomicBool,
    store: Mutex<Option<Store>>,
    reached: Notify,
}

impl Rest {
    /// A runtime for one world at a time, whose thread tells when it has nothing to run.
    pub(crate) fn runtime() -> (Runtime, Arc<Self>) {
        let rest = Arc::new(Self::default());
        let told = Arc::clone(&rest);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || told.parked())
            .build();
        (runtime.expect("a runtime"), rest)
    }

    fn parked(&self) {
        let store = self.store.lock().expect("the store");
        let at_rest = store.as_ref().is_none_or(Store::is_at_rest);
        if at_rest && self.wanted.swap(false, Ordering::SeqCst) {
            self.reached.notify_one();
        }
    }

    /// The store that the loop works on from now on, if any.
    pub(crate) fn watch(&self, store: Option<Store>) {
        *self.store.lock().expect("the store") = store;
    }

    /// Until everybody waits for time to pass.
    pub(crate) async fn reached(&self) {
        self.wanted.store(true, Ordering::SeqCst);
        self.reached.notified().await;
    }
}
