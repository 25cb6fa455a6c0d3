//! Holds a daemon between two of its steps, from outside: a trigger in its PostgreSQL waits for a lock that the test has. The
//! daemon knows nothing of it, and where it stands is certain: its connection is seen to wait.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::execute;
use crate::daemon::{Daemon, PATIENCE};

/// A step with a name.
pub(crate) struct Point {
    pub(crate) name: &'static str,
    pub(crate) at: At,
    /// What becomes of the statement that waits, once nobody is there to hear of it.
    pub(crate) end: End,
}

/// Which statement waits.
#[derive(Clone, Copy)]
pub(crate) enum At {
    /// `BEFORE` or `AFTER` what is done to a row, and of which rows.
    Row(&'static str, &'static str),
    /// The commit of a transaction that has done this to such a row.
    Commit(&'static str, &'static str),
    /// The migration that has made this table.
    Made(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The server does not go on with it.
    Lost,
    /// The server comes to its end.
    Done,
}

/// Any number: nobody else takes advisory locks of this class in the test's own database.
const CLASS: i32 = 1906;
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub(crate) struct Holder {
    connection: PgConnection,
}

impl Holder {
    pub(crate) async fn of(url: &str) -> Self {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let wait = format!("PERFORM pg_advisory_xact_lock_shared({CLASS}, 1)");
        let functions = format!(
            "CREATE SCHEMA held;
             CREATE FUNCTION held.row() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN {wait}; RETURN COALESCE(NEW, OLD); END $$;
             CREATE FUNCTION held.made() RETURNS event_trigger LANGUAGE plpgsql AS $$
                BEGIN IF to_regclass(obj_description('held'::regnamespace)) IS NOT NULL THEN {wait}; END IF; END $$"
        );
        execute(&mut connection, &functions).await;
        Self { connection }
    }

    async fn arm(&mut self, at: At) {
        let lock = format!("SELECT pg_advisory_lock({CLASS}, 1)");
        execute(&mut self.connection, &lock).await;
        let create = match at {
            At::Row(step, rows) => format!(
                "CREATE TRIGGER held {step} FOR EACH ROW WHEN ({rows}) EXECUTE FUNCTION held.row()"
            ),
            At::Commit(step, rows) => format!(
                "CREATE CONSTRAINT TRIGGER held AFTER {step} DEFERRABLE INITIALLY DEFERRED
                    FOR EACH ROW WHEN ({rows}) EXECUTE FUNCTION held.row()"
            ),
            At::Made(table) => format!(
                "COMMENT ON SCHEMA held IS 'public.{table}';
                 CREATE EVENT TRIGGER held ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION held.made()"
            ),
        };
        execute(&mut self.connection, &create).await;
    }

    /// Lets a daemon come to the point, and kills it there.
    pub(crate) async fn kill_at(&mut self, point: &Point, start: impl AsyncFn() -> Daemon) {
        self.arm(point.at).await;
        let daemon = start().await;
        let waiting = self.waiting(point, &daemon).await;
        daemon.kill();
        if point.end == End::Lost {
            for pid in &waiting {
                self.number(&format!("SELECT pg_terminate_backend({pid})::int::bigint"))
                    .await;
            }
        }
        execute(&mut self.connection, "SELECT pg_advisory_unlock_all()").await;
        self.are_gone().await;
        self.disarm(point.at).await;
    }

    /// The server's processes that wait for us.
    async fn waiting(&mut self, point: &Point, daemon: &Daemon) -> Vec<i32> {
        let begun = Instant::now();
        loop {
            let waiting = format!(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = {CLASS} AND NOT granted
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            );
            let waiting = sqlx::query_scalar(AssertSqlSafe(waiting));
            let waiting: Vec<i32> = waiting.fetch_all(&mut self.connection).await.unwrap();
            if !waiting.is_empty() {
                return waiting;
            }
            let log = || daemon.log();
            assert!(
                begun.elapsed() < PATIENCE,
                "never {}:\n{}",
                point.name,
                log()
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Nobody but us is connected any more: what the daemon had begun is over.
    async fn are_gone(&mut self) {
        let begun = Instant::now();
        let others = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()
            AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
        while self.number(others).await > 0 {
            assert!(begun.elapsed() < PATIENCE, "the server goes on");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn disarm(&mut self, at: At) {
        let drop = match at {
            At::Row(step, _) | At::Commit(step, _) => {
                let (_, table) = step.rsplit_once(' ').unwrap();
                format!("DROP TRIGGER held ON {table}")
            }
            At::Made(_) => "DROP EVENT TRIGGER held".to_owned(),
        };
        execute(&mut self.connection, &drop).await;
    }

    /// What a question about the store gives.
    pub(crate) async fn number(&mut self, sql: &str) -> i64 {
        let sql = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
        sql.fetch_one(&mut self.connection).await.unwrap()
    }
}
