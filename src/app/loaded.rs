//! A configuration with everything that is made of it and can be replaced by a reload, all or nothing.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::key::Keys;
use super::parts;
use crate::actions::{self, Revokers, RuleNote, Surroundings};
use crate::clock;
use crate::config::{Config, Receiver, Shared, SourceKind, TargetLimits};
use crate::decode::Decoder;
use crate::delivery::{Digests, Performers, Routes, TargetKind};
use crate::enrich::Tables;
use crate::metrics::{Known, Names};
use crate::model::{Mode, Text};
use crate::pipeline::Reload;
use crate::rules::RuleSet;
use crate::yaml::{Fault, Place};

pub(super) struct Loaded {
    pub(super) config: Config,
    pub(super) rules: RuleSet,
    pub(super) tables: Arc<Tables>,
    pub(super) forms: HashMap<Text, Arc<dyn Decoder>>,
    pub(super) performers: Arc<Performers>,
}

impl Loaded {
    /// Makes everything, or reports every fault.
    pub(super) fn new(config: Config, keys: &Keys) -> Result<Self, Vec<Fault>> {
        let mut faults = config.require_runnable();
        faults.extend(parts::kafka_faults(&config));
        let rules = parts::rule_set(&config, None)
            .map_err(|more| faults.extend(more))
            .unwrap_or_default();
        faults.extend(config.routes_to_nothing(&parts::rule_labels(&rules)));
        let forms = forms(&config, keys)
            .map_err(|more| faults.extend(more))
            .unwrap_or_default();
        let of_templates = parts::template_faults(&config);
        let is_whole = of_templates.is_empty();
        faults.extend(of_templates);
        let performers = performers(&config, &rules)
            // They would name the same templates, without the places.
            .map_err(|more| faults.extend(more.into_iter().filter(|_| is_whole)))
            .unwrap_or_default();
        if !faults.is_empty() {
            return Err(faults);
        }
        let (tables, warnings) = parts::tables(&config);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(Self {
            config,
            rules,
            tables,
            forms,
            performers: Arc::new(performers),
        })
    }

    pub(super) fn reload(&self) -> Reload {
        Reload {
            rules: self.rules.clone(),
            clients: self.config.clients.clone(),
            limits: self.config.state,
            allowed: parts::allowed(&self.config),
            forms: self.forms.clone(),
            tables: Arc::clone(&self.tables),
        }
    }

    pub(super) fn names(&self) -> Names {
        Names::new(
            self.config.clients.by_id.keys().cloned(),
            self.config.tenants.by_name.keys().cloned(),
        )
    }

    /// The label values that metrics can have.
    pub(super) fn known(&self) -> Known {
        let config = &self.config;
        let webhook =
            |source: &&crate::config::Source| matches!(source.kind, SourceKind::Webhook(_));
        Known {
            sources: config
                .sources
                .iter()
                .map(|source| source.name.clone())
                .collect(),
            webhooks: config
                .sources
                .iter()
                .filter(webhook)
                .map(|source| source.name.clone())
                .collect(),
            rules: self
                .rules
                .rules
                .iter()
                .map(|rule| rule.name.clone())
                .collect(),
            revokers: config.revokers.iter().map(|it| it.name.clone()).collect(),
            receivers: config
                .receivers
                .iter()
                .map(|receiver| receiver.name.clone())
                .collect(),
            parts: super::online::parts(config),
            names: self.names(),
        }
    }
}

fn forms(config: &Config, keys: &Keys) -> Result<HashMap<Text, Arc<dyn Decoder>>, Vec<Fault>> {
    let mut forms = HashMap::new();
    let mut faults = Vec::new();
    for source in &config.sources {
        match parts::decoder(&source.decode, &keys.current, keys.previous.as_ref()) {
            Ok(decoder) => {
                forms.insert(source.name.clone(), decoder);
            }
            Err(why) => faults.push(fault(
                &config.path,
                format!("source {}: {why}", source.name),
            )),
        }
    }
    if faults.is_empty() {
        Ok(forms)
    } else {
        Err(faults)
    }
}

pub(super) fn performers(config: &Config, rules: &RuleSet) -> Result<Performers, Vec<Fault>> {
    let as_faults = |whys: Vec<String>| {
        whys.into_iter()
            .map(|why| fault(&config.path, why))
            .collect::<Vec<_>>()
    };
    let mut faults = Vec::new();
    let revokers = Revokers::new(&config.revokers, clock::now)
        .map_err(|whys| faults.extend(as_faults(whys)))
        .unwrap_or_default();
    let surroundings = Surroundings {
        now: clock::now,
        revokers: revokers.clone(),
    };
    let mut notifiers = Vec::new();
    for receiver in &config.receivers {
        match actions::notifier(receiver, surroundings.clone()) {
            Ok(notifier) => notifiers.push(notifier),
            Err(why) => faults.extend(as_faults(vec![why])),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let note = |rule: &Arc<crate::rules::Rule>| {
        let note = RuleNote {
            rule: rule.name.clone(),
            description: rule.description.clone(),
            runbook: rule.runbook.clone(),
        };
        (rule.name.clone(), note)
    };
    Ok(Performers {
        revokers,
        notifiers,
        routes: Routes::new(&config.routes, &config.receivers, parts::rule_labels(rules)),
        rules: rules.rules.iter().map(note).collect(),
        act_within: config.response.act_within,
        budget: config.response.budget,
        never_act_on: config.response.never_act_on.clone(),
        shared: Shared::of(&config.networks),
        performs_nothing: config.mode < Mode::Enforce,
        digests: digests(config),
        limits: limits(config),
    })
}

fn limits(config: &Config) -> BTreeMap<(TargetKind, Text), TargetLimits> {
    let revokers = config.revokers.iter();
    let revokers = revokers.map(|it| ((TargetKind::Revoker, it.name.clone()), it.limits));
    let receivers = config.receivers.iter();
    let receivers = receivers.map(|it| ((TargetKind::Receiver, it.name.clone()), it.limits));
    revokers.chain(receivers).collect()
}

fn digests(config: &Config) -> Digests {
    let digest = |receiver: &Receiver| Some((receiver.name.clone(), receiver.digest_at?));
    Digests {
        mode: config.mode,
        receivers: config.receivers.iter().filter_map(digest).collect(),
    }
}

fn fault(path: &Path, why: String) -> Fault {
    Place::start_of(path).fault(why)
}
