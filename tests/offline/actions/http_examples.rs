//! Revokers by template: what really goes over the wire for the servers that the documentation shows.

use std::path::Path;

use tokenwarden::actions::{Attempt, Claim, Revokers, revoker};
use tokenwarden::config::Config;
use tokenwarden::model::ActionKind;

use super::server::{Seen, Server, reply};
use super::{action, detail, http, http_settings, reason};

/// Performs an action by a revoker of the example file, with its servers replaced by one on loopback.
async fn wire(name: &str, kind: ActionKind) -> Vec<Seen> {
    let server = Server::start(|seen, _| match seen.path.as_str() {
        "/oauth/token" => reply(200, "{\"access_token\":\"m2m\",\"expires_in\":86400}"),
        "/oauth2/revoke" => reply(200, ""),
        _ => reply(204, ""),
    })
    .await;
    let path = Path::new("deploy/examples/revokers.yaml");
    let text = [
        "auth.example.com",
        "example.eu.auth0.com",
        "example.okta.com",
    ]
    .iter()
    .fold(std::fs::read_to_string(path).unwrap(), |text, host| {
        text.replace(
            &format!("url: https://{host}"),
            &format!("url: {}", server.url),
        )
    });
    let config = Config::parse(&text, path).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let settings = config
        .revokers
        .iter()
        .find(|revoker| *revoker.name == *name);
    let answer = revoker(settings.unwrap(), true, jiff::Timestamp::now)
        .unwrap()
        .perform(&action(kind))
        .await;
    detail(&answer);
    server.seen()
}

#[tokio::test]
async fn rfc_7009_with_basic_authentication() {
    let seen = wire("rfc7009", ActionKind::RevokeFamily).await;
    assert_eq!(seen[0].method, "POST");
    assert_eq!(seen[0].path, "/oauth2/revoke");
    assert_eq!(seen[0].body, "token=fam-1&token_type_hint=refresh_token");
    assert_eq!(
        seen[0].header("content-type"),
        "application/x-www-form-urlencoded"
    );
    let basic = seen[0].header("authorization");
    assert!(basic.starts_with("Basic dG9rZW53YXJkZW46"), "{basic}");
    assert_eq!(seen[0].header("idempotency-key"), "act-1");
}

#[tokio::test]
async fn auth0_with_a_machine_to_machine_token() {
    let seen = wire("auth0-family", ActionKind::RevokeFamily).await;
    let audience = "audience=https%3A%2F%2Fexample.eu.auth0.com%2Fapi%2Fv2%2F";
    assert!(seen[0].body.contains(audience), "{}", seen[0].body);
    assert_eq!(seen[1].path, "/api/v2/refresh-tokens/revoke");
    assert_eq!(seen[1].header("authorization"), "Bearer m2m");
    assert_eq!(seen[1].header("content-type"), "application/json");
    assert_eq!(
        seen[1].body,
        r#"{"user_id": "auth0|alice/1", "client_id": "web"}"#
    );
    let seen = wire("auth0-user", ActionKind::RevokeUser).await;
    assert_eq!(seen[1].method, "DELETE");
    assert_eq!(
        seen[1].path,
        "/api/v2/users/auth0%7Calice%2F1/refresh-tokens"
    );
}

#[tokio::test]
async fn okta_with_its_own_scheme() {
    let seen = wire("okta-family", ActionKind::RevokeFamily).await;
    assert_eq!(seen[0].method, "DELETE");
    assert_eq!(
        seen[0].path,
        "/api/v1/users/auth0%7Calice%2F1/clients/web/tokens"
    );
    assert!(seen[0].header("authorization").starts_with("SSWS "));
    let seen = wire("okta-user", ActionKind::RevokeUser).await;
    assert_eq!(
        seen[0].path,
        "/api/v1/users/auth0%7Calice%2F1/sessions?oauthTokens=true"
    );
}

#[tokio::test]
async fn what_an_action_lacks_is_refused_before_anything_is_sent() {
    let server = Server::start(|_, _| reply(204, "")).await;
    let revoker = http(http_settings(&format!(
        "{}/users/{{{{ target.user_id }}}}/tokens",
        server.url
    )));
    let mut anonymous = action(ActionKind::RevokeFamily);
    anonymous.target.user_id = None;
    let answer = revoker.perform(&anonymous).await;
    assert_eq!(reason(&answer), "api: there is no target.user_id");
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn a_value_cannot_smuggle_a_header() {
    let server = Server::start(|_, _| reply(204, "")).await;
    let mut settings = http_settings(&server.url);
    settings
        .headers
        .insert("X-User".into(), "{{ target.user_id }}".into());
    let revoker = http(settings);
    let mut hostile = action(ActionKind::RevokeFamily);
    hostile.target.user_id = Some("x\r\nX-Admin: 1".into());
    assert!(matches!(
        revoker.perform(&hostile).await,
        Attempt::Refused { .. }
    ));
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn an_action_goes_to_the_first_revoker_that_it_is_for() {
    let revokers = Revokers::from_list(vec![http(http_settings("http://127.0.0.1:9/"))]);
    let revoker = revokers.iter().next().unwrap();
    assert_eq!(
        revoker.claims(&action(ActionKind::RevokeFamily)).await,
        Claim::Mine
    );
    let lock = action(ActionKind::LockUser);
    assert_eq!(revoker.claims(&lock).await, Claim::NotMine);
    assert_eq!(
        reason(&revokers.choose(&lock).await.err().unwrap()),
        "no revoker does lock_user for issuer sso, tenant corp; add one under `revokers`"
    );
}
