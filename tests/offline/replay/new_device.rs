//! A token that is refused on another device, all else being its owner's: a new phone, or a thief in the same network. Whether the
//! user logs in there decides, and nothing that a thief can do hides that he does not.

use std::ffi::OsString;

use serde_json::{Value, json};
use tokenwarden::simulate::places::WORLD;

use super::log::{HOME, Log, MINUTE, Who, at};
use super::{Desk, command};

const CONFIG: &str = "mode: enforce\nclients: { default: { rotation: enforced } }\n";

const OLD_PHONE: Who = Who {
    device: Some("old phone"),
    ..HOME
};
const NEW_PHONE: Who = Who {
    device: Some("new phone"),
    ..HOME
};
/// When the new phone is refused first.
const REFUSED: f64 = 40.0 * MINUTE;

/// `u-t2` is used.
fn family() -> Log {
    Log::begun("u", OLD_PHONE).refresh(30.0 * MINUTE, OLD_PHONE, "u-t2", "u-t3")
}

fn refused(log: Log) -> Log {
    log.refused(REFUSED, NEW_PHONE, "u-t2", "reuse")
}

/// So many refusals in turn, ten seconds apart.
fn repeated(log: Log, times: u8, who: impl Fn(u8) -> Who) -> Log {
    (0..times).fold(log, |log, n| {
        let time = REFUSED + 10.0 * f64::from(n);
        log.refused(time, who(n), "u-t2", "reuse")
    })
}

/// The user logs in on the new phone, in a session of its own unless one is given.
fn login(log: Log, seconds: f64, session: &str) -> Log {
    let members =
        json!({"type": "issue", "new_token_id": "n", "user_id": "u", "session_id": session});
    log.event(seconds, NEW_PHONE, members)
}

/// Somebody else is active long afterwards.
fn later(log: Log) -> Log {
    log.and(Log::of("bob").issue(120.0 * MINUTE, HOME, "bob's"))
}

/// What `token-reuse` finds.
fn found(log: Log) -> Vec<Value> {
    let desk = Desk::new(CONFIG, WORLD);
    let mut found = desk.json(&[later(log).write(&desk)]).detections();
    found.retain(|it| it["rule"] == "token-reuse");
    found
}

/// What it says of whatever it says something; in order.
fn verdicts(log: Log) -> Vec<String> {
    let verdict = |it: &Value| it["evidence"]["verdict"].as_str().unwrap().to_owned();
    found(log).iter().map(verdict).collect()
}

/// Whether it calls the first refusal a theft: that was found while others followed, or it would be one of the last that are
/// remembered.
fn is_theft_from_the_first(log: Log) -> bool {
    let found = found(log);
    let is_theft = |it: &Value| it["evidence"]["verdict"] == "theft";
    found.len() == 1 && found.iter().all(is_theft) && found[0]["event_id"] == "e4-u"
}

#[test]
fn whether_the_user_logs_in_there_decides() {
    assert_eq!(verdicts(refused(family())), ["theft"], "he does not");
    let soon = login(refused(family()), REFUSED + 280.0, "new");
    assert_eq!(verdicts(soon), ["suspected"]);
    let too_late = login(refused(family()), REFUSED + 301.0, "new");
    assert_eq!(verdicts(too_late), ["theft"]);
    let before = refused(login(family(), REFUSED - 60.0, "new"));
    assert_eq!(verdicts(before), ["suspected"], "he did a moment ago");
}

#[test]
fn who_goes_on_trying_is_judged_all_the_same() {
    let tried = |times| repeated(family(), times, |_| NEW_PHONE);
    assert!(is_theft_from_the_first(tried(200)));
    let owner = login(tried(24), REFUSED + 240.0, "new");
    assert_eq!(verdicts(owner), ["suspected"], "a program may do that too");
}

#[test]
fn who_shows_another_device_at_each_try_does_not_push_his_first_out() {
    let devices: Vec<&'static str> = (0..100).map(|n| &*format!("device {n}").leak()).collect();
    let by_turns = |n: u8| Who {
        device: Some(devices[usize::from(n)]),
        ..HOME
    };
    assert!(is_theft_from_the_first(repeated(family(), 100, by_turns)));
}

#[test]
fn a_token_exchanged_within_the_session_is_no_login() {
    let exchanged = login(refused(family()), REFUSED + 60.0, "session of u");
    assert_eq!(verdicts(exchanged), ["theft"]);
}

#[test]
fn what_else_sets_a_device_apart_needs_no_waiting() {
    let family = |who: Who| Log::begun("u", who).refresh(30.0 * MINUTE, who, "u-t2", "u-t3");
    let elsewhere = Who {
        device: Some("new phone"),
        ..at("198.51.100.20")
    };
    let log = family(OLD_PHONE).refused(REFUSED, elsewhere, "u-t2", "reuse");
    assert_eq!(verdicts(login(log, REFUSED + 60.0, "new")), ["theft"]);
    let bound = Who {
        key: Some("key"),
        ..OLD_PHONE
    };
    let log = refused(family(bound));
    assert_eq!(verdicts(login(log, REFUSED + 60.0, "new")), ["theft"]);
    let print = |ja4: &str| json!({"ja4": ja4});
    let log = Log::of("u")
        .issue(0.0, OLD_PHONE, "a")
        .event(
            MINUTE,
            OLD_PHONE,
            merged(
                print("t13d1516h2_8daaf6152771_02713d6af862"),
                json!({"token_id": "a", "new_token_id": "b", "user_id": "u"}),
            ),
        )
        .event(
            20.0 * MINUTE,
            OLD_PHONE,
            merged(
                print("t13d1516h2_8daaf6152771_02713d6af862"),
                json!({"token_id": "b", "new_token_id": "c", "user_id": "u"}),
            ),
        );
    let refused = |ja4: &str| {
        let members =
            json!({"outcome": "failure", "reason": "reuse", "token_id": "b", "user_id": "u"});
        let log = log
            .clone()
            .event(REFUSED, NEW_PHONE, merged(print(ja4), members));
        verdicts(login(log, REFUSED + 60.0, "new"))
    };
    assert_eq!(
        refused("t13d1516h2_8daaf6152771_02713d6af862"),
        ["suspected"]
    );
    assert_eq!(refused("t13i190800_d52411be2556_7e51ca3a5dd6"), ["theft"]);
}

fn merged(mut one: Value, other: Value) -> Value {
    let into = one.as_object_mut().unwrap();
    into.extend(other.as_object().unwrap().clone());
    one
}

/// The daemon remembers of a user no more than so many families: what was found stands when the login is among those forgotten.
#[test]
fn a_login_that_is_forgotten_does_not_make_a_thief_of_its_user() {
    let honest = login(refused(family()), REFUSED + 60.0, "new");
    let busy = (0..100_u8).fold(honest, |log, n| {
        let members = json!({"type": "issue", "new_token_id": format!("m{n}"), "user_id": "u", "session_id": format!("s{n}")});
        log.event(REFUSED + 400.0 + f64::from(n), OLD_PHONE, members)
    });
    let again = busy.refused(REFUSED + 900.0, NEW_PHONE, "u-t2", "reuse");
    assert_eq!(verdicts(again), ["suspected"]);
}

/// That the token had been used shows a minute after it was refused.
#[test]
fn a_use_that_is_heard_of_late_awaits_the_login_too() {
    let log = Log::begun("u", OLD_PHONE)
        .refused(REFUSED, NEW_PHONE, "u-t2", "reuse")
        .and(Log::of("bob").issue(REFUSED + 60.0, HOME, "bob's other"))
        .refresh(REFUSED - 20.0, OLD_PHONE, "u-t2", "u-t3");
    assert_eq!(verdicts(log.clone()), ["theft"]);
    let honest = login(log, REFUSED + 200.0, "new");
    assert_eq!(verdicts(honest), ["suspected"]);
}

/// The reasons are those of the whole wait, not of a shorter one.
#[test]
fn it_is_explained_as_it_was_found() {
    let desk = Desk::new(CONFIG, WORLD);
    let honest = later(login(refused(family()), REFUSED + 280.0, "new")).write(&desk);
    let replayed = desk.json(std::slice::from_ref(&honest)).detections();
    let config: OsString = desk.path("config.yaml").into();
    let mut line = ["tokenwarden", "explain", "--event", "e4-u", "-c"]
        .map(OsString::from)
        .to_vec();
    line.extend([config, "--replay".into(), honest.into()]);
    line.extend(["--output", "json"].map(OsString::from));
    let explained: Value = serde_json::from_str(&command(line).out).unwrap();
    let rules = explained["rules"].as_array().unwrap();
    let reuse = rules.iter().find(|it| it["rule"] == "token-reuse").unwrap();
    let found = replayed.iter().find(|it| it["rule"] == "token-reuse");
    assert_eq!(reuse["detections"][0]["id"], found.unwrap()["id"]);
}
