//! Last stage: what follows from findings themselves: storms of a client, and the composite risk of a family or user.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::compiled::Compiled;
use super::found::{Found, Whose, stable_id};
use super::key::{Key, Scope};
use super::rate::release;
use super::state::State;
use super::table::Aged;
use crate::model::{Detection, Subject};
use crate::rules::kinds::composite::{By, Composite, Signal, Signals};
use crate::rules::kinds::storm::{Reuse, Reuses, Storm};
use crate::rules::{Class, Finding, Rule, Trace};

/// What has been found about one family or user.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Risk {
    pub(super) signals: Signals,
    released: Vec<u64>,
    last_seen: i64,
}

/// Reuses found at one client.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct ClientReuses {
    pub(super) reuses: Reuses,
    released: Vec<u64>,
    last_seen: i64,
}

impl Aged for Risk {
    fn last_seen(&self) -> i64 {
        self.last_seen
    }
}

impl Aged for ClientReuses {
    fn last_seen(&self) -> i64 {
        self.last_seen
    }
}

/// Passes what was found, from `start` on, to the rules that read findings; what these find comes behind it.
pub(super) fn follow(state: &mut State, compiled: &Compiled, start: usize, out: &mut Vec<Found>) {
    for i in start..out.len() {
        let found = out[i].clone();
        let client_id = found.detection.client_id.as_deref();
        let tenant = found.detection.tenant.as_deref();
        let plan = compiled.plan(client_id, tenant);
        for (planned, storm) in plan.storms() {
            if storm.inputs.contains(&found.rule.name) {
                add_reuse(state, compiled, (&planned.rule, storm), &found, out);
            }
        }
        for (planned, composite) in plan.risks() {
            if composite.inputs.contains(&found.rule.name) {
                add_signal(state, compiled, (&planned.rule, composite), &found, out);
            }
        }
    }
}

/// Where the reuses of a client are remembered, for one rule.
pub(super) fn reuses_key(rule: &Rule, scope: Scope, client: &str) -> u64 {
    scope.rule(Key::new(&rule.name)).with(client).hash()
}

/// Where the facts about a family or user are remembered, for one rule.
pub(super) fn risk_key(rule: &Rule, scope: Scope, subject: &Subject) -> u64 {
    let (kind, id) = subject.parts();
    let key = scope.rule(Key::new(&rule.name));
    key.with(kind).with(id).hash()
}

fn add_reuse(
    state: &mut State,
    compiled: &Compiled,
    (rule, storm): (&Arc<Rule>, &Storm),
    found: &Found,
    out: &mut Vec<Found>,
) {
    let detection = &found.detection;
    let (Some(client), Some(family)) = (&detection.client_id, &detection.family_id) else {
        return;
    };
    let time = detection.time.as_millisecond();
    let key = reuses_key(rule, scope(detection), client);
    let record = state.reuses.get_or_insert_with(key, ClientReuses::default);
    record.last_seen = record.last_seen.max(time);
    record.reuses.add(Reuse {
        time,
        event_id: detection.event_id.clone(),
        family: family.clone(),
        foreign: found.foreign_network.is_some(),
    });
    let findings = storm.judge((&record.reuses, client), time, &mut Trace::off());
    let whose = || Whose {
        subject: Subject::Client(client.clone()),
        issuer: &detection.issuer,
        tenant: detection.tenant.as_ref(),
        user_id: None,
        client_id: Some(client),
        family_id: None,
        session_id: None,
        token_kind: None,
    };
    let released = &mut record.released;
    push(compiled, rule, findings, (released, found.late), whose, out);
}

fn add_signal(
    state: &mut State,
    compiled: &Compiled,
    (rule, composite): (&Arc<Rule>, &Composite),
    found: &Found,
    out: &mut Vec<Found>,
) {
    let detection = &found.detection;
    let weight = found.rule.risk * found.confidence;
    let subject = match composite.by {
        By::Family => detection.family_id.clone().map(Subject::Family),
        By::User => detection.user_id.clone().map(Subject::User),
    };
    // What may end a family acts by itself.
    let Some(subject) = subject.filter(|_| weight > 0.0 && !found.may_revoke) else {
        return;
    };
    let time = detection.time.as_millisecond();
    let key = risk_key(rule, scope(detection), &subject);
    let record = state.risks.get_or_insert_with(key, Box::default);
    record.last_seen = record.last_seen.max(time);
    let is_new = record.signals.add(Signal {
        time,
        detection_id: detection.id.clone(),
        event_id: detection.event_id.clone(),
        rule: found.rule.name.clone(),
        classes: positions(&found.rule.classes),
        weight,
        ip_address: detection.ip_address,
    });
    if !is_new {
        return;
    }
    let findings = composite.judge(&record.signals, time, &mut Trace::off());
    let of_family = composite.by == By::Family;
    let whose = || Whose {
        subject: subject.clone(),
        issuer: &detection.issuer,
        tenant: detection.tenant.as_ref(),
        user_id: detection.user_id.as_ref(),
        client_id: detection.client_id.as_ref(),
        family_id: detection.family_id.as_ref().filter(|_| of_family),
        session_id: detection.session_id.as_ref().filter(|_| of_family),
        token_kind: detection.token_kind.filter(|_| of_family),
    };
    let released = &mut record.released;
    push(compiled, rule, findings, (released, found.late), whose, out);
}

fn push<'a>(
    compiled: &Compiled,
    rule: &Arc<Rule>,
    findings: Vec<Finding>,
    (released, late): (&mut Vec<u64>, bool),
    whose: impl Fn() -> Whose<'a>,
    out: &mut Vec<Found>,
) {
    for finding in findings {
        let whose = whose();
        if !compiled.applies(&rule.name, whose.client_id.map(|id| &**id)) {
            continue;
        }
        let tenant = whose.tenant.map_or("", |tenant| &**tenant);
        let (kind, subject) = whose.subject.parts();
        let about = finding.about.iter().map(String::as_str);
        let parts: Vec<&str> = [&*rule.name, whose.issuer, tenant, kind, subject]
            .into_iter()
            .chain(about)
            .collect();
        let id = stable_id(&parts);
        if release(released, &id) {
            out.push(Found::new(rule, id, whose, finding, late));
        }
    }
}

fn scope(detection: &Detection) -> Scope {
    Scope::new(&detection.issuer, detection.tenant.as_deref())
}

/// Positions in `Class::ALL`, as signals remember them.
fn positions(classes: &[Class]) -> Vec<u8> {
    let position = |class: &Class| Class::ALL.iter().position(|c| c == class);
    let positions = classes.iter().filter_map(position);
    positions.filter_map(|at| u8::try_from(at).ok()).collect()
}
