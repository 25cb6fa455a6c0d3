//! What is judged at once, and what waits until nothing can come any more that excuses it.

use super::*;
use std::time::Duration;

use crate::config::{Client, Clients, Tenants};
use crate::engine::Engine;
use crate::model::{
    ActionKind, Anonymity, Enriched, Event, Input, Network, Outcome, OwnEvent, OwnEventKind,
    Prefix, Reason, Rotation, Severity, Target, Timestamp,
};
use crate::rules::RuleSet;
use crate::rules::kinds::Detect;

/// A presentation of token `t` by a device, in milliseconds.
fn used(ms: i64, device: &str) -> Event {
    let time = Timestamp::from_millisecond(1_795_000_000_000 + ms).unwrap();
    let id = format!("{ms} {device}");
    let mut event = Event::new(id, time, EventType::Refresh, Outcome::Success, "app");
    event.user_id = Some("alice".into());
    event.client_id = Some("web".into());
    event.token_id = Some("t".into());
    event.new_token_id = Some(format!("after {ms}").into());
    event.device_id = Some(device.into());
    event
}

fn issued(ms: i64, device: &str) -> Event {
    let mut event = used(ms, device);
    event.kind = EventType::Issue;
    event.new_token_id = event.token_id.take();
    event
}

/// Somebody else, who only shows that time has passed.
fn elsewhere(ms: i64) -> Event {
    let mut event = issued(ms, "tablet");
    event.user_id = Some("bob".into());
    event.new_token_id = Some("bob's".into());
    event
}

fn input(event: &Event) -> Input {
    let event = Box::new(Enriched {
        event: event.clone(),
        network: None,
        place: None,
        agent: None,
    });
    Input::Event {
        partition: 0,
        event,
        muted: false,
        arrived_at: None,
    }
}

/// What `token-reuse` calls theft while these arrive, one after the other, and nothing since.
fn thefts(events: &[Event]) -> usize {
    thefts_of(&events.iter().map(input).collect::<Vec<_>>())
}

fn thefts_of(inputs: &[Input]) -> usize {
    thefts_found(inputs).len()
}

fn thefts_found(inputs: &[Input]) -> Vec<Detection> {
    let rules = shipped();
    let mut engine = Engine::new(&rules, clients(), limits::LATENESS_DEFAULT);
    of_theft(applied(&mut engine, inputs))
}

fn shipped() -> RuleSet {
    crate::rules::load(&[], &[]).expect("the shipped rules")
}

fn clients() -> Clients {
    let default = Client {
        rotation: Rotation::Enforced,
        ..Client::default()
    };
    Clients {
        default,
        ..Clients::default()
    }
}

fn applied(engine: &mut Engine, inputs: &[Input]) -> Vec<Found> {
    let mut found = Vec::new();
    for input in inputs {
        engine.apply(input, &mut found);
    }
    found
}

fn of_theft(found: Vec<Found>) -> Vec<Detection> {
    let found = found.into_iter().map(|found| found.detection);
    let is_theft = |it: &Detection| &*it.rule == "token-reuse" && it.severity >= Severity::High;
    found.filter(is_theft).collect()
}

#[test]
fn a_stranger_whom_the_server_let_in_is_judged_at_once() {
    let by = |device| {
        [
            issued(0, "laptop"),
            used(10_000, "laptop"),
            used(60_000, device),
        ]
    };
    assert_eq!(thefts(&by("unknown phone")), 1);
    assert_eq!(thefts(&by("laptop")), 0, "a lost answer");
}

#[test]
fn who_is_a_stranger_waits_for_what_may_have_been_before() {
    let owner = [issued(0, "laptop"), used(10_000, "laptop")];
    let stranger = [used(11_000, "unknown phone")];
    let soon = [owner.as_slice(), &stranger].concat();
    assert_eq!(thefts(&soon), 0);
    let later = [soon.as_slice(), &[elsewhere(14_000)]].concat();
    assert_eq!(thefts(&later), 1, "and nothing came");
    // The phone had been used before all this, as is heard last.
    let known = issued(-500, "unknown phone");
    let heard = [soon.as_slice(), &[known, elsewhere(14_000)]].concat();
    assert_eq!(thefts(&heard), 0);
}

/// What we did to the family of token `t`.
fn ours(ms: i64, kind: OwnEventKind) -> Input {
    let event = OwnEvent {
        time: Timestamp::from_millisecond(1_795_000_000_000 + ms).unwrap(),
        kind,
        action_id: "a".into(),
        action: ActionKind::RevokeFamily,
        target: Target {
            issuer: "app".into(),
            tenant: None,
            family_id: Some("t".into()),
            user_id: Some("alice".into()),
            client_id: Some("web".into()),
            session_id: None,
            token_kind: None,
            network: None,
        },
    };
    Input::Own {
        event,
        muted: false,
    }
}

#[test]
fn what_we_ended_in_vain_is_no_excuse_for_ever() {
    let refused = |ms| {
        let mut event = used(ms, "unknown phone");
        event.outcome = Outcome::Failure;
        event.reason = Some(Reason::Reuse);
        event.new_token_id = None;
        input(&event)
    };
    let begun = [issued(0, "laptop"), used(10_000, "laptop")].map(|it| input(&it));
    let attempted = [
        ours(20_000, OwnEventKind::Attempted),
        ours(21_000, OwnEventKind::Parked),
    ];
    let mut goes_on = used(3_600_000, "laptop");
    goes_on.token_id = Some("after 10000".into());
    let later = [refused(7_200_000), input(&elsewhere(7_210_000))];

    let ended = [&begun[..], &attempted, &later].concat();
    assert_eq!(thefts_of(&ended), 0, "aftermath of what we did");
    let in_vain = [&begun[..], &attempted, &[input(&goes_on)], &later].concat();
    assert_eq!(thefts_of(&in_vain), 1);
}

#[test]
fn a_family_that_was_told_of_keeps_its_name_until_the_server_names_it() {
    let with = |token: &str, event: Event| Event {
        token_id: Some(token.into()),
        ..event
    };
    let begun = [issued(0, "laptop"), used(10_000, "laptop")];
    let theft = [used(60_000, "unknown phone")];
    let mut earlier = with("before t", used(-5000, "laptop"));
    earlier.new_token_id = Some("t".into());
    let again = [used(70_000, "laptop"), used(80_000, "unknown tablet")]
        .map(|event| with("after 10000", event));
    let named = again.clone().map(|event| Event {
        family_id: Some("given".into()),
        ..event
    });

    let names = |events: &[&[Event]]| -> Vec<String> {
        let inputs: Vec<Input> = events.concat().iter().map(input).collect();
        let found = thefts_found(&inputs).into_iter();
        found.map(|it| it.family_id.unwrap().to_string()).collect()
    };
    let earlier = &[earlier];
    assert_eq!(names(&[&begun, earlier, &theft, &again]), ["before t"; 2]);
    assert_eq!(names(&[&begun, &theft, earlier, &again]), ["t"; 2]);
    assert_eq!(names(&[&begun, &theft, &named]), ["t", "given"]);
}

/// At home, where the family is.
fn at_home(event: &Event) -> Input {
    let network = Network {
        prefix: Prefix::V4([192, 0, 2]),
        asn: None,
        organisation: None,
        class: None,
        declared: None,
        anonymity: Anonymity::default(),
        internal: false,
    };
    let mut input = input(event);
    if let Input::Event { event, .. } = &mut input {
        event.network = Some(network);
    }
    input
}

/// What waits for a login when the rules are read again waits as long as the new ones say.
#[test]
fn a_longer_wait_holds_for_what_waits_already() {
    let mut refused = used(60_000, "new phone");
    refused.outcome = Outcome::Failure;
    refused.reason = Some(Reason::Reuse);
    let mut login = issued(460_000, "new phone");
    login.new_token_id = Some("n".into());
    let thefts = |inputs: &[Event]| {
        let mut rules = shipped();
        let mut engine = Engine::new(&rules, clients(), limits::LATENESS_DEFAULT);
        let before = [issued(0, "phone"), used(10_000, "phone"), refused.clone()];
        let before: Vec<Input> = before.iter().map(at_home).collect();
        let mut found = applied(&mut engine, &before);
        for rule in &mut rules.rules {
            if let Detect::Reuse(reuse) = &mut Arc::make_mut(rule).detect {
                reuse.new_device_login = Duration::from_mins(10);
            }
        }
        engine.replace_rules(&rules, clients(), Tenants::default());
        let after: Vec<Input> = inputs.iter().map(at_home).collect();
        found.extend(applied(&mut engine, &after));
        of_theft(found).len()
    };
    assert_eq!(thefts(&[elsewhere(600_000)]), 0, "he may still log in");
    assert_eq!(thefts(&[elsewhere(700_000)]), 1, "nobody did");
    assert_eq!(thefts(&[login, elsewhere(700_000)]), 0);
}
