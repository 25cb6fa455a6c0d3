//! Claims: whoever takes a partition over raises its epoch, and from then on the former owner's commits are refused.

use std::collections::BTreeMap;

use sqlx::Row as _;

use crate::model::{Claim, Position, SourcePartition, StartAt, Timestamp};

use super::{Store, StoreError, sql};

/// Both databases take an upsert with RETURNING, so the new epoch and the position come from one statement.
const CLAIM: &str = "
    INSERT INTO source_partition (source, part, epoch, owner, updated_at) VALUES ($1, $2, 1, $3, $4)
    ON CONFLICT (source, part) DO UPDATE
        SET epoch = source_partition.epoch + 1, owner = excluded.owner, updated_at = excluded.updated_at
    RETURNING epoch, position";

impl Store {
    /// Takes the partitions over, and tells for each where to read from.
    ///
    /// `standing` holds the positions that the state in memory stands for. A partition that it does not
    /// know goes on from its committed position: there is no older state that could be rebuilt.
    pub async fn claim(
        &self,
        partitions: &[SourcePartition],
        owner: &str,
        standing: &BTreeMap<SourcePartition, Position>,
        now: Timestamp,
    ) -> Result<Vec<Claim>, StoreError> {
        // Always in the same order: two daemons that claim the same partitions must not wait for each other in a ring.
        let mut sorted: Vec<&SourcePartition> = partitions.iter().collect();
        sorted.sort();
        sorted.dedup();
        let mut transaction = self.begin().await?;
        let mut claims = Vec::with_capacity(sorted.len());
        for partition in sorted {
            let row = sqlx::query(CLAIM)
                .bind(partition.source.as_ref())
                .bind(partition.partition.as_ref())
                .bind(owner)
                .bind(sql::ms(now))
                .fetch_one(&mut *transaction)
                .await?;
            let committed: Option<String> = row.try_get("position")?;
            claims.push(Claim {
                partition: partition.clone(),
                epoch: sql::count(row.try_get("epoch")?),
                start: start_at(committed, standing.get(partition)),
            });
        }
        transaction.commit().await?;
        Ok(claims)
    }

    /// The committed position of every partition ever read, for people and for `check`.
    pub async fn positions(&self) -> Result<BTreeMap<SourcePartition, Position>, StoreError> {
        let rows = sqlx::query(
            "SELECT source, part, position FROM source_partition WHERE position IS NOT NULL",
        )
        .fetch_all(self.reader())
        .await?;
        rows.iter()
            .map(|row| {
                let partition = SourcePartition {
                    source: row.try_get::<String, _>("source")?.into(),
                    partition: row.try_get::<String, _>("part")?.into(),
                };
                Ok((
                    partition,
                    Position(row.try_get::<String, _>("position")?.into()),
                ))
            })
            .collect()
    }
}

fn start_at(committed: Option<String>, restored: Option<&Position>) -> StartAt {
    let committed = committed.map(|committed| Position(committed.into()));
    match (committed, restored) {
        (None, None) => StartAt::Fresh,
        (Some(committed), Some(from)) => StartAt::Resume {
            from: from.clone(),
            committed,
            anew: false,
        },
        // What a partition caused is stored before a snapshot knows it, and its first position only afterwards.
        (None, Some(only)) => resume_at(only.clone()),
        (Some(only), None) => resume_at(only),
    }
}

fn resume_at(position: Position) -> StartAt {
    StartAt::Resume {
        from: position.clone(),
        committed: position,
        anew: false,
    }
}
