//! Bringing the schema up to date, and refusing a store that this binary would misread.
//!
//! Each store records the oldest schema that a program must know to read it (`minimum_reader`). A newer daemon may so
//! add tables without shutting older readers out, and can shut them out where it changed the meaning of one.

use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::{Any, AssertSqlSafe, Pool, Row as _};

use super::open::{OpenAs, beside, private_file};
use super::{Backend, OpenError};

static SQLITE: Migrator = sqlx::migrate!("src/store/migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("src/store/migrations/postgres");

/// The newest schema whose meaning differs from that of the one before it.
const MINIMUM_READER: i64 = 1;

/// Checks that the store may be read; as a daemon, also backs it up and migrates it.
pub(super) async fn bring_up_to_date(
    pool: &Pool<Any>,
    backend: Backend,
    file: Option<&Path>,
    name: &str,
    open_as: OpenAs,
) -> Result<(), OpenError> {
    let migrator = match backend {
        Backend::Sqlite => &SQLITE,
        Backend::Postgres => &POSTGRES,
    };
    apply(pool, migrator, file, name, open_as).await
}

async fn apply(
    pool: &Pool<Any>,
    migrator: &Migrator,
    file: Option<&Path>,
    name: &str,
    open_as: OpenAs,
) -> Result<(), OpenError> {
    let known = migrator.iter().map(|each| each.version).max().unwrap_or(0);
    let found = schema_version(pool)
        .await
        .map_err(OpenError::failed(name, "reading its schema version"))?;
    if let Some(needed) = minimum_reader(pool, found)
        .await
        .map_err(OpenError::failed(name, "reading its schema version"))?
        && needed > known
    {
        return Err(OpenError::TooNew {
            store: name.to_owned(),
            needed,
            known,
        });
    }
    if found >= known {
        return Ok(());
    }
    if open_as != OpenAs::Daemon {
        return Err(OpenError::TooOld {
            store: name.to_owned(),
            found,
            known,
        });
    }
    if let Some(file) = file.filter(|_| found > 0) {
        back_up(pool, file, found, name).await?;
    }
    migrator
        .run(pool)
        .await
        .map_err(OpenError::failed(name, "bringing its schema up to date"))?;
    record_minimum_reader(pool)
        .await
        .map_err(OpenError::failed(name, "recording its schema version"))
}

/// 0 for an empty store.
async fn schema_version(pool: &Pool<Any>) -> Result<i64, sqlx::Error> {
    let applied =
        sqlx::query("SELECT CAST(COALESCE(MAX(version), 0) AS BIGINT) FROM _sqlx_migrations")
            .fetch_one(pool)
            .await;
    match applied {
        Ok(row) => row.try_get(0),
        Err(error) if is_missing_table(&error) => Ok(0),
        Err(error) => Err(error),
    }
}

async fn minimum_reader(pool: &Pool<Any>, found: i64) -> Result<Option<i64>, sqlx::Error> {
    if found == 0 {
        return Ok(None);
    }
    let row = sqlx::query("SELECT CAST(value AS BIGINT) FROM meta WHERE name = 'minimum_reader'")
        .fetch_optional(pool)
        .await?;
    row.map(|row| row.try_get(0)).transpose()
}

async fn record_minimum_reader(pool: &Pool<Any>) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO meta (name, value) VALUES ('minimum_reader', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(MINIMUM_READER.to_string())
        .execute(pool)
        .await?;
    Ok(())
}

/// A whole copy beside the file, as of before the migration; one that an earlier, failed try left is made anew.
async fn back_up(pool: &Pool<Any>, file: &Path, version: i64, name: &str) -> Result<(), OpenError> {
    let target = beside(file, &format!(".backup-{version}"));
    let part = beside(&target, ".part");
    // SQLite writes into an empty file, which so has our mode and not the mask's.
    private_file(&part)
        .and_then(|part| part.set_len(0))
        .map_err(OpenError::failed(
            name,
            "making a backup before bringing it up to date",
        ))?;
    let quoted = part.display().to_string().replace('\'', "''");
    sqlx::raw_sql(AssertSqlSafe(format!("VACUUM INTO '{quoted}'")))
        .execute(pool)
        .await
        .map_err(OpenError::failed(
            name,
            "making a backup before bringing it up to date",
        ))?;
    std::fs::rename(&part, &target).map_err(OpenError::failed(
        name,
        "making a backup before bringing it up to date",
    ))?;
    tracing::info!(backup = %target.display(), "Backed the store up before bringing it from schema {version} up to date");
    Ok(())
}

fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().as_deref() == Some("42P01") || error.message().contains("no such table")
    })
}

#[cfg(test)]
mod tests {
    use sqlx::SqlSafeStr;
    use sqlx::migrate::{Migration, MigrationType};

    use super::*;
    use crate::config::{Secret, StoreConfig};
    use crate::store::Store;

    fn config(file: &Path) -> StoreConfig {
        let url = Secret::new(format!("sqlite://{}", file.display()));
        StoreConfig {
            url,
            connections_max: 2,
            snapshot_every: std::time::Duration::from_mins(1),
        }
    }

    /// What this version knows, and what one after it would.
    const KNOWN: i64 = 12;
    const NEXT: i64 = KNOWN + 1;

    fn next_version() -> Migrator {
        let next = Migration::new(
            NEXT,
            "next".into(),
            MigrationType::Simple,
            "CREATE TABLE next (id BIGINT)".into_sql_str(),
            false,
        );
        let migrations = SQLITE.iter().cloned().chain([next]).collect();
        Migrator::with_migrations(migrations)
    }

    #[tokio::test]
    async fn backs_a_filled_store_up_before_migrating_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("it's.db");
        let store = Store::open(&config(&file), OpenAs::Daemon).await.unwrap();
        let backup = beside(&file, &format!(".backup-{KNOWN}"));
        assert!(!backup.exists(), "an empty store needs no backup");

        apply(
            &store.inner.writer,
            &next_version(),
            Some(&file),
            "it",
            OpenAs::Daemon,
        )
        .await
        .unwrap();
        assert_eq!(schema_version(&store.inner.writer).await.unwrap(), NEXT);
        let old = Store::open(&config(&backup), OpenAs::Reader).await.unwrap();
        assert_eq!(schema_version(&old.inner.writer).await.unwrap(), KNOWN);
    }

    #[tokio::test]
    async fn a_reader_neither_migrates_nor_reads_an_older_schema() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        let store = Store::open(&config(&file), OpenAs::Daemon).await.unwrap();
        let refused = apply(
            &store.inner.writer,
            &next_version(),
            Some(&file),
            "a.db",
            OpenAs::Reader,
        )
        .await;
        assert!(
            matches!(
                refused,
                Err(OpenError::TooOld {
                    found: KNOWN,
                    known: NEXT,
                    ..
                })
            ),
            "{refused:?}"
        );
    }
}
