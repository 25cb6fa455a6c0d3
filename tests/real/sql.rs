//! Tables for real, on PostgreSQL and MariaDB: concurrent writers, Keycloak's tables, accounts and their privileges.

use std::sync::Arc;
use std::time::Duration;

use tokenwarden::config::SqlCursor;

use crate::source_harness::{Running, texts};
use crate::sql_suite::{self, Writer, by_id, by_time, inspected, rows, source, until_idle};

const INSERT_POSTGRES: &str = "INSERT INTO audit (at) VALUES (clock_timestamp()) RETURNING id";
const INSERT_MARIADB: &str = "INSERT INTO audit (at) VALUES (SYSDATE(6)) RETURNING id";

/// A database of its own, gone with the test.
pub(crate) struct Scratch {
    server: String,
    name: String,
    pub(crate) url: String,
}

impl Scratch {
    async fn on(variable: &str) -> Self {
        let server = std::env::var(variable).expect("the address of a server: use tests/run");
        let name = format!(
            "tw_sql_{}_{}",
            std::process::id(),
            jiff::Timestamp::now().as_nanosecond()
        );
        let mut admin = Writer::open(&server).await;
        admin.command(&format!("CREATE DATABASE {name}")).await;
        let (base, _) = server.rsplit_once('/').unwrap();
        let url = format!("{base}/{name}");
        Self { server, name, url }
    }

    pub(crate) async fn postgres() -> Self {
        let scratch = Self::on("TW_POSTGRES_URL").await;
        let mut writer = Writer::open(&scratch.url).await;
        writer
            .command("CREATE TABLE audit (id bigserial PRIMARY KEY, at timestamptz NOT NULL)")
            .await;
        writer.command("CREATE INDEX ON audit (at)").await;
        scratch
    }

    pub(crate) async fn mariadb() -> Self {
        let scratch = Self::on("TW_MARIADB_URL").await;
        let mut writer = Writer::open(&scratch.url).await;
        let table = "CREATE TABLE audit (id bigint AUTO_INCREMENT PRIMARY KEY, at datetime(6) NOT NULL, KEY (at))";
        writer.command(table).await;
        scratch
    }

    pub(crate) async fn drop(self) {
        let force = if self.server.starts_with("postgres") {
            " WITH (FORCE)"
        } else {
            ""
        };
        let mut admin = Writer::open(&self.server).await;
        admin
            .command(&format!("DROP DATABASE {}{force}", self.name))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn by_id_on_postgres_loses_nothing() {
    let scratch = Scratch::postgres().await;
    let disordered = sql_suite::loses_nothing(&scratch.url, by_id(), INSERT_POSTGRES).await;
    assert!(disordered, "the writers were meant to commit out of order");
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_truncated_table_is_read_again() {
    let scratch = Scratch::postgres().await;
    let empty = "TRUNCATE audit RESTART IDENTITY";
    sql_suite::reads_on_when_ids_begin_again(&scratch.url, INSERT_POSTGRES, empty).await;
    scratch.drop().await;

    let scratch = Scratch::mariadb().await;
    let empty = "TRUNCATE TABLE audit";
    sql_suite::reads_on_when_ids_begin_again(&scratch.url, INSERT_MARIADB, empty).await;
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn by_time_on_postgres_loses_nothing() {
    let scratch = Scratch::postgres().await;
    sql_suite::loses_nothing(&scratch.url, by_time(), INSERT_POSTGRES).await;
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn by_id_on_mariadb_loses_nothing() {
    let scratch = Scratch::mariadb().await;
    let disordered = sql_suite::loses_nothing(&scratch.url, by_id(), INSERT_MARIADB).await;
    assert!(disordered, "the writers were meant to commit out of order");
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn by_time_on_mariadb_loses_nothing() {
    let scratch = Scratch::mariadb().await;
    sql_suite::loses_nothing(&scratch.url, by_time(), INSERT_MARIADB).await;
    scratch.drop().await;
}

/// Waits until this many records have come. Nothing is told twice.
async fn places(running: &mut Running, count: usize) -> Vec<String> {
    let records = running.records(count).await;
    records
        .iter()
        .map(|record| record.place.to_string())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_transaction_longer_than_the_overlap_is_not_lost_by_time() {
    for (scratch, insert) in [
        (Scratch::postgres().await, INSERT_POSTGRES),
        (Scratch::mariadb().await, INSERT_MARIADB),
    ] {
        let mut running = Running::start(
            source(&scratch.url, rows("audit", by_time())),
            &Arc::default(),
        );
        until_idle(&mut running).await;
        let mut slow = Writer::open(&scratch.url).await;
        slow.command("BEGIN").await;
        slow.number(insert).await;
        let mut quick = Writer::open(&scratch.url).await;
        // Twice the overlap.
        for second in 0..4 {
            quick.number(insert).await;
            assert_eq!(places(&mut running, 1).await, [(second + 2).to_string()]);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        slow.command("COMMIT").await;
        assert_eq!(places(&mut running, 1).await, ["1"]);
        running.stop().await.unwrap();
        scratch.drop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn every_type_becomes_json() {
    let scratch = Scratch::postgres().await;
    let mut writer = Writer::open(&scratch.url).await;
    writer.command("CREATE TYPE mood AS ENUM ('calm', 'tense'); CREATE TABLE types (id bigserial PRIMARY KEY, b boolean, d numeric(10,3), \
        f float8, j jsonb, y bytea, z timestamptz, t timestamp, u uuid, i inet, m mood, a text[], n text)").await;
    writer.command("INSERT INTO types (b, d, f, j, y, z, t, u, i, m, a) VALUES (true, 1.500, 0.5, '{\"k\": [1]}', '\\x00ff', \
        '2026-01-02 03:04:05.678+02', '2026-01-02 03:04:05', '00000000-0000-0000-0000-000000000001', '192.0.2.1', 'tense', '{x,y}')").await;
    assert_eq!(
        first_row(&scratch.url, "types").await,
        r#"{"id":1,"b":true,"d":"1.500","f":0.5,"j":{"k": [1]},"y":"00ff","z":"2026-01-02T01:04:05.678000Z","t":"2026-01-02T03:04:05.000000Z","u":"00000000-0000-0000-0000-000000000001","i":"192.0.2.1/32","m":"tense","a":"{x,y}","n":null}"#
    );
    scratch.drop().await;

    let scratch = Scratch::mariadb().await;
    let mut writer = Writer::open(&scratch.url).await;
    writer.command("CREATE TABLE types (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, b boolean, d decimal(10,3), f double, y varbinary(9), \
        t datetime(3), u uuid, m enum('calm', 'tense'), x bit(4), s text, n text) CHARACTER SET utf8mb4").await;
    writer.command("INSERT INTO types (b, d, f, y, t, u, m, x, s) VALUES (true, 1.5, 0.5, x'00ff', '2026-01-02 03:04:05.678', \
        '00000000-0000-0000-0000-000000000001', 'tense', b'101', 'naïve \"q\" 🦀')").await;
    assert_eq!(
        first_row(&scratch.url, "types").await,
        r#"{"id":1,"b":1,"d":"1.500","f":0.5,"y":"00ff","t":"2026-01-02T03:04:05.678000Z","u":"00000000000000000000000000000001","m":"tense","x":5,"s":"naïve \"q\" 🦀","n":null}"#
    );
    scratch.drop().await;
}

async fn first_row(url: &str, table: &str) -> String {
    let cursor = SqlCursor::Id {
        column: "id".into(),
        time_column: None,
    };
    let mut running = Running::start(source(url, rows(table, cursor)), &Arc::default());
    let row = texts(&running.records(1).await).remove(0);
    running.stop().await.unwrap();
    row
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_broken_connection_is_reported_and_reading_goes_on_where_it_was() {
    let scratch = Scratch::postgres().await;
    let mut writer = Writer::open(&scratch.url).await;
    let mut running = Running::start(
        source(&scratch.url, rows("audit", by_id())),
        &Arc::default(),
    );
    writer.number(INSERT_POSTGRES).await;
    assert_eq!(places(&mut running, 1).await, ["1"]);
    writer.command("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tokenwarden' AND datname = current_database()").await;
    writer.number(INSERT_POSTGRES).await;
    assert_eq!(places(&mut running, 1).await, ["2"]);
    running.reports.wait_for("down: ").await;
    running.stop().await.unwrap();
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_reader_needs_nothing_but_select_and_a_writer_is_told_of() {
    let scratch = Scratch::postgres().await;
    let mut writer = Writer::open(&scratch.url).await;
    let account = format!("reader_{}", scratch.name);
    writer
        .command(&format!(
            "CREATE ROLE {account} LOGIN; CREATE TABLE bare (id bigint, at timestamptz)"
        ))
        .await;
    let url = scratch
        .url
        .replace("postgres://postgres", &format!("postgres://{account}"));

    let running = Running::start(source(&url, rows("audit", by_id())), &Arc::default());
    let error = running.ended().await.unwrap_err().to_string();
    assert_eq!(
        error,
        "source audit: permission denied for table audit (42501); grant SELECT on it to the account of this source"
    );

    writer
        .command(&format!("GRANT SELECT ON audit, bare TO {account}"))
        .await;
    writer.number(INSERT_POSTGRES).await;
    let mut running = Running::start(source(&url, rows("audit", by_id())), &Arc::default());
    assert_eq!(places(&mut running, 1).await, ["1"]);
    running.stop().await.unwrap();
    let fine = "the tables and columns are there and can be read";
    assert_eq!(inspected(&url, rows("audit", by_id())).await, [fine]);
    assert_eq!(
        inspected(&url, rows("bare", by_id())).await,
        [
            fine,
            "no index of bare begins with id: every poll reads the whole table"
        ]
    );
    assert_eq!(
        inspected(&scratch.url, rows("audit", by_time())).await,
        [
            fine,
            "the account postgres can write to audit: whoever gets its password can change the evidence"
        ]
    );
    writer
        .command(&format!("DROP OWNED BY {account}; DROP ROLE {account}"))
        .await;
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn accounts_of_mariadb_are_told_about_tls_and_privileges() {
    let scratch = Scratch::mariadb().await;
    let mut writer = Writer::open(&scratch.url).await;
    let account = format!("r{}", &scratch.name[scratch.name.len() - 12..]);
    writer
        .command(&format!(
            "CREATE USER {account} IDENTIFIED BY 'hidden-word' REQUIRE X509"
        ))
        .await;
    writer
        .command(&format!("GRANT SELECT ON {}.* TO {account}", scratch.name))
        .await;
    let url = scratch
        .url
        .replace("mysql://root", &format!("mysql://{account}:hidden-word"));

    let running = Running::start(source(&url, rows("audit", by_id())), &Arc::default());
    let report = running.reports.wait_for("1045").await;
    assert!(
        report.contains("REQUIRE SSL") && !report.contains("hidden-word"),
        "{report}"
    );
    running.stop().await.unwrap();

    writer
        .command(&format!("ALTER USER {account} REQUIRE NONE"))
        .await;
    let found = inspected(&url, rows("audit", by_id())).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[1].contains("may not see running transactions"),
        "{found:?}"
    );
    writer
        .command(&format!("GRANT PROCESS ON *.* TO {account}"))
        .await;
    assert_eq!(inspected(&url, rows("audit", by_id())).await.len(), 1);
    let found = inspected(&scratch.url, rows("audit", by_id())).await;
    assert!(
        found.iter().any(|what| what.contains("can write")),
        "{found:?}"
    );
    writer.command(&format!("DROP USER {account}")).await;
    scratch.drop().await;
}
