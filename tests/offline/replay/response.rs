//! What is decided about a finding: modes, budgets, storms, incidents.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokenwarden::simulate::places::WORLD;

use super::log::{FRANKFURT, HOME, Log, MINUTE, Who, at};
use super::{Desk, Printed};

const CLIENTS: &str = "clients: { default: { rotation: enforced, reuse_grace: 30s } }\n";

fn replay(config: &str, log: Log) -> Printed {
    let desk = Desk::new(config, WORLD);
    let file = log.sorted().write(&desk);
    desk.json(&[file])
}

fn enforced(log: Log) -> Printed {
    replay(&format!("mode: enforce\n{CLIENTS}"), log)
}

/// A theft that the reuse rule proves, `minute` minutes after the beginning.
fn theft(user: &str, minute: f64) -> Log {
    theft_at(user, minute, "web")
}

fn theft_at(user: &str, minute: f64, client: &'static str) -> Log {
    let own = Who { client, ..HOME };
    let thief = Who {
        client,
        ..at(FRANKFURT)
    };
    let token = |n: u32| format!("{user}-t{n}");
    Log::begun(user, own)
        .refresh(25.0 * MINUTE, own, &token(2), &token(3))
        .refused(minute * MINUTE, thief, &token(2), "other")
}

fn decisions(printed: &Printed) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    printed
        .of_type("action")
        .iter()
        .map(|a| (text(&a["action"]), text(&a["decision"])))
        .collect()
}

fn pair(action: &str, decision: &str) -> (String, String) {
    (action.to_owned(), decision.to_owned())
}

#[test]
fn the_lowest_mode_of_all_that_apply_wins() {
    let observed = vec![pair("revoke_family", "observe"), pair("notify", "observe")];
    let alerted = vec![pair("revoke_family", "observe"), pair("notify", "execute")];
    let all = vec![pair("revoke_family", "execute"), pair("notify", "execute")];
    let rotating = "rotation: enforced";
    for (config, wanted) in [
        (format!("{CLIENTS}"), &observed),
        (format!("mode: observe\n{CLIENTS}"), &observed),
        (format!("mode: alert\n{CLIENTS}"), &alerted),
        (format!("mode: enforce\n{CLIENTS}"), &all),
        (
            format!(
                "mode: enforce\nclients: {{ default: {{ {rotating} }}, web: {{ mode: alert }} }}\n"
            ),
            &alerted,
        ),
        (
            format!("mode: enforce\n{CLIENTS}tenants: {{ default: {{ mode: observe }} }}\n"),
            &observed,
        ),
        (
            format!("mode: enforce\n{CLIENTS}overrides: {{ token-reuse: {{ mode: alert }} }}\n"),
            &alerted,
        ),
        (
            format!("mode: alert\n{CLIENTS}overrides: {{ token-reuse: {{ mode: enforce }} }}\n"),
            &alerted,
        ),
    ] {
        let printed = replay(&config, theft("u", 40.0));
        assert_eq!(&decisions(&printed), wanted, "{config}");
        let summary = printed.summary();
        for decision in ["execute", "observe"] {
            let count = wanted.iter().filter(|(_, d)| d == decision).count();
            assert_eq!(summary["actions"][decision], count, "{config}");
        }
    }
}

#[test]
fn a_rule_or_a_client_that_is_off_finds_nothing() {
    for config in [
        format!("mode: enforce\n{CLIENTS}overrides: {{ token-reuse: {{ mode: off }} }}\n"),
        "mode: enforce\nclients: { default: { rotation: enforced }, web: { exempt_from: [token-reuse] } }\n".to_owned(),
    ] {
        let printed = replay(&config, theft("u", 40.0));
        assert!(printed.detections().is_empty(), "{config}: {}", printed.out);
    }
}

#[test]
fn a_user_s_families_are_one_incident_and_each_is_revoked() {
    let second = theft("second", 42.0)
        .text()
        .replace("\"user_id\":\"second\"", "\"user_id\":\"u\"");
    let desk = Desk::new(&format!("mode: enforce\n{CLIENTS}"), WORLD);
    let files = [
        desk.write("one.jsonl", theft("u", 40.0).text()),
        desk.write("two.jsonl", second),
    ];
    let printed = desk.json(&files);
    assert_eq!(
        printed.executed("revoke_family").len(),
        2,
        "{}",
        printed.out
    );
    assert_eq!(printed.executed("notify").len(), 1, "{}", printed.out);
}

#[test]
fn a_user_s_travel_and_the_family_s_theft_are_one_incident_whichever_came_first() {
    let travel_first = theft("u", 60.0).refresh(50.0 * MINUTE, at(FRANKFURT), "u-t3", "u-t4");
    let printed = enforced(travel_first);
    let incidents: BTreeSet<String> = printed
        .of_type("action")
        .iter()
        .map(|a| a["incident_id"].to_string())
        .collect();
    assert_eq!(printed.executed("challenge").len(), 1, "{}", printed.out);
    assert_eq!(
        (incidents.len(), printed.executed("notify").len()),
        (1, 1),
        "{}",
        printed.out
    );
}

#[test]
fn from_the_fourth_family_on_it_is_one_storm_and_each_family_is_revoked() {
    let storm = (0..7).fold(Log::default(), |log, n| {
        log.and(theft(&format!("u{n}"), 40.0 + f64::from(n)))
    });
    let printed = enforced(storm);
    assert_eq!(printed.executed("revoke_family").len(), 7);
    assert_eq!(
        printed.executed("notify").len(),
        4,
        "three, and one for the storm"
    );
    let of_revocations: Vec<Value> = printed
        .executed("revoke_family")
        .iter()
        .map(|a| a["incident_id"].clone())
        .collect();
    assert_eq!(
        of_revocations[3..]
            .iter()
            .map(Value::to_string)
            .collect::<BTreeSet<_>>()
            .len(),
        1
    );
}

#[test]
fn beyond_the_budget_of_a_client_revocations_wait_for_a_person() {
    let storm = (0..25).fold(Log::default(), |log, n| {
        log.and(theft(&format!("u{n}"), 40.0 + f64::from(n) / 10.0))
    });
    let printed = enforced(storm.and(theft_at("other", 44.0, "app")));
    let held = printed.actions(&["revoke_family"], "hold");
    assert_eq!(held.len(), 5);
    let told: BTreeSet<String> = printed
        .executed("notify")
        .iter()
        .map(|a| a["incident_id"].to_string())
        .collect();
    assert_eq!(
        printed.executed("notify").len(),
        told.len(),
        "one line an incident"
    );
    assert_eq!(told.len(), 5, "three, the storm, and the other client's");
    assert!(
        held[0]["reason"].as_str().unwrap().contains("budget"),
        "{}",
        held[0]
    );
    assert_eq!(
        printed.executed("revoke_family").len(),
        21,
        "another client has its own budget"
    );
}

/// Somebody who holds old tokens of many plays them all from one place, to have their owners logged out. The policy alone is
/// tested with thousands.
#[test]
fn a_lock_out_attack_stops_at_the_budget_and_a_theft_elsewhere_is_still_cut_off() {
    let victims = 200_u16;
    let apart = 10.0 / f64::from(victims);
    let attack = (0..victims).fold(Log::default(), |log, n| {
        log.and(theft(&format!("u{n}"), 40.0 + f64::from(n) * apart))
    });
    let printed = enforced(attack.and(theft_at("other", 45.0, "app")));
    let of = |actions: Vec<Value>, client: &str| {
        let clients = actions
            .into_iter()
            .map(|it| it["target"]["client_id"].clone());
        clients.filter(|it| it == client).count()
    };
    let revoked = || printed.executed("revoke_family");
    assert_eq!((of(revoked(), "web"), of(revoked(), "app")), (20, 1));
    let held = printed.actions(&["revoke_family"], "hold");
    assert_eq!(of(held, "web"), usize::from(victims) - 20);
    let notices = printed.executed("notify").len();
    assert!(notices <= 1 + 5, "{notices}: one about the other client's");
    let incidents: BTreeSet<String> = (printed.of_type("action").iter())
        .map(|action| action["incident_id"].to_string())
        .collect();
    assert_eq!(
        incidents.len(),
        notices,
        "all but the first few in one storm"
    );
}

#[test]
fn tokens_that_the_server_does_not_take_for_used_revoke_nobody_however_many() {
    let reasons = ["unknown_token", "expired", "revoked", "malformed"];
    let log = (0..1000_u16).fold(Log::begun("u", HOME), |log, n| {
        let seconds = (40.0 + f64::from(n) / 100.0) * MINUTE;
        let reason = reasons[usize::from(n) % reasons.len()];
        log.refused(seconds, at(FRANKFURT), &format!("guess {n}"), reason)
    });
    let printed = enforced(log);
    assert!(
        printed.executed("revoke_family").is_empty(),
        "{}",
        printed.out
    );
    assert!(printed.executed("revoke_user").is_empty());
}

fn with_user(log: &Log, name: &str, user: &str) -> String {
    log.text().replace(
        &format!("\"user_id\":\"{name}\""),
        &format!("\"user_id\":\"{user}\""),
    )
}

#[test]
fn what_one_client_only_observes_leaves_the_page_to_the_client_that_acts() {
    let config = "mode: enforce\nclients: { default: { rotation: enforced, reuse_grace: 30s, mode: observe }, pay: { mode: enforce } }\n";
    let desk = Desk::new(config, WORLD);
    let paid = with_user(&theft_at("second", 100.0, "pay"), "second", "u");
    let files = [
        desk.write("one.jsonl", theft("u", 40.0).text()),
        desk.write("two.jsonl", paid),
    ];
    let printed = desk.json(&files);
    for action in ["revoke_family", "notify"] {
        assert_eq!(printed.actions(&[action], "observe").len(), 1, "{action}");
        assert_eq!(printed.executed(action).len(), 1, "{}", printed.out);
    }
}

#[test]
fn one_account_s_own_thefts_neither_use_up_the_budget_nor_hide_others() {
    let desk = Desk::new(&format!("mode: enforce\n{CLIENTS}"), WORLD);
    let mut files: Vec<_> = (0..20)
        .map(|n| {
            let name = format!("m{n}");
            let own = theft(&name, 40.0 + f64::from(n) / 10.0);
            desk.write(&format!("{name}.jsonl"), with_user(&own, &name, "mallory"))
        })
        .collect();
    for n in 0..3 {
        let victim = theft(&format!("victim{n}"), 43.0 + f64::from(n));
        files.push(desk.write(&format!("victim{n}.jsonl"), victim.text()));
    }
    let printed = desk.json(&files);
    assert_eq!(
        printed.executed("revoke_family").len(),
        23,
        "{}",
        printed.out
    );
    let told: BTreeSet<String> = printed
        .executed("notify")
        .iter()
        .map(|a| a["target"]["user_id"].to_string())
        .collect();
    assert_eq!(told.len(), 4, "mallory, and each victim: {told:?}");
}

/// `count` refreshes of one family, `every` seconds.
fn busy(user: &str, count: u32, every: f64) -> Log {
    let token = |n: u32| format!("{user}-t{n}");
    (0..count).fold(Log::of(user).issue(0.0, HOME, &token(0)), |log, n| {
        log.refresh(60.0 + f64::from(n) * every, HOME, &token(n), &token(n + 1))
    })
}

#[test]
fn velocity_slows_the_family_down_and_pages_only_when_gross() {
    let above = enforced(busy("u", 20, 20.0));
    let throttles = above.executed("throttle");
    assert_eq!(throttles.len(), 1, "{}", above.out);
    assert_eq!(throttles[0]["target"]["family_id"], "u-t0");
    assert!(above.executed("notify").is_empty());
    let gross = enforced(busy("u", 80, 2.0));
    assert_eq!(gross.executed("notify").len(), 1, "{}", gross.out);
    for action in gross.of_type("action") {
        assert!(
            !action["action"].as_str().unwrap().starts_with("revoke"),
            "{action}"
        );
    }
}

#[test]
fn what_slows_down_a_user_names_the_user_and_nobody_else() {
    let config = format!(
        "mode: enforce\n{CLIENTS}overrides: {{ refresh-velocity: {{ mode: off }}, refresh-velocity-user: {{ limit_min: 5, per_lifetime: 1 }} }}\n"
    );
    let printed = replay(&config, busy("a", 20, 20.0).and(busy("b", 20, 20.0)));
    let targets: BTreeSet<String> = printed
        .executed("throttle")
        .iter()
        .map(|a| a["target"]["user_id"].to_string())
        .collect();
    let ids: BTreeSet<String> = printed
        .executed("throttle")
        .iter()
        .map(|a| a["id"].to_string())
        .collect();
    assert_eq!((targets.len(), ids.len()), (2, 2), "{}", printed.out);
    for throttle in printed.executed("throttle") {
        assert_eq!(throttle["target"]["family_id"], Value::Null);
    }
}

#[test]
fn a_flood_of_mild_measures_leaves_the_budget_to_revocations() {
    let flood = (0..30).fold(Log::default(), |log, n| {
        log.and(busy(&format!("busy{n}"), 20, 20.0))
    });
    let printed = enforced(flood.and(theft("u", 26.0)));
    assert!(printed.actions(&["throttle"], "hold").len() >= 10);
    assert_eq!(printed.executed("revoke_family").len(), 1);
}

#[test]
fn travel_alone_is_a_challenge_and_no_page() {
    let log = Log::begun("u", HOME).refresh(30.0 * MINUTE, at(FRANKFURT), "u-t2", "u-t3");
    let printed = enforced(log);
    let challenges = printed.executed("challenge");
    assert_eq!(challenges.len(), 1, "{}", printed.out);
    assert_eq!(challenges[0]["target"]["user_id"], "u");
    assert!(printed.executed("notify").is_empty() && printed.executed("revoke_family").is_empty());
}

#[test]
fn an_exempt_client_s_whereabouts_are_nobody_s() {
    let config = "mode: enforce\nclients: { default: { rotation: enforced }, sync: { exempt_from: [impossible-travel] } }\n";
    let sync = Who {
        client: "sync",
        ..at(FRANKFURT)
    };
    let other = Log::begun("u", HOME).and(Log::of("u").event(
        30.0 * MINUTE,
        sync,
        json!({"event_id": "s1", "session_id": "another", "user_id": "u", "token_id": "s-t0", "new_token_id": "s-t1"}),
    ));
    let printed = replay(config, other.refresh(31.0 * MINUTE, HOME, "u-t2", "u-t3"));
    assert!(printed.detections().is_empty(), "{}", printed.out);
}
