//! L4: the ingest loop: source, decode, enrich, engine, policy, one fenced transaction. The only owner of the engine.
//!
//! Uses `sources`, `decode`, `enrich`, `engine`, `respond`, `store`, `archive` and `model`; knows nothing of `delivery`.
//!
//! In: raw batches from every source. Out: commits.

mod archiving;
mod ingest;
mod observer;
mod owned;
mod pending;
mod prepare;
mod preparing;
mod worker;

pub use archiving::{ArchiveControl, ArchiveReport, Archiving, Scribe, archived_key};
pub use ingest::{Control, Ingest, IngestError, Reload, Restorable, restore};
pub use observer::Observer;
pub use owned::{Standing, Unread};
pub use prepare::{Prepared, Preparer};
pub use worker::{Seen, Taken, Worker};
