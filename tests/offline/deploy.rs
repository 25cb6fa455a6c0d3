//! What is shipped for deployment names files, ports and images that fit together.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

use tokenwarden::config::Config;

#[test]
fn the_compose_file_mounts_what_is_there() {
    let text = read("deploy/compose.yaml");
    let mounts: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ."))
        .filter_map(|mount| mount.split(':').next())
        .collect();
    assert!(mounts.len() >= 6, "{mounts:?}");
    for mount in mounts {
        let path = root().join("deploy").join(format!(".{mount}"));
        assert!(
            path.exists(),
            "deploy/compose.yaml mounts {}, which is not there",
            path.display()
        );
    }
}

#[test]
fn the_compose_files_agree_on_names_and_ports() {
    let (compose, config) = (
        read("deploy/compose.yaml"),
        read("deploy/compose/tokenwarden.yaml"),
    );
    let scrape = read("deploy/compose/prometheus.yaml");
    assert!(
        config.contains("ops: { listen: 127.0.0.1:9510 }") && scrape.contains("127.0.0.1:9510")
    );
    assert!(config.contains("kafka:9092") && compose.contains("PLAINTEXT://kafka:9092"));
    assert!(
        config.contains("topics: [refresh-events]") && compose.contains("--topic refresh-events")
    );
    assert!(
        config.contains("tokenwarden:tokenwarden@postgres/tokenwarden")
            && compose.contains("POSTGRES_PASSWORD: tokenwarden")
    );
    for image in compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("image: "))
    {
        let tag = image.rsplit_once(':').map(|(_, tag)| tag);
        assert!(
            tag.is_some_and(|tag| tag != "latest"),
            "{image}: no fixed version"
        );
    }
}

#[test]
fn the_configuration_of_the_compose_file_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenwarden.yaml");
    fs::write(&path, read("deploy/compose/tokenwarden.yaml")).unwrap();
    // In the image the rules stand beside it.
    copy(&root().join("rules"), &folder.path().join("rules"));
    if let Err(faults) = Config::load(&path) {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        panic!("{}", faults.join("\n"));
    }
}

#[test]
fn the_image_is_built_from_what_is_there_and_runs_without_privileges() {
    let text = read("deploy/Dockerfile");
    for source in text
        .lines()
        .filter_map(|line| line.strip_prefix("COPY --from=build /src/"))
    {
        let source = source.split(' ').next().unwrap();
        assert!(
            source.starts_with("target/") || root().join(source).exists(),
            "COPY of {source}"
        );
    }
    assert!(text.contains("\nUSER 65532:65532\n"));
    let rust = read("Cargo.toml");
    let minimum = rust
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \""))
        .unwrap()
        .trim_end_matches('"');
    let image = text
        .lines()
        .find_map(|line| line.strip_prefix("FROM rust:"))
        .unwrap()
        .split('-')
        .next()
        .unwrap();
    assert!(
        version(image) >= version(minimum),
        "rust:{image} is older than {minimum}"
    );
}

fn version(text: &str) -> Vec<u32> {
    text.split('.').map(|part| part.parse().unwrap()).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
