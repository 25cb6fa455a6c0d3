//! Tests that need no server: `cargo test` runs them.
mod config;
mod decode;

mod geo;

mod store;
#[path = "../support/store_suite.rs"]
mod store_suite;

mod file_source;
mod own_table;
mod source_harness;
mod simulation_world;
