//! The connection by which a daemon leads: its own, and given up as soon as it does not answer.
//!
//! A pool was the other way. It takes back a connection on which a question was given up by asking once more, without an end: where
//! the database's host is gone without a word, that is until TCP gives up, a quarter of an hour later. A pool of one has no other
//! connection, so nobody could lead meanwhile, although the next host answers already.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, Connection as _};

/// Whoever asks takes the connection, and gives it back when it has answered; one that is dropped with its question closes.
pub(super) struct Line {
    options: AnyConnectOptions,
    settings: &'static str,
    free: Mutex<Option<AnyConnection>>,
}

impl Line {
    pub(super) fn new(options: AnyConnectOptions, settings: &'static str) -> Self {
        Self {
            options,
            settings,
            free: Mutex::default(),
        }
    }

    /// The connection, or another one. To connect has no end of its own: whoever asks waits no longer than is of use.
    pub(super) async fn take(&self) -> Result<AnyConnection, sqlx::Error> {
        let free = self.free().take();
        if let Some(connection) = free {
            return Ok(connection);
        }
        let mut connection = AnyConnection::connect_with(&self.options).await?;
        sqlx::raw_sql(self.settings)
            .execute(&mut connection)
            .await?;
        Ok(connection)
    }

    /// It has answered. Where two asked at once one connection is enough.
    pub(super) fn give_back(&self, connection: AnyConnection) {
        *self.free() = Some(connection);
    }

    pub(super) async fn close(&self) {
        let free = self.free().take();
        if let Some(connection) = free {
            // Nothing is under way on it.
            connection.close().await.ok();
        }
    }

    fn free(&self) -> MutexGuard<'_, Option<AnyConnection>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
