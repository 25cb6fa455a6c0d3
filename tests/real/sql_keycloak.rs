//! Keycloak's tables as Keycloak 26.4 makes them, filled with recorded rows that commit in another order.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokenwarden::config::{SqlLayout, Start};
use tokenwarden::model::RawBatch;

use crate::source_harness::Running;
use crate::sql::Scratch;
use crate::sql_suite::{self, Writer, until_idle};

const TABLES: &str = "
CREATE TABLE realm (id varchar(36) PRIMARY KEY, name varchar(255));
CREATE TABLE event_entity (id varchar(36) PRIMARY KEY, client_id varchar(255), details_json varchar(2550), error varchar(255),
  ip_address varchar(255), realm_id varchar(255), session_id varchar(255), event_time bigint, type varchar(255),
  user_id varchar(255), details_json_long_value text);
CREATE TABLE admin_event_entity (id varchar(36) PRIMARY KEY, admin_event_time bigint, realm_id varchar(255),
  operation_type varchar(255), auth_realm_id varchar(255), auth_client_id varchar(255), auth_user_id varchar(255),
  ip_address varchar(255), resource_path varchar(2550), representation text, error varchar(255), resource_type varchar(64),
  details_json text);
CREATE INDEX idx_event_time ON event_entity (realm_id, event_time);
CREATE INDEX idx_admin_event_time ON admin_event_entity (realm_id, admin_event_time)";

/// (table, row) of the scenarios, with all times moved to now.
fn recorded() -> Vec<(&'static str, Value)> {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keycloak-26.4");
    let mut rows = Vec::new();
    for scenario in ["S01", "S02", "S08", "S09"] {
        for table in ["event_entity", "admin_event_entity"] {
            let text =
                std::fs::read_to_string(folder.join(scenario).join(format!("{table}.jsonl")))
                    .unwrap();
            rows.extend(
                text.lines()
                    .map(|line| (table, serde_json::from_str::<Value>(line).unwrap())),
            );
        }
    }
    let now_ms = jiff::Timestamp::now().as_millisecond();
    for (at, (table, row)) in rows.iter_mut().enumerate() {
        let time = if *table == "event_entity" {
            "event_time"
        } else {
            "admin_event_time"
        };
        row[time] = Value::from(now_ms + i64::try_from(at).unwrap());
    }
    rows
}

fn insert(table: &str, row: &Value) -> String {
    let literal = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Number(number) => number.to_string(),
        other => format!(
            "'{}'",
            other
                .as_str()
                .unwrap()
                .replace('\\', "\\\\")
                .replace('\'', "''")
        ),
    };
    let row = row.as_object().unwrap();
    let names: Vec<&str> = row.keys().map(String::as_str).collect();
    let values: Vec<String> = row.values().map(literal).collect();
    format!(
        "INSERT INTO {table} ({}) VALUES ({})",
        names.join(", "),
        values.join(", ")
    )
}

fn layout(realms: &[&str]) -> SqlLayout {
    SqlLayout::Keycloak {
        schema: None,
        realms: realms.iter().map(|realm| (*realm).into()).collect(),
    }
}

/// By partition: the rows that came.
#[derive(Default)]
struct Log(BTreeMap<String, Vec<Value>>);

impl Log {
    fn note(&mut self, batch: &RawBatch) {
        let rows = self
            .0
            .entry(batch.partition.partition.to_string())
            .or_default();
        for record in &batch.records {
            let row: Value = serde_json::from_slice(&record.payload).unwrap();
            assert_eq!(row["id"].as_str(), Some(&*record.place));
            rows.push(row);
        }
    }

    fn sorted(mut self) -> BTreeMap<String, Vec<Value>> {
        for rows in self.0.values_mut() {
            rows.sort_by_key(|row| row["id"].as_str().map(str::to_owned));
        }
        self.0
    }
}

async fn every_row_comes_once(scratch: Scratch, literal_backslashes: bool) {
    let mut setup = Writer::open(&scratch.url).await;
    for statement in TABLES.split(';') {
        setup.command(statement).await;
    }
    let rows = recorded();
    let mut realms: Vec<&str> = rows
        .iter()
        .map(|(_, row)| row["realm_id"].as_str().unwrap())
        .collect();
    realms.sort_unstable();
    realms.dedup();
    let (late, early) = realms.split_first().unwrap();
    for realm in early {
        setup
            .command(&format!(
                "INSERT INTO realm VALUES ('{realm}', 'name of {realm}')"
            ))
            .await;
    }

    let source = sql_suite::starting(&scratch.url, layout(&[]), Start::Earliest, Duration::ZERO);
    let mut running = Running::start(source, &std::sync::Arc::default());
    let mut log = Log::default();
    // Every third row is committed well after the rows that follow it.
    let mut held = Writer::open(&scratch.url).await;
    held.command("BEGIN").await;
    for (at, (table, row)) in rows.iter().enumerate() {
        let mut statement = insert(table, row);
        if literal_backslashes {
            statement = statement.replace("\\\\", "\\");
        }
        if at % 3 == 0 {
            held.command(&statement).await;
        } else {
            setup.command(&statement).await;
        }
        if at % 16 == 0 {
            log.note(&running.batch().await);
        }
    }
    until_idle(&mut running)
        .await
        .iter()
        .for_each(|batch| log.note(batch));
    held.command("COMMIT").await;
    // A realm that is created while we run, with events of its own.
    setup
        .command(&format!("INSERT INTO realm VALUES ('{late}', 'late')"))
        .await;
    for _ in 0..5 {
        until_idle(&mut running)
            .await
            .iter()
            .for_each(|batch| log.note(batch));
    }
    running.stop().await.unwrap();

    let mut expected = Log::default();
    for (table, row) in rows {
        expected.0.entry(table.into()).or_default().push(row);
    }
    assert_eq!(log.sorted(), expected.sorted());
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn every_row_of_keycloak_on_postgres_comes_once() {
    every_row_comes_once(Scratch::postgres().await, true).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn only_named_realms_are_read_and_along_their_index() {
    let scratch = Scratch::postgres().await;
    let mut setup = Writer::open(&scratch.url).await;
    for statement in TABLES.split(';') {
        setup.command(statement).await;
    }
    setup
        .command("INSERT INTO realm VALUES ('r1', 'wanted'), ('r2', 'other'), ('r3', 'third')")
        .await;
    for (id, realm) in [("a", "r1"), ("b", "r2"), ("c", "r3")] {
        let row = format!(
            "INSERT INTO event_entity (id, realm_id, event_time, type) VALUES ('{id}', '{realm}', 1000, 'LOGIN')"
        );
        setup.command(&row).await;
    }
    let source = sql_suite::starting(
        &scratch.url,
        layout(&["wanted", "r3"]),
        Start::Earliest,
        Duration::ZERO,
    );
    let mut running = Running::start(source, &std::sync::Arc::default());
    let mut log = Log::default();
    for _ in 0..3 {
        until_idle(&mut running)
            .await
            .iter()
            .for_each(|batch| log.note(batch));
    }
    running.stop().await.unwrap();
    let ids: Vec<String> = log.sorted()["event_entity"]
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["a", "c"]);
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn every_row_of_keycloak_on_mariadb_comes_once() {
    let scratch = Scratch::mariadb().await;
    let mut setup = Writer::open(&scratch.url).await;
    // Keycloak's tables have names in upper case there.
    for statement in TABLES.split(';') {
        let upper = ["admin_event_entity", "event_entity", "realm"].iter().fold(
            statement.to_owned(),
            |text, table| {
                text.replace(
                    &format!("TABLE {table} "),
                    &format!("TABLE {} ", table.to_uppercase()),
                )
            },
        );
        setup
            .command(
                &upper
                    .replace(" ON event_entity", " ON EVENT_ENTITY")
                    .replace(" ON admin_event_entity", " ON ADMIN_EVENT_ENTITY"),
            )
            .await;
    }
    let rows = recorded();
    let mut realms: Vec<&str> = rows
        .iter()
        .map(|(_, row)| row["realm_id"].as_str().unwrap())
        .collect();
    realms.sort_unstable();
    realms.dedup();
    for realm in realms {
        setup
            .command(&format!(
                "INSERT INTO REALM VALUES ('{realm}', 'name of {realm}')"
            ))
            .await;
    }
    for (table, row) in rows.iter().rev() {
        setup.command(&insert(&table.to_uppercase(), row)).await;
    }
    let source = sql_suite::starting(&scratch.url, layout(&[]), Start::Earliest, Duration::ZERO);
    let mut running = Running::start(source, &std::sync::Arc::default());
    let mut log = Log::default();
    for _ in 0..3 {
        until_idle(&mut running)
            .await
            .iter()
            .for_each(|batch| log.note(batch));
    }
    running.stop().await.unwrap();
    let mut expected = Log::default();
    for (table, row) in rows {
        expected.0.entry(table.into()).or_default().push(row);
    }
    assert_eq!(log.sorted(), expected.sorted());
    scratch.drop().await;
}
