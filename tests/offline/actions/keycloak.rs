//! Answers of a Keycloak, or of what stands in its place, that must not be mistaken for success.

use std::sync::Arc;
use std::time::Duration;

use tokenwarden::actions::{Attempt, Claim, Revoker, revoker};
use tokenwarden::config::{self, KeycloakRevoker, RevokerKind, Secret};
use tokenwarden::model::ActionKind;

use super::server::{Reply, Seen, Server, reply};
use super::{action, detail, reason};

const REALM: &str = "/admin/realms/corp";

fn keycloak(url: &str, is_alone: bool) -> Arc<dyn Revoker> {
    let settings = config::Revoker {
        name: "kc".into(),
        issuers: vec!["sso".into()],
        limits: tokenwarden::config::TargetLimits::default(),
        kind: RevokerKind::Keycloak(KeycloakRevoker {
            url: url.into(),
            realm: "corp".into(),
            realm_id: None,
            client_id: "tokenwarden".into(),
            client_secret: Secret::new("hush"),
            required_action: "UPDATE_PASSWORD".into(),
            timeout: Duration::from_secs(5),
            ca_file: None,
        }),
    };
    revoker(&settings, is_alone, jiff::Timestamp::now).unwrap()
}

/// A server that gives tokens and answers the rest as told.
async fn server(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |seen, _| {
        if seen.path.ends_with("/protocol/openid-connect/token") {
            reply(200, r#"{"access_token":"t","expires_in":60}"#)
        } else {
            answer(seen)
        }
    })
    .await
}

fn not_found() -> Reply {
    reply(404, r#"{"error":"Sesssion not found"}"#)
}

#[tokio::test]
async fn only_keycloak_itself_can_say_that_a_session_is_gone() {
    for (status, body) in [
        (404, r#"{"error":"Realm not found."}"#),
        (404, r#"{"error":"HTTP 404 Not Found"}"#),
        (404, "<html>no such page</html>"),
        (404, ""),
        (302, ""),
        (200, "<html>log in</html>"),
    ] {
        let server = server(move |_| reply(status, body)).await;
        let answer = keycloak(&server.url, true)
            .perform(&action(ActionKind::RevokeFamily))
            .await;
        // A 200 with a page for DELETE is only found out by the list that is asked afterwards.
        if status == 200 {
            assert!(detail(&answer).contains("not looked for"), "{answer:?}");
        } else {
            assert!(
                matches!(answer, Attempt::Refused { .. }),
                "{body}: {answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_session_that_is_still_listed_is_not_done() {
    let listed = r#"[{"id":"session-1","clients":{"u1":"web","u2":"portal"}}]"#;
    for deleted in [204, 404] {
        let server = server(move |seen| match (seen.method.as_str(), &seen.path) {
            ("DELETE", _) if deleted == 404 => not_found(),
            ("DELETE", _) => reply(204, ""),
            (_, path) if path.ends_with("/consents") => reply(200, "[]"),
            _ => reply(200, listed),
        })
        .await;
        let answer = keycloak(&server.url, true)
            .perform(&action(ActionKind::RevokeFamily))
            .await;
        assert_eq!(reason(&answer), "Keycloak still lists session session-1");
        assert!(matches!(answer, Attempt::Retry { .. }));
    }
}

#[tokio::test]
async fn without_a_session_nothing_wider_is_ended() {
    let server = server(|_| reply(204, "")).await;
    let mut sessionless = action(ActionKind::RevokeFamily);
    sessionless.target.session_id = None;
    let answer = keycloak(&server.url, true).perform(&sessionless).await;
    assert!(reason(&answer).contains("revoke_user"), "{answer:?}");
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn a_missing_role_is_named_with_the_command_that_grants_it() {
    let server = server(|_| reply(403, r#"{"error":"HTTP 403 Forbidden"}"#)).await;
    let answer = keycloak(&server.url, true)
        .perform(&action(ActionKind::RevokeFamily))
        .await;
    insta::assert_snapshot!(reason(&answer), @"DELETE sessions/session-1 in realm corp: the service account of tokenwarden lacks the role manage-users of realm-management; grant it: kcadm.sh add-roles -r corp --uusername service-account-tokenwarden --cclientid realm-management --rolename manage-users");
}

#[tokio::test]
async fn hostile_ids_stay_inside_their_part_of_the_path() {
    let server = server(|seen| match seen.method.as_str() {
        "DELETE" => not_found(),
        _ => reply(404, r#"{"error":"User not found"}"#),
    })
    .await;
    let revoker = keycloak(&server.url, true);
    let mut hostile = action(ActionKind::RevokeFamily);
    hostile.target.session_id = Some("../users/x?y#z".into());
    revoker.perform(&hostile).await;
    let deleted: Vec<_> = server
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "DELETE")
        .map(|seen| seen.path)
        .collect();
    assert_eq!(
        deleted,
        [
            format!("{REALM}/sessions/..%2Fusers%2Fx%3Fy%23z?isOffline=false"),
            format!("{REALM}/sessions/..%2Fusers%2Fx%3Fy%23z?isOffline=true"),
        ]
    );
    hostile.target.session_id = Some("..".into());
    assert!(matches!(
        revoker.perform(&hostile).await,
        Attempt::Refused { .. }
    ));
}

/// Events carry the realm's id, the configuration its name.
#[tokio::test]
async fn a_tenant_is_matched_by_name_or_by_the_id_that_the_server_tells() {
    let told = server(|_| reply(200, r#"{"realm":"corp","id":"uuid-1"}"#)).await;
    let silent = server(|_| reply(200, r#"{"realm":"corp"}"#)).await;
    let mut act = action(ActionKind::RevokeFamily);

    assert_eq!(keycloak(&told.url, false).claims(&act).await, Claim::Mine);
    act.target.tenant = Some("uuid-1".into());
    assert_eq!(keycloak(&told.url, false).claims(&act).await, Claim::Mine);
    act.target.tenant = Some("uuid-2".into());
    assert_eq!(keycloak(&told.url, true).claims(&act).await, Claim::NotMine);
    assert_eq!(keycloak(&silent.url, true).claims(&act).await, Claim::Mine);
    assert!(matches!(
        keycloak(&silent.url, false).claims(&act).await,
        Claim::Unclear { .. }
    ));
    act.target.issuer = "another".into();
    assert_eq!(
        keycloak(&silent.url, true).claims(&act).await,
        Claim::NotMine
    );
}
