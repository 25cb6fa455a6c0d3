//! The decoders through their one door, on what a real Keycloak recorded and on what nobody should send.

use std::fs;
use std::path::PathBuf;

use tokenwarden::decode::{DecodeOptions, Decoder, TokenKey, decoder};
use tokenwarden::model::{Event, Text};

/// Scenarios that were recorded in every form.
const SCENARIOS: &[&str] = &[
    "S01", "S02", "S03", "S05", "S06", "S08", "S09", "S10", "S11", "S15", "S18",
];

fn options(format: &str) -> DecodeOptions {
    DecodeOptions {
        format: format.into(),
        own_accounts: Vec::new(),
        timezone: None,
        mapping: None,
        token_key: TokenKey::new(b"key of the tests"),
        previous_key: None,
    }
}

fn keycloak() -> Box<dyn Decoder> {
    decoder(options("keycloak")).unwrap()
}

fn lines(scenario: &str, file: &str) -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/keycloak-26.4")
        .join(scenario)
        .join(file);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(str::to_owned).collect()
}

/// All events of some files of a scenario; a rejected line fails the test.
fn events(decoder: &dyn Decoder, scenario: &str, files: &[&str]) -> Vec<Event> {
    let issuer: Text = "kc".into();
    let mut events = Vec::new();
    for file in files {
        for line in lines(scenario, file) {
            decoder
                .decode(line.as_bytes(), &issuer, &mut events)
                .unwrap_or_else(|rejected| panic!("{scenario}/{file}: {rejected:?}\n{line}"));
        }
    }
    events
}

/// Without what the form itself decides: id, time, and what of an operator's act stands in the body or is the realm.
fn comparable(mut events: Vec<Event>) -> Vec<String> {
    for event in &mut events {
        event.event_id = "".into();
        event.time = jiff::Timestamp::UNIX_EPOCH;
        if event.initiator == Some(tokenwarden::model::Initiator::Admin) {
            event.tenant = None;
            event.token_kind = None;
        }
    }
    let mut texts: Vec<_> = events.iter().map(|event| format!("{event:?}")).collect();
    texts.sort();
    texts
}

#[test]
fn every_form_of_a_scenario_tells_the_same() {
    let keycloak = keycloak();
    for scenario in SCENARIOS {
        let rest = events(
            &*keycloak,
            scenario,
            &["events.jsonl", "admin-events.jsonl"],
        );
        let rows = events(
            &*keycloak,
            scenario,
            &["event_entity.jsonl", "admin_event_entity.jsonl"],
        );
        let by_id = |mut events: Vec<Event>| {
            events.sort_by(|a, b| a.event_id.cmp(&b.event_id));
            events
        };
        assert!(rest.len() > 3, "{scenario}: {} events", rest.len());
        assert_eq!(by_id(rest.clone()), by_id(rows), "{scenario}: rows");
        let text = comparable(events(&*keycloak, scenario, &["log.txt"]));
        let json = comparable(events(&*keycloak, scenario, &["log.jsonl"]));
        assert_eq!(text, json, "{scenario}: the two log forms");
        // A log line does not say what an operator changed of a user.
        let without_updates = rest.into_iter().filter(|event| {
            use tokenwarden::model::EventType::{UserDisable, UserEnable};
            !matches!(event.kind, UserDisable | UserEnable)
        });
        assert_eq!(
            comparable(without_updates.collect()),
            text,
            "{scenario}: log against admin API"
        );
    }
}

#[test]
fn the_revocation_recordings_decode() {
    let events = events(&*keycloak(), "R01", &["events.jsonl", "admin-events.jsonl"]);
    assert!(events.len() > 100, "{}", events.len());
}
