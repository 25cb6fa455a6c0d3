//! The acceptance: what a real Keycloak recorded, in each form in which it can be had, gives what `expected.json` says.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use tokenwarden::simulate::places::{Locality, NEW_YORK_HOME, WORLD};

use super::{Desk, Printed, fixtures};

/// Each recorded form: its name and its files, which are merged.
const FORMS: &[(&str, &[&str])] = &[
    ("admin API", &["events.jsonl", "admin-events.jsonl"]),
    (
        "table rows",
        &["event_entity.jsonl", "admin_event_entity.jsonl"],
    ),
    ("text log", &["log.txt"]),
    ("JSON log", &["log.jsonl"]),
];

/// What a server says of a reuse; each is replaced by a text that nobody knows.
const REUSE_REASONS: &[&str] = &[
    "Maximum allowed refresh token reuse exceeded",
    "Stale token",
];

const CONFIG: &str = "
mode: enforce
networks:
  - { name: operators, class: egress, cidrs: [203.0.113.70/32] }
  - { name: backend, class: backend, cidrs: [203.0.113.200/32] }
";

/// The simulated world has all addresses of the recordings but one user's IPv6.
fn world() -> Vec<Locality> {
    let mut places = WORLD.to_vec();
    places.push(Locality {
        network: "2001:db8:a::/48",
        ..NEW_YORK_HOME
    });
    places
}

struct Expected {
    name: String,
    value: Value,
    scenario: Value,
}

impl Expected {
    fn all() -> Vec<Self> {
        let folder = fixtures().join("keycloak-26.4");
        let read = |path: PathBuf| -> Value {
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
        };
        let all = read(folder.join("expected.json"));
        let scenarios = all
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, v)| v.get("revoke").is_some());
        scenarios
            .map(|(name, value)| Self {
                name: name.clone(),
                value: value.clone(),
                scenario: read(folder.join(name).join("scenario.json")),
            })
            .collect()
    }

    fn config(&self) -> String {
        let rotation = self.value["rotation"].as_str().unwrap_or("enforced");
        format!("{CONFIG}clients:\n  default: {{ rotation: {rotation}, reuse_grace: 30s }}\n")
    }

    /// Sessions of the families that a member of the expectation names.
    fn sessions(&self, member: &str) -> BTreeSet<String> {
        let names = self.value[member]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        names
            .iter()
            .map(|name| {
                self.scenario["families"][name.as_str().unwrap()]["session_id"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    /// Sessions of all families of a user.
    fn sessions_of_user(&self, user_id: &str) -> BTreeSet<String> {
        let names: BTreeSet<&str> = self.scenario["realms"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|realm| realm["users"].as_object().unwrap())
            .filter(|(_, id)| *id == user_id)
            .map(|(name, _)| name.as_str())
            .collect();
        self.scenario["families"]
            .as_object()
            .unwrap()
            .values()
            .filter(|family| names.contains(family["user"].as_str().unwrap()))
            .map(|family| family["session_id"].as_str().unwrap().to_owned())
            .collect()
    }

    fn revoked(&self, printed: &Printed) -> BTreeSet<String> {
        let mut sessions = BTreeSet::new();
        for action in printed.executed("revoke_family") {
            let session = action["target"]["session_id"].as_str();
            sessions.insert(session.expect("a Keycloak family has a session").to_owned());
        }
        for action in printed.actions(&["revoke_user", "lock_user"], "execute") {
            sessions.extend(self.sessions_of_user(action["target"]["user_id"].as_str().unwrap()));
        }
        sessions
    }

    /// What is wrong with a run, if anything.
    fn faults(&self, printed: &Printed) -> Vec<String> {
        let mut faults = Vec::new();
        let (revoked, wanted) = (self.revoked(printed), self.sessions("revoke"));
        let allowed: BTreeSet<String> = &wanted | &self.sessions("may_revoke");
        faults.extend((&wanted - &revoked).iter().map(|s| format!("{s} stayed")));
        faults.extend(
            (&revoked - &allowed)
                .iter()
                .map(|s| format!("{s} was revoked")),
        );
        let alerts = printed.executed("notify").len() as u64;
        let bound = |i: usize| self.value["alerts"][i].as_u64().unwrap();
        if !(bound(0)..=bound(1)).contains(&alerts) {
            faults.push(format!("{alerts} alerts, not {}", self.value["alerts"]));
        }
        let summary = printed.summary();
        if summary["rejected"] != 0 {
            faults.push(format!("records were rejected: {}", printed.err));
        }
        faults
    }
}

/// Eleven scenarios in four forms, one in one form; each with and without GeoIP.
const RUNS: usize = (11 * 4 + 1) * 2;

/// Runs every scenario in every form, with and without GeoIP; gives what deviates.
fn deviations(change: impl Fn(String) -> String) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut runs = 0;
    for expected in Expected::all() {
        for (form, files) in FORMS {
            for places in [world(), Vec::new()] {
                let desk = Desk::new(&expected.config(), &places);
                let folder = fixtures().join("keycloak-26.4").join(&expected.name);
                let inputs: Vec<PathBuf> = files
                    .iter()
                    .filter_map(|name| {
                        let text = std::fs::read_to_string(folder.join(name)).ok()?;
                        Some(desk.write(name, change(text)))
                    })
                    .collect();
                if inputs.is_empty() {
                    // R01 was recorded through the admin API only.
                    continue;
                }
                runs += 1;
                let arguments = ["--format", "keycloak", "--output", "json"];
                let printed = desk.run(&arguments, &inputs);
                let again = desk.run(&arguments, &inputs);
                let mut faults = expected.faults(&printed);
                if printed.out != again.out {
                    faults.push("two runs differ".to_owned());
                }
                if !faults.is_empty() {
                    wrong.push(format!(
                        "{} as {form}, GeoIP {}: {}",
                        expected.name,
                        !places.is_empty(),
                        faults.join("; ")
                    ));
                }
            }
        }
    }
    assert_eq!(runs, RUNS, "recordings are missing");
    wrong
}

#[test]
fn every_recording_gives_what_is_expected_of_it() {
    let wrong = deviations(|text| text);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_verdicts_do_not_rest_on_what_the_server_calls_a_reuse() {
    let wrong = deviations(|mut text| {
        for reason in REUSE_REASONS {
            text = text.replace(reason, "No");
        }
        text
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
