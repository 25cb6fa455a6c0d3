//! The listeners over real sockets: health, records of a real store, reload, and who is refused.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tempfile::TempDir;
use tokenwarden::admin::{self, Api, Control, Guard, Health, Listening, OPENAPI, Ops, Readiness};
use tokenwarden::config::{Secret, StoreConfig};
use tokenwarden::metrics::top::{By, Ranked, TopList};
use tokenwarden::model::{BreakerReport, Commit, Member, Mode, Text, Timestamp};
use tokenwarden::store::{Closed, OpenAs, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::store_suite::theft;

/// A daemon of which only what HTTP asks for is there.
struct Daemon {
    readiness: Readiness,
    reload: Result<String, String>,
    refused: Mutex<Vec<Option<IpAddr>>>,
}

impl Health for Daemon {
    fn metrics(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Ok("tokenwarden_ready 1\n".to_owned()) })
    }

    fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    fn leads(&self) -> bool {
        self.readiness != Readiness::StandsBy
    }

    fn notes(&self) -> Vec<String> {
        vec!["rule odd: a condition had no answer".to_owned()]
    }
}

impl Control for Daemon {
    fn reload(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { self.reload.clone() })
    }

    fn refused(&self, peer: Option<IpAddr>) {
        self.refused.lock().unwrap().push(peer);
    }

    fn top(&self, by: By, window: Duration, limit: usize) -> TopList {
        let name = format!("{by} {} {limit}", window.as_secs()).into();
        TopList {
            ranked: vec![Ranked { name, refreshes: 7 }],
            missed_max: 1,
        }
    }

    fn breakers(&self) -> Vec<BreakerReport> {
        Vec::new()
    }

    fn mode(&self) -> Mode {
        Mode::Observe
    }

    fn only_issuer(&self) -> Option<Text> {
        None
    }

    fn closed(&self, _: &Closed) {}
}

fn daemon(readiness: Readiness) -> Arc<Daemon> {
    Arc::new(Daemon {
        readiness,
        reload: Ok("4 rules in force".to_owned()),
        refused: Mutex::default(),
    })
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.head, self.body))
    }
}

/// A listener on a port of its own, closed when dropped.
struct Server {
    address: SocketAddr,
    cancel: CancellationToken,
}

impl Server {
    async fn start(router: axum::Router) -> Self {
        let listening = Listening::open("test", "127.0.0.1:0".parse().unwrap(), None)
            .await
            .unwrap();
        let (address, cancel) = (listening.address().unwrap(), CancellationToken::new());
        tokio::spawn(listening.serve(router, cancel.clone()));
        Self { address, cancel }
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let host = if headers.contains("Host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address)
        };
        let path = path.replace(' ', "%20");
        let request =
            format!("{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn guard(token: Option<&str>) -> Guard {
    Guard::new(
        "127.0.0.1:1".parse().unwrap(),
        token.map(Secret::new).as_ref(),
    )
    .unwrap()
}

async fn ops(readiness: Readiness, token: Option<&str>) -> Server {
    Server::start(admin::ops(Ops {
        health: daemon(readiness),
        guard: guard(token),
    }))
    .await
}

/// The API over a store with one theft in it.
async fn api(control: Arc<Daemon>, token: Option<&str>) -> (Server, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        url: Secret::new(format!("sqlite://{}/warden.db", folder.path().display())),
        connections_max: 4,
        snapshot_every: Duration::from_mins(1),
    };
    let store = Store::open(&config, OpenAs::Daemon).await.unwrap();
    let mut output = theft("u1");
    output.members.push(Member {
        incident_id: output.incidents[0].id.clone(),
        detection_id: output.detections[0].id.clone(),
    });
    let commit = Commit {
        output,
        ..Commit::default()
    };
    store
        .commit(&commit, "2026-11-20T10:20:00Z".parse().unwrap())
        .await
        .unwrap();
    let server = Server::start(admin::api(Api {
        store,
        control,
        guard: guard(token),
        now: Timestamp::now,
    }))
    .await;
    (server, folder)
}

#[tokio::test]
async fn readiness_says_why_not() {
    let ready = ops(Readiness::Ready, None).await;
    let answer = ready.get("/-/ready").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "ready\nrule odd: a condition had no answer\n")
    );
    assert_eq!(ready.get("/-/healthy").await.status, 200);
    assert_eq!(ready.get("/-/leader").await.status, 200);
    let standby = ops(Readiness::StandsBy, None).await;
    assert_eq!(standby.get("/-/ready").await.status, 200);
    assert_eq!(standby.get("/-/leader").await.status, 503);

    let reasons = Readiness::NotReady(vec!["source audit: connection refused".to_owned()]);
    let not_ready = ops(reasons.clone(), None).await;
    let answer = not_ready.get("/-/ready").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (
            503,
            "not ready\nsource audit: connection refused\nrule odd: a condition had no answer\n"
        )
    );
    assert_eq!(
        not_ready.get("/-/healthy").await.status,
        200,
        "alive all the same"
    );

    let guarded = ops(reasons, Some("s3cret")).await;
    let stranger = guarded.get("/-/ready").await;
    assert_eq!(
        (stranger.status, stranger.body.as_str()),
        (503, "not ready\n")
    );
    let friend = guarded
        .ask("GET", "/-/ready", "Authorization: Bearer s3cret\r\n")
        .await;
    assert!(friend.body.contains("connection refused"));
}

#[tokio::test]
async fn metrics_are_prometheus_text_for_those_with_the_token() {
    let open = ops(Readiness::Ready, None).await;
    let answer = open.get("/metrics").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "tokenwarden_ready 1\n")
    );
    assert!(
        answer
            .head
            .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        answer.head
    );

    let guarded = ops(Readiness::Ready, Some("s3cret")).await;
    assert_eq!(guarded.get("/metrics").await.status, 401);
    assert_eq!(
        guarded
            .ask("GET", "/metrics", "Authorization: Bearer s3cret\r\n")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn records_are_listed_filtered_and_found_by_id() {
    let (api, _folder) = api(daemon(Readiness::Ready), None).await;
    let incidents = api.get("/api/v1/incidents").await;
    assert!(
        incidents.head.contains("cache-control: no-store"),
        "{}",
        incidents.head
    );
    let listed = incidents.json();
    let incident = &listed["incidents"][0];
    assert_eq!(listed["next"], Value::Null);
    let id = incident["id"].as_str().unwrap();

    let details = api.get(&format!("/api/v1/incidents/{id}")).await.json();
    assert_eq!(&details["incident"], incident);
    let detection = &details["detections"][0];
    let action = &details["actions"][0]["action"];
    for (list, one, id) in [
        ("detections", "detection", &detection["id"]),
        ("actions", "action", &action["id"]),
    ] {
        let found = api
            .get(&format!("/api/v1/{list}/{}", id.as_str().unwrap()))
            .await
            .json();
        let text = found[one].to_string();
        assert!(text.contains(id.as_str().unwrap()), "{text}");
        assert!(
            !api.get(&format!("/api/v1/{list}?limit=1")).await.json()[list]
                .as_array()
                .unwrap()
                .is_empty()
        );
    }
    assert_eq!(
        api.get("/api/v1/incidents?user_id=nobody").await.json()["incidents"],
        Value::Array(vec![])
    );
    let state = incident["state"].as_str().unwrap();
    let same_state = api
        .get(&format!(
            "/api/v1/incidents?state={state}&severity=info&since=2020-01-01T00:00:00Z"
        ))
        .await;
    assert_eq!(same_state.json()["incidents"].as_array().unwrap().len(), 1);
    let missing = api.get("/api/v1/incidents/none").await;
    assert_eq!(
        (missing.status, missing.json()["error"].as_str()),
        (404, Some("no incident has the id none"))
    );
}

#[tokio::test]
async fn a_wrong_question_is_refused_with_what_was_expected() {
    let (api, _folder) = api(daemon(Readiness::Ready), None).await;
    for (path, expected) in [
        ("/api/v1/incidents?sate=open", "unknown field `sate`"),
        (
            "/api/v1/incidents?state=gone",
            "expected one of open, acknowledged",
        ),
        ("/api/v1/actions?action=revoke", "revoke_family"),
        ("/api/v1/detections?limit=5000", "expected 1 to 1000"),
        ("/api/v1/detections?since=yesterday", "since"),
        (
            "/api/v1/top?by=planet",
            "expected one of user, ip, client, family",
        ),
        ("/api/v1/top?by=user&window=1d", "expected 1m to 60m, or 1h"),
        ("/api/v1/top", "missing field `by`"),
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(expected), "{path}: {error}");
    }
    assert_eq!(api.get("/api/v2").await.status, 404);
    assert_eq!(api.ask("POST", "/api/v1/incidents", "").await.status, 405);
}

#[tokio::test]
async fn top_lists_and_reload_ask_the_daemon() {
    let (server, _folder) = api(daemon(Readiness::Ready), None).await;
    let top = server
        .get("/api/v1/top?by=ip&window=5m&limit=3")
        .await
        .json();
    assert_eq!(top["top"][0]["name"], "ip 300 3");
    assert_eq!(
        (&top["top"][0]["refreshes"], &top["missed_max"]),
        (&Value::from(7), &Value::from(1))
    );
    assert_eq!(
        server.ask("POST", "/-/reload", "").await.json()["message"],
        "4 rules in force"
    );
    assert_eq!(server.get("/-/reload").await.status, 405);

    let broken = Daemon {
        readiness: Readiness::Ready,
        reload: Err("rules/a.yaml:3:1: unknown field".to_owned()),
        refused: Mutex::default(),
    };
    let (server, _folder) = api(Arc::new(broken), None).await;
    let answer = server.ask("POST", "/-/reload", "").await;
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (422, Some("rules/a.yaml:3:1: unknown field"))
    );
}

#[tokio::test]
async fn strangers_are_refused_everywhere() {
    let (guarded, _folder) = api(daemon(Readiness::Ready), Some("s3cret")).await;
    let (open, _folder) = api(daemon(Readiness::Ready), None).await;
    for (method, path) in documented() {
        let path = path.replace("{id}", "x");
        let answer = guarded.ask(&method, &path, "").await;
        assert_eq!(answer.status, 401, "{method} {path}");
        assert!(
            answer.head.contains("www-authenticate: Bearer"),
            "{}",
            answer.head
        );
        assert_eq!(
            open.ask(&method, &path, "Host: evil.example\r\n")
                .await
                .status,
            403,
            "{method} {path}"
        );
    }
    assert_eq!(guarded.ask("GET", "/nowhere", "").await.status, 401);
    assert_eq!(
        guarded
            .ask(
                "GET",
                "/api/v1/incidents",
                "Authorization: Bearer s3cret\r\n"
            )
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn each_refusal_is_told_with_its_address_and_nothing_else_is() {
    let told = daemon(Readiness::Ready);
    let (guarded, _folder) = api(Arc::clone(&told), Some("s3cret")).await;
    for (head, status) in [
        ("Authorization: Bearer wrong\r\n", 401),
        ("", 401),
        ("Authorization: Bearer s3cret\r\n", 200),
    ] {
        let answer = guarded.ask("GET", "/api/v1/incidents", head).await;
        assert_eq!(answer.status, status, "{head}");
    }
    let here = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_eq!(*told.refused.lock().unwrap(), [here, here]);
}

#[tokio::test]
async fn the_description_names_what_there_is() {
    let (api, _folder) = api(daemon(Readiness::Ready), None).await;
    let served = api.get("/api/v1/openapi.json").await;
    assert!(served.head.contains("content-type: application/json"));
    assert_eq!(served.body, OPENAPI);
    for (method, path) in documented() {
        let answer = api.ask(&method, &path.replace("{id}", "none"), "").await;
        let routed = answer.status != 405 && !answer.body.contains("no such page");
        assert!(
            routed,
            "{method} {path} is described, and answers {}",
            answer.status
        );
    }
    // The other way round: what the answers really hold is what the schemas name.
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    for (list, schema) in [
        ("incidents", "Incident"),
        ("detections", "Detection"),
        ("actions", "ActionRecord"),
    ] {
        let listed = api.get(&format!("/api/v1/{list}")).await.json();
        let described = document["components"]["schemas"][schema]["properties"]
            .as_object()
            .unwrap();
        for member in listed[list][0].as_object().unwrap().keys() {
            assert!(
                described.contains_key(member),
                "{schema} has a member `{member}` that is not described"
            );
        }
    }
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = Listening::open("api", "127.0.0.1:0".parse().unwrap(), None)
        .await
        .unwrap();
    let address = first.address().unwrap();
    let error = Listening::open("api", address, None)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains(&format!("cannot listen on {address} for api")),
        "{error}"
    );
}

#[tokio::test]
async fn silent_connections_do_not_stop_the_others_or_the_end() {
    let listening = Listening::open("test", "127.0.0.1:0".parse().unwrap(), None)
        .await
        .unwrap();
    let (address, cancel) = (listening.address().unwrap(), CancellationToken::new());
    let router = admin::ops(Ops {
        health: daemon(Readiness::Ready),
        guard: guard(None),
    });
    let serving = tokio::spawn(listening.serve(router, cancel.clone()));
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let server = Server { address, cancel };
    assert_eq!(server.get("/-/healthy").await.status, 200);
    server.cancel.cancel();
    tokio::time::timeout(Duration::from_secs(30), serving)
        .await
        .expect("an end")
        .unwrap();
}

/// Before anybody is asked who he is: whoever says nothing must not keep the others out for ever.
#[tokio::test]
async fn silent_connections_give_their_places_back() {
    let server = ops(Readiness::Ready, Some("s3cret")).await;
    let mut silent = Vec::new();
    for _ in 0..256 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let answer = tokio::time::timeout(Duration::from_secs(60), server.get("/-/healthy"));
    assert_eq!(answer.await.expect("a place").status, 200);
    for mut connection in silent {
        let mut said = String::new();
        let ended = tokio::time::timeout(
            Duration::from_secs(60),
            connection.read_to_string(&mut said),
        );
        assert!(ended.await.expect("an end").is_ok(), "{said}");
    }
}

/// Every method and path of the description.
fn documented() -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            found.push((method.to_uppercase(), path.clone()));
        }
    }
    assert!(found.len() >= 9);
    found
}
