//! Tails any table or query of PostgreSQL, MySQL/MariaDB or SQLite with a read-only account.
//!
//! `tail` is the loop: poll, hand on, wait, reconnect. `by_id` and `by_time` are the two cursors, with their pure halves
//! `gaps` (with `grace`, for how long, and `restart`, for ids that begin again) and `overlap`; `keycloak` is a layout over the second; `refresh_tokens` compares states, with `token_rows` as its pure half. `session` is the
//! connection and its snapshot, `running` the transactions of MySQL, `query`, `column` and `time` are the three dialects, `fault` says what waiting mends.
//!
//! A notification channel of the database would save some polls; it asks the customer for triggers, takes a global lock at
//! each commit, and polling has to be the truth anyway.

mod by_id;
mod by_time;
mod column;
mod fault;
mod gaps;
mod grace;
mod inspect;
mod keycloak;
mod layout;
mod overlap;
mod query;
mod reader;
mod refresh_tokens;
mod restart;
mod running;
mod sample;
mod session;
mod tail;
mod time;
mod token_rows;

pub use inspect::inspect;
pub use layout::clues;
pub use sample::{Sighting, recent_sightings};

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::config::{SqlSource, Start};
use crate::model::Text;

use super::{Context, Source, SourceError};

/// A configured table source.
#[derive(Debug)]
pub struct SqlTail {
    name: Text,
    start: Start,
    warm_up: Duration,
    sql: SqlSource,
}

impl SqlTail {
    pub fn new(name: Text, start: Start, warm_up: Duration, sql: SqlSource) -> Self {
        Self {
            name,
            start,
            warm_up,
            sql,
        }
    }
}

impl Source for SqlTail {
    fn name(&self) -> &Text {
        &self.name
    }

    fn run(self: Box<Self>, context: Context) -> BoxFuture<'static, Result<(), SourceError>> {
        Box::pin(tail::run(*self, context))
    }
}
