//! Opening the store: where it is, who may have it, and what its connections are set to.
//!
//! A second daemon on one SQLite file is kept out by a lock of the operating system on a file beside it: a row with a
//! heartbeat would need a time-out, and would lie after a crash. On PostgreSQL the epochs of the claims decide instead.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyConnection, Connection as _, Pool};
use tokio::sync::watch;

use crate::config::StoreConfig;

use super::line::Line;
use super::{Backend, Inner, OpenError, Store, migrate, snapshot};

/// How long a caller waits for a free connection before the store counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that is silent for longer is given up.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Read-only connections to SQLite: the API and the mail are few.
const SQLITE_READERS: u32 = 4;

/// As what the store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenAs {
    /// The one process that writes; creates the store and brings it up to date.
    Daemon,
    /// A command that only looks.
    Reader,
    /// A command that writes beside a daemon that may be running, into a store that is there and up to date.
    Helper,
}

impl Store {
    pub async fn open(config: &StoreConfig, open_as: OpenAs) -> Result<Self, OpenError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        match Place::of(config.url.expose())? {
            Place::Sqlite(path) => open_sqlite(&path, open_as).await,
            Place::Postgres { name } => open_postgres(config, name, open_as).await,
        }
    }
}

/// Where a store is, as its URL says.
#[derive(Debug, PartialEq)]
enum Place {
    Sqlite(PathBuf),
    Postgres { name: String },
}

impl Place {
    fn of(url: &str) -> Result<Self, OpenError> {
        let refused = || OpenError::Url {
            url: without_password(url),
        };
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let path = path.split_once('?').map_or(path, |(path, _)| path);
            return if path.is_empty() || path.contains(":memory:") {
                Err(refused())
            } else {
                Ok(Self::Sqlite(path.into()))
            };
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres {
                name: without_password(url),
            });
        }
        Err(refused())
    }
}

/// The URL as it may be shown: whatever could hold a secret is cut off.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let place = place.split_once('?').map_or(place, |(place, _)| place);
    format!("{scheme}://{place}")
}

async fn open_sqlite(path: &Path, open_as: OpenAs) -> Result<Store, OpenError> {
    let name = path.display().to_string();
    let lock = match open_as {
        OpenAs::Daemon => Some(lock_and_create(path, &name)?),
        OpenAs::Reader | OpenAs::Helper if path.is_file() => None,
        OpenAs::Reader | OpenAs::Helper => return Err(OpenError::Missing { store: name }),
    };
    let options = sqlite_options(path, &name)?;
    let settings = match open_as {
        OpenAs::Daemon | OpenAs::Helper => WRITER_PRAGMAS,
        OpenAs::Reader => READER_PRAGMAS,
    };
    let writer = pool(1, settings)
        .connect_with(options.clone())
        .await
        .map_err(OpenError::failed(&name, "opening the file"))?;
    migrate::bring_up_to_date(&writer, Backend::Sqlite, Some(path), &name, open_as).await?;
    if lock.is_some() {
        drop_abandoned(&writer, Backend::Sqlite).await;
        free_leases(&writer)
            .await
            .map_err(OpenError::failed(&name, "freeing leases"))?;
    }
    let reader = pool(SQLITE_READERS, READER_PRAGMAS).connect_lazy_with(options);
    let pools = Pools {
        writer,
        reader,
        lead: None,
    };
    Ok(Store::assemble(Backend::Sqlite, pools, name, lock))
}

/// First of all, since it may be what a full disk needs; a daemon can do without.
async fn drop_abandoned(writer: &Pool<Any>, backend: Backend) {
    match snapshot::drop_abandoned(writer, backend).await {
        Ok(0) => {}
        Ok(snapshots) => tracing::info!(snapshots, "Removed snapshots that were never finished"),
        Err(error) => {
            tracing::warn!(%error, "Snapshots that were never finished could not be removed");
        }
    }
}

/// Whoever held them is dead, since we hold the lock: what it left undone need not wait for its leases to end.
async fn free_leases(writer: &Pool<Any>) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE action SET state = 'ready', lease_owner = NULL, lease_until = NULL WHERE state = 'leased'")
        .execute(writer)
        .await?;
    Ok(())
}

async fn open_postgres(
    config: &StoreConfig,
    name: String,
    open_as: OpenAs,
) -> Result<Store, OpenError> {
    let options: AnyConnectOptions = config
        .url
        .expose()
        .parse()
        .map_err(|_| OpenError::Url { url: name.clone() })?;
    let settings = match open_as {
        OpenAs::Daemon => DAEMON_SETTINGS,
        OpenAs::Reader | OpenAs::Helper => POSTGRES_SETTINGS,
    };
    let writer = server_pool(config.connections_max.max(2), settings)
        .connect_with(options.clone())
        .await
        .map_err(OpenError::failed(&name, "connecting"))?;
    migrate::bring_up_to_date(&writer, Backend::Postgres, None, &name, open_as).await?;
    let mut lead = None;
    if open_as == OpenAs::Daemon {
        drop_abandoned(&writer, Backend::Postgres).await;
        lead = Some(Line::new(options, LEAD_SETTINGS));
    }
    let pools = Pools {
        reader: writer.clone(),
        writer,
        lead,
    };
    Ok(Store::assemble(Backend::Postgres, pools, name, None))
}

struct Pools {
    writer: Pool<Any>,
    reader: Pool<Any>,
    lead: Option<Line>,
}

impl Store {
    fn assemble(backend: Backend, pools: Pools, name: String, lock: Option<File>) -> Self {
        let Pools {
            writer,
            reader,
            lead,
        } = pools;
        let inner = Inner {
            backend,
            writer,
            reader,
            lead,
            seat: Mutex::default(),
            name,
            arrivals: watch::Sender::new(0),
            _lock: lock,
        };
        Self {
            inner: Arc::new(inner),
        }
    }
}

/// FULL: a commit that was answered survives a power cut. The position in it must not, without its detections, either.
const WRITER_PRAGMAS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON";
const READER_PRAGMAS: &str = "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON";
/// A statement that hangs must become an error, or the daemon stands still without a word.
const POSTGRES_SETTINGS: &str = "SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '60s'; SET timezone = 'UTC'";
/// A transaction of a daemon that is frozen in its middle, or cut off, must not hold up whoever takes over.
const DAEMON_SETTINGS: &str = "SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '5s'; SET timezone = 'UTC'";
/// What is not answered in this time is asked again.
const LEAD_SETTINGS: &str = "SET statement_timeout = '3s'; SET timezone = 'UTC'";

/// A server may have gone since a connection was last used, and its host without a word: a connection that does not answer at once
/// is given up, since the pool itself would wait until TCP gives up.
fn server_pool(connections_max: u32, settings: &'static str) -> AnyPoolOptions {
    pool(connections_max, settings)
        .before_acquire(|connection, _| Box::pin(answers(connection)))
        .after_release(|connection, _| Box::pin(answers(connection)))
}

async fn answers(connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    let answered = tokio::time::timeout(PING_TIMEOUT, connection.ping()).await;
    let silent = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    answered.map_err(silent)?.map(|()| true)
}

/// A file has not gone since it was last used, and to ask would cost two changes of thread.
fn pool(connections_max: u32, settings: &'static str) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections_max)
        .test_before_acquire(false)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                sqlx::raw_sql(settings).execute(connection).await?;
                Ok(())
            })
        })
}

fn sqlite_options(path: &Path, name: &str) -> Result<AnyConnectOptions, OpenError> {
    let absolute =
        std::path::absolute(path).map_err(OpenError::failed(name, "finding the file"))?;
    let absolute = absolute.to_str().ok_or_else(|| OpenError::Url {
        url: name.to_owned(),
    })?;
    format!("sqlite://{}", percent_encoded(absolute))
        .parse()
        .map_err(OpenError::failed(name, "finding the file"))
}

/// The driver takes the path out of a URL again, where these characters mean something else.
fn percent_encoded(path: &str) -> String {
    path.replace('%', "%25")
        .replace('?', "%3F")
        .replace('#', "%23")
        .replace(' ', "%20")
}

/// Makes the file, readable by its owner only (it names people), and keeps other daemons out.
fn lock_and_create(path: &Path, name: &str) -> Result<File, OpenError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(OpenError::failed(name, "making its folder"))?;
    }
    let lock_path = beside(path, ".lock");
    let lock = private_file(&lock_path)
        .map_err(OpenError::failed(name, "making the lock file beside it"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::InUse {
                store: name.to_owned(),
                lock: lock_path.display().to_string(),
            });
        }
        Err(TryLockError::Error(error)) => {
            return Err(OpenError::failed(name, "locking the file beside it")(error));
        }
    }
    private_file(path).map_err(OpenError::failed(name, "making the file"))?;
    Ok(lock)
}

/// `file.db` -> `file.db.lock`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens or makes a file with mode 0600; SQLite gives its journal the same mode.
pub(super) fn private_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_both_kinds_of_url() {
        assert_eq!(
            Place::of("sqlite:///var/lib/a.db").unwrap(),
            Place::Sqlite("/var/lib/a.db".into())
        );
        assert_eq!(
            Place::of("sqlite://a.db?mode=rwc").unwrap(),
            Place::Sqlite("a.db".into())
        );
        let place = Place::of("postgres://warden:pw@db:5432/tw?password=pw").unwrap();
        assert_eq!(
            place,
            Place::Postgres {
                name: "postgres://db:5432/tw".into()
            }
        );
    }

    #[test]
    fn refuses_other_urls_without_showing_the_password() {
        let error = Place::of("mysql://warden:hunter2@db/tw")
            .unwrap_err()
            .to_string();
        assert!(error.contains("mysql://db/tw"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert!(Place::of("sqlite::memory:").is_err());
    }
}
