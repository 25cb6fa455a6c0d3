//! What is kept of a record that is rejected: all that explains it, and nothing that could be presented.

use super::*;

fn kept(record: &str) -> String {
    decoder(options("tokenwarden"))
        .unwrap()
        .redact(record.as_bytes())
        .to_string()
}

/// Opaque tokens have no form of their own: what stands under or behind the name of a secret is one.
#[test]
fn opaque_tokens_are_known_by_the_name_of_their_place() {
    let token = "v1.MZk3xTq-0pLw";
    for record in [
        "POST /token grant_type=refresh_token&refresh_token=TOKEN",
        "POST /token?refresh_token=TOKEN&client_id=web HTTP/1.1",
        "refresh_token: TOKEN",
        "level=info token = TOKEN, user=u1",
        "Authorization: Bearer TOKEN",
        "authorization: Basic TOKEN",
        "sent Bearer TOKEN to the back end",
        "Cookie: a=1; sid=TOKEN; b=2",
        "{'refresh_token' => 'TOKEN'}",
        "token: code: TOKEN",
        "form%5Brefresh_token%5D%3DTOKEN%26a%3Db",
        "%7B%22refresh_token%22%3A%22TOKEN%22%7D",
        r#"{"refresh_token":{"value":"TOKEN"}}"#,
        r#"{"refresh_token":["TOKEN"]}"#,
        r#"{"refresh_token":[{"a":["b", "TOKEN"#,
        r#"{"row":"{\"new_refresh_token\":{\"v\":\"TOKEN\"}}"}"#,
        r#"{"row":"{\"new_refresh_token\":{\"v\":\"TOKEN\"}}"#,
        r#"{"refresh_token":"a\"TOKEN","#,
        r#"{"new_refresh_token":"TOKEN"}"#,
        r#"{"previousToken":"TOKEN"}"#,
        r#"{"device_code":"TOKEN"}"#,
        r#"{"user_password2":"TOKEN"}"#,
        r#"{"access_token_value":"TOKEN"}"#,
        r#"{"Set-Cookie":"sid=TOKEN"}"#,
        r#"{"API-Key":"TOKEN"}"#,
        r#"{"code_verifier":"TOKEN"}"#,
        r#"{"grant_type=refresh_token&refresh_token=TOKEN":""}"#,
        r#"{"tokens":{"TOKEN":{"exp":1}}}"#,
        r#"{"name":"refresh_token","value":"TOKEN"}"#,
        r#"{"headers":["Cookie","TOKEN"]}"#,
        r#"{"note":"tried refresh_token=TOKEN"}"#,
        r#"[["authorization","TOKEN"]]"#,
    ] {
        let kept = kept(&record.replace("TOKEN", token));
        assert!(!kept.contains("MZk3xTq"), "{record}: {kept}");
        assert!(kept.contains("hmac:"), "{record}: {kept}");
    }
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2lnbmF0dXJl";
    assert!(!kept(&format!("{{\"{jwt}\":1}}")).contains("eyJ"));
}

/// Evidence is what a reject is kept for.
#[test]
fn what_cannot_be_presented_stays_readable() {
    for record in [
        r#"{"code_id":"d7b5c3a1","grant_type":"refresh_token","refresh_token_id":"d7b5","refresh_token_type":"Offline","token_id":"trrtcc:5b6a"}"#,
        r#"{"age_of_refresh_token":"12","errorCode":"E17","error_code":"E17","sessionId":"s-1","statusCode":"400"}"#,
        r#"{"access_token_expiration_time":"300","token_issued_for":"web","token_type":"Bearer","updated_refresh_token_id":"u-7"}"#,
        r#"{"code":17,"details":{"tokenCounter":3},"error":"invalid_token","monkey":"1b","public_key":"pk-1","zipcode":"10115"}"#,
        "2026-11-21 05:07:27,218 WARN [org.keycloak.events] type=\"REFRESH_TOKEN_ERROR\", error=\"invalid_token\", token_id=\"t-1\"",
        "Invalid refresh token: expired",
        "https://host:8443/realms/x?session=1",
        "status code: 500x, error_code=E17",
    ] {
        assert_eq!(kept(record), record);
    }
    let twice = kept(&kept(
        r#"{"refresh_token":"v1.a","t":"refresh_token=v1.b"}"#,
    ));
    assert_eq!(
        twice,
        kept(r#"{"refresh_token":"v1.a","t":"refresh_token=v1.b"}"#)
    );
}

/// Something that nothing else in a record looks like; a beginning of it is as bad.
fn marked_secret() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    "[A-Za-z0-9._~+/-]{0,70}".prop_map(|rest| format!("Zq7Xw9{rest}"))
}

fn secret_name() -> impl proptest::strategy::Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "refresh_token",
        "refreshToken",
        "REFRESH_TOKEN",
        "new_refresh_token",
        "previous_token",
        "token",
        "access_tokens",
        "id_token_hint_value",
        "device_code",
        "code",
        "client_secret",
        "password",
        "userPasswd",
        "old.password",
        "Set-Cookie",
        "cookie",
        "Authorization",
        "client_assertion",
        "apiKey",
        "x-api-key",
        "code_verifier",
        "token2",
        "credentials",
    ])
}

/// A value with the secret somewhere in it, to stand below the name of a secret.
fn hidden_below(secret: String) -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    let leaf = Just(Value::String(secret.clone()));
    leaf.prop_recursive(6, 12, 2, move |inner| {
        let secret = secret.clone();
        prop_oneof![
            inner.clone().prop_map(|inner| json!([1, inner, "x"])),
            ("[a-z_]{1,9}", inner.clone())
                .prop_map(|(name, inner)| json!({"id": "7", name: inner})),
            inner.prop_map(move |inner| json!({secret.clone(): inner})),
        ]
    })
}

/// Records with the secret below or behind the name of one.
fn record_with_a_secret() -> impl proptest::strategy::Strategy<Value = (String, String)> {
    use proptest::prelude::*;
    use serde_json::json;
    let text = (marked_secret(), secret_name(), 0_usize..14).prop_map(|(secret, name, form)| {
        let text = match form {
            0 => format!("{name}={secret}"),
            1 => format!("{name}: {secret}"),
            2 => format!("{name} = \"{secret}\""),
            3 => format!("'{name}':'{secret}'"),
            4 => format!("{name}=Bearer {secret}"),
            5 => format!("a=b&{name}={secret}&c=d"),
            6 => format!("\\\"{name}\\\": \\\"{secret}\\\""),
            7 => format!("{{{name}: {secret}, user: u1}}"),
            8 => format!("a%3Db%26{name}%3D{secret}%26c%3Dd"),
            9 => format!("{name}[0]={secret}"),
            10 => format!("\"{name}\":\n  {{\"value\": [\"{secret}\"]"),
            11 => format!("\"{name}\" => \"x\\\"{secret}\""),
            12 => format!("Bearer {secret}"),
            _ => format!("{name}={secret},user=u1;x=y"),
        };
        (secret, text)
    });
    let around = (text, "[ -~]{0,30}", "[ -~]{0,30}", 0_usize..5).prop_map(
        |((secret, text), before, after, place)| {
            let text = format!("{before} {text} {after}");
            let record = match place {
                0 => text,
                1 => json!({"id": 5, "note": text}).to_string(),
                2 => json!({text: [1]}).to_string(),
                3 => json!({"row": json!({"in": [text]}).to_string()}).to_string(),
                _ => format!("{{\"id\":5,\"note\":{}", json!(text)),
            };
            (secret, record)
        },
    );
    let below = (marked_secret(), secret_name(), 0_usize..5)
        .prop_flat_map(|(secret, name, place)| {
            (
                Just(secret.clone()),
                Just(name),
                hidden_below(secret),
                Just(place),
            )
        })
        .prop_map(|(secret, name, value, place)| {
            let record = match place {
                0 => json!({"id": 5, name: value}).to_string(),
                1 => json!([{"a": {name: value}}]).to_string(),
                2 => json!({"row": json!({name: value}).to_string()}).to_string(),
                3 => json!({"key": name, "value": value}).to_string(),
                _ => format!("{} and more", json!({"id": 5, name: value})),
            };
            (secret, record)
        });
    (prop_oneof![around, below], 0_usize..40).prop_map(|((secret, mut record), cut)| {
        if cut < 20 {
            record.truncate(record.floor_char_boundary(record.len().saturating_sub(cut)));
        }
        (secret, record)
    })
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(2000))]

    /// S1, for everything that the reject table and the evidence of an event keep.
    #[test]
    fn no_secret_with_a_name_is_kept((secret, record) in record_with_a_secret()) {
        let kept = kept(&record);
        assert!(!kept.contains("Zq7Xw9"), "{secret} of {record} in {kept}");
        assert!(kept.len() <= tokenwarden::model::limits::REJECT_BYTES_MAX);
        let mut event = serde_json::json!({
            "event_id": "e", "time": 1_795_237_643, "type": "refresh", "outcome": "failure", "reason": "other",
            "error": record, "user_agent": record, "more": record,
        });
        if let Ok(unknown) = serde_json::from_str::<serde_json::Value>(&record) {
            event["unknown"] = unknown;
            event[record.as_str()] = 1.into();
        }
        let mut events = Vec::new();
        let canonical = decoder(options("tokenwarden")).unwrap();
        canonical.decode(event.to_string().as_bytes(), &"x".into(), &mut events).unwrap();
        let decoded = format!("{events:?}");
        assert!(!decoded.contains("Zq7Xw9"), "{secret} of {record} in {decoded}");
    }
}
