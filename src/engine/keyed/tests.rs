//! What the generic stage takes, puts aside and remembers.

use std::path::Path;

use super::*;
use crate::config::Clients;
use crate::engine::{Engine, Outcome};
use crate::model::{Event, EventType, Input, Reason, Timestamp};
use crate::rules::{RuleSet, parse};

const RULES: &str = r#"
version: 1
rules:
  - name: guesses
    description: d
    severity: low
    detect:
      distinct:
        when: 'event.outcome == "failure" && !facts.token_known'
        by: event.client_id
        count: event.token_id
        within: 1m
        over: 3
  - name: then
    description: d
    severity: low
    detect:
      sequence:
        by: event.client_id
        within: 1m
        steps:
          - { when: 'event.outcome == "failure"', distinct: event.token_id, at_least: 3 }
          - { when: 'event.outcome == "success" && event.type == "refresh"' }
  - name: ratio
    description: d
    severity: low
    detect:
      threshold: { when: '10 / event.generation == 5', by: event.client_id, within: 1m, over: 0 }
"#;

fn rules() -> RuleSet {
    parse(&[(Path::new("t.yaml"), RULES)], &[]).expect("rules")
}

fn engine() -> Engine {
    Engine::new(&rules(), Clients::default(), limits::LATENESS_DEFAULT)
}

fn event(ms: i64, kind: EventType, reason: Option<Reason>, token: &str) -> Enriched {
    let time = Timestamp::from_millisecond(1_795_000_000_000 + ms).unwrap();
    let outcome = match reason {
        Some(_) => crate::model::Outcome::Failure,
        None => crate::model::Outcome::Success,
    };
    let mut event = Event::new(format!("{token}@{ms}"), time, kind, outcome, "app");
    event.reason = reason;
    event.client_id = Some("web".into());
    match kind {
        EventType::Issue => event.new_token_id = Some(token.into()),
        _ => event.token_id = Some(token.into()),
    }
    Enriched {
        event,
        network: None,
        place: None,
        agent: None,
    }
}

fn guess(ms: i64, token: &str) -> Enriched {
    event(ms, EventType::Refresh, Some(Reason::UnknownToken), token)
}

fn give(engine: &mut Engine, event: &Enriched, found: &mut Vec<Found>) {
    let input = Input::Event {
        partition: 0,
        event: Box::new(event.clone()),
        muted: false,
        arrived_at: None,
    };
    engine.apply(&input, found);
}

/// Rule and id of all that is found, sorted.
fn found(engine: &mut Engine, events: &[Enriched]) -> Vec<(Text, Text)> {
    let mut found = Vec::new();
    for event in events {
        give(engine, event, &mut found);
    }
    engine.apply(&Input::Ended { partition: 0 }, &mut found);
    let mut ids: Vec<(Text, Text)> = found
        .iter()
        .map(|f| (f.rule.name.clone(), f.detection.id.clone()))
        .collect();
    ids.sort_unstable();
    ids
}

fn attack() -> Vec<Enriched> {
    let mut events: Vec<Enriched> = (0..12)
        .map(|n| guess(n * 7000, &format!("g{}", n % 9)))
        .collect();
    events.push(event(90_000, EventType::Refresh, None, "t"));
    events
}

#[test]
fn the_order_of_arrival_within_the_lateness_does_not_matter() {
    let events = attack();
    let forwards = found(&mut engine(), &events);
    let names: Vec<&str> = forwards.iter().map(|(rule, _)| &**rule).collect();
    assert_eq!(names, ["guesses", "then"]);
    for step in [1, 3, 5, 7, 11] {
        let shuffled: Vec<Enriched> = (0..events.len())
            .map(|n| events[(n * step + step) % events.len()].clone())
            .collect();
        assert_eq!(found(&mut engine(), &shuffled), forwards, "{step}");
    }
    let backwards: Vec<Enriched> = events.into_iter().rev().collect();
    assert_eq!(found(&mut engine(), &backwards), forwards);
}

#[test]
fn a_snapshot_in_between_changes_nothing() {
    let events = attack();
    let whole = found(&mut engine(), &events);
    for cut in 0..events.len() {
        let mut before = engine();
        let mut out = Vec::new();
        for event in &events[..cut] {
            give(&mut before, event, &mut out);
        }
        let mut after = engine();
        assert!(after.restore(&before.snapshot()));
        let mut ids = found(&mut after, &events[cut..]);
        ids.extend(
            out.iter()
                .map(|f| (f.rule.name.clone(), f.detection.id.clone())),
        );
        ids.sort_unstable();
        assert_eq!(ids, whole, "{cut}");
    }
}

#[test]
fn a_token_that_turns_out_to_be_known_within_the_settling_time_is_no_guess() {
    let with_issue_after = |ms: i64| {
        let mut events: Vec<Enriched> = (0..4).map(|n| guess(n * 1000, &format!("g{n}"))).collect();
        // Time passes by whatever event.
        events.push(event(2999 + ms, EventType::Login, None, "other"));
        events.push(event(3000 + ms, EventType::Issue, None, "g3"));
        found(&mut engine(), &events)
    };
    assert_eq!(with_issue_after(200), []);
    assert_eq!(with_issue_after(2500).len(), 1);
}

#[test]
fn a_condition_without_an_answer_is_counted_and_stops_nothing_else() {
    let mut engine = engine();
    let mut none = event(0, EventType::Refresh, None, "t0");
    none.event.generation = Some(0);
    let mut two = event(1000, EventType::Refresh, None, "t1");
    two.event.generation = Some(2);
    let fired = found(&mut engine, &[none.clone(), two]);
    assert_eq!(fired.len(), 1, "{fired:?}");
    let errors: Vec<(&str, u64)> = engine.rule_errors().map(|(rule, n)| (&**rule, n)).collect();
    assert_eq!(errors, [("ratio", 1)]);
    let explained = engine.explain(&rules(), &none);
    let why = explained
        .iter()
        .find(|e| &*e.rule.name == "ratio")
        .map(|e| &e.outcome);
    assert!(matches!(why, Some(Outcome::Unasked(why)) if why.contains("no answer")));
}

#[test]
fn an_explanation_tells_the_count_and_the_limit() {
    let mut engine = engine();
    let events: Vec<Enriched> = (0..3).map(|n| guess(n * 1000, &format!("g{n}"))).collect();
    assert_eq!(found(&mut engine, &events), []);
    let explained = engine.explain(&rules(), &events[2]);
    let guesses = explained
        .iter()
        .find(|e| &*e.rule.name == "guesses")
        .unwrap();
    assert!(matches!(guesses.outcome, Outcome::Silent));
    let values = format!("{:?}", guesses.notes.last().unwrap().values);
    assert!(
        values.contains("count") && values.contains("limit"),
        "{values}"
    );
}

#[test]
fn who_is_forgotten_goes_out_of_what_was_completed_and_others_stay() {
    let mut engine = engine();
    let mut found = Vec::new();
    give(&mut engine, &guess(0, "g0"), &mut found);
    for (ms, user) in [(1000, "alice@example.com"), (2000, "bob@example.com")] {
        let mut last = event(ms, EventType::Refresh, None, user.get(..3).unwrap());
        last.event.user_id = Some(user.into());
        give(&mut engine, &last, &mut found);
    }
    let in_hits = |engine: &Engine, user: &str| {
        let all: Vec<&Box<Keyed>> = engine.state.keyed.iter().map(|(_, keyed)| keyed).collect();
        let bytes = postcard::to_allocvec(&all).unwrap();
        bytes
            .windows(user.len())
            .any(|part| part == user.as_bytes())
    };
    assert!(in_hits(&engine, "alice@example.com") && in_hits(&engine, "bob@example.com"));
    engine.forget("alice@example.com");
    assert!(!in_hits(&engine, "alice@example.com"));
    assert!(in_hits(&engine, "bob@example.com"));
}
