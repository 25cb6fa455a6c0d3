//! A person who is to be forgotten, beside a running daemon: by the command, in the store, in its audit log, in the
//! daemon's memory and in the states that it saved.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};
use tokenwarden::app::Daemon;
use tokenwarden::archive::{Folder, newest_first};
use tokenwarden::cli::{Exit, Terminal};
use tokenwarden::config::Config;
use tokenwarden::model::{By, Matchers, Silence, Timestamp};
use tokenwarden::store::{DetectionFilter, Page, Store};

const PATIENCE: Duration = Duration::from_secs(90);
const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";

async fn wait(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A theft from each: the token is used, and then a stranger presents it again.
fn events(began: Timestamp) -> String {
    let event = |user: &str, second: u64, device: &str, accepted: bool| {
        let mut event = json!({
            "event_id": format!("{}-{second}", user.len()), "time": (began + Duration::from_secs(second)).to_string(),
            "type": "refresh", "outcome": "failure", "reason": "reuse", "user_id": user, "client_id": "web",
            "family_id": format!("family {}", user.len()), "device_id": device, "token_id": format!("token {}", user.len()),
        });
        if accepted {
            event["outcome"] = "success".into();
            event["new_token_id"] = format!("next {}", user.len()).into();
            event.as_object_mut().unwrap().remove("reason");
        }
        format!("{event}\n")
    };
    let of = |user| {
        [
            event(user, 1, "laptop", true),
            event(user, 9, "elsewhere", false),
        ]
        .concat()
    };
    [of(ALICE), of(BOB)].concat()
}

async fn start(folder: &Path) -> Daemon {
    let text = "mode: observe\nclients: { default: { rotation: enforced } }\nstore: { snapshot_every: 200ms }\narchive: { path: archive }\n\
        sources: [{ name: app, file: { path: events.jsonl, poll_every: 20ms }, format: tokenwarden, start: earliest }]\n";
    std::fs::write(folder.join("tokenwarden.yaml"), text).unwrap();
    let config = Config::load(&folder.join("tokenwarden.yaml")).unwrap();
    Daemon::start(config)
        .await
        .unwrap_or_else(|error| panic!("{error:?}"))
}

async fn detections(daemon: &Daemon) -> usize {
    let page = Page {
        before: None,
        limit: 100,
    };
    let all = DetectionFilter::default();
    daemon
        .store
        .detections(&all, page)
        .await
        .unwrap()
        .items
        .len()
}

/// Whether the newest saved state knows somebody.
async fn is_known(daemon: &Daemon, user: &str) -> bool {
    let Some(snapshot) = daemon.store.load_snapshot().await.unwrap() else {
        return false;
    };
    let user = user.as_bytes();
    let state = snapshot.state.concat();
    state.windows(user.len()).any(|part| part == user)
}

fn erase(folder: &Path, user: &str) -> (Exit, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
    };
    let config = folder.join("tokenwarden.yaml");
    let config = config.to_str().unwrap();
    let line = [
        "tokenwarden",
        "erase",
        "-c",
        config,
        "--user",
        user,
        "--by",
        "dpo",
    ];
    let exit = tokenwarden::cli::main(line.map(Into::into), &mut terminal);
    out.extend(err);
    (exit, String::from_utf8(out).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_forgotten_beside_a_running_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let began = Timestamp::now() - Duration::from_secs(60);
    std::fs::write(folder.path().join("events.jsonl"), events(began)).unwrap();
    let mut daemon = start(folder.path()).await;
    wait("both thefts", async || detections(&daemon).await >= 2).await;
    wait("a saved state", async || {
        is_known(&daemon, ALICE).await && is_known(&daemon, BOB).await
    })
    .await;

    silence(&daemon.store, ALICE).await;
    silence(&daemon.store, BOB).await;
    wait("the silences to be heard of", async || {
        is_known(&daemon, &silenced(ALICE)).await && is_known(&daemon, &silenced(BOB)).await
    })
    .await;

    let path = folder.path().to_owned();
    let erased = tokio::task::spawn_blocking(move || erase(&path, ALICE)).await;
    let (exit, text) = erased.unwrap();
    assert_eq!(exit, Exit::Success, "{text}");
    assert!(text.contains("1 incidents"), "{text}");
    wait("the saved states to forget", async || {
        daemon.store.to_forget().await.unwrap().is_empty()
    })
    .await;
    assert!(!is_known(&daemon, ALICE).await);
    assert!(is_known(&daemon, BOB).await);
    let kept = archived(folder.path());
    assert!(
        !kept.contains(ALICE) && !kept.contains("family 17"),
        "{kept}"
    );
    assert_eq!(kept.matches(BOB).count(), 2, "{kept}");
    let verdict = daemon.store.verify_audit(&[]).await.unwrap();
    assert_eq!(verdict.broken, []);
    assert!(verdict.emptied > 0);
    daemon.stop().await.unwrap();

    daemon = start(folder.path()).await;
    wait("a saved state", async || is_known(&daemon, BOB).await).await;
    assert!(
        !is_known(&daemon, ALICE).await,
        "a restart brings nobody back"
    );
    daemon.stop().await.unwrap();
    assert!(!content(folder.path()).await.contains(ALICE));
    assert!(content(folder.path()).await.contains(BOB));

    // Nobody writes the archive now, so the command does it.
    let path = folder.path().to_owned();
    let erased = tokio::task::spawn_blocking(move || erase(&path, BOB)).await;
    let (exit, text) = erased.unwrap();
    assert_eq!(exit, Exit::Success, "{text}");
    assert!(text.contains("archive: 2 events"), "{text}");
    assert_eq!(archived(folder.path()), "");
}

fn silenced(user: &str) -> String {
    format!("new laptop of {user}")
}

/// Somebody does not want to hear of the user for a while.
async fn silence(store: &Store, user: &str) {
    let now = Timestamp::now();
    let silence = Silence {
        id: format!("silence of {}", user.len()).into(),
        matchers: Matchers {
            user_id: Some(user.into()),
            ..Matchers::default()
        },
        author: "eve".into(),
        comment: silenced(user).into(),
        created_at: now,
        ends_at: now + Duration::from_hours(1),
    };
    let by = By {
        who: "eve".into(),
        why: "new laptop".into(),
    };
    store.silence(&silence, &by).await.unwrap();
}

/// All that the archive holds.
fn archived(folder: &Path) -> String {
    let mut kept = String::new();
    newest_first(&Folder::new(folder.join("archive")), u64::MAX, |lines| {
        kept.push_str(lines);
        ControlFlow::Continue(())
    })
    .unwrap();
    kept
}

/// All that the store holds, without what the database has freed and not yet overwritten.
async fn content(folder: &Path) -> String {
    let url = format!("sqlite://{}/tokenwarden.db", folder.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let copy = folder.join(format!("{}.copy", Timestamp::now().as_nanosecond()));
    let whole = format!("VACUUM INTO '{}'", copy.display());
    let whole = sqlx::raw_sql(sqlx::AssertSqlSafe(whole));
    whole.execute(&mut connection).await.unwrap();
    String::from_utf8_lossy(&std::fs::read(&copy).unwrap()).into_owned()
}

#[test]
fn who_is_to_be_forgotten_must_be_said_and_there_must_be_a_store() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenwarden.yaml"), "mode: observe\n").unwrap();
    assert_eq!(erase(folder.path(), "").0, Exit::Unusable);
    let (exit, text) = erase(folder.path(), ALICE);
    assert_eq!(exit, Exit::Negative, "{text}");
    assert!(text.contains("does not exist"), "{text}");
}
