//! Finds and reads rule files: the shipped ones are built into the binary, others come from files and folders.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Rule, RuleSet, overrides as changes, spec};
use crate::model::{SHIPPED_RULES, Text};
use crate::yaml::{Fault, Faults, Node, Place};

/// A rule file that comes with the program, and the tests that stand beside it.
#[derive(Debug, Clone, Copy)]
pub struct Shipped {
    pub name: &'static str,
    pub rules: &'static str,
    pub tests: &'static str,
}

macro_rules! shipped {
    ($($name:literal),+ $(,)?) => {
        &[$(Shipped {
            name: concat!("rules/", $name, ".yaml"),
            rules: include_str!(concat!("../../rules/", $name, ".yaml")),
            tests: include_str!(concat!("../../rules/", $name, ".test.yaml")),
        }),+]
    };
}

/// The shipped rules, so that the binary works wherever it stands.
pub const SHIPPED: &[Shipped] = shipped![
    "token-reuse",
    "family-fork",
    "client-mismatch",
    "binding-mismatch",
    "use-after-revocation",
    "use-after-credential-change",
    "disabled-user-refresh",
    "lifetime",
    "dormant-wake-up",
    "scope-widening",
    "impossible-travel",
    "concurrent-places",
    "suspicious-network",
    "refresh-velocity",
    "early-refresh",
    "device-change",
    "automation-client",
    "network-fan-out",
    "brute-force",
    "distributed-brute-force",
    "slow-brute-force",
    "credential-stuffing",
    "guess-succeeded",
    "token-hoarding",
    "device-farm",
    "new-country",
    "reuse-storm",
    "composite-risk",
];

/// A rule file larger than this is not a rule file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const FILES_MAX: usize = 1000;

/// Reads the rules of the configuration; without any, or where [`SHIPPED_RULES`] is among the paths, the shipped ones too.
///
/// Faults of all files come back at once.
pub fn load(paths: &[PathBuf], overrides: &[(Text, Node)]) -> Result<RuleSet, Vec<Fault>> {
    let mut faults = Faults::default();
    let mut rules: Vec<Rule> = Vec::new();
    let mut hashed = Vec::new();
    let wants_shipped = |path: &PathBuf| path.as_os_str() == SHIPPED_RULES;
    if paths.is_empty() || paths.iter().any(wants_shipped) {
        for shipped in SHIPPED {
            hashed.push((shipped.name.into(), sha256(shipped.rules)));
            rules.extend(spec::read(
                shipped.rules,
                Path::new(shipped.name),
                &mut faults,
            ));
        }
    }
    let others = paths.iter().filter(|path| !wants_shipped(path));
    for file in files(others, &mut faults) {
        match text_of(&file) {
            Ok(text) => {
                hashed.push((file.to_string_lossy().into(), sha256(&text)));
                rules.extend(spec::read(&text, &file, &mut faults));
            }
            Err(fault) => faults.push(fault),
        }
    }
    warn_without_shipped(&rules, paths, &mut faults);
    let mut set = changes::compile(rules, overrides, &mut faults);
    set.files = hashed;
    finish(set, faults)
}

/// Whoever adds a rule of their own hardly means to lose all others.
fn warn_without_shipped(rules: &[Rule], paths: &[PathBuf], faults: &mut Faults) {
    let is_shipped = |rule: &Rule| {
        let file = format!("rules/{}.yaml", rule.name);
        SHIPPED.iter().any(|shipped| shipped.name == file)
    };
    if let Some(first) = paths.first()
        && !rules.is_empty()
        && !rules.iter().any(is_shipped)
    {
        let warning = Place::start_of(first)
            .fault("with these rules alone, none of those that come with the program is in force")
            .with_hint("to add yours to them, write `rules: [shipped, ...]`");
        faults.warn(warning);
    }
}

/// Reads the rules of files whose texts are at hand.
pub fn parse(files: &[(&Path, &str)], overrides: &[(Text, Node)]) -> Result<RuleSet, Vec<Fault>> {
    let mut faults = Faults::default();
    let read = |(file, text): &(&Path, &str)| spec::read(text, file, &mut faults);
    let rules = files.iter().flat_map(read).collect();
    let set = changes::compile(rules, overrides, &mut faults);
    finish(set, faults)
}

fn finish(set: RuleSet, faults: Faults) -> Result<RuleSet, Vec<Fault>> {
    let (mut set, warnings) = faults.finish(Some(set))?;
    set.warnings = warnings;
    Ok(set)
}

fn sha256(text: &str) -> Text {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text) {
        write!(hex, "{byte:02x}").expect("a String takes every write");
    }
    hex.into()
}

/// Every rule file named or found, in order of name; rule tests stand beside the rules and are none.
fn files<'a>(paths: impl Iterator<Item = &'a PathBuf>, faults: &mut Faults) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        match folder(path) {
            Ok(files) if files.is_empty() => {
                faults.push(
                    Place::start_of(path)
                        .fault("this folder holds no rule file")
                        .with_hint("rule files end in `.yaml`"),
                );
            }
            Ok(files) => found.extend(files),
            Err(error) => {
                faults.push(Place::start_of(path).fault(format!("cannot be read: {error}")));
            }
        }
    }
    found.truncate(FILES_MAX);
    found
}

fn folder(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let name = file
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let is_rule = [".yaml", ".yml"].iter().any(|end| name.ends_with(end));
        if is_rule && !name.contains(".test.") && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a file of rules or of their tests.
pub fn text_of(file: &Path) -> Result<String, Fault> {
    let fault = |why: String| Place::start_of(file).fault(why);
    let unreadable = |error: std::io::Error| fault(format!("cannot be read: {error}"));
    let size = std::fs::metadata(file).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(fault(format!(
            "is larger than {FILE_BYTES_MAX} bytes: not a rule file"
        )));
    }
    std::fs::read_to_string(file).map_err(unreadable)
}
