//! What people change through the API, over a real socket and store: who may, what is asked, and what comes of it.

use std::ffi::OsString;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenwarden::actions::http_client;
use tokenwarden::admin::{self, Api, Control, Guard, Listening};
use tokenwarden::cli::{self, Exit, Terminal};
use tokenwarden::config::{ApiToken, Secret, StoreConfig};
use tokenwarden::metrics::top::{By, TopList};
use tokenwarden::model::{
    ActionKind, BreakerClient, BreakerReport, BreakerState, Commit, Decision, Deed, Member, Mode,
    PersonEvent, Role, Text, Timestamp,
};
use tokenwarden::store::{Closed, OpenAs, Store};
use tokio_util::sync::DropGuard;

use crate::store_suite::{action, actions, theft};

/// What only the running daemon knows.
struct Daemon {
    mode: Mode,
    closed: Mutex<Vec<String>>,
}

impl Control for Daemon {
    fn reload(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Ok("loaded".to_owned()) })
    }

    fn top(&self, _: By, _: Duration, _: usize) -> TopList {
        TopList {
            ranked: Vec::new(),
            missed_max: 0,
        }
    }

    fn refused(&self, _: Option<std::net::IpAddr>) {}

    fn breakers(&self) -> Vec<BreakerReport> {
        vec![BreakerReport {
            client: BreakerClient {
                issuer: "events".into(),
                tenant: None,
                client_id: "web".into(),
            },
            state: BreakerState::Open,
            since: Timestamp::UNIX_EPOCH,
            why: "budget used up".into(),
            held: 3,
        }]
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn only_issuer(&self) -> Option<Text> {
        Some("events".into())
    }

    fn closed(&self, closed: &Closed) {
        let told = format!("{} {}", closed.rule, closed.resolution);
        self.closed.lock().unwrap().push(told);
    }
}

/// The API with three people's tokens, over a store with one theft in it.
pub(crate) struct Office {
    pub(crate) store: Store,
    daemon: Arc<Daemon>,
    pub(crate) url: String,
    client: reqwest::Client,
    folder: TempDir,
    _stop: DropGuard,
}

impl Office {
    pub(crate) async fn open(mode: Mode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            url: Secret::new(format!("sqlite://{}/warden.db", folder.path().display())),
            connections_max: 4,
            snapshot_every: Duration::from_mins(1),
        };
        let store = Store::open(&config, OpenAs::Daemon).await.unwrap();
        let mut output = theft("u1");
        output.detections[0].ip_address = Some("198.51.100.7".parse().unwrap());
        output.members.push(Member {
            incident_id: output.incidents[0].id.clone(),
            detection_id: output.detections[0].id.clone(),
        });
        let commit = Commit {
            output,
            ..Commit::default()
        };
        store.commit(&commit, Timestamp::now()).await.unwrap();
        let daemon = Arc::new(Daemon {
            mode,
            closed: Mutex::default(),
        });
        let listening = Listening::open("api", "127.0.0.1:0".parse().unwrap(), None)
            .await
            .unwrap();
        let address = listening.address().unwrap();
        let control: Arc<dyn Control> = daemon.clone();
        let router = admin::api(Api {
            store: store.clone(),
            control,
            guard: guard(&folder),
            now: Timestamp::now,
        });
        let cancel = tokio_util::sync::CancellationToken::new();
        tokio::spawn(listening.serve(router, cancel.clone()));
        Self {
            store,
            daemon,
            url: format!("http://{address}"),
            client: http_client(Duration::from_mins(1), None).unwrap(),
            folder,
            _stop: cancel.drop_guard(),
        }
    }

    pub(crate) fn token_file(&self, role: Role) -> std::path::PathBuf {
        self.folder.path().join(role.as_str())
    }

    async fn post(&self, role: Role, path: &str, body: Value) -> (u16, Value) {
        let sent = self
            .client
            .post(format!("{}/api/v1/{path}", self.url))
            .bearer_auth(token(role))
            .json(&body)
            .send();
        let answer = sent.await.unwrap();
        (
            answer.status().as_u16(),
            answer.json().await.unwrap_or_default(),
        )
    }

    async fn get(&self, path: &str) -> Value {
        let sent = self
            .client
            .get(format!("{}/api/v1/{path}", self.url))
            .bearer_auth(token(Role::Viewer))
            .send();
        sent.await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn deeds(&self) -> Vec<(String, String, Deed)> {
        let rows = self.store.own_events_after(0, 100).await.unwrap();
        let event = |row: &tokenwarden::store::Row| {
            let event: PersonEvent = serde_json::from_slice(&row.payload).ok()?;
            Some((
                event.by.who.to_string(),
                event.by.why.to_string(),
                event.did,
            ))
        };
        rows.iter().filter_map(event).collect()
    }

    pub(crate) async fn hold(&self, id: &str) {
        let held = action(id, ActionKind::RevokeFamily, "u2", Decision::Hold);
        let now = Timestamp::now();
        self.store.commit(&actions(vec![held]), now).await.unwrap();
    }
}

fn token(role: Role) -> String {
    format!("token-of-{role}")
}

fn guard(folder: &TempDir) -> Guard {
    let people: Vec<ApiToken> = Role::ALL
        .iter()
        .map(|role| {
            std::fs::write(folder.path().join(role.as_str()), token(*role)).unwrap();
            ApiToken {
                name: format!("a-{role}").into(),
                role: *role,
                token: Secret::new(token(*role)),
            }
        })
        .collect();
    Guard::of_people("127.0.0.1:1".parse().unwrap(), None, &people).unwrap()
}

#[tokio::test]
async fn every_change_needs_its_role_and_says_why() {
    let office = Office::open(Mode::Enforce).await;
    office.hold("held").await;
    let responder = [
        "incidents/incident of u1/acknowledge",
        "incidents/incident of u1/close",
        "actions/held/approve",
        "actions/held/refuse",
        "actions/held/retry",
        "silences",
        "silences/s/end",
    ];
    let admin = ["breakers/half-open", "revocations"];
    let full = |path: &str| match path {
        "silences" => {
            json!({"matchers": {"client_id": "web"}, "ends_at": "2030-01-01T00:00:00Z", "note": "x"})
        }
        "breakers/half-open" => json!({"issuer": "events", "client_id": "web", "note": "x"}),
        "revocations" => json!({"user_id": "u1", "note": "x"}),
        path if path.ends_with("close") => json!({"as": "benign", "note": "x"}),
        _ => json!({"note": "x"}),
    };
    for (paths, needed) in [(&responder[..], Role::Responder), (&admin[..], Role::Admin)] {
        for path in paths {
            for role in Role::ALL.iter().filter(|role| **role < needed) {
                let (status, answer) = office.post(*role, path, full(path)).await;
                assert_eq!(status, 403, "{role} {path}: {answer}");
            }
            let mut silent = full(path);
            silent["note"] = " ".into();
            let (status, answer) = office.post(needed, path, silent).await;
            assert_eq!(status, 400, "{path}: {answer}");
            let (status, _) = office
                .post(needed, path, json!({"note": "x", "extra": 1}))
                .await;
            assert_eq!(status, 422, "{path}");
        }
    }
    assert_eq!(office.deeds().await, [], "nothing was changed");
}

#[tokio::test]
async fn an_incident_is_taken_on_and_closed_with_the_exception_that_would_have_prevented_it() {
    let office = Office::open(Mode::Enforce).await;
    let responder = Role::Responder;
    let note = json!({"note": "looking"});
    let (status, _) = office
        .post(responder, "incidents/incident of u1/acknowledge", note)
        .await;
    assert_eq!(status, 200);
    let close = json!({"as": "false_positive", "note": "our \"load\" test\n}"});
    let (status, closed) = office
        .post(responder, "incidents/incident of u1/close", close.clone())
        .await;
    assert_eq!(status, 200, "{closed}");
    let yaml = closed["proposed_exception"].as_str().unwrap();
    let rules = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let text = format!("rules: [{}]\n{yaml}", rules.display());
    let config =
        tokenwarden::config::Config::parse(&text, std::path::Path::new("tokenwarden.yaml"));
    let set = tokenwarden::app::parts::rule_set(&config.unwrap(), None).unwrap();
    let rule = set
        .rules
        .iter()
        .find(|rule| &*rule.name == "token-reuse")
        .unwrap();
    let shown = rule.exceptions[0].matches.to_string();
    assert_eq!(shown, "client_id web, user_id u1, network 198.51.100.0/24");
    assert_eq!(rule.exceptions[0].owner, "a-responder".into());

    let (status, again) = office
        .post(responder, "incidents/incident of u1/close", close)
        .await;
    assert_eq!(status, 409, "{again}");
    let listed = office.get("incidents?state=closed").await;
    assert_eq!(listed["incidents"][0]["resolution"], "false_positive");
    assert_eq!(
        *office.daemon.closed.lock().unwrap(),
        ["token-reuse false_positive"]
    );
    let deeds = office.deeds().await;
    assert_eq!(deeds.len(), 2);
    assert_eq!((&*deeds[0].0, &*deeds[0].1), ("a-responder", "looking"));
}

#[tokio::test]
async fn what_waits_is_approved_or_refused_once() {
    let office = Office::open(Mode::Enforce).await;
    office.hold("one").await;
    let note = || json!({"note": "it is a theft"});
    let (status, _) = office
        .post(Role::Admin, "actions/one/approve", note())
        .await;
    assert_eq!(status, 200);
    let (status, answer) = office
        .post(Role::Responder, "actions/one/refuse", note())
        .await;
    assert_eq!(status, 409, "{answer}");
    let (status, _) = office
        .post(Role::Responder, "actions/none/refuse", note())
        .await;
    assert_eq!(status, 404);
    assert_eq!(office.get("actions/one").await["action"]["state"], "ready");
}

/// What ends a login is never given back, and what has not been done cannot be taken back.
#[tokio::test]
async fn only_a_measure_that_holds_is_undone_and_a_viewer_undoes_nothing() {
    let office = Office::open(Mode::Enforce).await;
    office.hold("one").await;
    let note = || json!({"note": "our own test"});
    let (status, _) = office.post(Role::Viewer, "actions/one/undo", note()).await;
    assert_eq!(status, 403);
    let (status, answer) = office
        .post(Role::Responder, "actions/one/undo", note())
        .await;
    assert_eq!(status, 409, "{answer}");
    let why = answer["error"].as_str().unwrap();
    assert!(why.contains("it is held: only what is done"), "{why}");
    let (status, _) = office
        .post(Role::Responder, "actions/none/undo", note())
        .await;
    assert_eq!(status, 404);
    assert_eq!(office.deeds().await, []);
}

#[tokio::test]
async fn silences_name_something_and_end() {
    let office = Office::open(Mode::Enforce).await;
    let ask = |matchers: Value, ends_at: &str| json!({"matchers": matchers, "ends_at": ends_at, "note": "x"});
    let soon = (Timestamp::now() + Duration::from_hours(1)).to_string();
    for (wrong, expected) in [
        (ask(json!({}), &soon), 400),
        (
            ask(json!({"client_id": "web"}), "2020-01-01T00:00:00Z"),
            400,
        ),
        (
            ask(json!({"client_id": "web"}), "2090-01-01T00:00:00Z"),
            400,
        ),
        (ask(json!({"colour": "red"}), &soon), 422),
    ] {
        let (status, answer) = office.post(Role::Responder, "silences", wrong).await;
        assert_eq!(status, expected, "{answer}");
    }
    let (status, made) = office
        .post(
            Role::Responder,
            "silences",
            ask(json!({"rule": "token-reuse"}), &soon),
        )
        .await;
    assert_eq!(status, 200, "{made}");
    let id = made["silence"]["id"].as_str().unwrap();
    assert_eq!(
        office.get("silences").await["silences"][0]["author"],
        "a-responder"
    );
    let note = json!({"note": "over"});
    let (status, _) = office
        .post(Role::Responder, &format!("silences/{id}/end"), note)
        .await;
    assert_eq!(status, 200);
    assert_eq!(office.get("silences").await["silences"], json!([]));
}

#[tokio::test]
async fn what_is_ended_by_hand_goes_into_the_outbox_and_observe_performs_nothing() {
    let office = Office::open(Mode::Observe).await;
    let user = || json!({"user_id": "u1", "note": "he asked for it"});
    let (status, answer) = office.post(Role::Admin, "revocations", user()).await;
    assert_eq!(status, 409, "{answer}");
    assert_eq!(office.deeds().await, []);

    let office = Office::open(Mode::Enforce).await;
    let (status, made) = office.post(Role::Admin, "revocations", user()).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(made["action"]["kind"], "revoke_user");
    let id = made["action"]["id"].as_str().unwrap();
    assert_eq!(
        office.get(&format!("actions/{id}")).await["action"]["state"],
        "ready"
    );
    let lock = json!({"user_id": "u1", "lock": true, "note": "x"});
    let (_, locked) = office.post(Role::Admin, "revocations", lock).await;
    assert_eq!(locked["action"]["kind"], "lock_user");
    let both = json!({"user_id": "u1", "family_id": "f", "note": "x"});
    assert_eq!(office.post(Role::Admin, "revocations", both).await.0, 400);
}

#[tokio::test]
async fn a_breaker_is_listed_and_half_opened_where_there_is_one() {
    let office = Office::open(Mode::Enforce).await;
    assert_eq!(
        office.get("breakers").await["breakers"][0]["client_id"],
        "web"
    );
    let ask =
        |client: &str| json!({"issuer": "events", "client_id": client, "note": "rolled back"});
    assert_eq!(
        office
            .post(Role::Admin, "breakers/half-open", ask("app"))
            .await
            .0,
        404
    );
    assert_eq!(
        office
            .post(Role::Admin, "breakers/half-open", ask("web"))
            .await
            .0,
        200
    );
    assert!(
        matches!(&office.deeds().await[..], [(_, _, Deed::BreakerHalfOpened { client })] if &*client.client_id == "web")
    );
}

/// Runs a command line as somebody; gives the exit code and what was printed.
async fn command(office: &Office, role: Role, line: &[&str]) -> (Exit, String, String) {
    let token = office.token_file(role).display().to_string();
    let mut arguments = vec!["tokenwarden"];
    arguments.extend(line);
    arguments.extend(["--api", &office.url, "--token-file", &token]);
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let run = move || {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut terminal = Terminal {
            out: &mut out,
            err: &mut err,
        };
        let exit = cli::main(arguments, &mut terminal);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (exit, text(out), text(err))
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn the_commands_list_show_and_change_as_the_api_does() {
    let office = Office::open(Mode::Enforce).await;
    office.hold("held").await;
    let (exit, out, _) = command(&office, Role::Viewer, &["incidents", "list"]).await;
    assert_eq!(exit, Exit::Success);
    assert!(
        out.starts_with("ID ") && out.contains("incident of u1"),
        "{out}"
    );
    let (_, out, _) = command(
        &office,
        Role::Viewer,
        &["actions", "list", "--state", "held", "--output", "json"],
    )
    .await;
    let held: Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(held["action"]["id"], "held");

    let approve = ["actions", "approve", "held", "--note", "seen"];
    let (exit, _, err) = command(&office, Role::Viewer, &approve).await;
    assert_eq!(exit, Exit::Unusable);
    assert!(
        err.contains("a-viewer is viewer, and this needs responder"),
        "{err}"
    );
    let (exit, out, err) = command(&office, Role::Responder, &approve).await;
    assert_eq!((exit, &*out), (Exit::Success, "held: approved\n"), "{err}");
    let (exit, _, err) = command(
        &office,
        Role::Responder,
        &["actions", "refuse", "none", "--note", "x"],
    )
    .await;
    assert_eq!(
        (exit, &*err),
        (Exit::Negative, "no action has the id none\n")
    );

    let close = [
        "incidents",
        "close",
        "incident of u1",
        "--as",
        "false_positive",
        "--note",
        "a test",
    ];
    let (exit, out, err) = command(&office, Role::Responder, &close).await;
    assert_eq!(exit, Exit::Success, "{err}");
    assert!(
        out.contains("exceptions:") && out.contains("owner: \"a-responder\""),
        "{out}"
    );
    let (_, out, _) = command(
        &office,
        Role::Viewer,
        &["incidents", "show", "incident of u1"],
    )
    .await;
    assert!(
        out.contains("false_positive") && out.contains("revoke_family"),
        "{out}"
    );

    assert_eq!(office.deeds().await.len(), 2);
}

#[tokio::test]
async fn silences_breakers_and_revocations_by_command() {
    let office = Office::open(Mode::Enforce).await;
    let add = [
        "silences",
        "add",
        "--client",
        "web",
        "--for",
        "2h",
        "--note",
        "a load test",
    ];
    let (exit, out, err) = command(&office, Role::Responder, &add).await;
    assert_eq!(exit, Exit::Success, "{err}");
    let id = out
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .to_owned();
    let (_, out, _) = command(&office, Role::Viewer, &["silences", "list"]).await;
    assert!(out.contains("a load test"), "{out}");
    let (exit, _, _) = command(
        &office,
        Role::Responder,
        &["silences", "close", &id, "--note", "over"],
    )
    .await;
    assert_eq!(exit, Exit::Success);

    let (_, out, _) = command(&office, Role::Viewer, &["breakers", "list"]).await;
    assert!(out.contains("half_open") || out.contains("open"), "{out}");
    let half = [
        "breakers",
        "half-open",
        "web",
        "--issuer",
        "events",
        "--note",
        "rolled back",
    ];
    assert_eq!(command(&office, Role::Admin, &half).await.0, Exit::Success);
    let (exit, out, err) = command(
        &office,
        Role::Admin,
        &[
            "revoke",
            "--user",
            "u1",
            "--lock",
            "--note",
            "stolen laptop",
        ],
    )
    .await;
    assert_eq!(exit, Exit::Success, "{err}");
    assert!(
        out.contains("lock_user") && out.contains("tokenwarden actions show"),
        "{out}"
    );
    assert_eq!(office.deeds().await.len(), 4);
}

#[tokio::test]
async fn names_from_outside_steer_no_terminal() {
    let office = Office::open(Mode::Enforce).await;
    let mut output = theft("u\u{1b}]0;owned\u{7}\u{202e}x");
    output.incidents[0].summary = "\u{1b}[2J\u{9b}31m".into();
    let commit = Commit {
        output,
        ..Commit::default()
    };
    office
        .store
        .commit(&commit, Timestamp::now())
        .await
        .unwrap();
    for list in ["incidents", "actions"] {
        for form in ["text", "json"] {
            let (_, out, _) =
                command(&office, Role::Viewer, &[list, "list", "--output", form]).await;
            let hostile =
                |c: char| c.is_control() && c != '\n' || (form == "text" && c == '\u{202e}');
            assert!(!out.is_empty() && !out.chars().any(hostile), "{out:?}");
        }
    }
}
