//! MySQL and MariaDB: since when everything that has begun has also ended.
//!
//! `information_schema.innodb_trx` is a cache that is not refreshed while anybody reads it more often than every 100 ms,
//! so a quick reader would see the same stale list for ever. It is read seldom, and believed only when it shows our own
//! transaction of this very moment. In between the last answer stands: it is older, hence cautious.

use tokio::time::Instant;

use crate::config::Database;
use crate::model::limits::SQL_TRANSACTIONS_EVERY;

use super::column::Cell;
use super::fault::Fault;
use super::query::Query;
use super::session::Session;

/// The last look at the running transactions.
#[derive(Debug, Default)]
pub(super) struct RunningTransactions {
    /// Everything that began before has ended, in us since 1970; absent until known.
    floor_us: Option<i64>,
    looked: Option<Instant>,
}

/// Seconds in which the server tells when a transaction began.
const SECOND_US: i64 = 1_000_000;

const OTHERS: &str = "SELECT CAST(FLOOR(UNIX_TIMESTAMP(MIN(IF(trx_mysql_thread_id = CONNECTION_ID(), NULL, trx_started))) * 1000000) AS CHAR), \
     CAST(FLOOR(UNIX_TIMESTAMP(MAX(IF(trx_mysql_thread_id = CONNECTION_ID(), trx_started, NULL))) * 1000000) AS CHAR) \
     FROM information_schema.innodb_trx";

/// Whether the account may look at all.
pub(super) async fn may_look(session: &mut Session) -> bool {
    session.rows(Query::new(Database::Mysql).push(OTHERS)).await.is_ok()
}

impl RunningTransactions {
    /// The floor as of a moment before now. Must be asked before the snapshot whose rows are judged by it.
    pub(super) async fn floor_us(&mut self, session: &mut Session, now_us: i64) -> Result<i64, Fault> {
        let is_due = self.looked.is_none_or(|looked| looked.elapsed() >= SQL_TRANSACTIONS_EVERY);
        if is_due {
            self.looked = Some(Instant::now());
            session.command("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
            // `trx_started` is in the server's own zone, whatever the session's is.
            session.command("SET time_zone = 'SYSTEM'").await?;
            let rows = session.rows(Query::new(Database::Mysql).push(OTHERS)).await?;
            session.command("SET time_zone = '+00:00'").await?;
            session.command("COMMIT").await?;
            let at = |at: usize| rows.first().and_then(|row| row.get(at)).and_then(Cell::integer);
            self.floor_us = floor(now_us, at(0), at(1)).or(self.floor_us);
        }
        Ok(self.floor_us.unwrap_or(i64::MIN))
    }
}

/// What a look tells: nothing when our own transaction, begun after `now_us`, is not in it yet.
fn floor(now_us: i64, oldest_other: Option<i64>, own: Option<i64>) -> Option<i64> {
    let is_fresh = own.is_some_and(|own| own >= now_us - now_us.rem_euclid(SECOND_US));
    is_fresh.then(|| oldest_other.unwrap_or(now_us).min(now_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_list_tells_nothing() {
        let now = 1000 * SECOND_US + 700_000;
        assert_eq!(floor(now, None, None), None);
        assert_eq!(floor(now, None, Some(999 * SECOND_US)), None);
        assert_eq!(floor(now, None, Some(1000 * SECOND_US)), Some(now));
        assert_eq!(floor(now, Some(40), Some(1001 * SECOND_US)), Some(40));
    }
}
