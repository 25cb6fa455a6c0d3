//! Makes metrics of what the ingest loop and the delivery loop tell.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::board::Board;
use crate::clock;
use crate::delivery::{self, PutOff, TargetKind};
use crate::engine::{Counters, Sizes};
use crate::metrics::top::Top;
use crate::metrics::{Metrics, Names, Refreshes};
use crate::model::{
    ActionKind, ActionState, BreakerReport, CANARY_SOURCE, Commit, Incident, Output, ShownBy, Text,
    Timestamp,
};
use crate::pipeline::{Observer, Prepared, Reload, Taken};
use crate::store::{AttemptResult, CommitReport, Consequence};

/// The ingest loop's observer; owned by its thread.
pub(super) struct Watch {
    pub(super) metrics: Metrics,
    pub(super) refreshes: Refreshes,
    names: Names,
    pub(super) top: Arc<Mutex<Top>>,
    pub(super) board: Arc<Board>,
    pub(super) counted: Counters,
    pub(super) evicted: u64,
    /// Sources with records that are not durable yet: a position may be written without any.
    taken: BTreeSet<Text>,
}

impl Watch {
    pub(super) fn new(
        metrics: Metrics,
        names: Names,
        top: Arc<Mutex<Top>>,
        board: Arc<Board>,
    ) -> Self {
        Self {
            metrics,
            refreshes: Refreshes::new(names.clone()),
            names,
            top,
            board,
            counted: Counters::default(),
            evicted: 0,
            taken: BTreeSet::new(),
        }
    }
}

impl Observer for Watch {
    fn batch(&mut self, batch: &Prepared, taken: &Taken, took: Duration) {
        if batch.records == 0 || &*batch.partition.source == CANARY_SOURCE {
            return;
        }
        if !self.taken.contains(&batch.partition.source) {
            self.taken.insert(batch.partition.source.clone());
        }
        let source = [&*batch.partition.source];
        self.metrics
            .records_received_total
            .with_label_values(&source)
            .inc_by((batch.records - batch.muted) as u64);
        self.metrics
            .records_read_again_total
            .with_label_values(&source)
            .inc_by(batch.muted as u64);
        let new = taken.seen.iter().filter(|seen| !seen.muted).count() as u64;
        self.metrics
            .events_total
            .with_label_values(&source)
            .inc_by(new);
        self.metrics
            .last_record_received_timestamp_seconds
            .with_label_values(&source)
            .set(clock::seconds(clock::now()));
        self.metrics
            .engine_batch_duration_seconds
            .observe(took.as_secs_f64());
        let mut top = self.top.lock().unwrap_or_else(PoisonError::into_inner);
        for seen in &taken.seen {
            self.refreshes.observe(&seen.event, seen.muted);
            if !seen.muted {
                top.observe(&seen.event);
            }
        }
        drop(top);
        self.refreshes.publish(&self.metrics);
    }

    fn committed(&mut self, commit: &Commit, report: CommitReport, now: Timestamp, took: Duration) {
        self.board.store_up();
        self.metrics
            .commit_duration_seconds
            .observe(took.as_secs_f64());
        for source in std::mem::take(&mut self.taken) {
            self.metrics
                .last_record_processed_timestamp_seconds
                .with_label_values(&[&*source])
                .set(clock::seconds(now));
        }
        for reject in &commit.rejects {
            self.metrics
                .records_rejected_total
                .with_label_values(&[&*reject.source, reject.reason.as_str()])
                .inc();
        }
        // Where an answer was lost, what is new came with the try before, and has not been counted.
        if report.detections_new == 0 && commit.tried_at.is_none() {
            return;
        }
        for detection in &commit.output.detections {
            self.metrics
                .detections_total
                .with_label_values(&[&*detection.rule, detection.severity.as_str()])
                .inc();
            let since = now.duration_since(detection.time).as_secs_f64().max(0.0);
            self.metrics.detection_latency_seconds.observe(since);
        }
        for incident in opened(&commit.output) {
            self.metrics
                .incidents_opened_total
                .with_label_values(&[incident.severity.as_str()])
                .inc();
        }
        for action in &commit.output.actions {
            self.metrics
                .decisions_total
                .with_label_values(&[action.kind.as_str(), action.decision.as_str()])
                .inc();
        }
    }

    fn store_down(&mut self, why: &str) {
        self.board.store_down(why);
    }

    fn engine(&mut self, sizes: Sizes, counters: Counters, watermark: Option<Timestamp>) {
        let entries = [
            ("families", sizes.families),
            ("tokens", sizes.tokens),
            ("users", sizes.users),
            ("networks", sizes.networks),
            ("clients", sizes.clients),
            ("waiting", sizes.waiting),
        ];
        for (table, size) in entries {
            self.metrics
                .engine_entries
                .with_label_values(&[table])
                .set(i64::try_from(size).unwrap_or(i64::MAX));
        }
        self.metrics
            .events_duplicate_total
            .inc_by(counters.duplicates - self.counted.duplicates);
        self.metrics
            .events_late_total
            .inc_by(counters.late - self.counted.late);
        self.counted = counters;
        self.metrics
            .engine_evictions_total
            .inc_by(sizes.evicted.saturating_sub(self.evicted));
        self.evicted = sizes.evicted;
        if let Some(watermark) = watermark {
            self.metrics
                .watermark_timestamp_seconds
                .set(clock::seconds(watermark));
        }
    }

    fn breakers(&mut self, breakers: Vec<BreakerReport>) {
        self.metrics.breakers(&self.names, &breakers);
        self.board.set_breakers(&breakers);
    }

    fn rule_errors(&mut self, rule: &Text, errors: u64) {
        self.board.rule_errors(rule, errors);
    }

    fn reloaded(&mut self, reload: &Reload) {
        self.names = reload.names();
        self.refreshes.rename(self.names.clone());
    }

    fn saved(&mut self, bytes: usize) {
        self.metrics
            .snapshot_size_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

/// Incidents all of whose detections are among these.
fn opened(output: &Output) -> impl Iterator<Item = &Incident> {
    let here = |incident: &Incident| {
        let members = output.members.iter();
        members
            .filter(|member| member.incident_id == incident.id)
            .count()
    };
    let incidents = output.incidents.iter();
    incidents.filter(move |incident| incident.detections as usize == here(incident))
}

/// The delivery loop's reporter.
pub(super) struct Deliveries {
    pub(super) metrics: Metrics,
    /// When the newest canary that has arrived was sent; whoever sends them waits for it.
    pub(super) arrived: watch::Sender<Option<Timestamp>>,
}

impl Deliveries {
    fn finished(&self, kind: ActionKind, state: ActionState) {
        self.metrics
            .actions_finished_total
            .with_label_values(&[kind.as_str(), state.as_str()])
            .inc();
    }

    fn told(&self, receiver: &Text, result: AttemptResult) {
        self.metrics
            .notifications_total
            .with_label_values(&[&**receiver, outcome_of(result)])
            .inc();
        if result == AttemptResult::Done {
            let last = self
                .metrics
                .notification_last_success_timestamp_seconds
                .with_label_values(&[receiver]);
            last.set(clock::seconds(clock::now()));
        }
    }
}

const fn outcome_of(result: AttemptResult) -> &'static str {
    match result {
        AttemptResult::Done => "done",
        AttemptResult::Retry => "retry",
        AttemptResult::Refused => "refused",
        AttemptResult::Capped => "capped",
    }
}

impl delivery::Report for Deliveries {
    fn attempted(&self, kind: ActionKind, performer: &Text, result: AttemptResult, took: Duration) {
        let outcome = outcome_of(result);
        // Nothing was attempted where there was no room.
        if result != AttemptResult::Capped {
            self.metrics
                .action_attempts_total
                .with_label_values(&[performer, kind.as_str(), outcome])
                .inc();
            self.metrics
                .action_duration_seconds
                .with_label_values(&[kind.as_str()])
                .observe(took.as_secs_f64());
        }
        if kind == ActionKind::Notify {
            self.told(performer, result);
        }
    }

    fn followed(&self, receiver: &Text, result: AttemptResult) {
        self.told(receiver, result);
    }

    fn circuit(&self, kind: TargetKind, target: &Text, is_open: bool) {
        self.metrics
            .delivery_circuit_open
            .with_label_values(&[kind.as_str(), target])
            .set(i64::from(is_open));
    }

    fn put_off(&self, kind: TargetKind, target: &Text, why: PutOff) {
        self.metrics
            .delivery_put_off_total
            .with_label_values(&[kind.as_str(), target, why.as_str()])
            .inc();
    }

    fn verified(&self, kind: ActionKind, by: ShownBy, is_new: bool) {
        self.metrics
            .revocations_verified_total
            .with_label_values(&[by.as_str()])
            .inc();
        // What was shown at once ends by that.
        if is_new {
            self.finished(kind, ActionState::Done);
        }
    }

    fn without_effect(&self, consequence: Consequence) {
        self.metrics
            .revocations_without_effect_total
            .with_label_values(&[consequence.as_str()])
            .inc();
    }

    fn ended(&self, kind: ActionKind, state: ActionState, since_event: Duration) {
        if state.is_final() {
            self.finished(kind, state);
        }
        let revoked = matches!(
            kind,
            ActionKind::RevokeFamily | ActionKind::RevokeUser | ActionKind::LockUser
        );
        if revoked && matches!(state, ActionState::Done | ActionState::Answered) {
            self.metrics
                .containment_latency_seconds
                .observe(since_event.as_secs_f64());
        }
    }

    fn canary(&self, sent_at: Timestamp, took: Duration) {
        self.metrics
            .canary_last_success_timestamp_seconds
            .set(clock::seconds(clock::now()));
        self.metrics
            .canary_duration_seconds
            .observe(took.as_secs_f64());
        self.arrived.send_replace(Some(sent_at));
    }

    fn store_failed(&self) {
        self.metrics.store_errors_total.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{IncidentState, Member, Severity, Subject};

    fn incident(id: &str, detections: u32) -> Incident {
        Incident {
            id: id.into(),
            issuer: "idp".into(),
            tenant: None,
            subject: Subject::User("u".into()),
            episode: 0,
            state: IncidentState::Open,
            severity: Severity::High,
            opened_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            user_id: None,
            client_id: None,
            detections,
            summary: "".into(),
            resolution: None,
            closed_at: None,
        }
    }

    #[test]
    fn an_incident_is_opened_once_however_many_detections_come_with_it() {
        let member = |incident: &str, detection: &str| Member {
            incident_id: incident.into(),
            detection_id: detection.into(),
        };
        let output = Output {
            incidents: vec![incident("known", 2), incident("one", 1), incident("two", 2)],
            members: vec![
                member("known", "a"),
                member("one", "b"),
                member("two", "c"),
                member("two", "d"),
            ],
            ..Output::default()
        };
        let opened: Vec<&str> = opened(&output).map(|incident| &*incident.id).collect();
        assert_eq!(opened, ["one", "two"]);
    }

    #[test]
    fn what_a_lost_answer_kept_from_being_new_is_counted() {
        let (_, metrics) = crate::metrics::registry().unwrap();
        let names = Names::new([], []);
        let board = Arc::new(Board::new(metrics.clone(), []));
        let mut watch = Watch::new(metrics.clone(), names, Arc::default(), board);
        let member = Member {
            incident_id: "one".into(),
            detection_id: "a".into(),
        };
        let mut commit = Commit {
            output: Output {
                incidents: vec![incident("one", 1)],
                members: vec![member],
                ..Output::default()
            },
            ..Commit::default()
        };
        let now = Timestamp::UNIX_EPOCH;
        let mut opened = |commit: &Commit| {
            watch.committed(commit, CommitReport::default(), now, Duration::ZERO);
            metrics
                .incidents_opened_total
                .with_label_values(&["high"])
                .get()
        };
        assert_eq!(opened(&commit), 0, "it was there before");
        commit.tried_at = Some(now);
        assert_eq!(opened(&commit), 1);
    }
}
