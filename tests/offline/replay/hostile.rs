//! What somebody can make of it who may ask the token endpoint as often, and claim in a refused request whatever he likes.

use serde_json::json;
use tokenwarden::simulate::places::WORLD;

use super::log::{BROWSER, FRANKFURT, HOME, LIBRARY, Log, MINUTE, NEW_YORK_CAFE, Who, at};
use super::{Desk, Printed};

const ENFORCED: &str =
    "mode: enforce\nclients: { default: { rotation: enforced, reuse_grace: 30s } }\n";
const OWNER: Who = Who {
    agent: Some(BROWSER),
    ..HOME
};
const THIEF: Who = Who {
    agent: Some(LIBRARY),
    ..at(FRANKFURT)
};

fn replay(log: &Log) -> Printed {
    let desk = Desk::new(ENFORCED, WORLD);
    let file = log.write(&desk);
    desk.json(&[file])
}

/// The families and sessions that would be ended.
fn ended(printed: &Printed) -> Vec<(String, String)> {
    let revocations = printed.executed("revoke_family");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    revocations
        .iter()
        .map(|action| {
            let target = &action["target"];
            (text(&target["family_id"]), text(&target["session_id"]))
        })
        .collect()
}

#[test]
fn two_presentations_in_one_second_are_two_whichever_is_told_first() {
    let begun = Log::begun("u", OWNER).refresh(30.0 * MINUTE, OWNER, "u-t2", "u-t3");
    let once = 40.0 * MINUTE;
    let orders = [[OWNER, THIEF], [THIEF, OWNER]];
    for [first, second] in orders {
        let log = (begun.clone())
            .refused(once, first, "u-t2", "reuse")
            .refused(once, second, "u-t2", "reuse");
        let printed = replay(&log);
        assert_eq!(ended(&printed).len(), 1, "{}", printed.out);
    }
}

#[test]
fn what_a_coarse_clock_shows_at_once_is_not_one_after_the_other() {
    // Whatever the hashes of the names: a second tab may use the token in the same second as its successor is used.
    for name in 0..16 {
        let token = |n: u32| format!("{name}-{n}");
        let log = Log::of("u")
            .issue(0.0, OWNER, &token(0))
            .refresh(100.0, OWNER, &token(0), &token(1))
            .refresh(101.0, OWNER, &token(1), &token(2))
            .refresh(101.0, OWNER, &token(0), &token(3));
        let printed = replay(&log);
        assert_eq!(ended(&printed), [], "{}", printed.out);
    }
}

#[test]
fn a_claimed_family_does_not_make_a_token_its_own() {
    let victim = json!({"family_id": "victims"});
    let lived = |log: Log, who, family: &str, token: &str| {
        let first = json!({"type": "issue", "new_token_id": format!("{token}-0"), "family_id": family, "user_id": family});
        let next = json!({"token_id": format!("{token}-0"), "new_token_id": format!("{token}-1"), "family_id": family, "user_id": family});
        log.event(0.0, who, first).event(10.0 * MINUTE, who, next)
    };
    let log = lived(Log::of("victim"), OWNER, "victims", "v");
    let log = lived(log, OWNER, "attackers", "a");
    // He claims the victim's family for his own tokens, and then plays the thief of them.
    let claim = json!({"outcome": "failure", "reason": "client_mismatch", "token_id": "a-1", "family_id": victim["family_id"]});
    let reuse = json!({"outcome": "failure", "reason": "reuse", "token_id": "a-0", "family_id": victim["family_id"]});
    let printed = replay(&log.event(11.0 * MINUTE, THIEF, claim).event(
        12.0 * MINUTE,
        THIEF,
        reuse,
    ));
    let families: Vec<String> = ended(&printed)
        .into_iter()
        .map(|(family, _)| family)
        .collect();
    assert_eq!(families, ["attackers"], "{}", printed.out);
}

#[test]
fn what_a_refusal_claims_goes_when_the_server_has_spoken() {
    let claim = json!({"outcome": "failure", "reason": "policy", "token_id": "a-0", "session_id": "session of the victim", "client_id": "exempt"});
    let log = Log::of("attacker")
        .event(0.0, OWNER, claim)
        .issue(60.0, OWNER, "a-0")
        .refresh(10.0 * MINUTE, OWNER, "a-0", "a-1")
        .refused(20.0 * MINUTE, THIEF, "a-0", "reuse");
    let printed = replay(&log);
    let sessions: Vec<String> = ended(&printed)
        .into_iter()
        .map(|(_, session)| session)
        .collect();
    assert_eq!(sessions, ["session of attacker"], "{}", printed.out);
}

#[test]
fn garbage_does_not_push_out_the_refusal_that_proves_the_theft() {
    let named = |members: serde_json::Value| {
        let mut members = members;
        members["family_id"] = json!("f");
        members["user_id"] = json!("u");
        members
    };
    let mut log = Log::of("u").event(
        0.0,
        OWNER,
        named(json!({"type": "issue", "new_token_id": "0"})),
    );
    for n in 0..90 {
        let members = json!({"token_id": n.to_string(), "new_token_id": (n + 1).to_string()});
        let who = if n == 89 { THIEF } else { OWNER };
        log = log.event(f64::from(n + 1) * MINUTE, who, named(members));
    }
    let refused = 91.0 * MINUTE;
    let failure = |token: String, reason| json!({"outcome": "failure", "reason": reason, "token_id": token, "family_id": "f"});
    log = log.event(refused, OWNER, failure("89".into(), "reuse"));
    for n in 0..40 {
        let late = f64::from(n) * 0.04;
        log = log.event(
            refused + late,
            THIEF,
            failure(format!("garbage {n}"), "unknown_token"),
        );
    }
    let printed = replay(&log);
    assert_eq!(ended(&printed).len(), 1, "{}", printed.out);
}

#[test]
fn a_revocation_of_one_client_excuses_no_other() {
    let consent = json!({"type": "revoke", "user_id": "u", "client_id": "another", "session_id": null, "initiator": "user"});
    let log = Log::begun("u", OWNER)
        .event(25.0 * MINUTE, OWNER, consent)
        .refused(30.0 * MINUTE, at(NEW_YORK_CAFE), "u-t0", "reuse")
        .refused(31.0 * MINUTE, THIEF, "u-t0", "reuse");
    let printed = replay(&log);
    assert_eq!(ended(&printed).len(), 1, "{}", printed.out);
}
