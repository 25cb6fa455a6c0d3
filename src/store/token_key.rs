//! The token key's fingerprint: hashes made with another key would match nothing that is stored, silently.

use sqlx::{AnyConnection, Row as _};

use super::{OpenError, Store, StoreError};

impl Store {
    /// Remembers the key's fingerprint at first; later refuses another one, unless the remembered one is named as the previous.
    pub async fn check_token_key(
        &self,
        fingerprint: &str,
        previous: Option<&str>,
    ) -> Result<(), OpenError> {
        let found = self
            .remembered_key(fingerprint, previous)
            .await
            .map_err(OpenError::failed(self.name(), "comparing the token key"))?;
        match found {
            None => Ok(()),
            Some(found) => Err(OpenError::TokenKey {
                store: self.name().to_owned(),
                found,
                configured: fingerprint.to_owned(),
            }),
        }
    }

    /// The remembered fingerprint, when it is neither of the two.
    async fn remembered_key(
        &self,
        fingerprint: &str,
        previous: Option<&str>,
    ) -> Result<Option<String>, StoreError> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query("SELECT value FROM meta WHERE name = 'token_key'")
            .fetch_optional(&mut *transaction)
            .await?;
        let found: Option<String> = row.map(|row| row.try_get(0)).transpose()?;
        match found {
            Some(found) if found == fingerprint => Ok(None),
            Some(found) if Some(found.as_str()) != previous => Ok(Some(found)),
            _ => {
                remember(&mut transaction, fingerprint).await?;
                transaction.commit().await?;
                Ok(None)
            }
        }
    }
}

async fn remember(connection: &mut AnyConnection, fingerprint: &str) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO meta (name, value) VALUES ('token_key', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(fingerprint)
        .execute(connection)
        .await?;
    Ok(())
}
