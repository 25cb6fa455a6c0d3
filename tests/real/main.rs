//! Tests on real servers, started by `tests/run`; each is `#[ignore]`d so that `cargo test` alone needs none.

mod daemon;
mod kafka;
mod keycloak_flagship;
mod keycloak_realm;
mod keycloak_revoker;
mod mail;
mod prometheus;
#[path = "../support/source_harness.rs"]
mod source_harness;
mod sql;
mod sql_keycloak;
#[path = "../support/sql_suite.rs"]
mod sql_suite;
mod store;
#[path = "../support/store_suite.rs"]
mod store_suite;
