//! The token key's fingerprint: hashes made with another key would match nothing that is stored, silently.
//!
//! A rotation begins when the key of the store is named as the previous one, and is over with the first start without a
//! previous key. A key that was in use before that does not come back as the previous one: what has been named by its
//! successor since would be taken for something else.

use sqlx::{AnyConnection, Row as _};

use super::{OpenError, Store, StoreError};

const CURRENT: &str = "token_key";
const PREVIOUS: &str = "token_key_previous";

/// Which of the two configured keys cannot be the right one.
enum Wrong {
    Current { found: String },
    Previous,
}

impl Store {
    /// Remembers the fingerprints at first; later takes the key of the store alone or with the one before it, or a new
    /// key with that of the store as the previous one; refuses every other.
    pub async fn check_token_key(
        &self,
        fingerprint: &str,
        previous: Option<&str>,
    ) -> Result<(), OpenError> {
        let wrong = self
            .wrong_key(fingerprint, previous)
            .await
            .map_err(OpenError::failed(self.name(), "comparing the token key"))?;
        let store = self.name().to_owned();
        match wrong {
            None => Ok(()),
            Some(Wrong::Current { found }) => Err(OpenError::TokenKey {
                store,
                found,
                configured: fingerprint.to_owned(),
            }),
            Some(Wrong::Previous) => Err(OpenError::PreviousTokenKey {
                store,
                configured: previous.unwrap_or_default().to_owned(),
            }),
        }
    }

    async fn wrong_key(
        &self,
        fingerprint: &str,
        previous: Option<&str>,
    ) -> Result<Option<Wrong>, StoreError> {
        let mut transaction = self.begin().await?;
        let current = remembered(&mut transaction, CURRENT).await?;
        let before = remembered(&mut transaction, PREVIOUS).await?;
        let wrong = match current {
            Some(current) if current == fingerprint => {
                (previous.is_some() && previous != before.as_deref()).then_some(Wrong::Previous)
            }
            Some(current) if Some(&*current) != previous => Some(Wrong::Current { found: current }),
            _ => None,
        };
        if wrong.is_some() {
            return Ok(wrong);
        }
        remember(&mut transaction, CURRENT, fingerprint).await?;
        match previous {
            Some(previous) => remember(&mut transaction, PREVIOUS, previous).await?,
            None => forget(&mut transaction, PREVIOUS).await?,
        }
        transaction.commit().await?;
        Ok(None)
    }
}

async fn remembered(
    connection: &mut AnyConnection,
    name: &str,
) -> Result<Option<String>, StoreError> {
    let row = sqlx::query("SELECT value FROM meta WHERE name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

async fn remember(
    connection: &mut AnyConnection,
    name: &str,
    fingerprint: &str,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(name)
        .bind(fingerprint)
        .execute(connection)
        .await?;
    Ok(())
}

async fn forget(connection: &mut AnyConnection, name: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM meta WHERE name = $1")
        .bind(name)
        .execute(connection)
        .await?;
    Ok(())
}
