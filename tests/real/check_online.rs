//! `check --online` on real servers: each fault that a first user makes is found, and the mend that is named mends it.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use reqwest::Method;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::keycloak_realm::{Realm, SECRET, env};

/// A configuration file in a folder of its own.
struct Setup {
    folder: tempfile::TempDir,
    text: String,
}

/// What the command said.
struct Said {
    code: i32,
    out: String,
}

impl Setup {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            text: "mode: enforce\nstore: { url: 'sqlite://warden.db' }\n".to_owned(),
        }
    }

    fn add(mut self, text: &str) -> Self {
        writeln!(self.text, "{text}").unwrap();
        self
    }

    /// As a user runs it: another process, its exit code and its standard output.
    async fn check(&self) -> Said {
        let path = self.folder.path().join("tokenwarden.yaml");
        std::fs::write(&path, &self.text).unwrap();
        let run = move || {
            Command::new(env!("CARGO_BIN_EXE_tokenwarden"))
                .args(["check", "--online", "-c"])
                .arg(path)
                .output()
                .unwrap()
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        let all = format!("{out}{}", String::from_utf8_lossy(&output.stderr));
        for secret in [SECRET, "wrong-secret", "hunter2", ":pw@"] {
            assert!(!all.contains(secret), "{secret} is shown in\n{all}");
        }
        Said {
            code: output.status.code().unwrap(),
            out: all,
        }
    }
}

impl Said {
    fn faults(&self) -> Vec<&str> {
        let lines = self.out.lines();
        lines.filter(|line| line.starts_with("FAULT")).collect()
    }

    /// The one line with the fault about a part, which must hold all of the words.
    fn fault(&self, part: &str, words: &[&str]) -> &str {
        let is_it = |line: &&str| {
            line.starts_with(&format!("FAULT  {part}: "))
                && words.iter().all(|word| line.contains(word))
        };
        let found = self.faults().into_iter().find(is_it);
        found.unwrap_or_else(|| panic!("no fault of {part} with {words:?} in\n{}", self.out))
    }
}

fn revoker(realm: &Realm, secret: &str) -> String {
    format!(
        "revokers: [{{ name: sso, keycloak: {{ url: '{}', realm: {}, client_id: tokenwarden, client_secret: {secret} }} }}]",
        realm.server, realm.name
    )
}

const ENFORCED: &str =
    "clients: { default: { type: public, rotation: enforced, access_token_ttl: 5m } }";
const ALL_ROLES: [&str; 3] = ["manage-users", "view-events", "view-realm"];
const NEEDED: [&str; 6] = [
    "REFRESH_TOKEN",
    "REFRESH_TOKEN_ERROR",
    "CODE_TO_TOKEN",
    "LOGIN",
    "LOGOUT",
    "REVOKE_GRANT",
];

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn a_fresh_realm_misses_everything_and_the_named_settings_mend_it() {
    let realm = Realm::create(&ALL_ROLES).await;
    let setup = Setup::new().add(ENFORCED).add(&revoker(&realm, SECRET));
    let said = setup.check().await;
    assert_eq!(said.code, 2, "{}", said.out);
    let command = format!("kcadm.sh update events/config -r {}", realm.name);
    said.fault(
        "revoker sso",
        &["saves no events", &command, "eventsEnabled=true"],
    );
    said.fault(
        "revoker sso",
        &["admin events", &command, "adminEventsEnabled=true"],
    );

    let on = json!({
        "eventsEnabled": true, "adminEventsEnabled": true, "adminEventsDetailsEnabled": true,
        "enabledEventTypes": NEEDED,
    });
    realm
        .admin(Method::PUT, "/events/config", Some(on.clone()))
        .await;
    let said = setup.check().await;
    assert_eq!((said.code, said.faults()), (0, vec![]), "{}", said.out);
    assert!(said.out.contains("ok     revoker sso: "), "{}", said.out);

    for missing in NEEDED {
        let mut config = on.clone();
        config["enabledEventTypes"] = NEEDED
            .iter()
            .filter(|name| **name != missing)
            .copied()
            .collect();
        realm
            .admin(Method::PUT, "/events/config", Some(config))
            .await;
        let said = setup.check().await;
        assert_eq!(said.faults().len(), 1, "{}", said.out);
        said.fault(
            "revoker sso",
            &[
                &format!("does not save {missing} ("),
                &command,
                &format!("\"{missing}\""),
            ],
        );
    }
    let mut config = on.clone();
    config["adminEventsEnabled"] = json!(false);
    realm
        .admin(Method::PUT, "/events/config", Some(config))
        .await;
    let said = setup.check().await;
    assert_eq!(said.faults().len(), 1, "{}", said.out);
    said.fault(
        "revoker sso",
        &["admin events", "-s adminEventsEnabled=true"],
    );
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn roles_secrets_and_rotation_are_compared_with_the_realm() {
    let realm = Realm::create(&["view-realm"]).await;
    let setup = Setup::new().add(ENFORCED).add(&revoker(&realm, SECRET));
    let said = setup.check().await;
    let grant = |role: &str| {
        format!(
            "kcadm.sh add-roles -r {} --uusername service-account-tokenwarden --cclientid realm-management --rolename {role}",
            realm.name
        )
    };
    said.fault(
        "revoker sso",
        &["nothing can be revoked", &grant("manage-users")],
    );
    said.fault("revoker sso", &[&grant("view-events")]);

    realm.grant("manage-users").await;
    realm.grant("view-events").await;
    let on = json!({
        "eventsEnabled": true, "adminEventsEnabled": true, "adminEventsDetailsEnabled": true,
        "enabledEventTypes": NEEDED,
    });
    realm.admin(Method::PUT, "/events/config", Some(on)).await;
    realm
        .admin(Method::PUT, "", Some(json!({"revokeRefreshToken": false})))
        .await;
    let said = setup.check().await;
    assert_eq!((said.code, said.faults().len()), (2, 1), "{}", said.out);
    said.fault(
        "revoker sso",
        &[
            "does not rotate",
            "clients.default",
            &format!(
                "kcadm.sh update realms/{} -s revokeRefreshToken=true",
                realm.name
            ),
        ],
    );
    realm
        .admin(Method::PUT, "", Some(json!({"revokeRefreshToken": true})))
        .await;
    let said = setup.check().await;
    assert_eq!(said.code, 0, "{}", said.out);

    let wrong = Setup::new()
        .add(ENFORCED)
        .add(&revoker(&realm, "wrong-secret"));
    let said = wrong.check().await;
    assert_eq!(said.faults().len(), 1, "{}", said.out);
    said.fault(
        "revoker sso",
        &["unauthorized_client", "the secret of this file"],
    );
    let elsewhere = revoker(&realm, SECRET).replace(&realm.name, "no-such-realm");
    let said = Setup::new().add(ENFORCED).add(&elsewhere).check().await;
    said.fault("revoker sso", &["404"]);
}

/// Runs statements as the superuser of Keycloak's database.
async fn sql(statements: &str) {
    let mut database = PgConnection::connect(&env("TW_KEYCLOAK_DB")).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements))
        .execute(&mut database)
        .await
        .unwrap();
}

fn reader_url(account: &str) -> String {
    let url = env("TW_KEYCLOAK_DB");
    let (scheme, rest) = url.split_once("://").unwrap();
    let (_, place) = rest.split_once('@').unwrap();
    format!("{scheme}://{account}:hunter2@{place}")
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn an_account_that_can_write_and_a_proxy_that_hides_the_users_are_found() {
    let realm = Realm::create(&[]).await;
    let on = json!({"eventsEnabled": true, "enabledEventTypes": NEEDED});
    realm.admin(Method::PUT, "/events/config", Some(on)).await;
    let account = format!("reader_{}", realm.name.replace('-', "_"));
    sql(&format!(
        "CREATE ROLE {account} LOGIN PASSWORD 'hunter2'; GRANT SELECT, DELETE ON event_entity TO {account}; \
         GRANT SELECT ON admin_event_entity TO {account}; GRANT SELECT (id, name) ON realm TO {account}"
    ))
    .await;
    let source = format!(
        "sources: [{{ name: kc, sql: {{ url: '{}', layout: {{ keycloak: {{ realms: [{}] }} }} }}, format: keycloak }}]",
        reader_url(&account),
        realm.name
    );
    let setup = Setup::new().add(&source);
    let said = setup.check().await;
    assert_eq!(said.faults().len(), 1, "{}", said.out);
    said.fault(
        "source kc",
        &[
            &account,
            "can write to event_entity",
            "GRANT SELECT ON event_entity",
        ],
    );
    assert!(
        said.out
            .contains("advice source kc: no event of a user in the last 24 hours"),
        "{}",
        said.out
    );

    sql(&format!("REVOKE DELETE ON event_entity FROM {account}")).await;
    for user in 0..6 {
        let name = format!("user{user}");
        realm.add_user(&name).await;
        realm.log_in("web", &name, "openid").await;
    }
    // All of them came from this machine, and Keycloak saves events a moment after it answers.
    let mut said = setup.check().await;
    for _ in 0..30 {
        if said.faults().len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        said = setup.check().await;
    }
    assert_eq!((said.code, said.faults().len()), (2, 1), "{}", said.out);
    said.fault(
        "source kc",
        &[
            "came from the one address 127.0.0.1",
            "X-Forwarded-For",
            "keep `mode` below enforce",
        ],
    );

    let networks = "networks: [{ name: here, class: egress, cidrs: [127.0.0.0/8] }]";
    let said = Setup::new().add(&source).add(networks).check().await;
    assert_eq!((said.code, said.faults()), (0, vec![]), "{}", said.out);
    sql(&format!("DROP OWNED BY {account}; DROP ROLE {account}")).await;
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn a_missing_topic_and_a_refused_login_at_kafka_are_found() {
    let topic = format!("check-{}", jiff::Timestamp::now().as_nanosecond());
    let source = |brokers: &str, topics: &str, properties: &str| {
        Setup::new().add(&format!(
            "sources: [{{ name: bus, kafka: {{ brokers: ['{brokers}'], topics: [{topics}], group: check, properties: {{ {properties} }} }}, format: tokenwarden }}]"
        ))
    };
    let plain = source(&env("TW_KAFKA"), &topic, "");
    let said = plain.check().await;
    assert_eq!((said.code, said.faults().len()), (2, 1), "{}", said.out);
    said.fault(
        "source bus",
        &[
            &format!("there is no topic {topic}"),
            "kafka-topics.sh",
            "--create",
        ],
    );

    let admin: AdminClient<_> = ClientConfig::new()
        .set("bootstrap.servers", env("TW_KAFKA"))
        .create()
        .unwrap();
    let new = NewTopic::new(&topic, 2, TopicReplication::Fixed(1));
    admin
        .create_topics([&new], &AdminOptions::new())
        .await
        .unwrap()[0]
        .as_ref()
        .unwrap();
    let mut said = plain.check().await;
    for _ in 0..30 {
        if said.code == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        said = plain.check().await;
    }
    assert!(
        said.out
            .contains(&format!("topic {topic} can be read: 2 partitions")),
        "{}",
        said.out
    );

    let sasl = |password: &str| {
        let properties = format!(
            "security.protocol: SASL_SSL, sasl.mechanism: SCRAM-SHA-256, sasl.username: warden, sasl.password: {password}, ssl.ca.location: '{}'",
            env("TW_KAFKA_CA")
        );
        source(&env("TW_KAFKA_SASL"), &topic, &properties)
    };
    let said = sasl("pw").check().await;
    assert_eq!((said.code, said.faults()), (0, vec![]), "{}", said.out);
    let said = sasl("hunter2").check().await;
    assert_eq!((said.code, said.faults().len()), (2, 1), "{}", said.out);
    said.fault("source bus", &["refuses us", "sasl.*"]);
    let said = source(&env("TW_KAFKA_SASL"), &topic, "security.protocol: SASL_SSL, sasl.mechanism: SCRAM-SHA-256, sasl.username: warden, sasl.password: pw").check().await;
    said.fault("source bus", &["ssl.*"]);
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn a_mail_server_that_refuses_is_found_and_a_specimen_arrives() {
    let (host, port) = env("TW_SMTP")
        .rsplit_once(':')
        .map(|(host, port)| (host.to_owned(), port.to_owned()))
        .unwrap();
    let receiver = |to: &str, account: &str| {
        Setup::new().add(&format!(
            "receivers: [{{ name: oncall, email: {{ to: [{to}@example.com], from: tokenwarden@example.com, \
             smtp: {{ host: {host}, port: {port}, tls: starttls, ca_file: '{}'{account} }} }} }}]",
            env("TW_SMTP_CA")
        ))
    };
    let said = receiver("oncall", ", username: warden, password: pw")
        .check()
        .await;
    assert_eq!(said.code, 0, "{}", said.out);
    let said = receiver("oncall", ", username: warden, password: hunter2")
        .check()
        .await;
    said.fault("receiver oncall", &["at AUTH"]);
    // Without a login this server takes mail from nobody.
    let said = receiver("oncall", "").check().await;
    said.fault("receiver oncall", &["authentication required"]);
    let said = receiver("bad", ", username: warden, password: pw")
        .check()
        .await;
    said.fault("receiver oncall", &["no such mailbox"]);

    let mailbox = format!("specimen{}", jiff::Timestamp::now().as_microsecond());
    let setup = receiver(&mailbox, ", username: warden, password: pw");
    let path = setup.folder.path().join("tokenwarden.yaml");
    std::fs::write(&path, &setup.text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tokenwarden"))
        .args(["notify", "test", "oncall", "-c"])
        .arg(&path)
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(
        out.contains(&format!("sent to {mailbox}@example.com")),
        "{out}"
    );
    let new = std::path::Path::new(&env("TW_MAILDIR"))
        .join(&mailbox)
        .join("new");
    for _ in 0..300 {
        if std::fs::read_dir(&new).is_ok_and(|mut mails| mails.next().is_some()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the specimen never arrived in {}", new.display());
}
