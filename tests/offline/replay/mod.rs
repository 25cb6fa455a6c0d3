//! `tokenwarden replay` as a user runs it: files in, lines out, in this process.
//!
//! `recordings` is the acceptance on what a real server recorded; `reuse_table` has every row of the table that decides;
//! `everyday` what honest people do, `hostile` what others try; `response` what is decided about a finding; `surface` the contract of the command; `backtest` what it says of other rules and of a log as a whole; `explain` why a rule fired or did not; `new_device` what waits for a login.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod backtest;
mod everyday;
mod explain;
mod hostile;
mod log;
mod new_device;
mod recordings;
mod response;
mod reuse_table;
mod surface;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenwarden::cli::{self, Exit, Terminal};
use tokenwarden::model::Timestamp;
use tokenwarden::simulate::places::{self, Locality};

/// What a run printed.
struct Printed {
    exit: Exit,
    out: String,
    err: String,
}

impl Printed {
    fn lines(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{error}: {line}; {}", self.err))
        };
        self.out.lines().map(parse).collect()
    }

    fn of_type(&self, wanted: &str) -> Vec<Value> {
        let mut lines = self.lines();
        lines.retain(|line| line["type"] == wanted);
        lines
    }

    fn detections(&self) -> Vec<Value> {
        self.of_type("detection")
    }

    /// Actions of these kinds with this decision.
    fn actions(&self, kinds: &[&str], decision: &str) -> Vec<Value> {
        let mut actions = self.of_type("action");
        actions.retain(|a| kinds.iter().any(|k| a["action"] == *k) && a["decision"] == decision);
        actions
    }

    fn executed(&self, kind: &str) -> Vec<Value> {
        self.actions(&[kind], "execute")
    }

    fn summary(&self) -> Value {
        self.lines().pop().unwrap_or_default()
    }
}

/// A folder with a configuration, input files and, on demand, GeoIP files.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    /// `config` is YAML; `geoip:` comes on top when places are given.
    fn new(config: &str, places: &[Locality]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut text = config.to_owned();
        if !places.is_empty() {
            let built: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
            places::write_city_asn(folder.path(), places, built).unwrap();
            text.push_str(
                "\ngeoip: { city: city.mmdb, asn: asn.mmdb, anonymous_ip: anonymous-ip.mmdb }\n",
            );
        }
        std::fs::write(folder.path().join("config.yaml"), text).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Replays files with further arguments.
    fn run(&self, arguments: &[&str], files: &[PathBuf]) -> Printed {
        let config = self.path("config.yaml");
        let mut line: Vec<OsString> = vec!["tokenwarden".into(), "replay".into(), "-c".into()];
        line.push(config.into());
        line.extend(arguments.iter().map(Into::into));
        line.extend(files.iter().map(Into::into));
        command(line)
    }

    fn json(&self, files: &[PathBuf]) -> Printed {
        self.run(&["--output", "json"], files)
    }
}

fn command(line: Vec<OsString>) -> Printed {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
    };
    let exit = cli::main(line, &mut terminal);
    Printed {
        exit,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}
