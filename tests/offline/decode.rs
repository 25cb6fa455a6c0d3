//! The decoders through their one door, on what a real Keycloak recorded and on what nobody should send.

mod secrets;

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

/// One event in a line; token ids by the order in which they first come up.
fn told(events: &[Event]) -> String {
    let mut tokens: Vec<Text> = Vec::new();
    let mut story = String::new();
    for event in events {
        let (presented, issued) = (
            name(&mut tokens, event.token_id.as_ref()),
            name(&mut tokens, event.new_token_id.as_ref()),
        );
        let mut words = vec![
            event.kind.to_string(),
            event.outcome.to_string(),
            format!("{presented}>{issued}"),
            if event.user_id.is_some() {
                "user"
            } else {
                "nobody"
            }
            .to_owned(),
        ];
        words.extend(event.reason.map(|reason| reason.to_string()));
        words.extend(event.initiator.map(|initiator| format!("by {initiator}")));
        words.extend(event.ip_address.map(|address| address.to_string()));
        story.push_str(&words.join(" "));
        story.push('\n');
    }
    story
}

fn name(tokens: &mut Vec<Text>, token: Option<&Text>) -> String {
    let Some(token) = token else {
        return "-".to_owned();
    };
    let known = tokens.iter().position(|known| known == token);
    let at = known.unwrap_or_else(|| {
        tokens.push(token.clone());
        tokens.len() - 1
    });
    format!("t{at}")
}

#[test]
fn the_story_of_a_theft_can_be_read_from_the_events() {
    let theft = events(&*keycloak(), "S03", &["events.jsonl"]);
    insta::assert_snapshot!(told(&theft), @"
    login success ->- user 192.0.2.10
    issue success ->t0 user 192.0.2.10
    refresh success t0>t1 user 198.51.100.20
    refresh failure t0>- user reuse 192.0.2.10
    refresh failure t1>- user session_ended 198.51.100.20
    login success ->- user 192.0.2.20
    issue success ->t2 user 192.0.2.20
    refresh success t2>t3 user 198.51.100.20
    refresh success t3>t4 user 198.51.100.20
    refresh failure t2>- user reuse 192.0.2.20
    refresh failure t4>- user session_ended 198.51.100.20
    ");
}

#[test]
fn the_story_of_operators_can_be_read_from_the_events() {
    let keycloak = keycloak();
    let mut acts = events(&*keycloak, "S09", &["events.jsonl", "admin-events.jsonl"]);
    acts.sort_by_key(|event| event.time);
    insta::assert_snapshot!(told(&acts), @"
    login success ->- user 192.0.2.10
    issue success ->t0 user 192.0.2.10
    refresh success t0>t1 user 192.0.2.10
    user_disable success ->- user by admin
    refresh failure t1>- user user_disabled 192.0.2.10
    refresh failure t1>- user user_disabled 192.0.2.10
    user_enable success ->- user by admin
    refresh success t1>t2 user 192.0.2.10
    ");
}

#[test]
fn probing_names_nobody() {
    let probing = events(&*keycloak(), "S15", &["events.jsonl"]);
    insta::assert_snapshot!(told(&probing), @"
    login success ->- user 192.0.2.10
    issue success ->t0 user 192.0.2.10
    login success ->- user 192.0.2.20
    issue success ->t1 user 192.0.2.20
    login success ->- user 192.0.2.20
    issue success ->t2 user 192.0.2.20
    refresh failure ->- nobody unknown_token 198.51.100.20
    refresh failure ->- nobody unknown_token 198.51.100.20
    refresh failure ->- nobody unknown_token 198.51.100.20
    refresh failure ->- nobody unknown_token 198.51.100.20
    refresh failure ->- nobody unknown_token 198.51.100.20
    refresh failure ->- nobody unknown_token 198.51.100.20
    refresh failure ->- nobody unknown_token 198.51.100.20
    refresh failure ->- nobody unknown_token 198.51.100.20
    refresh failure ->- nobody client_mismatch 198.51.100.20
    refresh failure ->- nobody client_mismatch 198.51.100.20
    refresh failure ->- nobody policy 198.51.100.20
    refresh success t0>t3 user 192.0.2.10
    refresh success t3>t4 user 192.0.2.10
    refresh success t1>t5 user 192.0.2.20
    ");
}

#[test]
fn our_own_revocations_are_told_apart() {
    let operator = events(&*keycloak(), "S11", &["admin-events.jsonl"]);
    let account = operator[0].extra.as_ref().unwrap();
    let account: serde_json::Value = serde_json::from_str(account).unwrap();
    let mut ours = options("keycloak");
    ours.own_accounts = vec![account["operator_user_id"].as_str().unwrap().into()];
    let ours = events(&*decoder(ours).unwrap(), "S11", &["admin-events.jsonl"]);
    assert!(!ours.is_empty());
    for event in &ours {
        assert_eq!(
            event.initiator,
            Some(tokenwarden::model::Initiator::Tokenwarden)
        );
    }
}

#[test]
fn a_log_is_read_in_the_zone_of_its_server() {
    let mut there = options("keycloak");
    there.timezone = Some("America/New_York".into());
    let there = events(&*decoder(there).unwrap(), "S01", &["log.txt"]);
    let utc = events(&*keycloak(), "S01", &["log.txt"]);
    for (there, utc) in there.iter().zip(&utc) {
        assert_eq!(there.time.duration_since(utc.time).as_hours(), 5);
        assert_eq!(there.event_id, utc.event_id);
    }
    let mut nowhere = options("keycloak");
    nowhere.timezone = Some("Mars/Olympus".into());
    assert!(decoder(nowhere).err().unwrap().contains("Mars/Olympus"));
}

#[test]
fn formats_that_are_not_there_are_named() {
    let error = decoder(options("okta")).err().unwrap();
    for format in tokenwarden::decode::FORMATS {
        assert!(error.contains(format), "{error}");
    }
}

/// Real records of every form, to be broken.
fn specimens() -> Vec<String> {
    let mut specimens: Vec<String> = [
        "events.jsonl",
        "admin-events.jsonl",
        "event_entity.jsonl",
        "admin_event_entity.jsonl",
        "log.txt",
        "log.jsonl",
    ]
    .iter()
    .flat_map(|file| lines("S08", file))
    .collect();
    specimens.push(
        r#"{"event_id":"e","time":1795237643.5,"type":"refresh","outcome":"failure","reason":"reuse","token_id":"a","generation":3,"ip_address":"[2001:db8::1]:443","more":{"x":["eyJhbGciOiJI.eyJzdWIi.c2ln"]}}"#.to_owned(),
    );
    specimens.push(
        r#"{"log_id":"9","data":{"date":"2026-11-11T06:46:23.765Z","type":"ferrt","ip":"192.0.2.1","details":{"familyId":"f","tokenCounter":3,"latestCounter":5}}}"#.to_owned(),
    );
    specimens
}

fn every_decoder() -> Vec<Box<dyn Decoder>> {
    use tokenwarden::decode::{MappingField, MappingSpec, MappingValue};
    let at = |pointer: &str| MappingField {
        from: MappingValue::Pointer(pointer.into()),
        values: std::collections::BTreeMap::new(),
        otherwise: None,
        secret: pointer == "/details",
    };
    let mut mapping = options("mapping");
    mapping.mapping = Some(MappingSpec {
        fields: [
            ("time", "time"),
            ("type", "type"),
            ("outcome", "outcome"),
            ("token_id", "/details"),
        ]
        .map(|(name, pointer)| (name.into(), at(pointer)))
        .into(),
    });
    let mut decoders = vec![decoder(mapping).unwrap()];
    for format in ["tokenwarden", "keycloak", "auth0"] {
        decoders.push(decoder(options(format)).unwrap());
    }
    decoders
}

/// What may happen to bytes on their way.
#[derive(Debug, Clone)]
enum Damage {
    Set(usize, u8),
    Cut(usize),
    Drop(usize, usize),
    Repeat(usize, usize),
    Insert(usize, &'static str),
}

fn damage() -> impl proptest::strategy::Strategy<Value = Damage> {
    use proptest::prelude::*;
    const TEXTS: &[&str] = &[
        "\"",
        "\\",
        "\\\"",
        "{",
        "[",
        "null",
        "\u{feff}",
        "\0",
        "-",
        "9999999999999999999",
        "1e308",
        "\\ud800",
        ", ",
        "=\"",
        "\u{202e}",
        "ü",
    ];
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        any::<usize>().prop_map(Damage::Cut),
        (any::<usize>(), 1_usize..40).prop_map(|(at, length)| Damage::Drop(at, length)),
        (any::<usize>(), 1_usize..40).prop_map(|(at, length)| Damage::Repeat(at, length)),
        (any::<usize>(), proptest::sample::select(TEXTS))
            .prop_map(|(at, text)| Damage::Insert(at, text)),
    ]
}

fn damaged(record: &str, damages: &[Damage]) -> Vec<u8> {
    let mut bytes = record.as_bytes().to_vec();
    for damage in damages {
        let length = bytes.len().max(1);
        match *damage {
            Damage::Set(at, byte) if !bytes.is_empty() => bytes[at % length] = byte,
            Damage::Set(..) => {}
            Damage::Cut(at) => bytes.truncate(at % length),
            Damage::Drop(at, count) => {
                let start = at % length;
                let end = (start + count).min(bytes.len());
                bytes.drain(start.min(end)..end);
            }
            Damage::Repeat(at, count) => {
                let start = (at % length).min(bytes.len());
                let piece = bytes[start..(start + count).min(bytes.len())].to_vec();
                bytes.splice(start..start, piece);
            }
            Damage::Insert(at, text) => {
                let start = (at % length).min(bytes.len());
                bytes.splice(start..start, text.bytes());
            }
        }
    }
    bytes
}

proptest::proptest! {
    /// A bad record is an answer, never a crash; and what comes out is bounded and free of control characters.
    #[test]
    fn no_damage_brings_a_decoder_down(
        specimen in proptest::sample::select(specimens()),
        damages in proptest::collection::vec(damage(), 1..6),
    ) {
        let bytes = damaged(&specimen, &damages);
        for decoder in every_decoder() {
            let mut events = Vec::new();
            let before = decoder.decode(&bytes, &"x".into(), &mut events);
            if before.is_err() {
                assert!(events.is_empty(), "a rejected record left events behind");
                let kept = decoder.redact(&bytes);
                assert!(kept.len() <= tokenwarden::model::limits::REJECT_BYTES_MAX);
            }
            for event in &events {
                let texts = [&event.client_id, &event.user_id, &event.token_id, &event.error, &event.session_id];
                for text in texts.into_iter().flatten() {
                    assert!(!text.chars().any(char::is_control), "{text:?}");
                    assert!(text.len() <= 1024 && !text.is_empty());
                }
            }
        }
    }
}
