//! What every HTTP action does alike: statuses, pauses asked for, time-outs, redirects, sizes, what errors may say.

use std::time::Duration;

use tokenwarden::actions::Attempt;
use tokenwarden::config::{HttpAuth, HttpRevoker, Secret};
use tokenwarden::model::ActionKind;

use super::server::{Server, reply};
use super::{action, detail, http, http_settings, reason};

async fn attempt(settings: HttpRevoker) -> Attempt {
    http(settings)
        .perform(&action(ActionKind::RevokeFamily))
        .await
}

#[tokio::test]
async fn each_status_is_an_answer_a_retry_or_a_refusal() {
    let server = Server::start(|seen, _| {
        let status = seen.path.trim_start_matches('/').parse().unwrap();
        reply(status, "{\"error\":\"why\"}")
    })
    .await;
    for (status, expected) in [
        (200, "answered"),
        (202, "answered"),
        (204, "answered"),
        (201, "refused"),
        (400, "refused"),
        (401, "refused"),
        (403, "refused"),
        (404, "refused"),
        (408, "retry"),
        (425, "retry"),
        (429, "retry"),
        (500, "retry"),
        (503, "retry"),
    ] {
        let answer = attempt(http_settings(&format!("{}/{status}", server.url))).await;
        let found = match answer {
            Attempt::Done { .. } => "done",
            Attempt::Answered { .. } => "answered",
            Attempt::Retry { .. } => "retry",
            Attempt::Refused { .. } => "refused",
        };
        assert_eq!(found, expected, "{status}");
    }
}

#[tokio::test]
async fn listed_retry_statuses_replace_the_usual_ones() {
    let server = Server::start(|_, count| reply(if count == 0 { 409 } else { 500 }, "")).await;
    let mut settings = http_settings(&server.url);
    settings.retry = vec![409];
    assert!(matches!(
        attempt(settings.clone()).await,
        Attempt::Retry { .. }
    ));
    assert!(matches!(attempt(settings).await, Attempt::Refused { .. }));
}

#[tokio::test]
async fn a_pause_asked_for_is_handed_on() {
    let server = Server::start(|_, _| reply(429, "slow down").with("retry-after", "17")).await;
    let Attempt::Retry { reason, after } = attempt(http_settings(&server.url)).await else {
        panic!("429 is worth another try");
    };
    assert_eq!(after, Some(Duration::from_secs(17)));
    assert!(reason.ends_with("answered 429: slow down"), "{reason}");
}

#[tokio::test]
async fn no_answer_is_worth_another_try_and_names_only_the_host() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let refused = attempt(http_settings(&format!(
        "http://{address}/hook/s3cret?key=s3cret"
    )))
    .await;
    assert!(matches!(refused, Attempt::Retry { after: None, .. }));
    let text = reason(&refused);
    assert!(
        text.contains(&format!("cannot connect to {address}")),
        "{text}"
    );
    assert!(!text.contains("s3cret"), "{text}");

    let slow = Server::start(|_, _| reply(200, "").after(Duration::from_secs(60))).await;
    let mut settings = http_settings(&format!("{}/s3cret", slow.url));
    settings.timeout = Duration::from_millis(100);
    let late = attempt(settings).await;
    assert!(
        reason(&late).ends_with("did not answer in time"),
        "{late:?}"
    );
    assert!(!reason(&late).contains("s3cret"));
}

/// A followed POST may become a GET, whose 200 would be taken for a revocation.
#[tokio::test]
async fn redirects_are_never_followed() {
    let elsewhere = Server::start(|_, _| reply(200, "")).await;
    for status in [301, 302, 303, 307, 308] {
        let to = format!("{}/key/s3cret", elsewhere.url);
        let server = Server::start(move |_, _| reply(status, "").with("location", &to)).await;
        let answer = attempt(http_settings(&server.url)).await;
        assert!(matches!(answer, Attempt::Refused { .. }), "{status}");
        let text = reason(&answer);
        assert!(
            text.contains(&elsewhere.url) && text.contains("not followed"),
            "{text}"
        );
        assert!(!text.contains("s3cret"), "{text}");
    }
    assert_eq!(elsewhere.seen().len(), 0);
}

#[tokio::test]
async fn an_endless_or_hostile_answer_is_cut_to_one_line() {
    let body = format!("bad\r\n\u{1b}[2Jrequest {}", "x".repeat(3 << 20));
    let server = Server::start(move |_, _| reply(400, &body)).await;
    let answer = attempt(http_settings(&server.url)).await;
    let text = reason(&answer);
    assert!(text.len() < 400, "{}", text.len());
    assert!(!text.chars().any(char::is_control), "{text}");
}

/// Servers kill such tokens early; the stated lifetime alone cannot be trusted.
#[tokio::test]
async fn a_dead_token_is_renewed_once_and_kept_otherwise() {
    let server = Server::start(|seen, count| match seen.path.as_str() {
        "/token" => reply(
            200,
            &format!("{{\"access_token\":\"t{count}\",\"expires_in\":300}}"),
        ),
        _ if seen.header("authorization") == "Bearer t0" && count > 2 => reply(401, ""),
        _ => reply(204, ""),
    })
    .await;
    let mut settings = http_settings(&format!("{}/api", server.url));
    settings.auth = credentials(&server.url);
    let revoker = http(settings);
    for _ in 0..3 {
        let answer = revoker.perform(&action(ActionKind::RevokeFamily)).await;
        assert!(detail(&answer).ends_with("answered 204"));
    }
    let asked: Vec<_> = server
        .seen()
        .iter()
        .map(|seen| format!("{} {}", seen.path, seen.header("authorization")))
        .collect();
    assert_eq!(
        asked,
        [
            "/token ",
            "/api Bearer t0",
            "/api Bearer t0",
            "/api Bearer t0", // refused now
            "/token ",
            "/api Bearer t4",
        ]
    );
    let form = &server.seen()[0].body;
    assert_eq!(
        form,
        "grant_type=client_credentials&client_id=warden&client_secret=hush&audience=https%3A%2F%2Fapi"
    );
}

#[tokio::test]
async fn a_token_refused_twice_is_an_answer() {
    let server = Server::start(|seen, _| match seen.path.as_str() {
        "/token" => reply(200, "{\"access_token\":\"t\"}"),
        _ => reply(401, "{\"error\":\"no\"}"),
    })
    .await;
    let mut settings = http_settings(&format!("{}/api", server.url));
    settings.auth = credentials(&server.url);
    assert!(matches!(attempt(settings).await, Attempt::Refused { .. }));
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_never_shown() {
    let server = Server::start(|_, _| reply(401, "{\"error\":\"invalid_client\"}")).await;
    let mut settings = http_settings(&format!("{}/api", server.url));
    settings.auth = credentials(&server.url);
    assert!(!format!("{settings:?}").contains("hush"));
    let answer = attempt(settings).await;
    assert!(matches!(answer, Attempt::Refused { .. }));
    let text = reason(&answer);
    assert!(
        text.contains("warden") && text.contains("invalid_client"),
        "{text}"
    );
    assert!(!text.contains("hush"));
}

/// What went with the request comes back in debug pages.
#[tokio::test]
async fn an_answer_that_quotes_the_request_gives_nothing_away() {
    let echo = |seen: &super::server::Seen, _| {
        let headers = format!(
            "{} {}",
            seen.header("authorization"),
            seen.header("x-api-key")
        );
        let quoted = format!("{} {headers} {}", seen.path, seen.body);
        match seen.path.as_str() {
            "/token" if seen.body.contains("works") => {
                reply(200, r#"{"access_token":"fetched-1"}"#)
            }
            _ => reply(400, &quoted),
        }
    };
    let server = Server::start(echo).await;
    let address = format!("{}/hook/s3cret?key=s3cret2", server.url);
    let basic = HttpAuth::Basic {
        username: "warden".into(),
        password: Secret::new("p4ssword"),
    };
    let mut granted = credentials(&server.url);
    if let HttpAuth::ClientCredentials { client_id, .. } = &mut granted {
        *client_id = "works".into();
    }
    let refused = credentials(&format!("{}/hook/s3cret", server.url));
    for (auth, what) in [
        (HttpAuth::Bearer(Secret::new("b3arer")), "api"),
        (basic, "api"),
        (granted, "api"),
        (refused, "token for client"),
    ] {
        let mut settings = http_settings(&address);
        settings.headers.insert("x-api-key".into(), "4pikey".into());
        settings.headers.insert(
            "content-type".into(),
            "application/x-www-form-urlencoded".into(),
        );
        settings.body = Some("client_secret=f0rm%2Fsecret&id={{ target.family_id }}".into());
        settings.auth = auth;
        let answer = attempt(settings).await;
        let text = reason(&answer);
        assert!(
            text.contains(what) && text.contains("answered 400: "),
            "{text}"
        );
        for secret in [
            "s3cret",
            "b3arer",
            "p4ssword",
            "d2FyZGVuOnA0c3N3b3Jk",
            "fetched",
            "4pikey",
            "f0rm",
            "hush",
        ] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

fn credentials(url: &str) -> HttpAuth {
    HttpAuth::ClientCredentials {
        token_url: format!("{url}/token").into(),
        client_id: "warden".into(),
        client_secret: Secret::new("hush"),
        audience: Some("https://api".into()),
        scope: None,
    }
}
