//! L3: the store keeps what must survive: positions, detections, incidents, actions, the inbox, rejects, snapshots.
//!
//! Uses `model` and its own part of `config`. All SQL on our own tables lives here; the same statements run on SQLite
//! (embedded default) and PostgreSQL.
//!
//! In: a [`Commit`](crate::model::Commit) per few tens of milliseconds, answers of the delivery loop. Out: claims,
//! leases, records for the API and the mail.
