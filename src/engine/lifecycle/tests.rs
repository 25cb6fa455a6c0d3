//! However events arrive within the lateness, the same families are found for the same reason.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::{Client, Clients, Rotation, Tenant, Tenants};
use crate::engine::Engine;
use crate::model::{
    Agent, DeviceClass, Enriched, Event, EventType, Initiator, Input, Network, Outcome, Prefix,
    Reason, Severity, Text, Timestamp,
};

const START_S: i64 = 1_795_000_000;
const DAY_S: i64 = 24 * 3600;
const LATENESS: Duration = Duration::from_mins(2);

/// SplitMix64, from a seed: this floor may not use the simulator's.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(bound)).unwrap()
    }
}

/// What one finding says, without which event completed it: rule, session, severity, and whether it may revoke.
type Said = BTreeSet<(Text, Option<Text>, Severity, bool)>;

fn engine() -> Engine {
    let rules = crate::rules::load(&[], &[]).expect("the shipped rules");
    let clients = Clients {
        default: Client {
            rotation: Rotation::Enforced,
            refresh_token_lifetime: Some(Duration::from_hours(50 * 24)),
            ..Client::default()
        },
        ..Clients::default()
    };
    let tenants = Tenants {
        default: Tenant {
            credential_change_revokes: true,
            ..Tenant::default()
        },
        ..Tenants::default()
    };
    Engine::new(&rules, clients, LATENESS).with_tenants(tenants)
}

/// Somebody's event, so many seconds after the start.
fn event(second: i64, kind: EventType, change: impl FnOnce(&mut Event)) -> Event {
    let time = Timestamp::from_second(START_S + second).unwrap();
    let mut event = Event::new(
        format!("{second}-{kind}"),
        time,
        kind,
        Outcome::Success,
        "app",
    );
    event.user_id = Some("alice".into());
    event.client_id = Some("web".into());
    event.session_id = Some("s1".into());
    change(&mut event);
    event
}

fn refresh(second: i64, token: &'static str, issued: &'static str) -> Event {
    event(second, EventType::Refresh, |event| {
        event.token_id = Some(token.into());
        event.new_token_id = Some(issued.into());
    })
}

fn refused(second: i64, token: &'static str) -> Event {
    event(second, EventType::Refresh, |event| {
        event.outcome = Outcome::Failure;
        event.reason = Some(Reason::SessionEnded);
        event.token_id = Some(token.into());
        event.user_agent = Some("stranger".into());
    })
}

fn issue(second: i64, token: &'static str) -> Event {
    event(second, EventType::Issue, |event| {
        event.new_token_id = Some(token.into());
    })
}

fn admin(second: i64, kind: EventType) -> Event {
    event(second, kind, |event| {
        event.initiator = Some(Initiator::Admin);
        (event.client_id, event.session_id) = (None, None);
    })
}

/// The user agent stands in for enrichment: a stranger is another kind of client in another network.
fn enriched(event: &Event) -> Enriched {
    let stranger = event.user_agent.is_some();
    let agent = Agent {
        os_family: "Linux".into(),
        device: DeviceClass::Desktop,
        client_app: if stranger { "curl" } else { "Firefox" }.into(),
        automation: stranger,
    };
    Enriched {
        event: event.clone(),
        network: Some(Network {
            prefix: Prefix::V4([192, 0, if stranger { 9 } else { 2 }]),
            asn: None,
            organisation: None,
            class: None,
            declared: None,
            anonymity: crate::model::Anonymity::default(),
            internal: false,
        }),
        place: None,
        agent: Some(agent),
    }
}

/// Delivers the events, each with its partition, and then all that may still come.
fn said(delivery: &[(u32, &Event)]) -> Said {
    let (mut engine, mut found) = (engine(), Vec::new());
    for partition in delivery.iter().map(|(partition, _)| *partition) {
        engine.expect(partition);
    }
    for (partition, event) in delivery {
        let input = Input::Event {
            partition: *partition,
            event: Box::new(enriched(event)),
            muted: false,
            arrived_at: Some(event.time),
        };
        engine.apply(&input, &mut found);
    }
    for partition in delivery.iter().map(|(partition, _)| *partition) {
        engine.apply(&Input::Ended { partition }, &mut found);
    }
    assert!(found.iter().all(|found| !found.late));
    found
        .into_iter()
        .map(|found| {
            let of = found.detection;
            (of.rule, of.session_id, of.severity, found.may_revoke)
        })
        .collect()
}

fn in_order(events: &[Event]) -> Vec<(u32, &Event)> {
    events.iter().map(|event| (0, event)).collect()
}

/// One partition that delivers each event up to the lateness behind those after it.
fn delayed<'a>(events: &'a [Event], random: &mut Random) -> Vec<(u32, &'a Event)> {
    let lateness_ms = u32::try_from(LATENESS.as_millis()).unwrap();
    let mut arrivals: Vec<(i64, &Event)> = events
        .iter()
        .map(|event| {
            let delay = i64::from(random.below(lateness_ms));
            (event.time.as_millisecond() + delay, event)
        })
        .collect();
    arrivals.sort_by_key(|(arrival, _)| *arrival);
    arrivals.into_iter().map(|(_, event)| (0, event)).collect()
}

/// Three partitions, each in order, one as far ahead of another as it likes.
fn interleaved<'a>(events: &'a [Event], random: &mut Random) -> Vec<(u32, &'a Event)> {
    let mut queues: [Vec<&Event>; 3] = Default::default();
    for event in events.iter().rev() {
        queues[random.below(3) as usize].push(event);
    }
    let mut delivery = Vec::new();
    while queues.iter().any(|queue| !queue.is_empty()) {
        let partition = random.below(3);
        let next = queues[partition as usize].pop();
        delivery.extend(next.map(|event| (partition, event)));
    }
    delivery
}

/// In order it says `rules`, and in any other order the same.
fn whatever_the_order(events: &[Event], rules: &[&str]) {
    let expected = said(&in_order(events));
    let names: Vec<&str> = expected.iter().map(|(rule, ..)| &**rule).collect();
    assert_eq!(names, rules);
    for seed in 0..60 {
        let mut random = Random::new(seed);
        for delivery in [
            delayed(events, &mut random),
            interleaved(events, &mut random),
        ] {
            assert_eq!(said(&delivery), expected, "seed {seed}: {delivery:#?}");
        }
    }
}

/// In order it says nothing, nor where partitions come as they like. What excuses is not waited for longer than that.
fn silent_whatever_the_order_of_partitions(events: &[Event]) {
    assert_eq!(said(&in_order(events)), Said::new());
    for seed in 0..60 {
        let delivery = interleaved(events, &mut Random::new(seed));
        assert_eq!(said(&delivery), Said::new(), "seed {seed}: {delivery:#?}");
    }
}

#[test]
fn a_use_after_a_logout_is_found_though_the_logout_comes_late() {
    let logout = event(300, EventType::Logout, |event| {
        event.initiator = Some(Initiator::User);
    });
    let events = [issue(0, "a"), logout, refresh(315, "a", "b")];
    whatever_the_order(&events, &["use-after-revocation"]);
}

#[test]
fn a_use_after_an_operator_ended_the_users_sessions_likewise() {
    let events = [
        issue(0, "a"),
        admin(300, EventType::Revoke),
        refresh(330, "a", "b"),
        refresh(350, "b", "c"),
    ];
    whatever_the_order(&events, &["use-after-revocation"]);
}

#[test]
fn a_revoked_token_is_known_by_its_family_though_the_revocation_overtook_its_issue() {
    let revoke = event(30, EventType::Revoke, |event| {
        event.token_id = Some("b".into());
    });
    let events = [
        issue(0, "a"),
        refresh(20, "a", "b"),
        revoke,
        refresh(60, "b", "c"),
    ];
    whatever_the_order(&events, &["use-after-revocation"]);
}

#[test]
fn a_stranger_who_keeps_trying_after_a_logout_is_listed_in_any_order() {
    let logout = event(300, EventType::Logout, |_| ());
    let events = [
        issue(0, "a"),
        logout,
        refused(310, "a"),
        refused(340, "a"),
        refused(380, "a"),
    ];
    whatever_the_order(&events, &["use-after-revocation"]);
}

#[test]
fn a_disabled_user_is_found_though_it_comes_late_that_the_user_was_disabled() {
    let events = [
        issue(0, "a"),
        admin(300, EventType::UserDisable),
        refresh(320, "a", "b"),
    ];
    whatever_the_order(&events, &["disabled-user-refresh"]);
}

#[test]
fn a_user_who_was_enabled_again_is_not_blamed_by_whichever_partition_says_so() {
    let events = [
        issue(0, "a"),
        admin(300, EventType::UserDisable),
        admin(320, EventType::UserEnable),
        refresh(340, "a", "b"),
    ];
    silent_whatever_the_order_of_partitions(&events);
}

#[test]
fn a_family_from_before_a_change_of_credentials_is_found_in_any_order() {
    let events = [
        issue(0, "a"),
        admin(300, EventType::CredentialChange),
        refresh(610, "a", "b"),
        refresh(640, "b", "c"),
    ];
    whatever_the_order(&events, &["use-after-credential-change"]);
}

#[test]
fn a_family_that_is_too_old_is_found_in_any_order() {
    let events = [
        issue(0, "a"),
        refresh(25 * DAY_S, "a", "b"),
        refresh(51 * DAY_S, "b", "c"),
        refresh(51 * DAY_S + 60, "c", "d"),
    ];
    let expected = said(&in_order(&events));
    let names: Vec<&str> = expected.iter().map(|(rule, ..)| &**rule).collect();
    assert_eq!(names, ["lifetime"]);
    for seed in 0..60 {
        let delivery = delayed(&events, &mut Random::new(seed));
        assert_eq!(said(&delivery), expected, "seed {seed}");
    }
}

#[test]
fn a_stranger_who_wakes_a_family_is_found_in_any_order() {
    let woken = |second, token, issued| {
        let mut event = refresh(second, token, issued);
        event.user_agent = Some("stranger".into());
        event
    };
    let events = [
        issue(0, "a"),
        refresh(60, "a", "b"),
        woken(40 * DAY_S, "b", "c"),
        woken(40 * DAY_S + 60, "c", "d"),
    ];
    let expected = said(&in_order(&events));
    let names: Vec<&str> = expected.iter().map(|(rule, ..)| &**rule).collect();
    assert!(names.contains(&"dormant-wake-up"), "{names:?}");
    for seed in 0..60 {
        let delivery = delayed(&events, &mut Random::new(seed));
        assert_eq!(said(&delivery), expected, "seed {seed}");
    }
}

#[test]
fn what_was_done_survives_a_restart() {
    let (mut engine, mut found) = (engine(), Vec::new());
    let events = [
        issue(0, "a"),
        admin(300, EventType::Revoke),
        refresh(330, "a", "b"),
    ];
    for event in &events {
        let input = Input::Event {
            partition: 0,
            event: Box::new(enriched(event)),
            muted: false,
            arrived_at: Some(event.time),
        };
        engine.apply(&input, &mut found);
        let snapshot = engine.snapshot();
        engine = super::tests::engine();
        assert!(engine.restore(&snapshot));
    }
    engine.apply(&Input::Ended { partition: 0 }, &mut found);
    assert_eq!(found.len(), 1);
    assert_eq!(&*found[0].detection.rule, "use-after-revocation");
}
