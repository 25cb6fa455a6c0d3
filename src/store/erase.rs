//! Forgetting a person: rows about the user go, rows that only name the user lose the name, the audit log keeps its chain.
//!
//! Which rows may name the user is found before the transaction, since looking through the tables takes seconds and commits
//! would wait for it; what comes in between is about somebody who is still there. Within it they are read again: what the
//! daemon has written meanwhile stays. The saved state and the engine's memory are the daemon's: the user is noted for it in
//! `erasure`. Who is named where is decided in [`names`](super::names).

use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use crate::model::{Erasing, Person, Text, Timestamp};

use super::names::{Mention, Names};
use super::{Backend, Store, StoreError, audit, sql};

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

/// Rows that are looked through at once.
const PAGE_ROWS: i64 = 1000;

/// Tables whose rows may name users, and what becomes of such a row.
const TABLES: [Table; 9] = [
    Table::numbered("detection", "seq", Fate::Renamed),
    Table::numbered("incident", "seq", Fate::GoneIfAbout("/subject")),
    Table::numbered("action", "seq", Fate::Renamed),
    Table::numbered("own_event", "id", Fate::GoneIfAbout("")),
    Table::numbered("reject", "seq", Fate::Gone),
    Table::numbered("inbox", "id", Fate::Gone),
    // Of these there are few: one a day and receiver, what people silenced, open incidents.
    Table::small("bulletin", "id", "body", Fate::Renamed),
    Table::small("silence", "id", "body", Fate::GoneIfAbout("")),
    // What a receiver was told; an alert there ends by itself.
    Table::small("followed", "incident_id", "memo", Fate::Gone),
];

/// A table, its key, and where it names somebody.
#[derive(Debug, Clone, Copy)]
struct Table {
    name: &'static str,
    key: &'static str,
    is_numbered: bool,
    body: &'static str,
    fate: Fate,
}

/// What becomes of a row that names the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is about one event: it goes.
    Gone,
    /// It is others' too, and loses the name. Rows about the user are found by their columns.
    Renamed,
    /// It goes where this part of it is about the user, else it loses the name.
    GoneIfAbout(&'static str),
}

impl Table {
    const fn numbered(name: &'static str, key: &'static str, fate: Fate) -> Self {
        Self {
            is_numbered: true,
            ..Self::small(name, key, "body", fate)
        }
    }

    const fn small(name: &'static str, key: &'static str, body: &'static str, fate: Fate) -> Self {
        Self {
            name,
            key,
            is_numbered: false,
            body,
            fate,
        }
    }

    fn key_of(&self, row: &AnyRow) -> Result<Key, StoreError> {
        Ok(if self.is_numbered {
            Key::Number(row.try_get("key")?)
        } else {
            Key::Text(row.try_get("key")?)
        })
    }
}

#[derive(Debug, Clone)]
enum Key {
    Number(i64),
    Text(String),
}

impl Key {
    fn bind<'q>(&self, query: sql::AnyQuery<'q>) -> sql::AnyQuery<'q> {
        match self {
            Self::Number(number) => query.bind(*number),
            Self::Text(text) => query.bind(text.clone()),
        }
    }
}

/// A row that may name the user.
struct Row<'a> {
    table: &'a Table,
    key: &'a Key,
    /// How it is held from being read to being written.
    lock: &'static str,
}

impl Row<'_> {
    /// What it says now; nothing where it has gone meanwhile.
    async fn read(&self, connection: &mut AnyConnection) -> Result<Option<String>, StoreError> {
        let Table {
            name, key, body, ..
        } = self.table;
        let lock = self.lock;
        let statement = format!("SELECT {body} AS body FROM {name} WHERE {key} = $1 {lock}");
        let query = self.key.bind(sqlx::query(AssertSqlSafe(statement)));
        let row = query.fetch_optional(connection).await?;
        row.as_ref().map(body_of).transpose()
    }

    async fn write(&self, connection: &mut AnyConnection, to: &str) -> Result<u64, StoreError> {
        let Table {
            name, key, body, ..
        } = self.table;
        let statement = format!("UPDATE {name} SET {body} = $2 WHERE {key} = $1");
        let query = self.key.bind(sqlx::query(AssertSqlSafe(statement)));
        let done = query.bind(to).execute(connection).await?;
        Ok(done.rows_affected())
    }

    async fn delete(&self, connection: &mut AnyConnection) -> Result<u64, StoreError> {
        let Table { name, key, .. } = self.table;
        let statement = format!("DELETE FROM {name} WHERE {key} = $1");
        let query = self.key.bind(sqlx::query(AssertSqlSafe(statement)));
        Ok(query.execute(connection).await?.rows_affected())
    }
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
        let found = self.all_perhaps_naming(&names).await?;
        self.erase_found((user_id, &families), &names, &found, (who, now))
            .await
    }

    async fn all_perhaps_naming(&self, names: &Names) -> Result<Vec<(Table, Key)>, StoreError> {
        let mut found = Vec::new();
        for table in TABLES {
            let keys = self.perhaps_naming(table, names).await?;
            found.extend(keys.into_iter().map(|key| (table, key)));
        }
        Ok(found)
    }

    async fn erase_found(
        &self,
        (user_id, families): (&str, &[Text]),
        names: &Names,
        found: &[(Table, Key)],
        (who, now): (&str, Timestamp),
    ) -> Result<Erasure, StoreError> {
        // Who writes one of the rows just now has to be waited for; in SQLite nobody can.
        let lock = match self.inner.backend {
            Backend::Sqlite => "",
            Backend::Postgres => "FOR UPDATE",
        };
        let mut transaction = self.begin().await?;
        let mut erased = Erased::default();
        for (column, id) in subjects(user_id, families) {
            let under_way = erased.remove(&mut transaction, column, id).await?;
            if under_way > 0 {
                return Ok(Erasure::UnderWay(under_way));
            }
        }
        for (table, key) in found {
            let row = Row { table, key, lock };
            erased.settle(&mut transaction, &row, names).await?;
        }
        sqlx::query("UPDATE incident SET user_id = NULL WHERE user_id = $1")
            .bind(sql::clean(user_id))
            .execute(&mut *transaction)
            .await?;
        erased.audit = audit::empty(&mut transaction, user_id, families, who, now).await?;
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

    /// Looks through a table, page by page, for rows in which one of the names occurs.
    async fn perhaps_naming(&self, table: Table, names: &Names) -> Result<Vec<Key>, StoreError> {
        let Table {
            name, key, body, ..
        } = table;
        let statement = format!(
            "SELECT {key} AS key, {body} AS body FROM {name} WHERE {key} > $1 ORDER BY {key} LIMIT $2"
        );
        let mut after = if table.is_numbered {
            Key::Number(i64::MIN)
        } else {
            Key::Text(String::new())
        };
        let at_once = if table.is_numbered {
            PAGE_ROWS
        } else {
            i64::MAX
        };
        let mut found = Vec::new();
        loop {
            let query = after.bind(sqlx::query(AssertSqlSafe(statement.clone())));
            let rows = query.bind(at_once).fetch_all(self.reader()).await?;
            for row in &rows {
                after = table.key_of(row)?;
                if names.may_be_in(&body_of(row)?) {
                    found.push(after.clone());
                }
            }
            if i64::try_from(rows.len()).unwrap_or(i64::MAX) < at_once {
                return Ok(found);
            }
        }
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
        Ok(0)
    }

    /// Removes or renames one row, if it still names the user.
    async fn settle(
        &mut self,
        connection: &mut AnyConnection,
        row: &Row<'_>,
        names: &Names,
    ) -> Result<(), StoreError> {
        let Some(body) = row.read(connection).await? else {
            return Ok(());
        };
        let part = match row.table.fate {
            Fate::Gone if names.mention(&body) >= Some(Mention::Named) => {
                return self.remove_row(connection, row).await;
            }
            Fate::Gone => return Ok(()),
            Fate::Renamed => None,
            Fate::GoneIfAbout(part) => Some(part),
        };
        // What is written here is JSON.
        let Ok(mut value) = serde_json::from_str::<Value>(&body) else {
            return Ok(());
        };
        let part = part.and_then(|part| value.pointer_mut(part));
        let of_part = part.and_then(|part| names.take_out_of(part));
        if of_part == Some(Mention::About) {
            return self.remove_row(connection, row).await;
        }
        if of_part.max(names.take_out_of(&mut value)).is_some() {
            self.renamed += row.write(connection, &value.to_string()).await?;
        }
        Ok(())
    }

    async fn remove_row(
        &mut self,
        connection: &mut AnyConnection,
        row: &Row<'_>,
    ) -> Result<(), StoreError> {
        if row.table.name != "incident" {
            self.records += row.delete(connection).await?;
            return Ok(());
        }
        // What a receiver was told may name the user; an alert there ends by itself.
        let followed =
            "DELETE FROM followed WHERE incident_id = (SELECT id FROM incident WHERE seq = $1)";
        row.key
            .bind(sqlx::query(followed))
            .execute(&mut *connection)
            .await?;
        self.incidents += row.delete(connection).await?;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Secret, StoreConfig};
    use crate::model::{
        By, Commit, Incident, IncidentState, Matchers, Output, Severity, Silence, Subject,
    };
    use crate::store::OpenAs;

    const ALICE: &str = "alice@example.com";
    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    async fn store(folder: &tempfile::TempDir) -> Store {
        let config = StoreConfig {
            url: Secret::new(format!("sqlite://{}/a.db", folder.path().display())),
            connections_max: 1,
            snapshot_every: Duration::from_mins(1),
        };
        Store::open(&config, OpenAs::Daemon).await.unwrap()
    }

    fn incident(id: &str, subject: Subject, user: &str) -> Incident {
        Incident {
            id: id.into(),
            issuer: "idp".into(),
            tenant: None,
            subject,
            episode: 0,
            state: IncidentState::Open,
            severity: Severity::High,
            opened_at: NOW,
            updated_at: NOW,
            user_id: Some(user.into()),
            client_id: Some("web".into()),
            detections: 4,
            summary: format!("f3 of {user} at web").into(),
            resolution: None,
            closed_at: None,
        }
    }

    async fn commit(store: &Store, incidents: Vec<Incident>) {
        let output = Output {
            incidents,
            ..Output::default()
        };
        let commit = Commit {
            output,
            ..Commit::default()
        };
        store.commit(&commit, NOW).await.unwrap();
    }

    async fn column(store: &Store, id: &str) -> Option<Option<String>> {
        let query = sqlx::query("SELECT user_id FROM incident WHERE id = $1");
        let row = query.bind(id).fetch_optional(store.reader()).await.unwrap();
        row.map(|row| row.try_get("user_id").unwrap())
    }

    #[tokio::test]
    async fn a_storm_that_began_with_the_user_stays_and_what_was_written_meanwhile_too() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let storm = incident("storm", Subject::Client("idp/-/web".into()), ALICE);
        let own = incident("own", Subject::User(format!("idp/-/{ALICE}").into()), ALICE);
        let of_family = incident("family", Subject::Family("idp/-/f3".into()), ALICE);
        let of_bob = incident("bob", Subject::User("idp/-/bob".into()), "bob");
        commit(&store, vec![storm.clone(), own, of_family, of_bob]).await;

        let families = ["f3".into()];
        let names = Names::new(ALICE, &families);
        let found = store.all_perhaps_naming(&names).await.unwrap();
        let grown = Incident {
            detections: 5,
            ..storm
        };
        commit(&store, vec![grown]).await;
        let whom = (ALICE, &families[..]);
        let erased = store.erase_found(whom, &names, &found, ("dpo", NOW)).await;
        let Erasure::Done(erased) = erased.unwrap() else {
            panic!("nothing is under way");
        };

        assert_eq!((erased.incidents, erased.renamed), (2, 1));
        let storm = store.incident("storm", 0).await.unwrap().unwrap();
        let storm = storm.incident;
        assert_eq!(
            (storm.detections, &*storm.summary),
            (5, "f3 of (erased) at web")
        );
        assert_eq!(column(&store, "storm").await, Some(None));
        assert_eq!(column(&store, "own").await, None);
        assert_eq!(column(&store, "bob").await, Some(Some("bob".to_owned())));
    }

    #[tokio::test]
    async fn an_id_that_is_an_ordinary_word_takes_nothing_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        for word in ["user", "web", "issuer", "idp", "open", "silence"] {
            let bob = incident("bob", Subject::User("idp/-/bob".into()), "bob");
            let storm = incident("storm", Subject::Client("idp/-/web".into()), "bob");
            commit(&store, vec![bob, storm]).await;
            let sent = br#"{"type":"user","client":"web","issuer":"idp","state":"open"}"#;
            let hook = "hook".into();
            let sent = vec![sent.to_vec()];
            store.insert_inbox(&hook, sent, NOW).await.unwrap();
            let silence = Silence {
                id: format!("of-bob-{word}").into(),
                matchers: Matchers {
                    user_id: Some("bob".into()),
                    ..Matchers::default()
                },
                author: "web".into(),
                comment: "the user says it is open".into(),
                created_at: NOW,
                ends_at: NOW,
            };
            let by = By {
                who: "web".into(),
                why: "user".into(),
            };
            store.silence(&silence, &by).await.unwrap();

            let erased = store.erase(word, "dpo", NOW).await.unwrap();
            assert_eq!(erased, Erasure::Done(Erased::default()), "{word}");
            assert!(store.incident("storm", 0).await.unwrap().is_some());
        }
    }
}
