//! The tail of a table of our own.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::sync::{Arc, Mutex};

use futures_util::future::{BoxFuture, FutureExt};
use tokenwarden::model::{Position, RawBatch, SourcePartition};
use tokenwarden::sources::own_table::TableTail;
use tokenwarden::sources::{OwnRow, OwnTable, SourceError};

use crate::source_harness::{MemoryClaims, Running, texts};

#[derive(Default)]
struct MemoryTable {
    rows: Mutex<Vec<OwnRow>>,
    failures: Mutex<u32>,
}

impl MemoryTable {
    fn add(&self, id: i64) {
        let payload = format!("row {id}").into_bytes();
        self.rows.lock().unwrap().push(OwnRow { id, payload });
    }
}

impl OwnTable for MemoryTable {
    fn read_after(
        &self,
        after: i64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<OwnRow>, SourceError>> {
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return async { Err(SourceError("the store is away".into())) }.boxed();
        }
        let rows = self.rows.lock().unwrap();
        let rows = rows.iter().filter(|row| row.id > after).cloned();
        let rows: Vec<OwnRow> = rows.take(limit as usize).collect();
        async { Ok(rows) }.boxed()
    }

    fn newest(&self) -> BoxFuture<'_, Result<i64, SourceError>> {
        let newest = self.rows.lock().unwrap().last().map_or(0, |row| row.id);
        async move { Ok(newest) }.boxed()
    }
}

fn tail(table: &Arc<MemoryTable>) -> TableTail {
    TableTail::inbox("hook".into(), table.clone())
}

#[tokio::test]
async fn reads_everything_in_order_then_ticks() {
    let (table, claims) = (Arc::new(MemoryTable::default()), Arc::default());
    (1..=2500).for_each(|id| table.add(id));
    let mut running = Running::start(tail(&table), &claims);
    let records = running.records(2500).await;
    assert_eq!(&*records[2499].place, "2500");
    assert!(records.iter().all(|record| !record.muted));
    assert_eq!(&*running.tick().await.position.0, r#"{"id":2500}"#);
    table.add(2507);
    assert_eq!(texts(&running.records(1).await), ["row 2507"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn goes_on_where_it_was_committed() {
    let (table, claims) = (
        Arc::new(MemoryTable::default()),
        Arc::new(MemoryClaims::default()),
    );
    (1..=3).for_each(|id| table.add(id));
    let mut running = Running::start(tail(&table), &claims);
    running.records(3).await;
    running.stop().await.unwrap();
    table.add(4);
    let mut running = Running::start(tail(&table), &claims);
    let batch = running.batch().await;
    assert_eq!(
        (texts(&batch.records), batch.epoch),
        (vec!["row 4".to_owned()], 2)
    );
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_store_that_fails_is_reported_and_tried_again() {
    let table = Arc::new(MemoryTable::default());
    *table.failures.lock().unwrap() = 1;
    table.add(1);
    let tail = tail(&table);
    let looked = tail.looked();
    let mut running = Running::start(tail, &Arc::default());
    running.reports.wait_for("down").await;
    assert!(!*looked.borrow());
    assert_eq!(texts(&running.records(1).await), ["row 1"]);
    assert_eq!(running.reports.all(), ["down: the store is away", "up"]);
    running.tick().await;
    assert!(*looked.borrow());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_position_of_another_source_is_refused_by_name() {
    let claims = Arc::new(MemoryClaims::default());
    let partition = SourcePartition {
        source: "hook".into(),
        partition: "inbox".into(),
    };
    claims.commit(&RawBatch {
        partition,
        shard: 0,
        epoch: 0,
        records: Vec::new(),
        position: Position("{\"offset\":3}".into()),
        tick: None,
        ended: false,
        arrived_at: None,
    });
    let running = Running::start(tail(&Arc::default()), &claims);
    let report = running.reports.wait_for("down").await;
    assert!(report.contains("is not one of a table of ours"), "{report}");
    running.stop().await.unwrap();
}
