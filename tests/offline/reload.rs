//! A reload of the running daemon: what it applies, and what it refuses because it could not.
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokenwarden::app::Daemon;
use tokenwarden::config::Config;

/// A folder with a configuration that can be changed under a running daemon.
struct Home(TempDir);

const CONFIG: &str = "\
mode: observe
store: { url: \"sqlite:warden.db\", snapshot_every: 1m }
http: { ops: { listen: 127.0.0.1:0 }, ingest: { listen: 127.0.0.1:0 } }
sources:
  - name: audit
    sql:
      url: \"sqlite:audit.db\"
      layout: { table: { name: audit, cursor: { id: { column: id } } } }
    format: tokenwarden
  - name: log
    file: { path: events.jsonl }
    format: tokenwarden
  - name: hook
    webhook: { bearer_file: secret }
    format: auth0
";

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        home.write("tokenwarden.yaml", CONFIG);
        home.write("secret", "the first secret of the hook");
        home
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.path().join("tokenwarden.yaml")
    }

    async fn start(&self) -> Daemon {
        Daemon::start(Config::load(&self.config()).unwrap())
            .await
            .unwrap()
    }
}

/// Metrics of the daemon, as far as they are about its configuration.
async fn config_metrics(daemon: &Daemon) -> String {
    let (_, address) = daemon
        .addresses
        .iter()
        .find(|(name, _)| *name == "ops")
        .unwrap();
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let metrics = reqwest::get(format!("http://{address}/metrics"))
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    let about =
        |line: &&str| line.starts_with("tokenwarden_config_") && !line.contains("timestamp");
    metrics.lines().filter(about).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_restart_applies_is_refused_by_name_and_the_rest_is_applied() {
    let home = Home::new();
    let daemon = home.start().await;
    let before = config_metrics(&daemon).await;

    let changed = CONFIG
        .replace("audit.db", "other.db")
        .replace("path: events.jsonl", "path: events.jsonl, poll_every: 7s")
        .replace("snapshot_every: 1m", "snapshot_every: 9m")
        .replace(
            "ingest: { listen: 127.0.0.1:0 }",
            "ingest: { listen: \"[::1]:0\" }",
        )
        .replace("mode: observe", "mode: alert");
    home.write("tokenwarden.yaml", &changed);
    home.write("secret", "the second secret of the hook");
    let refusal = daemon.reload().await.unwrap_err();
    let settings = [
        "source audit: `url`",
        "source log: `poll_every`",
        "source hook: `bearer` or `hmac`",
        "store: `snapshot_every`",
        "http: `ingest`",
    ];
    for setting in settings {
        let line = refusal.lines().find(|line| line.contains(setting));
        assert!(
            line.is_some_and(|line| line.contains("restart")),
            "{setting}: {refusal}"
        );
    }
    assert_eq!(refusal.lines().count(), settings.len(), "{refusal}");
    assert!(!refusal.contains("second secret"), "{refusal}");
    let refused = config_metrics(&daemon).await;
    assert_eq!(refused, before.replace("successful 1", "successful 0"));

    let added = CONFIG.replace("name: log", "name: syslog");
    home.write("tokenwarden.yaml", &added);
    home.write("secret", "the first secret of the hook");
    let refusal = daemon.reload().await.unwrap_err();
    assert!(
        refusal.contains("source log is gone") && refusal.contains("source syslog is new"),
        "{refusal}"
    );

    home.write(
        "tokenwarden.yaml",
        &CONFIG.replace("mode: observe", "mode: alert"),
    );
    daemon.reload().await.unwrap();
    let applied = config_metrics(&daemon).await;
    assert!(
        applied.contains("successful 1") && applied != before,
        "{applied}"
    );
    daemon.stop().await.unwrap();
}
