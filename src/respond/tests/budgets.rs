//! How much is done by itself: budgets of clients and people, and the breaker that opens when one is used up.

use super::*;

/// One account whose owner replays tokens of his own sessions, twenty in ten minutes.
fn attack(policy: &mut Policy, finder: &Finder, name: &str, begin: i64) -> Vec<Decision> {
    (0..20)
        .filter_map(|n| {
            let theft = finder.theft(name, &format!("{name}{begin}-{n}"), "web", begin + n);
            revoked(&decide(policy, theft).0)
        })
        .collect()
}

#[test]
fn one_account_neither_uses_up_the_budget_nor_hides_the_others() {
    let (finder, mut policy) = (Finder::new(), policy(&[]));
    for round in 0..3 {
        let begin = round * 11 * MINUTE;
        let own = attack(&mut policy, &finder, "mallory", begin);
        assert_eq!(
            own,
            [Decision::Execute; 20],
            "his own sessions end, on his own account"
        );
        for n in 0..2 {
            let victim = format!("victim{round}-{n}");
            let theft = finder.theft(&victim, &victim, "web", begin + MINUTE + n);
            let (actions, incident) = decide(&mut policy, theft);
            assert!(
                matches!(incident.subject, Subject::User(_)),
                "four people are a storm, and not one with many sessions: {incident:?}"
            );
            assert_eq!(
                (revoked(&actions), told(&actions)),
                (Some(Decision::Execute), Some(Decision::Execute)),
                "round {round}, victim {n}"
            );
        }
    }
}

#[test]
fn a_person_s_actions_end_somewhere_too() {
    let (finder, mut policy) = (Finder::new(), policy(&[]));
    attack(&mut policy, &finder, "mallory", 0);
    let (actions, _) = decide(
        &mut policy,
        finder.theft("mallory", "one more", "web", MINUTE),
    );
    assert_eq!(revoked(&actions), Some(Decision::Hold));
    assert!(actions[0].reason.contains("user"), "{}", actions[0].reason);
}

#[test]
fn when_a_storm_s_revocations_begin_to_wait_people_are_told_again() {
    let (finder, mut policy) = (Finder::new(), policy(&[]));
    let mut pages = Vec::new();
    let mut storm = |policy: &mut Policy, begin: i64| {
        let mut held = 0;
        for n in 0..30 {
            let user = format!("u{begin}-{n}");
            let (actions, _) = decide(policy, finder.theft(&user, &user, "web", begin + n));
            held += usize::from(revoked(&actions) == Some(Decision::Hold));
            let page = actions.into_iter().find(|a| a.kind == ActionKind::Notify);
            pages.extend(page.map(|page| (held, page)));
        }
        (held, std::mem::take(&mut pages))
    };
    let (held, pages) = storm(&mut policy, 0);
    assert_eq!(held, 10);
    let when: Vec<usize> = pages.iter().map(|(held, _)| *held).collect();
    assert_eq!(
        when,
        [0, 0, 0, 0, 1],
        "three, the storm, and its first that waits"
    );
    assert!(pages[4].1.reason.contains("wait"), "{}", pages[4].1.reason);
    let mut ids: Vec<_> = pages.iter().map(|(_, page)| page.id.clone()).collect();

    let (held, pages) = storm(&mut policy, HOUR);
    assert_eq!((held, pages.len()), (10, 3), "they know");
    ids.extend(pages.into_iter().map(|(_, page)| page.id));
    let (held, pages) = storm(&mut policy, 5 * HOUR);
    assert_eq!((held, pages.len()), (10, 4), "they may have forgotten");
    ids.extend(pages.into_iter().map(|(_, page)| page.id));
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all, "the store keeps the first row of an id");
}

/// As many people as there are numbers, each robbed once at a client.
fn robbed(
    policy: &mut Policy,
    finder: &Finder,
    client: &str,
    people: std::ops::Range<i64>,
) -> usize {
    let held = people.map(|n| {
        let user = format!("{client}{n}");
        let (actions, _) = decide(policy, finder.theft(&user, &user, client, n));
        revoked(&actions) == Some(Decision::Hold)
    });
    held.filter(|held| *held).count()
}

/// What is open at a time, by client.
fn open_at(policy: &Policy, at: i64) -> Vec<(String, BreakerState)> {
    let breakers = policy.breakers(Timestamp::from_millisecond(START + at).unwrap());
    let short = |breaker: BreakerReport| (breaker.client.client_id.to_string(), breaker.state);
    breakers.into_iter().map(short).collect()
}

#[test]
fn the_breaker_holds_one_client_until_it_is_quiet_and_leaves_the_others_alone() {
    let (finder, mut policy) = (Finder::new(), policy(&[]));
    assert_eq!(robbed(&mut policy, &finder, "web", 0..25), 5);
    assert_eq!(
        open_at(&policy, 25),
        [("web".to_owned(), BreakerState::Open)]
    );
    assert_eq!(robbed(&mut policy, &finder, "app", 0..20), 0);
    let late = 9 * MINUTE;
    assert_eq!(
        robbed(&mut policy, &finder, "web", late..late + 15),
        15,
        "still open"
    );

    let quiet = 9 * MINUTE + 11 * MINUTE;
    assert_eq!(
        robbed(&mut policy, &finder, "web", quiet..quiet + 15),
        5,
        "half of 20 on trial"
    );
    let reports = policy.breakers(Timestamp::from_millisecond(START + quiet + 15).unwrap());
    assert_eq!((reports[0].state, reports[0].held), (BreakerState::Open, 5));
    assert_eq!(open_at(&policy, 2 * HOUR), []);
}

#[test]
fn the_notice_says_that_the_breaker_opened_and_what_to_do() {
    let (finder, mut policy) = (Finder::new(), policy(&[]));
    robbed(&mut policy, &finder, "web", 0..20);
    let (actions, _) = decide(&mut policy, finder.theft("u", "u", "web", 30));
    let notice = actions
        .iter()
        .find(|a| a.kind == ActionKind::Notify)
        .unwrap();
    for part in [
        "breaker of client web",
        "20 actions in 10 min",
        "tokenwarden actions list",
    ] {
        assert!(notice.reason.contains(part), "{}", notice.reason);
    }
}

#[test]
fn a_person_lets_half_of_a_budget_through() {
    let (finder, mut policy) = (Finder::new(), policy(&[]));
    robbed(&mut policy, &finder, "web", 0..25);
    let web = BreakerClient {
        issuer: "https://id.example".into(),
        tenant: None,
        client_id: "web".into(),
    };
    person(&mut policy, 30, Deed::BreakerHalfOpened { client: web });
    assert_eq!(robbed(&mut policy, &finder, "web", 30..50), 10);
}

#[test]
fn a_share_of_the_families_in_use_bounds_a_client_too() {
    let (finder, mut policy) = (Finder::new(), policy(&[]));
    let decided = (0..30).map(|n| {
        let found = Found {
            families_active: 1500,
            ..finder.theft(&format!("u{n}"), &format!("u{n}"), "web", n)
        };
        revoked(&decide(&mut policy, found).0)
    });
    let executed = decided.filter(|it| *it == Some(Decision::Execute)).count();
    assert_eq!(executed, 15, "1 % of 1,500");
}

/// Somebody replays the consumed tokens of 5,000 victims from one place. That is provable for each, and all the same a
/// way to lock them out: it stops at the client's budget, people are told five times at most, and who is robbed elsewhere
/// meanwhile is still cut off.
#[test]
fn a_lock_out_attack_stops_at_the_budget_in_one_storm() {
    let (finder, mut policy) = (Finder::new(), policy(&[]));
    let place = Some(Prefix::of("198.51.100.7".parse().unwrap()));
    let (mut revocations, mut pages, mut storms) =
        (Vec::new(), 0, std::collections::BTreeSet::new());
    for n in 0..5000_i64 {
        let victim = format!("victim{n}");
        let found = Found {
            foreign_network: place,
            families_active: 5000,
            ..finder.theft(&victim, &victim, "web", n * 100)
        };
        let (actions, incident) = decide(&mut policy, found);
        revocations.push(revoked(&actions).unwrap());
        pages += usize::from(told(&actions) == Some(Decision::Execute));
        if n >= 3 {
            storms.insert(incident.id);
        }
        if n == 2500 {
            let (actions, incident) =
                decide(&mut policy, finder.theft("alice", "a1", "pay", n * 100));
            assert_eq!(revoked(&actions), Some(Decision::Execute));
            assert_eq!(told(&actions), Some(Decision::Execute));
            assert!(matches!(incident.subject, Subject::User(_)));
        }
    }
    let executed = revocations.iter().filter(|it| **it == Decision::Execute);
    assert_eq!(executed.count(), 20);
    assert!(revocations[20..].iter().all(|it| *it == Decision::Hold));
    assert_eq!(storms.len(), 1);
    assert!(pages <= 5, "{pages}");
    assert_eq!(
        open_at(&policy, 5000 * 100),
        [("web".to_owned(), BreakerState::Open)]
    );
}
