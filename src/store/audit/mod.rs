//! The audit log: what was decided and done, by whom, when and why; appended in the transaction of what it tells.
//!
//! An entry becomes durable with the decision or outcome that it is about, or with none: a log of its own, in a file,
//! could not be kept from telling what never was. The newest hash is a row that every writer locks last, so entries have
//! one order, and nobody waits for anybody who holds it and then wants something else. What is hashed and how it is
//! checked stands in the file `chain`, how a person is forgotten in `forget`, the form for files in [`lines`].

mod chain;
mod forget;
pub mod lines;

use sqlx::{Any, AnyConnection, AssertSqlSafe, Row as _, Transaction, any::AnyRow};

use crate::model::limits::AUDIT_PAGE;
use crate::model::{AuditHead, AuditKind, AuditNote, Text, Timestamp};

use super::queries::{List, Listed, Page};
use super::sql::{self, Cell, Insert};
use super::{Backend, Store, StoreError};
pub use chain::{Broken, End, Entry, Hash, Verdict, Verifier};
use chain::{Found, SALT_BYTES};
pub(super) use forget::empty;

const ENTRIES: Insert = Insert {
    head: "INSERT INTO audit_entry (seq, recorded_at, what, who, body, personal, salt, commitment, hash, user_id, family_id)",
    tail: "",
};
const COLUMNS: &str =
    "seq, recorded_at, what, who, body, personal, salt, commitment, hash, user_id, family_id";

/// Which entries are listed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuditFilter {
    pub what: Option<AuditKind>,
    pub user_id: Option<Text>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl Store {
    /// Tells what is done in no transaction of the store.
    pub async fn record(&self, notes: &[AuditNote], now: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        append(&mut transaction, notes, now).await?;
        Ok(transaction.commit().await?)
    }

    /// How far the log goes now.
    pub async fn audit_head(&self) -> Result<AuditHead, StoreError> {
        let mut connection = self.reader().acquire().await?;
        Ok(end(&mut connection, HEAD).await?.head())
    }

    /// Entries, newest first.
    pub async fn audit(
        &self,
        filter: &AuditFilter,
        page: Page,
    ) -> Result<Listed<Entry>, StoreError> {
        let list = List::new(&format!("SELECT {COLUMNS} FROM audit_entry"), page)
            .and("what = ", filter.what.map(|what| Cell::text(what.as_str())))
            .and_text("user_id = ", filter.user_id.as_ref())
            .and(
                "recorded_at >= ",
                filter.since.map(|since| Cell::Int(sql::ms(since))),
            )
            .and(
                "recorded_at < ",
                filter.until.map(|until| Cell::Int(sql::ms(until))),
            );
        list.fetch(self.reader(), |row| Ok(entry(row))).await
    }

    /// The whole log in order, as it stands at one moment.
    pub async fn walk_audit(&self) -> Result<AuditWalk, StoreError> {
        let begin = match self.inner.backend {
            Backend::Sqlite => "BEGIN",
            Backend::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        let mut snapshot = self.reader().begin_with(begin).await?;
        Ok(AuditWalk {
            base: end(&mut snapshot, BASE).await?,
            head: end(&mut snapshot, HEAD).await?,
            after: i64::MIN,
            snapshot,
        })
    }

    /// Checks the whole log, and that it holds what was noted of it outside.
    pub async fn verify_audit(&self, noted: &[AuditHead]) -> Result<Verdict, StoreError> {
        let mut walk = self.walk_audit().await?;
        let mut verifier = Verifier::new(walk.base, noted);
        while let Some(page) = walk.next_page().await? {
            for entry in &page {
                verifier.take(entry);
            }
        }
        Ok(verifier.finish(walk.head))
    }
}

/// A log that is being read, with its two ends.
pub struct AuditWalk {
    pub base: End,
    pub head: End,
    after: i64,
    snapshot: Transaction<'static, Any>,
}

impl AuditWalk {
    /// The next entries; `None` when there are no more.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, StoreError> {
        let statement =
            format!("SELECT {COLUMNS} FROM audit_entry WHERE seq > $1 ORDER BY seq LIMIT $2");
        let rows = sqlx::query(AssertSqlSafe(statement))
            .bind(self.after)
            .bind(i64::from(AUDIT_PAGE))
            .fetch_all(&mut *self.snapshot)
            .await?;
        let Some(last) = rows.last() else {
            return Ok(None);
        };
        self.after = last.try_get("seq")?;
        Ok(Some(rows.iter().map(entry).collect()))
    }
}

const BASE: &str = "base";
const HEAD: &str = "head";

/// Appends to the log. Its lock is held to the end of the transaction, so nothing else is to be waited for after this.
pub(super) async fn append(
    connection: &mut AnyConnection,
    notes: &[AuditNote],
    now: Timestamp,
) -> Result<(), StoreError> {
    let Ok(count @ 1..) = i64::try_from(notes.len()) else {
        return Ok(());
    };
    let head =
        sqlx::query("UPDATE audit_end SET seq = seq + $1 WHERE name = $2 RETURNING seq, hash")
            .bind(count)
            .bind(HEAD)
            .fetch_one(&mut *connection)
            .await?;
    let mut at = read_end(&head);
    at.seq = at.seq.saturating_sub(sql::count(count));
    let mut rows = Vec::with_capacity(notes.len());
    for note in notes {
        let entry = sealed(&at, note, now)?;
        at = End {
            seq: entry.seq,
            hash: entry.hash,
        };
        rows.push(row_of(entry));
    }
    ENTRIES.run(connection, rows).await?;
    sqlx::query("UPDATE audit_end SET hash = $1 WHERE name = $2")
        .bind(&at.hash.0[..])
        .bind(HEAD)
        .execute(connection)
        .await?;
    Ok(())
}

/// The entry that tells of a note, behind `before`.
fn sealed(before: &End, note: &AuditNote, now: Timestamp) -> Result<Entry, StoreError> {
    let personal = note.personal.as_ref().map(sql::to_json).transpose()?;
    let salt = personal.as_ref().map(|_| salt()).transpose()?;
    let committed = personal.as_deref().zip(salt.as_deref());
    let committed = committed.map(|(personal, salt)| chain::commitment(salt, personal));
    let found = Found::by(personal.as_deref());
    let entry = Entry {
        seq: before.seq.saturating_add(1),
        recorded_at: sql::ms(now),
        what: note.what.as_str().to_owned(),
        who: sql::clean(&note.who),
        body: sql::to_json(&note.open)?,
        personal,
        salt,
        commitment: committed.map(|hash| hash.0.to_vec()),
        hash: chain::GENESIS,
        user_id: found.user_id,
        family_id: found.family_id,
    };
    let hash = chain::link(&before.hash, &entry);
    Ok(Entry { hash, ..entry })
}

fn salt() -> Result<Vec<u8>, StoreError> {
    let mut salt = vec![0; SALT_BYTES];
    getrandom::fill(&mut salt)
        .map_err(|error| StoreError::Other(format!("the system gives no random bytes: {error}")))?;
    Ok(salt)
}

fn row_of(entry: Entry) -> Vec<Cell> {
    vec![
        Cell::Int(i64::try_from(entry.seq).unwrap_or(i64::MAX)),
        Cell::Int(entry.recorded_at),
        Cell::Text(entry.what),
        Cell::Text(entry.who),
        Cell::Text(entry.body),
        Cell::MaybeText(entry.personal),
        Cell::MaybeBytes(entry.salt),
        Cell::MaybeBytes(entry.commitment),
        Cell::Bytes(entry.hash.0.to_vec()),
        Cell::MaybeText(entry.user_id),
        Cell::MaybeText(entry.family_id),
    ]
}

/// What cannot be read is not what was hashed: whoever checks the log finds it.
fn entry(row: &AnyRow) -> Entry {
    Entry {
        seq: sql::count(row.try_get("seq").unwrap_or_default()),
        recorded_at: row.try_get("recorded_at").unwrap_or_default(),
        what: row.try_get("what").unwrap_or_default(),
        who: row.try_get("who").unwrap_or_default(),
        body: row.try_get("body").unwrap_or_default(),
        personal: row.try_get("personal").unwrap_or_default(),
        salt: row.try_get("salt").unwrap_or_default(),
        commitment: row.try_get("commitment").unwrap_or_default(),
        hash: hash(row),
        user_id: row.try_get("user_id").unwrap_or_default(),
        family_id: row.try_get("family_id").unwrap_or_default(),
    }
}

async fn end(connection: &mut AnyConnection, name: &str) -> Result<End, StoreError> {
    let row = sqlx::query("SELECT seq, hash FROM audit_end WHERE name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    // One that is gone was cut off: an end that no entry meets.
    Ok(row.as_ref().map_or(End::START, read_end))
}

fn read_end(row: &AnyRow) -> End {
    End {
        seq: sql::count(row.try_get("seq").unwrap_or_default()),
        hash: hash(row),
    }
}

fn hash(row: &AnyRow) -> Hash {
    let bytes: Vec<u8> = row.try_get("hash").unwrap_or_default();
    bytes.try_into().map_or(chain::GENESIS, Hash)
}
