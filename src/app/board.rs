//! How the sources, the store and the rules are doing: for `/-/ready`, the metrics, and the log (each change once).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::admin::Readiness;
use crate::metrics::Metrics;
use crate::model::{BreakerReport, BreakerState, SourcePartition, Text};
use crate::pipeline::{ArchiveReport, Unread};
use crate::sources::{Status, webhook};

pub(super) struct Board {
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sources: BTreeMap<Text, SourceState>,
    store_down: Option<String>,
    place: Place,
    /// Events for which a condition of the rule had no answer.
    rule_errors: BTreeMap<Text, u64>,
    breakers: Vec<BreakerReport>,
    archive: ArchiveState,
}

/// Among the daemons of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Place {
    #[default]
    Leads,
    /// The lead could not be renewed in time, and why: nothing is begun outside.
    Unsure(String),
    /// Who leads.
    StandsBy(String),
    /// It would take over, and cannot see whether it must.
    Blind(String),
}

#[derive(Default)]
struct ArchiveState {
    /// Why it cannot be written.
    failing: Option<String>,
    /// Events since the start that it does not have.
    lost: u64,
}

struct SourceState {
    /// `None` while reading works.
    down: Option<Down>,
    lateness: Duration,
}

/// What is not read of a source.
struct Down {
    why: String,
    /// Since when, by part; under `None` all of it.
    since: BTreeMap<Option<Text>, Instant>,
}

impl Down {
    fn whole(why: String) -> Self {
        Self {
            why,
            since: [(None, Instant::now())].into(),
        }
    }

    fn is_whole(&self) -> bool {
        self.since.contains_key(&None)
    }
}

impl Board {
    /// Every source counts as down until it has said that it reads.
    pub(super) fn new(
        metrics: Metrics,
        sources: impl IntoIterator<Item = (Text, Duration)>,
    ) -> Self {
        let starting = |(name, lateness)| {
            (
                name,
                SourceState {
                    down: Some(Down::whole("has not been read yet".to_owned())),
                    lateness,
                },
            )
        };
        let sources = sources.into_iter().map(starting).collect();
        Self {
            metrics,
            state: Mutex::new(State {
                sources,
                ..State::default()
            }),
        }
    }

    /// The breakers that are not closed, as the policy said last.
    pub(super) fn breakers(&self) -> Vec<BreakerReport> {
        self.lock().breakers.clone()
    }

    pub(super) fn set_breakers(&self, breakers: &[BreakerReport]) {
        let known = std::mem::replace(&mut self.lock().breakers, breakers.to_vec());
        let opened = |it: &&BreakerReport| it.state == BreakerState::Open;
        for breaker in breakers.iter().filter(opened) {
            let is_known = |it: &BreakerReport| it.client == breaker.client && opened(&it);
            if !known.iter().any(is_known) {
                let client = &breaker.client.client_id;
                tracing::warn!(%client, why = %breaker.why, "The breaker of a client has opened; what would be ended there waits for a person");
            }
        }
    }

    pub(super) fn store_down(&self, why: &str) {
        if self.lock().store_down.replace(why.to_owned()).is_none() {
            tracing::warn!(
                reason = why,
                "The store cannot be written; reading waits until it can"
            );
        }
        self.metrics.store_errors_total.inc();
    }

    pub(super) fn store_up(&self) {
        if self.lock().store_down.take().is_some() {
            tracing::info!("The store can be written again");
        }
    }

    pub(super) fn rule_errors(&self, rule: &Text, errors: u64) {
        let before = self
            .lock()
            .rule_errors
            .insert(rule.clone(), errors)
            .unwrap_or(0);
        if before == 0 && errors > 0 {
            tracing::warn!(
                %rule,
                "A condition of this rule had no answer for an event, which the rule left out; `explain` with a recording of the event tells why"
            );
        }
        self.metrics
            .rule_errors_total
            .with_label_values(&[rule])
            .inc_by(errors.saturating_sub(before));
    }

    /// What does not work as it should while the daemon as a whole does.
    pub(super) fn notes(&self) -> Vec<String> {
        let state = self.lock();
        let failing = state.rule_errors.iter().filter(|(_, errors)| **errors > 0);
        let rules = failing.map(|(rule, errors)| {
            format!("rule {rule}: a condition had no answer for {errors} events since the start")
        });
        let archive = &state.archive;
        let unwritten = archive.failing.iter();
        let unwritten = unwritten.map(|why| format!("archive: cannot be written: {why}"));
        let lost = (archive.lost > 0).then(|| {
            let lost = archive.lost;
            format!("archive: {lost} events are missing since the start")
        });
        let leader = match &state.place {
            Place::StandsBy(leader) => Some(format!("leader: {leader}")),
            _ => None,
        };
        rules.chain(unwritten).chain(lost).chain(leader).collect()
    }

    /// Where it stands from now on. Whoever begins to lead has not been able to read anything before.
    pub(super) fn place(&self, place: Place) {
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.place, place.clone());
        if before == place {
            return;
        }
        match (before, place) {
            (Place::StandsBy(_) | Place::Blind(_), Place::Leads) => {
                let now = Instant::now();
                let sources = state.sources.values_mut();
                let down = sources.filter_map(|source| source.down.as_mut());
                for since in down.flat_map(|down| down.since.values_mut()) {
                    *since = now;
                }
            }
            (Place::Leads, Place::Leads) => {}
            (_, Place::Leads) => tracing::info!("The lead can be renewed again"),
            (_, Place::Unsure(why)) => {
                tracing::warn!(reason = %why, "The lead cannot be renewed; nothing is begun until it can, and another daemon may take over");
            }
            (_, Place::StandsBy(leader)) => tracing::info!(%leader, "Standing by"),
            (_, Place::Blind(why)) => {
                tracing::warn!(reason = %why, "Standing by, and the store cannot be asked whether somebody leads");
            }
        }
    }

    /// Another daemon leads, as far as is known.
    pub(super) fn stands_by(&self) -> bool {
        matches!(self.lock().place, Place::StandsBy(_) | Place::Blind(_))
    }

    pub(super) fn readiness(&self) -> Readiness {
        let state = self.lock();
        let unfit = match &state.place {
            Place::StandsBy(_) => {
                self.metrics.ready.set(1);
                return Readiness::StandsBy;
            }
            Place::Blind(why) => {
                self.metrics.ready.set(0);
                return Readiness::NotReady(vec![format!("store: {why}")]);
            }
            Place::Leads => None,
            Place::Unsure(why) => Some(format!("lead: it cannot be renewed: {why}")),
        };
        let down = state.sources.iter().filter_map(|(name, source)| {
            source
                .down
                .as_ref()
                .map(|down| format!("source {name}: {}", down.why))
        });
        let store = state.store_down.iter().map(|why| format!("store: {why}"));
        let reasons: Vec<String> = unfit.into_iter().chain(store).chain(down).collect();
        self.metrics.ready.set(i64::from(reasons.is_empty()));
        if reasons.is_empty() {
            Readiness::Ready
        } else {
            Readiness::NotReady(reasons)
        }
    }

    /// What could not be read for longer than its source's lateness.
    pub(super) fn out_of_time(&self) -> Vec<Unread> {
        let mut out = Vec::new();
        for (source, state) in &self.lock().sources {
            let since = state.down.iter().flat_map(|down| &down.since);
            let too_long = since.filter(|(_, since)| since.elapsed() > state.lateness);
            out.extend(too_long.map(|(part, _)| Unread {
                source: source.clone(),
                part: part.clone(),
            }));
        }
        out
    }

    /// Sources that are being read, perhaps without a part.
    pub(super) fn up(&self) -> Vec<Text> {
        let state = self.lock();
        let up = state
            .sources
            .iter()
            .filter(|(_, source)| !source.down.as_ref().is_some_and(Down::is_whole));
        up.map(|(name, _)| name.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status for Board {
    fn up(&self, source: &Text) {
        self.metrics.source_up.with_label_values(&[source]).set(1);
        let mut state = self.lock();
        let was_down = state
            .sources
            .get_mut(source)
            .and_then(|state| state.down.take());
        if was_down.is_some() {
            tracing::info!(%source, "Source is being read");
        }
    }

    fn down(&self, source: &Text, reason: &str) {
        self.unread(source, &[None], reason);
    }

    fn partly(&self, source: &Text, parts: &[Text], reason: &str) {
        let parts: Vec<Option<Text>> = parts.iter().cloned().map(Some).collect();
        self.unread(source, &parts, reason);
    }

    fn lag(&self, partition: &SourcePartition, records: u64) {
        let labels = [&*partition.source, &*partition.partition];
        self.metrics
            .source_lag_records
            .with_label_values(&labels)
            .set(i64::try_from(records).unwrap_or(i64::MAX));
    }
}

impl Board {
    fn unread(&self, source: &Text, parts: &[Option<Text>], reason: &str) {
        self.metrics.source_up.with_label_values(&[source]).set(0);
        let mut state = self.lock();
        let Some(state) = state.sources.get_mut(source) else {
            return;
        };
        let before = state.down.take();
        let changed = before.as_ref().is_none_or(|down| down.why != reason);
        if changed {
            tracing::warn!(%source, reason, "Source cannot be read; trying again until it can");
            self.metrics
                .source_failures_total
                .with_label_values(&[source])
                .inc();
        }
        // A part was not read before where nothing was.
        let known = |part| {
            let since = &before.as_ref()?.since;
            since.get(part).or_else(|| since.get(&None)).copied()
        };
        let since = parts.iter();
        let since = since.map(|part| (part.clone(), known(part).unwrap_or_else(Instant::now)));
        state.down = Some(Down {
            why: reason.to_owned(),
            since: since.collect(),
        });
    }
}

impl webhook::Report for Board {
    fn answered(&self, source: &Text, outcome: webhook::Outcome) {
        self.metrics
            .ingest_requests_total
            .with_label_values(&[&**source, outcome.as_str()])
            .inc();
    }
}

impl ArchiveReport for Arc<Board> {
    fn written(&self, events: u64, bytes: u64) {
        self.metrics.archive_events_total.inc_by(events);
        self.metrics.archive_written_bytes_total.inc_by(bytes);
        self.metrics.archive_failing.set(0);
        if self.lock().archive.failing.take().is_some() {
            tracing::info!("The archive can be written again");
        }
    }

    fn lost(&self, events: u64) {
        self.metrics.archive_events_lost_total.inc_by(events);
        self.lock().archive.lost += events;
    }

    fn fails(&self, why: &str) {
        self.metrics.archive_failing.set(1);
        let before = self.lock().archive.failing.replace(why.to_owned());
        if before.as_deref() != Some(why) {
            tracing::warn!(
                reason = why,
                "The archive cannot be written; events are judged and missing there until it can"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::INGEST_OUTCOMES;

    #[test]
    fn every_answer_of_a_webhook_is_exported_from_the_start() {
        let answers: Vec<&str> = (webhook::Outcome::ALL.iter())
            .map(|outcome| outcome.as_str())
            .collect();
        assert_eq!(answers, INGEST_OUTCOMES);
    }

    #[test]
    fn of_a_source_that_is_read_in_part_only_the_rest_is_left_out() {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let source: Text = "k".into();
        let board = Board::new(metrics, [(source.clone(), Duration::ZERO)]);
        let out = || {
            // Longer than the lateness.
            std::thread::sleep(Duration::from_millis(1));
            let parts = board.out_of_time().into_iter().map(|it| it.part);
            parts.collect::<Vec<Option<Text>>>()
        };
        let since = || {
            board.lock().sources[&source]
                .down
                .as_ref()
                .unwrap()
                .since
                .clone()
        };
        Status::up(&board, &source);
        let (three, four): (Text, Text) = ("events/3".into(), "events/4".into());
        board.partly(&source, std::slice::from_ref(&three), "gone");
        assert_eq!(out(), [Some(three.clone())]);
        assert_eq!(
            board.up(),
            std::slice::from_ref(&source),
            "the others are read"
        );
        let first = since();
        board.partly(&source, &[three.clone(), four.clone()], "gone");
        assert_eq!(since()[&Some(three.clone())], first[&Some(three.clone())]);
        assert!(since()[&Some(four)] > first[&Some(three.clone())]);
        board.down(&source, "refused");
        assert_eq!(out(), [None]);
        assert!(board.up().is_empty());
        assert!(since()[&None] > first[&Some(three)], "it has its lateness");
        let ready = board.readiness();
        assert!(matches!(ready, Readiness::NotReady(why) if why == ["source k: refused"]));
    }
}
