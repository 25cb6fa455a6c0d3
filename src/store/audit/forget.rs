//! Forgetting: what the log says of a person goes, and entries that are too old go, both without breaking the chain.
//!
//! Each leaves an entry of its own that says what went, in the same transaction; a check takes it for right and finds
//! whatever went without one.

use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::model::limits::{AUDIT_EMPTIED_MAX, AUDIT_PRUNED_MAX};
use crate::model::{AuditKind, AuditNote, Text, Timestamp};

use super::super::sql;
use super::super::{Store, StoreError};
use super::chain::{EMPTIED, End, THROUGH, THROUGH_HASH, ranges};
use super::{BASE, append, end, read_end};

/// Takes what is about a person out of the entries about the user and the user's families; gives how many there were.
///
/// The entry that tells of it does not say of whom: else it would have to be forgotten as well.
pub(in crate::store) async fn empty(
    connection: &mut AnyConnection,
    user_id: &str,
    families: &[Text],
    who: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let mut emptied = empty_where(connection, EMPTY_USER, user_id).await?;
    for family in families {
        emptied.extend(empty_where(connection, EMPTY_FAMILY, family).await?);
    }
    emptied.sort_unstable();
    let told = |numbers: &[u64]| {
        AuditNote::of(AuditKind::Erased, who)
            .with("emptied", numbers.len())
            .with(EMPTIED, ranges(numbers))
    };
    let mut notes: Vec<AuditNote> = emptied.chunks(AUDIT_EMPTIED_MAX).map(told).collect();
    if notes.is_empty() {
        notes.push(told(&[]));
    }
    append(connection, &notes, now).await?;
    Ok(u64::try_from(emptied.len()).unwrap_or(u64::MAX))
}

const EMPTY_USER: &str =
    "UPDATE audit_entry SET personal = NULL, salt = NULL, user_id = NULL, family_id = NULL
    WHERE user_id = $1 RETURNING seq";
const EMPTY_FAMILY: &str =
    "UPDATE audit_entry SET personal = NULL, salt = NULL, user_id = NULL, family_id = NULL
    WHERE family_id = $1 RETURNING seq";

async fn empty_where(
    connection: &mut AnyConnection,
    statement: &'static str,
    id: &str,
) -> Result<Vec<u64>, StoreError> {
    let rows = sqlx::query(statement)
        .bind(sql::clean(id))
        .fetch_all(connection)
        .await?;
    let seq = |row: &AnyRow| Ok(sql::count(row.try_get("seq")?));
    rows.iter().map(seq).collect()
}

impl Store {
    /// Removes the oldest entries, those before `oldest`; gives how many.
    pub(in crate::store) async fn prune_audit(
        &self,
        oldest: i64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut pruned = 0;
        loop {
            let mut transaction = self.begin().await?;
            let Some((through, entries)) = old_ones(&mut transaction, oldest).await? else {
                return Ok(pruned);
            };
            let told = AuditNote::of_daemon(AuditKind::Pruned)
                .with("entries", entries)
                .with(THROUGH, through.seq)
                .with(THROUGH_HASH, through.hash.to_string());
            append(&mut transaction, &[told], now).await?;
            drop_through(&mut transaction, through).await?;
            transaction.commit().await?;
            pruned += entries;
        }
    }
}

/// The last of the oldest entries, all of which are before that time, and how many they are.
async fn old_ones(
    connection: &mut AnyConnection,
    oldest: i64,
) -> Result<Option<(End, u64)>, StoreError> {
    let base = end(connection, BASE).await?;
    let rows = sqlx::query(
        "SELECT seq, recorded_at, hash FROM audit_entry WHERE seq > $1 ORDER BY seq LIMIT $2",
    )
    .bind(i64::try_from(base.seq).unwrap_or(i64::MAX))
    .bind(AUDIT_PRUNED_MAX)
    .fetch_all(connection)
    .await?;
    let is_old = |row: &&AnyRow| row.try_get("recorded_at").is_ok_and(|at: i64| at < oldest);
    let old = rows.iter().take_while(is_old).map(read_end);
    let count = old.clone().count() as u64;
    Ok(old.last().map(|last| (last, count)))
}

async fn drop_through(connection: &mut AnyConnection, through: End) -> Result<(), StoreError> {
    let seq = i64::try_from(through.seq).unwrap_or(i64::MAX);
    sqlx::query("UPDATE audit_end SET seq = $1, hash = $2 WHERE name = $3")
        .bind(seq)
        .bind(&through.hash.0[..])
        .bind(BASE)
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM audit_entry WHERE seq <= $1")
        .bind(seq)
        .execute(connection)
        .await?;
    Ok(())
}
