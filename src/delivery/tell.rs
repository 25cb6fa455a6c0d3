//! Telling a list of receivers, each once: within its messages of the hour, and with another in its place when it fails.
//!
//! Each receiver's answer is recorded as it comes, so that a repeated try goes only to those that are still without it. A
//! receiver that refuses, or has taken nothing for minutes, is stood in for by its fall-back; a page that waits for a
//! server to come back is none.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};

use crate::actions::{Attempt, Notification, Notifier, Remark, take_memo};
use crate::model::limits::{
    FALLBACK_AFTER, FOLLOW_EVERY, LEASE, MESSAGES_WINDOW, NOTIFICATION_DEADLINE,
};
use crate::model::{Bulletin, Evidence, Text, Timestamp};
use crate::store::{
    AttemptEnd, AttemptId, AttemptResult, Finish, FinishState, Follow, LeasedAction, Messages,
    Seen, Settled, StoreError,
};

use super::gates::{Later, Pass, Target};
use super::report::TargetKind;
use super::worker::{Worker, earlier, later, result_of};
use super::{Performers, Routes};

/// What is told.
#[derive(Clone, Copy)]
pub(super) enum Message<'a> {
    Incident(&'a Notification),
    Bulletin(&'a Bulletin),
}

/// A receiver that has not taken it yet, and may.
struct Failed {
    receiver: Text,
    reason: Text,
    asked: Option<Duration>,
    /// It was not asked: when it may be.
    put_off: Option<Timestamp>,
}

/// One receiver's turn: what it alone is told besides, and whether it has room for it.
struct Turn<'a> {
    notifier: Arc<dyn Notifier>,
    remarks: Vec<Remark>,
    /// Its way to the receiver, where it has room.
    pass: Option<Pass<'a>>,
}

/// How the telling ended for now.
enum End {
    Finish(Box<Finish>),
    /// Nobody could be asked.
    PutOff(Later),
}

/// As of when, and of which actions, a message says how things stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct AsOf {
    pub(super) time: Timestamp,
    pub(super) seen: Option<Seen>,
}

/// How far the telling has come.
struct Told<'a> {
    as_of: AsOf,
    performers: &'a Performers,
    wanted: Vec<Text>,
    settled: Vec<Settled>,
    failed: Vec<Failed>,
    /// It is tried for so long that others stand in for those that fail.
    is_overdue: bool,
}

impl Worker {
    pub(super) async fn tell_all(
        &self,
        leased: &LeasedAction,
        message: Message<'_>,
        receivers: Vec<Text>,
        performers: &Performers,
        as_of: AsOf,
    ) -> Result<(), StoreError> {
        let mut told = Told {
            as_of,
            performers,
            wanted: receivers,
            settled: self.store.settled(leased).await?,
            failed: Vec::new(),
            is_overdue: self.now() >= later(leased.ready_since, FALLBACK_AFTER),
        };
        loop {
            told.let_others_stand_in();
            let round = told.missing();
            if round.is_empty() {
                return match self.conclude(leased, &told) {
                    End::Finish(finish) => self.finish(leased, *finish).await,
                    End::PutOff(until) => self.put_off(leased, &until, NOTIFICATION_DEADLINE).await,
                };
            }
            self.tell_round(leased, message, &mut told, round).await?;
        }
    }

    async fn tell_round(
        &self,
        leased: &LeasedAction,
        message: Message<'_>,
        told: &mut Told<'_>,
        round: Vec<Arc<dyn Notifier>>,
    ) -> Result<(), StoreError> {
        let (turns, attempts) = self.begin_round(leased, message, told, round).await?;
        let names: Vec<Text> = turns.iter().map(Turn::name).cloned().collect();
        let calls = turns
            .into_iter()
            .zip(attempts)
            .map(|(turn, attempt)| self.take_turn(leased, message, turn, attempt));
        for (answered, receiver) in join_all(calls).await.into_iter().zip(names) {
            match answered? {
                None => told.settle(receiver, AttemptResult::Capped, "told in a summary"),
                Some(Attempt::Retry { reason, after }) => told.failed.push(Failed {
                    receiver,
                    reason,
                    asked: after,
                    put_off: None,
                }),
                Some(settling) => told.settle(receiver, result_of(&settling), settling.reason()),
            }
        }
        Ok(())
    }

    /// Counts each receiver's messages and begins one more: two at a time would both find the last room. Who may not be asked
    /// now is left for later.
    async fn begin_round<'w>(
        &'w self,
        leased: &LeasedAction,
        message: Message<'_>,
        told: &mut Told<'_>,
        round: Vec<Arc<dyn Notifier>>,
    ) -> Result<(Vec<Turn<'w>>, Vec<AttemptId>), StoreError> {
        let _one = self.counting.lock().await;
        let mut turns = Vec::with_capacity(round.len());
        for notifier in round {
            let name = notifier.name().clone();
            let (room, is_full) = self.room(message, told, &name).await?;
            let pass = match (!is_full).then(|| self.gate(told.performers, &name)) {
                None => None,
                Some(Ok(pass)) => Some(pass),
                Some(Err(later)) => {
                    told.put_off(name, later);
                    continue;
                }
            };
            let remarks = told.in_place_of(&name).into_iter().chain(room);
            turns.push(Turn {
                remarks: remarks.collect(),
                notifier,
                pass,
            });
        }
        if turns.is_empty() {
            return Ok((turns, Vec::new()));
        }
        let names: Vec<Text> = turns.iter().map(Turn::name).cloned().collect();
        let attempts = self
            .store
            .begin_attempt(
                &leased.action.id,
                &leased.lease,
                &names,
                told.as_of.seen,
                told.as_of.time,
                later(self.now(), LEASE),
            )
            .await?;
        Ok((turns, attempts))
    }

    /// What a receiver is told about its messages of the hour, and whether it has had them all.
    async fn room(
        &self,
        message: Message<'_>,
        told: &Told<'_>,
        receiver: &Text,
    ) -> Result<(Vec<Remark>, bool), StoreError> {
        let Message::Incident(notification) = message else {
            return Ok((Vec::new(), false));
        };
        let severity = notification.incident.severity;
        let Some((room, most)) =
            (told.routes().room(receiver, severity)).zip(told.routes().per_hour_max(receiver))
        else {
            return Ok((Vec::new(), false));
        };
        let now = self.now();
        let since = earlier(now, MESSAGES_WINDOW);
        let Messages { sent, held_back } = self.store.messages(receiver, since, now).await?;
        let mut remarks = Vec::new();
        if held_back > 0 {
            remarks.push(Remark::HeldBack {
                incidents: held_back,
            });
        }
        if sent + 1 == room {
            remarks.push(Remark::LastForNow { per_hour_max: most });
        }
        Ok((remarks, sent >= room))
    }

    /// Nothing is answered by who has had all its messages.
    async fn take_turn(
        &self,
        leased: &LeasedAction,
        message: Message<'_>,
        turn: Turn<'_>,
        attempt: AttemptId,
    ) -> Result<Option<Attempt>, StoreError> {
        let Some(pass) = turn.pass else {
            let (kind, name) = (leased.action.kind, turn.notifier.name());
            self.report
                .attempted(kind, name, AttemptResult::Capped, Duration::ZERO);
            let end = AttemptEnd {
                attempt,
                result: AttemptResult::Capped,
                detail: "it has had its messages of the hour; a summary tells it".into(),
                evidence: Evidence::new(),
            };
            self.store.end_attempt(&end, self.now()).await?;
            return Ok(None);
        };
        let notifier = turn.notifier.as_ref();
        let own = own_words(message, &turn.remarks);
        let call = call(notifier, message, own.as_ref());
        let timeout = self.options.notification_timeout;
        let answered = self.attempt(leased, notifier.name(), timeout, call).await?;
        pass.answered(&leased.action.id, &answered, self.now());
        let mut evidence = match &answered {
            Attempt::Done { evidence, .. } | Attempt::Answered { evidence, .. } => evidence.clone(),
            Attempt::Retry { .. } | Attempt::Refused { .. } => Evidence::new(),
        };
        let memo = take_memo(&mut evidence);
        let end = AttemptEnd {
            attempt,
            result: result_of(&answered),
            detail: answered.reason().into(),
            evidence,
        };
        self.end(leased, notifier, &end, memo).await?;
        Ok(Some(answered))
    }

    /// What is told as a state is followed from here on.
    async fn end(
        &self,
        leased: &LeasedAction,
        notifier: &dyn Notifier,
        end: &AttemptEnd,
        memo: Option<Evidence>,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let Some(memo) = memo.filter(|_| notifier.following().is_some()) else {
            return self.store.end_attempt(end, now).await;
        };
        let follow = Follow {
            receiver: notifier.name().clone(),
            incident_id: leased.action.incident_id.clone(),
            memo,
            due: later(now, FOLLOW_EVERY),
        };
        self.store.end_attempt_and_follow(end, &follow, now).await
    }

    fn conclude(&self, leased: &LeasedAction, told: &Told<'_>) -> End {
        let soonest = told.failed.iter().filter_map(|failed| failed.put_off).min();
        let mut tried = told.failed.iter().filter(|failed| failed.put_off.is_none());
        let Some(first) = tried.next() else {
            return match told.failed.first().zip(soonest) {
                Some((waiting, until)) => End::PutOff(Later {
                    until,
                    why: waiting.reason.clone(),
                }),
                None => End::Finish(Box::new(told.finish(leased))),
            };
        };
        let asked = told.failed.iter().filter_map(|failed| failed.asked).max();
        let reason = format!("{}: {}", first.receiver, first.reason);
        let mut finish = self.after_failure(leased, &reason, asked, NOTIFICATION_DEADLINE);
        if let (FinishState::RetryAt(due), Some(soonest)) = (finish.state, soonest) {
            // Who was only put off does not wait for who has failed.
            finish.state = FinishState::RetryAt(due.min(soonest));
        }
        // Given up, and somebody else was told in its place.
        if finish.state == FinishState::Parked && told.everybody_is_covered() {
            finish.state = FinishState::Done;
        }
        End::Finish(Box::new(finish))
    }

    /// The way to a receiver.
    pub(super) fn gate(&self, performers: &Performers, receiver: &Text) -> Result<Pass<'_>, Later> {
        let target = Target {
            kind: TargetKind::Receiver,
            name: receiver.clone(),
        };
        let limits = performers.limits_of(target.kind, receiver);
        self.gates.enter(target, limits, self.now())
    }
}

impl Turn<'_> {
    fn name(&self) -> &Text {
        self.notifier.name()
    }
}

/// The notification as this receiver gets it, where that is not as all get it.
fn own_words(message: Message<'_>, remarks: &[Remark]) -> Option<Notification> {
    match message {
        Message::Incident(notification) if !remarks.is_empty() => Some(Notification {
            remarks: [remarks, &notification.remarks].concat(),
            ..notification.clone()
        }),
        _ => None,
    }
}

fn call<'a>(
    notifier: &'a dyn Notifier,
    message: Message<'a>,
    own: Option<&'a Notification>,
) -> BoxFuture<'a, Attempt> {
    match message {
        Message::Incident(notification) => notifier.notify(own.unwrap_or(notification)),
        Message::Bulletin(bulletin) => notifier.announce(bulletin),
    }
}

impl Told<'_> {
    fn routes(&self) -> &Routes {
        &self.performers.routes
    }

    /// A receiver that may not be asked now.
    fn put_off(&mut self, receiver: Text, later: Later) {
        self.failed.push(Failed {
            receiver,
            reason: later.why,
            asked: None,
            put_off: Some(later.until),
        });
    }

    /// Receivers that have neither answered for good nor been asked in this try.
    fn missing(&self) -> Vec<Arc<dyn Notifier>> {
        let is_missing = |name: &Text| {
            self.result(name).is_none() && !self.failed.iter().any(|it| it.receiver == *name)
        };
        let missing = self.performers.notifiers.iter().filter(|notifier| {
            let name = notifier.name();
            self.wanted.contains(name) && is_missing(name)
        });
        missing.cloned().collect()
    }

    /// Whoever stands in is asked like the others, and may be stood in for.
    fn let_others_stand_in(&mut self) {
        let mut next = 0;
        while let Some(receiver) = self.wanted.get(next).cloned() {
            next += 1;
            if self.why_not(&receiver).is_some()
                && let Some(fallback) = self.routes().fallback(&receiver).cloned()
                && !self.wanted.contains(&fallback)
            {
                self.wanted.push(fallback);
            }
        }
    }

    /// Why another is told in a receiver's place, if so.
    fn why_not(&self, receiver: &Text) -> Option<&Text> {
        let refused = (self.settled.iter())
            .find(|it| it.performer == *receiver && it.result == AttemptResult::Refused);
        let failed = (self.failed.iter()).find(|it| it.receiver == *receiver && self.is_overdue);
        (refused.map(|it| &it.detail)).or(failed.map(|it| &it.reason))
    }

    fn in_place_of(&self, receiver: &Text) -> Option<Remark> {
        let mut stood_in_for = (self.wanted.iter())
            .filter(|wanted| self.routes().fallback(wanted) == Some(receiver))
            .filter_map(|wanted| Some((wanted, self.why_not(wanted)?)));
        let (wanted, why) = stood_in_for.next()?;
        Some(Remark::InPlaceOf {
            receiver: wanted.clone(),
            why: why.clone(),
        })
    }

    fn result(&self, receiver: &Text) -> Option<AttemptResult> {
        let mut settled = self.settled.iter().filter(|it| it.performer == *receiver);
        settled.next_back().map(|it| it.result)
    }

    fn settle(&mut self, performer: Text, result: AttemptResult, detail: &str) {
        self.settled.push(Settled {
            performer,
            result,
            detail: detail.into(),
        });
    }

    fn everybody_is_covered(&self) -> bool {
        self.wanted.iter().all(|receiver| self.is_covered(receiver))
    }

    /// It was told, will be in a summary, or somebody was in its place.
    fn is_covered(&self, receiver: &Text) -> bool {
        let mut at = receiver;
        // As many steps as there are receivers: fall-backs may stand in a circle.
        for _ in 0..=self.wanted.len() {
            if let Some(AttemptResult::Done | AttemptResult::Capped) = self.result(at) {
                return true;
            }
            match self.routes().fallback(at) {
                Some(fallback) => at = fallback,
                None => return false,
            }
        }
        false
    }

    /// Everybody has answered: done, unless somebody refused and nobody was told in its place, which a person must know.
    fn finish(&self, leased: &LeasedAction) -> Finish {
        let those = |wanted: AttemptResult| {
            let those = self.settled.iter().filter(|one| one.result == wanted);
            those
                .map(|one| format!("{} ({})", one.performer, one.detail))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let parts = [
            ("told ", those(AttemptResult::Done)),
            ("summed up for ", those(AttemptResult::Capped)),
            ("but refused by ", those(AttemptResult::Refused)),
        ];
        let told = parts.iter().filter(|(_, whom)| !whom.is_empty());
        let outcome: Vec<String> = told.map(|(what, whom)| format!("{what}{whom}")).collect();
        let outcome = outcome.join(", ");
        let outcome = outcome.strip_prefix("but ").unwrap_or(&outcome);
        let state = if self.everybody_is_covered() {
            FinishState::Done
        } else {
            FinishState::Parked
        };
        Finish::new(&leased.action, state, outcome)
    }
}
