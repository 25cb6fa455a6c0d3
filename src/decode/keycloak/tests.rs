//! What single records become, form by form.

use serde_json::{Value, json};

use crate::decode::{DecodeOptions, Rejected, TokenKey, decoder};
use crate::model::{Event, EventType, Initiator, TokenKind};

fn decode(record: &str) -> Result<Vec<Event>, Rejected> {
    let keycloak = decoder(DecodeOptions {
        format: "keycloak".into(),
        own_accounts: vec!["our-service-user".into(), "our-client".into()],
        timezone: None,
        mapping: None,
        token_key: TokenKey::new(b"key"),
        previous_key: None,
    })
    .unwrap();
    let mut events = Vec::new();
    keycloak.decode(record.as_bytes(), &"kc".into(), &mut events)?;
    Ok(events)
}

fn decoded(record: &Value) -> Vec<Event> {
    decode(&record.to_string()).unwrap()
}

fn event(kind: &str, details: &Value) -> Value {
    json!({
        "id": "e1", "time": 1_795_237_643_521_i64, "type": kind, "realmId": "r1", "clientId": "web", "userId": "u1",
        "sessionId": "s1", "ipAddress": "192.0.2.10", "details": details,
    })
}

fn refresh() -> Value {
    event(
        "REFRESH_TOKEN",
        &json!({
            "refresh_token_id": "t1", "updated_refresh_token_id": "t2", "refresh_token_type": "Refresh",
            "refresh_token_sub": "u1", "access_token_expiration_time": "60", "scope": "openid",
        }),
    )
}

#[test]
fn a_refresh_says_all_it_knows() {
    let events = decoded(&refresh());
    let [event] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&*event.event_id, event.kind, &*event.issuer),
        ("e1", EventType::Refresh, "kc")
    );
    assert_eq!(event.time.as_millisecond(), 1_795_237_643_521);
    assert_eq!(event.tenant.as_deref(), Some("r1"));
    assert_eq!(event.token_id.as_deref(), Some("t1"));
    assert_eq!(event.new_token_id.as_deref(), Some("t2"));
    assert_eq!(event.access_token_ttl, Some(60));
    assert_eq!(event.token_kind, Some(TokenKind::Online));
    assert_eq!(event.extra, None);
}

#[test]
fn forwarders_spell_the_same_event_differently() {
    let plain = decoded(&refresh());
    let mut uds = refresh();
    uds["eventType"] = "USER".into();
    uds["realmName"] = "name".into();
    uds["error"] = Value::Null;
    assert_eq!(decoded(&uds), plain);

    let mut webhook = refresh();
    let members = webhook.as_object_mut().unwrap();
    let id = members.remove("id").unwrap();
    members.insert("uid".to_owned(), id);
    members.insert("type".to_owned(), "access.REFRESH_TOKEN".into());
    let mut caller = json!({"realmId": "name"});
    for name in ["clientId", "userId", "sessionId", "ipAddress"] {
        caller[name] = members.remove(name).unwrap();
    }
    members.insert("authDetails".to_owned(), caller);
    assert_eq!(decoded(&webhook), plain);

    let mut hook = refresh();
    let members = hook.as_object_mut().unwrap();
    let id = members.remove("id").unwrap();
    let kind = members.remove("type").unwrap();
    members.insert("eventId".to_owned(), id);
    members.insert("eventType".to_owned(), kind);
    members.insert("sourceType".to_owned(), "USER".into());
    assert_eq!(decoded(&hook), plain);

    let mut details_as_text = refresh();
    details_as_text["details"] = details_as_text["details"].to_string().into();
    assert_eq!(decoded(&details_as_text), plain);
}

#[test]
fn grants_begin_families_where_a_refresh_token_came_with_them() {
    let with_token = json!({"refresh_token_id": "t1", "refresh_token_type": "Offline"});
    for kind in [
        "CODE_TO_TOKEN",
        "OAUTH2_DEVICE_CODE_TO_TOKEN",
        "AUTHREQID_TO_TOKEN",
        "TOKEN_EXCHANGE",
    ] {
        let events = decoded(&event(kind, &with_token));
        assert_eq!(events[0].kind, EventType::Issue, "{kind}");
        assert_eq!(events[0].new_token_id.as_deref(), Some("t1"));
        assert_eq!(events[0].token_id, None);
        assert!(decoded(&event(kind, &json!({}))).is_empty(), "{kind}");
    }
    // A password grant is one event in which both happen.
    let events = decoded(&event("LOGIN", &with_token));
    let seen: Vec<_> = events
        .iter()
        .map(|event| (event.kind, &*event.event_id))
        .collect();
    assert_eq!(
        seen,
        [(EventType::Login, "e1"), (EventType::Issue, "e1:issue")]
    );
    assert!(decoded(&event("CLIENT_LOGIN", &with_token)).is_empty());
}

#[test]
fn revocations_and_logouts_tell_whose_they_are() {
    let revoked = decoded(&event("REVOKE_GRANT", &json!({"refresh_token_id": "t1"})));
    assert_eq!(
        (revoked[0].kind, revoked[0].initiator),
        (EventType::Revoke, Some(Initiator::User))
    );
    assert_eq!(revoked[0].token_id.as_deref(), Some("t1"));
    let mut access_token_only = event("REVOKE_GRANT", &json!({}));
    access_token_only
        .as_object_mut()
        .unwrap()
        .remove("sessionId");
    assert!(decoded(&access_token_only).is_empty());
    let mut ours = event("LOGOUT", &json!({}));
    ours["clientId"] = "our-client".into();
    assert_eq!(decoded(&ours)[0].initiator, Some(Initiator::Tokenwarden));
}

#[test]
fn types_of_no_interest_and_of_the_future_give_no_events() {
    for kind in [
        "LOGIN_ERROR",
        "CODE_TO_TOKEN_ERROR",
        "INTROSPECT_TOKEN",
        "SOMETHING_NEW",
        "REVOKE_GRANT_ERROR",
    ] {
        assert!(decoded(&event(kind, &json!({}))).is_empty(), "{kind}");
    }
}

#[test]
fn hostile_texts_stay_harmless() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2lnbmF0dXJl";
    let mut record = refresh();
    record["clientId"] = format!("web\0\n{jwt}").into();
    record["ipAddress"] = "<script>".into();
    record["details"]["refresh_token_id"] = jwt.into();
    let events = decoded(&record);
    assert!(!format!("{events:?}").contains("eyJ"));
    assert!(
        events[0]
            .client_id
            .as_ref()
            .unwrap()
            .starts_with("web\u{fffd}\u{fffd}hmac:")
    );
    assert_eq!(events[0].ip_address, None);
    assert_eq!(
        events[0].extra.as_deref(),
        Some(r#"{"ip_address":"<script>"}"#)
    );
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    for (name, value, word) in [
        ("id", Value::Null, "`id` is missing"),
        ("id", json!(5), "`id`: expected a string"),
        ("time", Value::Null, "`time` is missing"),
        ("time", json!(true), "`time`: expected milliseconds"),
        ("type", Value::Null, "`type` is missing"),
        (
            "details",
            json!([1]),
            "details: expected an object, got an array",
        ),
        ("details", json!("{\"cut"), "details: not JSON"),
    ] {
        let mut record = refresh();
        record[name] = value;
        let rejected = decode(&record.to_string()).unwrap_err();
        assert!(rejected.message.contains(word), "{}", rejected.message);
    }
    assert!(
        decode("garbage")
            .unwrap_err()
            .message
            .contains("Keycloak log")
    );
}

fn admin(operation: &str, path: &str, body: Option<&str>) -> Value {
    json!({
        "id": "a1", "time": 1_795_237_652_221_i64, "realmId": "r1", "operationType": operation, "resourceType": "USER",
        "resourcePath": path, "representation": body,
        "authDetails": {"realmId": "m", "clientId": "c9", "userId": "op", "ipAddress": "203.0.113.70"},
    })
}

#[test]
fn operators_acts_are_read_from_the_path() {
    use EventType::{CredentialChange, Revoke, UserDisable, UserEnable};
    let told = |operation, path, body| {
        decoded(&admin(operation, path, body)).pop().map(|event| {
            let id = |text: Option<crate::model::Text>| text.map(|text| text.to_string());
            (
                event.kind,
                id(event.user_id),
                id(event.session_id),
                id(event.client_id),
                event.token_kind,
            )
        })
    };
    let some = |text: &str| Some(text.to_owned());
    let offline = Some(TokenKind::Offline);
    for (operation, path, body, expected) in [
        (
            "DELETE",
            "sessions/s1",
            Some(r#"{"offline":true}"#),
            Some((Revoke, None, some("s1"), None, offline)),
        ),
        (
            "DELETE",
            "sessions/s1",
            None,
            Some((Revoke, None, some("s1"), None, None)),
        ),
        (
            "ACTION",
            "users/u1/logout",
            None,
            Some((Revoke, some("u1"), None, None, None)),
        ),
        (
            "ACTION",
            "users/u1/reset-password",
            None,
            Some((CredentialChange, some("u1"), None, None, None)),
        ),
        (
            "ACTION",
            "users/u1/consents/web",
            None,
            Some((Revoke, some("u1"), None, some("web"), offline)),
        ),
        (
            "UPDATE",
            "users/u1",
            Some(r#"{"enabled":false}"#),
            Some((UserDisable, some("u1"), None, None, None)),
        ),
        (
            "UPDATE",
            "users/u1",
            Some(r#"{"enabled":true,"x":1}"#),
            Some((UserEnable, some("u1"), None, None, None)),
        ),
        ("UPDATE", "users/u1", Some(r#"{"email":"a@b"}"#), None),
        ("UPDATE", "users/u1", None, None),
        (
            "DELETE",
            "users/u1",
            None,
            Some((UserDisable, some("u1"), None, None, None)),
        ),
        ("DELETE", "users/u1/groups/g1", None, None),
        ("CREATE", "users/u1", None, None),
        ("ACTION", "logout-all", None, None),
    ] {
        assert_eq!(
            told(operation, path, body),
            expected,
            "{operation} {path} {body:?}"
        );
    }
}

#[test]
fn an_operator_is_never_the_events_user() {
    let events = decoded(&admin("ACTION", "users/u1/logout", None));
    assert_eq!(
        (events[0].initiator, events[0].ip_address),
        (Some(Initiator::Admin), None)
    );
    assert!(
        events[0]
            .extra
            .as_ref()
            .unwrap()
            .contains(r#""operator_ip_address":"203.0.113.70""#)
    );
    for (member, account) in [("userId", "our-service-user"), ("clientId", "our-client")] {
        let mut ours = admin("DELETE", "sessions/s1", None);
        ours["authDetails"][member] = account.into();
        assert_eq!(decoded(&ours)[0].initiator, Some(Initiator::Tokenwarden));
    }
    let mut failed = admin("ACTION", "users/u1/logout", None);
    failed["error"] = "user_not_found".into();
    assert!(decoded(&failed).is_empty());
}

#[test]
fn a_log_line_is_an_event_with_an_id_of_its_own_text() {
    let line = r#"2026-11-21 05:07:27,218 WARN  [org.keycloak.events] (executor-thread-5) type="REFRESH_TOKEN_ERROR", realmId="r1", realmName="s08", clientId="a\"b", userId="null", ipAddress="::ffff:192.0.2.10", error="invalid_token", reason="Stale token", refresh_token_id="t1", refresh_token_sub="u1""#;
    let events = decode(line).unwrap();
    let [event] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(event.time.to_string(), "2026-11-21T05:07:27.218Z");
    assert_eq!(event.client_id.as_deref(), Some("a\"b"));
    assert_eq!(event.user_id.as_deref(), Some("u1"));
    assert_eq!(event.ip_address, Some("192.0.2.10".parse().unwrap()));
    assert_eq!(decode(line).unwrap()[0].event_id, event.event_id);
    assert_ne!(
        decode(&line.replace(",218", ",219")).unwrap()[0].event_id,
        event.event_id
    );
    // The same line after Windows line ends or with a thread of another name is the same event.
    let other_thread = line.replace("executor-thread-5", "executor-thread-6") + "\r\n";
    assert_eq!(decode(&other_thread).unwrap()[0].event_id, event.event_id);
}
