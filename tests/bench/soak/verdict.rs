//! What the population's events give offline, and what of it the daemon has missed.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::anyhow;
use serde_json::Value;
use tokenwarden::app::parts;
use tokenwarden::config::Config;
use tokenwarden::enrich::Enricher;
use tokenwarden::model::{Output, Severity, Timestamp};
use tokenwarden::pipeline::Worker;
use tokenwarden::simulate::population::{FamilyTruth, Population, Settings};

use super::crowd::Told;
use crate::table::line;

/// The thefts among the events that were written, and what the shipped rules say of these events, one after the other.
pub(super) struct Truth {
    thefts: Vec<FamilyTruth>,
    critical: Vec<Critical>,
}

/// What would have revoked.
struct Critical {
    id: String,
    user: Option<String>,
    family: Option<String>,
    time: Timestamp,
}

impl Truth {
    /// Lives the same population again, up to as many events and without those that were left out.
    pub(super) fn of(settings: &Settings, told: &Told, world: &Path) -> anyhow::Result<Self> {
        let config = Config::load(&world.join("tokenwarden.yaml"))
            .map_err(|faults| anyhow!("{faults:?}"))?;
        let rules = parts::rule_set(&config, None).map_err(|faults| anyhow!("{faults:?}"))?;
        let engine = parts::engine(&config, &rules);
        let mut enricher = Enricher::new(parts::tables(&config).0);
        let mut worker = Worker::new(engine, parts::policy(&config)).assuming_done();
        let mut population = Population::new(settings.clone());
        let mut critical = Vec::new();
        let mut take = |output: Output| {
            let grave = output.detections.iter();
            let grave = grave.filter(|it| it.severity == Severity::Critical);
            critical.extend(grave.map(|it| Critical {
                id: it.id.to_string(),
                user: it.user_id.as_ref().map(ToString::to_string),
                family: it.family_id.as_ref().map(ToString::to_string),
                time: it.time,
            }));
        };
        let all = population.by_ref().take(told.events).enumerate();
        for (_, moment) in all.filter(|(at, _)| !told.left_out.contains(at)) {
            let mut output = Output::default();
            let event = Box::new(enricher.enrich(moment.event));
            worker.take_enriched(0, event, &mut output);
            take(output);
        }
        let mut output = Output::default();
        worker.end(0, &mut output);
        take(output);
        let thefts = population.truth().thefts().cloned().collect();
        Ok(Self { thefts, critical })
    }

    /// Thefts used since the daemon ran, and what became of them. Returns how many only the daemon has missed.
    pub(super) fn print(&self, found: &[Value], since: Timestamp) -> anyhow::Result<usize> {
        let live: Vec<Critical> = found.iter().filter_map(critical).collect();
        let used = |theft: &&FamilyTruth| theft.first_stranger.is_some_and(|at| at >= since);
        let thefts: Vec<&FamilyTruth> = self.thefts.iter().filter(used).collect();
        let offline: Vec<&&FamilyTruth> = thefts
            .iter()
            .filter(|theft| is_found(theft, &self.critical))
            .collect();
        let missed: Vec<&&&FamilyTruth> = offline
            .iter()
            .filter(|theft| !is_found(theft, &live))
            .collect();
        line(&format!(
            "thefts: {} used while it ran, {} found offline over the same events, {} of these missed by the daemon",
            thefts.len(),
            offline.len(),
            missed.len()
        ))?;
        for theft in &missed {
            line(&format!("  missed: {theft:?}"))?;
        }
        let ids = |all: &[Critical]| -> BTreeSet<String> {
            let new = all.iter().filter(|it| it.time >= since);
            new.map(|it| it.id.clone()).collect()
        };
        let (offline, live) = (ids(&self.critical), ids(&live));
        line(&format!(
            "critical findings by id: {} offline, {} of these not by the daemon",
            offline.len(),
            offline.difference(&live).count()
        ))?;
        Ok(missed.len())
    }
}

fn is_found(theft: &FamilyTruth, critical: &[Critical]) -> bool {
    critical.iter().any(|it| {
        let is_theirs = it.user.as_deref() == Some(&*theft.user_id)
            || it.family.as_deref() == Some(&*theft.family_id);
        is_theirs && theft.first_stranger.is_some_and(|at| it.time >= at)
    })
}

/// Of a detection as the API tells it.
fn critical(detection: &Value) -> Option<Critical> {
    let text = |name: &str| detection[name].as_str().map(ToOwned::to_owned);
    (detection["severity"] == "critical").then(|| {
        Some(Critical {
            id: text("id")?,
            user: text("user_id"),
            family: text("family_id"),
            time: text("time")?.parse().ok()?,
        })
    })?
}
