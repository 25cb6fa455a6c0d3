//! Decides when a bulletin is due, and puts it into the outbox: each receiver's daily digest, and one summary of what is
//! held for its age or was too much for one hour.
//!
//! Nothing is sent here: the notifications' queue does that, with its leases, tries and pauses. What has been made stands
//! in the store, so a restart makes nothing twice; memory only spares asking again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::model::limits::{
    DIGEST_PERIOD_MAX, DIGEST_SETTLE, DIGEST_SIGN_OF_LIFE, MESSAGES_WINDOW, TOO_LATE_AGAIN,
    TOO_LATE_QUIET, TOO_LATE_WAIT_MAX,
};
use crate::model::{Bulletin, Digest, Mode, News, Severity, Text, Timestamp};
use crate::store::{HeldUntold, StoreError};

use super::digest::digest;
use super::worker::{Worker, earlier, later};
use super::{Performers, worker};

/// Who gets a daily digest, and when.
#[derive(Debug, Clone, Default)]
pub struct Digests {
    /// Ceiling over every rule, told in the digest.
    pub mode: Mode,
    /// Receivers with the time of day, UTC.
    pub receivers: Vec<(Text, Duration)>,
}

impl Worker {
    /// Looks now and then until cancelled.
    pub(super) async fn make_bulletins(&self, cancel: &CancellationToken) {
        // Up to where each receiver's days were looked at.
        let mut looked = BTreeMap::new();
        let mut trouble = false;
        while !cancel.is_cancelled() {
            let performers = self.performers.borrow().clone();
            let made = async {
                self.sum_up_held(&performers).await?;
                self.sum_up_capped(&performers).await?;
                self.make_digests(&performers, &mut looked).await
            };
            // Given up at a stop: what was not put into the store is made after the next start.
            let made = tokio::select! {
                () = cancel.cancelled() => return,
                made = made => made,
            };
            match made {
                Ok(()) => trouble = false,
                // Said once: it is tried again every second.
                Err(error) if !std::mem::replace(&mut trouble, true) => {
                    tracing::warn!(%error, "A digest or summary cannot be made; trying again until it works");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = cancel.cancelled() => {}
                () = self.sleep(self.options.look_every) => {}
            }
        }
    }

    async fn sum_up_held(&self, performers: &Performers) -> Result<(), StoreError> {
        // With nobody to tell, it waits until somebody is.
        if performers.notifiers.is_empty() {
            return Ok(());
        }
        let now = self.now();
        let Some(held) = self.store.held_untold().await? else {
            return Ok(());
        };
        if !summary_is_due(&held, now) {
            return Ok(());
        }
        let id = format!("too-late-{}", now.as_millisecond()).into();
        let act_within_s = performers.act_within.as_secs();
        if let Some(bulletin) = self.store.sum_up_held(&id, act_within_s, now).await? {
            tracing::warn!(bulletin.id = %bulletin.id, "Actions are held because their events are too old; one summary tells of them");
        }
        Ok(())
    }

    /// As soon as a receiver has room again: the summary is a message like the others.
    async fn sum_up_capped(&self, performers: &Performers) -> Result<(), StoreError> {
        let now = self.now();
        let since = earlier(now, MESSAGES_WINDOW);
        for receiver in performers.names() {
            let messages = self.store.messages(&receiver, since, now).await?;
            let room = performers.routes.room(&receiver, Severity::Medium);
            if messages.held_back == 0 || room.is_some_and(|room| messages.sent >= room) {
                continue;
            }
            let most = performers.routes.per_hour_max(&receiver);
            let made = self
                .store
                .sum_up_capped(&receiver, most, self.now())
                .await?;
            if let Some(bulletin) = made {
                tracing::warn!(%receiver, bulletin.id = %bulletin.id, "A receiver had too many messages within an hour; one summary tells the rest");
            }
        }
        Ok(())
    }

    async fn make_digests(
        &self,
        performers: &Performers,
        looked: &mut BTreeMap<Text, Timestamp>,
    ) -> Result<(), StoreError> {
        for (receiver, at) in &performers.digests.receivers {
            let until = day_end(*at, self.now());
            if looked.get(receiver) != Some(&until) {
                self.make_digest(performers, receiver, until).await?;
                looked.insert(receiver.clone(), until);
            }
        }
        Ok(())
    }

    async fn make_digest(
        &self,
        performers: &Performers,
        receiver: &Text,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(made) = self.store.digests_made(receiver).await? else {
            // The first look of all marks where the first day begins.
            let mark = bulletin(receiver, until, until, Digest::default());
            self.store.put_digest(&mark, false, self.now()).await?;
            return Ok(());
        };
        if made.until >= until {
            return Ok(());
        }
        let since = made.until.max(earlier(until, DIGEST_PERIOD_MAX));
        let mode = performers.digests.mode;
        let memory = &*self.options.memory;
        let digest = digest(&self.store, memory, mode, since, until).await?;
        let send = digest.has_news() || until >= later(made.sent, DIGEST_SIGN_OF_LIFE);
        let bulletin = bulletin(receiver, since, until, digest);
        if self.store.put_digest(&bulletin, send, self.now()).await? {
            tracing::info!(%receiver, bulletin.id = %bulletin.id, sent = send, "Made the daily digest");
        }
        Ok(())
    }
}

/// The id is made of receiver and day: no day comes twice.
fn bulletin(receiver: &Text, since: Timestamp, until: Timestamp, digest: Digest) -> Bulletin {
    Bulletin {
        id: format!("digest-{receiver}-{}", until.strftime("%Y-%m-%d")).into(),
        receiver: Some(receiver.clone()),
        since,
        until,
        news: News::Digest(digest),
    }
}

/// The newest time of day that is far enough in the past.
fn day_end(at: Duration, now: Timestamp) -> Timestamp {
    const DAY_S: i64 = 24 * 3600;
    let at = i64::try_from(at.as_secs()).unwrap_or(0);
    let settled = earlier(now, DIGEST_SETTLE).as_second();
    let end = (settled - at).div_euclid(DAY_S) * DAY_S + at;
    Timestamp::from_second(end).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Once a backlog is through, but not too late, and not too often.
fn summary_is_due(held: &HeldUntold, now: Timestamp) -> bool {
    let is_quiet = now >= later(held.last, TOO_LATE_QUIET);
    let waited = now >= later(held.first, TOO_LATE_WAIT_MAX);
    let told_lately = held
        .told
        .is_some_and(|told| now < worker::later(told, TOO_LATE_AGAIN));
    (is_quiet || waited) && !told_lately
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_ends_a_minute_after_its_time() {
        let at = Duration::from_mins(7 * 60 + 30);
        for (now, expected) in [
            ("2026-11-21T07:30:59Z", "2026-11-20T07:30:00Z"),
            ("2026-11-21T07:31:00Z", "2026-11-21T07:30:00Z"),
            ("2026-11-22T07:30:59Z", "2026-11-21T07:30:00Z"),
            ("1969-12-31T00:00:00Z", "1969-12-30T07:30:00Z"),
        ] {
            assert_eq!(day_end(at, time(now)), time(expected), "{now}");
        }
    }

    #[test]
    fn a_summary_waits_for_the_end_of_a_backlog_within_bounds() {
        let start = time("2026-11-21T07:00:00Z");
        let after = |s: i64| start + Duration::from_secs(s.unsigned_abs());
        let held = |last: i64, told: Option<Timestamp>| HeldUntold {
            first: start,
            last: after(last),
            told,
        };
        assert!(!summary_is_due(&held(10, None), after(39)), "not yet quiet");
        assert!(summary_is_due(&held(10, None), after(40)));
        assert!(!summary_is_due(&held(299, None), after(299)));
        assert!(summary_is_due(&held(299, None), after(300)), "long enough");
        let told = Some(after(100));
        assert!(
            !summary_is_due(&held(200, told), after(3699)),
            "told lately"
        );
        assert!(summary_is_due(&held(200, told), after(3700)));
    }
}
