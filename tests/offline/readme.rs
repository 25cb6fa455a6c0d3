//! The README tells the truth: its configurations are valid, its links lead somewhere, its names exist.

use std::path::{Path, PathBuf};

use tokenwarden::config::Config;
use tokenwarden::metrics::Metrics;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("the README")
}

/// Indented blocks without their indentation.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        let block = blocks.last_mut().expect("one block");
        if line.starts_with("    ") || (line.is_empty() && !block.is_empty()) {
            block.push_str(line);
            block.push('\n');
        } else if !block.is_empty() {
            blocks.push(String::new());
        }
    }
    blocks.iter().map(|block| dedented(block)).collect()
}

fn dedented(block: &str) -> String {
    let blanks = |line: &str| line.len() - line.trim_start().len();
    let lines = || block.lines().filter(|line| !line.is_empty());
    let least = lines().map(blanks).min().unwrap_or(0);
    let cut: Vec<&str> = block
        .lines()
        .map(|line| line.get(least..).unwrap_or_default())
        .collect();
    cut.join("\n")
}

#[test]
fn every_configuration_in_it_is_valid() {
    // Secrets and relative paths are found where the examples have theirs.
    let place = root().join("deploy/examples/readme.yaml");
    let is_configuration =
        |block: &&String| block.starts_with("mode:") || block.starts_with("sources:");
    let text = readme();
    let all = blocks(&text);
    let configurations: Vec<&String> = all.iter().filter(is_configuration).collect();
    assert_eq!(configurations.len(), 4, "{configurations:#?}");
    for configuration in configurations {
        if let Err(faults) = Config::parse(configuration, &place) {
            panic!("{faults:#?} in\n{configuration}");
        }
    }
}

#[test]
fn every_link_leads_to_something_that_is_there() {
    let text = readme();
    let links: Vec<&str> = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://"))
        .collect();
    assert!(links.len() > 8, "{links:?}");
    let dead: Vec<&&str> = links
        .iter()
        .filter(|link| !root().join(link).exists())
        .collect();
    assert!(dead.is_empty(), "{dead:?}");
}

#[test]
fn every_metric_and_every_rule_in_it_exists_and_no_rule_is_left_out() {
    let text = readme();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let known = |name: &str| Metrics::DECLARED.iter().any(|metric| metric.name == name);
    let words = text.split(|c: char| !is_name(c));
    for name in words.filter(|word| word.starts_with("tokenwarden_")) {
        assert!(known(name), "there is no metric {name}");
    }
    for rule in shipped_rules(&root().join("rules")) {
        assert!(
            text.contains(&format!("| `{rule}` |")),
            "{rule} is not in the table"
        );
    }
}

fn shipped_rules(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder)
        .expect("the rules")
        .map(|file| file.expect("a file").path());
    let rules = files.filter(|path| {
        let name = path.to_string_lossy();
        name.ends_with(".yaml") && !name.ends_with(".test.yaml")
    });
    rules
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).expect("a rule file");
            let names = text
                .lines()
                .filter_map(|line| line.strip_prefix("  - name: ").map(str::to_owned));
            names.collect::<Vec<_>>()
        })
        .collect()
}
