//! Tests that need no server: `cargo test` runs them.

mod store;
#[path = "../support/store_suite.rs"]
mod store_suite;
