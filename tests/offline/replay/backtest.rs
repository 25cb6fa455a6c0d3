//! `replay --diff` and `replay --summary`: snapshots over a log with honest and dishonest users, and over what a real
//! Keycloak recorded.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokenwarden::cli::Exit;
use tokenwarden::simulate::places::WORLD;

use super::log::{
    BROWSER, FRANKFURT, HOME, LIBRARY, Log, MINUTE, NEW_YORK, NEW_YORK_CAFE, Who, at,
};
use super::{Desk, Printed, fixtures};

const CONFIG: &str = "mode: enforce
clients: { default: { rotation: enforced } }
overrides: { impossible-travel: { mode: enforce } }
";

fn browser(address: &'static str) -> Who {
    Who {
        agent: Some(BROWSER),
        ..at(address)
    }
}

/// A theft by a program elsewhere, a theft that only the address tells, a traveller and somebody honest.
fn log() -> Log {
    let program = Who {
        agent: Some(LIBRARY),
        ..at(FRANKFURT)
    };
    let stolen = Log::begun("stolen", browser(NEW_YORK))
        .refresh(30.0 * MINUTE, browser(NEW_YORK), "stolen-t2", "stolen-t3")
        .refused(40.0 * MINUTE, program, "stolen-t2", "other");
    let doubtful = Log::begun("doubtful", HOME)
        .refresh(31.0 * MINUTE, HOME, "doubtful-t2", "doubtful-t3")
        .refused(41.0 * MINUTE, at(NEW_YORK_CAFE), "doubtful-t2", "other");
    let traveller = Log::begun("traveller", browser(NEW_YORK)).refresh(
        50.0 * MINUTE,
        browser(FRANKFURT),
        "traveller-t2",
        "traveller-t3",
    );
    let library_at_home = Who {
        agent: Some(LIBRARY),
        ..at(NEW_YORK)
    };
    let mover = Log::begun("mover", browser(NEW_YORK)).refresh(
        30.0 * MINUTE,
        library_at_home,
        "mover-t2",
        "mover-t3",
    );
    stolen
        .and(doubtful)
        .and(traveller)
        .and(mover)
        .and(Log::begun("honest", browser(NEW_YORK_CAFE)))
        .sorted()
}

/// The rules that come with the program but those of places, and a milder one for reuse.
fn others(desk: &Desk) -> PathBuf {
    let folder = desk.path("others");
    std::fs::create_dir(&folder).unwrap();
    let shipped = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("rules");
    for name in ["token-reuse", "refresh-velocity"] {
        let text = std::fs::read_to_string(shipped.join(format!("{name}.yaml"))).unwrap();
        let text = text
            .replace("response: [revoke_family]", "response: [review]")
            .replace("severity: critical", "severity: high");
        std::fs::write(folder.join(format!("{name}.yaml")), text).unwrap();
    }
    let ours = "version: 1
rules:
  - name: any-other-program
    description: Another program than before.
    severity: medium
    detect: { device_change: { history_min: 1 } }
    response: [review]
";
    std::fs::write(folder.join("ours.yaml"), ours).unwrap();
    folder
}

/// The paths of the test are not part of what is shown.
fn steady(desk: &Desk, printed: &Printed) -> String {
    assert_eq!(printed.err, "");
    printed
        .out
        .replace(desk.path("").to_str().unwrap(), "DESK/")
}

fn recorded(scenario: &str) -> Vec<PathBuf> {
    let folder = fixtures().join("keycloak-26.4").join(scenario);
    ["events.jsonl", "admin-events.jsonl"]
        .map(|name| folder.join(name))
        .to_vec()
}

#[test]
fn diff_shows_what_other_rules_would_change() {
    let desk = Desk::new(CONFIG, WORLD);
    let (files, others) = ([log().write(&desk)], others(&desk));
    let others = others.to_str().unwrap();
    let text = desk.run(&["--diff", others], &files);
    assert_eq!(text.exit, Exit::Success);
    insta::assert_snapshot!("diff_text", steady(&desk, &text));

    let lines = desk.run(&["--diff", others, "--output", "json"], &files);
    let short: Vec<Value> = lines.lines().into_iter().map(shortened).collect();
    insta::assert_json_snapshot!("diff_json", short);
    let summary = lines.summary();
    let differing = lines
        .of_type("diff")
        .iter()
        .filter(|line| line["what"] == "detection")
        .count();
    assert_eq!(summary["changed"], differing);

    let failing = desk.run(&["--diff", others, "--fail-on-detection"], &files);
    assert_eq!(failing.exit, Exit::Negative);
}

/// Without what other tests are about.
fn shortened(mut line: Value) -> Value {
    for part in ["detection", "before", "after"] {
        if let Some(members) = line.get_mut(part).and_then(Value::as_object_mut) {
            members.retain(|name, _| {
                ["rule", "severity", "user_id", "action", "decision", "time"]
                    .contains(&name.as_str())
            });
        }
    }
    line
}

#[test]
fn rules_differ_from_themselves_in_nothing() {
    let desk = Desk::new(CONFIG, WORLD);
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/rules");
    let same = desk.run(
        &["--diff", shipped, "--output", "json"],
        &[log().write(&desk)],
    );
    assert_eq!(same.of_type("diff"), [Value::Null; 0]);
    assert!(
        same.summary()["unchanged"].as_u64().unwrap() >= 3,
        "{}",
        same.out
    );
    assert_eq!(same.summary()["changed_actions"], json!(0));
}

#[test]
fn diff_over_what_a_real_keycloak_recorded() {
    let desk = Desk::new(CONFIG, WORLD);
    let others = others(&desk);
    let arguments = ["--format", "keycloak", "--diff", others.to_str().unwrap()];
    let printed = desk.run(&arguments, &recorded("S02"));
    assert_eq!(printed.exit, Exit::Success);
    insta::assert_snapshot!("diff_keycloak", steady(&desk, &printed));
}

#[test]
fn other_rules_with_a_fault_are_told_with_their_place() {
    let desk = Desk::new(CONFIG, &[]);
    let broken = desk.write("broken.yaml", "version: 1\nrules: [{ name: x }]\n");
    let printed = desk.run(&["--diff", broken.to_str().unwrap()], &[log().write(&desk)]);
    assert_eq!(printed.exit, Exit::Unusable);
    assert!(printed.err.contains("broken.yaml:2:9: "), "{}", printed.err);
    assert_eq!(printed.out, "");
}

#[test]
fn summary_says_what_to_know_before_anything_is_enforced() {
    let desk = Desk::new(CONFIG, WORLD);
    let files = [log().write(&desk)];
    let text = desk.run(&["--summary"], &files);
    assert_eq!(text.exit, Exit::Success);
    insta::assert_snapshot!("summary_text", steady(&desk, &text));
    let widest = text.out.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?}");

    let lines = desk.run(&["--summary", "--output", "json"], &files);
    insta::assert_json_snapshot!("summary_json", lines.lines());
    let failing = desk.run(&["--summary", "--fail-on-detection"], &files);
    assert_eq!(failing.exit, Exit::Negative);
    let both = desk.run(&["--summary", "--diff", "rules"], &files);
    assert_eq!(both.exit, Exit::Unusable);
}

#[test]
fn the_summary_of_an_observed_log_counts_each_family_and_page_once() {
    let desk = Desk::new(&CONFIG.replace("mode: enforce", "mode: observe"), WORLD);
    let files = [log().write(&desk)];
    let enforced = Desk::new(CONFIG, WORLD).run(&["--summary", "--output", "json"], &files);
    let observed = desk.run(&["--summary", "--output", "json"], &files);
    let of = |printed: &Printed, kind: &str| printed.of_type(kind)[0].clone();
    assert_eq!(
        of(&observed, "days")["pages"],
        of(&enforced, "days")["pages"]
    );
    let (was, is) = (of(&enforced, "revocations"), of(&observed, "revocations"));
    assert_eq!((&was["families"], &was["execute"]), (&json!(1), &json!(1)));
    assert_eq!((&is["families"], &is["observe"]), (&json!(1), &json!(1)));
}

#[test]
fn summary_over_what_a_real_keycloak_recorded() {
    let desk = Desk::new(CONFIG, WORLD);
    let printed = desk.run(&["--format", "keycloak", "--summary"], &recorded("S02"));
    assert_eq!(printed.exit, Exit::Success);
    insta::assert_snapshot!("summary_keycloak", steady(&desk, &printed));
}

/// Somebody's first token and a few refreshes, every so many seconds.
fn refreshing(user: u32, who: Who, times: u32, every: f64) -> Log {
    let token = |n: u32| format!("{user}-t{n}");
    let mut log = Log::of(&format!("user-{user}")).issue(f64::from(user), who, &token(0));
    for n in 0..times {
        let at = f64::from(user) + every * f64::from(n + 1);
        log = log.refresh(at, who, &token(n), &token(n + 1));
    }
    log
}

#[test]
fn summary_suggests_what_to_declare_and_what_to_except() {
    // A way out that sixty share, servers of one client at a hosting provider, and a client whose tokens are polled.
    const PROXY: &str = "10.0.0.5";
    let polled = Who {
        client: "poller",
        ..at(NEW_YORK_CAFE)
    };
    let servers = Who {
        client: "api",
        ..at(FRANKFURT)
    };
    let mut log = Log::default();
    for user in 0..60 {
        log = log
            .and(refreshing(user, HOME, 3, 10.0 * MINUTE))
            .and(refreshing(100 + user, servers, 3, 10.0 * MINUTE))
            .and(refreshing(200 + user, at(PROXY), 3, 10.0 * MINUTE));
    }
    for user in 0..12 {
        log = log.and(refreshing(300 + user, polled, 15, 20.0));
    }
    let desk = Desk::new(CONFIG, WORLD);
    let files = [log.sorted().write(&desk)];
    let lines = desk.run(&["--summary", "--output", "json"], &files);
    let classes: Vec<String> = lines
        .of_type("declaration")
        .iter()
        .map(|it| format!("{} {} {}", it["addresses"][0], it["class"], it["users"]))
        .collect();
    assert_eq!(
        classes,
        [
            "\"10.0.0.5\" null 60",
            "\"192.0.2.10\" \"egress\" 60",
            "\"198.51.100.20\" \"backend\" 60",
        ]
    );
    let exceptions: Vec<(Value, Value)> = lines
        .of_type("exception")
        .iter()
        .map(|it| (it["rule"].clone(), it["client_id"].clone()))
        .collect();
    assert!(
        exceptions.contains(&(json!("refresh-velocity"), json!("poller"))),
        "{}",
        lines.out
    );
    let text = desk.run(&["--summary"], &files);
    insta::assert_snapshot!("summary_advice", steady(&desk, &text));
}

#[test]
fn summary_names_the_exceptions_that_covered_nothing() {
    let exception = |client: &str, owner: &str| {
        format!(
            "      - {{ match: {{ client_id: {client} }}, reason: polls, owner: {owner}, expires: 2030-01-31 }}\n"
        )
    };
    let config = format!(
        "clients: {{ default: {{ rotation: enforced }} }}\noverrides:\n  refresh-velocity:\n    exceptions:\n{}{}",
        exception("poller", "used"),
        exception("elsewhere", "unused")
    );
    let polled = Who {
        client: "poller",
        ..at(NEW_YORK_CAFE)
    };
    let log = (0..12).fold(Log::default(), |log, user| {
        log.and(refreshing(user, polled, 15, 20.0))
    });
    let desk = Desk::new(&config, WORLD);
    let files = [log.sorted().write(&desk)];
    let lines = desk.run(&["--summary", "--output", "json"], &files);
    let unused = lines.of_type("unused_exception");
    assert_eq!(unused.len(), 1, "{}", lines.out);
    assert_eq!(unused[0]["owner"], "unused");
    let text = desk.run(&["--summary"], &files);
    let told = "refresh-velocity: polls (unused, until 2030-01-31)";
    assert!(text.out.contains(told), "{}", text.out);
}
