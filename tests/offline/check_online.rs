//! `check --online` and `notify test` as a user runs them, as far as no server is needed.

use std::path::Path;

use tokenwarden::cli::{self, Exit, Terminal};

fn run(arguments: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
    };
    let all = std::iter::once("tokenwarden").chain(arguments.iter().copied());
    let exit = cli::main(all.map(Into::into), &mut terminal);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (exit, text(out), text(err))
}

fn configure(folder: &Path, text: &str) -> String {
    let path = folder.join("tokenwarden.yaml");
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("a path").to_owned()
}

#[test]
fn a_configuration_whose_parts_are_well_is_well() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("events.jsonl"), "").expect("a file");
    let config = configure(
        folder.path(),
        "sources: [{ name: audit, file: { path: events.jsonl }, format: tokenwarden }]\n\
         receivers: [{ name: oncall, email: { to: [a@example.com], from: b@example.com, folder: mails } }]\n\
         store: { url: 'sqlite://warden.db' }\n\
         http: { ops: { listen: '127.0.0.1:0' } }\n",
    );
    let (exit, out, err) = run(&["check", "-c", &config, "--online"]);
    assert_eq!(exit, Exit::Success, "{out}{err}");
    for line in [
        "does not exist yet; the first start makes it",
        "ok     source audit: ",
        "ok     receiver oncall: ",
        "ok     listeners: ops can listen on 127.0.0.1:0",
        "0 faults",
    ] {
        assert!(out.contains(line), "no {line:?} in\n{out}");
    }
    assert!(!folder.path().join("warden.db").exists(), "it only asks");
}

#[test]
fn every_fault_is_named_with_its_part_and_no_secret_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    // Nobody listens on port 9 of this machine.
    let config = configure(
        folder.path(),
        "sources:\n\
         - { name: audit, file: { path: gone.jsonl }, format: tokenwarden }\n\
         - { name: kc, sql: { url: 'postgres://reader:hunter2@127.0.0.1:9/keycloak', layout: { keycloak: {} } }, format: keycloak }\n\
         - { name: bus, kafka: { brokers: ['127.0.0.1:9'], topics: [t], group: g, properties: { sasl.password: hunter2 } }, format: tokenwarden }\n\
         revokers:\n\
         - { name: sso, keycloak: { url: 'http://127.0.0.1:9', realm: shop, client_id: tokenwarden, client_secret: hunter2 } }\n\
         - { name: api, http: { actions: [revoke_family], method: POST, url: 'http://127.0.0.1:9/x', auth: { bearer: hunter2 } } }\n\
         receivers:\n\
         - { name: oncall, email: { to: [a@example.com], from: b@example.com, smtp: { host: localhost, port: 9, tls: none, username: u, password: hunter2 } } }\n\
         - { name: siem, webhook: { url: 'http://127.0.0.1:9/hook/hunter2' } }\n\
         store: { url: 'postgres://w:hunter2@127.0.0.1:9/tw' }\n",
    );
    let (exit, out, err) = run(&["check", "-c", &config, "--online"]);
    assert_eq!(exit, Exit::Unusable, "{out}{err}");
    for part in [
        "store",
        "source audit",
        "source kc",
        "source bus",
        "revoker sso",
        "revoker api",
        "receiver oncall",
        "receiver siem",
    ] {
        let line = out
            .lines()
            .find(|line| line.starts_with(&format!("FAULT  {part}: ")));
        let line = line.unwrap_or_else(|| panic!("nothing about {part} in\n{out}{err}"));
        assert!(line.contains(" -> "), "no mend in {line:?}");
    }
    assert!(out.contains("8 faults"), "{out}");
    assert!(
        !out.contains("hunter2") && !err.contains("hunter2"),
        "{out}{err}"
    );
}

#[test]
fn a_specimen_is_a_real_mail_and_an_unknown_receiver_lists_the_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = configure(
        folder.path(),
        "receivers:\n\
         - { name: oncall, email: { to: [a@example.com], from: b@example.com, folder: mails } }\n\
         - { name: siem, webhook: { url: 'http://127.0.0.1:9/hook/hunter2' } }\n",
    );
    let (exit, out, err) = run(&["notify", "test", "oncall", "-c", &config]);
    assert_eq!(exit, Exit::Success, "{out}{err}");
    assert!(out.starts_with("oncall: accepted: "), "{out}");
    let mails = std::fs::read_dir(folder.path().join("mails")).expect("the folder of mails");
    assert_eq!(mails.count(), 1);

    let (exit, out, _) = run(&["notify", "test", "siem", "-c", &config]);
    assert_eq!(exit, Exit::Failure);
    assert!(
        out.starts_with("siem: NOT accepted: ") && !out.contains("hunter2"),
        "{out}"
    );

    let (exit, _, err) = run(&["notify", "test", "on-call", "-c", &config]);
    assert_eq!(exit, Exit::Unusable);
    assert!(
        err.contains("no receiver `on-call`; there are: oncall, siem"),
        "{err}"
    );
}
