//! What `check` tells of a file that stands in a folder of its own: what is blind, what is slipped, what lists bring.

use super::*;

/// What `check` says of a file with this text in a folder of its own.
fn check_text(text: &str) -> (Exit, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("c.yaml");
    std::fs::write(&path, text).expect("written");
    let (exit, printed) = check(&path.display().to_string());
    (
        exit,
        printed.replace(&format!("{}/", folder.path().display()), ""),
    )
}

#[test]
fn rules_that_are_blind_are_named_with_their_sources() {
    let (exit, printed) = check_text(
        "sources:\n\
         - { name: tokens, sql: { url: 'postgres://reader@db.example.com/app', layout: { refresh_tokens: {} } } }\n\
         - { name: keycloak, sql: { url: 'postgres://reader@db.example.com/kc', layout: { keycloak: {} } } }\n\
         - name: audit\n  \
           file: { path: audit.jsonl }\n  \
           format: mapping\n  \
           mapping: { event_id: id, time: at, type: kind, outcome: { constant: success }, token_id: token, user_agent: agent }\n\
         - { name: canonical, file: { path: own.jsonl }, format: tokenwarden }\n",
    );
    assert_eq!(exit, Exit::Success, "{printed}");
    let blind = printed
        .lines()
        .skip_while(|line| !line.contains("  blind "));
    let blind: Vec<&str> = blind
        .take_while(|line| !line.contains(" revokers"))
        .collect();
    insta::assert_snapshot!(blind.join("\n"));
}

#[test]
fn with_the_tables_there_nobody_is_blind_for_want_of_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let built = "2026-11-01T00:00:00Z".parse().expect("a time");
    let places = tokenwarden::simulate::places::WORLD;
    tokenwarden::simulate::places::write_city_asn(folder.path(), places, built).expect("written");
    let path = folder.path().join("c.yaml");
    let text = "geoip: { city: city.mmdb, anonymous_ip: no.mmdb }\n\
                sources: [{ name: own, file: { path: own.jsonl }, format: tokenwarden }]\n";
    std::fs::write(&path, text).expect("written");
    let (_, printed) = check(&path.display().to_string());
    assert!(!printed.contains("no geoip.city"), "{printed}");
    let rest = "  blind        dormant-wake-up on own, to rented and anonymous networks: no geoip.anonymous_ip\n               \
                impossible-travel on own, to VPN exits, which then count as places: no geoip.anonymous_ip\n";
    assert!(printed.contains(rest), "{printed}");

    std::fs::write(folder.path().join("no.mmdb"), "not a database").expect("written");
    let (_, printed) = check(&path.display().to_string());
    let warning = "c.yaml:1:1: warning: geoip.anonymous_ip: ";
    assert!(printed.contains(warning), "{printed}");
}

/// The fault and its hint, each in one line.
fn only_fault(text: &str) -> String {
    let (exit, printed) = check_text(text);
    assert_eq!(exit, Exit::Unusable, "{printed}");
    let lines: Vec<&str> = printed.lines().collect();
    assert!(
        lines.len() == 3 && printed.contains("c.yaml: 1 fault"),
        "{printed}"
    );
    format!("{}{}", lines[0], lines[1])
}

#[test]
fn slips_of_a_first_user_are_told_with_their_place_and_what_mends_them() {
    let source = |rest: &str| format!("sources:\n- name: a\n  format: tokenwarden\n  {rest}\n");
    let kafka = |properties: &str| {
        source(&format!(
            "kafka: {{ brokers: a:9092, topics: x, properties: {{ {properties} }} }}"
        ))
    };
    for (text, expected) in [
        (
            "mode: observe\nsources:\n\t- name: a\n".into(),
            "c.yaml:3:2: not valid YAML: tabs",
        ),
        (
            "mode: observe\nmode:enforce\n".into(),
            "  hint: a space belongs after each colon",
        ),
        (
            "mode: 'observe\n".into(),
            "  hint: the quote that opens here is not closed",
        ),
        (
            format!("mode: observe # {}\n", "x".repeat(2_000_000)),
            "c.yaml:1:1: the file is larger than",
        ),
        (
            "mode: observe\n---\nmode: observe\n".into(),
            "c.yaml:2:1: a second document begins here",
        ),
        (
            "http:\n  ops: {}\n  api: { listen: 127.0.0.1:9510 }\n".into(),
            "c.yaml:3:8: `ops` listens on 127.0.0.1:9510 already",
        ),
        (
            "token_key: 0123456789abcdef\ntoken_key_previous: 0123456789abcdef\n".into(),
            "c.yaml:2:21: the previous token key is the same",
        ),
        (
            source("file: { path: x }\n  start: 2026-11-20T08:00:00Z"),
            "c.yaml:5:10: a file cannot be read from a time on",
        ),
        (
            kafka("security.protocol: tls"),
            "c.yaml:4:54: Kafka property `security.protocol`: Invalid value",
        ),
        (
            kafka("security.protocol: SSL, ssl.ca.location: /no/such.pem"),
            "c.yaml:4:78: the Kafka client cannot be made: ssl.ca.location failed",
        ),
        (
            kafka("auto.offset.reset: latest"),
            "c.yaml:4:54: property `auto.offset.reset` cannot be set",
        ),
        (
            source(
                "sql: { url: 'postgres://r:pa/ss@db:5432/app', layout: { table: { name: t, cursor: { id: id } } } }",
            ),
            "in a password write @ as %40",
        ),
    ] {
        let fault = only_fault(&text);
        assert!(fault.contains(expected), "{expected}: {fault}");
        assert!(fault.contains("  hint: "), "{fault}");
        assert!(!fault.contains("pa/ss"), "{fault}");
    }
}

#[test]
fn slips_that_leave_a_valid_file_are_warned_of() {
    let folder = folder();
    let password = folder.path().join("secrets/password");
    let path = folder.path().join("c.yaml");
    let text = "clients: { defaults: { rotation: enforced } }\n\
                sources:\n\
                - name: audit\n  \
                  kafka: { brokers: a:9092, topics: x, properties: { sasl.password_file: secrets/password } }\n  \
                  format: mapping\n  \
                  mapping: { event_id: id, time: at, type: refresh, outcome: ok }\n";
    std::fs::write(&path, text).expect("written");
    for (mode, exposed) in [(0o644, true), (0o640, false)] {
        std::fs::set_permissions(&password, Permissions::from_mode(mode)).expect("its own");
        let (exit, printed) = check(&path.display().to_string());
        assert_eq!(exit, Exit::Success, "{printed}");
        for warning in [
            "c.yaml:1:12: warning: `defaults` is taken for a name\n  hint: did you mean `default`?",
            "c.yaml:6:44: warning: `refresh` is taken for the name of a column\n  hint: for a fixed value write { constant: refresh }",
        ] {
            assert!(printed.contains(warning), "{printed}");
        }
        assert_eq!(
            printed.contains("can be read by every account here"),
            exposed,
            "{printed}"
        );
    }
}

#[test]
fn lists_may_stand_in_files_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "egress.yaml",
        "- { name: office, class: egress, cidrs: [203.0.113.0/26] }\n",
    );
    write(
        "carriers.yaml",
        "- { name: carrier, class: mobile, asns: [64497] }\n",
    );
    write(
        "clients.yaml",
        "default: { rotation: enforced }\napp: { type: native }\n",
    );
    let path = folder.path().join("tokenwarden.yaml");
    let read = |text: &str| {
        Config::parse(text, &path)
            .map_err(|faults| report(&faults).replace(&format!("{}/", folder.path().display()), ""))
    };
    let config = read(
        "networks_file: [egress.yaml, carriers.yaml]\n\
         networks: [{ name: back-end, class: backend, cidrs: [192.0.2.0/24] }]\n\
         clients_file: clients.yaml\n\
         clients: { robot: { type: backend } }\n",
    )
    .unwrap();
    let names: Vec<&str> = config
        .networks
        .iter()
        .map(|network| &*network.name)
        .collect();
    assert_eq!(names, ["back-end", "office", "carrier"]);
    assert_eq!(
        config.clients.get(Some("robot")).rotation,
        Rotation::Enforced
    );
    assert_eq!(
        config.clients.get(Some("robot")).client_type,
        ClientType::Backend
    );
    assert_eq!(
        config.clients.get(Some("app")).client_type,
        ClientType::Native
    );

    write("clients.yaml", "web: { typ: native }\nrobot: {}\n");
    write(
        "carriers.yaml",
        "- { name: office, class: mobil, asns: [64497] }\n",
    );
    write("tenants.yaml", "[acme]\n");
    let faults = read(
        "networks_file: [egress.yaml, carriers.yaml]\nclients_file: clients.yaml\nclients: { robot: {} }\n\
         tenants_file: [tenants.yaml, missing.yaml]\n",
    )
    .unwrap_err();
    insta::assert_snapshot!("faults_in_list_files", faults);
}
