//! One world, delivered in many ways to the engine.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tokenwarden::config::{Client, Clients, Response, Rotation, Tenants};
use tokenwarden::engine::{Engine, Found};
use tokenwarden::model::{ActionKind, Decision, Input, Mode, Output, Target, Timestamp, Value};
use tokenwarden::respond::{Allowed, Policy};
use tokenwarden::rules::{self, RuleSet};
use tokenwarden::simulate::Random;

use super::world::{Happening, World};

/// Rows of real servers stand up to so much out of order.
const LATENESS: Duration = Duration::from_mins(2);

pub(crate) fn rules() -> RuleSet {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    rules::load(&[folder], &[]).expect("the shipped rules")
}

pub(crate) fn clients() -> Clients {
    let client = |rotation| Client {
        rotation,
        ..Client::default()
    };
    Clients {
        default: client(Rotation::Enforced),
        by_id: [("lax".into(), client(Rotation::Unknown))]
            .into_iter()
            .collect(),
    }
}

pub(crate) fn engine(rules: &RuleSet) -> Engine {
    Engine::new(rules, clients(), LATENESS)
}

/// What is delivered, in order of arrival.
pub(crate) type Delivery = Vec<Input>;

fn event(partition: u32, happening: &Happening) -> Input {
    Input::Event {
        partition,
        event: Box::new(happening.event.clone()),
        muted: false,
        arrived_at: Some(happening.event.event.time),
    }
}

fn tick(partition: u32, time: i64) -> Input {
    Input::Tick {
        partition,
        time: Timestamp::from_millisecond(time).expect("a time"),
    }
}

/// One partition, in order of event time.
pub(crate) fn in_order(world: &World) -> Delivery {
    let mut delivery: Delivery = world.events.iter().map(|h| event(0, h)).collect();
    delivery.push(Input::Ended { partition: 0 });
    delivery
}

/// Two partitions, each a little out of order, interleaved at random, with ticks and repeats.
pub(crate) fn shuffled(world: &World, random: &mut Random) -> Delivery {
    let mut queues: [Vec<&Happening>; 2] = [Vec::new(), Vec::new()];
    for happening in &world.events {
        queues[random.below(2) as usize].push(happening);
    }
    for queue in &mut queues {
        let mut jittered: Vec<(i64, &Happening)> = queue
            .iter()
            .map(|h| (h.time() + i64::from(random.below(200)), *h))
            .collect();
        jittered.sort_by_key(|(arrival, _)| *arrival);
        *queue = jittered.into_iter().rev().map(|(_, h)| h).collect();
    }
    let start = world.events.first().map_or(0, Happening::time) - 1000;
    let mut delivery = vec![tick(0, start), tick(1, start)];
    while queues.iter().any(|q| !q.is_empty()) {
        let turn = random.below(2) as usize;
        let partition = u32::try_from(turn).expect("two partitions");
        // A tick promises that nothing older is waiting, but for the disorder of rows.
        let oldest = queues[turn].iter().map(|h| h.time()).min();
        if let Some(oldest) = oldest.filter(|_| random.below(4) == 0) {
            delivery.push(tick(partition, oldest - 1));
        }
        match queues[turn].pop() {
            Some(happening) => delivery.push(event(partition, happening)),
            None => delivery.push(Input::Ended { partition }),
        }
        if random.below(10) == 0 {
            let again =
                &delivery[random.below(u32::try_from(delivery.len()).expect("a few")) as usize];
            if matches!(again, Input::Event { .. }) {
                let again = again.clone();
                delivery.push(again);
            }
        }
    }
    delivery.extend([0, 1].map(|partition| Input::Ended { partition }));
    delivery
}

pub(crate) fn run(engine: &mut Engine, delivery: &[Input]) -> Vec<Found> {
    let mut found = Vec::new();
    for input in delivery {
        engine.apply(input, &mut found);
    }
    found
}

/// The same, dying after every few inputs and going on from a snapshot.
pub(crate) fn run_with_restarts(
    rules: &RuleSet,
    delivery: &[Input],
    random: &mut Random,
) -> Vec<Found> {
    let mut found = Vec::new();
    let mut current = engine(rules);
    let mut rest = delivery;
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(rest.len().min(1 + random.below(6) as usize));
        rest = after;
        for input in batch {
            current.apply(input, &mut found);
        }
        let snapshot = current.snapshot();
        current = engine(rules);
        assert!(current.restore(&snapshot), "a snapshot of this version");
    }
    found
}

/// Engine and policy together, as `replay` runs them: what is decided counts as done. Gives whom it revokes, and how often
/// it tells a person; dies after every few inputs when `random` is given.
pub(crate) fn decide(
    rules: &RuleSet,
    delivery: &[Input],
    mut random: Option<&mut Random>,
) -> BTreeSet<String> {
    let mut engine = engine(rules);
    let mut policy = policy();
    let mut done = BTreeSet::new();
    for input in delivery {
        let mut found = Vec::new();
        engine.apply(input, &mut found);
        for found in found {
            let mut output = Output::default();
            policy.decide(found, &mut output);
            for action in output.actions {
                if action.decision == Decision::Execute && action.kind == ActionKind::RevokeFamily {
                    engine.assume_done(action.kind, &action.target, action.event_time);
                    done.insert(format!("{} {}", action.kind, family_of(&action.target)));
                }
                if action.kind == ActionKind::Notify {
                    done.insert(format!("notify about {:?}", action.target.user_id));
                }
            }
        }
        if random.as_mut().is_some_and(|r| r.below(4) == 0) {
            let (of_engine, of_policy) = (engine.snapshot(), policy.snapshot());
            engine = self::engine(rules);
            policy = self::policy();
            assert!(engine.restore(&of_engine) && policy.restore(&of_policy));
        }
    }
    done
}

fn policy() -> Policy {
    Policy::new(Allowed {
        mode: Mode::Enforce,
        clients: clients(),
        tenants: Tenants::default(),
        response: Response::default(),
        shared: tokenwarden::config::Shared::default(),
        performed: tokenwarden::config::KEYCLOAK_ACTIONS.to_vec(),
    })
}

/// The world's number of a family, whatever name it goes by.
fn family_of(target: &Target) -> String {
    let name = target.family_id.as_deref().unwrap_or_default();
    let name = name.trim_start_matches("family ").trim_start_matches('f');
    name.split('t').next().unwrap_or_default().to_owned()
}

/// What was said, without its order: rule, token, verdict or level, user and id. The name of a family that no server
/// names is left out: it is that of the earliest token known at the time.
pub(crate) fn said(found: &[Found]) -> BTreeSet<String> {
    let line = |f: &Found| {
        let part = |name: &str| match f.detection.evidence.0.iter().find(|(n, _)| &**n == name) {
            Some((_, Value::Text(text))) => text.to_string(),
            _ => String::new(),
        };
        let d = &f.detection;
        format!(
            "{} {}{} {} revokes={} {:?} {}",
            d.rule,
            part("verdict"),
            part("level"),
            part("presented_token"),
            f.may_revoke,
            d.user_id,
            d.id
        )
    };
    found.iter().map(line).collect()
}
