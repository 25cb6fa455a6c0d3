//! Snapshots of the engine's state, in chunks, each with the positions it stands for.
//!
//! Two complete ones are kept: when the newer turns out to be damaged, the older costs only a longer replay.

use std::collections::{BTreeMap, HashSet};

use sha2::{Digest, Sha256};
use sqlx::{Any, Pool, Row as _};

use crate::model::{Incident, Position, SourcePartition, Text, Timestamp, limits};

use super::snapshot_writer::hex;
use super::{Backend, Store, StoreError, packed, sql};

/// Large enough that a statement's cost does not count, small enough that a commit waits only milliseconds.
pub(super) const CHUNK_BYTES: usize = 1024 * 1024;
const CLOSED_AFTER: &str =
    "SELECT seq, id, body FROM incident WHERE state = 'closed' AND seq > $1 ORDER BY seq LIMIT $2";
const CLOSED_AT_ONCE: i64 = 1000;

#[expect(clippy::cast_possible_wrap, reason = "a minute")]
const CLOCKS_APART_MS: i64 = limits::CLOCKS_APART.as_secs() as i64 * 1000;
#[expect(clippy::cast_possible_wrap, reason = "an hour")]
pub(super) const WRITING_MAX_MS: i64 = limits::SNAPSHOT_WRITING_MAX.as_secs() as i64 * 1000;

/// The state as of some positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub positions: BTreeMap<SourcePartition, Position>,
    /// The newest detection there was before the state was taken, by its `seq`: one of before version 12 of the schema has none.
    pub detections: Option<i64>,
    /// Version of the state's form; only the engine knows what it means.
    pub format: u32,
    /// In pieces, one behind the other. It is loaded in one.
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
    /// Writes a snapshot that is there in whole, then removes all but the two newest complete ones.
    pub async fn save_snapshot(
        &self,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let writer = self.begin_snapshot(snapshot, now).await?;
        writer.complete(now).await?;
        Ok(())
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

/// Rows of (source, partition, position): a JSON object cannot have pairs as keys.
pub(super) fn positions_to_json(
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
        assert_eq!(chunks(&store).await, 2);
    }

    async fn chunks(store: &Store) -> i64 {
        let count = sqlx::query("SELECT COUNT(*) FROM snapshot_chunk");
        let row = count.fetch_one(&store.inner.writer).await.unwrap();
        row.get(0)
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
        let unfinished = store.begin_snapshot(&snapshot(3), at(0)).await.unwrap();
        assert_eq!(chunks(&store).await, 3, "two of them its own");
        store.close().await;
        drop((store, unfinished));

        let store = open_in(folder.path()).await;
        assert_eq!(store.snapshots_kept().await.unwrap(), 1);
        assert_eq!(chunks(&store).await, 1);
        assert!(store.load_snapshot().await.unwrap() == Some(snapshot(1)));
    }

    #[tokio::test]
    async fn one_that_comes_piece_by_piece_is_there_when_it_is_complete_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let store = open_in(folder.path()).await;
        let whole = snapshot(3);
        let begun = Snapshot {
            state: Vec::new(),
            ..whole.clone()
        };
        let mut writer = store.begin_snapshot(&begun, at(0)).await.unwrap();
        for piece in whole.state[0].chunks(CHUNK_BYTES / 3) {
            writer = writer.append(&[piece.to_vec()]).await.unwrap();
        }
        assert_eq!(store.load_snapshot().await.unwrap(), None);
        assert_eq!(writer.complete(at(1)).await.unwrap(), 3 * CHUNK_BYTES);
        assert!(store.load_snapshot().await.unwrap() == Some(whole));
    }

    #[tokio::test]
    async fn of_one_that_is_given_up_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let store = open_in(folder.path()).await;
        let writer = store.begin_snapshot(&snapshot(2), at(0)).await.unwrap();
        assert_eq!(chunks(&store).await, 1);
        writer.give_up().await;
        assert_eq!(chunks(&store).await, 0);
        assert_eq!(store.snapshots_kept().await.unwrap(), 0);
    }
}
