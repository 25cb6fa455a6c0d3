//! L4: the daemon's HTTP: metrics and health (`ops`), records and reload (`api`), webhooks (`ingest`).
//!
//! Uses `store` and `model`, and for the lists of who refreshes most the counters of `metrics`. What only the running
//! daemon knows (is it ready, load the configuration again) is asked through the traits declared here, which `app`
//! fills: so the API can be tested without a daemon, and knows nothing of the loops.
//!
//! In: HTTP requests. Out: JSON, or Prometheus text. Three listeners instead of one with three sets of rules, because
//! each has other callers: a scraper, a person, an authorization server.

mod answer;
mod api;
mod exception;
mod guard;
mod listen;
mod ops;
mod people;
mod query;

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use api::{Api, OPENAPI, router as api};
pub use guard::Guard;
pub use listen::{ListenError, Listening, Tls};
pub use ops::{Ops, router as ops};

use crate::metrics::top::{By, TopList};
use crate::model::{BreakerReport, Mode, Text};
use crate::store::Closed;

/// What the `ops` listener asks of the running daemon.
pub trait Health: Send + Sync {
    /// Prometheus text.
    fn metrics(&self) -> BoxFuture<'_, Result<String, String>>;

    fn readiness(&self) -> Readiness;

    /// Whether it is this daemon that reads, decides and acts.
    fn leads(&self) -> bool;

    /// What does not work as it should while the daemon as a whole does: one sentence each, without secrets.
    fn notes(&self) -> Vec<String>;
}

/// What the `api` listener asks of it.
pub trait Control: Send + Sync {
    /// Loads the configuration again, as SIGHUP does: all or nothing. Both answers are for a person.
    fn reload(&self) -> BoxFuture<'_, Result<String, String>>;

    fn top(&self, by: By, window: Duration, limit: usize) -> TopList;

    /// A request was refused for want of a token or of rights. Called for each: must be quick.
    fn refused(&self, peer: Option<IpAddr>);

    /// The breakers that are not closed.
    fn breakers(&self) -> Vec<BreakerReport>;

    /// The ceiling over every rule.
    fn mode(&self) -> Mode;

    /// The one source there is, if there is one alone.
    fn only_issuer(&self) -> Option<Text>;

    /// An incident was closed by a person.
    fn closed(&self, closed: &Closed);
}

/// Whether the daemon does its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It consumes and can store.
    Ready,
    /// Another daemon does the work; this one would take over.
    StandsBy,
    /// It does not, and why: one sentence for each reason, without secrets.
    NotReady(Vec<String>),
}
