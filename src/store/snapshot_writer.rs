//! A snapshot as it is written: piece by piece while its state is being made, so that this need never be in memory in whole.
//!
//! Each chunk is a transaction of its own, so that commits of positions go on between them. What is not completed is nothing
//! to anybody, and goes.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use sqlx::Row as _;

use super::snapshot::{CHUNK_BYTES, Snapshot, WRITING_MAX_MS, positions_to_json};
use super::{Store, StoreError, packed, sql};
use crate::model::Timestamp;

/// Ends in [`complete`](Self::complete) or [`give_up`](Self::give_up).
pub struct SnapshotWriter {
    store: Store,
    id: i64,
    /// The number of the next chunk, and what there is of it.
    next: i64,
    chunk: Vec<u8>,
    checksum: Sha256,
    bytes: usize,
}

impl Store {
    /// Begins to write a snapshot, which has what there is of its state already.
    pub async fn begin_snapshot(
        &self,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<SnapshotWriter, StoreError> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query("INSERT INTO snapshot (created_at, format, positions, detections, complete) VALUES ($1, $2, $3, $4, 0) RETURNING id")
            .bind(sql::ms(now))
            .bind(i64::from(snapshot.format))
            .bind(positions_to_json(&snapshot.positions)?)
            .bind(snapshot.detections)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let writer = SnapshotWriter {
            store: self.clone(),
            id: row.try_get("id")?,
            next: 0,
            chunk: Vec::new(),
            checksum: Sha256::new(),
            bytes: 0,
        };
        writer.append(&snapshot.state).await
    }

    /// What there is of an unfinished one would hold its space, and on a full disk no commit would pass any more.
    async fn drop_snapshot(&self, id: i64) {
        if let Err(error) = self.remove_unfinished(id).await {
            tracing::warn!(%error, "An unfinished snapshot could not be removed; a later start or snapshot does");
        }
    }

    /// Piece by piece: whoever else writes would wait for seconds.
    async fn remove_unfinished(&self, id: i64) -> Result<(), StoreError> {
        let chunk = || {
            sqlx::query(
                "DELETE FROM snapshot_chunk WHERE snapshot_id = $1 AND number =
                    (SELECT MAX(number) FROM snapshot_chunk WHERE snapshot_id = $1)
                    AND EXISTS (SELECT 1 FROM snapshot WHERE id = $1 AND complete = 0)",
            )
        };
        while self.write(chunk().bind(id)).await? > 0 {}
        let emptied = sqlx::query("DELETE FROM snapshot WHERE id = $1 AND complete = 0");
        self.write(emptied.bind(id)).await?;
        Ok(())
    }

    async fn complete_snapshot(
        &self,
        id: i64,
        checksum: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let completed = sqlx::query("UPDATE snapshot SET complete = 1, sha256 = $1 WHERE id = $2")
            .bind(checksum)
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        if completed.rows_affected() == 0 {
            return Err(StoreError::Other(format!(
                "snapshot {id} was removed while it was written"
            )));
        }
        transaction.commit().await?;
        if let Err(error) = self.drop_old(id, now).await {
            tracing::warn!(%error, "An old snapshot could not be removed; the next one does");
        }
        Ok(())
    }

    /// Removes what is older than the two newest.
    async fn drop_old(&self, newest: i64, now: Timestamp) -> Result<(), StoreError> {
        // Old unfinished ones are what crashes left behind; a young one may be another daemon's.
        let abandoned = sql::ms(now) - WRITING_MAX_MS;
        let old = sqlx::query(
            "SELECT id FROM snapshot WHERE id < $1 AND ((complete = 0 AND created_at < $2) OR (complete = 1 AND id NOT IN
                (SELECT id FROM snapshot WHERE complete = 1 ORDER BY id DESC LIMIT 2)))",
        );
        let old = old.bind(newest).bind(abandoned);
        for row in old.fetch_all(self.reader()).await? {
            let id: i64 = row.try_get("id")?;
            // From here on nobody takes it for a whole one.
            let unfinished = sqlx::query("UPDATE snapshot SET complete = 0 WHERE id = $1");
            self.write(unfinished.bind(id)).await?;
            self.remove_unfinished(id).await?;
        }
        Ok(())
    }
}

impl SnapshotWriter {
    /// Puts these pieces of the state behind those before. Where that fails it is given up.
    pub async fn append(mut self, pieces: &[Vec<u8>]) -> Result<Self, StoreError> {
        match self.try_append(pieces).await {
            Ok(()) => Ok(self),
            Err(error) => {
                self.give_up().await;
                Err(error)
            }
        }
    }

    /// The state is whole. Removes all but the two newest complete ones; returns how many bytes it has. Where that fails it is
    /// given up.
    pub async fn complete(mut self, now: Timestamp) -> Result<usize, StoreError> {
        let completed = self.try_complete(now).await;
        if completed.is_err() {
            self.give_up().await;
        }
        completed
    }

    /// There will be no more of it.
    pub async fn give_up(self) {
        self.store.drop_snapshot(self.id).await;
    }

    async fn try_append(&mut self, pieces: &[Vec<u8>]) -> Result<(), StoreError> {
        for part in pieces.iter().flat_map(|piece| piece.chunks(CHUNK_BYTES)) {
            if self.chunk.len() + part.len() > CHUNK_BYTES {
                self.write_chunk().await?;
            }
            self.chunk.extend_from_slice(part);
        }
        Ok(())
    }

    async fn try_complete(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        self.write_chunk().await?;
        let checksum = hex(std::mem::take(&mut self.checksum));
        self.store
            .complete_snapshot(self.id, &checksum, now)
            .await?;
        Ok(self.bytes)
    }

    async fn write_chunk(&mut self) -> Result<(), StoreError> {
        let chunk = std::mem::take(&mut self.chunk);
        self.bytes += chunk.len();
        // Hashed chunk by chunk: hashing all of it at once would hold up every other task of the thread.
        self.checksum.update(&chunk);
        let chunk = packed::pack(chunk).await?;
        let insert = sqlx::query(
            "INSERT INTO snapshot_chunk (snapshot_id, number, body) VALUES ($1, $2, $3)",
        );
        let insert = insert.bind(self.id).bind(self.next).bind(chunk);
        self.store.write(insert).await?;
        self.next += 1;
        Ok(())
    }
}

pub(super) fn hex(checksum: Sha256) -> String {
    checksum
        .finalize()
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String cannot fail.
            write!(hex, "{byte:02x}").ok();
            hex
        })
}
