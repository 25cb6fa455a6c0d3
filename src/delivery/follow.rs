//! Keeps receivers up to date that know incidents as states: taken on, ended, and for some that it goes on.
//!
//! Notifications are for people and say what has happened; this says only how what was told stands now. It never pages: a
//! receiver hears of an incident by a notification first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::actions::{Attempt, Followed, Following, Notifier};
use crate::model::limits::{FOLLOW_EVERY, FOLLOWED_MAX, NOTIFICATION_DEADLINE, UNCLEAR_RETRY};
use crate::model::{Phase, Stand, Text, Timestamp};
use crate::store::{FollowedRow, Known, StoreError};

use super::Performers;
use super::worker::{Worker, later, result_of};

/// What one incident's turn comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Turn {
    phase: Phase,
    since: Timestamp,
    /// The receiver is to hear of it.
    tell: bool,
    /// When it has heard: absent where that was the last time.
    due: Option<Timestamp>,
}

/// Looks now and then until cancelled. Each receiver is told by a task of its own: one that hangs holds no other up.
pub(super) async fn follow_up(worker: &Arc<Worker>, cancel: &CancellationToken) {
    let mut running = JoinSet::new();
    let mut busy: BTreeMap<Id, Text> = BTreeMap::new();
    let mut trouble = false;
    while !cancel.is_cancelled() {
        while let Some(ended) = running.try_join_next_with_id() {
            match ended {
                Ok((id, told)) => {
                    busy.remove(&id);
                    say_once(told, &mut trouble);
                }
                Err(fault) => {
                    busy.remove(&fault.id());
                }
            }
        }
        let performers = worker.performers.borrow().clone();
        for notifier in &performers.notifiers {
            let name = notifier.name();
            let is_busy = busy.values().any(|it| it == name);
            let Some(following) = notifier.following().filter(|_| !is_busy) else {
                continue;
            };
            let (worker, performers) = (Arc::clone(worker), Arc::clone(&performers));
            let notifier = Arc::clone(notifier);
            let name = name.clone();
            let task = running
                .spawn(async move { worker.follow_at(&performers, &notifier, following).await });
            busy.insert(task.id(), name);
        }
        tokio::select! {
            () = cancel.cancelled() => {}
            () = worker.sleep(worker.options.look_every) => {}
        }
    }
}

/// It is tried again every second.
fn say_once(told: Result<(), StoreError>, trouble: &mut bool) {
    match told {
        Ok(()) => *trouble = false,
        Err(error) if !std::mem::replace(trouble, true) => {
            tracing::warn!(%error, "How incidents stand cannot be read; trying again until it works");
        }
        Err(_) => {}
    }
}

impl Worker {
    async fn follow_at(
        &self,
        performers: &Performers,
        notifier: &Arc<dyn Notifier>,
        following: Following,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let until = later(now, self.options.notification_timeout);
        let rows = (self.store)
            .due_followed(notifier.name(), now, until, FOLLOWED_MAX)
            .await?;
        let turns: Vec<Turn> = rows.iter().map(|row| turn(row, following, now)).collect();
        let told: Vec<Followed> = (rows.iter().zip(&turns))
            .filter(|(_, turn)| turn.tell)
            .map(|(row, turn)| followed(row, turn))
            .collect();
        let attempt = self.tell_states(performers, notifier.as_ref(), &told).await;
        for (row, turn) in rows.iter().zip(turns) {
            let known = known(turn, attempt.as_ref(), now);
            self.store.followed(row, known, now).await?;
        }
        Ok(())
    }

    /// Nothing is asked where there is nothing to tell.
    async fn tell_states(
        &self,
        performers: &Performers,
        notifier: &dyn Notifier,
        told: &[Followed],
    ) -> Option<Attempt> {
        let first = told.first()?;
        let name = notifier.name();
        let pass = match self.gate(performers, name) {
            Ok(pass) => pass,
            Err(later) => {
                return Some(Attempt::Retry {
                    reason: later.why,
                    after: None,
                });
            }
        };
        let timeout = self.options.notification_timeout;
        let call = self.while_leading(notifier.follow(told));
        let attempt = match self.within(timeout, call).await {
            Some(Ok(answered)) => answered,
            Some(Err(error)) => failed(error.to_string()),
            None => failed(format!("no answer within {} s", timeout.as_secs())),
        };
        pass.answered(&first.incident_id, &attempt, self.now());
        self.report.followed(name, result_of(&attempt));
        if !matches!(attempt, Attempt::Done { .. }) {
            let reason = attempt.reason();
            tracing::warn!(receiver = %name, reason, "A receiver has not taken how its incidents stand");
        }
        Some(attempt)
    }
}

fn failed(reason: String) -> Attempt {
    Attempt::Retry {
        reason: reason.into(),
        after: None,
    }
}

/// What is due for an incident; one that is kept no more is over.
fn turn(row: &FollowedRow, following: Following, now: Timestamp) -> Turn {
    let stands = row.stand.map_or(Phase::Resolved, Stand::phase);
    let is_young = now < later(row.told_at, following.lasts_at_least);
    let phase = match stands {
        Phase::Resolved if is_young => row.phase,
        stands => stands,
    };
    let changed = phase != row.phase;
    let since = if changed { now } else { row.since };
    let is_forgotten = |every: Duration| now >= later(row.sent_at, every);
    let is_over = phase == Phase::Resolved && now >= later(since, following.ended_for);
    Turn {
        phase,
        since,
        tell: changed
            || row.sent_at < row.since
            || row.before.is_some()
            || following.again_every.is_some_and(is_forgotten),
        due: (!is_over).then(|| later(now, FOLLOW_EVERY)),
    }
}

fn followed(row: &FollowedRow, turn: &Turn) -> Followed {
    Followed {
        incident_id: row.incident_id.clone(),
        phase: turn.phase,
        since: turn.since,
        memo: row.memo.clone(),
        before: row.before.clone(),
    }
}

/// What the receiver knows after its answer. An end that it refuses, or has not taken for a day, is given up.
fn known(turn: Turn, attempt: Option<&Attempt>, now: Timestamp) -> Known {
    let is_late = now >= later(turn.since, NOTIFICATION_DEADLINE);
    let is_end = turn.phase == Phase::Resolved;
    match attempt.filter(|_| turn.tell) {
        None | Some(Attempt::Done { .. }) => Known {
            phase: turn.phase,
            since: turn.since,
            sent: turn.tell,
            due: turn.due,
        },
        Some(failed) => {
            let is_given_up = is_end && (is_late || matches!(failed, Attempt::Refused { .. }));
            // What it is to know, and has not heard yet: it was sent nothing since then.
            Known {
                phase: turn.phase,
                since: turn.since,
                sent: false,
                due: (!is_given_up).then(|| later(now, UNCLEAR_RETRY)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Evidence, IncidentState};

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn after(seconds: u64) -> Timestamp {
        later(START, Duration::from_secs(seconds))
    }

    fn row(state: IncidentState) -> FollowedRow {
        FollowedRow {
            receiver: "pager".into(),
            incident_id: "i".into(),
            phase: Phase::Open,
            since: START,
            told_at: START,
            sent_at: START,
            memo: Evidence::new(),
            before: None,
            stand: Some(Stand {
                state,
                waiting: 0,
                ended: 0,
                failed: 0,
            }),
        }
    }

    fn alerts() -> Following {
        Following {
            again_every: Some(Duration::from_mins(1)),
            lasts_at_least: Duration::from_mins(10),
            ended_for: Duration::from_mins(5),
        }
    }

    #[test]
    fn pages_hear_of_changes_only_and_of_the_end_once() {
        let pages = Following::default();
        let open = turn(&row(IncidentState::Open), pages, after(3600));
        assert!(!open.tell && open.due == Some(after(3610)));
        let taken = turn(&row(IncidentState::Acknowledged), pages, after(9));
        assert!(taken.tell && taken.phase == Phase::Acknowledged && taken.due.is_some());
        let ended = turn(&row(IncidentState::Closed), pages, after(9));
        assert_eq!(
            (ended.tell, ended.phase, ended.due),
            (true, Phase::Resolved, None)
        );
        let gone = FollowedRow {
            stand: None,
            ..row(IncidentState::Open)
        };
        assert_eq!(turn(&gone, pages, after(9)).phase, Phase::Resolved);
    }

    #[test]
    fn alerts_are_sent_again_and_their_end_for_a_while() {
        let open = row(IncidentState::Open);
        assert!(!turn(&open, alerts(), after(59)).tell);
        assert!(turn(&open, alerts(), after(60)).tell);

        let closed = row(IncidentState::Closed);
        let young = turn(&closed, alerts(), after(599));
        assert_eq!(young.phase, Phase::Open, "it must be seen first");
        let ended = turn(&closed, alerts(), after(600));
        assert_eq!(
            (ended.phase, ended.since, ended.tell),
            (Phase::Resolved, after(600), true)
        );
        assert!(ended.due.is_some());

        let over = FollowedRow {
            phase: Phase::Resolved,
            since: after(600),
            sent_at: after(840),
            ..closed
        };
        assert!(turn(&over, alerts(), after(899)).due.is_some());
        assert_eq!(turn(&over, alerts(), after(900)).due, None);
    }

    #[test]
    fn what_was_not_taken_is_told_again_and_an_end_not_for_ever() {
        let closed = row(IncidentState::Closed);
        let pages = Following::default();
        let retry = Attempt::Retry {
            reason: "503".into(),
            after: None,
        };
        let refused = Attempt::Refused {
            reason: "400".into(),
        };
        let known = |attempt, now| known(turn(&closed, pages, now), Some(attempt), now);
        let failed = known(&retry, after(9));
        assert_eq!(
            (failed.phase, failed.since, failed.sent),
            (Phase::Resolved, after(9), false)
        );
        assert!(failed.due.is_some());
        assert_eq!(known(&refused, after(9)).due, None);

        let unheard = FollowedRow {
            phase: Phase::Resolved,
            since: after(9),
            ..row(IncidentState::Closed)
        };
        let again = |now| super::known(turn(&unheard, pages, now), Some(&retry), now);
        assert!(turn(&unheard, pages, after(20)).tell);
        assert!(again(after(20)).due.is_some());
        assert_eq!(
            again(after(9 + 24 * 3600)).due,
            None,
            "given up after a day"
        );
    }
}
