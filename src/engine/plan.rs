//! The rules as they are for one client in one tenant, laid out for the questions that every event asks.
//!
//! Which variant of a rule applies, how long its questions wait, and which generic conditions an event of a certain type
//! can fulfil at all never change between two reloads: they are worked out once, when the first such event comes. Found by
//! counting instructions (`valgrind --tool=callgrind` on `throughput rules`): asking it anew cost half of an event.

use std::sync::Arc;

use super::key::Key;
use crate::model::{EventType, Mode, Outcome};
use crate::rules::Rule;
use crate::rules::case::{ClientFacts, FamilyKind, KeyedKind, UserKind};
use crate::rules::expr::Expression;
use crate::rules::fields::Facts;
use crate::rules::kinds::Stage;
use crate::rules::kinds::composite::Composite;
use crate::rules::kinds::storm::Storm;
use crate::rules::kinds::velocity::Velocity;

/// Every rule that is on, by the stage that asks it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// What the configuration says of the client.
    pub(super) client: ClientFacts,
    /// The same, for conditions.
    pub(super) of_client: Facts,
    families: Vec<Planned>,
    users: Vec<Planned>,
    rates: Vec<Planned>,
    storms: Vec<Planned>,
    risks: Vec<Planned>,
    keyed: Vec<Planned>,
    /// By type and outcome of an event: the conditions that it may fulfil, without what type, outcome and client decide.
    steps: Vec<Vec<Step>>,
}

/// A rule with what is asked of it again and again.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) rule: Arc<Rule>,
    /// The hash of its name.
    pub(super) key: Key,
    /// Settling times in milliseconds of the rule and all its variants: which client a family belongs to may show only
    /// while a question waits, and must not change when it is asked.
    pub(super) settles: Arc<[i64]>,
    /// The client is not exempt from it.
    pub(super) applies: bool,
}

/// One condition of a generic rule.
#[derive(Debug, Clone)]
struct Step {
    /// Among the generic rules.
    rule: usize,
    number: usize,
    /// What type, outcome and client leave open of it.
    condition: Expression,
    waits: bool,
}

/// A condition that an event may fulfil.
pub(super) struct Asked<'a> {
    pub(super) rule: &'a Arc<Rule>,
    /// The beginning of the keys under which it remembers.
    pub(super) key: Key,
    pub(super) kind: &'a dyn KeyedKind,
    pub(super) step: usize,
    pub(super) condition: &'a Expression,
    /// It hangs on facts that may still come.
    pub(super) waits: bool,
}

impl Plan {
    pub(super) fn new(
        rules: impl Iterator<Item = Planned>,
        client: ClientFacts,
        of_client: Facts,
    ) -> Self {
        let mut plan = Self {
            client,
            of_client,
            families: Vec::new(),
            users: Vec::new(),
            rates: Vec::new(),
            storms: Vec::new(),
            risks: Vec::new(),
            keyed: Vec::new(),
            steps: Vec::new(),
        };
        for planned in rules.filter(|planned| planned.rule.mode != Mode::Off) {
            let stage = match planned.rule.detect.stage() {
                Stage::Family(_) => &mut plan.families,
                Stage::User(_) => &mut plan.users,
                Stage::Rate(_) => &mut plan.rates,
                Stage::Keyed(_) => &mut plan.keyed,
                Stage::Storm(_) => &mut plan.storms,
                Stage::Risk(_) => &mut plan.risks,
            };
            stage.push(planned);
        }
        let outcomes = |kind| Outcome::ALL.iter().map(move |outcome| (kind, *outcome));
        let shapes = EventType::ALL.iter().flat_map(|kind| outcomes(*kind));
        plan.steps = shapes
            .map(|(kind, outcome)| plan.steps_of(kind, outcome))
            .collect();
        plan
    }

    /// The rules that judge families.
    pub(super) fn families(&self) -> impl Iterator<Item = (&Planned, &dyn FamilyKind)> {
        self.families.iter().filter_map(|planned| {
            let Stage::Family(kind) = planned.rule.detect.stage() else {
                return None;
            };
            Some((planned, kind))
        })
    }

    /// The rules that judge users.
    pub(super) fn users(&self) -> impl Iterator<Item = (&Planned, &dyn UserKind)> {
        self.users.iter().filter_map(|planned| {
            let Stage::User(kind) = planned.rule.detect.stage() else {
                return None;
            };
            Some((planned, kind))
        })
    }

    /// The rules that count refreshes.
    pub(super) fn rates(&self) -> impl Iterator<Item = (&Planned, &Velocity)> {
        self.rates.iter().filter_map(|planned| {
            let Stage::Rate(kind) = planned.rule.detect.stage() else {
                return None;
            };
            Some((planned, kind))
        })
    }

    /// The rules that count reuses.
    pub(super) fn storms(&self) -> impl Iterator<Item = (&Planned, &Storm)> {
        self.storms.iter().filter_map(|planned| {
            let Stage::Storm(kind) = planned.rule.detect.stage() else {
                return None;
            };
            Some((planned, kind))
        })
    }

    /// The rules that put findings together.
    pub(super) fn risks(&self) -> impl Iterator<Item = (&Planned, &Composite)> {
        self.risks.iter().filter_map(|planned| {
            let Stage::Risk(kind) = planned.rule.detect.stage() else {
                return None;
            };
            Some((planned, kind))
        })
    }

    /// The conditions of generic rules that an event of this type and outcome may fulfil, in the order of the rules.
    pub(super) fn keyed(
        &self,
        kind: EventType,
        outcome: Outcome,
    ) -> impl Iterator<Item = Asked<'_>> {
        let steps = self.steps.get(shape(kind, outcome));
        steps.into_iter().flatten().filter_map(|step| {
            let Planned { rule, key, .. } = self.keyed.get(step.rule)?;
            let Stage::Keyed(kind) = rule.detect.stage() else {
                return None;
            };
            Some(Asked {
                rule,
                key: *key,
                kind,
                step: step.number,
                condition: &step.condition,
                waits: step.waits,
            })
        })
    }

    fn steps_of(&self, event: EventType, outcome: Outcome) -> Vec<Step> {
        let mut all = Vec::new();
        for (at, planned) in self.keyed.iter().enumerate().filter(|(_, p)| p.applies) {
            let Stage::Keyed(kind) = planned.rule.detect.stage() else {
                continue;
            };
            let conditions = (0..).map_while(|number| Some((number, kind.condition(number)?)));
            all.extend(conditions.filter_map(|(number, condition)| {
                Some(Step {
                    rule: at,
                    number,
                    condition: condition.given(event, outcome, &self.of_client)?,
                    waits: kind.waits(number),
                })
            }));
        }
        all
    }
}

fn shape(kind: EventType, outcome: Outcome) -> usize {
    kind as usize * Outcome::ALL.len() + outcome as usize
}
