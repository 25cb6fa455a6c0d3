//! What the policy decides about a series of findings: whom it tells, what it performs, and what it holds.

mod budgets;

use std::sync::Arc;

use super::*;
use crate::config::{Budget, Client};
use crate::engine::stable_id;
use crate::model::{
    BreakerClient, BreakerState, By, Deed, Detection, Evidence, Incident, Matchers, PersonEvent,
    Prefix, Resolution, Severity, Silence, Timestamp,
};
use crate::rules::Ask;
use crate::rules::{self, Rule};

const MINUTE: i64 = 60_000;
pub(super) const HOUR: i64 = 60 * MINUTE;
/// Some day; windows must not depend on the beginning of time.
const START: i64 = 1_790_000_000_000;

fn clients(modes: &[(&str, Mode)]) -> Clients {
    let client = |mode| Client {
        mode: Some(mode),
        ..Client::default()
    };
    Clients {
        default: client(Mode::Enforce),
        by_id: modes
            .iter()
            .map(|(id, mode)| (Text::from(*id), client(*mode)))
            .collect(),
    }
}

fn policy(modes: &[(&str, Mode)]) -> Policy {
    Policy::new(Allowed {
        mode: Mode::Enforce,
        clients: clients(modes),
        tenants: Tenants::default(),
        response: Response::default(),
        shared: crate::config::Shared::default(),
        performed: crate::config::KEYCLOAK_ACTIONS.to_vec(),
    })
}

fn reuse() -> Arc<Rule> {
    rules::load(&[], &[])
        .unwrap()
        .rules
        .iter()
        .find(|rule| &*rule.name == "token-reuse")
        .unwrap()
        .clone()
}

/// Findings of one kind, made one after the other.
pub(super) struct Finder {
    rule: Arc<Rule>,
}

impl Finder {
    pub(super) fn new() -> Self {
        Self { rule: reuse() }
    }

    pub(super) fn theft(&self, user: &str, family: &str, client: &str, at: i64) -> Found {
        self.found(user, family, client, at, Severity::Critical)
    }

    fn found(&self, user: &str, family: &str, client: &str, at: i64, severity: Severity) -> Found {
        let theft = severity == Severity::Critical;
        Found {
            detection: Detection {
                id: stable_id(&["test", user, family, client, &at.to_string()]),
                rule: self.rule.name.clone(),
                kind: "reuse".into(),
                severity,
                time: Timestamp::from_millisecond(START + at).unwrap(),
                event_id: "e".into(),
                subject: Subject::Family(family.into()),
                issuer: "https://id.example".into(),
                tenant: None,
                user_id: (!user.is_empty()).then(|| user.into()),
                client_id: Some(client.into()),
                family_id: Some(family.into()),
                session_id: None,
                token_kind: None,
                ip_address: None,
                summary: format!("{family} of {user} at {client}").into(),
                evidence: Evidence::new(),
            },
            rule: self.rule.clone(),
            ask: if theft { Ask::Response } else { Ask::Review },
            may_revoke: theft,
            late: false,
            confidence: 1.0,
            foreign_network: None,
            families_active: 0,
            presenter: Arc::default(),
        }
    }
}

/// The actions that a finding leads to, and its incident.
fn decide(policy: &mut Policy, found: Found) -> (Vec<Action>, Incident) {
    let mut output = Output::default();
    policy.decide(found, &mut output);
    (output.actions, output.incidents.pop().unwrap())
}

fn of(actions: &[Action], kind: ActionKind) -> Option<Decision> {
    let mut of_kind = actions.iter().filter(|action| action.kind == kind);
    let decision = of_kind.next().map(|action| action.decision);
    assert!(of_kind.next().is_none(), "{kind} twice: {actions:?}");
    decision
}

fn told(actions: &[Action]) -> Option<Decision> {
    of(actions, ActionKind::Notify)
}

fn revoked(actions: &[Action]) -> Option<Decision> {
    of(actions, ActionKind::RevokeFamily)
}

#[test]
fn what_was_only_observed_leaves_the_page_to_what_is_done() {
    let (finder, mut policy) = (Finder::new(), policy(&[("web", Mode::Observe)]));
    let (first, seen) = decide(&mut policy, finder.theft("alice", "f1", "web", 0));
    assert_eq!(told(&first), Some(Decision::Observe));
    let (again, _) = decide(&mut policy, finder.theft("alice", "f2", "web", MINUTE));
    assert_eq!(told(&again), None, "observed once an incident");

    let (then, incident) = decide(&mut policy, finder.theft("alice", "f3", "pay", HOUR));
    assert_eq!(incident.id, seen.id);
    assert_eq!(
        (revoked(&then), told(&then)),
        (Some(Decision::Execute), Some(Decision::Execute))
    );
    let id_of = |actions: &[Action]| {
        actions
            .iter()
            .find(|a| a.kind == ActionKind::Notify)
            .unwrap()
            .id
            .clone()
    };
    assert_ne!(
        id_of(&first),
        id_of(&then),
        "the store keeps the first row of an id"
    );
    assert_eq!(
        &*incident.summary, "f3 of alice at pay",
        "what they are told of"
    );

    let (later, _) = decide(&mut policy, finder.theft("alice", "f4", "pay", 2 * HOUR));
    assert_eq!(told(&later), None, "told once");
    let (later, _) = decide(&mut policy, finder.theft("alice", "f5", "web", 2 * HOUR));
    assert_eq!(told(&later), None, "nor observed again");
}

#[test]
fn a_theft_that_follows_a_milder_page_is_paged_too() {
    let (finder, mut policy) = (Finder::new(), policy(&[]));
    let velocity = finder.found("alice", "f1", "web", 0, Severity::Medium);
    let (first, _) = decide(&mut policy, velocity);
    assert_eq!(told(&first), Some(Decision::Execute));
    let (then, incident) = decide(&mut policy, finder.theft("alice", "f1", "web", MINUTE));
    assert_eq!(told(&then), Some(Decision::Execute));
    assert_eq!(incident.severity, Severity::Critical);
    let (again, _) = decide(&mut policy, finder.theft("alice", "f2", "web", 2 * MINUTE));
    assert_eq!(told(&again), None);
}

#[test]
fn what_was_only_observed_is_performed_where_another_finding_may() {
    let (finder, mut policy) = (Finder::new(), policy(&[("web", Mode::Observe)]));
    let (first, _) = decide(&mut policy, finder.theft("alice", "f1", "web", 0));
    assert_eq!(revoked(&first), Some(Decision::Observe));
    let (then, _) = decide(&mut policy, finder.theft("alice", "f1", "pay", HOUR));
    assert_eq!(revoked(&then), Some(Decision::Execute));
    assert_ne!(first[0].id, then[0].id);
}

#[test]
fn a_network_s_storm_that_was_only_observed_pages_for_the_client_that_is_enforced() {
    let observed = ["a", "b", "c", "d", "e"];
    let modes = observed.map(|client| (client, Mode::Observe));
    let (finder, mut policy) = (Finder::new(), policy(&modes));
    let theft = |user: &str, client: &str, at| Found {
        foreign_network: Some(Prefix::of("198.51.100.7".parse().unwrap())),
        ..finder.theft(user, user, client, at)
    };
    for (client, at) in observed.into_iter().zip(0..) {
        let (actions, _) = decide(&mut policy, theft(client, client, at));
        assert_ne!(told(&actions), Some(Decision::Execute));
    }
    let (actions, incident) = decide(&mut policy, theft("victim", "pay", MINUTE));
    assert!(
        matches!(incident.subject, Subject::Network(_)),
        "{incident:?}"
    );
    assert_eq!(told(&actions), Some(Decision::Execute));
}

/// Findings of all sorts, not quite in order of time.
fn mixture() -> Vec<Found> {
    let finder = Finder::new();
    let mut state = 7_u64;
    let mut below = |bound: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        i64::try_from((state >> 33) % bound).unwrap()
    };
    (0..600)
        .map(|n| {
            let user = format!("u{}", below(25));
            let family = format!("{user}-{}", below(4));
            let client = ["web", "app", "pay"][usize::try_from(below(3)).unwrap()];
            let jitter = below(200_000);
            let severities = [Severity::Info, Severity::Medium, Severity::Critical];
            let severity = severities[usize::try_from(below(3)).unwrap()];
            // Two busy hours, a quiet day and a half, and again.
            let at = (n % 300) * MINUTE / 3 + (n / 300) * 36 * HOUR + jitter;
            Found {
                foreign_network: (below(2) == 0)
                    .then(|| Prefix::of("198.51.100.7".parse().unwrap())),
                ..finder.found(&user, &family, client, at, severity)
            }
        })
        .collect()
}

#[test]
fn restarts_and_batches_change_nothing() {
    let modes = [("web", Mode::Observe)];
    let mut whole = Output::default();
    let fresh = || {
        let mut policy = policy(&modes);
        policy.allowed.response.budget = Budget {
            per_client: 2,
            per_rule: 3,
            global: 3,
            ..Budget::default()
        };
        policy
    };
    let mut undisturbed = fresh();
    for found in mixture() {
        undisturbed.decide(found, &mut whole);
    }
    let seen = |decision| whole.actions.iter().any(|a| a.decision == decision);
    assert!(
        [Decision::Execute, Decision::Hold, Decision::Observe]
            .into_iter()
            .all(seen),
        "a mixture of everything"
    );

    let mut actions = Vec::new();
    let mut disturbed = fresh();
    for found in mixture() {
        let mut output = Output::default();
        disturbed.decide(found, &mut output);
        actions.append(&mut output.actions);
        let snapshot = disturbed.snapshot();
        disturbed = fresh();
        assert!(disturbed.restore(&snapshot));
    }
    assert_eq!(actions, whole.actions);
    assert_eq!(disturbed.state, undisturbed.state);
}

fn person(policy: &mut Policy, at: i64, did: Deed) {
    policy.hear(&PersonEvent {
        time: Timestamp::from_millisecond(START + at).unwrap(),
        by: By {
            who: "bob".into(),
            why: "looked at it".into(),
        },
        did,
    });
}

#[test]
fn what_is_silenced_is_cut_off_all_the_same_and_told_when_the_silence_ends() {
    let (finder, mut policy) = (Finder::new(), policy(&[]));
    let time = |at| Timestamp::from_millisecond(START + at).unwrap();
    let silence = Silence {
        id: "s1".into(),
        matchers: Matchers {
            client_id: Some("web".into()),
            ..Matchers::default()
        },
        author: "bob".into(),
        comment: "a test of ours".into(),
        created_at: time(0),
        ends_at: time(HOUR),
    };
    person(&mut policy, 0, Deed::Silenced { silence });
    let (actions, _) = decide(&mut policy, finder.theft("alice", "f1", "web", MINUTE));
    assert_eq!(revoked(&actions), Some(Decision::Execute));
    assert_eq!(told(&actions), Some(Decision::Suppress));
    let (elsewhere, _) = decide(&mut policy, finder.theft("carol", "c1", "pay", MINUTE));
    assert_eq!(told(&elsewhere), Some(Decision::Execute));
    let (later, _) = decide(&mut policy, finder.theft("alice", "f2", "web", HOUR));
    assert_eq!(told(&later), Some(Decision::Execute));
    let id = "s1".into();
    person(&mut policy, HOUR, Deed::SilenceEnded { silence_id: id });
}

#[test]
fn what_follows_a_closed_incident_is_another_episode_that_is_told_and_acted_on() {
    let (finder, mut policy) = (Finder::new(), policy(&[]));
    let (_, first) = decide(&mut policy, finder.theft("alice", "f1", "web", 0));
    let closed = |incident: &Incident| Deed::Closed {
        incident_id: incident.id.clone(),
        subject: incident.subject.clone(),
        resolution: Resolution::FalsePositive,
    };
    person(&mut policy, MINUTE, closed(&first));
    person(&mut policy, MINUTE, closed(&first));
    let (actions, second) = decide(&mut policy, finder.theft("alice", "f1", "web", 2 * MINUTE));
    assert_eq!(
        (first.episode, second.episode),
        (0, 1),
        "however often it is heard"
    );
    assert_eq!(
        (revoked(&actions), told(&actions)),
        (Some(Decision::Execute), Some(Decision::Execute))
    );
}

/// What is to be done to the family of the user with this number, stolen from at this time.
fn revocation(
    finder: &Finder,
    policy: &mut Policy,
    user: usize,
    at: i64,
) -> (Option<Action>, Incident) {
    let name = format!("u{user}");
    let (actions, incident) = decide(policy, finder.theft(&name, &name, "web", at));
    let mut of_it = actions.into_iter();
    let found = of_it.find(|action| action.kind == ActionKind::RevokeFamily);
    (found, incident)
}

#[test]
fn what_was_held_in_a_storm_is_wanted_anew_when_it_is_over() {
    let (finder, mut policy) = (Finder::new(), policy(&[]));
    let mut revocation = |n, at| {
        let (action, incident) = revocation(&finder, &mut policy, n, at);
        (action.map(|it| (it.id, it.decision)), incident.subject)
    };
    let last = (0..25).map(|n| revocation(n, 0)).last().unwrap();
    let (Some((held, Decision::Hold)), Subject::Client(_)) = last else {
        panic!("{last:?}");
    };
    assert_eq!(revocation(24, MINUTE).0, None, "it is held");
    let (again, of) = revocation(24, 3 * HOUR);
    let (id, decision) = again.unwrap();
    assert!(matches!(of, Subject::User(_)));
    assert!(id != held && decision == Decision::Execute, "{decision}");
}

#[test]
fn what_was_refused_of_one_s_own_is_wanted_anew_in_a_storm() {
    let (finder, mut policy) = (Finder::new(), policy(&[]));
    let mut revocation = |n, at| revocation(&finder, &mut policy, n, at).0;
    let own = revocation(9, 0).unwrap();
    let days_later = 50 * HOUR;
    let storm: Vec<Action> = (0..10).filter_map(|n| revocation(n, days_later)).collect();
    assert_eq!(storm.len(), 10);
    assert_ne!(storm[9].id, own.id);
}

#[test]
fn a_proved_theft_offers_to_lock_the_account_and_only_where_something_was_ended() {
    let (finder, mut policy) = (Finder::new(), policy(&[("web", Mode::Alert)]));
    let mut offered = |found| {
        let mut output = Output::default();
        policy.decide(found, &mut output);
        let offers = output.offers.iter();
        offers
            .map(|offer| (offer.kind, offer.decision))
            .collect::<Vec<_>>()
    };
    let lock = [(ActionKind::LockUser, Decision::Hold)];
    assert_eq!(offered(finder.theft("alice", "f1", "pay", 0)), lock);
    assert_eq!(
        offered(finder.theft("alice", "f2", "pay", 1)),
        [],
        "once an incident"
    );
    assert_eq!(
        offered(finder.theft("bob", "f3", "web", 0)),
        [],
        "nothing is ended there"
    );
    assert_eq!(
        offered(finder.theft("", "f4", "pay", 0)),
        [],
        "nobody is known"
    );
}

#[test]
fn what_no_revoker_is_there_for_is_not_offered() {
    let (finder, mut policy) = (Finder::new(), policy(&[]));
    policy.allowed.performed = vec![ActionKind::RevokeFamily];
    let mut output = Output::default();
    policy.decide(finder.theft("alice", "f1", "pay", 0), &mut output);
    assert_eq!((output.actions.is_empty(), output.offers), (false, vec![]));
}

#[test]
fn a_network_is_blocked_unless_people_who_did_nothing_are_behind_it() {
    let finder = Finder::new();
    let rule = Arc::new(Rule {
        response: vec![ActionKind::BlockIp],
        ..Rule::clone(&finder.rule)
    });
    let declared = crate::config::DeclaredNetwork {
        name: "office".into(),
        class: crate::model::NetworkClass::Egress,
        cidrs: vec!["203.0.113.64/26".parse().unwrap()],
        asns: Vec::new(),
    };
    let mut policy = policy(&[]);
    policy.allowed.shared = crate::config::Shared::of(&[declared]);
    let mut blocked = |network: &str| {
        let mut found = finder.theft("alice", network, "web", 0);
        found.rule = rule.clone();
        found.detection.subject = Subject::Network(network.into());
        let (actions, _) = decide(&mut policy, found);
        let block = actions.iter().find(|it| it.kind == ActionKind::BlockIp);
        let block = block.unwrap();
        (
            block.decision,
            block.target.network.as_deref().map(str::to_owned),
        )
    };
    let network = |text: &str| Some(text.to_owned());
    assert_eq!(
        blocked("198.51.100.0/24"),
        (Decision::Execute, network("198.51.100.0/24"))
    );
    assert_eq!(
        blocked("203.0.113.0/24"),
        (Decision::Suppress, network("203.0.113.0/24"))
    );
}

#[test]
fn who_is_forgotten_goes_out_of_a_storm_which_stays() {
    let (finder, mut policy) = (Finder::new(), policy(&[]));
    let person = |n: i64| format!("person-{n}@example.com");
    let theft = |n: i64| finder.theft(&person(n), &format!("f{n}"), "pay", n);
    let all: Vec<Incident> = (0..40).map(|n| decide(&mut policy, theft(n)).1).collect();
    let storm = &all[3];
    assert_eq!(storm.user_id, Some(person(3).into()));
    let known = |policy: &Policy, n| {
        let mut state: serde_json::Value = serde_json::from_slice(&policy.snapshot()).unwrap();
        // They end by themselves.
        state.as_object_mut().unwrap().remove("windows");
        state.to_string().contains(&person(n))
    };
    assert!(known(&policy, 30), "the breaker knows who was held");

    for n in [3, 30] {
        policy.forget(&person(n));
        assert!(!known(&policy, n), "{n}");
    }
    let (_, incident) = decide(&mut policy, theft(40));
    assert_eq!((&incident.id, incident.detections), (&storm.id, 38));
    assert_eq!(incident.user_id, Some(person(40).into()));
}

#[test]
fn who_is_forgotten_goes_out_of_what_others_are_silent_for() {
    let mut policy = policy(&[]);
    let silence = |id: &str, user: &str, comment: &str| PersonEvent {
        time: Timestamp::from_millisecond(START).unwrap(),
        by: By {
            who: "eve".into(),
            why: "new laptop".into(),
        },
        did: Deed::Silenced {
            silence: Silence {
                id: id.into(),
                matchers: Matchers {
                    user_id: Some(user.into()),
                    ..Matchers::default()
                },
                author: "eve".into(),
                comment: comment.into(),
                created_at: Timestamp::from_millisecond(START).unwrap(),
                ends_at: Timestamp::from_millisecond(START + HOUR).unwrap(),
            },
        },
    };
    policy.hear(&silence("s1", "u1", "travels"));
    policy.hear(&silence("s2", "bob", "as u10 and alice@example.com"));
    policy.forget("u1");
    policy.forget("alice@example.com");
    let state = String::from_utf8(policy.snapshot()).unwrap();
    assert!(!state.contains("s1"), "{state}");
    assert!(state.contains("as u10 and (erased)"), "{state}");
}
