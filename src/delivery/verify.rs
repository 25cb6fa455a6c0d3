//! Watches revocations that were answered "done": whether the events show that they took effect, or that the login lives on.
//!
//! An answer is what one node of a server said. What shows the end is the server's own event of it, a refusal of a token
//! that would have been good, or an active check when it was performed; a use that comes later than the answer can have
//! been under way shows that there was none. Then it is tried once more; the second time the response policy decides what
//! else may be done, and a person is told. All of it stands in the store: what is kept here is only whom to ask about.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::model::limits::{REVOCATION_PROPAGATES, VERIFIED_MAX, VERIFY_ASKED_MAX, VERIFY_FOR};
use crate::model::{ActionKind, Afterwards, ShownBy, Target, Text, Timestamp, Use};
use crate::store::{Consequence, StoreError, Watched};

use super::worker::{Worker, earlier, later};

/// Every so many looks all answers of a day are taken again.
const LOOKS_AT_SOME: u64 = 15;

/// Revocations under watch.
#[derive(Default)]
struct Watch {
    of: BTreeMap<Text, Watched>,
    looks: u64,
    /// Up to when answers were taken from the store.
    taken: Option<Timestamp>,
    /// Up to which id they were asked about: each has its turn.
    turn: Option<Text>,
}

/// What the events show of one revocation.
#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    Nothing,
    Shown(ShownBy),
    LivesOn(Use),
    /// It was watched long enough.
    Over,
}

impl Worker {
    /// Looks now and then until cancelled.
    pub(super) async fn verify(&self, cancel: &CancellationToken) {
        let mut watch = Watch::default();
        let mut trouble = false;
        while !cancel.is_cancelled() {
            let looked = tokio::select! {
                () = cancel.cancelled() => return,
                looked = self.look_at(&mut watch) => looked,
            };
            match looked {
                Ok(()) => trouble = false,
                // Said once: it is tried again every second.
                Err(error) if !std::mem::replace(&mut trouble, true) => {
                    tracing::warn!(%error, "Whether revocations took effect cannot be recorded; trying again until it works");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = cancel.cancelled() => {}
                () = self.sleep(self.options.look_every) => {}
            }
        }
    }

    async fn look_at(&self, watch: &mut Watch) -> Result<(), StoreError> {
        self.take_answered(watch).await?;
        let turn = watch.next_turn();
        if turn.is_empty() {
            return Ok(());
        }
        let questions = turn.iter().map(question).collect();
        // In the order of the questions; nothing while the daemon stops.
        let seen = self.options.memory.afterwards(questions).await;
        for (watched, seen) in turn.iter().zip(seen) {
            let verdict = judge(watched, seen.as_ref(), self.now());
            self.act_on(watch, watched, verdict).await?;
        }
        Ok(())
    }

    /// What was answered since the last look; where there was none, lately, or at any time and nothing has shown it.
    async fn take_answered(&self, watch: &mut Watch) -> Result<(), StoreError> {
        let oldest = earlier(self.now(), VERIFY_FOR);
        // Where the clock was set back, what is answered now is older than what was taken.
        if watch.looks.is_multiple_of(LOOKS_AT_SOME) {
            watch.taken = None;
        }
        watch.looks += 1;
        // Answers of one millisecond may become visible one after the other.
        let overlap = |taken: Timestamp| earlier(taken, Duration::from_secs(1));
        let shown_since = watch.taken.map_or(oldest, overlap).max(oldest);
        // One whose day was over while nobody ran this has to end too.
        let open_since = watch.taken.map_or(Timestamp::MIN, overlap);
        let limit = u32::try_from(VERIFIED_MAX).unwrap_or(u32::MAX);
        for watched in self
            .store
            .answered_since(open_since, shown_since, limit)
            .await?
        {
            watch.taken = watch.taken.max(Some(watched.answered_at));
            watch.of.insert(watched.action.id.clone(), watched);
        }
        watch.forget_oldest();
        Ok(())
    }

    async fn act_on(
        &self,
        watch: &mut Watch,
        watched: &Watched,
        verdict: Verdict,
    ) -> Result<(), StoreError> {
        let (action, now) = (&watched.action, self.now());
        match verdict {
            Verdict::Nothing => {}
            Verdict::Over => {
                watch.of.remove(&action.id);
            }
            Verdict::Shown(by) => {
                if self.store.verified(watched, by, now).await? {
                    tracing::info!(action.id = %action.id, by = by.as_str(), "A {} has taken effect", action.kind);
                    self.report.verified(action.kind, by, true);
                }
                if let Some(known) = watch.of.get_mut(&action.id) {
                    known.is_open = false;
                }
            }
            Verdict::LivesOn(used) => {
                watch.of.remove(&action.id);
                let consequence = self.store.had_no_effect(watched, &used, now).await?;
                let Some(consequence) = consequence else {
                    return Ok(());
                };
                self.report.without_effect(consequence);
                match consequence {
                    Consequence::Retried => {
                        tracing::warn!(action.id = %action.id, "A {} had no effect: the login was used at {}; it is tried once more", action.kind, used.time);
                    }
                    Consequence::GivenUp => {
                        tracing::error!(action.id = %action.id, "A {} had no effect again: the login was used at {}; it is given up", action.kind, used.time);
                        self.report.ended(
                            action.kind,
                            crate::model::ActionState::Parked,
                            Duration::ZERO,
                        );
                    }
                }
            }
        }
        Ok(())
    }
}

impl Watch {
    /// Those whose turn it is, after the ones before.
    fn next_turn(&mut self) -> Vec<Watched> {
        let after = self.turn.take();
        let is_later = |id: &&Text| after.as_ref().is_none_or(|after| *id > after);
        let ids: Vec<&Text> = self
            .of
            .keys()
            .filter(is_later)
            .take(VERIFY_ASKED_MAX)
            .collect();
        // At the end it begins again with the first.
        if ids.len() == VERIFY_ASKED_MAX {
            self.turn = ids.last().map(|id| (*id).clone());
        }
        ids.into_iter()
            .filter_map(|id| self.of.get(id))
            .cloned()
            .collect()
    }

    fn forget_oldest(&mut self) {
        while self.of.len() > VERIFIED_MAX {
            let oldest = self.of.values().min_by_key(|watched| watched.answered_at);
            let Some(id) = oldest.map(|watched| watched.action.id.clone()) else {
                return;
            };
            self.of.remove(&id);
        }
    }
}

/// What is to be remembered; a little before the try, since the server's clock may go after ours, and ours may have been set
/// back while it answered.
fn question(watched: &Watched) -> (Target, Timestamp) {
    let mut target = watched.action.target.clone();
    if watched.action.kind != ActionKind::RevokeFamily {
        (target.family_id, target.session_id) = (None, None);
    }
    let begun = watched.begun_at.min(watched.answered_at);
    (target, earlier(begun, REVOCATION_PROPAGATES))
}

fn judge(watched: &Watched, seen: Option<&Afterwards>, now: Timestamp) -> Verdict {
    let in_force = later(watched.answered_at, REVOCATION_PROPAGATES);
    if let Some(seen) = seen {
        if let Some(used) = seen.lived_on.iter().find(|used| used.time > in_force) {
            return Verdict::LivesOn(used.clone());
        }
        if watched.is_open && seen.end_told {
            return Verdict::Shown(ShownBy::Event);
        }
        if watched.is_open && seen.dead {
            return Verdict::Shown(ShownBy::Refusal);
        }
    }
    match now >= later(watched.answered_at, VERIFY_FOR) {
        true if watched.is_open => Verdict::Shown(ShownBy::Silence),
        true => Verdict::Over,
        false => Verdict::Nothing,
    }
}
