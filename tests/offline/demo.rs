//! The demo as a first user runs it: the whole command line, one day, in real time.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;
use tokenwarden::cli::{self, Exit, Terminal};

struct Answer {
    exit: Exit,
    out: String,
    err: String,
}

fn tokenwarden(arguments: &[&Path]) -> Answer {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
    };
    let program = std::iter::once(OsString::from("tokenwarden"));
    let arguments = arguments
        .iter()
        .map(|argument| argument.as_os_str().to_owned());
    let exit = cli::main(program.chain(arguments), &mut terminal);
    Answer {
        exit,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

fn demo(folder: &Path) -> Answer {
    tokenwarden(&[
        "demo".as_ref(),
        "--exit".as_ref(),
        "--seed".as_ref(),
        "7".as_ref(),
        "--folder".as_ref(),
        folder,
    ])
}

#[test]
fn every_theft_is_ended_and_the_same_log_gives_the_same_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("demo");
    let day = demo(&folder);
    assert_eq!(day.exit, Exit::Success, "{}\n{}", day.out, day.err);
    for said in [
        "demo, seed 7",
        "planted 6, found 6, missed 0",
        "revoked 0; mails ",
    ] {
        assert!(day.out.contains(said), "{said}: {}", day.out);
    }
    assert!(!day.out.contains("rt.") && !day.out.contains("NEVER"));
    let mut told = day.out.lines().filter(|line| !line.contains(" /"));
    assert_eq!(told.find(|line| line.chars().count() > 80), None);
    assert_eq!(mails_about(&folder), victims(&day.out));

    let replayed = tokenwarden(&[
        "replay".as_ref(),
        "--output".as_ref(),
        "json".as_ref(),
        "-c".as_ref(),
        &folder.join("tokenwarden.yaml"),
        &folder.join("events.jsonl"),
    ]);
    assert_eq!(replayed.exit, Exit::Success, "{}", replayed.err);
    assert_eq!(revoked(&replayed.out), victims(&day.out));
}

#[test]
fn a_folder_that_holds_something_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine"), "precious").unwrap();
    let refused = demo(folder.path());
    assert_eq!(refused.exit, Exit::Unusable);
    assert!(refused.err.contains("not empty"), "{}", refused.err);
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
}

/// The second column of the table.
fn victims(out: &str) -> BTreeSet<String> {
    let table = out.split("planted  ").nth(1).unwrap();
    let rows = table.lines().skip(1).take_while(|row| !row.is_empty());
    rows.map(|row| {
        let columns = row.split("  ").map(str::trim);
        let victim = columns.filter(|column| !column.is_empty()).nth(1);
        victim.unwrap().to_owned()
    })
    .collect()
}

/// Whom the mails are about.
fn mails_about(folder: &Path) -> BTreeSet<String> {
    let known = |text: &str| {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let users = words.filter(|word| is_user(word)).map(str::to_owned);
        users.collect::<BTreeSet<_>>()
    };
    let files = folder.join("mails").read_dir().unwrap();
    files
        .flat_map(|file| known(&std::fs::read_to_string(file.unwrap().path()).unwrap()))
        .collect()
}

/// People are called by a name and a number of two digits.
fn is_user(word: &str) -> bool {
    word.split_once('-').is_some_and(|(name, number)| {
        let named = name != "audit" && name.chars().all(|c| c.is_ascii_lowercase());
        named && number.len() == 2 && number.chars().all(|c| c.is_ascii_digit())
    })
}

fn revoked(out: &str) -> BTreeSet<String> {
    let lines = out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let revocations =
        lines.filter(|line| line["action"] == "revoke_family" && line["decision"] == "execute");
    revocations
        .map(|line| line["target"]["user_id"].as_str().unwrap().to_owned())
        .collect()
}
