//! One set of rules that judges a population, and what it would have done.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use tokenwarden::app::parts;
use tokenwarden::config::Config;
use tokenwarden::enrich::Tables;
use tokenwarden::model::{ActionKind, Decision, Detection, Enriched, Output, Subject, Text};
use tokenwarden::pipeline::Worker;

use crate::first;

/// Naive rule sets, in the rule language. What they find they act upon: each finding ends the family and is a page.
pub(crate) const BASELINES: &[&str] = &["any-reuse", "another-country", "fixed-rate"];

pub(crate) struct Lane {
    name: &'static str,
    naive: bool,
    worker: Worker,
    tables: Arc<Tables>,
    told: Told,
    paged: HashSet<Text>,
    /// Incidents of which something was done, a page, an entry for review or anything else.
    handled: HashSet<Text>,
}

/// What would have been done.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) revocations: Vec<Revocation>,
    /// One an incident.
    pub(crate) pages: Vec<Page>,
    /// Findings by rule.
    pub(crate) detections: HashMap<Text, u64>,
    /// Every finding, told or not.
    pub(crate) seen: Vec<Page>,
    /// Findings that reached somebody: their incident was paged, listed for review, or answered by an action.
    pub(crate) heard: Vec<Page>,
}

pub(crate) struct Revocation {
    /// Milliseconds of event time.
    pub(crate) time: i64,
    pub(crate) family: Text,
    pub(crate) rule: Text,
    pub(crate) summary: Text,
}

#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) time: i64,
    /// The event that completed what was found.
    pub(crate) event_id: Text,
    pub(crate) rule: Text,
    pub(crate) subject: Subject,
    pub(crate) user: Option<Text>,
    pub(crate) family: Option<Text>,
    pub(crate) address: Option<std::net::IpAddr>,
    pub(crate) summary: Text,
}

impl Lane {
    pub(crate) fn new(
        name: &'static str,
        config: &Config,
        rules: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let instead = rules.map(Path::to_owned);
        let rules = parts::rule_set(config, instead.as_ref()).map_err(first)?;
        let (tables, warnings) = parts::tables(config);
        anyhow::ensure!(warnings.is_empty(), "{warnings:?}");
        let engine = parts::engine(config, &rules);
        let policy = parts::policy(config);
        Ok(Self {
            name,
            naive: instead.is_some(),
            worker: Worker::new(engine, policy).assuming_done(),
            tables,
            told: Told::default(),
            paged: HashSet::new(),
            handled: HashSet::new(),
        })
    }

    pub(crate) fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.tables)
    }

    pub(crate) fn take(&mut self, event: &Enriched) {
        let mut output = Output::default();
        self.worker
            .take_enriched(0, Box::new(event.clone()), &mut output);
        self.note(&output);
    }

    pub(crate) fn finish(mut self) -> (&'static str, Told) {
        let mut output = Output::default();
        self.worker.end(0, &mut output);
        self.note(&output);
        (self.name, self.told)
    }

    fn note(&mut self, output: &Output) {
        for detection in &output.detections {
            *self
                .told
                .detections
                .entry(detection.rule.clone())
                .or_default() += 1;
            self.told.seen.push(page(detection));
            if self.naive {
                self.act(detection);
            }
        }
        if self.naive {
            return;
        }
        let by_id: HashMap<&Text, &Detection> =
            output.detections.iter().map(|d| (&d.id, d)).collect();
        let executed = output
            .actions
            .iter()
            .filter(|a| a.decision == Decision::Execute);
        for action in executed {
            let Some(detection) = action.detection_ids.first().and_then(|id| by_id.get(id)) else {
                continue;
            };
            match (action.kind, &action.target.family_id) {
                (ActionKind::RevokeFamily, Some(family)) => {
                    self.told.revocations.push(revocation(detection, family));
                }
                (ActionKind::Notify, _) if self.paged.insert(action.incident_id.clone()) => {
                    self.told.pages.push(page(detection));
                }
                _ => {}
            }
        }
        self.hear(output, &by_id);
    }

    /// What joins an incident that somebody was told of is told with it.
    fn hear(&mut self, output: &Output, by_id: &HashMap<&Text, &Detection>) {
        let executed = output
            .actions
            .iter()
            .filter(|a| a.decision == Decision::Execute);
        self.handled
            .extend(executed.map(|action| action.incident_id.clone()));
        let members = output
            .members
            .iter()
            .filter(|member| self.handled.contains(&member.incident_id));
        let heard = members.filter_map(|member| by_id.get(&member.detection_id));
        self.told
            .heard
            .extend(heard.map(|detection| page(detection)));
    }

    /// What a naive responder does: the family is ended and somebody is paged, once.
    fn act(&mut self, detection: &Detection) {
        let Some(family) = &detection.family_id else {
            return;
        };
        if self.paged.insert(family.clone()) {
            self.told.revocations.push(revocation(detection, family));
            self.told.pages.push(page(detection));
            self.told.heard.push(page(detection));
        }
    }
}

fn revocation(detection: &Detection, family: &Text) -> Revocation {
    Revocation {
        time: detection.time.as_millisecond(),
        family: family.clone(),
        rule: detection.rule.clone(),
        summary: detection.summary.clone(),
    }
}

fn page(detection: &Detection) -> Page {
    Page {
        time: detection.time.as_millisecond(),
        event_id: detection.event_id.clone(),
        rule: detection.rule.clone(),
        subject: detection.subject.clone(),
        user: detection.user_id.clone(),
        family: detection.family_id.clone(),
        address: detection.ip_address,
        summary: detection.summary.clone(),
    }
}
