//! Forgetting a person: rows about the user go, rows that only name the user lose the name, the audit log keeps its chain.
//!
//! What is to be done is found before the transaction, since looking through the tables takes seconds and commits would
//! wait for it; what comes in between is about somebody who is still there. The saved state and the engine's memory are the
//! daemon's: the user is noted for it in `erasure`.

use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use crate::model::{Erasing, Person, Text, Timestamp};

use super::{Store, StoreError, audit, sql};

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erasure {
    Done(Erased),
    /// Nothing: so many actions about the user are under way, and must come to their end first.
    UnderWay(u64),
}

/// Rows that went, and rows that no longer name the user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    pub detections: u64,
    pub incidents: u64,
    pub actions: u64,
    /// Events of our own, records that could not be read, what webhooks sent, silences, and what receivers were told.
    pub records: u64,
    pub renamed: u64,
    /// Entries of the audit log that are empty now.
    pub audit: u64,
}

/// In place of a name.
const ERASED: &str = "(erased)";
/// Shorter ids are not looked for inside sentences: they would be found in other words.
const IN_SENTENCE_BYTES_MIN: usize = 6;
/// Rows that are looked through at once.
const PAGE_ROWS: i64 = 1000;

/// Tables whose rows may name users of others, and those whose rows are about one event.
const SHARED: [Table; 3] = [
    Table("detection", "seq"),
    Table("incident", "seq"),
    Table("action", "seq"),
];
const SINGLE: [Table; 3] = [
    Table("own_event", "id"),
    Table("reject", "seq"),
    Table("inbox", "id"),
];

/// Tables of few rows that go when they name the user: a silence about the user, what a receiver was told of an incident.
const TOLD: [Told; 2] = [
    Told("silence", "id", "body"),
    Told("followed", "incident_id", "memo"),
];

/// A table, its key, and where it names somebody.
#[derive(Clone, Copy)]
struct Told(&'static str, &'static str, &'static str);

/// A table with a `body`, and its key.
#[derive(Clone, Copy)]
struct Table(&'static str, &'static str);

/// A row as it is to be.
struct Renamed {
    table: Table,
    key: i64,
    body: String,
}

impl Store {
    /// Forgets the user in this store; `who` asked for it.
    pub async fn erase(
        &self,
        user_id: &str,
        who: &str,
        now: Timestamp,
    ) -> Result<Erasure, StoreError> {
        let families = self.families_of(user_id).await?;
        let names = Names::new(user_id, &families);
        let mut doomed = Vec::new();
        for table in SINGLE {
            let found = self.naming(table, &names, |key, _| Some(key)).await?;
            doomed.extend(found.into_iter().map(|key| (table, key)));
        }
        let mut renamed = Vec::new();
        for table in SHARED {
            let rename = |key, body: &str| {
                let body = names.without(body)?;
                Some(Renamed { table, key, body })
            };
            renamed.extend(self.naming(table, &names, rename).await?);
        }
        let bulletins = self.bulletins_naming(&names).await?;
        let mut told = Vec::new();
        for table in TOLD {
            told.extend(self.keys_naming(table, &names).await?);
        }

        let mut transaction = self.begin().await?;
        let mut erased = Erased::default();
        for (column, id) in subjects(user_id, &families) {
            let under_way = erased.remove(&mut transaction, column, id).await?;
            if under_way > 0 {
                return Ok(Erasure::UnderWay(under_way));
            }
        }
        erased.remove_rows(&mut transaction, &doomed).await?;
        erased.remove_told(&mut transaction, &told).await?;
        erased
            .rename(&mut transaction, &renamed, &bulletins)
            .await?;
        erased.audit = audit::empty(&mut transaction, user_id, &families, who, now).await?;
        note_for_the_daemon(&mut transaction, user_id, now).await?;
        transaction.commit().await?;
        Ok(Erasure::Done(erased))
    }

    async fn families_of(&self, user_id: &str) -> Result<Vec<Text>, StoreError> {
        let rows = sqlx::query(
            "SELECT family_id FROM detection WHERE user_id = $1 AND family_id IS NOT NULL
             UNION SELECT family_id FROM action WHERE user_id = $1 AND family_id IS NOT NULL
             UNION SELECT family_id FROM audit_entry WHERE user_id = $1 AND family_id IS NOT NULL",
        )
        .bind(sql::clean(user_id))
        .fetch_all(self.reader())
        .await?;
        let family = |row: &AnyRow| Ok(row.try_get::<String, _>("family_id")?.into());
        rows.iter().map(family).collect()
    }

    /// Looks through a table, page by page, for rows that name one of them.
    async fn naming<T>(
        &self,
        table: Table,
        names: &Names,
        take: impl Fn(i64, &str) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let Table(name, key) = table;
        let statement = format!(
            "SELECT {key} AS key, body FROM {name} WHERE {key} > $1 ORDER BY {key} LIMIT $2"
        );
        let (mut after, mut found) = (i64::MIN, Vec::new());
        loop {
            let rows = sqlx::query(AssertSqlSafe(statement.clone()))
                .bind(after)
                .bind(PAGE_ROWS)
                .fetch_all(self.reader())
                .await?;
            for row in &rows {
                after = row.try_get("key")?;
                let body = body_of(row)?;
                if names.are_in(&body) {
                    found.extend(take(after, &body));
                }
            }
            if rows.is_empty() {
                return Ok(found);
            }
        }
    }

    /// They are few: one a day and receiver.
    async fn bulletins_naming(&self, names: &Names) -> Result<Vec<(String, String)>, StoreError> {
        let rows = sqlx::query("SELECT id, body FROM bulletin")
            .fetch_all(self.reader())
            .await?;
        let mut found = Vec::new();
        for row in &rows {
            let body: String = row.try_get("body")?;
            if names.are_in(&body)
                && let Some(body) = names.without(&body)
            {
                found.push((row.try_get("id")?, body));
            }
        }
        Ok(found)
    }

    /// They are few: open incidents, and what people silenced.
    async fn keys_naming(
        &self,
        table: Told,
        names: &Names,
    ) -> Result<Vec<(Told, String)>, StoreError> {
        let Told(name, key, body) = table;
        let statement = format!("SELECT {key} AS key, {body} AS body FROM {name}");
        let rows = sqlx::query(AssertSqlSafe(statement))
            .fetch_all(self.reader())
            .await?;
        let mut found = Vec::new();
        for row in &rows {
            if names.are_in(row.try_get("body")?) {
                found.push((table, row.try_get("key")?));
            }
        }
        Ok(found)
    }

    /// Whom the daemon's memory and archive are to forget.
    pub async fn to_forget(&self) -> Result<Vec<Erasing>, StoreError> {
        let rows = sqlx::query("SELECT user_id, asked_at FROM erasure ORDER BY asked_at")
            .fetch_all(self.reader())
            .await?;
        let erasing = |row: &AnyRow| {
            let person = Person {
                user_id: row.try_get::<String, _>("user_id")?.into(),
            };
            Ok(Erasing {
                person,
                asked_at: sql::time(row.try_get("asked_at")?),
            })
        };
        rows.iter().map(erasing).collect()
    }

    /// Memory and archive have forgotten them: once every saved state is younger than that, they are noted here no longer.
    pub async fn forgotten(&self, them: &[Erasing], now: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for Erasing { person, asked_at } in them {
            sqlx::query(
                "UPDATE erasure SET forgotten_at = COALESCE(forgotten_at, $1) WHERE user_id = $2 AND asked_at = $3",
            )
            .bind(sql::ms(now))
            .bind(person.user_id.as_ref())
            .bind(sql::ms(*asked_at))
            .execute(&mut *transaction)
            .await?;
        }
        sqlx::query(
            "DELETE FROM erasure WHERE forgotten_at IS NOT NULL AND EXISTS (SELECT 1 FROM snapshot WHERE complete = 1)
             AND NOT EXISTS (SELECT 1 FROM snapshot WHERE created_at <= forgotten_at)",
        )
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }
}

/// The inbox keeps what it was sent as bytes.
fn body_of(row: &AnyRow) -> Result<String, StoreError> {
    if let Ok(text) = row.try_get::<String, _>("body") {
        return Ok(text);
    }
    let bytes: Vec<u8> = row.try_get("body")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Columns by which rows are the user's.
fn subjects<'a>(
    user_id: &'a str,
    families: &'a [Text],
) -> impl Iterator<Item = (&'static str, &'a str)> {
    let families = families.iter().map(|family| ("family_id", family.as_ref()));
    std::iter::once(("user_id", user_id)).chain(families)
}

impl Erased {
    /// Removes what is about the user or family; gives how many actions are still under way, and then the caller gives up.
    async fn remove(
        &mut self,
        connection: &mut AnyConnection,
        column: &str,
        id: &str,
    ) -> Result<u64, StoreError> {
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT COUNT(*) AS actions FROM action WHERE {column} = $1 AND state IN ('ready', 'leased')"
        )))
        .bind(sql::clean(id))
        .fetch_one(&mut *connection)
        .await?;
        let under_way = sql::count(row.try_get("actions")?);
        if under_way > 0 {
            return Ok(under_way);
        }
        let mut delete = async |statement: String| -> Result<u64, StoreError> {
            let query = sqlx::query(AssertSqlSafe(statement)).bind(sql::clean(id));
            Ok(query.execute(&mut *connection).await?.rows_affected())
        };
        delete(format!("DELETE FROM incident_member WHERE detection_id IN (SELECT id FROM detection WHERE {column} = $1)")).await?;
        self.detections += delete(format!("DELETE FROM detection WHERE {column} = $1")).await?;
        self.actions += delete(format!("DELETE FROM action WHERE {column} = $1")).await?;
        if column == "user_id" {
            // What a receiver was told may name the user; an alert there ends by itself.
            delete("DELETE FROM followed WHERE incident_id IN (SELECT id FROM incident WHERE user_id = $1)".to_owned()).await?;
            self.incidents += delete("DELETE FROM incident WHERE user_id = $1".to_owned()).await?;
        }
        Ok(0)
    }

    async fn remove_rows(
        &mut self,
        connection: &mut AnyConnection,
        doomed: &[(Table, i64)],
    ) -> Result<(), StoreError> {
        for (Table(name, key), at) in doomed {
            let removed = sqlx::query(AssertSqlSafe(format!(
                "DELETE FROM {name} WHERE {key} = $1"
            )))
            .bind(at)
            .execute(&mut *connection)
            .await?;
            self.records += removed.rows_affected();
        }
        Ok(())
    }

    async fn remove_told(
        &mut self,
        connection: &mut AnyConnection,
        told: &[(Told, String)],
    ) -> Result<(), StoreError> {
        for (Told(name, key, _), at) in told {
            let statement = format!("DELETE FROM {name} WHERE {key} = $1");
            let removed = sqlx::query(AssertSqlSafe(statement))
                .bind(&**at)
                .execute(&mut *connection)
                .await?;
            self.records += removed.rows_affected();
        }
        Ok(())
    }

    /// Those that were removed meanwhile are not met.
    async fn rename(
        &mut self,
        connection: &mut AnyConnection,
        renamed: &[Renamed],
        bulletins: &[(String, String)],
    ) -> Result<(), StoreError> {
        for each in renamed {
            let Table(name, key) = each.table;
            let statement = format!("UPDATE {name} SET body = $1 WHERE {key} = $2");
            let changed = sqlx::query(AssertSqlSafe(statement))
                .bind(&*each.body)
                .bind(each.key)
                .execute(&mut *connection)
                .await?;
            self.renamed += changed.rows_affected();
        }
        for (id, body) in bulletins {
            let changed = sqlx::query("UPDATE bulletin SET body = $1 WHERE id = $2")
                .bind(&**body)
                .bind(&**id)
                .execute(&mut *connection)
                .await?;
            self.renamed += changed.rows_affected();
        }
        Ok(())
    }
}

async fn note_for_the_daemon(
    connection: &mut AnyConnection,
    user_id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO erasure (user_id, asked_at, forgotten_at) VALUES ($1, $2, NULL)
         ON CONFLICT (user_id) DO UPDATE SET asked_at = excluded.asked_at, forgotten_at = NULL",
    )
    .bind(sql::clean(user_id))
    .bind(sql::ms(now))
    .execute(connection)
    .await?;
    Ok(())
}

/// What is looked for: the user's id and those of the families.
pub struct Names(Vec<String>);

impl Names {
    pub fn new(user_id: &str, families: &[Text]) -> Self {
        let families = families.iter().map(ToString::to_string);
        Self(
            std::iter::once(user_id.to_owned())
                .chain(families)
                .collect(),
        )
    }

    pub fn all(&self) -> &[String] {
        &self.0
    }

    /// Whether a text names one of them: between quotes, or, where it is long enough not to be another word, as a word.
    pub fn are_in(&self, text: &str) -> bool {
        self.0.iter().any(|name| {
            let escaped = serde_json::to_string(name).unwrap_or_default();
            let is_word = |name: &str| words(text, name).next().is_some();
            let inner = escaped.trim_matches('"');
            text.contains(&escaped)
                || name.len() >= IN_SENTENCE_BYTES_MIN && (is_word(name) || is_word(inner))
        })
    }

    /// A JSON text without the names; `None` where it cannot be read.
    fn without(&self, body: &str) -> Option<String> {
        let mut value: Value = serde_json::from_str(body).ok()?;
        self.take_out_of(&mut value);
        serde_json::to_string(&value).ok()
    }

    fn take_out_of(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                for name in &self.0 {
                    *text = renamed(text, name);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.take_out_of(item)),
            Value::Object(members) => {
                let named = std::mem::take(members);
                for (key, mut value) in named {
                    self.take_out_of(&mut value);
                    let key = self.0.iter().fold(key, |key, name| renamed(&key, name));
                    members.insert(key, value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn renamed(text: &str, name: &str) -> String {
    if text == name {
        return ERASED.to_owned();
    }
    let mut left = text;
    let mut done = String::with_capacity(text.len());
    while let Some(at) = words(left, name)
        .next()
        .filter(|_| name.len() >= IN_SENTENCE_BYTES_MIN)
    {
        let (before, rest) = left.split_at(at);
        done.push_str(before);
        done.push_str(ERASED);
        left = rest.get(name.len()..).unwrap_or_default();
    }
    done + left
}

/// Where the name stands as a word of its own.
fn words<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    text.match_indices(name).filter_map(move |(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at + name.len()..);
        let after = after.and_then(|after| after.chars().next());
        (!before.is_some_and(part) && !after.is_some_and(part)).then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(user: &str) -> Names {
        Names::new(user, &["family-7".into()])
    }

    #[test]
    fn a_name_is_found_as_a_word_and_not_in_another() {
        let alice = names("alice@example.com");
        assert!(alice.are_in(r#"{"user_id":"alice@example.com"}"#));
        assert!(alice.are_in("refused: alice@example.com is unknown"));
        assert!(!alice.are_in(r#"{"user_id":"malice@example.com"}"#));
        let short = names("u1");
        assert!(short.are_in(r#"{"user_id":"u1"}"#));
        assert!(!short.are_in(r#"{"user_id":"u10","text":"see u1"}"#));
    }

    #[test]
    fn a_body_loses_the_names_and_nothing_else() {
        let body = r#"{"by":{"alice@example.com":2},"n":7,"text":"of alice@example.com, malice@example.com","users":["bob","alice@example.com"]}"#;
        let expected = r#"{"by":{"(erased)":2},"n":7,"text":"of (erased), malice@example.com","users":["bob","(erased)"]}"#;
        let without = names("alice@example.com").without(body);
        assert_eq!(without.as_deref(), Some(expected));
    }
}
