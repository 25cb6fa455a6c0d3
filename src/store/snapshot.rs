//! Snapshots of the engine's state, in chunks, each with the positions it stands for.
//!
//! Two complete ones are kept: when the newer turns out to be damaged, the older costs only a longer replay. The chunks
//! are written in transactions of their own, so that commits of positions go on between them.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use sqlx::{Any, Pool, Row as _};

use crate::model::{Incident, Position, SourcePartition, Text, Timestamp, limits};

use super::{Backend, Store, StoreError, packed, sql};

/// Large enough that a statement's cost does not count, small enough that a commit waits only milliseconds.
const CHUNK_BYTES: usize = 1024 * 1024;
const CLOSED_AFTER: &str =
    "SELECT seq, id, body FROM incident WHERE state = 'closed' AND seq > $1 ORDER BY seq LIMIT $2";
const CLOSED_AT_ONCE: i64 = 1000;

#[expect(clippy::cast_possible_wrap, reason = "a minute")]
const CLOCKS_APART_MS: i64 = limits::CLOCKS_APART.as_secs() as i64 * 1000;
#[expect(clippy::cast_possible_wrap, reason = "an hour")]
const WRITING_MAX_MS: i64 = limits::SNAPSHOT_WRITING_MAX.as_secs() as i64 * 1000;

/// The state as of some positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub positions: BTreeMap<SourcePartition, Position>,
    /// The newest detection there was before the state was taken, by its `seq`: one of before version 12 of the schema has none.
    pub detections: Option<i64>,
    /// Version of the state's form; only the engine knows what it means.
    pub format: u32,
    /// In pieces, one behind the other, as it was made: in one it would have to be copied. It is loaded in one.
    pub state: Vec<Vec<u8>>,
}

/// A snapshot as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    pub saved_at: Timestamp,
    pub bytes: usize,
    /// Why a start passes over it.
    pub unusable: Option<&'static str>,
}

impl Store {
    /// Writes a snapshot, then removes all but the two newest complete ones.
    pub async fn save_snapshot(
        &self,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = self.begin_snapshot(snapshot, now).await?;
        let written = self.write_snapshot(id, &snapshot.state, now).await;
        if written.is_err() {
            self.drop_snapshot(id).await;
        }
        written
    }

    async fn write_snapshot(
        &self,
        id: i64,
        state: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut rows = Rows {
            store: self,
            id,
            next: 0,
            checksum: Sha256::new(),
        };
        let mut chunk = Vec::new();
        for part in state.iter().flat_map(|piece| piece.chunks(CHUNK_BYTES)) {
            if chunk.len() + part.len() > CHUNK_BYTES {
                rows.write(std::mem::take(&mut chunk)).await?;
            }
            chunk.extend_from_slice(part);
        }
        rows.write(chunk).await?;
        let checksum = rows.checksum;
        self.complete_snapshot(id, &hex(checksum), now).await
    }

    /// The newest complete snapshot that is undamaged.
    pub async fn load_snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        let heads = sqlx::query("SELECT id, format, positions, detections, sha256 FROM snapshot WHERE complete = 1 ORDER BY id DESC")
            .fetch_all(self.reader())
            .await?;
        for head in &heads {
            let id: i64 = head.try_get("id")?;
            let (state, checksum) = self.read_state(id).await?;
            if Some(checksum) != head.try_get::<Option<String>, _>("sha256")? {
                if !self.is_kept(id).await? {
                    // Whoever leads has removed it while it was read.
                    continue;
                }
                tracing::warn!(
                    snapshot = id,
                    "A snapshot is damaged; an older one is used, which only takes longer"
                );
                continue;
            }
            let positions: Vec<(SourcePartition, Position)> =
                positions_from_json(id, &head.try_get::<String, _>("positions")?)?;
            let format = u32::try_from(head.try_get::<i64, _>("format")?).unwrap_or(u32::MAX);
            return Ok(Some(Snapshot {
                positions: positions.into_iter().collect(),
                detections: head.try_get("detections")?,
                format,
                state: vec![state],
            }));
        }
        Ok(None)
    }

    /// Which snapshot is the newest complete one; another number stands for another one.
    pub async fn newest_snapshot(&self) -> Result<Option<i64>, StoreError> {
        let row = sqlx::query("SELECT MAX(id) FROM snapshot WHERE complete = 1")
            .fetch_one(self.reader())
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Every snapshot there is, the newest first, read in full to see whether it is undamaged.
    pub async fn saved_states(&self) -> Result<Vec<SavedState>, StoreError> {
        let heads =
            sqlx::query("SELECT id, created_at, complete, sha256 FROM snapshot ORDER BY id DESC")
                .fetch_all(self.reader())
                .await?;
        let mut states = Vec::new();
        for head in &heads {
            let (state, checksum) = self.read_state(head.try_get("id")?).await?;
            let is_complete = head.try_get::<i64, _>("complete")? == 1;
            let is_intact = Some(checksum) == head.try_get::<Option<String>, _>("sha256")?;
            states.push(SavedState {
                saved_at: sql::time(head.try_get("created_at")?),
                bytes: state.len(),
                unusable: match (is_complete, is_intact) {
                    (false, _) => {
                        Some("not complete: it is being written, or its writer was killed")
                    }
                    (true, false) => Some("damaged: its checksum does not match"),
                    (true, true) => None,
                },
            });
        }
        Ok(states)
    }

    /// The newest detection there is, by its `seq`; 0 where there is none.
    pub async fn newest_detection(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT COALESCE(MAX(seq), 0) FROM detection")
            .fetch_one(self.reader())
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Ids of the detections made since the older of the snapshots kept: what reading again may find again. By their order, since
    /// a clock may be set back; of a snapshot that does not know it, by time. All of them where none was ever kept.
    pub async fn detections_since_snapshot(&self) -> Result<HashSet<Text>, StoreError> {
        let rows = sqlx::query(
            "SELECT id FROM detection WHERE seq > (SELECT MIN(detections) FROM snapshot WHERE complete = 1) OR recorded_at >=
                (SELECT MIN(created_at) FROM snapshot WHERE complete = 1 AND detections IS NULL) - $1
                OR NOT EXISTS (SELECT 1 FROM snapshot WHERE complete = 1)",
        )
        .bind(CLOCKS_APART_MS)
        .fetch_all(self.reader())
        .await?;
        rows.iter()
            .map(|row| Ok(row.try_get::<String, _>("id")?.into()))
            .collect()
    }

    /// The greatest episode of the incidents that are closed, for a daemon that has forgotten them.
    pub async fn greatest_closed_episode(&self) -> Result<Option<u32>, StoreError> {
        let (mut greatest, mut after) = (None, 0_i64);
        loop {
            let rows = sqlx::query(CLOSED_AFTER)
                .bind(after)
                .bind(CLOSED_AT_ONCE)
                .fetch_all(self.reader())
                .await?;
            for row in &rows {
                after = row.try_get("seq")?;
                let id = row.try_get("id")?;
                let incident: Incident = sql::from_json("incident", id, row.try_get("body")?)?;
                greatest = greatest.max(Some(incident.episode));
            }
            if rows.is_empty() {
                return Ok(greatest);
            }
        }
    }

    /// How many there are, complete or not.
    pub async fn snapshots_kept(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT COUNT(*) FROM snapshot")
            .fetch_one(self.reader())
            .await?;
        Ok(sql::count(row.try_get(0)?))
    }

    async fn begin_snapshot(&self, snapshot: &Snapshot, now: Timestamp) -> Result<i64, StoreError> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query("INSERT INTO snapshot (created_at, format, positions, detections, complete) VALUES ($1, $2, $3, $4, 0) RETURNING id")
            .bind(sql::ms(now))
            .bind(i64::from(snapshot.format))
            .bind(positions_to_json(&snapshot.positions)?)
            .bind(snapshot.detections)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(row.try_get("id")?)
    }

    /// What there is of an unfinished one would hold its space, and on a full disk no commit would pass any more.
    async fn drop_snapshot(&self, id: i64) {
        let unfinished = sqlx::query("DELETE FROM snapshot WHERE id = $1 AND complete = 0");
        if let Err(error) = self.write(unfinished.bind(id)).await {
            tracing::warn!(%error, "An unfinished snapshot could not be removed; a later start or snapshot does");
        }
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

    /// Removes what is older than the two newest, piece by piece: whoever else writes would wait for seconds.
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
            let chunk = || {
                sqlx::query(
                    "DELETE FROM snapshot_chunk WHERE snapshot_id = $1 AND number =
                        (SELECT MAX(number) FROM snapshot_chunk WHERE snapshot_id = $1)",
                )
            };
            while self.write(chunk().bind(id)).await? > 0 {}
            let emptied = sqlx::query("DELETE FROM snapshot WHERE id = $1");
            self.write(emptied.bind(id)).await?;
        }
        Ok(())
    }

    async fn is_kept(&self, id: i64) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 FROM snapshot WHERE id = $1")
            .bind(id)
            .fetch_optional(self.reader())
            .await?;
        Ok(row.is_some())
    }

    async fn read_state(&self, id: i64) -> Result<(Vec<u8>, String), StoreError> {
        let (mut state, mut checksum) = (Vec::new(), Sha256::new());
        for number in 0_i64.. {
            let row = sqlx::query(
                "SELECT body FROM snapshot_chunk WHERE snapshot_id = $1 AND number = $2",
            )
            .bind(id)
            .bind(number)
            .fetch_optional(self.reader())
            .await?;
            let Some(row) = row else { break };
            let before = state.len();
            packed::unpack(row.try_get("body")?, CHUNK_BYTES, &mut state);
            checksum.update(&state[before..]);
        }
        Ok((state, hex(checksum)))
    }
}

/// The chunks of a snapshot that is being written.
struct Rows<'a> {
    store: &'a Store,
    id: i64,
    next: i64,
    checksum: Sha256,
}

impl Rows<'_> {
    async fn write(&mut self, chunk: Vec<u8>) -> Result<(), StoreError> {
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

/// Removes what a process that died left unfinished.
pub(super) async fn drop_abandoned(
    writer: &Pool<Any>,
    backend: Backend,
) -> Result<u64, sqlx::Error> {
    let statement = match backend {
        // We hold the lock: nobody else is writing one.
        Backend::Sqlite => "DELETE FROM snapshot WHERE complete = 0",
        // Another daemon may be; by the database's clock, since ours may differ.
        Backend::Postgres => {
            "DELETE FROM snapshot WHERE complete = 0 AND created_at <
                (extract(epoch FROM now()) * 1000)::bigint - $1"
        }
    };
    let mut query = sqlx::query(statement);
    if backend == Backend::Postgres {
        query = query.bind(WRITING_MAX_MS);
    }
    Ok(query.execute(writer).await?.rows_affected())
}

fn hex(checksum: Sha256) -> String {
    checksum
        .finalize()
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String cannot fail.
            write!(hex, "{byte:02x}").ok();
            hex
        })
}

/// Rows of (source, partition, position): a JSON object cannot have pairs as keys.
fn positions_to_json(
    positions: &BTreeMap<SourcePartition, Position>,
) -> Result<String, StoreError> {
    let rows: Vec<(&str, &str, &str)> = positions
        .iter()
        .map(|(at, position)| {
            (
                at.source.as_ref(),
                at.partition.as_ref(),
                position.0.as_ref(),
            )
        })
        .collect();
    sql::to_json(&rows)
}

fn positions_from_json(
    id: i64,
    json: &str,
) -> Result<Vec<(SourcePartition, Position)>, StoreError> {
    let rows: Vec<(String, String, String)> = sql::from_json("snapshot", &id.to_string(), json)?;
    let pair = |(source, partition, position): (String, String, String)| {
        (
            SourcePartition {
                source: source.into(),
                partition: partition.into(),
            },
            Position(position.into()),
        )
    };
    Ok(rows.into_iter().map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, StoreConfig};
    use crate::model::Commit;
    use crate::store::OpenAs;

    async fn open_in(folder: &std::path::Path) -> Store {
        let config = StoreConfig {
            url: Secret::new(format!("sqlite://{}/warden.db", folder.display())),
            connections_max: 1,
            snapshot_every: std::time::Duration::from_mins(1),
        };
        Store::open(&config, OpenAs::Daemon).await.unwrap()
    }

    /// Of what cannot be compressed.
    fn snapshot(chunks: usize) -> Snapshot {
        let words = (0..chunks * CHUNK_BYTES / 8).map(|n| stable_hash(n as u64));
        Snapshot {
            positions: BTreeMap::new(),
            detections: None,
            format: 1,
            state: vec![words.flat_map(u64::to_le_bytes).collect()],
        }
    }

    fn stable_hash(number: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&number.to_le_bytes())
    }

    #[tokio::test]
    async fn small_pieces_share_a_chunk_and_come_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let store = open_in(folder.path()).await;
        let pieces = (0..100).map(|n| vec![n; usize::from(n) * 300]);
        let state: Vec<Vec<u8>> = pieces.collect();
        let snapshot = Snapshot {
            state: state.clone(),
            ..snapshot(0)
        };
        store.save_snapshot(&snapshot, at(0)).await.unwrap();
        let loaded = store.load_snapshot().await.unwrap().unwrap();
        assert!(loaded.state == [state.concat()]);
        // Each is a transaction, and waits for the disk.
        let chunks: i64 = sqlx::query("SELECT COUNT(*) FROM snapshot_chunk")
            .fetch_one(&store.inner.writer)
            .await
            .unwrap()
            .get(0);
        assert_eq!(chunks, 2);
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Room for so many bytes more, as on a disk that is nearly full.
    async fn leave_room(store: &Store, bytes: i64) {
        let pages: i64 = sqlx::query("PRAGMA page_count")
            .fetch_one(&store.inner.writer)
            .await
            .unwrap()
            .get(0);
        let room = format!("PRAGMA max_page_count = {}", pages + bytes / 4096);
        sqlx::raw_sql(sqlx::AssertSqlSafe(room))
            .execute(&store.inner.writer)
            .await
            .unwrap();
    }

    /// Takes what room there is left, in rows that others do not mind.
    async fn commit_much(store: &Store) -> Result<(), StoreError> {
        let payloads = vec![vec![1; 4000]; 100];
        store.insert_inbox(&"hook".into(), payloads, at(0)).await?;
        store.commit(&Commit::default(), at(0)).await.map(|_| ())
    }

    #[tokio::test]
    async fn a_full_disk_is_given_back_what_an_unfinished_snapshot_took() {
        let folder = tempfile::tempdir().unwrap();
        let store = open_in(folder.path()).await;
        store.save_snapshot(&snapshot(1), at(0)).await.unwrap();
        leave_room(&store, 2 * 1024 * 1024).await;

        let error = store.save_snapshot(&snapshot(4), at(0)).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable(_)), "{error}");
        assert_eq!(store.snapshots_kept().await.unwrap(), 1);
        commit_much(&store).await.unwrap();
        assert!(store.load_snapshot().await.unwrap() == Some(snapshot(1)));
    }

    #[tokio::test]
    async fn what_a_crash_left_unfinished_goes_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = open_in(folder.path()).await;
        store.save_snapshot(&snapshot(1), at(0)).await.unwrap();
        let id = store.begin_snapshot(&snapshot(1), at(0)).await.unwrap();
        sqlx::query("INSERT INTO snapshot_chunk (snapshot_id, number, body) VALUES ($1, 0, $2)")
            .bind(id)
            .bind(vec![7_u8; CHUNK_BYTES])
            .execute(&store.inner.writer)
            .await
            .unwrap();
        store.close().await;
        drop(store);

        let store = open_in(folder.path()).await;
        assert_eq!(store.snapshots_kept().await.unwrap(), 1);
        let chunks = sqlx::query("SELECT COUNT(*) FROM snapshot_chunk")
            .fetch_one(store.reader())
            .await
            .unwrap();
        assert_eq!(chunks.get::<i64, _>(0), 1);
        assert!(store.load_snapshot().await.unwrap() == Some(snapshot(1)));
    }
}
