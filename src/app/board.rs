//! How the sources, the store and the rules are doing: for `/-/ready`, the metrics, and the log (each change once).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::admin::Readiness;
use crate::metrics::Metrics;
use crate::model::{BreakerReport, BreakerState, SourcePartition, Text};
use crate::pipeline::ArchiveReport;
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
    /// Why reading does not work, and since when; `None` while it does.
    down: Option<(String, Instant)>,
    lateness: Duration,
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
                    down: Some(("has not been read yet".to_owned(), Instant::now())),
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
                for (_, since) in sources.filter_map(|source| source.down.as_mut()) {
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
                .map(|(why, _)| format!("source {name}: {why}"))
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

    /// Sources that could not be read for longer than their lateness.
    pub(super) fn out_of_time(&self) -> Vec<Text> {
        let too_long = |source: &SourceState| {
            source
                .down
                .as_ref()
                .is_some_and(|(_, since)| since.elapsed() > source.lateness)
        };
        self.lock()
            .sources
            .iter()
            .filter(|(_, source)| too_long(source))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Sources that are being read.
    pub(super) fn up(&self) -> Vec<Text> {
        let state = self.lock();
        let up = state
            .sources
            .iter()
            .filter(|(_, source)| source.down.is_none());
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
        self.metrics.source_up.with_label_values(&[source]).set(0);
        let mut state = self.lock();
        let Some(state) = state.sources.get_mut(source) else {
            return;
        };
        let changed = state.down.as_ref().is_none_or(|(why, _)| why != reason);
        if changed {
            tracing::warn!(%source, reason, "Source cannot be read; trying again until it can");
            self.metrics
                .source_failures_total
                .with_label_values(&[source])
                .inc();
        }
        let since = state
            .down
            .as_ref()
            .map_or_else(Instant::now, |(_, since)| *since);
        state.down = Some((reason.to_owned(), since));
    }

    fn lag(&self, partition: &SourcePartition, records: u64) {
        let labels = [&*partition.source, &*partition.partition];
        self.metrics
            .source_lag_records
            .with_label_values(&labels)
            .set(i64::try_from(records).unwrap_or(i64::MAX));
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
}
