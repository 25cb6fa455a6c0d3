//! The revoker on a real Keycloak: what ends, what lives on, and what the answers and findings say.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokenwarden::actions::{Attempt, Claim, Declared, Gravity, Revoker, revoker};
use tokenwarden::config::{self, Client, Clients, KeycloakRevoker, RevokerKind, Rotation, Secret};
use tokenwarden::model::{Action, ActionKind, Decision, Evidence, Target, TokenKind, Value};

use super::keycloak_realm::{Browser, Realm, SECRET};

fn keycloak(realm: &Realm) -> Arc<dyn Revoker> {
    with_secret(realm, SECRET)
}

fn with_secret(realm: &Realm, secret: &str) -> Arc<dyn Revoker> {
    let settings = config::Revoker {
        name: "kc".into(),
        issuers: vec![],
        limits: tokenwarden::config::TargetLimits::default(),
        kind: RevokerKind::Keycloak(KeycloakRevoker {
            url: realm.server.as_str().into(),
            realm: realm.name.as_str().into(),
            realm_id: None,
            client_id: "tokenwarden".into(),
            client_secret: Secret::new(secret),
            required_action: "UPDATE_PASSWORD".into(),
            timeout: Duration::from_secs(30),
            ca_file: None,
        }),
    };
    revoker(&settings, true, jiff::Timestamp::now).unwrap()
}

fn action(kind: ActionKind, user: &str, session: &str, token: Option<TokenKind>) -> Action {
    Action {
        id: "act".into(),
        kind,
        target: Target {
            issuer: "sso".into(),
            tenant: None,
            family_id: Some("f".into()),
            user_id: Some(user.into()),
            client_id: Some("web".into()),
            session_id: Some(session.into()),
            token_kind: token,
            network: None,
        },
        detection_ids: vec![],
        incident_id: "inc".into(),
        rule: "token-reuse".into(),
        decision: Decision::Execute,
        reason: "enforce".into(),
        event_time: jiff::Timestamp::now(),
        undoes: None,
    }
}

fn done(attempt: Attempt) -> (String, Evidence) {
    match attempt {
        Attempt::Done { detail, evidence } => (detail.to_string(), evidence),
        other => panic!("not done: {other:?}"),
    }
}

fn flag(evidence: &Evidence, name: &str) -> bool {
    evidence.get(name) == Some(&Value::Bool(true))
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn a_family_ends_with_its_session_and_the_record_says_what_else_did() {
    let realm = Realm::create(&["manage-users"]).await;
    let user = realm.add_user("alice").await;
    let mut browser = Browser::default();
    let web = browser.log_in(&realm, "web", "alice").await;
    let portal = browser.log_in(&realm, "portal", "alice").await;
    assert_eq!(web.session, portal.session);
    let elsewhere = realm.log_in("web", "alice", "openid").await;
    let revoker = keycloak(&realm);

    let act = action(
        ActionKind::RevokeFamily,
        &user,
        &web.session,
        Some(TokenKind::Online),
    );
    let (detail, evidence) = done(revoker.perform(&act).await);
    assert_eq!(
        detail,
        format!(
            "online session {} deleted; tokens of portal in the same session ended with it",
            web.session
        )
    );
    assert!(flag(&evidence, "checked"));
    assert_eq!(
        realm.refresh("web", &web).await.unwrap_err(),
        "Session not active"
    );
    assert_eq!(
        realm.refresh("portal", &portal).await.unwrap_err(),
        "Session not active"
    );
    realm.refresh("web", &elsewhere).await.unwrap();

    let (detail, evidence) = done(revoker.perform(&act).await);
    assert_eq!(detail, format!("session {} was already gone", web.session));
    assert!(flag(&evidence, "already_gone") && flag(&evidence, "checked"));
    realm.refresh("web", &elsewhere).await.unwrap_err(); // used above
}

/// The wrong `isOffline` answers 404 while the token lives.
#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn an_offline_session_ends_whatever_kind_was_told() {
    let realm = Realm::create(&["manage-users"]).await;
    let user = realm.add_user("bob").await;
    let revoker = keycloak(&realm);
    for told in [Some(TokenKind::Offline), Some(TokenKind::Online), None] {
        let phone = realm.log_in("mobile", "bob", "openid offline_access").await;
        let kept = realm.log_in("mobile", "bob", "openid offline_access").await;
        let act = action(ActionKind::RevokeFamily, &user, &phone.session, told);
        let (detail, evidence) = done(revoker.perform(&act).await);
        assert!(detail.starts_with("offline session"), "{told:?}: {detail}");
        assert!(flag(&evidence, "checked"));
        assert_eq!(
            realm.refresh("mobile", &phone).await.unwrap_err(),
            "Offline user session not found"
        );
        realm.refresh("mobile", &kept).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn a_user_loses_online_and_offline_sessions() {
    let realm = Realm::create(&["manage-users"]).await;
    let user = realm.add_user("carol").await;
    let other = realm.add_user("dave").await;
    let bystander = realm.log_in("web", "dave", "openid").await;
    let web = realm.log_in("web", "carol", "openid").await;
    let phone = realm
        .log_in("mobile", "carol", "openid offline_access")
        .await;
    let revoker = keycloak(&realm);

    let act = action(ActionKind::RevokeUser, &user, &web.session, None);
    let (detail, evidence) = done(revoker.perform(&act).await);
    assert!(
        detail.ends_with("logged out: 1 online and 1 offline sessions ended, clients mobile, web"),
        "{detail}"
    );
    assert_eq!(evidence.get("offline_sessions"), Some(&Value::Integer(1)));
    assert_eq!(
        realm.refresh("web", &web).await.unwrap_err(),
        "Session not active"
    );
    realm.refresh("mobile", &phone).await.unwrap_err();
    realm.refresh("web", &bystander).await.unwrap();
    let (detail, _) = done(revoker.perform(&act).await);
    assert!(detail.contains("0 online and 0 offline"), "{detail}");
    let dave = action(ActionKind::Notify, &other, "", None).target;
    assert_eq!(revoker.user_name(&dave).await.as_deref(), Some("dave"));

    let gone = action(
        ActionKind::RevokeUser,
        "00000000-0000-4000-8000-000000000000",
        "",
        None,
    );
    let (_, evidence) = done(revoker.perform(&gone).await);
    assert!(flag(&evidence, "already_gone"));
    let by_name = action(ActionKind::RevokeUser, "carol", "", None);
    assert!(matches!(
        revoker.perform(&by_name).await,
        Attempt::Refused { .. }
    ));
}

/// Disabling alone ends nothing: enabled again, every old token would work.
#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn a_locked_user_stays_out_after_being_enabled_again() {
    let realm = Realm::create(&["manage-users"]).await;
    let user = realm.add_user("erin").await;
    let web = realm.log_in("web", "erin", "openid").await;
    let phone = realm
        .log_in("mobile", "erin", "openid offline_access")
        .await;
    let act = action(ActionKind::LockUser, &user, &web.session, None);
    done(keycloak(&realm).perform(&act).await);
    assert_eq!(
        realm.refresh("web", &web).await.unwrap_err(),
        "Session not active"
    );
    let path = format!("/users/{user}");
    let found = realm.admin(Method::GET, &path, None).await;
    assert_eq!(found["enabled"], json!(false));
    assert_eq!(found["email"], json!("erin@example.com"));
    realm
        .admin(Method::PUT, &path, Some(json!({"enabled": true})))
        .await;
    realm.refresh("web", &web).await.unwrap_err();
    realm.refresh("mobile", &phone).await.unwrap_err();
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn a_challenge_waits_for_the_next_login() {
    let realm = Realm::create(&["manage-users"]).await;
    let user = realm.add_user("frank").await;
    let web = realm.log_in("web", "frank", "openid").await;
    let path = format!("/users/{user}");
    let before = json!({"requiredActions": ["CONFIGURE_TOTP"]});
    realm.admin(Method::PUT, &path, Some(before)).await;
    let act = action(ActionKind::Challenge, &user, &web.session, None);
    for _ in 0..2 {
        let (detail, _) = done(keycloak(&realm).perform(&act).await);
        assert!(detail.contains("at the next login"), "{detail}");
    }
    let found = realm.admin(Method::GET, &path, None).await;
    assert_eq!(
        found["requiredActions"],
        json!(["CONFIGURE_TOTP", "UPDATE_PASSWORD"])
    );
    realm.refresh("web", &web).await.unwrap();
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn missing_roles_and_wrong_secrets_are_told_with_their_mending() {
    let realm = Realm::create(&["view-events"]).await;
    let user = realm.add_user("grace").await;
    let web = realm.log_in("web", "grace", "openid").await;
    let act = action(ActionKind::RevokeFamily, &user, &web.session, None);
    let Attempt::Refused { reason } = keycloak(&realm).perform(&act).await else {
        panic!("the role is missing");
    };
    assert!(
        reason.contains(&format!(
            "kcadm.sh add-roles -r {} --uusername service-account-tokenwarden --cclientid realm-management --rolename manage-users",
            realm.name
        )),
        "{reason}"
    );
    realm.refresh("web", &web).await.unwrap();
    // Whoever may look at users is still told that ending sessions takes more.
    realm.grant("view-users").await;
    let findings = keycloak(&realm)
        .inspect(&declared(Rotation::Enforced), jiff::Timestamp::now)
        .await;
    let faults = findings.iter().filter(|it| it.gravity == Gravity::Fault);
    let faults: Vec<&str> = faults.map(|it| &*it.what).collect();
    assert!(
        faults
            .iter()
            .any(|it| it.contains("nothing can be revoked: DELETE sessions/")
                && it.contains("lacks the role manage-users of realm-management;")),
        "{faults:#?}"
    );
    let Attempt::Refused { reason } = with_secret(&realm, "wrong").perform(&act).await else {
        panic!("the secret is wrong");
    };
    assert!(reason.contains("unauthorized_client"), "{reason}");
    let findings = with_secret(&realm, "wrong")
        .inspect(&declared(Rotation::Enforced), jiff::Timestamp::now)
        .await;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].gravity, Gravity::Fault);
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn a_realm_is_known_by_its_id_where_the_account_may_see_it() {
    let realm = Realm::create(&["manage-users"]).await;
    let mut act = action(ActionKind::RevokeFamily, "u", "s", None);
    act.target.tenant = Some(realm.id.as_str().into());
    assert_eq!(keycloak(&realm).claims(&act).await, Claim::Mine);
    act.target.tenant = Some("another".into());
    // Only one realm is configured, and the server does not tell this account the id.
    assert_eq!(keycloak(&realm).claims(&act).await, Claim::Mine);
    realm.grant("view-realm").await;
    assert_eq!(keycloak(&realm).claims(&act).await, Claim::NotMine);
    act.target.tenant = Some(realm.id.as_str().into());
    assert_eq!(keycloak(&realm).claims(&act).await, Claim::Mine);
}

/// Nothing of what is needed is on by default; each finding goes away by the command that it names.
#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn inspection_names_every_setting_and_the_command_that_mends_it() {
    let realm = Realm::create(&["manage-users", "view-events", "view-realm"]).await;
    let revoker = keycloak(&realm);
    let enforced = declared(Rotation::Enforced);
    let faults = |findings: Vec<tokenwarden::actions::Finding>| -> Vec<String> {
        findings
            .into_iter()
            .filter(|finding| finding.gravity > Gravity::Advice)
            .map(|finding| format!("{} => {}", finding.what, finding.mend.unwrap()))
            .collect()
    };
    let found = faults(revoker.inspect(&enforced, jiff::Timestamp::now).await);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("saves no events") && found[0].contains("\"REFRESH_TOKEN_ERROR\""));
    assert!(found[1].contains("adminEventsEnabled=true"));

    let on = json!({"eventsEnabled": true, "adminEventsEnabled": true, "adminEventsDetailsEnabled": true});
    realm.admin(Method::PUT, "/events/config", Some(on)).await;
    let found = faults(revoker.inspect(&enforced, jiff::Timestamp::now).await);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains("does not save REFRESH_TOKEN (")
            && found[0].contains("REFRESH_TOKEN_ERROR (")
    );
    assert!(
        !found[0].contains("CODE_TO_TOKEN ("),
        "saved by default: {found:#?}"
    );

    let list = found[0].split_once("enabledEventTypes=").unwrap().1;
    let types: serde_json::Value = serde_json::from_str(list.trim_end_matches('\'')).unwrap();
    let mut config = realm.admin(Method::GET, "/events/config", None).await;
    config["enabledEventTypes"] = types;
    realm
        .admin(Method::PUT, "/events/config", Some(config))
        .await;
    assert_eq!(
        faults(revoker.inspect(&enforced, jiff::Timestamp::now).await),
        Vec::<String>::new()
    );

    let found = faults(
        revoker
            .inspect(&declared(Rotation::Off), jiff::Timestamp::now)
            .await,
    );
    assert!(found[0].contains("rotates refresh tokens"), "{found:#?}");
    realm
        .admin(Method::PUT, "", Some(json!({"refreshTokenMaxReuse": 2})))
        .await;
    let found = faults(revoker.inspect(&enforced, jiff::Timestamp::now).await);
    assert!(found[0].contains("write max_reuse: 2"), "{found:#?}");
    realm
        .admin(Method::PUT, "", Some(json!({"revokeRefreshToken": false})))
        .await;
    let found = faults(revoker.inspect(&enforced, jiff::Timestamp::now).await);
    assert!(
        found[0].contains("-s revokeRefreshToken=true"),
        "{found:#?}"
    );
}

fn declared(rotation: Rotation) -> Declared {
    Declared::of(&Clients {
        default: Client {
            rotation,
            ..Client::default()
        },
        ..Clients::default()
    })
}
