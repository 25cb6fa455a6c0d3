//! Tables for real, on PostgreSQL and MariaDB: concurrent writers, Keycloak's tables, accounts and their privileges.

use crate::sql_suite::{self, Writer, by_id, by_time};

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
