//! The configuration file: what a valid one becomes, and every fault of a broken one.

mod told;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use tokenwarden::cli::{self, Exit, Terminal};
use tokenwarden::config::{
    ClientType, Config, Database, Format, HttpAuth, MailTls, MailTransport, MappingValue,
    ReceiverKind, RevokerKind, Rotation, SourceKind, SqlCursor, SqlLayout, Start, WebhookAuth,
};
use tokenwarden::model::{Mode, NetworkClass, Severity};

const FULL: &str = include_str!("../fixtures/config/full.yaml");

/// A folder with everything that `full.yaml` and the examples refer to.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("inside the folder")).expect("folder");
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(path, Permissions::from_mode(0o640)).expect("its own");
    };
    write("rules/one.yaml", "");
    write("secrets/token.key", "0123456789abcdef0123456789abcdef\n");
    write(
        "secrets/keycloak-db-url",
        "postgres://warden@db.example.com/keycloak\r\n",
    );
    write("secrets/password", "hunter2\n");
    write(
        "secrets/slack-url",
        "https://hooks.slack.com/services/T0/B0/s3cret\n",
    );
    write("ca.pem", "-----BEGIN CERTIFICATE-----\n");
    folder
}

fn full() -> (tempfile::TempDir, Config) {
    let folder = folder();
    let path = folder.path().join("tokenwarden.yaml");
    let config = Config::parse(FULL, &path).unwrap_or_else(|faults| panic!("{}", report(&faults)));
    (folder, config)
}

fn report(faults: &[tokenwarden::yaml::Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn a_full_file_is_read_whole() {
    let (folder, config) = full();
    assert_eq!(
        report(&config.warnings).lines().count(),
        1,
        "{}",
        report(&config.warnings)
    );
    assert!(report(&config.warnings).contains("GeoLite2-City.mmdb"));
    assert!(config.require_runnable().is_empty());
    assert_eq!(config.mode, Mode::Enforce);
    assert_eq!(config.rules, [folder.path().join("rules/")]);
    assert_eq!(&*config.overrides[0].0, "impossible-travel");
    assert_eq!(config.networks[1].class, NetworkClass::Mobile);
    assert_eq!(config.networks[1].asns, [64497]);
    assert_eq!(
        config.store.sqlite_file(),
        Some(folder.path().join("state/warden.db"))
    );
    assert_eq!(
        config.token_key_path(),
        folder.path().join("state/warden.key")
    );
    assert_eq!(config.response.act_within, Duration::from_mins(20));
    assert_eq!(config.response.budget.per_rule, 60);
    assert_eq!(config.sha256.len(), 64);
}

#[test]
fn a_default_fills_what_a_client_leaves_out() {
    let (_folder, config) = full();
    let gateway = config.clients.get(Some("api-gateway"));
    assert_eq!(gateway.client_type, ClientType::Backend);
    assert_eq!(gateway.rotation, Rotation::Enforced);
    assert_eq!(gateway.access_token_ttl, Some(Duration::from_hours(1)));
    assert_eq!(gateway.mode, Some(Mode::Alert));
    let other = config.clients.get(Some("unheard-of"));
    assert_eq!(other.client_type, ClientType::Native);
    assert_eq!(other.reuse_grace, Duration::from_secs(45));
    assert!(config.tenants.get(Some("b")).credential_change_revokes);
}

#[test]
fn sources_of_every_kind_are_read() {
    let (folder, config) = full();
    let [keycloak, tokens, rows, query, kafka, hook, signed, log] = config.sources.as_slice()
    else {
        panic!("eight sources");
    };
    let SourceKind::Sql(sql) = &keycloak.kind else {
        panic!("sql")
    };
    assert_eq!(sql.database, Database::Postgres);
    assert_eq!(
        sql.url.expose(),
        "postgres://warden@db.example.com/keycloak"
    );
    assert!(matches!(&sql.layout, SqlLayout::Keycloak { realms, .. } if realms.len() == 2));
    assert!(matches!(keycloak.decode.format, Format::Keycloak));
    assert_eq!(keycloak.start, Start::Earliest);
    assert_eq!(keycloak.lateness, Duration::from_secs(90));

    assert!(matches!(tokens.decode.format, Format::Tokenwarden));
    let SourceKind::Sql(sql) = &tokens.kind else {
        panic!("sql")
    };
    assert!(
        matches!(&sql.layout, SqlLayout::RefreshTokens { columns, .. } if &*columns.columns["token_hash"] == "hash")
    );

    let SourceKind::Sql(sql) = &rows.kind else {
        panic!("sql")
    };
    assert_eq!(sql.database, Database::Sqlite);
    let audit = folder.path().join("audit.db");
    assert_eq!(sql.url.expose(), format!("sqlite://{}", audit.display()));
    let Format::Mapping(mapping) = &rows.decode.format else {
        panic!("mapping")
    };
    assert_eq!(
        mapping.fields["user_id"].from,
        MappingValue::Pointer("/sub~1ject".into())
    );
    assert_eq!(&*mapping.fields["type"].values["token_refresh"], "refresh");
    assert!(mapping.fields["token_id"].secret);

    let SourceKind::Sql(sql) = &query.kind else {
        panic!("sql")
    };
    assert!(matches!(
        &sql.layout,
        SqlLayout::Rows { query: true, cursor: SqlCursor::Time { overlap, .. }, .. }
            if *overlap == Duration::from_secs(5)
    ));

    assert!(matches!(kafka.start, Start::At(_)));
    let SourceKind::Kafka(kafka) = &kafka.kind else {
        panic!("kafka")
    };
    assert_eq!(&*kafka.brokers, "a:9092,b:9092");
    assert_eq!(kafka.properties["sasl.password"].expose(), "hunter2");
    assert!(!format!("{kafka:?}").contains("hunter2"));

    let SourceKind::Webhook(webhook) = &hook.kind else {
        panic!("webhook")
    };
    assert!(matches!(&webhook.auth, WebhookAuth::Bearer(secret) if secret.expose() == "hunter2"));
    let SourceKind::Webhook(webhook) = &signed.kind else {
        panic!("webhook")
    };
    assert!(
        matches!(&webhook.auth, WebhookAuth::Hmac { header, .. } if &**header == "X-Signature")
    );

    let SourceKind::File(file) = &log.kind else {
        panic!("file")
    };
    assert_eq!(file.path, Path::new("/var/log/keycloak.log"));
    assert_eq!(log.decode.timezone.as_deref(), Some("Europe/Berlin"));
    assert_eq!(log.start, Start::Earliest);
}

#[test]
fn revokers_and_receivers_of_every_kind_are_read() {
    let (folder, config) = full();
    let [keycloak, auth0, okta, edge] = config.revokers.as_slice() else {
        panic!("four revokers")
    };
    let RevokerKind::Keycloak(keycloak) = &keycloak.kind else {
        panic!("keycloak")
    };
    assert_eq!(&*keycloak.url, "https://id.example.com/auth");
    assert_eq!(keycloak.ca_file, Some(folder.path().join("ca.pem")));
    let RevokerKind::Http(auth0) = &auth0.kind else {
        panic!("http")
    };
    assert!(matches!(auth0.auth, HttpAuth::ClientCredentials { .. }));
    let RevokerKind::Http(okta) = &okta.kind else {
        panic!("http")
    };
    assert!(matches!(&okta.auth, HttpAuth::Scheme { scheme, .. } if &**scheme == "SSWS"));
    assert_eq!(okta.success, [204, 404]);
    let RevokerKind::Webhook(edge) = &edge.kind else {
        panic!("webhook")
    };
    assert_eq!(edge.ttl, Duration::from_mins(30));
    assert_eq!(edge.actions.len(), 3);

    let [mail, folder_mail, siem, chat, pager, alerts] = config.receivers.as_slice() else {
        panic!("six receivers")
    };
    assert_eq!(mail.fallback.as_deref(), Some("siem"));
    let limits = [mail, folder_mail, siem, chat, pager, alerts];
    let limits = limits.map(|receiver| receiver.per_hour_max);
    assert_eq!(limits[..2], [Some(20), Some(60)], "own, usual");
    assert_eq!(
        limits[2..],
        [None, Some(60), Some(60), None],
        "machines have none"
    );
    assert!(
        matches!(&chat.kind, ReceiverKind::Slack(it) if it.url.expose().ends_with("s3cret") && it.links.len() == 1)
    );
    assert!(
        matches!(&pager.kind, ReceiverKind::PagerDuty(it) if it.routing_key.expose() == "hunter2")
    );
    let ReceiverKind::Alertmanager(alerts) = &alerts.kind else {
        panic!("alertmanager")
    };
    assert_eq!(
        (alerts.urls.len(), alerts.lasts_at_least),
        (2, Duration::from_mins(6))
    );
    assert!(matches!(&alerts.auth, HttpAuth::Basic { .. }));
    let [grave, all] = config.routes.as_slice() else {
        panic!("two routes")
    };
    assert!(grave.goes_on && all.matches.takes_all());
    assert_eq!(grave.matches.severity_min, Some(Severity::High));
    assert_eq!(&*grave.matches.rules[0].0, "token-reuse");
    assert_eq!(grave.matches.labels["mitre"], ["T1528".into()]);
    let seven = Some(Duration::from_hours(7));
    let digests = [mail, folder_mail, siem].map(|receiver| receiver.digest_at);
    assert_eq!(
        digests,
        [seven, None, None],
        "usual, off, usual of a webhook"
    );
    let ReceiverKind::Email(mail) = &mail.kind else {
        panic!("email")
    };
    assert!(matches!(
        &mail.transport,
        MailTransport::Smtp {
            port: 465,
            tls: MailTls::Implicit,
            username: Some(_),
            password: Some(_),
            ..
        }
    ));
    let ReceiverKind::Email(to_folder) = &folder_mail.kind else {
        panic!("email")
    };
    let expected: PathBuf = folder.path().join("mails");
    assert!(matches!(&to_folder.transport, MailTransport::Folder(path) if *path == expected));
    assert!(matches!(&siem.kind, ReceiverKind::Webhook(hook) if hook.secret.is_some()));
}

#[test]
fn replay_needs_no_more_than_an_empty_file() {
    let config = Config::parse("", Path::new("conf/c.yaml")).expect("valid");
    assert_eq!(config.mode, Mode::Observe);
    assert!(config.warnings.is_empty());
    assert_eq!(config.store.url.expose(), "sqlite://conf/tokenwarden.db");
    assert_eq!(config.clients.get(None).rotation, Rotation::Unknown);
    let faults = report(&config.require_runnable());
    assert!(
        faults.starts_with("conf/c.yaml:1:1: there is no source"),
        "{faults}"
    );
}

/// What `check` prints about a file, and how it ends.
fn check(path: &str) -> (Exit, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
    };
    let arguments = ["tokenwarden", "check", "-c", path].map(Into::into);
    let exit = cli::main(arguments, &mut terminal);
    let printed = [out, err].concat();
    (exit, String::from_utf8(printed).expect("text"))
}

/// The files in a folder below the repository, by name.
fn files_in(folder: &str) -> Vec<String> {
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path().display().to_string())
        .filter(|path| path.ends_with(".yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_fault_of_a_broken_file_is_named_with_its_place() {
    let files = files_in("tests/fixtures/config/broken");
    assert_eq!(files.len(), 13);
    for file in files {
        let (exit, printed) = check(&file);
        assert_eq!(exit, Exit::Unusable, "{file}");
        assert!(
            !printed.contains("hunter2"),
            "{file} shows a secret: {printed}"
        );
        let name = Path::new(&file)
            .file_stem()
            .expect("a name")
            .to_string_lossy();
        insta::assert_snapshot!(format!("broken_{name}"), printed);
    }
}

/// One careless edit of a text, at a place given in thousandths of its length.
#[derive(Debug, Clone)]
enum Edit {
    Insert(usize, String),
    Delete(usize, usize),
    /// A piece stands once more, elsewhere.
    Repeat(usize, usize, usize),
}

impl Edit {
    fn apply(&self, text: &str) -> String {
        let chars: Vec<char> = text.chars().collect();
        let at = |thousandth: usize| chars.len() * thousandth / 1000;
        let (cut, rest, between) = match self {
            Self::Insert(place, inserted) => (at(*place), at(*place), inserted.clone()),
            Self::Delete(place, count) => {
                let from = at(*place);
                (from, (from + count).min(chars.len()), String::new())
            }
            Self::Repeat(place, from, count) => {
                let piece = chars.iter().skip(at(*from)).take(*count).collect();
                (at(*place), at(*place), piece)
            }
        };
        let (before, after) = (&chars[..cut], &chars[rest..]);
        before
            .iter()
            .copied()
            .chain(between.chars())
            .chain(after.iter().copied())
            .collect()
    }
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let place = 0usize..=1000;
    let edit = prop_oneof![
        (
            place.clone(),
            "[-:,{}\\[\\]#&*!|>'\"%@`~? \n\ta-z0-9é\u{0}]{1,4}"
        )
            .prop_map(|(place, text)| Edit::Insert(place, text)),
        (place.clone(), 1usize..40).prop_map(|(place, count)| Edit::Delete(place, count)),
        (place.clone(), place, 1usize..200)
            .prop_map(|(place, from, count)| Edit::Repeat(place, from, count)),
    ];
    proptest::collection::vec(edit, 1..6)
}

proptest! {
    /// Whatever a slip of the hand makes of a file: an answer, never a panic; and no fault is outside of the file.
    #[test]
    fn no_edit_of_a_file_makes_the_reader_panic(edits in edits()) {
        let text = edits.iter().fold(FULL.to_owned(), |text, edit| edit.apply(&text));
        let lines = u32::try_from(text.lines().count()).expect("few lines");
        if let Err(faults) = Config::parse(&text, Path::new("/nowhere/c.yaml")) {
            prop_assert!(!faults.is_empty());
            for fault in faults {
                prop_assert!((1..=lines + 1).contains(&fault.place.line), "{}", fault);
            }
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[-:,{}\\[\\]#&*!|>'\"%@`~? \n\tab01é]{0,60}") {
        drop(Config::parse(&text, Path::new("/nowhere/c.yaml")));
    }
}

#[test]
fn the_examples_are_clean_as_they_stand() {
    let (exit, printed) = check("deploy/examples/receivers.yaml");
    assert_eq!(exit, Exit::Success, "{printed}");
    assert!(!printed.contains("warning"), "{printed}");
    assert!(printed.contains("alerts (alertmanager)"), "{printed}");
    for name in ["keycloak-postgres", "kafka", "auth0-webhook"] {
        let (exit, printed) = check(&format!("deploy/examples/{name}.yaml"));
        assert_eq!(exit, Exit::Success, "{printed}");
        assert!(!printed.contains("warning"), "{printed}");
        for expected in ["1 source ", "1 revoker ", "token-reuse", "MODE IS OBSERVE"] {
            assert!(printed.contains(expected), "{printed}");
        }
    }
}

#[test]
fn an_example_can_do_what_its_comments_say() {
    // The lines that are commented out are configuration too.
    let text = std::fs::read_to_string("deploy/examples/keycloak-postgres.yaml").expect("readable");
    let text = text
        .replace("# geoip:\n#   city:", "geoip:\n  city:")
        .replace("\n#   asn:", "\n  asn:");
    let path = Path::new("deploy/examples/keycloak-postgres.yaml");
    let config = Config::parse(&text, path).unwrap_or_else(|faults| panic!("{}", report(&faults)));
    assert!(config.geoip.asn.is_some());

    let text = std::fs::read_to_string("deploy/examples/kafka.yaml").expect("readable");
    let mapping = text
        .lines()
        .skip_while(|line| *line != "#   format: mapping");
    let mapping: String = mapping
        .take_while(|line| line.starts_with("#   "))
        .map(|line| format!("{}\n", line.replacen('#', " ", 1)))
        .collect();
    let text = text.replace("    format: tokenwarden\n", &mapping);
    let config = Config::parse(&text, Path::new("deploy/examples/kafka.yaml"))
        .unwrap_or_else(|faults| panic!("{}", report(&faults)));
    assert!(matches!(
        config.sources[0].decode.format,
        Format::Mapping(_)
    ));
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("latin1.yaml");
    std::fs::write(&path, b"mode: observe\n# caf\xe9\n").expect("written");
    let (exit, printed) = check(&path.display().to_string());
    assert_eq!(exit, Exit::Unusable);
    assert!(
        printed.contains("latin1.yaml:2:6: not UTF-8 text"),
        "{printed}"
    );
    let (exit, printed) = check("no/such/file.yaml");
    assert_eq!(exit, Exit::Unusable);
    assert!(
        printed.starts_with("no/such/file.yaml:1:1: cannot be read"),
        "{printed}"
    );
}

#[test]
fn the_command_line_answers_with_its_exit_codes() {
    let run = |arguments: &[&str]| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut terminal = Terminal {
            out: &mut out,
            err: &mut err,
        };
        let exit = cli::main(arguments.iter().map(Into::into), &mut terminal);
        (exit, out.is_empty(), err.is_empty())
    };
    assert_eq!(
        run(&["tokenwarden", "--version"]),
        (Exit::Success, false, true)
    );
    assert_eq!(
        run(&["tokenwarden", "completions", "zsh"]),
        (Exit::Success, false, true)
    );
    assert_eq!(
        run(&["tokenwarden", "chekc"]),
        (Exit::Unusable, true, false)
    );
    assert_eq!(
        run(&["tokenwarden", "check"]),
        (Exit::Unusable, true, false)
    );
    assert_eq!(run(&["tokenwarden"]), (Exit::Unusable, true, false));
}

#[test]
fn faults_of_rules_are_named_together_with_those_of_the_configuration() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("rule.yaml"), "version: 1\nruls: []\n").expect("written");
    let path = folder.path().join("c.yaml");
    std::fs::write(&path, "mode: enforced\nrules: [rule.yaml]\n").expect("written");
    let (exit, printed) = check(&path.display().to_string());
    assert_eq!(exit, Exit::Unusable);
    assert!(printed.contains("c.yaml:1:7: expected one of"), "{printed}");
    assert!(
        printed.contains("rule.yaml:2:1: unknown key `ruls`"),
        "{printed}"
    );
}

#[test]
fn rules_of_ones_own_are_added_to_the_shipped_ones_by_their_word() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let own = "version: 1\nrules:\n  - name: own\n    description: d\n    severity: low\n    detect: { threshold: { when: 'event.type == \"refresh\"', by: user_id, within: 1m, over: 5 } }\n";
    std::fs::write(folder.path().join("own.yaml"), own).expect("written");
    let path = folder.path().join("c.yaml");
    let names = |rules: &str| {
        std::fs::write(&path, format!("rules: {rules}\n")).expect("written");
        let config = Config::load(&path).expect("a configuration");
        let set = tokenwarden::rules::load(&config.rules, &[]).expect("rules");
        let own = set.rules.iter().any(|rule| &*rule.name == "own");
        let shipped = set.rules.iter().any(|rule| &*rule.name == "token-reuse");
        (own, shipped, check(&path.display().to_string()).1)
    };
    let warning = "none of those that come with the program is in force";
    let (own, shipped, printed) = names("[shipped, own.yaml]");
    assert!(own && shipped && !printed.contains(warning), "{printed}");
    let (own, shipped, printed) = names("[own.yaml]");
    assert!(own && !shipped && printed.contains(warning), "{printed}");
}

#[test]
fn an_exemption_from_a_rule_that_is_not_there_is_a_warning() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("c.yaml");
    let text = "clients:\n  web: { exempt_from: [token-resue, impossible-travel] }\n";
    std::fs::write(&path, text).expect("written");
    let (exit, printed) = check(&path.display().to_string());
    assert_eq!(exit, Exit::Success, "{printed}");
    let warning = "c.yaml:2:24: warning: there is no rule `token-resue` to be exempt from\n  \
                   hint: did you mean `token-reuse`?";
    assert!(printed.contains(warning), "{printed}");
    assert!(
        !printed.contains("no rule `impossible-travel`"),
        "{printed}"
    );
}

#[test]
fn a_rule_that_is_sure_only_when_it_is_too_late_to_respond_is_a_warning() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("c.yaml");
    let printed = |act_within: &str| {
        let text = format!("response: {{ act_within: {act_within} }}\n");
        std::fs::write(&path, text).expect("written");
        check(&path.display().to_string()).1
    };
    let warning = "warning: `token-reuse` may wait 302 s before it is sure, and what is older than 240 s is not responded to (`response.act_within`)";
    let told = printed("4m");
    assert!(told.contains(warning), "{told}");
    let told = printed("6m");
    assert!(!told.contains("before it is sure"), "{told}");
}
