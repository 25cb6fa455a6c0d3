//! Asks a source by its kind.

use std::time::Duration;

use crate::clock;
use crate::config::{DeclaredNetwork, KafkaSource, Source, SourceKind, SqlSource};
use crate::model::{Finding, limits};
use crate::sources::{file, kafka, sql};

use super::addresses;

/// How far back the newest events are of interest: whoever uses tokens does so within a day.
const RECENT: Duration = Duration::from_hours(24);

pub(super) async fn inspect(source: &Source, networks: &[DeclaredNetwork]) -> Vec<Finding> {
    match &source.kind {
        SourceKind::Kafka(kafka) => of_kafka(kafka).await,
        SourceKind::Sql(sql) => of_sql(sql, networks).await,
        SourceKind::File(file) => vec![file::inspect(file)],
        SourceKind::Webhook(_) => Vec::new(),
    }
}

/// The client blocks, so it gets a thread; a little less time than the check as a whole, to say more than "no answer".
async fn of_kafka(kafka: &KafkaSource) -> Vec<Finding> {
    let (kafka, patience) = (kafka.clone(), limits::CHECK_TIMEOUT.mul_f64(0.6));
    let asked = tokio::task::spawn_blocking(move || kafka::inspect(&kafka, patience));
    asked.await.unwrap_or_else(|_| {
        vec![Finding::fault(
            "the Kafka client broke",
            "see the log; this is a fault of tokenwarden",
        )]
    })
}

async fn of_sql(source: &SqlSource, networks: &[DeclaredNetwork]) -> Vec<Finding> {
    let now = clock::now();
    let since = now.checked_sub(RECENT).unwrap_or(now);
    let (mut findings, sample) = tokio::join!(
        sql::inspect(source, now),
        sql::recent_sightings(source, since)
    );
    // A sample that cannot be taken has its reason among the findings already.
    if let Ok(Some(sightings)) = sample {
        findings.push(addresses::judge(&sightings, networks));
    }
    findings
}
