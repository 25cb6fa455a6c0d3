//! `state inspect` on the store of a daemon that ran: what is saved, how far it goes, what it holds; and where there is
//! nothing to use, that.

use std::path::Path;

use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};
use tokenwarden::app::Daemon;
use tokenwarden::cli::{Exit, Terminal};
use tokenwarden::config::Config;
use tokenwarden::model::Timestamp;

/// Starts a daemon on three refreshes of two families, and stops it when all are committed.
async fn lived(folder: &Path) {
    let refresh = |family: &str, token: u32| {
        let event = json!({
            "event_id": format!("{family}{token}"), "time": Timestamp::now().to_string(), "type": "refresh",
            "outcome": "success", "user_id": "alice", "client_id": "web", "family_id": family,
            "token_id": format!("{family}{token}"), "new_token_id": format!("{family}{}", token + 1),
        });
        format!("{event}\n")
    };
    let events = [refresh("f", 1), refresh("f", 2), refresh("g", 1)].concat();
    std::fs::write(folder.join("events.jsonl"), events).unwrap();
    let config = Config::load(&configured(folder)).unwrap();
    let daemon = Daemon::start(config)
        .await
        .unwrap_or_else(|e| panic!("{e:?}"));
    while daemon.store.load_snapshot().await.unwrap().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    daemon.stop().await.unwrap();
}

fn configured(folder: &Path) -> std::path::PathBuf {
    let file = folder.join("tokenwarden.yaml");
    let text = "sources: [{ name: app, file: { path: events.jsonl, poll_every: 20ms }, format: tokenwarden, start: earliest }]\n\
        store: { snapshot_every: 200ms }\n";
    std::fs::write(&file, text).unwrap();
    file
}

fn inspect(folder: &Path, more: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
    };
    let config = folder.join("tokenwarden.yaml");
    let line = [
        "tokenwarden",
        "state",
        "inspect",
        "-c",
        config.to_str().unwrap(),
    ];
    let line = line.iter().chain(more).map(|word| (*word).into());
    let exit = tokenwarden::cli::main(line, &mut terminal);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (exit, text(out), text(err))
}

async fn execute(folder: &Path, sql: &'static str) {
    let url = format!("sqlite://{}", folder.join("tokenwarden.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn asked(folder: &Path, more: &'static [&'static str]) -> (Exit, String, String) {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || inspect(&folder, more))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_saved_is_told_and_what_cannot_be_used_is_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    configured(folder);
    let (exit, out, err) = asked(folder, &[]).await;
    assert_eq!((exit, &*out), (Exit::Negative, ""), "no store: {err}");
    assert!(err.contains("tokenwarden.db"), "{err}");

    lived(folder).await;
    let (exit, out, err) = asked(folder, &[]).await;
    assert_eq!((exit, &*err), (Exit::Success, ""), "{out}");
    for told in [
        "whole",
        "app file",
        "families                                  2",
        "users",
    ] {
        assert!(out.contains(told), "no {told:?} in\n{out}");
    }
    let (_, out, _) = asked(folder, &["--output", "json"]).await;
    let state: Value = serde_json::from_str(&out).unwrap();
    let users = state["holds"].as_array().unwrap().iter();
    let users = users.filter(|part| part["what"] == "users");
    assert_eq!(
        users.map(|part| &part["entries"]).collect::<Vec<_>>(),
        [&json!(1)]
    );
    assert_eq!(state["known_form"], true);
    let digest = state["digest"].as_str().unwrap();
    assert_eq!(digest.len(), 32, "{digest}");
    let (_, out, _) = asked(folder, &[]).await;
    let all = out.lines().find(|line| line.starts_with("all of it"));
    assert!(all.is_some_and(|line| line.ends_with(digest)), "{out}");

    // Nothing is of use in a hundred years: what is held is told all the same, and no digest is of it.
    let (_, out, _) = asked(folder, &["--at", "2126-01-01T00:00:00Z"]).await;
    let users = out.lines().find(|line| line.starts_with("users"));
    let users: Vec<&str> = users.unwrap_or_default().split_whitespace().collect();
    assert_eq!((users[1], users[3]), ("1", &*"0".repeat(32)), "{out}");
    let (exit, _, err) = asked(folder, &["--at", "yesterday"]).await;
    assert!(
        exit == Exit::Unusable && err.contains("--at <TIME>"),
        "{err}"
    );

    execute(folder, "UPDATE snapshot SET format = 9999").await;
    let (exit, out, _) = asked(folder, &[]).await;
    assert_eq!(exit, Exit::Negative);
    assert!(out.contains("another version"), "{out}");

    execute(folder, "UPDATE snapshot SET sha256 = 'torn'").await;
    let (exit, out, _) = asked(folder, &[]).await;
    assert_eq!(exit, Exit::Negative);
    assert!(
        out.contains("damaged") && out.contains("none of them"),
        "{out}"
    );

    execute(folder, "DELETE FROM snapshot").await;
    let (exit, out, _) = asked(folder, &[]).await;
    assert_eq!(exit, Exit::Negative);
    assert!(out.contains("no state is saved yet"), "{out}");
}
