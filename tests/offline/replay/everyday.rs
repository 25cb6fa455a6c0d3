//! What honest people, slow laptops and careful operators do, and what looks like it.

use serde_json::{Value, json};
use tokenwarden::simulate::places::WORLD;

use super::log::{FRANKFURT, HOME, Log, MINUTE, NEW_YORK_CAFE, at};
use super::{Desk, Printed};

const ENFORCED: &str =
    "mode: enforce\nclients: { default: { rotation: enforced, reuse_grace: 30s } }\n";

fn replay(config: &str, log: &Log) -> Printed {
    let desk = Desk::new(config, WORLD);
    let file = log.write(&desk);
    desk.json(&[file])
}

/// Verdicts of the reuse rule, in order.
fn verdicts(printed: &Printed) -> Vec<String> {
    let of = |d: &Value| d["evidence"]["verdict"].as_str().map(str::to_owned);
    printed.detections().iter().filter_map(of).collect()
}

fn quiet(printed: &Printed) {
    for kind in ["notify", "revoke_family", "review", "challenge"] {
        assert!(printed.executed(kind).is_empty(), "{}", printed.out);
    }
}

fn revoked(printed: &Printed) {
    assert_eq!(
        printed.executed("revoke_family").len(),
        1,
        "{}",
        printed.out
    );
    assert_eq!(printed.executed("notify").len(), 1, "{}", printed.out);
}

#[test]
fn two_tabs_at_once_are_one_client_whichever_line_stands_first() {
    let log = Log::begun("u", HOME)
        .refused(30.0 * MINUTE, HOME, "u-t2", "reuse")
        .refresh(30.0 * MINUTE + 0.15, HOME, "u-t2", "u-t3");
    let printed = replay(ENFORCED, &log);
    assert_eq!(verdicts(&printed), ["client_fault"]);
    quiet(&printed);
}

#[test]
fn a_lost_answer_is_asked_for_again_after_seconds_or_after_a_nap() {
    for pause in [20.0, 20.0 * MINUTE] {
        let log = Log::begun("u", HOME)
            .refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3")
            .refresh(30.0 * MINUTE + pause, HOME, "u-t2", "u-t3b")
            .refresh(90.0 * MINUTE, HOME, "u-t3b", "u-t4");
        let printed = replay(ENFORCED, &log);
        assert!(printed.detections().is_empty(), "{}", printed.out);
    }
}

#[test]
fn a_client_that_keeps_asking_is_a_fault_and_worth_a_word_when_it_repeats() {
    let mut log = Log::begun("u", HOME);
    for n in 0_u32..4 {
        let at = 30.0 * MINUTE + f64::from(n) * 10.0 * MINUTE;
        log = log
            .refresh(at, HOME, &format!("u-t{}", n + 2), &format!("u-t{}", n + 3))
            .refused(at + 5.0, HOME, &format!("u-t{}", n + 2), "reuse");
    }
    let printed = replay(ENFORCED, &log);
    let severities: Vec<Value> = printed
        .detections()
        .iter()
        .map(|d| d["severity"].clone())
        .collect();
    assert_eq!(severities, ["info", "info", "low", "low"]);
    assert!(printed.executed("notify").is_empty());
    assert!(printed.executed("revoke_family").is_empty());
}

#[test]
fn moving_to_another_network_is_nothing_and_a_retry_from_there_is_for_review() {
    let moved = Log::begun("u", HOME).refresh(30.0 * MINUTE, at(NEW_YORK_CAFE), "u-t2", "u-t3");
    assert!(replay(ENFORCED, &moved).detections().is_empty());
    let retried = Log::begun("u", HOME)
        .refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3")
        .refused(35.0 * MINUTE, at(NEW_YORK_CAFE), "u-t2", "other");
    let printed = replay(ENFORCED, &retried);
    assert_eq!(verdicts(&printed), ["suspected"]);
    assert_eq!(printed.executed("review").len(), 1);
    assert!(printed.executed("notify").is_empty() && printed.executed("revoke_family").is_empty());
}

#[test]
fn what_was_suspected_is_proved_when_two_networks_hold_tokens_of_one_family() {
    let log = Log::begun("u", HOME)
        .refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3")
        .refused(31.0 * MINUTE, at(NEW_YORK_CAFE), "u-t2", "other")
        .refresh(33.0 * MINUTE, HOME, "u-t3", "u-t4");
    let printed = replay(ENFORCED, &log);
    assert_eq!(verdicts(&printed), ["suspected", "theft"]);
    revoked(&printed);
    let incidents: std::collections::BTreeSet<String> = printed
        .of_type("action")
        .iter()
        .map(|a| a["incident_id"].to_string())
        .collect();
    assert_eq!(incidents.len(), 1, "both turns are one incident");
}

#[test]
fn refused_after_a_logout_is_its_aftermath_until_the_family_lives_again() {
    let ended = Log::begun("u", HOME)
        .refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3")
        .event(
            40.0 * MINUTE,
            HOME,
            json!({"type": "logout", "initiator": "user"}),
        )
        .refused(41.0 * MINUTE, at(FRANKFURT), "u-t2", "other");
    assert!(replay(ENFORCED, &ended).detections().is_empty());
    let operator = |log: Log, minute: f64, what: &str| {
        let members = json!({"type": what, "user_id": "u", "initiator": "admin"});
        log.event(minute * MINUTE, HOME, members)
    };
    let disabled = |log: Log, minute: f64| operator(log, minute, "user_disable");
    let for_a_while = |log: Log| operator(disabled(log, 25.0), 27.0, "user_enable");
    let enabled_again = for_a_while(Log::begun("u", HOME))
        .refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3")
        .refused(41.0 * MINUTE, at(FRANKFURT), "u-t2", "other");
    revoked(&replay(ENFORCED, &enabled_again));
    let twice = disabled(
        for_a_while(Log::begun("u", HOME)).refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3"),
        40.0,
    )
    .refused(41.0 * MINUTE, at(FRANKFURT), "u-t2", "other");
    assert!(replay(ENFORCED, &twice).detections().is_empty());
}

#[test]
fn a_changed_password_excuses_nobody() {
    let log = Log::begun("u", HOME)
        .refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3")
        .event(
            40.0 * MINUTE,
            HOME,
            json!({"type": "credential_change", "user_id": "u"}),
        )
        .refused(41.0 * MINUTE, at(FRANKFURT), "u-t2", "other");
    revoked(&replay(ENFORCED, &log));
}

#[test]
fn where_tokens_are_not_replaced_a_repeat_is_ordinary() {
    let same = |issued: Value| {
        let mut log = Log::of("u").issue(0.0, HOME, "u-t0");
        for n in 1_u32..6 {
            let members = json!({"token_id": "u-t0", "new_token_id": issued, "user_id": "u"});
            log = log.event(f64::from(n) * 40.0 * MINUTE, HOME, members);
        }
        log.refused(241.0 * MINUTE, at(NEW_YORK_CAFE), "u-t0", "unknown_token")
    };
    for rotation in ["off", "unknown"] {
        for issued in [Value::Null, json!("u-t0")] {
            let config =
                format!("mode: enforce\nclients: {{ default: {{ rotation: {rotation} }} }}\n");
            let printed = replay(&config, &same(issued));
            assert!(
                printed.detections().is_empty(),
                "{rotation}: {}",
                printed.out
            );
        }
    }
}

#[test]
fn with_unknown_rotation_an_accepted_repeat_never_revokes_and_a_refusal_is_judged_as_usual() {
    let unset = "mode: enforce\n";
    let accepted = Log::begun("u", HOME)
        .refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3")
        .refresh(31.0 * MINUTE, HOME, "u-t3", "u-t4")
        .refresh(50.0 * MINUTE, at(FRANKFURT), "u-t2", "u-t3b");
    let printed = replay(unset, &accepted);
    assert!(verdicts(&printed).contains(&"theft".to_owned()));
    assert!(
        printed.executed("revoke_family").is_empty(),
        "{}",
        printed.out
    );
    let refused = Log::begun("u", HOME)
        .refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3")
        .refused(50.0 * MINUTE, at(FRANKFURT), "u-t2", "other");
    revoked(&replay(unset, &refused));
}

#[test]
fn repeats_that_the_server_allows_are_ordinary() {
    let config = "mode: enforce\nclients: { default: { rotation: enforced, reuse_grace: 0s, max_reuse: 1 } }\n";
    let log = Log::begun("u", HOME)
        .refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3")
        .refresh(95.0 * MINUTE, HOME, "u-t2", "u-t3b");
    assert!(replay(config, &log).detections().is_empty());
}

#[test]
fn a_token_older_than_all_that_is_remembered_is_still_a_used_one() {
    let mut log = Log::begun("u", HOME);
    for n in 2_u32..120 {
        let at = 30.0 * MINUTE + f64::from(n) * MINUTE;
        log = log.refresh(at, HOME, &format!("u-t{n}"), &format!("u-t{}", n + 1));
    }
    let late = 155.0 * MINUTE;
    revoked(&replay(
        ENFORCED,
        &log.clone().refresh(late, at(FRANKFURT), "u-t3", "u-t3b"),
    ));
    revoked(&replay(
        ENFORCED,
        &log.clone()
            .refused(late, at(FRANKFURT), "u-t3", "unknown_token"),
    ));
    let own = replay(
        ENFORCED,
        &log.clone().refused(late, HOME, "u-t3", "unknown_token"),
    );
    assert_eq!(verdicts(&own), ["client_fault"]);
    // A row that a source delivers once more is a repeat, however old.
    let again = log.refresh(33.0 * MINUTE, HOME, "u-t3", "u-t4");
    quiet(&replay(ENFORCED, &again));
}

#[test]
fn a_flood_of_refusals_does_not_wash_a_theft_away() {
    let mut log = Log::begun("u", HOME).refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3");
    for n in 0_u32..200 {
        log = log.refused(31.0 * MINUTE + f64::from(n), HOME, "u-t1", "other");
    }
    let log = log.refused(36.0 * MINUTE, at(FRANKFURT), "u-t2", "other");
    let printed = replay(ENFORCED, &log);
    assert_eq!(verdicts(&printed), ["client_fault", "theft"]);
    revoked(&printed);
}

#[test]
fn what_comes_too_late_is_for_a_person() {
    let log = Log::begun("u", HOME)
        .refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3")
        .refresh(40.0 * MINUTE, HOME, "u-t3", "u-t4")
        .refused(35.0 * MINUTE, at(FRANKFURT), "u-t2", "other");
    let printed = replay(ENFORCED, &log);
    assert_eq!(printed.summary()["late"], 1);
    assert_eq!(verdicts(&printed), ["theft"]);
    assert_eq!(printed.executed("review").len(), 1);
    assert!(printed.executed("revoke_family").is_empty() && printed.executed("notify").is_empty());
}

#[test]
fn one_line_from_the_future_does_not_make_all_others_late() {
    let log = Log::begun("u", HOME)
        .and(Log::of("w").issue(900.0 * 60.0 * MINUTE, HOME, "w-t0"))
        .and(
            Log::of("u")
                .refresh(30.0 * MINUTE, HOME, "u-t2", "u-t3")
                .refused(50.0 * MINUTE, at(FRANKFURT), "u-t2", "other"),
        );
    let desk = Desk::new(ENFORCED, WORLD);
    let text: Vec<String> = log
        .text()
        .lines()
        .enumerate()
        .map(|(n, line)| line.replace("\"event_id\":\"", &format!("\"event_id\":\"{n}-")))
        .collect();
    let printed = desk.json(&[desk.write("log.jsonl", text.join("\n"))]);
    assert_eq!(printed.summary()["late"], 0);
    revoked(&printed);
}
