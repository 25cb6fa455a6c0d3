//! The whole way on a real Keycloak: people refresh over HTTP, a copy of a token is used elsewhere, the daemon reads
//! Keycloak's own tables, ends the session through the admin API, and a mail says so. Honest people are left alone.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::daemon::{Daemon, Home};
use crate::keycloak_realm::{Browser, Realm, SECRET, Tokens, env};
use crate::mail::{mailbox, unique};

const HOME: &str = "192.0.2.10";
const THIEF: &str = "198.51.100.20";

/// What reads Keycloak's events for as long as the test runs: an account that can do nothing else.
pub(crate) struct Reader {
    name: String,
    pub(crate) url: String,
}

impl Reader {
    pub(crate) async fn create() -> Self {
        let name = unique("tw_reader");
        let url = url::Url::parse(&env("TW_KEYCLOAK_DB")).unwrap();
        Self::run(&format!(
            "CREATE ROLE {name} LOGIN;
             GRANT USAGE ON SCHEMA public TO {name};
             GRANT SELECT ON event_entity, admin_event_entity TO {name};
             GRANT SELECT (id, name) ON realm TO {name}"
        ))
        .await;
        let mut own = url;
        own.set_username(&name).unwrap();
        Self {
            name,
            url: own.to_string(),
        }
    }

    pub(crate) async fn drop(self) {
        let name = &self.name;
        Self::run(&format!("DROP OWNED BY {name}; DROP ROLE {name}")).await;
    }

    async fn run(sql: &str) {
        let mut admin = PgConnection::connect(&env("TW_KEYCLOAK_DB")).await.unwrap();
        admin
            .execute(sqlx::raw_sql(AssertSqlSafe(sql)))
            .await
            .unwrap();
    }
}

/// A realm whose events are saved, a daemon that watches it, and a mailbox.
struct Watched {
    realm: Realm,
    home: Home,
    reader: Reader,
    oncall: String,
}

impl Watched {
    async fn new() -> Self {
        let realm = Realm::create(&["manage-users", "view-events"]).await;
        realm.save_events().await;
        let reader = Reader::create().await;
        let oncall = unique("oncall");
        let home = Home::new(&configuration(&realm, &reader, &oncall));
        home.write("me.token", &unique("token"));
        Self {
            realm,
            home,
            reader,
            oncall,
        }
    }
}

fn configuration(realm: &Realm, reader: &Reader, oncall: &str) -> String {
    let (smtp_host, smtp_port) = env("TW_SMTP")
        .rsplit_once(':')
        .map(|(h, p)| (h.to_owned(), p.to_owned()))
        .unwrap();
    format!(
        "http:
  ops: {{ listen: 127.0.0.1:0 }}
  api: {{ listen: 127.0.0.1:0, tokens: [{{ name: alice, role: responder, token_file: me.token }}] }}
mode: enforce
clients: {{ default: {{ type: public, rotation: enforced, reuse_grace: 0s }} }}
sources:
  - name: sso
    sql:
      url: {url}
      layout: {{ keycloak: {{ realms: [{realm}] }} }}
      poll_every: 200ms
    own_accounts: [service-account-tokenwarden]
    start: latest
    warm_up: 1h
revokers:
  - name: {realm}
    keycloak: {{ url: \"{server}\", realm: {realm}, client_id: tokenwarden, client_secret: {SECRET} }}
receivers:
  - name: oncall
    email:
      to: [{oncall}@example.com]
      from: tokenwarden@example.com
      smtp: {{ host: {smtp_host}, port: {smtp_port}, tls: starttls, username: warden, password: pw, ca_file: \"{ca}\" }}
    digest: off
store: {{ url: \"sqlite://tokenwarden.db\" }}
",
        url = reader.url,
        realm = realm.name,
        server = realm.server,
        ca = env("TW_SMTP_CA"),
    )
}

/// Somebody with two apps in one session of a browser.
struct Person {
    id: String,
    web: Tokens,
    portal: Tokens,
}

impl Person {
    async fn log_in(realm: &Realm, name: &str) -> Self {
        let at_home = realm.seen_from(HOME);
        let id = realm.add_user(name).await;
        let mut browser = Browser::default();
        let web = browser.log_in(&at_home, "web", name).await;
        let portal = browser.log_in(&at_home, "portal", name).await;
        assert_eq!(web.session, portal.session);
        Self { id, web, portal }
    }

    async fn sessions(&self, realm: &Realm) -> usize {
        let path = format!("/users/{}/sessions", self.id);
        let sessions = realm.admin(Method::GET, &path, None).await;
        sessions.as_array().unwrap().len()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_stolen_token_ends_with_its_session_and_honest_people_are_left_alone() {
    let watched = Watched::new().await;
    let realm = &watched.realm;
    // Logged in before the daemon runs: known from the warm-up alone.
    let early = Person::log_in(realm, "early").await;
    let phone_of_early = realm
        .seen_from(HOME)
        .log_in("mobile", "early", "openid offline_access")
        .await;
    let mut daemon = watched.home.start_ready().await;

    honest(realm).await;
    let late = Person::log_in(realm, "late").await;
    let tokens_of_early = thief_second(realm, &early).await;
    let tokens_of_late = thief_first(realm, &late).await;

    for (person, tokens) in [(&early, tokens_of_early), (&late, tokens_of_late)] {
        contained(&mut daemon, person).await;
        assert_eq!(
            person.sessions(realm).await,
            0,
            "the session is gone, not only one client's part of it"
        );
        // What Keycloak itself does about a reuse leaves the other app of the session alive.
        let at_home = realm.seen_from(HOME);
        let refused = at_home.refresh("portal", &person.portal).await;
        assert_eq!(refused.unwrap_err(), "Session not active");
        for token in tokens {
            for place in [HOME, THIEF] {
                realm
                    .seen_from(place)
                    .refresh("web", &token)
                    .await
                    .unwrap_err();
            }
        }
    }
    assert_told(&watched, &mut daemon, &[&early, &late]).await;
    lock(realm, &mut daemon, &early).await;
    let at_home = realm.seen_from(HOME);
    at_home
        .refresh("mobile", &phone_of_early)
        .await
        .unwrap_err();
    daemon.stop().await;
    watched.reader.drop().await;
}

/// The owner refreshed; then the copy is tried elsewhere; then the owner is refused.
async fn thief_second(realm: &Realm, owner: &Person) -> Vec<Tokens> {
    let (at_home, away) = (realm.seen_from(HOME), realm.seen_from(THIEF));
    let next = at_home.refresh("web", &owner.web).await.unwrap();
    away.refresh("web", &owner.web).await.unwrap_err();
    at_home.refresh("web", &next).await.unwrap_err();
    vec![owner.web.clone(), next]
}

/// The copy is used elsewhere before the owner refreshes; both are refused afterwards.
async fn thief_first(realm: &Realm, owner: &Person) -> Vec<Tokens> {
    let (at_home, away) = (realm.seen_from(HOME), realm.seen_from(THIEF));
    let stolen = away.refresh("web", &owner.web).await.unwrap();
    at_home.refresh("web", &owner.web).await.unwrap_err();
    away.refresh("web", &stolen).await.unwrap_err();
    vec![owner.web.clone(), stolen]
}

/// Two tabs, a lost answer, an operator's logout, and an ordinary life.
async fn honest(realm: &Realm) {
    let at_home = realm.seen_from("192.0.2.77");
    for name in ["tabs", "lost", "leaver", "ordinary"] {
        realm.add_user(name).await;
    }
    let tokens = at_home.log_in("mobile", "tabs", "openid").await;
    // The server accepts both or refuses one, as it happens; each tab goes on with what it has.
    let (one, other) = tokio::join!(
        at_home.refresh("mobile", &tokens),
        at_home.refresh("mobile", &tokens)
    );
    for tab in [one, other].into_iter().flatten() {
        at_home.refresh("mobile", &tab).await.ok();
    }

    let tokens = at_home.log_in("mobile", "lost", "openid").await;
    at_home.refresh("mobile", &tokens).await.unwrap();
    at_home.refresh("mobile", &tokens).await.unwrap_err();

    let tokens = at_home.log_in("mobile", "leaver", "openid").await;
    let path = format!("/sessions/{}", tokens.session);
    realm.admin(Method::DELETE, &path, None).await;
    // The phone goes on trying, on its way from one network to another.
    for place in ["192.0.2.77", "203.0.113.5", "192.0.2.77"] {
        let refused = realm.seen_from(place).refresh("mobile", &tokens).await;
        refused.unwrap_err();
    }

    let mut tokens = at_home.log_in("mobile", "ordinary", "openid").await;
    for place in ["192.0.2.77", "203.0.113.5", "203.0.113.5", "192.0.2.77"] {
        let moved = realm.seen_from(place);
        tokens = moved.refresh("mobile", &tokens).await.unwrap();
    }
}

async fn contained(daemon: &mut Daemon, person: &Person) {
    let what = format!(
        "the session of {} is revoked and people are told",
        person.id
    );
    daemon
        .wait(&what, async |daemon| {
            let actions = daemon.list("actions").await;
            let done = |kind: &str| {
                actions.iter().any(|record| {
                    record["action"]["kind"] == kind
                        && record["action"]["target"]["user_id"] == person.id.as_str()
                        && record["state"] == "done"
                })
            };
            (done("revoke_family") && done("notify")).then_some(())
        })
        .await;
}

/// What the mail offers besides, done by the command that it names.
async fn lock(realm: &Realm, daemon: &mut Daemon, person: &Person) {
    let path = format!("/users/{}", person.id);
    let enabled = async || realm.admin(Method::GET, &path, None).await["enabled"].clone();
    assert_eq!(enabled().await, true, "nobody has decided yet");
    let words = ["actions", "list", "--state", "offered", "--output", "json"];
    let offered = daemon.command(&words);
    let offer = offered.lines().find(|line| line.contains(&person.id));
    let offer: Value = serde_json::from_str(offer.unwrap()).unwrap();
    assert_eq!(offer["action"]["kind"], "lock_user");
    let id = offer["action"]["id"].as_str().unwrap();
    daemon.command(&[
        "actions",
        "approve",
        id,
        "--note",
        "the user is on the phone",
    ]);
    let path = format!("/api/v1/actions/{id}");
    daemon
        .wait("the user is locked", async |daemon| {
            let record = daemon.api(&path).await;
            (record["action"]["state"] == "done").then_some(())
        })
        .await;
    assert_eq!(enabled().await, false);
}

/// One mail for each theft, and nothing else: no further mail, no action about anybody else.
async fn assert_told(watched: &Watched, daemon: &mut Daemon, thefts: &[&Person]) {
    // Everything that could still be found about the honest has settled by then.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let actions = daemon.list("actions").await;
    let of_nobody_else = |record: &Value| {
        let user = &record["action"]["target"]["user_id"];
        thefts.iter().any(|person| user == person.id.as_str())
    };
    assert!(actions.iter().all(of_nobody_else), "{actions:#?}");
    // The revocation, the mail, and what it offers.
    assert_eq!(actions.len(), 3 * thefts.len(), "{actions:#?}");

    // Long lines are folded in transfer.
    let mails: Vec<String> = mailbox(&watched.oncall, thefts.len())
        .await
        .iter()
        .map(|mail| mail.replace("=\n", ""))
        .collect();
    for person in thefts {
        let mail = mails.iter().find(|mail| mail.contains(&person.id));
        let mail = mail.unwrap_or_else(|| panic!("no mail names {}: {mails:#?}", person.id));
        assert_mail(mail, &watched.oncall);
    }
    let count = |name: &'static str, labels: &'static str| {
        let daemon = &*daemon;
        async move { daemon.metric(name, labels).await }
    };
    let twice = 2.0;
    for (name, labels) in [
        ("tokenwarden_detections_total", "severity=\"critical\""),
        (
            "tokenwarden_incidents_opened_total",
            "severity=\"critical\"",
        ),
        (
            "tokenwarden_actions_finished_total",
            "action=\"revoke_family\",state=\"done\"",
        ),
        ("tokenwarden_containment_latency_seconds_count", ""),
        (
            "tokenwarden_notifications_total",
            "outcome=\"done\",receiver=\"oncall\"",
        ),
    ] {
        let counted = count(name, labels).await;
        assert!((counted - twice).abs() < 0.5, "{name}: {counted}");
    }
    // Nothing is left to do: they are contained.
    let open = count("tokenwarden_incidents_open", "severity=\"critical\"").await;
    assert!(open < 0.5, "{open} are open");
    assert!(count("tokenwarden_refreshes_total", "outcome=\"success\"").await >= 5.0);
    assert!(count("tokenwarden_refresh_failures_total", "").await >= 6.0);
}

fn assert_mail(mail: &str, oncall: &str) {
    let (headers, body) = mail.split_once("\n\n").unwrap();
    let header = |name: &str| -> String {
        let start = format!("{name}: ");
        let line = headers.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no {name} in {headers}"))
            .to_owned()
    };
    assert_eq!(header("To"), format!("{oncall}@example.com"));
    assert!(
        headers
            .replace("\n ", " ")
            .contains(": Refresh token stolen"),
        "{headers}"
    );
    assert!(
        header("From").contains("tokenwarden CONTAINED"),
        "{headers}"
    );
    assert_eq!(header("X-Tokenwarden-State"), "CONTAINED");
    assert!(body.contains("text/plain") && body.contains("text/html"));
    assert!(body.contains("token family revoked"), "{body}");
    assert!(body.contains("tokenwarden actions approve "), "{body}");
}
