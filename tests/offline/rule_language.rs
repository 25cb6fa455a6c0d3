//! The rule language around the kinds, as a user meets it: faults with their places, what `rules list` and `rules show`
//! tell, and what suppression, exceptions, overrides and pins do to a recorded log.

use std::path::Path;

use serde_json::Value;
use tokenwarden::cli::{self, Exit, Terminal};
use tokenwarden::rules;
use tokenwarden::yaml::{Faults, Node};

/// A rule of a user's own, with everything that can be said around a kind.
const BUSY: &str = "version: 1
rules:
  - name: busy
    description: More refreshes than expected.
    severity: medium
    labels: { confidence: 2, spoofable: 1, mitre: T1528, team: identity }
    not_fired_on: [a burst after an outage]
    false_positives: [a dashboard on every wall]
    runbook: https://wiki.example/busy
    maturity: incubating
    suppress: { by: user, for: 30m }
    exceptions:
      - match: { client_id: wall, network: 203.0.113.0/24 }
        reason: dashboards of the lobby
        owner: facilities
        expires: 2027-01-31
    detect: { velocity: { by: family, window: 10m, limit_min: 2, per_lifetime: 1, gross: 3 } }
    response: [throttle]
";

struct Desk(tempfile::TempDir);

impl Desk {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let desk = Self(folder);
        desk.write("busy.yaml", BUSY);
        desk.write("config.yaml", config);
        desk
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    /// Runs in the folder; its path is left out of what is printed.
    fn run(&self, line: &[&str]) -> (Exit, String) {
        let folder = format!("{}/", self.0.path().display());
        let named = line.iter().map(|word| match self.0.path().join(word) {
            path if path.is_file() => path.display().to_string(),
            _ => (*word).to_owned(),
        });
        let (exit, text) = run(std::iter::once("tokenwarden".to_owned()).chain(named));
        (exit, text.replace(&folder, ""))
    }

    /// Replays refreshes: seconds, user, client, address.
    fn replay(&self, refreshes: &[(u32, &str, &str, &str)]) -> Vec<Value> {
        let line = |(n, (at, user, client, address)): (usize, &(u32, &str, &str, &str))| {
            format!(
                r#"{{"event_id":"e{n}","time":{},"type":"refresh","outcome":"success","user_id":"{user}","client_id":"{client}","family_id":"f-{user}-{client}","ip_address":"{address}","access_token_ttl":3600}}"#,
                1_800_000_000 + at
            )
        };
        let lines: Vec<String> = refreshes.iter().enumerate().map(line).collect();
        self.write("log.jsonl", &lines.join("\n"));
        let (exit, text) = self.run(&[
            "replay",
            "-c",
            "config.yaml",
            "--output",
            "json",
            "log.jsonl",
        ]);
        assert_eq!(exit, Exit::Success, "{text}");
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn run(line: impl Iterator<Item = String>) -> (Exit, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
    };
    let exit = cli::main(line.map(Into::into), &mut terminal);
    out.extend(err);
    (exit, String::from_utf8(out).unwrap())
}

/// Action, decision and reason of every action.
fn decided(lines: &[Value]) -> Vec<String> {
    let actions = lines.iter().filter(|line| line["type"] == "action");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    actions
        .map(|it| {
            format!(
                "{} {}: {}",
                text(&it["action"]),
                text(&it["decision"]),
                text(&it["reason"])
            )
        })
        .collect()
}

fn count(lines: &[Value], kind: &str) -> usize {
    lines.iter().filter(|line| line["type"] == kind).count()
}

/// Five refreshes within a minute, two more than is gross for `busy`.
fn burst(
    at: u32,
    user: &'static str,
    client: &'static str,
    address: &'static str,
) -> Vec<(u32, &'static str, &'static str, &'static str)> {
    (0..5)
        .map(|n| (at + n * 10, user, client, address))
        .collect()
}

const CONFIG: &str = "mode: enforce\nrules: [busy.yaml]\n";
const HOME: &str = "192.0.2.10";
const LOBBY: &str = "203.0.113.7";

#[test]
fn every_fault_of_a_rule_file_is_told_at_once() {
    let text = "version: 1
rules:
  - name: a
    description: d
    severity: grave
    labels: { confidence: 4, mitre: [1528, T1550.1], note: \"two\\nlines\" }
    suppress: { by: person, for: 5s }
    maturity: old
    since: 99
    exceptions:
      - { match: {}, reason: r, owner: o, expires: 2027-02-30 }
      - { match: { clientid: web, network: 203.0.113.1/24, country: de }, reason: r }
      - { match: { network: 0.0.0.0/0 }, reason: r, owner: o, expires: 2027-01-31T00:00:00Z }
    detect: { velocity: { limit: 3 } }
";
    let faults = rules::parse(&[(Path::new("rules/a.yaml"), text)], &[]).unwrap_err();
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("faults_of_a_rule_file", faults.join("\n"));
}

#[test]
fn every_fault_of_an_override_is_told_at_once() {
    let text = "suppress: { until: 1h }
risk: 2
labels: {}
exceptions: [{ match: { user_id: u1 }, reason: r, owner: o, expires: soon }]
clients: { default: { limit: 1 }, web: { exceptions: [] } }
tenants: { defualt: { mode: on } }
";
    let node = Node::parse(text, "config.yaml".as_ref(), &mut Faults::default()).unwrap();
    let faults =
        rules::parse(&[(Path::new("busy.yaml"), BUSY)], &[("busy".into(), node)]).unwrap_err();
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("faults_of_an_override", faults.join("\n"));
}

#[test]
fn a_rule_acts_once_in_its_window_and_the_rest_stays_visible() {
    let desk = Desk::new(CONFIG);
    // Two families of one user: what the second does is the same thing to a rule that asks for it by user.
    let log = [burst(0, "u", "web", HOME), burst(100, "u", "app", HOME)].concat();
    let lines = desk.replay(&log);
    let twice = count(&lines, "detection");
    assert!(twice >= 4, "both families are found: {lines:?}");
    let decided = decided(&lines);
    let of = |decision: &str| decided.iter().filter(|it| it.contains(decision)).count();
    assert_eq!(of("notify execute"), 1, "{decided:#?}");
    assert!(
        of("suppress: the rule acted on this user") >= 2,
        "{decided:#?}"
    );
    // Another user is another thing.
    let log = [burst(0, "u", "web", HOME), burst(100, "v", "app", HOME)].concat();
    let other = self::decided(&desk.replay(&log));
    assert!(
        !other.iter().any(|it| it.contains("suppress")),
        "{other:#?}"
    );
}

#[test]
fn what_is_suppressed_does_not_depend_on_the_order_of_arrival() {
    let desk = Desk::new(CONFIG);
    let mut log = [
        burst(0, "u", "web", HOME),
        burst(7, "u", "app", HOME),
        burst(2000, "u", "web", HOME),
    ]
    .concat();
    log.sort_unstable();
    let tally = |lines: &[Value]| {
        let mut decided = decided(lines);
        for it in &mut decided {
            *it = it.split(':').next().unwrap().to_owned();
        }
        decided.sort();
        decided
    };
    let in_order = tally(&desk.replay(&log));
    // Neighbours change places: well within the lateness.
    log.chunks_mut(3).for_each(<[_]>::reverse);
    assert_eq!(tally(&desk.replay(&log)), in_order);
}

#[test]
fn what_somebody_answers_for_is_found_and_left_alone() {
    let desk = Desk::new(CONFIG);
    let lines = desk.replay(&burst(0, "u", "wall", LOBBY));
    assert!(count(&lines, "detection") >= 2, "{lines:?}");
    let decided = decided(&lines);
    assert!(!decided.is_empty());
    for it in &decided {
        assert!(
            it.ends_with(
                "suppress: excepted: dashboards of the lobby (facilities, until 2027-01-31)"
            ),
            "{it}"
        );
    }
    // Every member must match.
    for (client, address) in [("web", LOBBY), ("wall", HOME)] {
        let decided = self::decided(&desk.replay(&burst(0, "u", client, address)));
        assert!(
            !decided.iter().any(|it| it.contains("excepted")),
            "{decided:#?}"
        );
    }
    // 1,800,000,000 is 2027-01-15; three weeks later the exception has ended.
    let decided = self::decided(&desk.replay(&burst(21 * 86_400, "u", "wall", LOBBY)));
    assert!(
        !decided.iter().any(|it| it.contains("excepted")),
        "{decided:#?}"
    );
}

#[test]
fn a_client_has_limits_of_its_own_under_the_same_rule() {
    let desk = Desk::new(&format!(
        "{CONFIG}overrides:\n  busy:\n    clients: {{ ci-robot: {{ limit_min: 500, gross: 500 }}, app: {{ mode: alert }} }}\n"
    ));
    assert_eq!(
        count(&desk.replay(&burst(0, "u", "ci-robot", HOME)), "detection"),
        0
    );
    let lines = desk.replay(&burst(0, "u", "app", HOME));
    assert!(
        decided(&lines)
            .iter()
            .any(|it| it.starts_with("throttle observe: mode of the rule is alert"))
    );
    // The rule and its detections are the same for all others.
    let before = Desk::new(CONFIG).replay(&burst(0, "u", "web", HOME));
    assert_eq!(desk.replay(&burst(0, "u", "web", HOME)), before);
}

#[test]
fn a_pin_holds_newer_rules_at_alert() {
    let desk = Desk::new(&format!("{CONFIG}rules_version: 1\n"));
    desk.write(
        "busy.yaml",
        &BUSY.replace("maturity: incubating", "since: 2"),
    );
    let decided = decided(&desk.replay(&burst(0, "u", "web", HOME)));
    assert!(
        decided.contains(&"notify execute: severity is medium or above".to_owned()),
        "{decided:#?}"
    );
    assert!(
        decided.iter().any(|it| it.starts_with(
            "throttle observe: mode of the rule, which is newer than rules_version, is alert"
        )),
        "{decided:#?}"
    );
    let (exit, text) = desk.run(&["check", "-c", "config.yaml"]);
    assert_eq!(exit, Exit::Success);
    assert!(
        text.contains("rules_version 1 of 2; newer ones act at most as alert: busy"),
        "{text}"
    );
    let (_, listed) = desk.run(&["rules", "list", "-c", "config.yaml"]);
    assert!(
        listed.contains("alert  since version 2, pinned at rules_version 1"),
        "{listed}"
    );
    desk.write("config.yaml", &format!("{CONFIG}rules_version: 7\n"));
    let (exit, text) = desk.run(&["check", "-c", "config.yaml"]);
    assert_eq!(exit, Exit::Unusable);
    assert!(
        text.contains("config.yaml:3:16: there is no version 7 of the rules"),
        "{text}"
    );
}

#[test]
fn an_exception_that_has_ended_is_told_of() {
    let desk = Desk::new(CONFIG);
    desk.write("busy.yaml", &BUSY.replace("2027-01-31", "2020-01-31"));
    let (exit, text) = desk.run(&["check", "-c", "config.yaml"]);
    assert_eq!(exit, Exit::Success);
    let wanted = "busy.yaml:13:9: warning: the exception of `busy` for client_id wall, network 203.0.113.0/24 ended on \
                  2020-01-31: it is applied to nothing later\n  hint: ask facilities whether it is still needed";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn the_shipped_rules_are_listed_and_none_is_newer_than_the_program_says() {
    let (exit, text) = run(["tokenwarden", "rules", "list"]
        .map(str::to_owned)
        .into_iter());
    assert_eq!(exit, Exit::Success);
    for rule in rules::load(&[], &[]).unwrap().rules {
        assert!(
            text.lines()
                .any(|line| line.starts_with(&format!("{} ", rule.name))),
            "{text}"
        );
        assert!(rule.since <= rules::RULES_VERSION);
        assert!(
            !rule.labels.is_empty() || rule.name.starts_with("refresh-velocity-"),
            "{} has no labels",
            rule.name
        );
    }
}

#[test]
fn a_rule_is_shown_with_where_each_value_was_set() {
    let desk = Desk::new(&format!(
        "mode: alert\nrules: [busy.yaml]\noverrides:\n  busy:\n    limit_min: 20\n    exceptions:\n      - {{ match: {{ user_id: [u1, u2] }}, reason: load test, owner: qa, expires: 2027-03-01 }}\n    clients: {{ ci-robot: {{ limit_min: 500, mode: observe }} }}\n    tenants: {{ staff: {{ severity: low }} }}\n"
    ));
    let (_, text) = desk.run(&["rules", "show", "busy", "-c", "config.yaml"]);
    insta::assert_snapshot!("a_rule_shown", text);
    let (_, text) = desk.run(&[
        "rules",
        "show",
        "busy",
        "-c",
        "config.yaml",
        "--output",
        "json",
    ]);
    let object: Value = serde_json::from_str(&text).unwrap();
    insta::assert_json_snapshot!("a_rule_shown_as_json", object);
    let (_, text) = desk.run(&["rules", "list", "-c", "config.yaml"]);
    insta::assert_snapshot!("a_rule_listed", text);
    let (exit, text) = desk.run(&["rules", "show", "bussy", "-c", "config.yaml"]);
    assert_eq!(exit, Exit::Negative);
    assert!(text.contains("did you mean `busy`?"), "{text}");
}
