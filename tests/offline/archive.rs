//! The event archive of a daemon: what it holds, what is left after kills, what happens when it cannot be written, and what
//! `replay` and `explain` make of it.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokenwarden::archive::{Folder, newest_first};
use tokenwarden::cli::{self, Exit, Terminal};
use tokenwarden::model::Timestamp;

use crate::daemon::{Daemon, Home};

const CONFIG: &str = "mode: observe\nclients: { default: { rotation: enforced } }\narchive: { path: archive }\n\
    store: { snapshot_every: 200ms }\n\
    sources: [{ name: app, file: { path: events.jsonl, poll_every: 20ms }, format: tokenwarden, start: earliest }]\n";
/// What a client may call itself.
const HOSTILE: &str = "x\"}\n{\"event_id\":\"forged\"}\u{202e}\u{1b}[2J\u{0}";

fn event(family: &str, second: i64, changes: Value) -> Value {
    let time = Timestamp::now().as_millisecond() - 600_000 + second * 1000;
    let mut event = json!({
        "event_id": format!("{family} {second}"), "time": time, "type": "refresh", "outcome": "success",
        "user_id": format!("user of {family}"), "client_id": "web", "session_id": format!("session of {family}"),
        "ip_address": "20.1.2.10", "user_agent": HOSTILE, "device_id": "laptop",
    });
    let members = event.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    event
}

/// The server names no families: they are chains of tokens. The last token is stolen.
fn story(family: &str) -> Vec<Value> {
    let token = |n: u32| format!("{family}-t{n}");
    let mut events = vec![
        event(family, 0, json!({"type": "login"})),
        event(
            family,
            1,
            json!({"type": "issue", "new_token_id": token(0)}),
        ),
    ];
    for n in 0..5_u32 {
        let tokens = json!({"token_id": token(n), "new_token_id": token(n + 1)});
        events.push(event(family, 10 + 60 * i64::from(n), tokens));
    }
    let stolen = json!({
        "outcome": "failure", "reason": "reuse", "token_id": token(4), "device_id": "thief", "user_id": null,
    });
    events.push(event(family, 400, stolen));
    events
}

fn lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

/// Lines of the archive, oldest first.
fn archived(home: &Home) -> Vec<Value> {
    let mut all = Vec::new();
    let folder = Folder::new(home.path().join("archive"));
    newest_first(&folder, u64::MAX, |frame| {
        let lines = frame.lines().rev();
        all.extend(lines.map(|line| serde_json::from_str::<Value>(line).unwrap()));
        ControlFlow::Continue(())
    })
    .unwrap();
    all.reverse();
    all
}

fn files(home: &Home) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.path().join("archive")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "zst"))
        .collect();
    files.sort();
    files
}

async fn wait_for_archived(daemon: &mut Daemon, home: &Home, count: usize) {
    daemon
        .wait("the events are in the archive", async |_| {
            (archived(home).len() >= count).then_some(())
        })
        .await;
}

fn command(home: &Home, words: &[&str], files: &[PathBuf]) -> (Exit, String, String) {
    std::thread::scope(|scope| {
        // A command has a runtime of its own.
        let ran = scope.spawn(|| run(home, words, files));
        ran.join().unwrap()
    })
}

fn run(home: &Home, words: &[&str], files: &[PathBuf]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
    };
    let config = home.path().join("tokenwarden.yaml");
    let mut line = vec![
        "tokenwarden".into(),
        words[0].into(),
        "-c".into(),
        config.into(),
    ];
    line.extend(words[1..].iter().map(Into::into));
    line.extend(files.iter().map(Into::into));
    let exit = cli::main(line, &mut terminal);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (exit, text(out), text(err))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_is_replayed_like_the_log_and_explained_when_all_else_is_gone() {
    let home = Home::new(CONFIG);
    let events = [story("a"), story("b")].concat();
    home.write("events.jsonl", &lines(&events));
    let mut daemon = home.start_ready().await;
    wait_for_archived(&mut daemon, &home, events.len()).await;
    daemon.stop().await;

    let kept = archived(&home);
    assert_eq!(kept.len(), events.len());
    let first = &kept[2];
    assert_eq!(first["tokenwarden"]["family_id"], "a-t0", "{first}");
    assert_eq!(first["token_id"], "a-t0");
    assert!(!first["user_agent"].as_str().unwrap().contains('\n'));

    let replay = |words: &[&str], files: &[PathBuf]| {
        let words = [&["replay", "--output", "json"], words].concat();
        command(&home, &words, files)
    };
    let (_, of_log, _) = replay(&[], &[home.path().join("events.jsonl")]);
    let (_, of_archive, err) = replay(&["--format", "tokenwarden"], &files(&home));
    assert!(of_log.contains("token-reuse"), "{of_log}");
    assert_eq!(of_archive, of_log, "{err}");

    // As after a year.
    for name in ["tokenwarden.db", "tokenwarden.db-wal", "tokenwarden.db-shm"] {
        fs::remove_file(home.path().join(name)).ok();
    }
    let shown = |out: &str| out.lines().filter(|line| line.contains("event ")).count();
    for (asked, id) in [
        ("--family", "a-t0"),
        ("--family", "a-t3"),
        ("--event", "a 400"),
    ] {
        let (exit, out, err) = command(&home, &["explain", asked, id], &[]);
        assert_eq!(exit, Exit::Success, "{out}{err}");
        assert!(out.starts_with("Archive family_id a-t0"), "{out}");
        assert!(out.contains("refused") && out.contains("(reuse)"), "{out}");
        assert_eq!(shown(&out), 7, "{out}");
        assert!(!out.contains('\u{1b}') && !out.contains("b-t"), "{out}");
    }
    let (_, out, _) = command(
        &home,
        &["explain", "--event", "a 70", "--output", "json"],
        &[],
    );
    let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"]["event_id"], "a 400", "and what came after it");
    let (exit, _, err) = command(&home, &["explain", "--family", "nobody"], &[]);
    assert_eq!(exit, Exit::Negative);
    assert!(err.contains("the archive no event"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_nothing_is_missing_and_nothing_is_there_twice() {
    const ROUNDS: u32 = 4;
    const EVENTS: u32 = 400;
    let home = Home::new(CONFIG);
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        let refresh = |n: u32| {
            let family = format!("{round}/{n}");
            let tokens =
                json!({"token_id": format!("{family} t0"), "new_token_id": format!("{family} t1")});
            event(&family, i64::from(n % 60), tokens)
        };
        let events: Vec<Value> = (0..EVENTS).map(refresh).collect();
        home.append("events.jsonl", &lines(&events));
        all.extend(events);
        let mut daemon = home.start().await;
        daemon
            .wait("some of it is in the archive", async |_| {
                (archived(&home).len() > (round * EVENTS) as usize).then_some(())
            })
            .await;
        daemon.kill();
    }
    let mut daemon = home.start_ready().await;
    wait_for_archived(&mut daemon, &home, all.len()).await;
    daemon.stop().await;
    let mut times = BTreeMap::<String, u32>::new();
    for event in archived(&home) {
        *times.entry(event["event_id"].to_string()).or_default() += 1;
    }
    assert_eq!(times.len(), all.len(), "nothing is missing");
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(
        twice.is_empty(),
        "{} events are there twice: {twice:?}",
        twice.len()
    );
    assert_eq!(
        fs::read_dir(home.path().join("archive")).unwrap().count(),
        files(&home).len() + 1,
        "and the lock"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_written_is_counted_and_told_and_judged_all_the_same() {
    let home = Home::new(CONFIG);
    home.write("events.jsonl", "");
    let mut daemon = home.start_ready().await;
    let archive = home.path().join("archive");
    fs::remove_dir_all(&archive).unwrap();
    home.append("events.jsonl", &lines(&story("a")));
    daemon
        .wait("it is told", async |daemon| {
            let (ready, told) = daemon.readiness().await;
            (ready && told.contains("archive: cannot be written")).then_some(())
        })
        .await;
    daemon
        .wait("the theft is found", async |daemon| {
            (!daemon.list("detections").await.is_empty()).then_some(())
        })
        .await;
    let count = story("a").len().to_string();
    let metric = async |daemon: &Daemon, name: &str| {
        let name = format!("tokenwarden_archive_{name}");
        daemon.metric(&name, "").await.to_string()
    };
    assert_eq!(metric(&daemon, "failing").await, "1");
    assert_eq!(metric(&daemon, "events_lost_total").await, count);

    fs::create_dir(&archive).unwrap();
    home.append("events.jsonl", &lines(&story("b")));
    wait_for_archived(&mut daemon, &home, story("b").len()).await;
    let (_, told) = daemon.readiness().await;
    assert!(!told.contains("cannot be written"), "{told}");
    assert!(
        told.contains(&format!("archive: {count} events are missing")),
        "{told}"
    );
    assert_eq!(metric(&daemon, "failing").await, "0");
    assert_eq!(metric(&daemon, "events_total").await, count);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_start_finds_at_the_end_is_told_as_it_is() {
    let home = Home::new(CONFIG);
    home.write("events.jsonl", &lines(&story("a")));
    let mut daemon = home.start_ready().await;
    wait_for_archived(&mut daemon, &home, story("a").len()).await;
    daemon.kill();
    let daemon = home.start_ready().await;
    let log = daemon.log();
    assert!(log.contains("all of it is whole"), "{log}");
    assert!(!log.contains("Cut off"), "{log}");
    daemon.stop().await;

    let last = files(&home).pop().unwrap();
    let mut torn = fs::File::options().append(true).open(last).unwrap();
    std::io::Write::write_all(&mut torn, b"no frame").unwrap();
    let daemon = home.start_ready().await;
    let log = daemon.log();
    assert!(
        log.contains("Cut off") && log.contains("cut_bytes"),
        "{log}"
    );
    daemon.stop().await;
}

/// The finding itself names no presentation before it: the mail shows those that the archive has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_tells_what_its_family_went_through_before() {
    let receivers = "receivers: [{ name: oncall, email: { to: a@example.com, from: tw@example.com, folder: mails } }]\n";
    let home = Home::new(&format!(
        "{}{receivers}",
        CONFIG.replace("observe", "alert")
    ));
    fs::create_dir(home.path().join("mails")).unwrap();
    let granted = |n: u32, scope: &str| {
        let tokens = json!({"token_id": format!("t{n}"), "new_token_id": format!("t{}", n + 1), "scope": scope});
        event("a", 10 * i64::from(n), tokens)
    };
    let mut events = vec![event("b", 3, json!({"type": "login"}))];
    events.push(event(
        "a",
        0,
        json!({"type": "issue", "new_token_id": "t1", "scope": "profile"}),
    ));
    events.extend((1..=9).map(|n| granted(n, "profile")));
    events.push(granted(10, "profile payments"));
    home.write("events.jsonl", &lines(&events));
    let mut daemon = home.start_ready().await;
    let mail = daemon
        .wait("the mail", async |_| {
            let file = fs::read_dir(home.path().join("mails")).unwrap().next()?;
            let mail = fs::read_to_string(file.unwrap().path()).unwrap();
            mail.contains("scope-widening").then_some(mail)
        })
        .await;
    daemon.stop().await;
    let text = mail.split("text/html").next().unwrap();
    let (_, story) = text
        .split_once("timeline:")
        .unwrap_or_else(|| panic!("{text}"));
    let tokens: Vec<String> = (1..=10).map(|n| format!(" t{n} ")).collect();
    let told: Vec<bool> = tokens
        .iter()
        .map(|token| story.contains(&**token))
        .collect();
    assert_eq!(told, [[false; 2].as_slice(), &[true; 8]].concat(), "{text}");
    assert!(!story.contains("user of b"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_old_goes_at_the_start_and_two_daemons_need_two_folders() {
    let home = Home::new(CONFIG);
    let archive = home.path().join("archive");
    fs::create_dir(&archive).unwrap();
    let old = archive.join("2020-01-01T00-0001.jsonl.zst");
    fs::write(&old, "").unwrap();
    home.write("events.jsonl", "");
    let mut daemon = home.start_ready().await;
    daemon
        .wait("the old file goes", async |_| (!old.exists()).then_some(()))
        .await;
    let other = Home::new(&CONFIG.replace("path: archive", &format!("path: {}", path(&archive))));
    let refused = tokenwarden::app::Daemon::start(
        tokenwarden::config::Config::load(&other.path().join("tokenwarden.yaml")).unwrap(),
    );
    let refused = format!("{:?}", refused.await.err().unwrap());
    assert!(refused.contains("by another process"), "{refused}");
    daemon.stop().await;
}

fn path(path: &Path) -> String {
    path.display().to_string()
}
