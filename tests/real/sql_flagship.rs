//! A daemon that tails a table of PostgreSQL while eight connections write to it, killed again and again: nothing is
//! lost, nothing is done twice.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::flagship_run::Run;
use crate::keycloak_realm::env;
use crate::mail::unique;
use crate::traffic::traffic;

const WRITERS: usize = 8;

async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(sql)))
        .await
        .unwrap();
}

/// Each writer has every eighth record, so that rows commit out of the order of their ids.
async fn write(url: &str, records: &[(i32, String)]) {
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let url = url.to_owned();
        let mine: Vec<String> = records
            .iter()
            .skip(writer)
            .step_by(WRITERS)
            .map(|(_, text)| text.clone())
            .collect();
        writers.push(tokio::spawn(async move {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            for text in mine {
                sqlx::query("INSERT INTO audit (payload) VALUES ($1::jsonb)")
                    .bind(text)
                    .execute(&mut connection)
                    .await
                    .unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_daemon_killed_while_it_tails_a_table_loses_and_doubles_nothing() {
    let (server, name) = (env("TW_POSTGRES_URL"), unique("flagship"));
    execute(&server, &format!("CREATE DATABASE {name}")).await;
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    let url = url.to_string();
    execute(
        &url,
        "CREATE TABLE audit (id bigserial PRIMARY KEY, payload jsonb NOT NULL)",
    )
    .await;
    let source = format!(
        "    sql:
      url: {url}
      layout: {{ table: {{ name: audit, cursor: {{ id: {{ column: id }} }}, json_column: payload }} }}
      poll_every: 100ms
    lateness: 30h"
    );
    let traffic = traffic(300, 99);
    let killed = Run::new(&source, ", snapshot_every: 1s").await;
    let rounds = traffic.records.chunks(traffic.records.len().div_ceil(4));
    for records in rounds {
        tokio::join!(write(&url, records), killed.killed_after(300.0));
    }
    let outcome = killed.finished(&traffic).await;
    outcome.assert_right(&traffic);
    let calm = Run::new(&source, "").await;
    outcome.assert_same_deeds(&calm.finished(&traffic).await);
    execute(&server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
}
