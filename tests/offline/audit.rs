//! The audit log against whoever wants to change it: a log of 10,000 entries, some of them emptied by an erasure, in the
//! store and as a file. Whatever single change is made to it, the check finds it.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::test_runner::Config as Cases;
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokenwarden::cli::{Exit, Terminal};
use tokenwarden::config::Config;
use tokenwarden::model::{ActionKind, AuditHead, AuditKind, AuditNote, Decision, Text};
use tokenwarden::store::audit::Verdict;
use tokenwarden::store::audit::lines::{self, FileVerifier};
use tokenwarden::store::{Erasure, OpenAs, Store};

use crate::store_suite::{action, at};

const ENTRIES: usize = 10_000;

/// A store with such a log, and the same log as a file's bytes.
struct Log {
    folder: TempDir,
    file: Vec<u8>,
    /// The end of the log before the user was erased, as a digest mail told it.
    noted: AuditHead,
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(written(ENTRIES))
});

impl Log {
    fn config(&self) -> PathBuf {
        self.folder.path().join("tokenwarden.yaml")
    }

    /// Where its lines begin.
    fn lines(&self) -> Vec<&[u8]> {
        self.file.split_inclusive(|byte| *byte == b'\n').collect()
    }
}

async fn open(config: &Path, open_as: OpenAs) -> Store {
    let config = Config::load(config).unwrap();
    Store::open(&config.store, open_as).await.unwrap()
}

async fn written(entries: usize) -> Log {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tokenwarden.yaml");
    std::fs::write(&config, "mode: observe\n").unwrap();
    let store = open(&config, OpenAs::Daemon).await;
    for stretch in 0..10 {
        let note = |n: usize| {
            let n = stretch * (entries / 10) + n;
            if n.is_multiple_of(3) {
                return AuditNote::of_daemon(AuditKind::Started)
                    .because("a line that is about nobody");
            }
            let (id, user) = (n.to_string(), format!("user-{}", n % 50));
            AuditNote::decision(&action(
                &id,
                ActionKind::RevokeFamily,
                &user,
                Decision::Execute,
            ))
        };
        let notes: Vec<AuditNote> = (0..entries / 10).map(note).collect();
        let second = i64::try_from(stretch).unwrap();
        store.record(&notes, at(second)).await.unwrap();
    }
    let noted = store.audit_head().await.unwrap();
    let erased = store.erase("user-7", "an operator", at(20)).await.unwrap();
    let Erasure::Done(erased) = erased else {
        panic!("{erased:?}");
    };
    assert!(erased.audit > 0, "{erased:?}");
    let file = exported(&store).await;
    store.close().await;
    Log {
        folder,
        file,
        noted,
    }
}

async fn exported(store: &Store) -> Vec<u8> {
    let mut walk = store.walk_audit().await.unwrap();
    let mut lines = vec![lines::first(walk.base)];
    while let Some(page) = walk.next_page().await.unwrap() {
        lines.extend(page.iter().map(lines::entry));
    }
    lines.push(lines::last(walk.head));
    (lines.join("\n") + "\n").into_bytes()
}

fn verify(file: &[u8]) -> Verdict {
    lines::verify(file, &[LOG.noted.clone()]).unwrap()
}

/// The untouched log, line by line, and where in the file each begins.
static LINES: LazyLock<Vec<&'static [u8]>> = LazyLock::new(|| LOG.lines());
static STARTS: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let start =
        |start: &mut usize, line: &&[u8]| Some(std::mem::replace(start, *start + line.len()));
    LINES.iter().scan(0, start).collect()
});

/// A check of the untouched log under way, every so many lines.
const EVERY: usize = 20;

static UNDER_WAY: LazyLock<Vec<FileVerifier>> = LazyLock::new(|| {
    let mut verifier = FileVerifier::new(&[LOG.noted.clone()]);
    let mut under_way = Vec::new();
    for (at, line) in LINES.iter().enumerate() {
        if at % EVERY == 0 {
            under_way.push(verifier.clone());
        }
        verifier.take(line);
    }
    assert_eq!(verifier.finish().broken, []);
    under_way
});

/// The check behind the first `same` lines of the log, which are checked once for all cases.
fn behind(same: usize) -> FileVerifier {
    let known = (same / EVERY).min(UNDER_WAY.len() - 1);
    let mut verifier = UNDER_WAY[known].clone();
    LINES[known * EVERY..same]
        .iter()
        .for_each(|line| verifier.take(line));
    verifier
}

/// Whether it finds that something is wrong when it goes on with these lines; one that has found something need not go on.
fn finds<'a>(mut verifier: FileVerifier, lines: impl IntoIterator<Item = &'a [u8]>) -> bool {
    for line in lines {
        verifier.take(line);
        if verifier.has_found() {
            return true;
        }
    }
    verifier.finish().broken_total > 0
}

/// The lines of a part of a file.
fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n')
}

#[test]
fn an_untouched_log_is_whole_after_an_erasure_too() {
    let verdict = verify(&LOG.file);
    assert_eq!(verdict.broken, []);
    assert!(verdict.emptied > 100 && verdict.entries > ENTRIES as u64);
    assert!(!String::from_utf8_lossy(&LOG.file).contains("\"user-7\""));
    assert!(!finds(behind(4_000), LINES[4_000..].iter().copied()));
}

/// At every byte of some lines: the first, one about nobody, some about people, an emptied one, the last two.
#[test]
fn every_byte_of_a_line_counts() {
    let mut tried = 0;
    for at in [
        0,
        1,
        4_000,
        4_001,
        4_002,
        4_058,
        LINES.len() - 2,
        LINES.len() - 1,
    ] {
        let before = behind(at);
        let behind = || LINES[at + 1..].iter().copied();
        for byte in 0..LINES[at].len() {
            for change in [0x01, 0x20, 0x80] {
                let mut changed = LINES[at].to_vec();
                changed[byte] ^= change;
                let found = finds(before.clone(), split(&changed).chain(behind()));
                assert!(found, "line {at}, byte {byte} ^ {change:#x}");
                tried += 1;
            }
        }
    }
    assert!(tried > 5_000, "{tried}");
}

fn index() -> impl Strategy<Value = proptest::sample::Index> {
    any::<proptest::sample::Index>()
}

/// Line and place in it of a byte of the file.
fn place(byte: proptest::sample::Index) -> (usize, usize) {
    let byte = byte.index(LOG.file.len());
    let line = STARTS.partition_point(|start| *start <= byte) - 1;
    (line, byte - STARTS[line])
}

proptest! {
    #![proptest_config(Cases::with_cases(100))]

    #[test]
    fn a_changed_byte_is_found(byte in index(), change in 1..=255_u8) {
        let (line, byte) = place(byte);
        let mut changed = LINES[line].to_vec();
        changed[byte] ^= change;
        // Without its end the line runs into the next.
        changed.extend(LINES.get(line + 1).copied().unwrap_or_default());
        let rest = LINES[(line + 2).min(LINES.len())..].iter().copied();
        prop_assert!(finds(behind(line), split(&changed).chain(rest)), "line {line}, byte {byte}");
    }

    #[test]
    fn a_byte_more_or_less_is_found(byte in index(), added in any::<Option<u8>>()) {
        let (line, byte) = place(byte);
        let mut changed = LINES[line].to_vec();
        match added {
            Some(added) => changed.insert(byte, added),
            None => drop(changed.remove(byte)),
        }
        changed.extend(LINES.get(line + 1).copied().unwrap_or_default());
        let rest = LINES[(line + 2).min(LINES.len())..].iter().copied();
        prop_assert!(finds(behind(line), split(&changed).chain(rest)), "line {line}, byte {byte}, {added:?}");
    }

    #[test]
    fn a_cut_is_found(one in index(), other in index(), to_the_end in any::<bool>()) {
        let (one, other) = (one.index(LINES.len()), other.index(LINES.len()));
        let (from, to) = (one.min(other), one.max(other) + 1);
        let to = if to_the_end { LINES.len() } else { to };
        prop_assert!(finds(behind(from), LINES[to..].iter().copied()), "{from}..{to}");
    }

    #[test]
    fn a_swap_is_found(one in index(), other in index()) {
        let (one, other) = (one.index(LINES.len()), other.index(LINES.len()));
        prop_assume!(one != other);
        let mut lines = LINES.clone();
        lines.swap(one, other);
        let first = one.min(other);
        prop_assert!(finds(behind(first), lines[first..].iter().copied()), "{one} and {other}");
    }

    #[test]
    fn a_line_twice_is_found(one in index(), other in index()) {
        let (one, other) = (one.index(LINES.len()), other.index(LINES.len() + 1));
        let lines = std::iter::once(LINES[one]).chain(LINES[other..].iter().copied());
        prop_assert!(finds(behind(other), lines), "{one} at {other}");
    }
}

/// Whoever can write to the store can end the log wherever he likes: what was noted outside tells.
#[test]
fn a_log_that_was_cut_off_and_ended_anew_is_found_by_what_was_noted() {
    let lines = &LINES;
    let entry: serde_json::Value = serde_json::from_slice(lines[6_000]).unwrap();
    let (seq, hash) = (&entry["seq"], &entry["hash"]);
    let end = format!("{{\"type\":\"audit_end\",\"seq\":{seq},\"hash\":{hash}}}\n");
    let ended = [lines[..=6_000].concat(), end.into_bytes()].concat();
    let broken = verify(&ended).broken;
    assert_eq!(broken[0].seq, LOG.noted.seq);
    assert!(broken[0].why.contains("cut off"), "{broken:?}");
}

/// What can be done with a statement of SQL to the log in the store; each is undone before the next.
const STATEMENTS: &[&str] = &[
    "UPDATE audit_entry SET recorded_at = recorded_at + 1 WHERE seq = 101",
    "UPDATE audit_entry SET what = 'outcome' WHERE seq = 101",
    "UPDATE audit_entry SET who = 'nobody' WHERE seq = 101",
    "UPDATE audit_entry SET body = REPLACE(body, 'execute', 'observe') WHERE seq = 101",
    "UPDATE audit_entry SET personal = REPLACE(personal, 'why not', 'because') WHERE seq = 101",
    "UPDATE audit_entry SET salt = zeroblob(16) WHERE seq = 101",
    "UPDATE audit_entry SET commitment = zeroblob(32) WHERE seq = 101",
    "UPDATE audit_entry SET hash = zeroblob(32) WHERE seq = 101",
    "UPDATE audit_entry SET hash = 'text' WHERE seq = 101",
    "UPDATE audit_entry SET user_id = 'somebody' WHERE seq = 101",
    "UPDATE audit_entry SET family_id = NULL WHERE seq = 101",
    "UPDATE audit_entry SET personal = NULL WHERE seq = 101",
    "UPDATE audit_entry SET personal = NULL, salt = NULL, user_id = NULL, family_id = NULL WHERE seq = 101",
    "UPDATE audit_entry SET seq = 20000 WHERE seq = 101",
    "DELETE FROM audit_entry WHERE seq = 101",
    "DELETE FROM audit_entry WHERE seq <= 101",
    "DELETE FROM audit_entry WHERE seq <= 101; UPDATE audit_end SET seq = 101, hash = (SELECT hash FROM audit_entry WHERE seq = 102) WHERE name = 'base'",
    "DELETE FROM audit_entry WHERE seq >= 101",
    "DELETE FROM audit_entry WHERE seq >= 101; UPDATE audit_end SET seq = 100, hash = (SELECT hash FROM audit_entry WHERE seq = 100) WHERE name = 'head'",
    "DELETE FROM audit_entry; DELETE FROM audit_end",
    "UPDATE audit_end SET seq = seq + 1 WHERE name = 'head'",
    "INSERT INTO audit_entry SELECT 20000, recorded_at, what, who, body, personal, salt, commitment, hash, user_id, family_id FROM audit_entry WHERE seq = 101",
];

#[tokio::test]
async fn a_change_in_the_store_is_found() {
    let log = written(200).await;
    let url = format!("sqlite://{}/tokenwarden.db", log.folder.path().display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let store = open(&log.config(), OpenAs::Reader).await;
    let verify = async || store.verify_audit(&[log.noted.clone()]).await.unwrap();
    assert_eq!(verify().await.broken, []);
    let backup = "CREATE TABLE kept_entry AS SELECT * FROM audit_entry; CREATE TABLE kept_end AS SELECT * FROM audit_end";
    sqlx::raw_sql(backup)
        .execute(&mut connection)
        .await
        .unwrap();
    for statement in STATEMENTS {
        let changed = sqlx::raw_sql(*statement).execute(&mut connection).await;
        assert!(changed.unwrap().rows_affected() > 0, "{statement}");
        let verdict = verify().await;
        assert!(verdict.broken_total > 0, "{statement}");
        let undo = "DELETE FROM audit_entry; DELETE FROM audit_end;
            INSERT INTO audit_entry SELECT * FROM kept_entry; INSERT INTO audit_end SELECT * FROM kept_end";
        sqlx::raw_sql(undo).execute(&mut connection).await.unwrap();
    }
    assert_eq!(verify().await.broken, []);
}

fn tokenwarden(arguments: &[&str]) -> (Exit, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
    };
    let arguments = std::iter::once("tokenwarden").chain(arguments.iter().copied());
    let exit = tokenwarden::cli::main(arguments.map(Into::into), &mut terminal);
    assert_eq!(String::from_utf8_lossy(&err), "");
    (exit, String::from_utf8(out).unwrap())
}

#[test]
fn the_command_lists_exports_and_verifies() {
    let config = LOG.config();
    let config = config.to_str().unwrap();
    let noted = LOG.noted.to_string();
    let (exit, text) = tokenwarden(&["audit", "verify", "-c", config, "--head", &noted]);
    assert_eq!(exit, Exit::Success, "{text}");
    let head: Text = text.lines().last().unwrap().replace("head ", "").into();

    let (exit, export) = tokenwarden(&["audit", "export", "-c", config]);
    assert_eq!((exit, export.as_bytes()), (Exit::Success, &*LOG.file));
    let file = LOG.folder.path().join("export.jsonl");
    let path = file.to_str().unwrap();
    std::fs::write(&file, export.replace("web", "wed")).unwrap();
    let verify = ["audit", "verify", "--file", path, "--output", "json"];
    let (exit, text) = tokenwarden(&verify);
    assert_eq!(exit, Exit::Negative);
    let verdict: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(verdict["head"], *head);
    assert!(verdict["broken_total"].as_u64().unwrap() > 6000, "{text}");
    assert_eq!(verdict["broken"].as_array().unwrap().len(), 100);
    let foreign = format!("1:{}", "0".repeat(64));
    let (exit, text) = tokenwarden(&["audit", "verify", "-c", config, "--head", &foreign]);
    assert_eq!(exit, Exit::Negative, "{text}");

    let (exit, text) = tokenwarden(&[
        "audit", "list", "-c", config, "--user", "user-8", "--limit", "2",
    ]);
    assert_eq!((exit, text.lines().count()), (Exit::Success, 2));
    assert!(
        text.contains(r#"decision="execute""#) && text.contains(r#"why="why not""#),
        "{text}"
    );
    let (_, erased) = tokenwarden(&["audit", "list", "-c", config, "--what", "erased"]);
    assert!(erased.contains("an operator"), "{erased}");
}
