//! A revocation that ends nothing, on a real Keycloak: it is tried again, then all sessions of the user end, and people are
//! told.
//!
//! The trap is one of Keycloak's own, walked into by a template: a session deleted with the wrong `isOffline` is answered
//! 404, which looks as if it were gone already, while its tokens live on. The theft is one that Keycloak does nothing about
//! itself: a login from before the user's password was changed.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::daemon::{Daemon, Home};
use crate::keycloak_flagship::Reader;
use crate::keycloak_realm::{Realm, SECRET, Tokens, env};
use crate::mail::{mailbox, unique};

/// A use so soon after the answer may have been under way.
const PROPAGATES: Duration = Duration::from_secs(11);

fn configuration(realm: &Realm, reader: &Reader, oncall: &str) -> String {
    let smtp = env("TW_SMTP");
    let (smtp_host, smtp_port) = smtp.rsplit_once(':').unwrap();
    format!(
        "http:
  ops: {{ listen: 127.0.0.1:0 }}
  api: {{ listen: 127.0.0.1:0, tokens: [{{ name: alice, role: responder, token_file: me.token }}] }}
mode: enforce
clients: {{ default: {{ type: public, rotation: enforced }} }}
tenants: {{ default: {{ credential_change_revokes: true }} }}
overrides: {{ use-after-credential-change: {{ skew: 1s }} }}
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
  - name: naive
    http:
      actions: [revoke_family]
      method: DELETE
      url: \"{server}/admin/realms/{realm}/sessions/{{{{ target.session_id }}}}?isOffline=true\"
      success: [204, 404]
      auth: {{ client_credentials: {{ token_url: \"{server}/realms/{realm}/protocol/openid-connect/token\", client_id: tokenwarden, client_secret: {SECRET} }} }}
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

async fn refreshed(realm: &Realm, tokens: &Tokens) -> Tokens {
    let later = realm.refresh("web", tokens).await;
    later.expect("nothing has ended it")
}

/// The only action of that kind.
async fn action(daemon: &Daemon, kind: &str) -> Option<Value> {
    let actions = daemon.list("actions").await;
    let mut of_kind = actions
        .into_iter()
        .filter(|it| it["action"]["kind"] == kind);
    of_kind.next()
}

/// The family's revocation is answered for the time of that number.
async fn answered(daemon: &mut Daemon, times: f64) {
    let without_effect = "tokenwarden_revocations_without_effect_total";
    daemon
        .wait("the revocation is answered", async |daemon| {
            let told = daemon.metric(without_effect, "").await;
            let found = action(daemon, "revoke_family").await?;
            (found["state"] == "answered" && (told + 1.0 - times).abs() < 0.1).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_login_that_lives_on_is_ended_again_then_with_all_of_its_user() {
    let realm = Realm::create(&["manage-users", "view-events"]).await;
    realm.save_events().await;
    let reader = Reader::create().await;
    let oncall = unique("oncall");
    let home = Home::new(&configuration(&realm, &reader, &oncall));
    home.write("me.token", &unique("token"));
    let user = realm.add_user("alice").await;
    let tokens = realm.log_in("web", "alice", "openid").await;
    let mut daemon = home.start_ready().await;

    let tokens = refreshed(&realm, &tokens).await;
    let password = json!({"type": "password", "value": "another", "temporary": false});
    let path = format!("/users/{user}/reset-password");
    realm.admin(Method::PUT, &path, Some(password)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let tokens = refreshed(&realm, &tokens).await;
    answered(&mut daemon, 1.0).await;

    tokio::time::sleep(PROPAGATES).await;
    let tokens = refreshed(&realm, &tokens).await;
    answered(&mut daemon, 2.0).await;

    tokio::time::sleep(PROPAGATES).await;
    let tokens = refreshed(&realm, &tokens).await;
    let ended = daemon
        .wait("all sessions of the user have ended", async |daemon| {
            let found = action(daemon, "revoke_user").await?;
            (found["state"] == "done").then_some(found)
        })
        .await;
    assert_eq!(ended["verified"]["by"], "check", "{ended:#}");
    let refused = realm.refresh("web", &tokens).await;
    assert_eq!(refused.unwrap_err(), "Session not active");

    let family = action(&daemon, "revoke_family").await.unwrap();
    assert_eq!(family["state"], "suppressed", "{family:#}");
    let count = daemon
        .metric("tokenwarden_revocations_without_effect_total", "given_up")
        .await;
    assert!((count - 1.0).abs() < 0.1, "{count}");
    // The first says what was answered, the second what was done in its place.
    let mails = mailbox(&oncall, 2).await;
    let all = mails.join("\n").replace("=\n", "");
    for said in ["ENDED, UNVERIFIED", "had no effect, twice", "CONTAINED"] {
        assert!(all.contains(said), "{said} in {all}");
    }
    daemon.stop().await;
    reader.drop().await;
}

/// Whoever may only look is told so before anything is stolen, and afterwards by name of what is missing.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_missing_role_is_named_where_the_action_waits_in_the_log_and_in_the_mail() {
    let realm = Realm::create(&["view-users", "view-events"]).await;
    realm.save_events().await;
    let reader = Reader::create().await;
    let oncall = unique("oncall");
    let all = configuration(&realm, &reader, &oncall);
    let (before, rest) = all.split_once("  - name: naive\n").unwrap();
    let (_, after) = rest
        .split_once(&format!("  - name: {}\n", realm.name))
        .unwrap();
    let home = Home::new(&format!("{before}  - name: {}\n{after}", realm.name));
    home.write("me.token", &unique("token"));
    let user = realm.add_user("bob").await;
    let tokens = realm.log_in("web", "bob", "openid").await;
    let mut daemon = home.start_ready().await;

    let tokens = refreshed(&realm, &tokens).await;
    let password = json!({"type": "password", "value": "another", "temporary": false});
    let path = format!("/users/{user}/reset-password");
    realm.admin(Method::PUT, &path, Some(password)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    refreshed(&realm, &tokens).await;
    let parked = daemon
        .wait("the revocation is given up", async |daemon| {
            let found = action(daemon, "revoke_family").await?;
            (found["state"] == "parked").then_some(found)
        })
        .await;
    let lacks = "lacks the role manage-users of realm-management";
    let outcome = parked["outcome"].as_str().unwrap();
    assert!(outcome.contains(lacks), "{outcome}");
    assert!(daemon.log().contains(lacks), "{}", daemon.log());
    let mail = mailbox(&oncall, 1).await.join("\n").replace("=\n", "");
    assert!(
        mail.contains("FAILED") && mail.contains("manage-users"),
        "{mail}"
    );
    // The right is granted, and a person has it tried again.
    realm.grant("manage-users").await;
    let id = parked["action"]["id"].as_str().unwrap();
    daemon.command(&["actions", "retry", id, "--note", "the role is granted"]);
    daemon
        .wait("it is done", async |daemon| {
            let found = action(daemon, "revoke_family").await?;
            (found["state"] == "done").then_some(())
        })
        .await;
    daemon.stop().await;
    reader.drop().await;
}
