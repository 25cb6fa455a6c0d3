//! What a ledger keeps, folds and forgets.

use super::*;

fn refresh(n: i64, context: &Arc<Context>) -> NewEntry {
    NewEntry {
        time: n * 1000,
        answer: Answer::Accepted,
        token: Some(format!("t{n}").into()),
        issued: Some(format!("t{}", n + 1).into()),
        generation: None,
        latest_generation: None,
        client_id: Some("web".into()),
        event_id: format!("e{n}").into(),
        used_before: false,
        context: context.clone(),
    }
}

fn context(address: &str) -> Arc<Context> {
    Arc::new(Context {
        ip_address: address.parse().ok(),
        ..Context::default()
    })
}

#[test]
fn a_long_chain_stays_connected_within_its_bound() {
    let home = context("192.0.2.1");
    let mut ledger = Ledger::default();
    for n in 0..1000 {
        assert!(ledger.add(refresh(n, &home)));
    }
    assert_eq!(ledger.entries().len(), limits::LEDGER_ENTRIES_MAX);
    assert!(!ledger.disputed());
    let connected = ledger
        .entries()
        .windows(2)
        .all(|pair| pair[0].issued == pair[1].token);
    assert!(connected);
}

#[test]
fn what_was_used_just_now_is_not_drawn_together_though_nothing_else_could_be() {
    let mut ledger = Ledger::default();
    // A back end with as many ways out as it has refreshes: no link is dull but the newest.
    for n in 0..i64::try_from(limits::LEDGER_ENTRIES_MAX).expect("a small bound") {
        ledger.add(refresh(n, &context(&format!("192.0.2.{n}"))));
    }
    let last = i64::try_from(limits::LEDGER_ENTRIES_MAX).expect("a small bound");
    let (newest, again) = (refresh(last, &context(&format!("192.0.2.{}", last - 1))), 3);
    ledger.add(newest.clone());
    ledger.add(NewEntry {
        time: newest.time + again,
        issued: Some("sibling".into()),
        event_id: "again".into(),
        used_before: true,
        ..newest
    });
    let token = TokenHash::of(&format!("t{last}"));
    let of_token = ledger.entries().iter().filter(|e| e.token == Some(token));
    assert_eq!(of_token.filter(|e| !e.used_long_ago).count(), 2);
}

#[test]
fn the_first_use_from_another_place_outlives_any_burst() {
    let (home, away) = (context("192.0.2.1"), context("198.51.100.1"));
    let mut ledger = Ledger::default();
    for n in 0..5 {
        ledger.add(refresh(n, &home));
    }
    for n in 5..500 {
        ledger.add(refresh(n, &away));
    }
    let stolen = TokenHash::of("t5");
    assert!(
        ledger
            .entries()
            .iter()
            .any(|e| e.token == Some(stolen) && *ledger.context(e) == *away)
    );
}

#[test]
fn names_stay_with_the_newest_and_with_what_is_disputed() {
    let home = context("192.0.2.1");
    let mut ledger = Ledger::default();
    ledger.add(refresh(0, &home));
    ledger.add(NewEntry {
        answer: Answer::Refused,
        issued: None,
        event_id: "again".into(),
        time: 500,
        ..refresh(0, &home)
    });
    for n in 1..100 {
        ledger.add(refresh(n, &home));
    }
    assert!(ledger.disputed());
    let named: Vec<&Text> = ledger
        .entries()
        .iter()
        .filter_map(Entry::event_id)
        .collect();
    assert!(named.iter().any(|id| &***id == "again"));
    assert!(named.iter().any(|id| &***id == "e99"));
    assert!(named.len() <= limits::LEDGER_NAMED_ENTRIES + 3, "{named:?}");
}

#[test]
fn the_order_of_arrival_leaves_no_trace() {
    let home = context("192.0.2.1");
    let (mut forwards, mut backwards) = (Ledger::default(), Ledger::default());
    for n in 0..6 {
        forwards.add(refresh(n, &home));
        backwards.add(refresh(5 - n, &home));
    }
    assert_eq!(forwards, backwards);
    assert!(!forwards.add(refresh(3, &home)), "a repeat is recognised");
}
