//! What lies in the demo's folder: the GeoIP files, a service token, and a configuration that a person can read.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

use crate::clock;
use crate::simulate::{AuthorizationServer, WORLD_CONFIG, places};

pub const CONFIG_FILE: &str = "tokenwarden.yaml";
pub const MAIL_FOLDER: &str = "mails";
/// The audit table as JSON lines, for `replay`.
pub const EVENTS_FILE: &str = "events.jsonl";
const SERVICE_TOKEN_FILE: &str = "service-token";

/// Names in the files below are relative to the folder, so that it can be moved.
const HEAD: &str = "\
# Written by `tokenwarden demo`: an ordinary configuration. `tokenwarden run -c` takes it as it is.

";

/// All rows in the canonical form; what a row does not have is left out.
const EVENTS: &str = "
    SELECT json_patch('{}', json_object('event_id', event_id, 'time', time, 'type', type, 'outcome', outcome,
        'reason', reason, 'error', error, 'user_id', user_id, 'client_id', client_id, 'session_id', session_id,
        'family_id', family_id, 'token_id', token_id, 'new_token_id', new_token_id, 'ip_address', ip_address,
        'user_agent', user_agent, 'device_id', device_id, 'access_token_ttl', access_token_ttl, 'initiator', initiator))
    FROM audit_events ORDER BY id";

/// Writes everything that the daemon needs, and gives the configuration file.
pub(super) fn furnish(folder: &Path, server: &AuthorizationServer) -> anyhow::Result<PathBuf> {
    places::write_city_asn(folder, places::WORLD, clock::now())?;
    write_private(&folder.join(SERVICE_TOKEN_FILE), server.service_token())?;
    let file = folder.join(CONFIG_FILE);
    let text = configuration(&server.base_url(), &audit_url(folder, server));
    std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}

fn audit_url(folder: &Path, server: &AuthorizationServer) -> String {
    let file = server.audit_file();
    let relative = file.strip_prefix(folder).unwrap_or(file);
    format!("sqlite://{}", relative.display())
}

/// The simulated world as its operator describes it, and where events come from and actions go.
fn configuration(base_url: &str, audit_url: &str) -> String {
    format!(
        "{HEAD}{WORLD_CONFIG}
# The audit table of the authorization server: its columns have the names of the canonical event, so nothing is mapped.
sources:
  - name: authorization-server
    sql:
      url: {audit_url}
      layout: {{ table: {{ name: audit_events, cursor: {{ id: id }} }} }}
      poll_every: 100ms
    format: tokenwarden
    start: earliest

# How a family is ended at this server. `tokenwarden` fills in the id, and asks again when the server is away.
revokers:
  - name: authorization-server
    http:
      actions: [revoke_family]
      method: DELETE
      url: \"{base_url}/admin/families/{{{{ target.family_id }}}}\"
      success: [200, 204, 404]
      auth: {{ bearer_file: {SERVICE_TOKEN_FILE} }}

# Elsewhere: `smtp: {{ host: ..., tls: starttls, ... }}` in place of the folder.
receivers:
  - name: oncall
    email:
      to: [On call <oncall@example.com>]
      from: tokenwarden@example.com
      folder: {MAIL_FOLDER}
    digest: off                      # a demo is over before a day is

http:
  ops: {{ listen: 127.0.0.1:0 }}     # any free port; 9510 and 9511 unless given
  api: {{ listen: 127.0.0.1:0 }}

store: {{ url: sqlite://tokenwarden.db }}
log: {{ level: warn }}
"
    )
}

/// A file that nobody else can read.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let place = || format!("write {}", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(place)?;
    file.write_all(text.as_bytes()).with_context(place)
}

/// Writes the audit table as JSON lines.
pub(super) async fn export_events(
    folder: &Path,
    server: &AuthorizationServer,
) -> anyhow::Result<()> {
    let options = SqliteConnectOptions::new()
        .filename(server.audit_file())
        .read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let lines: Vec<String> = sqlx::query_scalar(EVENTS)
        .fetch_all(&mut connection)
        .await?;
    connection.close().await?;
    let file = folder.join(EVENTS_FILE);
    std::fs::write(&file, lines.join("\n") + "\n")
        .with_context(|| format!("write {}", file.display()))
}

/// How many mails have been written.
pub(super) async fn mails(folder: &Path) -> anyhow::Result<usize> {
    let mut files = match tokio::fs::read_dir(folder.join(MAIL_FOLDER)).await {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let mut count = 0;
    while let Some(file) = files.next_entry().await? {
        if file.path().extension().is_some_and(|end| end == "eml") {
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_configuration_is_one_that_run_takes() {
        let folder = tempfile::tempdir().expect("a folder");
        write_private(&folder.path().join(SERVICE_TOKEN_FILE), "st.secret").expect("a file");
        let text = configuration("http://127.0.0.1:4711", "sqlite://authorization-server.db");
        let config = Config::parse(&text, &folder.path().join(CONFIG_FILE))
            .map_err(|faults| format!("{faults:?}\n{text}"))
            .expect("a valid configuration");
        assert!(config.require_runnable().is_empty());
        assert!(!text.contains("st.secret"));
    }
}
