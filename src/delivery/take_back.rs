//! Takes back what was done for a while, when its time is over.
//!
//! The end of a measure is an action of its own, with tries, a lease and an end like any other: a gateway that is away at
//! that minute is asked again. It is made only when it is due, so that nothing waits for it meanwhile.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::model::limits::TAKEN_BACK_AT_ONCE;

use super::worker::Worker;

/// Looks come so many times less often than those of the outbox: a measure may hold some seconds longer.
const LOOKS: u32 = 10;

impl Worker {
    /// Looks now and then until cancelled.
    pub(super) async fn take_back(&self, cancel: &CancellationToken) {
        let mut trouble = false;
        while !cancel.is_cancelled() {
            let taken = tokio::select! {
                () = cancel.cancelled() => return,
                taken = self.store.take_back_due(self.now(), TAKEN_BACK_AT_ONCE) => taken,
            };
            match taken {
                Ok(0) => trouble = false,
                Ok(measures) => {
                    trouble = false;
                    tracing::info!(
                        measures,
                        "The time of some measures is over; they are taken back"
                    );
                }
                Err(error) if !std::mem::replace(&mut trouble, true) => {
                    tracing::warn!(%error, "Measures whose time is over cannot be read; trying again until it works");
                }
                Err(_) => {}
            }
            let pause: Duration = self.options.look_every * LOOKS;
            tokio::select! {
                () = cancel.cancelled() => {}
                () = self.sleep(pause) => {}
            }
        }
    }
}
