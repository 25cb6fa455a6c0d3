//! One set of rules over a replay: its engine and its policy, and what they came to.

use std::sync::Arc;

use super::recent::Recent;
use super::{Ending, Summary};
use crate::app::parts;
use crate::config::Config;
use crate::engine::Engine;
use crate::model::{Action, ActionKind, Decision, Enriched, Output};
use crate::pipeline::Worker;
use crate::rules::RuleSet;

pub(super) struct Lane {
    worker: Worker,
    pub(super) summary: Summary,
    /// Incidents that somebody has been told of: later notices of one update its mail thread and are no second line.
    told: Recent,
}

impl Lane {
    pub(super) fn new(config: &Config, rules: &RuleSet) -> Self {
        let engine = parts::engine(config, rules);
        let policy = parts::policy(config);
        Self {
            worker: Worker::new(engine, policy).assuming_done(),
            summary: Summary::default(),
            told: Recent::default(),
        }
    }

    /// What an event causes, and the end of its partition if it is the last.
    pub(super) fn take(&mut self, partition: u32, event: Box<Enriched>, last: bool) -> Output {
        let mut output = Output::default();
        self.worker.take_enriched(partition, event, &mut output);
        if last {
            self.worker.end(partition, &mut output);
        }
        let told = &mut self.told;
        output.actions.retain(|action| {
            let tells = action.kind == ActionKind::Notify && action.decision == Decision::Execute;
            !tells || told.is_new(&action.incident_id)
        });
        self.count(&output);
        output
    }

    fn count(&mut self, output: &Output) {
        self.summary.detections += output.detections.len() as u64;
        for Action { decision, .. } in &output.actions {
            let slot = match decision {
                Decision::Execute => 0,
                Decision::Observe => 1,
                Decision::Hold => 2,
                Decision::Suppress => 3,
            };
            self.summary.actions[slot] += 1;
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.worker.engine
    }

    pub(super) fn ending(&self, rules: &RuleSet) -> Ending {
        let errors = self.worker.engine.rule_errors();
        let mut unused = Vec::new();
        for rule in &rules.rules {
            for exception in &rule.exceptions {
                if self.worker.policy.excepted(&rule.name, exception) == 0 {
                    unused.push((rule.name.clone(), Arc::clone(exception)));
                }
            }
        }
        Ending {
            rule_errors: errors
                .map(|(rule, errors)| (rule.clone(), errors))
                .collect(),
            unused,
        }
    }

    pub(super) fn summary(&self) -> Summary {
        let counters = self.worker.engine.counters();
        Summary {
            events: counters.events,
            duplicates: counters.duplicates,
            late: counters.late,
            ..self.summary
        }
    }
}
