//! Tests on real servers, started by `tests/run`; each is `#[ignore]`d so that `cargo test` alone needs none.

mod keycloak_realm;
mod keycloak_revoker;
mod mail;
mod sql;
mod store;
#[path = "../support/store_suite.rs"]
mod store_suite;
