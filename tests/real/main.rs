//! Tests on real servers, started by `tests/run`; each is `#[ignore]`d so that `cargo test` alone needs none.

mod kafka;
#[path = "../support/source_harness.rs"]
mod source_harness;
mod store;
#[path = "../support/store_suite.rs"]
mod store_suite;
mod sql;
mod keycloak_realm;
mod keycloak_revoker;
mod mail;
mod sql;
mod store;
#[path = "../support/store_suite.rs"]
mod store_suite;
