//! The floors of `src/` and what each may use, checked from the source text.
//!
//! One crate gives no compiler check for layers, so this test reads every path of every file (`use` lines and paths
//! in code alike) against the tables below and names file and line of each that breaks one. Comments, strings and
//! modules of tests are left out: a test may build what it needs.

#[path = "architecture/scan.rs"]
mod scan;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use scan::{Use, uses};

/// Which floors of ours a floor may name. A floor may always name itself; `*` stands for every floor.
const FLOORS: &[(&str, &[&str])] = &[
    // L0 and the leaves
    ("model", &[]),
    ("yaml", &["model"]),
    ("clock", &["model"]),
    ("telemetry", &[]),
    ("metrics", &["model"]),
    ("config", &["model", "yaml"]),
    // L1: pure reading of records, addresses and rules
    ("decode", &["model", "yaml"]),
    ("enrich", &["model", "yaml"]),
    ("rules", &["model", "yaml"]),
    // L2: pure deciding; the policy takes what the engine found, never the other way; what the operator declared about clients and tenants is plain data of the configuration
    ("engine", &["model", "rules", "enrich", "config"]),
    ("respond", &["model", "rules", "enrich", "config", "engine"]),
    // L3: adapters; they never know each other
    ("sources", &["model", "config"]),
    ("actions", &["model", "config"]),
    ("store", &["model", "config"]),
    ("archive", &["model"]),
    // L4: loops
    (
        "pipeline",
        &[
            "model", "config", "clock", "metrics", "sources", "decode", "enrich", "rules",
            "engine", "respond", "store", "archive",
        ],
    ),
    (
        "delivery",
        &["model", "config", "clock", "metrics", "actions", "store"],
    ),
    ("admin", &["model", "config", "clock", "metrics", "store"]),
    // L5: wiring
    ("app", &["*"]),
    ("simulate", &["*"]),
    ("cli", &["*"]),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Crates that are for some floors only; every other crate is for all that are not in `FEW_CRATES`.
const CRATES: &[(&str, &[&str])] = &[
    (
        "tokio",
        &[
            "sources", "actions", "store", "pipeline", "delivery", "admin", "app", "simulate",
            "cli",
        ],
    ),
    (
        "tokio_util",
        &[
            "sources", "actions", "store", "pipeline", "delivery", "admin", "app", "simulate",
            "cli",
        ],
    ),
    ("sqlx", &["sources", "store", "app", "simulate"]),
    ("reqwest", &["actions", "app", "simulate"]),
    ("axum", &["sources", "admin", "app", "simulate"]),
    ("rdkafka", &["sources", "app"]),
    ("lettre", &["actions", "config"]),
    // ... and whoever replays a packed recording.
    ("zstd", &["archive", "app", "store"]),
    ("prometheus", &["metrics"]),
    ("tracing_subscriber", &["telemetry"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("indicatif", &["cli"]),
    (
        "tracing",
        &[
            "sources",
            "actions",
            "store",
            "pipeline",
            "delivery",
            "admin",
            "app",
            "simulate",
            "cli",
            "telemetry",
        ],
    ),
];

/// Floors that name these crates and no others.
const FEW_CRATES: &[(&str, &[&str])] = &[("model", &["jiff", "serde"])];

/// Paths that belong to some floors only, by their last segments. Time and surroundings are read at the edge.
const PATHS: &[(&str, &[&str])] = &[
    ("Timestamp::now", &["clock"]),
    ("Zoned::now", &["clock"]),
    ("Utc::now", &["clock"]),
    ("SystemTime::now", &["clock"]),
    // How long something took, never what time it is: an adapter may renew a token before it runs out.
    (
        "Instant::now",
        &[
            "clock",
            "telemetry",
            "sources",
            "actions",
            "pipeline",
            "delivery",
            "admin",
            "app",
            "simulate",
            "cli",
        ],
    ),
    ("std::env", &["cli", "main"]),
    ("env::var", &[]),
    ("env::vars", &[]),
];

#[test]
fn every_path_stays_within_its_floor() {
    let mut faults = Vec::new();
    for file in source_files() {
        let text = fs::read_to_string(&file).expect("a source file");
        let module = module_path(file.strip_prefix(source_root()).expect("below src"));
        faults.extend(check(&shown(&file), &module, &text));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_source_file_opens_with_what_it_is() {
    let bare: Vec<String> = source_files()
        .iter()
        .filter(|file| {
            !fs::read_to_string(file)
                .expect("a source file")
                .starts_with("//! ")
        })
        .map(|file| format!("{}:1: does not open with a `//!` line", shown(file)))
        .collect();
    assert!(bare.is_empty(), "{}", bare.join("\n"));
}

#[test]
fn every_shipped_rule_has_a_test_file() {
    let rules = root().join("rules");
    let without: Vec<String> = files_below(&rules, "yaml")
        .into_iter()
        .filter(|file| !file.to_string_lossy().ends_with(".test.yaml"))
        .filter(|file| !file.with_extension("test.yaml").exists())
        .map(|file| {
            format!(
                "{}: no {} beside it",
                shown(&file),
                shown(&file.with_extension("test.yaml"))
            )
        })
        .collect();
    assert!(without.is_empty(), "{}", without.join("\n"));
}

#[test]
fn every_folder_of_the_source_is_a_floor_of_the_table() {
    for file in source_files() {
        let module = module_path(file.strip_prefix(source_root()).expect("below src"));
        assert!(
            FLOORS.iter().any(|(floor, _)| *floor == module[0]),
            "{}: `{}` is not in the table of floors",
            shown(&file),
            module[0]
        );
    }
}

/// All that a file's text does against the tables, each as `file:line: what`.
fn check(shown: &str, module: &[String], text: &str) -> Vec<String> {
    uses(text, module)
        .iter()
        .filter_map(|used| {
            fault(&module[0], used).map(|what| format!("{shown}:{}: {what}", used.line))
        })
        .collect()
}

fn fault(floor: &str, used: &Use) -> Option<String> {
    let path = used.path.join("::");
    if used.path[0] == "crate" {
        let other = used.path.get(1)?;
        let (_, allowed) = FLOORS.iter().find(|(name, _)| *name == floor)?;
        let known = FLOORS.iter().any(|(name, _)| name == other);
        if known && other != floor && !allowed.contains(&"*") && !allowed.contains(&other.as_str())
        {
            return Some(format!("`{floor}` must not use `{other}` (`{path}`)"));
        }
        return None;
    }
    let ours = |floors: &[&str]| floors.contains(&floor) || floor == "lib";
    if let Some((name, floors)) = CRATES.iter().find(|(name, _)| *name == used.path[0])
        && !ours(floors)
    {
        return Some(format!(
            "crate `{name}` is for {} only (`{path}`)",
            floors.join(", ")
        ));
    }
    if let Some((_, few)) = FEW_CRATES.iter().find(|(name, _)| *name == floor)
        && dependencies().contains(&used.path[0])
        && !few.contains(&used.path[0].as_str())
    {
        return Some(format!(
            "`{floor}` uses the crates {} and no other (`{path}`)",
            few.join(", ")
        ));
    }
    PATHS
        .iter()
        .filter(|(run, floors)| contains_run(&used.path, run) && !ours(floors))
        .map(|(_, floors)| match *floors {
            [] => format!("`{path}` is for nobody: the environment is never read"),
            floors => format!("`{path}` is for {} only", floors.join(", ")),
        })
        .next_back()
}

/// The crates that `Cargo.toml` names, as they are written in code.
fn dependencies() -> &'static BTreeSet<String> {
    static NAMES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
        let table = manifest
            .split("[dependencies]")
            .nth(1)
            .expect("a table of dependencies");
        let lines = table
            .lines()
            .skip(1)
            .take_while(|line| !line.starts_with('['));
        lines
            .filter_map(|line| {
                line.split_once('=')
                    .map(|(name, _)| name.trim().replace('-', "_"))
            })
            .collect()
    });
    &NAMES
}

/// Whether the segments of `run` stand in the path, one after the other.
fn contains_run(path: &[String], run: &str) -> bool {
    let run: Vec<&str> = run.split("::").collect();
    path.windows(run.len())
        .any(|window| window.iter().zip(&run).all(|(a, b)| a == b))
}

/// `engine/lineage.rs` is module `engine::lineage`, `engine/mod.rs` is `engine`.
fn module_path(relative: &Path) -> Vec<String> {
    let mut module: Vec<String> = relative
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if module.len() > 1 && module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn source_root() -> PathBuf {
    root().join("src")
}

fn source_files() -> Vec<PathBuf> {
    let files = files_below(&source_root(), "rs");
    assert!(
        files.len() > 20,
        "the source is not where this test looks for it"
    );
    files
}

/// Every file below a folder with this ending, in order; none where there is no folder.
fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.expect("a folder that can be read").path();
        if path.is_dir() {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|end| end == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root())
        .unwrap_or(file)
        .display()
        .to_string()
}

#[cfg(test)]
mod the_test_itself {
    use super::check;

    fn faults(module: &str, text: &str) -> Vec<String> {
        let module: Vec<String> = module.split("::").map(str::to_owned).collect();
        check("src/x.rs", &module, text)
    }

    #[test]
    fn names_file_and_line_of_a_floor_that_reaches_up() {
        assert_eq!(
            faults(
                "engine::lineage",
                "//! x\nuse crate::model::Text;\nuse crate::store::Store;\n"
            ),
            ["src/x.rs:3: `engine` must not use `store` (`crate::store::Store`)"]
        );
    }

    #[test]
    fn sees_into_groups_and_into_code() {
        let text = "use crate::{model::{Text, Event}, sources::{Source}};\nfn f() { crate::actions::go(); }\n";
        let found = faults("store", text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("src/x.rs:1: `store` must not use `sources`"),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("src/x.rs:2: `store` must not use `actions`"),
            "{found:?}"
        );
    }

    #[test]
    fn follows_super_to_the_root_and_no_further_than_there() {
        assert_eq!(
            faults(
                "rules::kinds::lineage",
                "use super::super::super::engine::Engine;"
            )
            .len(),
            1
        );
        assert_eq!(
            faults("rules::kinds::lineage", "use super::super::engine::Engine;").len(),
            0
        );
        assert_eq!(
            faults("rules", "mod inner { use super::super::store::Store; }").len(),
            1
        );
    }

    #[test]
    fn refuses_runtime_crates_below_the_adapters() {
        assert_eq!(
            faults("rules", "async fn f() { tokio::spawn(async {}).await; }").len(),
            1
        );
        assert_eq!(faults("decode", "use sqlx::Row;").len(), 1);
        assert_eq!(faults("sources::sql", "use sqlx::Row;").len(), 0);
        assert_eq!(faults("model", "use serde_json::Value;").len(), 1);
        assert_eq!(
            faults(
                "model",
                "use serde::Serialize;\nfn f(x: Text) { Text::from(x); }"
            )
            .len(),
            0
        );
    }

    #[test]
    fn refuses_clocks_and_the_environment() {
        assert_eq!(
            faults("engine", "fn f() -> T { jiff::Timestamp::now() }").len(),
            1
        );
        assert_eq!(
            faults("engine", "fn f() -> T { Timestamp::now() }").len(),
            1
        );
        assert_eq!(
            faults("store", "fn f() -> T { std::time::Instant::now() }").len(),
            1
        );
        assert_eq!(faults("clock", "fn f() -> T { Timestamp::now() }").len(), 0);
        assert_eq!(
            faults("app", "fn f() { std::env::var(\"HOME\"); }").len(),
            1
        );
        assert_eq!(faults("cli", "fn f() { std::env::args(); }").len(), 0);
        assert_eq!(
            faults("cli", "fn f() { std::env::var(\"HOME\"); }").len(),
            1
        );
        assert_eq!(
            faults("sources::sql", "fn f() -> Kind { Kind::Instant }").len(),
            0
        );
    }

    #[test]
    fn leaves_comments_strings_and_tests_out() {
        let text = r##"
            // use crate::store::Store;
            /* crate::store /* nested */ crate::store */
            const A: &str = "crate::store::x"; const B: &str = r#"crate::store"#; const C: char = '"';
            fn f<'a>(x: &'a str) {}
            #[cfg(test)]
            mod tests { use crate::store::Store; mod deep { use crate::app::App; } }
        "##;
        assert_eq!(faults("engine", text), Vec::<String>::new());
        assert_eq!(
            faults("engine", &format!("{text}\nuse crate::store::Store;")).len(),
            1
        );
    }
}
